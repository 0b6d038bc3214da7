//! Providers: what they can do, how they are doing, and how much money is left with them.

use std::{collections::BTreeMap, sync::PoisonError, time::Duration};

use axum::{Json, extract::State, http::StatusCode};
use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{
    auth::{OperatorMayRead, OperatorMayWrite},
    error::ApiError,
    field_reader::{FieldReader, Problems},
    json_body::JsonBody,
    messages::answer::{MessageError, Money},
    openapi::{ChangeProblems, ListProblems, ProviderProblems, ReadProblems},
    page::Page,
    path::Name,
    query::Query,
    state::{ApiState, Loaded},
};
use crate::{
    dispatch::availability::Unavailable,
    domain::{
        capabilities::{Capabilities, ContentRule, Reports},
        content::Channel,
    },
    providers::{ProviderError, ProviderErrorKind},
};

/// A balance is asked for at most this often.
const BALANCE_AGE: TimeDelta = TimeDelta::seconds(5);
const NO_PROVIDER: ApiError = ApiError::NotFound("There is no provider of this name.");
/// The driver has its own, shorter one; this only bounds the wait if it fails to keep it.
const BALANCE_TIMEOUT: Duration = Duration::from_secs(30);

/// A provider as configured, and how it is doing.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Provider {
    /// Its name.
    pub name: String,
    /// The code that speaks to it.
    #[schema(examples("huawei_sms", "nxcloud_did", "onsms_voice", "sandbox"))]
    pub driver: String,
    /// False while an operator has paused it.
    pub enabled: bool,
    /// The channel it sends on.
    pub channel: Channel,
    /// What it can do.
    pub capabilities: ProviderCapabilities,
    /// How it is doing.
    pub health: ProviderHealth,
}

/// What can be changed about a provider.
#[derive(Debug, Clone, Copy, serde::Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes a body that is read by hand, so that every fault is told at once")]
pub struct ProviderUpdate {
    /// False pauses it.
    enabled: bool,
}

/// What a provider can do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ProviderCapabilities {
    /// What content it takes.
    pub content: Vec<ContentKind>,
    /// The longest text in characters.
    pub max_text_length: Option<u32>,
    /// Recipients in one call.
    pub max_recipients_per_call: usize,
    /// How delivery is learned.
    pub reports: ReportsKind,
    /// Does it push inbound messages?
    pub inbound: bool,
    /// Can its balance be asked for?
    pub balance: bool,
    /// Which of its registrations can be managed.
    #[schema(examples(json!(["applications", "signatures", "templates", "files", "countries"])))]
    pub registrations: Vec<&'static str>,
}

/// A kind of content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ContentKind {
    /// Any text.
    Text,
    /// Templates registered with the provider.
    Template,
    /// Digits to be read out.
    Digits,
}

/// A way to learn of delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReportsKind {
    /// The provider pushes.
    Push,
    /// The gateway asks.
    Poll,
    /// Not at all.
    None,
}

/// How a provider is doing.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
pub struct ProviderHealth {
    /// `down` while no calls are made; `reason` says why.
    pub status: HealthStatus,
    /// Why it gets nothing at the moment; null while it is in use.
    pub reason: Option<UnavailableReason>,
    /// Until when, where that is known.
    pub until: Option<DateTime<Utc>>,
    /// Of calls in the last five minutes.
    pub success_ratio: Option<f64>,
    /// Of calls in the last five minutes.
    pub latency_p95_ms: Option<u32>,
    /// The last thing that went wrong.
    pub last_error: Option<MessageError>,
    /// Since when it is as it is.
    pub changed_at: Option<DateTime<Utc>>,
}

/// How a provider is doing, in a word.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum HealthStatus {
    /// Well.
    #[default]
    Up,
    /// Some calls fail.
    Degraded,
    /// No calls are made.
    Down,
}

/// Why a provider gets nothing at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum UnavailableReason {
    /// An operator paused it.
    Paused,
    /// It asked for a pause, which ends at `until`.
    Throttled,
    /// Its clock and ours differ so much that it would refuse what we sign.
    ClockOff,
    /// It refuses our account: credentials, money, quota or suspension.
    AccountFault,
    /// Too many calls failed.
    BreakerOpen,
}

impl From<Unavailable> for UnavailableReason {
    fn from(why: Unavailable) -> Self {
        match why {
            Unavailable::Paused => Self::Paused,
            Unavailable::Throttled => Self::Throttled,
            Unavailable::ClockOff => Self::ClockOff,
            Unavailable::AccountFault => Self::AccountFault,
            Unavailable::BreakerOpen => Self::BreakerOpen,
        }
    }
}

/// What the engine knows of a provider at the moment.
#[derive(Debug, Clone, PartialEq)]
pub struct ProviderState {
    /// False while an operator has paused it.
    pub enabled: bool,
    /// How it is doing.
    pub health: ProviderHealth,
}

/// Money left with a provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct BalanceAnswer {
    /// What is left.
    pub balance: Money,
    /// What may be owed, where the provider says so.
    pub credit: Option<Money>,
    /// When it was asked.
    pub checked_at: DateTime<Utc>,
}

