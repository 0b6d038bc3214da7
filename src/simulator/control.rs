//! `/_control`: what a test in another process asks of the simulator, and what it may look at.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json, Router,
    extract::{Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    behaviour::{Behaviour, Protocol, canonical_number},
    ledger::{Accepted, Double, ProtocolCounts},
    options::Settings,
    push::{InboundPush, Push, PushCounts, PushRecord},
    script::Script,
    world::World,
};

/// All counters at one moment.
#[derive(Debug, Clone, Serialize)]
pub struct Counts {
    /// By protocol.
    pub providers: BTreeMap<Protocol, ProtocolCounts>,
    /// Pushes.
    pub pushes: PushCounts,
    /// Acceptances beyond the first of the same content for the same recipient.
    pub doubled: u64,
    /// Messages whose doubles could not be noticed for lack of room.
    pub untracked: u64,
    /// Scripts that wait for a call.
    pub scripts_waiting: usize,
}

/// Why an inbound message cannot be pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InboundRefused {
    /// The settings have no address for it.
    #[error("no address is set for inbound messages of this provider")]
    NoAddress,
    /// Voice has no inbound messages.
    #[error("voice has no inbound messages")]
    NoInbound,
}

pub(super) fn router() -> Router<Arc<World>> {
    Router::new()
        .route("/_control/script", post(add_script))
        .route("/_control/inbound", post(push_inbound))
        .route("/_control/calls", get(calls))
        .route("/_control/pushes", get(pushes))
        .route("/_control/counts", get(counts))
        .route("/_control/doubles", get(doubles))
        .route("/_control/idle", get(idle))
        .route("/_control/reset", post(reset))
        .route("/_control/management", get(management))
        .route("/_control/management/review", post(review))
        .route("/_control/management/fate", post(management_fate))
        .route("/_control/management/revoke", post(revoke))
        .route("/_control/settings", get(settings).post(change_settings))
}

async fn add_script(State(world): State<Arc<World>>, Json(script): Json<Script>) -> StatusCode {
    world.scripts.add(script);
    StatusCode::NO_CONTENT
}

async fn push_inbound(State(world): State<Arc<World>>, Json(inbound): Json<InboundPush>) -> Response {
    match schedule_inbound(&world, inbound) {
        Ok(id) => (StatusCode::ACCEPTED, Json(json!({ "message_id": id }))).into_response(),
        Err(refused) => problem(&refused.to_string()),
    }
}

/// What a list is narrowed to.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Wanted {
    provider: Option<Protocol>,
    to: Option<String>,
    limit: Option<usize>,
}

async fn calls(State(world): State<Arc<World>>, Query(wanted): Query<Wanted>) -> Json<Vec<Arc<Accepted>>> {
    let to = wanted.to.as_deref().map(canonical_number);
    let fits = |call: &Arc<Accepted>| {
        wanted.provider.is_none_or(|provider| provider == call.provider)
            && to.as_ref().is_none_or(|to| *to == canonical_number(&call.to))
    };
    let calls: Vec<_> = world.ledger.accepted().into_iter().filter(fits).collect();
    Json(last(calls, wanted.limit))
}

async fn pushes(State(world): State<Arc<World>>, Query(wanted): Query<Wanted>) -> Json<Vec<PushRecord>> {
    let fits = |push: &PushRecord| wanted.provider.is_none_or(|provider| provider == push.provider);
    let pushes: Vec<_> = world.pusher.records().into_iter().filter(fits).collect();
    Json(last(pushes, wanted.limit))
}

fn last<T>(mut list: Vec<T>, limit: Option<usize>) -> Vec<T> {
    let skipped = limit.map_or(0, |limit| list.len().saturating_sub(limit));
    list.drain(..skipped);
    list
}

async fn counts(State(world): State<Arc<World>>) -> Json<Counts> {
    Json(count(&world))
}

async fn doubles(State(world): State<Arc<World>>) -> Json<Vec<Double>> {
    Json(world.ledger.doubles())
}

async fn idle(State(world): State<Arc<World>>) -> StatusCode {
    world.pusher.idle().await;
    StatusCode::NO_CONTENT
}

async fn reset(State(world): State<Arc<World>>) -> StatusCode {
    world.reset();
    StatusCode::NO_CONTENT
}

async fn management(State(world): State<Arc<World>>) -> Json<Value> {
    Json(json!({ "logins": world.management.logins(), "calls": world.management.calls() }))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Review {
    id: String,
    status: String,
    #[serde(default)]
    note: String,
}

async fn review(State(world): State<Arc<World>>, Json(review): Json<Review>) -> Response {
    match world.management.review(&review.id, &review.status, &review.note) {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(refused) => problem(&refused.to_string()),
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fate {
    #[serde(default)]
    login: bool,
    behaviour: Behaviour,
}

async fn management_fate(State(world): State<Arc<World>>, Json(fate): Json<Fate>) -> StatusCode {
    world.management.decide(fate.login, fate.behaviour);
    StatusCode::NO_CONTENT
}

async fn revoke(State(world): State<Arc<World>>) -> StatusCode {
    world.management.revoke_tokens();
    StatusCode::NO_CONTENT
}

async fn settings(State(world): State<Arc<World>>) -> Json<Settings> {
    Json(Settings::clone(&world.settings.load()))
}

async fn change_settings(State(world): State<Arc<World>>, Json(changes): Json<Value>) -> Response {
    match world.settings.load().changed(&changes) {
        Ok(settings) => {
            world.settings.store(Arc::new(settings.clone()));
            Json(settings).into_response()
        }
        Err(error) => problem(&error.to_string()),
    }
}

fn problem(what: &str) -> Response {
    (StatusCode::UNPROCESSABLE_ENTITY, Json(json!({ "problem": what }))).into_response()
}

pub(super) fn count(world: &World) -> Counts {
    Counts {
        providers: Protocol::ALL.into_iter().map(|protocol| (protocol, world.ledger.counts(protocol))).collect(),
        pushes: world.pusher.counts(),
        doubled: world.ledger.doubled(),
        untracked: world.ledger.untracked(),
        scripts_waiting: world.scripts.waiting(),
    }
}

/// Has an inbound message pushed; answers its id.
pub(super) fn schedule_inbound(world: &World, mut inbound: InboundPush) -> Result<String, InboundRefused> {
    let settings = world.settings.load();
    let address = match inbound.provider {
        Protocol::Huawei => &settings.huawei_uplink_url,
        Protocol::Nxcloud => &settings.nxcloud_callback_url,
        Protocol::Voice => return Err(InboundRefused::NoInbound),
    };
    if address.is_none() {
        return Err(InboundRefused::NoAddress);
    }
    let new_id = || hex::encode(rand::random::<[u8; 16]>());
    let id = inbound.message_id.get_or_insert_with(new_id).clone();
    world.pusher.schedule(Push::Inbound(inbound), 0);
    Ok(id)
}
