//! What machines ask without a key: is the process alive, can it take traffic, what does it count.

use std::collections::BTreeMap;

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
};
use serde::Serialize;
use utoipa::ToSchema;

use super::state::ApiState;

/// The answer of a health check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Health {
    /// All in all.
    pub status: CheckStatus,
    /// The version of the gateway.
    pub version: &'static str,
    /// Each part by itself.
    pub checks: BTreeMap<&'static str, CheckStatus>,
}

/// The answer of one check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CheckStatus {
    /// Fine.
    Ok,
    /// Not.
    Fail,
}

impl CheckStatus {
    fn of(fine: bool) -> Self {
        if fine { Self::Ok } else { Self::Fail }
    }
}

/// Is the process alive
#[utoipa::path(
    get, path = "/healthz", operation_id = "getLiveness", tag = "Operations", security(()),
    responses((status = 200, description = "Yes.", body = Health)),
)]
pub async fn healthz() -> Json<Health> {
    Json(Health { status: CheckStatus::Ok, version: env!("CARGO_PKG_VERSION"), checks: BTreeMap::new() })
}

/// Can this instance take traffic
///
/// Looks at the database, its migrations and whether the process is about to stop. A provider that is down never makes the
/// gateway unready.
#[utoipa::path(
    get, path = "/readyz", operation_id = "getReadiness", tag = "Operations", security(()),
    responses(
        (status = 200, description = "Yes.", body = Health),
        (status = 503, description = "No; `checks` says why.", body = Health),
    ),
)]
pub async fn readyz(State(state): State<ApiState>) -> impl IntoResponse {
    let readiness = state.readiness.load();
    let ready = !readiness.is_empty() && readiness.values().all(|fine| *fine);
    let checks = readiness.iter().map(|(part, fine)| (*part, CheckStatus::of(*fine))).collect();
    let health = Health { status: CheckStatus::of(ready), version: env!("CARGO_PKG_VERSION"), checks };
    (if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, Json(health))
}

/// Metrics for Prometheus
#[utoipa::path(
    get, path = "/metrics", operation_id = "getMetrics", tag = "Operations", security(()),
    responses((status = 200, description = "The metrics.", body = String, content_type = "text/plain")),
)]
pub async fn metrics(State(state): State<ApiState>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], state.metrics.render())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use crate::api::testing::{get, state};

    #[tokio::test]
    async fn ready_is_only_who_has_checked_everything() {
        let state = state();
        assert_eq!(get(&state, "", "/readyz").await.0, 503);
        state.readiness.store(Arc::new([("database", true), ("migrations", false)].into()));
        let (status, body) = get(&state, "", "/readyz").await;
        assert_eq!(status, 503);
        assert_eq!(body["checks"], json!({ "database": "ok", "migrations": "fail" }));
        state.readiness.store(Arc::new([("database", true), ("migrations", true)].into()));
        let (status, body) = get(&state, "", "/readyz").await;
        assert_eq!((status, &body["status"]), (200, &json!("ok")));
    }

    #[tokio::test]
    async fn a_process_that_is_not_ready_is_still_alive() {
        let (status, body) = get(&state(), "", "/healthz").await;
        assert_eq!((status, &body["status"]), (200, &json!("ok")));
    }
}
