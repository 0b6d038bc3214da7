//! Taking a batch in: read, route each message, store all in one commit. The answer is written after it is durable.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    Json,
    extract::{FromRequestParts, State},
    http::request::Parts,
    response::Response,
};
use chrono::SubsecRound;
use serde_json::Value;
use tokio::{sync::Notify, time::timeout};

use super::{draft::BatchDraft, fields::BatchCreate, read::find};
use crate::{
    api::{
        auth::MaySend,
        error::ApiError,
        json_body::{BATCH_BODY_LIMIT, JsonBody},
        messages::{
            compose::check_backlog,
            create::{answer_accepted, not_accepted},
            draft::Rules,
            idempotency_key::{IdempotencyKey, Operation, fingerprinted, used_before},
        },
        openapi::CreateProblems,
        problem::{FieldError, ProblemCode},
        sending,
        state::ApiState,
    },
    dispatch::batches::{BatchAccepted, BatchInsert},
    domain::{batch::Batch, ids::BatchId},
    keys::Identity,
};

/// Batches that one process has in the house at the same time, from before their bodies are read: they may be large.
pub const MOST: usize = 32;
/// How many of them may be one app's: its slow bodies must not keep all others out.
pub const MOST_OF_ONE: usize = 8;

/// A batch waits for so long to be let in: most are stored in less.
const PATIENCE: Duration = Duration::from_secs(1);

/// The room for batches: how many of them each app has in the house.
#[derive(Debug, Default)]
pub struct Rooms {
    inside: Mutex<HashMap<String, usize>>,
    left: Notify,
}

impl Rooms {
    fn inside(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits a little until a batch of an app can be let in.
    async fn enter_soon(self: &Arc<Self>, app: &str) -> Option<Room> {
        let entering = async {
            loop {
                // Listens before it looks, so that no room that comes free in between is missed.
                let left = self.left.notified();
                if let Some(room) = self.enter(app) {
                    return room;
                }
                left.await;
            }
        };
        timeout(PATIENCE, entering).await.ok()
    }

    /// Lets a batch of an app in while there is room.
    fn enter(self: &Arc<Self>, app: &str) -> Option<Room> {
        let mut inside = self.inside();
        if inside.values().sum::<usize>() >= MOST || inside.get(app).is_some_and(|own| *own >= MOST_OF_ONE) {
            return None;
        }
        *inside.entry(app.to_owned()).or_default() += 1;
        Some(Room { rooms: self.clone(), app: app.to_owned() })
    }
}

/// Room for a batch, until it is dropped.
#[derive(Debug)]
pub struct Room {
    rooms: Arc<Rooms>,
    app: String,
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut inside = self.rooms.inside();
        let left = inside.get(&self.app).map_or(0, |own| own.saturating_sub(1));
        if left == 0 {
            inside.remove(&self.app);
        } else {
            inside.insert(self.app.clone(), left);
        }
        drop(inside);
        self.rooms.left.notify_waiters();
    }
}

impl FromRequestParts<ApiState> for Room {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        let MaySend(identity) = MaySend::from_request_parts(parts, state).await?;
        let room = state.batches.enter_soon(&identity.app).await;
        parts.extensions.insert(MaySend(identity));
        room.ok_or_else(sending::no_room)
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
            ("RateLimit" = String, description = "What is left of the app's limits, such as `\"second\";r=42;t=1, \"day\";r=9000;t=3600`. Absent where it has none."),
            ("RateLimit-Policy" = String, description = "The app's limits, such as `\"second\";q=50;w=1, \"day\";q=10000;w=86400`."),
        )),
        CreateProblems,
    ),
    extensions(("x-role" = json!("app"))),
)]
pub async fn create(
    State(state): State<ApiState>,
    _room: Room,
    MaySend(identity): MaySend,
    IdempotencyKey(key): IdempotencyKey,
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
    let batch = insert.batch.clone();
    match state.engine.accept_batch(insert, key).await {
        Ok(BatchAccepted::Stored { failed }) => {
            // One was taken when it was let in.
            let more = usize::from(batch.total).saturating_sub(1);
            state.loaded.load().send_rates.charge(&identity.app, more);
            Ok(accepted(batch.accepted(failed).into(), false))
        }
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
    let fits = |limit: u64| u64::try_from(insert.messages.len()).is_ok_and(|count| count <= limit);
    if let Some(limit) = app.daily_limit.filter(|limit| !identity.test && !fits(*limit)) {
        // On no day would there be room for it.
        let detail = format!("The app's daily_limit is {limit} messages.");
        return Err(ApiError::invalid(FieldError::at("/recipients", ProblemCode::TooMany, detail)));
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_app_never_has_all_the_room_and_what_is_dropped_makes_room() {
        let rooms = Arc::new(Rooms::default());
        let mut own: Vec<Room> = std::iter::from_fn(|| rooms.enter("shop")).collect();
        assert_eq!(own.len(), MOST_OF_ONE);
        let mut others = vec![rooms.enter("bank").unwrap()];
        own.pop();
        own.push(rooms.enter("shop").unwrap());
        others.extend((0..MOST).filter_map(|number| rooms.enter(&format!("app {number}"))));
        assert_eq!(own.len() + others.len(), MOST);
        drop((own, others));
        assert!(rooms.inside().is_empty());
    }

    #[tokio::test]
    async fn a_batch_waits_for_one_of_its_app_to_leave() {
        let rooms = Arc::new(Rooms::default());
        let mut own: Vec<Room> = std::iter::from_fn(|| rooms.enter("shop")).collect();
        let waiting = tokio::spawn({
            let rooms = rooms.clone();
            async move { rooms.enter_soon("shop").await.is_some() }
        });
        tokio::task::yield_now().await;
        own.pop();
        assert!(waiting.await.unwrap());
    }
}
