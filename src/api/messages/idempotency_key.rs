//! The `Idempotency-Key` header, as an argument of a handler, and what a request with one is recognised by. What a key does is
//! decided where messages and batches are accepted.

use axum::{extract::FromRequestParts, http::request::Parts};

use serde_json::Value;
use uuid::Uuid;

use crate::{
    api::{error::ApiError, state::ApiState},
    domain::ids::time_of,
    keys::Identity,
    store::{Db, idempotency},
};

const HEADER: &str = "Idempotency-Key";
const LENGTH: usize = 255;

/// What the client gave to recognise a repeat by; none: every request is a new one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey(pub Option<String>);

impl<S: Send + Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let mut values = parts.headers.get_all(HEADER).iter();
        let Some(value) = values.next() else { return Ok(Self(None)) };
        let refuse = |detail: &str| Err(ApiError::Malformed(format!("The header `{HEADER}` cannot be read. {detail}")));
        if values.next().is_some() {
            return refuse("The header may stand only once.");
        }
        match value.to_str() {
            Ok("") => refuse("At least one character is expected."),
            Ok(key) if key.len() > LENGTH => refuse("At most 255 characters."),
            Ok(key) => Ok(Self(Some(key.to_owned()))),
            Err(_) => refuse("Printable ASCII is expected."),
        }
    }
}

/// What a request with a key is to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// One message.
    Message,
    /// A batch.
    Batch,
}

impl Operation {
    /// What the fingerprinted text begins with. A body is a JSON object, so that no text is one of both.
    const fn prefix(self) -> &'static [u8] {
        match self {
            Self::Message => b"",
            Self::Batch => b"batch ",
        }
    }
}

/// The key with what its request says: the body with its fields in order, so that only a change of content is a change.
pub fn fingerprinted(
    state: &ApiState,
    identity: &Identity,
    key: String,
    operation: Operation,
    body: &Value,
) -> Result<idempotency::IdempotencyKey, ApiError> {
    // Nothing of a test key ever leaves: it must not pass for what its live sister asks for.
    let test: &[u8] = if identity.test { b"test " } else { b"" };
    let mut normalised = [test, operation.prefix()].concat();
    serde_json::to_writer(&mut normalised, body).map_err(ApiError::internal)?;
    let fingerprints = state.engine.secrets().fingerprints(&normalised);
    Ok(idempotency::IdempotencyKey { app: identity.app.clone(), key, fingerprints })
}

/// The id of what an earlier request with the same key and body made.
pub async fn used_before(state: &ApiState, key: Option<idempotency::IdempotencyKey>) -> Result<Option<Uuid>, ApiError> {
    let Some(key) = key else { return Ok(None) };
    let (repeated, oldest) = (key.clone(), state.clock.now() - idempotency::REMEMBERED_FOR);
    let used = Db::unit(&state.engine.db().api, move |connection| {
        Box::pin(async move { Ok(idempotency::find(connection, &[&key]).await?.pop()) })
    })
    .await?;
    let same = used.filter(|used| repeated.is_repeated_by(used) && time_of(used.made) > oldest);
    Ok(same.map(|used| used.made))
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderValue, Request};

    use super::*;
    use crate::api::problem::ProblemCode;

    async fn read(values: &[&[u8]]) -> Result<Option<String>, ProblemCode> {
        let mut request = Request::new(());
        for value in values {
            request.headers_mut().append(HEADER, HeaderValue::from_bytes(value).unwrap());
        }
        let (mut parts, ()) = request.into_parts();
        let read = IdempotencyKey::from_request_parts(&mut parts, &()).await;
        read.map(|IdempotencyKey(key)| key).map_err(|error| error.code())
    }

    #[tokio::test]
    async fn a_key_is_one_printable_header_of_bounded_length() {
        assert_eq!(read(&[]).await, Ok(None));
        assert_eq!(read(&[b"order-1"]).await, Ok(Some("order-1".into())));
        assert_eq!(read(&[b"a", b"b"]).await, Err(ProblemCode::MalformedRequest));
        assert_eq!(read(&[b""]).await, Err(ProblemCode::MalformedRequest));
        assert_eq!(read(&["ü".as_bytes()]).await, Err(ProblemCode::MalformedRequest));
        assert_eq!(read(&[&[b'x'; 255]]).await.map(|key| key.map(|key| key.len())), Ok(Some(255)));
        assert_eq!(read(&[&[b'x'; 256]]).await, Err(ProblemCode::MalformedRequest));
    }
}
