//! Taking a batch in: read, route each message, store all in one commit. The answer is written after it is durable.

use std::sync::Arc;

use axum::{
    Json,
    extract::{FromRequestParts, State},
    http::request::Parts,
    response::Response,
};
use chrono::SubsecRound;
use serde_json::Value;
use tokio::sync::OwnedSemaphorePermit;

use super::{draft::BatchDraft, fields::BatchCreate, read::find};
use crate::{
    api::{
        auth::MaySend,
        error::{ApiError, SOON},
        json_body::{BATCH_BODY_LIMIT, JsonBody},
        messages::{
            compose::check_backlog,
            create::{BUSY, answer_accepted, not_accepted},
            draft::Rules,
            idempotency_key::{IdempotencyKey, Operation, fingerprinted, used_before},
        },
        openapi::CreateProblems,
        state::ApiState,
    },
    dispatch::batches::{BatchAccepted, BatchInsert},
    domain::{batch::Batch, ids::BatchId},
    keys::Identity,
};

/// Batches that one process has in the house at the same time, from before their bodies are read: they may be large.
pub const MOST: usize = 32;

/// Room for a batch.
#[derive(Debug)]
pub struct Room(#[expect(dead_code, reason = "held until the batch is answered")] OwnedSemaphorePermit);

impl FromRequestParts<ApiState> for Room {
    type Rejection = ApiError;

    async fn from_request_parts(_: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        let room = Arc::clone(&state.batches).try_acquire_owned();
        room.map(Self).map_err(|_| ApiError::Unavailable { retry_after: SOON, detail: BUSY })
    }
}

/// Send to many recipients
///
/// One message to each recipient, all stored together. The fields of a message are shared; a recipient may bring its own `text`
/// or `params`, `client_reference` and `metadata`. A recipient that cannot be sent to becomes a message in `failed` with its
/// error, and of a number that stands more than once only the first is sent to; the others are `failed` with
/// `duplicate_message`. What is wrong with the request itself is `422`, and nothing is stored.
#[utoipa::path(
    post, path = "/v1/batches", operation_id = "createBatch", tag = "Batches",
    params(
        ("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 255,
            description = "Unique for each request; remembered for 24 hours for each app."),
    ),
    request_body(content = BatchCreate, examples(
        ("text" = (summary = "The same text for all", value = json!(
            { "text": "We close at noon today.", "recipients": [{ "to": "+84901234567" }, { "to": "+84901234568" }] }))),
        ("params" = (summary = "One template, different values", value = json!(
            { "template": { "name": "parcel" }, "recipients": [
                { "to": "+8615512345678", "params": { "place": "Main gate" }, "client_reference": "order-1" },
                { "to": "+8615512345679", "params": { "place": "North gate" }, "client_reference": "order-2" } ] }))),
    )),
    responses(
        (status = 202, description = "Stored; its messages are queued or scheduled, or failed.", body = Batch, headers(
            ("Location" = String, description = "Path of the batch."),
            ("Idempotent-Replayed" = bool, description = "`true`: the key was seen before and nothing was created."),
        )),
        CreateProblems,
    ),
    extensions(("x-role" = json!("app"))),
)]
pub async fn create(
    State(state): State<ApiState>,
    MaySend(identity): MaySend,
    IdempotencyKey(key): IdempotencyKey,
    _room: Room,
    JsonBody(body): JsonBody<BATCH_BODY_LIMIT>,
) -> Result<Response, ApiError> {
    let key = key.map(|key| fingerprinted(&state, &identity, key, Operation::Batch, &body)).transpose()?;
    // Before the work is done once more; and what was right when the key was first used may be wrong by now.
    if let Some(id) = used_before(&state, key.clone()).await? {
        return replayed(&state, &identity, BatchId(id)).await;
    }
    let (of_task, sender) = (state.clone(), identity.clone());
    // A thousand numbers take long enough to be felt by everything else that this thread does.
    let composed = tokio::task::spawn_blocking(move || compose(&of_task, &sender, &body)).await;
    let insert = composed.map_err(ApiError::internal)??;
    let failed = u16::try_from(insert.failed.len()).unwrap_or(u16::MAX);
    let batch = insert.batch.clone();
    match state.engine.accept_batch(insert, key).await {
        Ok(BatchAccepted::Stored) => Ok(accepted(batch.accepted(failed).into(), false)),
        Ok(BatchAccepted::Replayed(id)) => replayed(&state, &identity, id).await,
        Err(refused) => Err(not_accepted(&refused)),
    }
}

/// The batch that a body asks for, as it will be stored.
fn compose(state: &ApiState, identity: &Identity, body: &Value) -> Result<BatchInsert, ApiError> {
    let loaded = state.loaded.load();
    // As precise as the database, so that the answer and every later one say the same.
    let now = state.clock.now().trunc_subsecs(6);
    // A key outlives its app only until the reload that took the app away is through.
    let app = loaded.config.apps.get(&identity.app).ok_or(ApiError::Unauthenticated)?;
    let draft = BatchDraft::read(body, Rules { config: &loaded.config, app, now })?;
    let insert = draft.compose(state, identity, &loaded)?;
    insert.messages.iter().try_for_each(|insert| check_backlog(state, &insert.message))?;
    Ok(insert)
}

async fn replayed(state: &ApiState, identity: &Identity, id: BatchId) -> Result<Response, ApiError> {
    Ok(accepted(find(state, identity, id).await?.into(), true))
}

fn accepted(batch: Batch, replayed: bool) -> Response {
    let location = format!("/v1/batches/{}", batch.id);
    answer_accepted(Json(batch), &location, replayed)
}
