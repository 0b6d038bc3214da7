//! From a draft to a message as it will be stored: its route, its dates, its sealed content. Shared by everything that sends.

use std::time::Duration;

use chrono::TimeDelta;

use super::draft::MessageDraft;
use crate::{
    api::{
        error::{ApiError, SOON},
        problem::{FieldError, ProblemCode},
        state::{ApiState, Loaded},
    },
    domain::{
        Timestamp,
        content::Category,
        error_code::ErrorCode,
        ids::{BatchId, MessageId},
        life::Plan,
        message::{AppData, NewMessage},
    },
    keys::Identity,
    routing::{self, Decision, NoPlan, RouteRequest},
    store::messages::Insert,
};

/// A client is not sent away for longer than this: a backlog may shrink faster than it grew.
const LONGEST_RETRY: Duration = Duration::from_mins(1);

/// Decides which providers a message goes to.
pub fn route(draft: &MessageDraft, identity: &Identity, loaded: &Loaded) -> Result<Decision, NoPlan> {
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
    routing::decide(&request, &loaded.config, &|provider| loaded.capabilities(provider))
}

/// The answer to a message that no provider can carry.
pub fn no_plan(none: &NoPlan, has_template: bool) -> ApiError {
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

/// The message of a draft.
pub fn new_message(
    draft: MessageDraft,
    plan: Plan,
    identity: &Identity,
    batch_id: Option<BatchId>,
    now: Timestamp,
) -> NewMessage {
    let MessageDraft { to, country, content, measure, terms, client_reference, metadata } = draft;
    let callback_url = terms.callback_url.map(String::from);
    NewMessage {
        id: MessageId::new(now),
        app: identity.app.clone(),
        batch_id,
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

/// A message as it is stored: the content of a sensitive one sealed.
pub fn to_insert(state: &ApiState, message: NewMessage) -> Result<Insert, ApiError> {
    let sealed = if message.sensitive {
        let content = serde_json::to_vec(&message.content).map_err(ApiError::internal)?;
        Some(state.engine.secrets().seal(&content, message.id.0.as_bytes()))
    } else {
        None
    };
    Ok(Insert { message, sealed })
}

/// How long what is taken now would wait for its first provider beyond half of its validity: it would hardly be sent in time, and
/// whoever hears so now can do something else.
pub fn waits_too_long(
    state: &ApiState,
    app: &str,
    plan: &Plan,
    category: Category,
    validity: Duration,
    send_at: Option<Timestamp>,
) -> Option<Duration> {
    let step = plan.steps.first().filter(|_| send_at.is_none())?;
    let over = state.engine.expected_wait(&step.provider, category, app).checked_sub(validity / 2)?;
    (!over.is_zero()).then_some(over)
}

/// Refuses what would wait too long behind the backlog.
pub fn check_backlog(state: &ApiState, message: &NewMessage) -> Result<(), ApiError> {
    let validity = (message.expires_at - message.created_at).to_std().unwrap_or_default();
    match waits_too_long(state, &message.app, &message.plan, message.category, validity, message.send_at) {
        None => Ok(()),
        Some(over) => Err(ApiError::Unavailable {
            retry_after: over.clamp(SOON, LONGEST_RETRY),
            detail: "More waits for this route than can be sent in time.",
        }),
    }
}
