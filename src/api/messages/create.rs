//! Taking a message in: read, route, seal, store. The answer is written after the message is durable.

use std::time::Instant;

use axum::{
    Json,
    extract::State,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use chrono::SubsecRound;
use serde_json::Value;

use super::{
    answer::Message,
    compose::{check_backlog, new_message, no_plan, route, to_insert},
    content_fields::MessageCreate,
    draft::{MessageDraft, Rules},
    idempotency_key::{IdempotencyKey, Operation, fingerprinted, used_before},
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
        sending,
        state::ApiState,
    },
    dispatch::{
        accept::{Accepted, NotAccepted},
        screen::ScreenedOut,
    },
    domain::{ids::MessageId, message::NewMessage},
    keys::Identity,
};

const NOT_CONFIRMED: &str = "The database did not confirm the request. Repeat the request with the same Idempotency-Key: \
                             then it is done once, whatever became of this one.";
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
            ("RateLimit" = String, description = "What is left of the app's limits, such as `\"second\";r=42;t=1, \"day\";r=9000;t=3600`. Absent where it has none."),
            ("RateLimit-Policy" = String, description = "The app's limits, such as `\"second\";q=50;w=1, \"day\";q=10000;w=86400`."),
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
    let room = state.storing.enter().ok_or_else(sending::no_room)?;
    let key = key.map(|key| fingerprinted(&state, &identity, key, Operation::Message, &body)).transpose()?;
    let message = match compose(&state, &identity, &body) {
        Ok(message) => message,
        // What was right when the key was first used may be wrong by now (`send_at`, a route): the key decides.
        Err(refusal) => {
            return match used_before(&state, key).await? {
                Some(id) => replayed(&state, &identity, MessageId(id)).await,
                None => Err(refusal),
            };
        }
    };
    let insert = to_insert(&state, message.clone())?;
    let began = Instant::now();
    match state.engine.accept(insert, key).await {
        Ok(Accepted::Stored(_)) => {
            room.stored_within(began.elapsed());
            Ok(accepted(message.accepted().into(), false))
        }
        Ok(Accepted::Replayed(id)) => replayed(&state, &identity, id).await,
        Err(refused) => Err(not_accepted(&refused)),
    }
}

/// The answer to what was understood and allowed, and not stored all the same.
pub fn not_accepted(refused: &NotAccepted) -> ApiError {
    match refused {
        NotAccepted::KeyReused => ApiError::IdempotencyKeyReused,
        NotAccepted::KeyInProgress => ApiError::Conflict {
            code: ProblemCode::IdempotencyKeyInProgress,
            detail: "Repeat the request in a moment: it answers with what the other one made.".into(),
        },
        NotAccepted::ScreenedOut(why) => screened_out(*why),
        NotAccepted::Full => sending::no_room(),
        NotAccepted::Unavailable => ApiError::Unavailable { retry_after: SOON, detail: NOT_CONFIRMED },
    }
}

/// What is well-formed and may not be sent all the same.
fn screened_out(why: ScreenedOut) -> ApiError {
    let to = Some("/to".to_owned());
    match why {
        ScreenedOut::OptedOut => {
            let code = ProblemCode::RecipientOptedOut;
            ApiError::invalid(FieldError::at("/to", code, why.error().message()))
        }
        ScreenedOut::TooManyCodes { retry_after } => ApiError::Limited {
            code: ProblemCode::RateLimited,
            retry_after,
            detail: "The number received too many one-time codes.".to_owned(),
            pointer: to,
        },
        ScreenedOut::TooManyCodesToPrefix { retry_after } => ApiError::Limited {
            code: ProblemCode::RateLimited,
            retry_after,
            detail: "Numbers of this prefix receive unusually many one-time codes.".to_owned(),
            pointer: to,
        },
        ScreenedOut::DayIsUsedUp { retry_after } => ApiError::Limited {
            code: ProblemCode::QuotaExceeded,
            retry_after,
            detail: "The app's daily_limit is used up; days are those of UTC.".to_owned(),
            pointer: None,
        },
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
    let decision = route(&draft, identity, &loaded).map_err(|none| no_plan(&none, draft.content.template.is_some()))?;
    let faults = template_faults(&draft.content, &decision.plan, &loaded, "");
    if !faults.is_empty() {
        return Err(ApiError::Invalid(faults));
    }
    let message = new_message(draft, decision.plan, identity, None, now);
    check_backlog(state, &message)?;
    Ok(message)
}

async fn replayed(state: &ApiState, identity: &Identity, id: MessageId) -> Result<Response, ApiError> {
    Ok(accepted(find(state, identity, id).await?.into(), true))
}

fn accepted(message: Message, replayed: bool) -> Response {
    let location = format!("/v1/messages/{}", message.id);
    answer_accepted(Json(message), &location, replayed)
}

/// `202` with where it can be read, and whether an earlier request made it.
pub fn answer_accepted(body: impl IntoResponse, location: &str, replayed: bool) -> Response {
    let mut response = (StatusCode::ACCEPTED, body).into_response();
    let headers = response.headers_mut();
    if let Ok(location) = HeaderValue::from_str(location) {
        headers.insert(header::LOCATION, location);
    }
    if replayed {
        headers.insert(REPLAYED, HeaderValue::from_static("true"));
    }
    response
}
