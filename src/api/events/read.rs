//! The log of events.

use axum::{Json, extract::State};

use super::answer::StoredEvent;
use crate::{
    api::{
        auth::{self, MayRead},
        error::ApiError,
        openapi::ListProblems,
        page::{Cursor, Page},
        query::Query,
        state::ApiState,
    },
    domain::{
        event::{DeliveryStatus, EventType},
        ids::EventId,
    },
    keys::Identity,
    store::{
        events::{self, EventFilter},
        history,
    },
};

/// List webhook events and how their delivery went, newest first
#[utoipa::path(
    get, path = "/v1/events", operation_id = "listEvents", tag = "Events",
    params(
        ("type" = Option<EventType>, Query),
        ("delivery_status" = Option<DeliveryStatus>, Query),
        ("app" = Option<String>, Query, pattern = "^[a-z][a-z0-9_]{0,62}$",
            description = "For operators; an app's key sees its own app."),
        ("created_after" = Option<String>, Query, format = DateTime, description = "Happened at this time or later."),
        ("created_before" = Option<String>, Query, format = DateTime, description = "Happened before this time."),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 200),
        ("cursor" = Option<String>, Query, max_length = 512,
            description = "`next_cursor` of the page before, with the same filters."),
    ),
    responses(
        (status = 200, body = Page<StoredEvent>,
            description = "One page. When few of many events fit the filters it may hold fewer than `limit`, or none, although \
                           there are more: `next_cursor` says so."),
        ListProblems,
    ),
    extensions(("x-role" = json!("app"))),
)]
pub async fn list(
    State(state): State<ApiState>,
    MayRead(identity): MayRead,
    query: Query,
) -> Result<Json<Page<StoredEvent>>, ApiError> {
    let (filter, limit) = read_filter(query, &identity)?;
    let (db, now) = (state.engine.db(), state.engine.clock().now());
    let (found, searched_down_to) =
        db.read(move |connection| Box::pin(async move { events::list(connection, &filter, now).await })).await?;
    let data = found.into_iter().map(StoredEvent::from).collect();
    let mut page = Page::cut(data, limit, |last: &StoredEvent| last.id);
    page.next_cursor = page.next_cursor.or(searched_down_to.map(Cursor::write));
    Ok(Json(page))
}

fn read_filter(mut query: Query, identity: &Identity) -> Result<(EventFilter, u32), ApiError> {
    let mut filter = EventFilter {
        app: auth::app_filter(&mut query, identity)?,
        event: query.parsed("type", "the type of an event"),
        delivery: query.parsed("delivery_status", "pending, delivered, failed or skipped"),
        created_after: query.timestamp("created_after"),
        created_before: query.timestamp("created_before"),
        page: history::Page::default(),
    };
    let (before, limit) = (query.cursor::<EventId>(), query.limit());
    query.finish()?;
    filter.page = history::Page { before: before.map(|id| id.0), limit: i64::from(limit) + 1 };
    Ok((filter, limit))
}