impl From<&Capabilities> for ProviderCapabilities {
    fn from(capabilities: &Capabilities) -> Self {
        Self {
            content: vec![match capabilities.content {
                ContentRule::Text => ContentKind::Text,
                ContentRule::BoundTemplate => ContentKind::Template,
                ContentRule::Digits { max: _ } => ContentKind::Digits,
            }],
            max_text_length: capabilities.max_text_characters,
            max_recipients_per_call: capabilities.max_recipients_per_call,
            reports: match capabilities.reports {
                Reports::Push => ReportsKind::Push,
                Reports::Poll { first: _, window: _ } => ReportsKind::Poll,
                Reports::None => ReportsKind::None,
            },
            inbound: capabilities.inbound,
            balance: capabilities.balance,
            registrations: capabilities.registrations.clone(),
        }
    }
}

impl Provider {
    fn find(name: &str, loaded: &Loaded, states: &BTreeMap<String, ProviderState>) -> Option<Self> {
        let section = loaded.config.providers.get(name)?;
        let capabilities = loaded.capabilities(name)?;
        let state = states.get(name);
        Some(Self {
            name: name.into(),
            driver: section.driver.clone(),
            enabled: state.is_none_or(|state| state.enabled),
            channel: capabilities.channel,
            capabilities: capabilities.into(),
            health: state.map(|state| state.health.clone()).unwrap_or_default(),
        })
    }
}

/// List providers with capabilities and health
#[utoipa::path(
    get, path = "/v1/providers", operation_id = "listProviders", tag = "Providers",
    responses((status = 200, description = "All providers.", body = Page<Provider>), ListProblems),
    extensions(("x-role" = json!("operator"))),
)]
pub async fn list(
    State(state): State<ApiState>,
    _: OperatorMayRead,
    query: Query,
) -> Result<Json<Page<Provider>>, ApiError> {
    query.finish()?;
    let (loaded, states) = (state.loaded.load(), state.provider_states.load());
    let names = loaded.config.providers.keys();
    Ok(Json(Page::whole(names.filter_map(|name| Provider::find(name, &loaded, &states)).collect())))
}

/// Read a provider
#[utoipa::path(
    get, path = "/v1/providers/{provider}", operation_id = "getProvider", tag = "Providers",
    params(("provider" = String, Path, pattern = "^[a-z][a-z0-9_]{0,62}$")),
    responses((status = 200, description = "The provider.", body = Provider), ReadProblems),
    extensions(("x-role" = json!("operator"))),
)]
pub async fn get(
    State(state): State<ApiState>,
    _: OperatorMayRead,
    Name(name): Name,
) -> Result<Json<Provider>, ApiError> {
    let (loaded, states) = (state.loaded.load(), state.provider_states.load());
    Provider::find(&name, &loaded, &states).map(Json).ok_or(NO_PROVIDER)
}

/// Pause or resume a provider
///
/// A paused provider gets nothing; its messages go to the next step of their route, where there is one. Every process follows
/// within a second, and a restart does not resume it. To resume one also lifts a throttle and lets the next message try at once
/// what a fault of the account or an open breaker would have made it wait for.
#[utoipa::path(
    patch, path = "/v1/providers/{provider}", operation_id = "updateProvider", tag = "Providers",
    params(("provider" = String, Path, pattern = "^[a-z][a-z0-9_]{0,62}$")),
    request_body = ProviderUpdate,
    responses((status = 200, description = "The provider.", body = Provider), ChangeProblems),
    extensions(("x-role" = json!("operator"))),
)]
pub async fn update(
    State(state): State<ApiState>,
    _: OperatorMayWrite,
    Name(name): Name,
    JsonBody(body): JsonBody,
) -> Result<Json<Provider>, ApiError> {
    let enabled = read_update(&body)?;
    let loaded = state.loaded.load();
    let states = state.provider_states.load();
    let mut provider = Provider::find(&name, &loaded, &states).ok_or(NO_PROVIDER)?;
    state.engine.switch_provider(&name, enabled).await?;
    provider.enabled = enabled;
    Ok(Json(provider))
}

fn read_update(body: &Value) -> Result<bool, ApiError> {
    let mut problems = Problems::default();
    let mut enabled = None;
    if let Some(mut reader) = FieldReader::new(body, String::new(), &mut problems) {
        reader.require("enabled");
        enabled = reader.boolean("enabled");
        reader.finish();
    }
    problems.check()?;
    enabled.ok_or_else(|| ApiError::internal("a required field was neither read nor missed"))
}

