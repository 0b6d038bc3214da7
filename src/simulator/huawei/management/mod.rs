//! Huawei's management side: logging in for a token, and what is registered with it.
//!
//! Where the documents are silent: a parameter that is wrong is 400 `MSGSMS.0002`, what is not there 404 with its own code, a
//! state that does not fit 400 with its own code, a token that does not hold 401 `APIGW.0301`, and a token of the whole account
//! 403 `APIGW.0302`. The variables of a template have one path at a time; `huawei_variables_path` in the settings says which.
//! Nobody reviews anything by himself: `POST /_control/management/review` does.

mod records;
mod resources;
mod token;

use std::{collections::VecDeque, sync::Arc};

use axum::{
    body::Body,
    extract::{OriginalUri, State},
    http::{HeaderMap, HeaderValue, Method, Response},
};
use bytes::Bytes;
use serde::Serialize;
use serde_json::{Value, json};
use url::form_urlencoded;

pub(in crate::simulator) use self::records::Registry;
pub use self::records::ReviewRefused;
use super::super::{
    answer::{self, Reply},
    behaviour::Behaviour,
    world::World,
};

const JSON: &str = "application/json;charset=UTF-8";

/// A call of the management side, as it came in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ManagementCall {
    /// `GET`, `POST`, …
    pub method: String,
    /// Path and query, as they stood on the wire.
    pub target: String,
    /// The status it was answered with.
    pub status: u16,
}

/// Calls of the management side whose fate is decided before.
pub(super) type Fates = VecDeque<Behaviour>;

/// A refusal in their words.
#[derive(Debug, Clone)]
struct Refusal {
    status: u16,
    code: &'static str,
    message: String,
}

impl Refusal {
    fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    /// A parameter that is missing or wrong.
    fn parameter(name: &str) -> Self {
        Self::new(400, "MSGSMS.0002", format!("Invalid parameter: {name}."))
    }
}

/// A call, taken apart.
struct Asked<'a> {
    method: &'a Method,
    /// Below `/v2/{project_id}/msgsms`.
    path: Vec<String>,
    query: Vec<(String, String)>,
    content_type: &'a str,
    body: &'a Bytes,
}

impl Asked<'_> {
    fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The body as an object.
    fn object(&self) -> Result<serde_json::Map<String, Value>, Refusal> {
        if !self.content_type.starts_with("application/json") {
            return Err(Refusal::new(415, "MSGSMS.0002", "Content-Type must be application/json."));
        }
        serde_json::from_slice(self.body).map_err(|_| Refusal::parameter("body"))
    }
}

/// `POST /v3/auth/tokens`
pub(in crate::simulator) async fn log_in(
    state: State<Arc<World>>,
    OriginalUri(uri): OriginalUri,
    body: Bytes,
) -> Response<Body> {
    let fate = state.management.next_login_fate();
    let issued = token::issue(&state, &body);
    let (reply, value) = match issued {
        Ok((value, body)) => (Reply { status: 201, content_type: JSON, body: body.to_string() }, Some(value)),
        Err((status, message)) => {
            let body = json!({ "error": { "code": status, "message": message, "title": "Refused" } });
            (Reply { status, content_type: JSON, body: body.to_string() }, None)
        }
    };
    let call = ManagementCall { method: "POST".into(), target: uri.to_string(), status: reply.status };
    state.management.saw(call);
    let mut response = answer::send(&state, reply, &fate).await;
    if let Some(value) = value.and_then(|value| HeaderValue::from_str(&value).ok()) {
        response.headers_mut().insert("X-Subject-Token", value);
    }
    response
}

/// Everything below `/v2/{project_id}/msgsms`.
pub(in crate::simulator) async fn manage(
    state: State<Arc<World>>,
    method: Method,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let fate = state.management.next_fate();
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut path: Vec<String> = uri.path().split('/').skip(2).map(decoded).collect();
    let project = if path.is_empty() { String::new() } else { path.remove(0) };
    // The word `msgsms`.
    path.drain(..path.len().min(1));
    let query = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()).into_owned().collect();
    let asked = Asked { method: &method, path, query, content_type: header("content-type"), body: &body };
    // What fails by fate is not done.
    let failed = fate.http_status.filter(|_| !fate.accepted.unwrap_or_default());
    let answered = token::check(&state, header("x-auth-token"), &project).and_then(|()| match failed {
        Some(status) => Err(Refusal::new(status, "MSGSMS.0001", "Failed by fate.")),
        None => resources::answer(&state, &asked),
    });
    let reply = match answered {
        Ok((status, Value::Null)) => Reply { status, content_type: JSON, body: String::new() },
        Ok((status, body)) => Reply { status, content_type: JSON, body: body.to_string() },
        Err(Refusal { status, code, message }) => {
            let body = json!({ "error_code": code, "error_msg": message, "error_detail": message });
            Reply { status, content_type: JSON, body: body.to_string() }
        }
    };
    let status = fate.http_status.unwrap_or(reply.status);
    state.management.saw(ManagementCall { method: method.to_string(), target: uri.to_string(), status });
    answer::send(&state, reply, &fate).await
}

fn decoded(segment: &str) -> String {
    // A plus is a plus in a path.
    let pair = format!("x={}", segment.replace('+', "%2B"));
    form_urlencoded::parse(pair.as_bytes()).next().map(|(_, value)| value.into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
