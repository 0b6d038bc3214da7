//! A JSON body, read strictly: its type, size and depth, no key twice in one object, no NUL anywhere.
//!
//! It only says that the body is JSON; what is in it is read by [`super::field_reader`].

use std::{error::Error, fmt};

use axum::{
    body::{Bytes, HttpBody},
    extract::{FromRequest, Request},
    http::{HeaderMap, header},
};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::{error::ApiError, problem::FieldError, problem::ProblemCode};
use crate::server::BodyTimedOut;

/// Bytes of an ordinary body.
pub const BODY_LIMIT: usize = 64 * 1024;
/// Bytes of a batch.
pub const BATCH_BODY_LIMIT: usize = 1024 * 1024;
/// Objects and arrays within one another.
const DEPTH_LIMIT: usize = 16;
/// Characters of a name in a pointer.
const LONGEST_TOKEN: usize = 100;

/// The JSON of a request, at most `LIMIT` bytes of it.
#[derive(Debug)]
pub struct JsonBody<const LIMIT: usize = BODY_LIMIT>(pub Value);

impl<S: Send + Sync, const LIMIT: usize> FromRequest<S> for JsonBody<LIMIT> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        check_media_type(request.headers())?;
        let bytes = read(request, LIMIT).await?;
        parse(&bytes).map(Self)
    }
}

/// Reads a whole body. Larger than `limit`: 413; too slow: 408.
pub async fn read(request: Request, limit: usize) -> Result<Bytes, ApiError> {
    let body = request.into_body();
    let announced = body.size_hint().lower();
    if usize::try_from(announced).unwrap_or(usize::MAX) > limit {
        return Err(ApiError::PayloadTooLarge(limit));
    }
    match Limited::new(body, limit).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if is::<LengthLimitError>(&*error) => Err(ApiError::PayloadTooLarge(limit)),
        Err(error) if is::<BodyTimedOut>(&*error) => Err(ApiError::BodyTimeout),
        Err(_) => Err(ApiError::Malformed("The body ended early.".into())),
    }
}

fn is<E: Error + 'static>(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.is::<E>() {
            return true;
        }
        next = error.source();
    }
    false
}

fn check_media_type(headers: &HeaderMap) -> Result<(), ApiError> {
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/json") {
        return Err(ApiError::UnsupportedMediaType("Send `Content-Type: application/json`."));
    }
    if headers.get(header::CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
        return Err(ApiError::UnsupportedMediaType("Send the body without `Content-Encoding`."));
    }
    Ok(())
}

/// What the bytes hold, if they are clean JSON.
pub(crate) fn parse(bytes: &[u8]) -> Result<Value, ApiError> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = Strict { depth: DEPTH_LIMIT }
        .deserialize(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value))
        .map_err(|error| ApiError::Malformed(format!("The body is not taken as JSON: {error}.")))?;
    let mut errors = Vec::new();
    find_nul(&value, &mut String::new(), &mut errors);
    if errors.is_empty() { Ok(value) } else { Err(ApiError::Invalid(errors)) }
}

/// Builds a [`Value`] as `serde_json` does, but refuses what it would silently drop or what could exhaust us.
#[derive(Clone, Copy)]
struct Strict {
    depth: usize,
}

impl Strict {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        let depth = self.depth.checked_sub(1).ok_or_else(|| E::custom(format_args!("deeper than {DEPTH_LIMIT}")))?;
        Ok(Self { depth })
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut values = Vec::new();
        while let Some(value) = entries.next_element_seed(inner)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut object = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let value = entries.next_value_seed(inner)?;
            if object.insert(key, value).is_some() {
                return Err(A::Error::custom("a key stands twice in one object"));
            }
        }
        Ok(Value::Object(object))
    }
}