/// Release all sending
///
/// After a start with `--hold` messages are taken in but none is sent until this is called. Harmless to repeat.
#[utoipa::path(
    post, path = "/v1/release", operation_id = "releaseSending", tag = "Operations",
    responses((status = 204, description = "All sending is released."), ListProblems),
    extensions(("x-role" = json!("operator"))),
)]
pub async fn release(State(state): State<ApiState>, _: OperatorMayWrite) -> Result<StatusCode, ApiError> {
    state.engine.switch_sending(true).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ask the provider for the balance
///
/// Kept for a few seconds. `404 capability_unsupported` where the provider cannot be asked.
#[utoipa::path(
    get, path = "/v1/providers/{provider}/balance", operation_id = "getProviderBalance", tag = "Providers",
    params(("provider" = String, Path, pattern = "^[a-z][a-z0-9_]{0,62}$")),
    responses((status = 200, description = "The balance.", body = BalanceAnswer), ReadProblems, ProviderProblems),
    extensions(("x-role" = json!("operator"))),
)]
pub async fn balance(
    State(state): State<ApiState>,
    _: OperatorMayRead,
    Name(name): Name,
) -> Result<Json<BalanceAnswer>, ApiError> {
    let provider = state.loaded.load().providers.get(&name).cloned().ok_or(NO_PROVIDER)?;
    if !provider.capabilities().balance {
        return Err(ApiError::CapabilityUnsupported("The provider cannot be asked for a balance."));
    }
    let asked_at = state.clock.now();
    let known = state.balances.lock().unwrap_or_else(PoisonError::into_inner).get(&name).cloned();
    if let Some(known) = known.filter(|known| asked_at - known.checked_at < BALANCE_AGE) {
        return Ok(Json(known));
    }
    let asked = tokio::time::timeout(BALANCE_TIMEOUT, provider.balance()).await;
    let balance = asked.map_err(|_| ApiError::ProviderTimeout)?.map_err(|error| answer_of(&name, error))?;
    let balance = Money { amount: balance.amount, currency: balance.currency };
    let answer = BalanceAnswer { balance, credit: None, checked_at: asked_at };
    state.balances.lock().unwrap_or_else(PoisonError::into_inner).insert(name, answer.clone());
    Ok(Json(answer))
}

fn answer_of(provider: &str, error: ProviderError) -> ApiError {
    tracing::warn!(provider, error = %crate::error_chain::chain(&error), "a balance could not be asked for");
    match error.kind {
        ProviderErrorKind::Unsupported => {
            ApiError::CapabilityUnsupported("The provider cannot be asked for a balance.")
        }
        ProviderErrorKind::OutcomeUnknown => ApiError::ProviderTimeout,
        ProviderErrorKind::NotConnected | ProviderErrorKind::Refused => {
            let message = error.verdict.error.map(|code| code.message().to_owned());
            ApiError::Provider { code: error.provider_code, message }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::api::testing::{get, state};

    #[tokio::test]
    async fn a_provider_shows_what_its_driver_says_and_what_the_engine_knows() {
        let state = state();
        let health = ProviderHealth { status: HealthStatus::Down, ..ProviderHealth::default() };
        let paused = ProviderState { enabled: false, health };
        state.provider_states.store(Arc::new([("nxcloud".to_owned(), paused)].into()));
        let (status, body) = get(&state, "audit-key", "/v1/providers/nxcloud").await;
        let expected = json!({
            "name": "nxcloud", "driver": "nxcloud_did", "enabled": false, "channel": "sms",
            "capabilities": {
                "content": ["text"], "max_text_length": 700, "max_recipients_per_call": 1, "reports": "push",
                "inbound": true, "balance": true, "registrations": [],
            },
            "health": {
                "status": "down", "reason": null, "until": null, "success_ratio": null, "latency_p95_ms": null, "last_error": null,
                "changed_at": null,
            },
        });
        assert_eq!((status, body), (200, expected));
    }

    #[tokio::test]
    async fn every_provider_is_listed_and_one_nobody_spoke_of_is_up() {
        let (_, body) = get(&state(), "ops-key", "/v1/providers").await;
        let names: Vec<_> = body["data"].as_array().unwrap().iter().map(|provider| &provider["name"]).collect();
        assert_eq!(names, ["huawei", "nxcloud", "sandbox"]);
        assert!(body["data"].as_array().unwrap().iter().all(|provider| provider["health"]["status"] == "up"));
    }

    #[tokio::test]
    async fn a_balance_is_kept_for_a_few_seconds() {
        let state = state();
        let path = "/v1/providers/nxcloud/balance";
        let (status, first) = get(&state, "ops-key", path).await;
        assert_eq!((status, &first["balance"]), (200, &json!({ "amount": "1", "currency": "USD" })));
        assert_eq!(get(&state, "ops-key", path).await.1, first);
        state.clock.advance(Duration::from_secs(6));
        assert_eq!(get(&state, "ops-key", path).await.1["balance"]["amount"], "2");
    }

    #[tokio::test]
    async fn what_cannot_be_asked_is_said_so() {
        let state = state();
        for (provider, status, code) in [
            ("sandbox", 404, "capability_unsupported"),
            ("no_such", 404, "not_found"),
            ("huawei", 502, "provider_error"),
        ] {
            let (got, problem) = get(&state, "ops-key", &format!("/v1/providers/{provider}/balance")).await;
            assert_eq!((got, &problem["code"]), (status, &json!(code)), "{provider}");
        }
        let (_, problem) = get(&state, "ops-key", "/v1/providers/huawei/balance").await;
        assert_eq!(problem["provider_code"], "E000027");
    }
}
