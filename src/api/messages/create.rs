//! Taking a message in: read, route, seal, store. The answer is written after the message is durable.

use std::time::{Duration, Instant};

use axum::{
    Json,
    extract::State,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use chrono::{SubsecRound, TimeDelta};
use serde_json::Value;

use super::{
    answer::Message,
    content_fields::MessageCreate,
    draft::{MessageDraft, Rules},
    idempotency_key::IdempotencyKey,
    read::find,
    template_check::template_faults,
};
use crate::{
    api::{
        auth::MaySend,
        error::{ApiError, SOON},
        json_body::JsonBody,
        openapi::CreateProblems,
        problem::{FieldError, ProblemCode},
        state::{ApiState, Loaded},
    },
    dispatch::accept::{Accepted, NotAccepted},
    domain::{
        Timestamp,
        error_code::ErrorCode,
        ids::MessageId,
        life::Plan,
        message::{AppData, NewMessage},
    },
    keys::Identity,
    routing::{self, NoPlan, RouteRequest},
    store::{Db, idempotency, messages::Insert},
};

const NOT_CONFIRMED: &str = "The database did not confirm the message. Repeat the request with the same Idempotency-Key: \
                             then it is stored once, whatever became of this one.";
const BUSY: &str = "Too many requests are waiting.";
/// A client is not sent away for longer than this: a backlog may shrink faster than it grew.
const LONGEST_RETRY: Duration = Duration::from_mins(1);
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// Send a message
///
/// Stores the message and answers `202`; sending happens after. With `Idempotency-Key` a repeat of the same request within
/// 24 hours sends nothing and answers with the message as it is now.
#[utoipa::path(
    post, path = "/v1/messages", operation_id = "createMessage", tag = "Messages",
    params(
        ("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 255,
            description = "Unique for each request; remembered for 24 hours for each app."),
    ),
    request_body(content = MessageCreate, examples(
        ("text" = (summary = "Free text", value = json!(
            { "to": "+84901234567", "text": "Your parcel has arrived.", "client_reference": "order-8841" }))),
        ("template" = (summary = "A template, whichever provider carries it", value = json!(
            { "to": "+8615512345678", "template": { "name": "login_code", "params": { "code": "369751" } } }))),
        ("voice" = (summary = "A spoken one-time code", value = json!(
            { "to": "+84361234567", "channel": "voice", "text": "123456", "sensitive": true }))),
    )),
    responses(
        (status = 202, description = "Stored; queued or scheduled.", body = Message, headers(
            ("Location" = String, description = "Path of the message."),
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
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    let room = state.storing.enter().ok_or(ApiError::Unavailable { retry_after: SOON, detail: BUSY })?;
    let key = key.map(|key| fingerprinted(&state, &identity, key, &body)).transpose()?;
    let message = match compose(&state, &identity, &body) {
        Ok(message) => message,
        // What was right when the key was first used may be wrong by now (`send_at`, a route): the key decides.
        Err(refusal) => {
            return match used_before(&state, key).await? {
                Some(id) => replayed(&state, &identity, id).await,
                None => Err(refusal),
            };
        }
    };
    let sealed = if message.sensitive { Some(seal(&state, &message)?) } else { None };
    let began = Instant::now();
    match state.engine.accept(Insert { message: message.clone(), sealed }, key).await {
        Ok(Accepted::Stored(_)) => {
            room.stored_within(began.elapsed());
            Ok(accepted(message.accepted().into(), false))
        }
        Ok(Accepted::Replayed(id)) => replayed(&state, &identity, id).await,
        Err(NotAccepted::KeyReused) => Err(ApiError::IdempotencyKeyReused),
        Err(NotAccepted::KeyInProgress) => Err(ApiError::Conflict {
            code: ProblemCode::IdempotencyKeyInProgress,
            detail: "Repeat the request in a moment: it answers with what the other one made.".into(),
        }),
        Err(NotAccepted::Full) => Err(ApiError::Unavailable { retry_after: SOON, detail: BUSY }),
        Err(NotAccepted::Unavailable) => Err(ApiError::Unavailable { retry_after: SOON, detail: NOT_CONFIRMED }),
    }
}

/// The message that a body asks for, as it will be stored.
fn compose(state: &ApiState, identity: &Identity, body: &Value) -> Result<NewMessage, ApiError> {
    let loaded = state.loaded.load();
    // As precise as the database, so that the answer and every later one say the same.
    let now = state.clock.now().trunc_subsecs(6);
    // A key outlives its app only until the reload that took the app away is through.
    let app = loaded.config.apps.get(&identity.app).ok_or(ApiError::Unauthenticated)?;
    let draft = MessageDraft::read(body, Rules { config: &loaded.config, app, now })?;
    let plan = route(&draft, identity, &loaded)?;
    let faults = template_faults(&draft.content, &plan, &loaded, "");
    if !faults.is_empty() {
        return Err(ApiError::Invalid(faults));
    }
    let message = new_message(draft, plan, identity, now);
    check_backlog(state, &message)?;
    Ok(message)
}

/// Refuses what would wait longer behind the backlog than half of its validity: it would hardly be sent in time, and whoever
/// hears so now can do something else.
fn check_backlog(state: &ApiState, message: &NewMessage) -> Result<(), ApiError> {
    let Some(step) = message.plan.steps.first().filter(|_| message.send_at.is_none()) else { return Ok(()) };
    let wait = state.engine.expected_wait(&step.provider, message.category);
    let longest = (message.expires_at - message.created_at).to_std().unwrap_or_default() / 2;
    match wait.checked_sub(longest) {
        Some(over) if !over.is_zero() => Err(ApiError::Unavailable {
            retry_after: over.clamp(SOON, LONGEST_RETRY),
            detail: "More waits for this route than can be sent in time.",
        }),
        Some(_) | None => Ok(()),
    }
}

fn route(draft: &MessageDraft, identity: &Identity, loaded: &Loaded) -> Result<Plan, ApiError> {
    let terms = &draft.terms;
    let template = draft.content.template.as_ref().and_then(|used| loaded.config.templates.get(&used.name));
    let request = RouteRequest {
        app: &identity.app,
        test: identity.test,
        to: &draft.to,
        country: draft.country.as_deref(),
        category: terms.category,
        channel: terms.channel,
        from: terms.from.as_deref(),
        route: terms.route.as_deref(),
        provider: terms.provider.as_deref(),
        content: &draft.content,
        template,
    };
    let decision = routing::decide(&request, &loaded.config, &|provider| loaded.capabilities(provider));
    decision.map(|decision| decision.plan).map_err(|none| no_plan(&none, template.is_some()))
}

fn no_plan(none: &NoPlan, has_template: bool) -> ApiError {
    let content = if has_template { "/template" } else { "/text" };
    let (pointer, code) = if none.code == ErrorCode::ContentUnsupported {
        (content, ProblemCode::ContentUnsupported)
    } else if none.code == ErrorCode::DestinationNotAllowed {
        ("/to", ProblemCode::DestinationNotAllowed)
    } else {
        ("/to", ProblemCode::NoRoute)
    };
    ApiError::invalid(FieldError::at(pointer, code, none.code.message()))
}

fn new_message(draft: MessageDraft, plan: Plan, identity: &Identity, now: Timestamp) -> NewMessage {
    let MessageDraft { to, country, content, measure, terms, client_reference, metadata } = draft;
    let callback_url = terms.callback_url.map(String::from);
    NewMessage {
        id: MessageId::new(now),
        app: identity.app.clone(),
        batch_id: None,
        test: identity.test,
        to,
        country,
        category: terms.category,
        sensitive: terms.sensitive,
        content,
        encoding: measure.map(|measure| measure.encoding),
        segments: measure.map(|measure| measure.segments),
        plan,
        app_data: AppData { client_reference, metadata, callback_url },
        send_at: terms.send_at,
        expires_at: terms.send_at.unwrap_or(now) + TimeDelta::seconds(terms.validity_period.into()),
        created_at: now,
    }
}

fn seal(state: &ApiState, message: &NewMessage) -> Result<Vec<u8>, ApiError> {
    let content = serde_json::to_vec(&message.content).map_err(ApiError::internal)?;
    Ok(state.engine.secrets().seal(&content, message.id.0.as_bytes()))
}

/// The key with what its request says: the body with its fields in order, so that only a change of content is a change.
fn fingerprinted(
    state: &ApiState,
    identity: &Identity,
    key: String,
    body: &Value,
) -> Result<idempotency::IdempotencyKey, ApiError> {
    let normalised = serde_json::to_vec(body).map_err(ApiError::internal)?;
    let fingerprints = state.engine.secrets().fingerprints(&normalised);
    Ok(idempotency::IdempotencyKey { app: identity.app.clone(), key, fingerprints })
}

/// The message that an earlier request with the same key and body made.
async fn used_before(
    state: &ApiState,
    key: Option<idempotency::IdempotencyKey>,
) -> Result<Option<MessageId>, ApiError> {
    let Some(key) = key else { return Ok(None) };
    let (repeated, oldest) = (key.clone(), state.clock.now() - idempotency::REMEMBERED_FOR);
    let used = Db::unit(&state.engine.db().api, move |connection| {
        Box::pin(async move { Ok(idempotency::find(connection, &[&key]).await?.pop()) })
    })
    .await?;
    let same = used.filter(|used| repeated.is_repeated_by(used) && used.message.time() > oldest);
    Ok(same.map(|used| used.message))
}

async fn replayed(state: &ApiState, identity: &Identity, id: MessageId) -> Result<Response, ApiError> {
    Ok(accepted(find(state, identity, id).await?.into(), true))
}

fn accepted(message: Message, replayed: bool) -> Response {
    let location = HeaderValue::from_str(&format!("/v1/messages/{}", message.id));
    let mut response = (StatusCode::ACCEPTED, Json(message)).into_response();
    let headers = response.headers_mut();
    if let Ok(location) = location {
        headers.insert(header::LOCATION, location);
    }
    if replayed {
        headers.insert(REPLAYED, HeaderValue::from_static("true"));
    }
    response
}