/// PostgreSQL's text cannot hold U+0000, although JSON can.
fn find_nul(value: &Value, pointer: &mut String, errors: &mut Vec<FieldError>) {
    let length = pointer.len();
    match value {
        Value::String(text) => refuse_nul(text, pointer, errors),
        Value::Array(values) => {
            for (index, value) in values.iter().enumerate() {
                push_token(pointer, &index.to_string());
                find_nul(value, pointer, errors);
                pointer.truncate(length);
            }
        }
        Value::Object(object) => {
            for (key, value) in object {
                refuse_nul(key, pointer, errors);
                push_token(pointer, key);
                find_nul(value, pointer, errors);
                pointer.truncate(length);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn refuse_nul(text: &str, pointer: &str, errors: &mut Vec<FieldError>) {
    if text.contains('\0') && errors.len() < super::field_reader::ERROR_LIMIT {
        errors.push(FieldError::at(pointer, ProblemCode::Invalid, "U+0000 is not taken."));
    }
}

/// Adds one reference token to a JSON Pointer (RFC 6901). A name that is longer than any of ours is cut: a hundred faults below it
/// shall not make the answer a hundred times as long as the request.
pub(super) fn push_token(pointer: &mut String, token: &str) {
    pointer.push('/');
    let end = token.char_indices().nth(LONGEST_TOKEN).map_or(token.len(), |(end, _)| end);
    pointer.push_str(&token[..end].replace('~', "~0").replace('/', "~1"));
    if end < token.len() {
        pointer.push('…');
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use proptest::prelude::*;

    use super::*;

    fn request(content_type: &str, body: impl Into<Body>) -> Request {
        Request::post("/").header(header::CONTENT_TYPE, content_type).body(body.into()).unwrap()
    }

    async fn body(request: Request) -> Result<Value, ApiError> {
        JsonBody::<100>::from_request(request, &()).await.map(|JsonBody(value)| value)
    }

    #[tokio::test]
    async fn only_plain_json_is_taken() {
        for (content_type, taken) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("application/jsonp", false),
            ("text/plain", false),
            ("application/x-www-form-urlencoded", false),
        ] {
            let result = body(request(content_type, "{}")).await;
            assert_eq!(result.is_ok(), taken, "{content_type}");
            assert!(taken || matches!(result, Err(ApiError::UnsupportedMediaType(_))), "{content_type}");
        }
        let without = Request::post("/").body(Body::from("{}")).unwrap();
        assert_eq!(body(without).await.unwrap_err().status(), 415);
        let mut packed = request("application/json", "{}");
        packed.headers_mut().insert(header::CONTENT_ENCODING, "gzip".parse().unwrap());
        assert_eq!(body(packed).await.unwrap_err().status(), 415);
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_refused_whether_its_length_is_announced_or_not() {
        let text = format!("\"{}\"", "x".repeat(99));
        let announced = request("application/json", text.clone());
        assert_eq!(body(announced).await.unwrap_err().status(), 413);
        let chunks = futures_util::stream::iter([Ok::<_, std::io::Error>(text)]);
        assert_eq!(body(request("application/json", Body::from_stream(chunks))).await.unwrap_err().status(), 413);
        let exactly = format!("\"{}\"", "x".repeat(98));
        assert!(body(request("application/json", exactly)).await.is_ok());
    }

    #[test]
    fn what_is_not_clean_json_is_malformed() {
        let deep = format!("{}{}", "[".repeat(17), "]".repeat(17));
        for text in
            ["", "{", "nonsense", "{} {}", r#"{"a":1,"a":2}"#, r#"{"a":1,"\u0061":2}"#, "1e999", "\"\u{1}\"", &deep]
        {
            assert!(matches!(parse(text.as_bytes()), Err(ApiError::Malformed(_))), "{text:?}");
        }
        assert!(parse(b"\"\xff\"").is_err());
        assert!(parse(format!("{}{}", "[".repeat(16), "]".repeat(16)).as_bytes()).is_ok());
    }

    #[test]
    fn a_nul_is_named_where_it_stands() {
        let Err(ApiError::Invalid(errors)) = parse(br#"{"a/b":["x","y\u0000"],"c":{"k\u0000":1}}"#) else {
            panic!("a NUL has to be refused");
        };
        let pointers: Vec<_> = errors.iter().filter_map(|error| error.pointer.as_deref()).collect();
        assert_eq!(pointers, ["/a~1b/1", "/c"]);
    }

    #[test]
    fn many_faults_below_a_long_name_are_not_answered_with_many_long_names() {
        let nuls = vec![r#""\u0000""#; 200].join(",");
        let body = format!(r#"{{"{}":[{nuls}]}}"#, "n".repeat(50_000));
        let Err(ApiError::Invalid(errors)) = parse(body.as_bytes()) else { panic!("a NUL has to be refused") };
        let pointers: usize = errors.iter().filter_map(|error| error.pointer.as_ref()).map(String::len).sum();
        assert!(pointers < body.len(), "{pointers} bytes of pointers for a body of {}", body.len());
    }

    proptest! {
        #[test]
        fn whatever_is_taken_is_what_serde_json_reads(text in r#"[\[\]{}:,"a0.\-e 1\\unl]{0,24}"#) {
            if let Ok(value) = parse(text.as_bytes()) {
                prop_assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
            }
        }
    }
}
