//! Loading a message's life, and saving what happened to it. Always many at a time.
//!
//! Two ways keep changes from overwriting each other. What is mostly alone with its message reads without a lock ([`read`]), and
//! [`save()`] finds out by the message's version whether somebody was faster; then the unit of work is done again, with locks.
//! What is mostly not alone locks first ([`lock`], [`lock_due`]). The lock is the message's row, always taken in the order of the
//! ids, so that two units of work that touch the same messages wait for each other and never dead-lock.

mod due;
mod save;

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use sqlx::{PgConnection, types::Json};
use uuid::Uuid;

pub use due::{Served, Turns, lock_due};
pub use save::save;
pub(super) use save::{class, insert_queue, save_attempts};

use super::{StoreError, attempts, messages::Insert, unsmall, word};
use crate::domain::{
    Timestamp,
    content::{Content, TemplateUse},
    event::{EventType, Told},
    ids::{BatchId, MessageId},
    life::{Attempt, Changed, HandOver, Life, Plan},
    phone_number::PhoneNumber,
    status::MessageStatus,
};

/// A message as it was stored at one moment.
#[derive(Debug, Clone)]
pub struct StoredMessage {
    /// Its life.
    pub life: Life,
    /// Whose it is.
    pub app: String,
    /// For whom.
    pub to: PhoneNumber,
    /// What it says, as stored.
    pub content: StoredContent,
    /// The hand-over that waits or is in flight: what an answer is judged by.
    pub came_from: HandOver,
    /// The batch that it belongs to.
    batch: Option<BatchId>,
    /// How often it was changed before it was read.
    version: i32,
    /// It has a row in the queue.
    queued: bool,
    /// As it was read: what its app knows.
    told: Told,
    /// How many events of it there were.
    events: i16,
    /// Where its events go instead of the app's webhook.
    callback_url: Option<String>,
}

impl StoredMessage {
    /// A message that is not stored yet and waits for its first hand-over.
    pub fn new(insert: &Insert) -> Self {
        let message = &insert.message;
        let due = message.send_at.unwrap_or(message.created_at);
        let came_from = HandOver { step: 0, due, tries: 0, group_limit: None };
        let content = match &insert.sealed {
            Some(sealed) => StoredContent::Sealed(sealed.clone()),
            None => StoredContent::Plain(message.content.clone()),
        };
        let life = Life {
            id: message.id,
            category: message.category,
            plan: message.plan.clone(),
            send_at: message.send_at,
            expires_at: message.expires_at,
            status: if due > message.created_at { MessageStatus::Scheduled } else { MessageStatus::Queued },
            completed_at: None,
            sent_at: None,
            error: None,
            possible_duplicate: false,
            attempts: Vec::new(),
            send: Some(came_from),
            decisions: Vec::new(),
        };
        let (app, to, callback_url) = (message.app.clone(), message.to.clone(), message.app_data.callback_url.clone());
        let (told, batch) = (Told::of(&life), message.batch_id);
        Self { life, app, to, content, came_from, batch, version: 0, queued: true, told, events: 0, callback_url }
    }

    /// What its app is to be told of, when it is saved as it stands now.
    pub fn event(&self) -> Option<EventType> {
        self.told.event_until(Told::of(&self.life))
    }

    /// How many events of it there were.
    pub fn events(&self) -> i16 {
        self.events
    }

    /// Where its events go instead of the app's webhook.
    pub fn callback_url(&self) -> Option<&str> {
        self.callback_url.as_deref()
    }

    /// By how much its end, or the end of its end, changes the number of open messages of its batch.
    fn opens(&self) -> Option<(BatchId, i32)> {
        let by = i32::from(self.told.is_final) - i32::from(self.life.is_final());
        Some((self.batch?, by)).filter(|_| by != 0)
    }

    /// What it is once a commit has stored it for the first time.
    pub fn is_inserted(&mut self) {
        self.life.attempts.iter_mut().for_each(|attempt| attempt.changed = Changed::No);
        self.events = self.events.saturating_add(i16::from(self.event().is_some()));
        self.told = Told::of(&self.life);
    }

    /// What it is once a commit has saved it for a call.
    pub fn is_claimed(&mut self) {
        self.is_inserted();
        self.version = self.version.wrapping_add(1);
    }
}

/// Content as it lies in the database.
#[derive(Debug, Clone)]
pub enum StoredContent {
    /// Readable.
    Plain(Content),
    /// Sensitive: sealed, to be opened by who has the key.
    Sealed(Vec<u8>),
    /// Sensitive, and erased since no further attempt can follow.
    Erased,
}

struct Row {
    id: Uuid,
    app: String,
    batch_id: Option<Uuid>,
    recipient: String,
    category: String,
    sensitive: bool,
    body: Option<String>,
    template: Option<String>,
    params: Option<Json<BTreeMap<String, String>>>,
    sealed: Option<Vec<u8>>,
    plan: Json<Plan>,
    send_at: Option<Timestamp>,
    expires_at: Timestamp,
    status: String,
    completed_at: Option<Timestamp>,
    sent_at: Option<Timestamp>,
    error_code: Option<String>,
    error_category: Option<String>,
    error_retryable: Option<bool>,
    provider_code: Option<String>,
    possible_duplicate: bool,
    queued: bool,
    attempts: Option<i16>,
    step: Option<i16>,
    tries: Option<i16>,
    group_limit: Option<i16>,
    send_due: Option<Timestamp>,
    version: i32,
    events: i16,
    callback_url: Option<String>,
}

