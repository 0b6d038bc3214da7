//! A state with a small configuration and scripted providers, for the tests of the handlers.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use axum::{
    body::{Body, to_bytes},
    http::{Request, header, response::Parts},
};
use serde_json::Value;
use sqlx::postgres::PgConnectOptions;
use tower::ServiceExt;

use super::{
    metrics, router,
    send_rates::SendRates,
    state::{ApiState, Loaded},
};
use crate::{
    clock::Clock,
    config::{Config, KeyHash, load},
    dispatch::{self, Duties, Engine, Live},
    domain::{
        capabilities::{Capabilities, ContentRule, Reports},
        content::Channel,
        error_code::ErrorCode,
        verdict::{FailoverAllowed, NeutralStatus, Scope, Verdict},
    },
    keys::KeyRing,
    private_file::tests::Folder,
    providers::{
        Balance, Call, Callback, CallbackAnswers, CallbackEvent, CallbackRejected, Outcome, Provider, ProviderError,
        ProviderErrorKind,
    },
    secrets::Secrets,
    store::Db,
};

const CONFIG: &str = r#"
[providers.huawei]
driver = "huawei_sms"
from = "isms1"
[providers.nxcloud]
driver = "nxcloud_did"
from = "8615088888888"

[templates.login_code]
text = "Your code is {{code}}"
category = "otp"
params = [{ name = "code", pattern = "[0-9]{4,6}" }]
[templates.login_code.bindings.huawei]
template_id = "8ff55eac"
params = ["code"]
from = "csms100000001"
[templates.parcel]
text = "Your parcel waits at {{place}}"
category = "transactional"
validity_period = 3600
params = [{ name = "place", max_length = 30 }]

[routes.everything]
priority = 50
steps = [{ provider = "sandbox" }]
[routes.otp_vn]
priority = 10
match = { apps = ["shop"], countries = ["VN"], prefixes = ["+8436"], categories = ["otp"] }
steps = [{ provider = "nxcloud", from = "8615088888888" }, { provider = "sandbox", after_seconds = 45 }]
failover = "on_undelivered"

[apps.shop]
keys = ["KEY(shop-key)"]
callback_hosts = ["shop.internal"]
[apps.bank]
keys = ["KEY(bank-key)"]
countries = ["VN"]
routes = ["otp_vn"]
providers = ["nxcloud"]
templates = ["login_code"]
senders = ["BANK"]
max_segments = 1
[apps.ops]
role = "operator"
keys = ["KEY(ops-key)"]
[apps.audit]
role = "auditor"
keys = ["KEY(audit-key)"]
"#;

/// The configuration of the tests.
pub fn config() -> Config {
    let mut text = CONFIG.to_owned();
    for key in ["shop-key", "bank-key", "ops-key", "audit-key"] {
        text = text.replace(&format!("KEY({key})"), &KeyHash::of(key).to_string());
    }
    let folder = Folder::new();
    let path = folder.0.join("gateway.toml");
    std::fs::write(&path, text).unwrap();
    load(Some(&path), std::iter::empty()).unwrap_or_else(|errors| panic!("{errors}"))
}

/// A state of its own for each test.
pub fn state() -> ApiState {
    let config = config();
    let providers = config.providers.keys().map(|name| {
        let provider: Arc<dyn Provider> = Arc::new(Scripted::new(name));
        (name.clone(), provider)
    });
    let providers: BTreeMap<_, _> = providers.collect();
    let keys = KeyRing::new(&config.apps);
    let config = Arc::new(config);
    let engine = idle_engine(config.clone());
    let loaded = Loaded { send_rates: SendRates::new(&config.apps), config, keys, providers };
    let handle = metrics::recorder().handle();
    ApiState::new(Arc::new(ArcSwap::from_pointee(loaded)), engine, Clock::system(), handle)
}

/// An engine that does nothing, over a database that is not there: nothing here asks it.
fn idle_engine(config: Arc<Config>) -> Engine {
    let key = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=".into();
    let secrets = Secrets::load(&[key], std::path::Path::new("unused"), &mut rand::rng()).unwrap();
    let parts = dispatch::Parts {
        db: Db::open(PgConnectOptions::new().host("127.0.0.1").port(9), 8),
        clock: Clock::system(),
        secrets: Arc::new(secrets),
        live: Live::new(config, BTreeMap::new()),
        held: false,
        feed: tokio::sync::mpsc::channel(1).1,
    };
    Engine::start(parts, Duties { intake: false, dispatch: false })
}

/// Asks and gives back the status and the JSON of the answer.
pub async fn get(state: &ApiState, key: &str, path: &str) -> (u16, Value) {
    let (parts, body) = send(state, key, path).await;
    (parts.status.as_u16(), body)
}

/// Asks and gives back the whole head of the answer; the body is null when it is no JSON.
pub async fn send(state: &ApiState, key: &str, path: &str) -> (Parts, Value) {
    let mut request = Request::get(path);
    if !key.is_empty() {
        request = request.header(header::AUTHORIZATION, format!("Bearer {key}"));
    }
    let response =
        router::router(state.clone(), axum::Router::new()).oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let (parts, body) = response.into_parts();
    let bytes = to_bytes(body, usize::MAX).await.unwrap();
    (parts, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
}

/// `nxcloud` has one dollar more each time it is asked, `huawei` refuses to say, the others cannot be asked.
#[derive(Debug)]
struct Scripted {
    name: String,
    capabilities: Capabilities,
    asked: AtomicU32,
}

impl Scripted {
    fn new(name: &str) -> Self {
        let capabilities = Capabilities {
            channel: Channel::Sms,
            content: ContentRule::Text,
            max_text_characters: Some(700),
            max_recipients_per_call: 1,
            max_call_bytes: 65_536,
            reports: Reports::Push,
            inbound: true,
            balance: matches!(name, "nxcloud" | "huawei"),
            echoes_reference: false,
            report_url_per_call: false,
            heuristic_match: false,
            countries: None,
            test_numbers: false,
            breaker_exempt: false,
            registrations: Vec::new(),
            clock_tolerance: None,
        };
        Self { name: name.into(), capabilities, asked: AtomicU32::new(0) }
    }
}

#[async_trait]
impl Provider for Scripted {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn submit(&self, _: &Call) -> Result<Vec<Outcome>, ProviderError> {
        Err(ProviderError::unsupported())
    }

    fn verify_callback(&self, _: &Callback) -> Result<(), CallbackRejected> {
        Err(CallbackRejected::Signature("scripted"))
    }

    fn parse_callback(&self, _: &Callback) -> Result<Vec<CallbackEvent>, CallbackRejected> {
        Err(CallbackRejected::Malformed("scripted".into()))
    }

    fn callback_answers(&self) -> CallbackAnswers {
        CallbackAnswers { content_type: "text/plain", success: "success", failure: "error" }
    }

    async fn balance(&self) -> Result<Balance, ProviderError> {
        if self.name == "nxcloud" {
            let amount = self.asked.fetch_add(1, Ordering::Relaxed) + 1;
            return Ok(Balance { amount: amount.to_string(), currency: Some("USD".into()) });
        }
        Err(ProviderError {
            kind: ProviderErrorKind::Refused,
            verdict: Verdict {
                status: NeutralStatus::Failed,
                error: Some(ErrorCode::ProviderAccessDenied),
                category: None,
                retryable: false,
                failover: FailoverAllowed::No,
                retry_here: false,
                resend_allowed: true,
                scope: Scope::Account,
            },
            provider_code: Some("E000027".into()),
            retry_after: None,
            source: None,
        })
    }
}
