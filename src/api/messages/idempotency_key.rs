//! The `Idempotency-Key` header, as an argument of a handler. What a key does is decided where messages are accepted.

use axum::{extract::FromRequestParts, http::request::Parts};

use crate::api::{
    error::ApiError,
    problem::{FieldError, ProblemCode},
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
        let refuse = |code, detail: &str| Err(ApiError::invalid(FieldError::parameter(HEADER, code, detail)));
        if values.next().is_some() {
            return refuse(ProblemCode::Duplicate, "The header may stand only once.");
        }
        match value.to_str() {
            Ok("") => refuse(ProblemCode::Invalid, "At least one character is expected."),
            Ok(key) if key.len() > LENGTH => refuse(ProblemCode::TooLong, "At most 255 characters."),
            Ok(key) => Ok(Self(Some(key.to_owned()))),
            Err(_) => refuse(ProblemCode::Invalid, "Printable ASCII is expected."),
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderValue, Request};

    use super::*;

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
        assert_eq!(read(&[b"a", b"b"]).await, Err(ProblemCode::Duplicate));
        assert_eq!(read(&[b""]).await, Err(ProblemCode::Invalid));
        assert_eq!(read(&["ü".as_bytes()]).await, Err(ProblemCode::Invalid));
        assert_eq!(read(&[&[b'x'; 255]]).await.map(|key| key.map(|key| key.len())), Ok(Some(255)));
        assert_eq!(read(&[&[b'x'; 256]]).await, Err(ProblemCode::TooLong));
    }
}
