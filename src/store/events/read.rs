//! Reading events: with what each is about, as that was when it happened.

use std::collections::HashMap;

use serde_json::Value;
use sqlx::{PgConnection, Postgres, QueryBuilder, Row as _, postgres::PgRow, types::Json};
use uuid::Uuid;

use crate::{
    domain::{
        Timestamp,
        event::{DeliveryStatus, EventType, MessageState},
        ids::{EventId, InboundMessageId, MessageId, first_uuid_at},
        message::MessageRecord,
    },
    store::{
        StoreError,
        history::{self, Bounds, Page, search},
        inbound::{self, InboundRecord},
        unsmall, word,
    },
};

/// An event, and how its delivery stands.
#[derive(Debug, Clone)]
pub struct StoredEvent {
    /// Its id; also when it happened.
    pub id: EventId,
    /// Who is told.
    pub app: String,
    /// Of what.
    pub event: EventType,
    /// Its place among the events of its message.
    pub sequence: Option<u16>,
    /// What it is about.
    pub subject: Subject,
    /// Where it goes instead of the app's webhook.
    pub callback_url: Option<String>,
    /// How its delivery stands.
    pub delivery: DeliveryStatus,
    /// Tries so far.
    pub tries: u16,
    /// Where the last one went.
    pub url: Option<String>,
    /// When that was.
    pub tried_at: Option<Timestamp>,
    /// What was answered.
    pub last_status_code: Option<u16>,
    /// Why it was not taken.
    pub last_error: Option<String>,
    /// When it is tried next.
    pub next_try_at: Option<Timestamp>,
}

/// What an event is about.
#[derive(Debug, Clone)]
pub enum Subject {
    /// A message as it was.
    Message(Box<MessageRecord>),
    /// A message that arrived.
    Inbound(Box<InboundRecord>),
    /// A batch as the API showed it.
    Batch(Value),
    /// What is no longer kept.
    Gone,
}

/// Which events to show. All conditions must hold.
#[derive(Debug, Clone, Default)]
pub struct EventFilter {
    /// Of this app only.
    pub app: Option<String>,
    /// Of this type.
    pub event: Option<EventType>,
    /// Whose delivery stands so.
    pub delivery: Option<DeliveryStatus>,
    /// At this time or later.
    pub created_after: Option<Timestamp>,
    /// Before this time.
    pub created_before: Option<Timestamp>,
    /// Which part of it all.
    pub page: Page,
}

impl EventFilter {
    /// The first id that may be in it.
    pub(in crate::store) fn oldest(&self) -> Option<Uuid> {
        self.created_after.map(first_uuid_at)
    }

    /// The first id that may no longer be in it.
    pub(in crate::store) fn newest(&self) -> Option<Uuid> {
        [self.created_before.map(first_uuid_at), self.page.before].into_iter().flatten().min()
    }

    /// Adds what has to hold besides the time.
    pub(in crate::store) fn push_to(&self, query: &mut QueryBuilder<Postgres>) {
        let words = [
            ("app", self.app.as_deref()),
            ("type", self.event.map(EventType::as_str)),
            ("delivery", self.delivery.map(DeliveryStatus::as_str)),
        ];
        for (column, value) in words {
            if let Some(value) = value {
                query.push(" and e.").push(column).push(" = ").push_bind(value.to_owned());
            }
        }
    }
}

const SELECT: &str =
    "select e.id, e.app, e.type, e.message_id, e.inbound_message_id, e.sequence, e.state, e.callback_url,
    e.delivery, e.tries, e.url, e.tried_at, e.last_status_code, e.last_error, q.due
    from events e left join webhook_queue q on q.event_id = e.id where true";

/// One event. With an app: only if it is that app's.
pub async fn find(
    connection: &mut PgConnection,
    app: Option<&str>,
    id: EventId,
) -> Result<Option<StoredEvent>, StoreError> {
    let mut query = QueryBuilder::<Postgres>::new(SELECT);
    query.push(" and e.id = ").push_bind(id.0);
    if let Some(app) = app {
        query.push(" and e.app = ").push_bind(app);
    }
    let rows = query.build().fetch_all(&mut *connection).await?;
    Ok(events(connection, &rows).await?.pop())
}

