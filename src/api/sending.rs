//! Who may send now: what can be refused before any work is done, before even the body is read, and what the answers say about
//! the app's limits.
//!
//! The order: the key, then the app's rate, then whether there is room. The headers are those of the IETF draft
//! (`draft-ietf-httpapi-ratelimit-headers`): policies named `second` and `day`.

use std::time::Duration;

use axum::{
    extract::Request,
    http::{HeaderName, HeaderValue, Method, StatusCode},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::{
    auth::{self, MaySend},
    error::{ApiError, SOON},
    problem::ProblemCode,
    state::ApiState,
};
use crate::{dispatch::screen::until_next_day, keys::Identity};

const PATHS: [&str; 2] = ["/v1/messages", "/v1/batches"];
const LEFT: HeaderName = HeaderName::from_static("ratelimit");
const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const DAY: u64 = 86_400;

/// Does this request send something?
pub fn is_for(request: &Request) -> bool {
    request.method() == Method::POST && PATHS.contains(&request.uri().path())
}

/// Too much is being stored.
pub fn no_room() -> ApiError {
    ApiError::Unavailable { retry_after: SOON, detail: "Too many requests are waiting." }
}

/// Refuses a request to send, or lets it in.
pub async fn admit(state: &ApiState, mut request: Request, next: Next) -> Response {
    let identity = match auth::may_write(request.headers(), state) {
        Ok(identity) => identity,
        Err(error) => return error.into_response(),
    };
    let mut response = match take(state, &identity) {
        Ok(()) => {
            request.extensions_mut().insert(MaySend(identity.clone()));
            let response = next.run(request).await;
            // Nothing was done, or the same request will be made again.
            if response.status() == StatusCode::SERVICE_UNAVAILABLE {
                state.loaded.load().send_rates.give_back(&identity.app);
            }
            response
        }
        Err(error) => error.into_response(),
    };
    tell_limits(state, &identity, &mut response);
    response
}

fn take(state: &ApiState, identity: &Identity) -> Result<(), ApiError> {
    let loaded = state.loaded.load();
    loaded.send_rates.take(&identity.app).map_err(|retry_after| ApiError::Limited {
        code: ProblemCode::RateLimited,
        retry_after,
        detail: "The app sends faster than its rate_per_second.".to_owned(),
        pointer: None,
    })?;
    if state.storing.has_room() {
        return Ok(());
    }
    loaded.send_rates.give_back(&identity.app);
    Err(no_room())
}

/// Adds what the app's limits are and what is left of them. Nothing where it has none.
fn tell_limits(state: &ApiState, identity: &Identity, response: &mut Response) {
    let loaded = state.loaded.load();
    let Some(app) = loaded.config.apps.get(&identity.app) else { return };
    let (mut policies, mut left) = (Vec::new(), Vec::new());
    if let Some((rate, found)) = app.rate_per_second.zip(loaded.send_rates.left(&identity.app)) {
        policies.push(format!("\"second\";q={rate};w=1"));
        left.push(format!("\"second\";r={};t={}", found.requests, whole_seconds(found.full_in)));
    }
    if let Some(limit) = app.daily_limit {
        policies.push(format!("\"day\";q={limit};w={DAY}"));
        // Until a message of this process was counted, it does not know what others have sent.
        if let Some(sent) = state.engine.sent_today(&identity.app) {
            let next = whole_seconds(until_next_day(state.clock.now()));
            left.push(format!("\"day\";r={};t={next}", limit.saturating_sub(sent)));
        }
    }
    for (name, values) in [(POLICY, policies), (LEFT, left)] {
        if let Ok(value) = HeaderValue::from_str(&values.join(", "))
            && !value.is_empty()
        {
            response.headers_mut().insert(name, value);
        }
    }
}

/// Rounded up: nobody shall come back too early.
fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}