impl TryFrom<Row> for StoredMessage {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        let content = match (row.sensitive, row.sealed) {
            (true, Some(sealed)) => StoredContent::Sealed(sealed),
            (true, None) => StoredContent::Erased,
            (false, _) => StoredContent::Plain(Content {
                text: row.body,
                template: row.template.map(|name| TemplateUse { name, params: row.params.unwrap_or_default().0 }),
            }),
        };
        let error = attempts::cause(
            "messages",
            row.error_code.as_deref(),
            row.error_category.as_deref(),
            row.error_retryable,
            row.provider_code,
        )?;
        let came_from = HandOver {
            step: unsmall(row.step.unwrap_or(0)),
            due: row.send_due.unwrap_or(row.expires_at),
            tries: unsmall(row.tries.unwrap_or(0)),
            group_limit: row.group_limit.map(unsmall),
        };
        let send = row.send_due.map(|_| came_from);
        let life = Life {
            id: MessageId(row.id),
            category: word("messages", "category", &row.category)?,
            plan: row.plan.0,
            send_at: row.send_at,
            expires_at: row.expires_at,
            status: word("messages", "status", &row.status)?,
            completed_at: row.completed_at,
            sent_at: row.sent_at,
            error,
            possible_duplicate: row.possible_duplicate,
            attempts: Vec::new(),
            send,
            decisions: Vec::new(),
        };
        Ok(Self {
            told: Told::of(&life),
            events: row.events,
            callback_url: row.callback_url,
            life,
            app: row.app,
            to: PhoneNumber::from_stored(row.recipient),
            content,
            came_from,
            batch: row.batch_id.map(BatchId),
            version: row.version,
            queued: row.queued,
        })
    }
}

/// Loads and locks messages, in the order of their ids. Those that do not exist are left out.
pub async fn lock(connection: &mut PgConnection, messages: &[MessageId]) -> Result<Vec<StoredMessage>, StoreError> {
    let (Some(first), Some(last)) = (messages.iter().min(), messages.iter().max()) else { return Ok(Vec::new()) };
    let ids: Vec<Uuid> = messages.iter().map(|id| id.0).collect();
    // Locked first and read afterwards: one statement for both would wait for whoever has the message, and then read the
    // message as that one left it but the place in the queue as it was before.
    sqlx::query_scalar!(
        "select id from messages where id = any($1) and id between $2 and $3 order by id for update",
        &ids,
        first.0,
        last.0,
    )
    .fetch_all(&mut *connection)
    .await?;
    read(connection, messages).await
}

/// Loads messages, in the order of their ids. Those that do not exist are left out.
pub async fn read(connection: &mut PgConnection, messages: &[MessageId]) -> Result<Vec<StoredMessage>, StoreError> {
    let (Some(first), Some(last)) = (messages.iter().min(), messages.iter().max()) else { return Ok(Vec::new()) };
    let ids: Vec<Uuid> = messages.iter().map(|id| id.0).collect();
    let rows = sqlx::query_as!(
        Row,
        r#"select m.id, m.app, m.batch_id, m.recipient, m.category, m.sensitive, m.body, m.template,
                  m.params as "params: Json<BTreeMap<String, String>>", m.sealed, m.plan as "plan: Json<Plan>", m.send_at,
                  m.expires_at, m.status, m.completed_at, m.sent_at, m.error_code, m.error_category, m.error_retryable,
                  m.provider_code, m.possible_duplicate, q.message_id is not null as "queued!", q.attempts as "attempts?",
                  q.step as "step?", q.tries as "tries?", q.group_limit as "group_limit?", q.send_due as "send_due?",
                  m.version, m.events, m.callback_url
           from messages m left join queue q on q.message_id = m.id
           where m.id = any($1) and m.id between $2 and $3
           order by m.id"#,
        &ids,
        first.0,
        last.0,
    )
    .fetch_all(&mut *connection)
    .await?;
    with_attempts(connection, rows).await
}

async fn with_attempts(connection: &mut PgConnection, rows: Vec<Row>) -> Result<Vec<StoredMessage>, StoreError> {
    // A message that was never handed over has no attempts to look for.
    let tried: Vec<MessageId> =
        rows.iter().filter(|row| row.attempts != Some(0)).map(|row| MessageId(row.id)).collect();
    let mut found: BTreeMap<MessageId, Vec<Attempt>> = BTreeMap::new();
    for (message, attempt) in attempts::of_messages(connection, &tried).await? {
        found.entry(message).or_default().push(attempt);
    }
    rows.into_iter()
        .map(|row| {
            let mut locked = StoredMessage::try_from(row)?;
            locked.life.attempts = found.remove(&locked.life.id).unwrap_or_default();
            Ok(locked)
        })
        .collect()
}

/// The providers that messages wait for now.
pub fn next_providers(messages: &[StoredMessage]) -> HashSet<String> {
    let next = |locked: &StoredMessage| Some(locked.life.step(locked.life.send?.step)?.provider.clone());
    messages.iter().filter_map(next).collect()
}

/// A claim on messages whose calls are about to be made.
#[derive(Debug, Clone, Copy)]
pub struct Lease {
    /// Whose it is.
    pub token: Uuid,
    /// How long it holds, in database time.
    pub length: Duration,
}