/// Some events, in no order.
pub async fn with_ids(connection: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<StoredEvent>, StoreError> {
    let (Some(first), Some(last)) = (ids.iter().min(), ids.iter().max()) else { return Ok(Vec::new()) };
    let mut query = QueryBuilder::<Postgres>::new(SELECT);
    query.push(" and e.id = any(").push_bind(ids.to_vec());
    query.push(") and e.id between ").push_bind(*first).push(" and ").push_bind(*last);
    let rows = query.build().fetch_all(&mut *connection).await?;
    events(connection, &rows).await
}

/// The events of one message, oldest first, without what they are about.
pub async fn of_message(connection: &mut PgConnection, message: MessageId) -> Result<Vec<StoredEvent>, StoreError> {
    let mut query = QueryBuilder::<Postgres>::new(SELECT);
    query.push(" and e.message_id = ").push_bind(message.0);
    query.push(" and e.id >= ").push_bind(first_uuid_at(message.time())).push(" order by e.id");
    let rows = query.build().fetch_all(connection).await?;
    rows.iter().map(|row| event(row, Subject::Gone)).collect()
}

/// One page of events, newest first, and how far was looked when the page is not full although there may be more.
pub async fn list(
    connection: &mut PgConnection,
    filter: &EventFilter,
    now: Timestamp,
) -> Result<(Vec<StoredEvent>, Option<EventId>), StoreError> {
    let bounds = Bounds { limit: filter.page.limit, oldest: filter.oldest(), newest: filter.newest() };
    let query = |limit: i64, oldest: Option<Uuid>, newest: Option<Uuid>| {
        let mut query = QueryBuilder::<Postgres>::new(SELECT);
        filter.push_to(&mut query);
        if let Some(newest) = newest {
            query.push(" and e.id < ").push_bind(newest);
        }
        if let Some(oldest) = oldest {
            query.push(" and e.id >= ").push_bind(oldest);
        }
        query.push(format!(" order by e.id desc limit {limit}"));
        query
    };
    let (rows, searched_down_to) = search(&mut *connection, bounds, now, query).await?;
    Ok((events(connection, &rows).await?, searched_down_to.map(EventId)))
}

/// Rows with what they are about.
async fn events(connection: &mut PgConnection, rows: &[PgRow]) -> Result<Vec<StoredEvent>, StoreError> {
    let ids = |column: &'static str| -> Result<Vec<Uuid>, StoreError> {
        let found: Result<Vec<Option<Uuid>>, sqlx::Error> = rows.iter().map(|row| row.try_get(column)).collect();
        Ok(found?.into_iter().flatten().collect())
    };
    let messages: Vec<MessageId> = ids("message_id")?.into_iter().map(MessageId).collect();
    let messages = history::with_ids(&mut *connection, &messages).await?;
    let messages: HashMap<Uuid, MessageRecord> =
        messages.into_iter().map(|record| (record.message.id.0, record)).collect();
    let mut arrived: HashMap<Uuid, InboundRecord> = HashMap::new();
    for id in ids("inbound_message_id")? {
        if let Some(record) = inbound::find(&mut *connection, None, InboundMessageId(id)).await? {
            arrived.insert(id, record);
        }
    }
    rows.iter().map(|row| event(row, subject(row, &messages, &mut arrived)?)).collect()
}

fn subject(
    row: &PgRow,
    messages: &HashMap<Uuid, MessageRecord>,
    arrived: &mut HashMap<Uuid, InboundRecord>,
) -> Result<Subject, StoreError> {
    if let Some(id) = row.try_get::<Option<Uuid>, _>("message_id")? {
        let Some(mut record) = messages.get(&id).cloned() else { return Ok(Subject::Gone) };
        row.try_get::<Json<MessageState>, _>("state")?.0.put_into(&mut record);
        return Ok(Subject::Message(Box::new(record)));
    }
    if let Some(id) = row.try_get::<Option<Uuid>, _>("inbound_message_id")? {
        return Ok(arrived.remove(&id).map_or(Subject::Gone, |record| Subject::Inbound(Box::new(record))));
    }
    let shown: Option<Json<Value>> = row.try_get("state")?;
    Ok(shown.map_or(Subject::Gone, |shown| Subject::Batch(shown.0)))
}

fn event(row: &PgRow, subject: Subject) -> Result<StoredEvent, StoreError> {
    Ok(StoredEvent {
        id: EventId(row.try_get("id")?),
        app: row.try_get("app")?,
        event: word("events", "type", row.try_get("type")?)?,
        sequence: row.try_get::<Option<i16>, _>("sequence")?.map(unsmall),
        subject,
        callback_url: row.try_get("callback_url")?,
        delivery: word("events", "delivery", row.try_get("delivery")?)?,
        tries: unsmall(row.try_get("tries")?),
        url: row.try_get("url")?,
        tried_at: row.try_get("tried_at")?,
        last_status_code: row.try_get::<Option<i16>, _>("last_status_code")?.map(unsmall),
        last_error: row.try_get("last_error")?,
        next_try_at: row.try_get("due")?,
    })
}
