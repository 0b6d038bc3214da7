//! Messages that arrived on our numbers, as the API shows them.

use axum::{Json, extract::State};
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    auth::{MayRead, visible_app},
    error::ApiError,
    messages::{answer::Money, filter},
    openapi::{ListProblems, ReadProblems},
    page::Page,
    path::Id,
    query::Query,
    state::ApiState,
};
use crate::{
    domain::{content::Channel, ids::InboundMessageId},
    store::inbound::{self, InboundRecord},
};

/// A message that arrived on one of our numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct InboundMessage {
    /// Its id.
    #[schema(value_type = String, pattern = "^inb_[0-7][0-9a-hjkmnp-tv-z]{25}$")]
    pub id: InboundMessageId,
    /// The app that owns `to`; null when none does.
    #[schema(required = true)]
    pub app: Option<String>,
    /// On which channel.
    pub channel: Channel,
    /// Who sent it.
    pub from: String,
    /// Our number.
    pub to: String,
    /// What it says.
    pub text: String,
    /// Into how many segments it was split.
    pub segments: Option<u16>,
    /// Over which provider it came.
    pub provider: String,
    /// The provider's id of it.
    pub provider_message_id: String,
    /// What the provider charged.
    pub price: Option<Money>,
    /// By the provider's clock.
    pub received_at: DateTime<Utc>,
    /// When it reached the gateway.
    pub created_at: DateTime<Utc>,
}

impl From<InboundRecord> for InboundMessage {
    fn from(record: InboundRecord) -> Self {
        Self {
            id: record.id,
            app: record.app,
            channel: record.channel,
            from: record.from,
            to: record.to,
            text: record.text,
            segments: record.segments,
            provider: record.provider,
            provider_message_id: record.provider_message_id,
            price: record.price.map(|amount| Money { amount, currency: None }),
            received_at: record.received_at,
            created_at: record.created_at,
        }
    }
}

/// List inbound messages, newest first
#[utoipa::path(
    get, path = "/v1/inbound_messages", operation_id = "listInboundMessages", tag = "Inbound messages",
    params(
        ("to" = Option<String>, Query, max_length = 21, description = "Our number."),
        ("from" = Option<String>, Query, max_length = 21),
        ("provider" = Option<String>, Query, pattern = "^[a-z][a-z0-9_]{0,62}$"),
        ("app" = Option<String>, Query, pattern = "^[a-z][a-z0-9_]{0,62}$",
            description = "For operators; an app's key sees its own app."),
        ("created_after" = Option<String>, Query, format = DateTime, description = "Arrived at this time or later."),
        ("created_before" = Option<String>, Query, format = DateTime, description = "Arrived before this time."),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 200),
        ("cursor" = Option<String>, Query, max_length = 512,
            description = "`next_cursor` of the page before, with the same filters."),
    ),
    responses((status = 200, description = "One page.", body = Page<InboundMessage>), ListProblems),
    extensions(("x-role" = json!("app"))),
)]
pub async fn list(
    State(state): State<ApiState>,
    MayRead(identity): MayRead,
    query: Query,
) -> Result<Json<Page<InboundMessage>>, ApiError> {
    let (filter, limit) = filter::inbound(query, &identity)?;
    let db = state.engine.db();
    let records = db.read(move |connection| Box::pin(async move { inbound::list(connection, &filter).await })).await?;
    let data = records.into_iter().map(InboundMessage::from).collect();
    Ok(Json(Page::cut(data, limit, |last: &InboundMessage| last.id)))
}

/// Read an inbound message
#[utoipa::path(
    get, path = "/v1/inbound_messages/{inbound_message_id}", operation_id = "getInboundMessage",
    tag = "Inbound messages",
    params(("inbound_message_id" = String, Path, pattern = "^inb_[0-7][0-9a-hjkmnp-tv-z]{25}$")),
    responses((status = 200, description = "The inbound message.", body = InboundMessage), ReadProblems),
    extensions(("x-role" = json!("app"))),
)]
pub async fn get(
    State(state): State<ApiState>,
    MayRead(identity): MayRead,
    Id(id): Id<InboundMessageId>,
) -> Result<Json<InboundMessage>, ApiError> {
    let app = visible_app(&identity).map(str::to_owned);
    let db = state.engine.db();
    let found =
        db.read(move |connection| Box::pin(async move { inbound::find(connection, app.as_deref(), id).await })).await?;
    found.map(|record| Json(record.into())).ok_or(ApiError::NotFound("There is no inbound message of this id."))
}
