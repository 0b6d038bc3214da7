//! Messages that arrived on our numbers.

use sqlx::{PgConnection, Postgres, QueryBuilder, Row as _, postgres::PgRow};
use uuid::Uuid;

use super::{StoreError, history::Page, small, unsmall};
use crate::domain::{
    Timestamp,
    content::Channel,
    ids::{InboundMessageId, first_uuid_at},
};

/// An inbound message as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InboundRecord {
    /// Its id.
    pub id: InboundMessageId,
    /// The push that brought it.
    pub callback_id: Option<Uuid>,
    /// The app that owns the number; none when nobody does.
    pub app: Option<String>,
    /// How it came.
    pub channel: Channel,
    /// Who sent it.
    pub from: String,
    /// Our number.
    pub to: String,
    /// What it says.
    pub text: String,
    /// Into how many segments it was split, where the provider says so.
    pub segments: Option<u16>,
    /// Which provider brought it.
    pub provider: String,
    /// The provider's id of it.
    pub provider_message_id: String,
    /// What the provider charged.
    pub price: Option<String>,
    /// By the provider's clock.
    pub received_at: Timestamp,
    /// By ours.
    pub created_at: Timestamp,
}

/// Keeps an inbound message. False when the provider pushed it before.
pub async fn insert(connection: &mut PgConnection, inbound: &InboundRecord) -> Result<bool, StoreError> {
    let done = sqlx::query!(
        "insert into inbound_messages (id, callback_id, app, channel, sender, recipient, body, segments, provider,
                                       provider_message_id, price, received_at, created_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
         on conflict on constraint inbound_messages_once do nothing",
        inbound.id.0,
        inbound.callback_id,
        inbound.app,
        inbound.channel.as_str(),
        inbound.from,
        inbound.to,
        inbound.text,
        inbound.segments.map(small),
        inbound.provider,
        inbound.provider_message_id,
        inbound.price,
        inbound.received_at,
        inbound.created_at,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Which inbound messages to show.
#[derive(Debug, Clone, Default)]
pub struct InboundFilter {
    /// Of this app only.
    pub app: Option<String>,
    /// Our number.
    pub to: Option<String>,
    /// Who sent it.
    pub from: Option<String>,
    /// Which provider brought it.
    pub provider: Option<String>,
    /// At this time or later.
    pub created_after: Option<Timestamp>,
    /// Before this time.
    pub created_before: Option<Timestamp>,
    /// Which part of it all.
    pub page: Page,
}

const COLUMNS: &str =
    "select id, callback_id, app, channel, sender, recipient, body, segments, provider, provider_message_id,
                              price, received_at, created_at from inbound_messages where true";

/// One page, newest first.
pub async fn list(connection: &mut PgConnection, filter: &InboundFilter) -> Result<Vec<InboundRecord>, StoreError> {
    let mut query = QueryBuilder::<Postgres>::new(COLUMNS);
    for (column, value) in
        [("app", &filter.app), ("recipient", &filter.to), ("sender", &filter.from), ("provider", &filter.provider)]
    {
        if let Some(value) = value {
            query.push(" and ").push(column).push(" = ").push_bind(value);
        }
    }
    let before = [filter.created_before.map(first_uuid_at), filter.page.before].into_iter().flatten().min();
    if let Some(before) = before {
        query.push(" and id < ").push_bind(before);
    }
    if let Some(after) = filter.created_after {
        query.push(" and id >= ").push_bind(first_uuid_at(after));
    }
    query.push(" order by id desc limit ").push_bind(filter.page.limit);
    let rows = query.build().fetch_all(connection).await?;
    rows.iter().map(record).collect()
}

/// One inbound message.
pub async fn find(
    connection: &mut PgConnection,
    app: Option<&str>,
    id: InboundMessageId,
) -> Result<Option<InboundRecord>, StoreError> {
    let mut query = QueryBuilder::<Postgres>::new(COLUMNS);
    query.push(" and id = ").push_bind(id.0);
    if let Some(app) = app {
        query.push(" and app = ").push_bind(app);
    }
    query.build().fetch_optional(connection).await?.as_ref().map(record).transpose()
}

fn record(row: &PgRow) -> Result<InboundRecord, StoreError> {
    Ok(InboundRecord {
        id: InboundMessageId(row.try_get("id")?),
        callback_id: row.try_get("callback_id")?,
        app: row.try_get("app")?,
        channel: super::word("inbound_messages", "channel", row.try_get("channel")?)?,
        from: row.try_get("sender")?,
        to: row.try_get("recipient")?,
        text: row.try_get("body")?,
        segments: row.try_get::<Option<i16>, _>("segments")?.map(unsmall),
        provider: row.try_get("provider")?,
        provider_message_id: row.try_get("provider_message_id")?,
        price: row.try_get("price")?,
        received_at: row.try_get("received_at")?,
        created_at: row.try_get("created_at")?,
    })
}
