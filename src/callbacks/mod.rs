//! What carriers call: `POST /callbacks/{provider}/{token}`.
//!
//! One address for each provider takes single reports, batches, receipts and inbound messages alike. The order is fixed: the
//! address, the sender's network, the driver's own check of the raw bytes, and only then is anything read. A push is durable
//! before it is answered. What cannot be read is kept too: the carrier will not come again.

pub(crate) mod address;
pub(crate) mod token;

use std::net::SocketAddr;

use axum::{
    Router,
    extract::{ConnectInfo, Path, Request, State, rejection::PathRejection},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};

use crate::{
    api::{error::ApiError, json_body},
    dispatch::{Engine, LiveProvider},
    providers::{Callback, CallbackAnswers, CallbackEvent, CallbackRejected},
};

/// Bytes of one push.
const BODY_LIMIT: usize = 256 * 1024;

/// The addresses that carriers call.
pub fn router(engine: Engine) -> Router {
    Router::new().route("/callbacks/{provider}/{token}", post(take)).with_state(engine)
}

async fn take(
    State(engine): State<Engine>,
    path: Result<Path<(String, String)>, PathRejection>,
    peer: Option<axum::Extension<ConnectInfo<SocketAddr>>>,
    request: Request,
) -> Response {
    let live = engine.live();
    let nowhere = || ApiError::NotFound("There is nothing at this path.").into_response();
    let Ok(Path((name, token))) = path else { return nowhere() };
    let Some(provider) = live.providers.get(&name) else { return nowhere() };
    let peer = peer.map(|axum::Extension(ConnectInfo(peer))| peer.ip());
    let from = address::client(peer, request.headers(), &live.config.server.trusted_proxies);
    let allowed = &provider.section.callback_allow;
    if !allowed.is_empty() && !from.is_some_and(|from| allowed.iter().any(|network| network.contains(&from))) {
        refused(&name, "address");
        return nowhere();
    }
    let Some(named) = token::check(&name, &token, &provider.section.callback_token, engine.secrets()) else {
        refused(&name, "token");
        return nowhere();
    };
    if matches!(named, token::Named::Call(_)) && !provider.capabilities().report_url_per_call {
        refused(&name, "token");
        return nowhere();
    }
    let answers = provider.driver.callback_answers();
    let callback = match read(&engine, request, named).await {
        Ok(callback) => callback,
        Err(error) => {
            let mut response = answer(answers, error.status(), answers.failure);
            // What is left of the body is not read, so the connection cannot be used again.
            response.headers_mut().insert(header::CONNECTION, header::HeaderValue::from_static("close"));
            return response;
        }
    };
    settle(&engine, provider, &callback, answers).await
}

/// The push as the driver sees it, unless its body is too large, too slow or breaks off.
async fn read(engine: &Engine, request: Request, named: token::Named) -> Result<Callback, ApiError> {
    let received_at = engine.clock().now();
    let (head, body) = request.into_parts();
    let body = json_body::read(Request::new(body), BODY_LIMIT).await?;
    let path_and_query = head.uri.path_and_query().map_or_else(String::new, |path| path.as_str().to_owned());
    let call_reference = match named {
        token::Named::Provider => None,
        token::Named::Call(reference) => Some(reference),
    };
    Ok(Callback { headers: kept_headers(&head.headers), path_and_query, body, call_reference, received_at })
}

/// The headers that a driver may need. Credentials of proxies and cookies are nobody's business.
fn kept_headers(headers: &HeaderMap) -> Vec<(String, String)> {
    let unwanted = ["cookie", "proxy-authorization", "forwarded", "x-forwarded-for", "x-real-ip"];
    headers
        .iter()
        .filter(|(name, _)| !unwanted.contains(&name.as_str()))
        .map(|(name, value)| (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect()
}

async fn settle(engine: &Engine, provider: &LiveProvider, push: &Callback, answers: CallbackAnswers) -> Response {
    if let Err(rejected) = provider.driver.verify_callback(push) {
        refused(&provider.name, "signature");
        tracing::warn!(provider = provider.name, reason = %rejected, "a push was refused");
        return answer(answers, StatusCode::UNAUTHORIZED, answers.failure);
    }
    let kept = match provider.driver.parse_callback(push) {
        // The address of one call is for its reports; whoever knows it may not speak for the whole provider.
        Ok(events) if push.call_reference.is_some() && !events.iter().all(is_report) => {
            refused(&provider.name, "kind");
            return answer(answers, StatusCode::UNAUTHORIZED, answers.failure);
        }
        Ok(events) => engine.take_in(&provider.name, push, events).await,
        Err(CallbackRejected::Signature(reason)) => {
            refused(&provider.name, "signature");
            tracing::warn!(provider = provider.name, reason, "a push was refused");
            return answer(answers, StatusCode::UNAUTHORIZED, answers.failure);
        }
        Err(CallbackRejected::Malformed(problem)) => {
            refused(&provider.name, "unreadable");
            tracing::warn!(provider = provider.name, problem, "a push could not be read; it is kept");
            engine.keep_unreadable(&provider.name, push, &problem).await
        }
    };
    if kept.is_ok() {
        return answer(answers, StatusCode::OK, answers.success);
    }
    let mut response = answer(answers, StatusCode::SERVICE_UNAVAILABLE, answers.failure);
    response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("5"));
    response
}

fn is_report(event: &CallbackEvent) -> bool {
    match event {
        CallbackEvent::Report(_) | CallbackEvent::Unreadable { .. } => true,
        CallbackEvent::Inbound(_) | CallbackEvent::ReportOrInbound(..) => false,
    }
}

fn answer(answers: CallbackAnswers, status: StatusCode, body: &'static str) -> Response {
    (status, [(header::CONTENT_TYPE, answers.content_type)], body).into_response()
}

fn refused(provider: &str, why: &'static str) {
    metrics::counter!("sms_gateway_callbacks_refused_total", "provider" => provider.to_owned(), "reason" => why)
        .increment(1);
}
