//! The clients of the API, as configured. Never a key, a hash or a secret.

use std::collections::HashMap;

use axum::{Json, extract::State};
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::{auth::OperatorMayRead, error::ApiError, openapi::ListProblems, page::Page, query::Query, state::ApiState};
use crate::{
    config::{self, Role},
    domain::{Timestamp, event::EventType},
    store::deliveries,
};

/// A client of the API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct App {
    /// Its name.
    pub name: String,
    /// What its keys may do.
    pub role: AppRole,
    /// Where its events go.
    #[schema(format = "uri")]
    pub webhook_url: Option<String>,
    /// Which events; empty: all.
    pub webhook_events: Vec<EventType>,
    /// Set when the webhook answered 410: nothing is sent there. It is on again when `webhook_url` changes, or when it takes an
    /// event that was redelivered.
    pub webhook_disabled_at: Option<DateTime<Utc>>,
    /// Hosts that `webhook_url` and `callback_url` may name.
    pub callback_hosts: Vec<String>,
    /// Our numbers whose inbound messages are this app's.
    pub inbound_numbers: Vec<String>,
    /// When no route matches.
    pub default_route: Option<String>,
    /// Messages a second.
    pub rate_per_second: Option<u32>,
    /// Messages a day (UTC).
    pub daily_limit: Option<u64>,
    /// Countries it may send to; null: any.
    pub countries: Option<Vec<String>>,
    /// Routes that its requests may name; null: any.
    pub routes: Option<Vec<String>>,
    /// Providers that its requests may name; null: any.
    pub providers: Option<Vec<String>>,
    /// Templates that its requests may name; null: any.
    pub templates: Option<Vec<String>>,
    /// Senders that its requests may name; null: any.
    pub senders: Option<Vec<String>>,
    /// Segments of one message; null: the general limit.
    pub max_segments: Option<u16>,
}

/// What a key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AppRole {
    /// What is its own.
    App,
    /// Everything.
    Operator,
    /// Reads everything, changes nothing.
    Auditor,
}

impl From<Role> for AppRole {
    fn from(role: Role) -> Self {
        match role {
            Role::App => Self::App,
            Role::Operator => Self::Operator,
            Role::Auditor => Self::Auditor,
        }
    }
}

impl App {
    fn new(name: &str, app: &config::App, off: &HashMap<(String, String), Timestamp>) -> Self {
        let webhook_url = app.webhook_url.as_ref().map(|url| url.as_str().to_owned());
        let webhook_disabled_at =
            webhook_url.as_ref().and_then(|url| off.get(&(name.to_owned(), url.clone()))).copied();
        Self {
            name: name.to_owned(),
            role: app.role.into(),
            webhook_url,
            webhook_events: app.webhook_events.clone(),
            webhook_disabled_at,
            callback_hosts: app.callback_hosts.clone(),
            inbound_numbers: app.inbound_numbers.clone(),
            default_route: app.default_route.clone(),
            rate_per_second: app.rate_per_second,
            daily_limit: app.daily_limit,
            countries: app.countries.clone(),
            routes: app.routes.clone(),
            providers: app.providers.clone(),
            templates: app.templates.clone(),
            senders: app.senders.clone(),
            max_segments: app.max_segments,
        }
    }
}

/// List apps
///
/// As configured, by name. Keys and secrets are never shown.
#[utoipa::path(
    get, path = "/v1/apps", operation_id = "listApps", tag = "Apps",
    responses((status = 200, description = "All apps.", body = Page<App>), ListProblems),
    extensions(("x-role" = json!("operator"))),
)]
pub async fn list(
    State(state): State<ApiState>,
    _: OperatorMayRead,
    query: Query,
) -> Result<Json<Page<App>>, ApiError> {
    query.finish()?;
    let off = state.engine.db().read(|connection| Box::pin(deliveries::switched_off_webhooks(connection))).await?;
    let loaded = state.loaded.load();
    Ok(Json(Page::whole(loaded.config.apps.iter().map(|(name, app)| App::new(name, app, &off)).collect())))
}
