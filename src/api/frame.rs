//! What surrounds every call on every listener: request id, limits of the head, panics, metrics, and the body of a problem.
//!
//! It knows no resource. An incoming `X-Request-Id` is not trusted and not looked at.

use std::{panic::AssertUnwindSafe, time::Instant};

use axum::{
    Router,
    body::Body,
    extract::{MatchedPath, Request, State},
    http::{HeaderName, HeaderValue, Method, Uri, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use futures_util::FutureExt;
use tracing::Instrument;

use super::{
    error::{ApiError, InternalCause},
    problem::Problem,
};
use crate::{
    clock::Clock,
    domain::ids::RequestId,
    error_chain::chain,
    server::{Refusal, Refusals},
};

/// Bytes of names and values in the head of a request.
pub const HEAD_LIMIT: usize = 16 * 1024;
/// Bytes of path and query.
pub const URL_LIMIT: usize = 4 * 1024;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Puts the frame around a whole router. Unknown paths and methods become problems here.
pub fn framed(router: Router, clock: Clock) -> Router {
    router
        .fallback(|| async { ApiError::NotFound("There is nothing at this path.") })
        .method_not_allowed_fallback(|| async { ApiError::MethodNotAllowed })
        .layer(middleware::from_fn_with_state(clock, frame))
}

async fn frame(State(clock): State<Clock>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let id = RequestId::new(clock.now());
    let method = method_label(request.method());
    let route = request.extensions().get::<MatchedPath>().cloned();
    let span = tracing::info_span!("request", request_id = %id, method, route = route_label(route.as_ref()));
    request.extensions_mut().insert(id);
    let response = match refuse_head(&request) {
        Some(error) => error.into_response(),
        None => AssertUnwindSafe(next.run(request))
            .catch_unwind()
            .instrument(span.clone())
            .await
            // Where and why was told by the panic itself.
            .unwrap_or_else(|_| ApiError::internal("a panic").into_response()),
    };
    let response = span.in_scope(|| finish(response, id));
    record(method, route.as_ref(), &response, started);
    response
}

/// What is said to somebody whose request could not even be read as one.
pub fn refusals(clock: Clock) -> Refusals {
    Refusals::new(move |status| {
        let id = RequestId::new(clock.now());
        let error = match status {
            414 => ApiError::UriTooLong(URL_LIMIT),
            431 => ApiError::HeadTooLarge(HEAD_LIMIT),
            _ => ApiError::Malformed("This is not a request of HTTP/1.1.".to_owned()),
        };
        let mut response = error.into_response();
        record("other", None, &response, Instant::now());
        let problem =
            response.extensions_mut().remove::<Problem>().map(|problem| Problem { request_id: Some(id), ..problem });
        Refusal { request_id: id.to_string(), problem: serde_json::to_vec(&problem).unwrap_or_default() }
    })
}

fn refuse_head(request: &Request) -> Option<ApiError> {
    if url_length(request.uri()) > URL_LIMIT {
        return Some(ApiError::UriTooLong(URL_LIMIT));
    }
    // Each line also costs a colon, a space and a line end.
    let size: usize = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    (size > HEAD_LIMIT).then_some(ApiError::HeadTooLarge(HEAD_LIMIT))
}

fn url_length(uri: &Uri) -> usize {
    uri.path_and_query().map_or(0, |path| path.as_str().len())
}

fn finish(mut response: Response, id: RequestId) -> Response {
    if let Some(InternalCause(cause)) = response.extensions_mut().remove::<InternalCause>() {
        tracing::error!(error = %chain(&*cause), "a request failed inside the gateway");
    }
    if let Some(mut problem) = response.extensions_mut().remove::<Problem>() {
        problem.request_id = Some(id);
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        *response.body_mut() = Body::from(body);
        let headers = response.headers_mut();
        headers.remove(header::CONTENT_LENGTH);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    }
    if let Ok(value) = HeaderValue::from_str(&id.to_string()) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

/// A closed list, since a client may invent methods and every label value costs memory.
fn method_label(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "HEAD" => "HEAD",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}

fn route_label(route: Option<&MatchedPath>) -> &str {
    route.map_or("unmatched", MatchedPath::as_str)
}

fn record(method: &'static str, route: Option<&MatchedPath>, response: &Response, started: Instant) {
    let route = route_label(route).to_owned();
    let status = response.status().as_u16().to_string();
    metrics::counter!("http_requests_total", "method" => method, "route" => route.clone(), "status" => status)
        .increment(1);
    metrics::histogram!("http_request_duration_seconds", "method" => method, "route" => route)
        .record(started.elapsed());
}

#[cfg(test)]
mod tests {
    use axum::{body::to_bytes, routing::get};
    use serde_json::Value;
    use tower::ServiceExt;

    use super::*;

    #[expect(clippy::panic, reason = "what the frame has to catch")]
    async fn panics() -> &'static str {
        panic!("secret detail")
    }

    fn router() -> Router {
        let inner = Router::new().route("/boom", get(panics)).route("/fine/{name}", get(|| async { "fine" }));
        framed(inner, Clock::system())
    }

    async fn answer(request: Request) -> (Response<()>, Value) {
        let (parts, body) = router().oneshot(request).await.unwrap().into_parts();
        let bytes = to_bytes(body, usize::MAX).await.unwrap();
        (Response::from_parts(parts, ()), serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    fn request(method: &str, path: &str) -> Request {
        Request::builder().method(method).uri(path).header("x-request-id", "mine").body(Body::empty()).unwrap()
    }

    #[tokio::test]
    async fn every_fault_is_a_problem_that_carries_the_request_id_of_the_header() {
        let long = format!("/fine/{}", "x".repeat(URL_LIMIT));
        for (request, status, code) in [
            (request("GET", "/nowhere"), 404, "not_found"),
            (request("POST", "/boom"), 405, "method_not_allowed"),
            (request("GET", "/boom"), 500, "internal_error"),
            (request("GET", &long), 414, "uri_too_long"),
        ] {
            let (response, problem) = answer(request).await;
            assert_eq!(response.status(), status);
            assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
            assert_eq!((&problem["code"], &problem["status"]), (&code.into(), &status.into()));
            assert_eq!(problem["request_id"], response.headers()[&REQUEST_ID].to_str().unwrap());
            assert!(!problem.to_string().contains("secret detail"));
        }
    }

    #[tokio::test]
    async fn a_head_over_the_limit_is_refused() {
        let mut large = request("GET", "/fine/x");
        large.headers_mut().insert("x-large", HeaderValue::from_str(&"x".repeat(HEAD_LIMIT)).unwrap());
        let (response, problem) = answer(large).await;
        assert_eq!((response.status().as_u16(), &problem["code"]), (431, &"head_too_large".into()));
    }

    #[tokio::test]
    async fn an_incoming_request_id_is_not_taken_over() {
        let (response, _) = answer(request("GET", "/fine/x")).await;
        let id = response.headers()[&REQUEST_ID].to_str().unwrap();
        assert!(id.parse::<RequestId>().is_ok(), "{id}");
    }

    #[tokio::test]
    async fn calls_are_counted_by_route_template_and_status() {
        let recorder = super::super::metrics::recorder();
        let handle = recorder.handle();
        let _guard = metrics::set_default_local_recorder(&recorder);
        answer(request("GET", "/fine/first")).await;
        answer(request("GET", "/fine/second")).await;
        answer(request("BREW", "/nowhere")).await;
        let text = handle.render();
        for line in [
            r#"http_requests_total{method="GET",route="/fine/{name}",status="200"} 2"#,
            r#"http_requests_total{method="other",route="unmatched",status="404"} 1"#,
        ] {
            assert!(text.contains(line), "{line} not in\n{text}");
        }
    }
}
