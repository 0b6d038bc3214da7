//! Delivering events once more: one, or all of a time.

use axum::{Json, extract::State, http::StatusCode};
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::answer::StoredEvent;
use crate::{
    api::{
        auth::{MayWrite, visible_app},
        error::ApiError,
        field_reader::{FieldReader, Problems},
        json_body::JsonBody,
        openapi::{BodyProblems, ListProblems, ReadProblems},
        path::Id,
        problem::{FieldError, ProblemCode},
        state::ApiState,
    },
    config::is_slug,
    domain::{
        event::{DeliveryStatus, EventType},
        ids::EventId,
    },
    keys::Identity,
    store::{
        Db, deliveries,
        events::{self, EventFilter},
        history,
    },
};

const NO_EVENT: ApiError = ApiError::NotFound("There is no event of this id.");
/// Events that one call delivers once more.
const MOST: i64 = 100_000;

/// Which events to deliver once more.
#[derive(Debug, Clone, serde::Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes a body that is read by hand, so that every fault is told at once")]
pub struct RedeliverRange {
    /// Happened at this time or later.
    created_after: DateTime<Utc>,
    /// Happened before this time.
    created_before: DateTime<Utc>,
    /// Of this type only.
    #[serde(rename = "type")]
    #[schema(nullable = false)]
    kind: Option<EventType>,
    /// Whose delivery stands so.
    #[schema(nullable = false)]
    delivery_status: Option<DeliveryStatus>,
    /// For operators; an app's key means its own app.
    #[schema(pattern = "^[a-z][a-z0-9_]{0,62}$", nullable = false)]
    app: Option<String>,
}

/// How many events are delivered once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct Redelivered {
    /// So many were queued.
    pub count: usize,
}

/// Deliver an event once more, with the same id
///
/// Whatever became of it before. It is tried at once and then as a new one would be, also when its webhook is switched off.
#[utoipa::path(
    post, path = "/v1/events/{event_id}/redeliver", operation_id = "redeliverEvent", tag = "Events",
    params(("event_id" = String, Path, pattern = "^evt_[0-7][0-9a-hjkmnp-tv-z]{25}$")),
    responses((status = 202, description = "Queued for delivery.", body = StoredEvent), ReadProblems),
    extensions(("x-role" = json!("app"))),
)]
pub async fn redeliver(
    State(state): State<ApiState>,
    MayWrite(identity): MayWrite,
    Id(id): Id<EventId>,
) -> Result<(StatusCode, Json<StoredEvent>), ApiError> {
    let (app, now) = (visible_app(&identity).map(str::to_owned), state.engine.clock().now());
    let queued = Db::unit(&state.engine.db().api, move |connection| {
        Box::pin(async move {
            if !deliveries::redeliver(&mut *connection, app.as_deref(), id, now).await? {
                return Ok(None);
            }
            events::find(connection, app.as_deref(), id).await
        })
    });
    let event = queued.await?.ok_or(NO_EVENT)?;
    state.engine.tell();
    Ok((StatusCode::ACCEPTED, Json(event.into())))
}

/// Deliver all events of a time once more
///
/// Each with its own id, from the oldest on, whatever became of it before. At most 100,000 in one call; more are refused and nothing
/// is queued.
#[utoipa::path(
    post, path = "/v1/events/redeliver", operation_id = "redeliverEvents", tag = "Events",
    request_body = RedeliverRange,
    responses((status = 202, description = "Queued for delivery.", body = Redelivered), ListProblems, BodyProblems),
    extensions(("x-role" = json!("app"))),
)]
pub async fn redeliver_range(
    State(state): State<ApiState>,
    MayWrite(identity): MayWrite,
    JsonBody(body): JsonBody,
) -> Result<(StatusCode, Json<Redelivered>), ApiError> {
    let mut filter = read_range(&body, &identity)?;
    let (pool, now) = (&state.engine.db().api, state.engine.clock().now());
    // What happens from now on is delivered anyway; without this it might never end.
    filter.created_before = filter.created_before.map(|before| before.min(now));
    let of_unit = filter.clone();
    let found = Db::unit(pool, move |connection| {
        Box::pin(async move { deliveries::some(connection, &of_unit, None, MOST + 1).await })
    });
    if i64::try_from(found.await?.len()).is_ok_and(|found| found > MOST) {
        let detail = format!("More than {MOST} events fit. Ask for a shorter time.");
        return Err(ApiError::invalid(FieldError::at("/created_before", ProblemCode::OutOfRange, detail)));
    }
    let (mut count, mut after) = (0_i64, None);
    while count < MOST {
        // In small commits: whatever else the database does goes on.
        let of_unit = filter.clone();
        let part = (count, MOST - count);
        let queued = Db::unit(pool, move |connection| {
            Box::pin(async move { deliveries::redeliver_some(connection, &of_unit, after, part, now).await })
        });
        let queued = queued.await?;
        let Some(last) = queued.last() else { break };
        (count, after) = (count.saturating_add(i64::try_from(queued.len()).unwrap_or(MOST)), Some(*last));
        state.engine.tell();
    }
    let count = usize::try_from(count).unwrap_or_default();
    Ok((StatusCode::ACCEPTED, Json(Redelivered { count })))
}

fn read_range(body: &Value, identity: &Identity) -> Result<EventFilter, ApiError> {
    let mut problems = Problems::default();
    let mut filter = EventFilter { page: history::Page::default(), ..EventFilter::default() };
    if let Some(mut reader) = FieldReader::new(body, String::new(), &mut problems) {
        for name in ["created_after", "created_before"] {
            reader.require(name);
        }
        filter.created_after = reader.timestamp("created_after");
        filter.created_before = reader.timestamp("created_before");
        filter.event = reader.parsed("type", "the type of an event");
        filter.delivery = reader.parsed("delivery_status", "pending, delivered, failed or skipped");
        filter.app = reader.text("app", 63).filter(|app| {
            let fits = is_slug(app);
            if !fits {
                reader.fault("app", ProblemCode::Invalid, "The name of an app is expected.");
            }
            fits
        });
        if filter.created_after.zip(filter.created_before).is_some_and(|(after, before)| after >= before) {
            reader.fault("created_before", ProblemCode::OutOfRange, "After `created_after`.");
        }
        reader.finish();
    }
    problems.check()?;
    if let Some(own) = visible_app(identity) {
        if filter.app.as_deref().is_some_and(|app| app != own) {
            return Err(ApiError::Forbidden("An app's key sees its own app only."));
        }
        filter.app = Some(own.to_owned());
    }
    Ok(filter)
}
