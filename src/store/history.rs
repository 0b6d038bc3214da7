//! Reading messages: one, or a page of many by any filter.
//!
//! Pages go by key: the cursor is the last id that was seen, and the next page begins below it, so a page costs the same at any
//! depth and nothing is shown twice while new messages come in.
//!
//! To plan a query over all days costs more than most queries themselves. So a page is looked for in the newest days first and
//! in older ones only when it is not full; and what an index finds wherever it is has a plan that is made once. What is rare and
//! has no index of its own is not looked for for ever: after a second the page ends where the search came to.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use sqlx::{PgConnection, Postgres, QueryBuilder, Row as _, postgres::PgRow, types::Json};
use uuid::Uuid;

use super::{StoreError, attempts, unsmall, word};
use crate::domain::{
    Timestamp,
    content::{Channel, Content, TemplateUse},
    error_code::ErrorCode,
    ids::{BatchId, MessageId, first_uuid_at, time_of},
    life::Plan,
    message::{AppData, MessageRecord, NewMessage},
    phone_number::PhoneNumber,
    status::MessageStatus,
};

/// Which part of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// Only what is older than this id.
    pub before: Option<Uuid>,
    /// At most so many.
    pub limit: i64,
}

impl Default for Page {
    fn default() -> Self {
        Self { before: None, limit: 50 }
    }
}

/// Which messages to show. All conditions must hold.
#[derive(Debug, Clone, Default)]
pub struct MessageFilter {
    /// Of this app only.
    pub app: Option<String>,
    /// Any of these statuses.
    pub statuses: Vec<MessageStatus>,
    /// Of the last attempt; before it, of the first step.
    pub channel: Option<Channel>,
    /// To this number.
    pub to: Option<String>,
    /// From this sender.
    pub from: Option<String>,
    /// Last handed to this provider.
    pub provider: Option<String>,
    /// Of this batch.
    pub batch_id: Option<BatchId>,
    /// The app's own id.
    pub client_reference: Option<String>,
    /// The provider's id, of any attempt.
    pub provider_message_id: Option<String>,
    /// The names of all providers, where `provider_message_id` is given.
    pub all_providers: Vec<String>,
    /// The cause.
    pub error_code: Option<ErrorCode>,
    /// At this time or later.
    pub created_after: Option<Timestamp>,
    /// Before this time.
    pub created_before: Option<Timestamp>,
    /// Which part of it all.
    pub page: Page,
}

/// How far the clocks of two processes may be apart, generously.
const CLOCKS_DIFFER: chrono::TimeDelta = chrono::TimeDelta::days(1);
/// The newest days are looked through first; each further span is twice as long, as long as that is fast.
const FIRST_SPAN: chrono::TimeDelta = chrono::TimeDelta::days(1);
/// From this length on a span covers all that is left.
const LONGEST_SPAN: chrono::TimeDelta = chrono::TimeDelta::days(1000);
/// A span that took no longer is followed by a longer one.
const FAST: Duration = Duration::from_millis(50);
/// After so long a page ends where the search came to.
const SEARCHED_FOR: Duration = Duration::from_secs(1);

/// What a search for one page found.
#[derive(Debug)]
pub struct Found {
    /// The messages, newest first.
    pub records: Vec<MessageRecord>,
    /// The search ended before the page was full: what is older than this was not looked at.
    pub searched_down_to: Option<MessageId>,
}

const SELECT: &str =
    "select id, app, batch_id, test, status, completed_at, recipient, country, channel, sender, category,
    sensitive, body, template, params, encoding, segments, plan, provider, provider_message_id, error_code,
    error_category, error_retryable, provider_code, price, possible_duplicate, client_reference, metadata, callback_url,
    send_at, expires_at, created_at, sent_at from messages where true";

/// One message with its attempts. With an app: only if it is that app's.
pub async fn find(
    connection: &mut PgConnection,
    app: Option<&str>,
    id: MessageId,
) -> Result<Option<MessageRecord>, StoreError> {
    let mut query = QueryBuilder::<Postgres>::new(SELECT);
    query.push(" and id = ").push_bind(id.0);
    if let Some(app) = app {
        query.push(" and app = ").push_bind(app);
    }
    let rows = query.build().fetch_all(&mut *connection).await?;
    Ok(records(connection, &rows).await?.pop())
}

/// Some messages with their attempts, in no order. Those that do not exist are left out.
pub async fn with_ids(connection: &mut PgConnection, ids: &[MessageId]) -> Result<Vec<MessageRecord>, StoreError> {
    let (Some(first), Some(last)) = (ids.iter().min(), ids.iter().max()) else { return Ok(Vec::new()) };
    let all: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    let mut query = QueryBuilder::<Postgres>::new(SELECT);
    query.push(" and id = any(").push_bind(all);
    // The bounds keep other days out.
    query.push(") and id between ").push_bind(first.0).push(" and ").push_bind(last.0);
    let rows = query.build().fetch_all(&mut *connection).await?;
    records(connection, &rows).await
}

/// One page of messages with their attempts, newest first.
pub async fn list(connection: &mut PgConnection, filter: &MessageFilter, now: Timestamp) -> Result<Found, StoreError> {
    let (rows, searched_down_to) = if filter.is_found_by_an_index() {
        // With values in view the planner would look at every day anew; with a plan for all values it does so once.
        sqlx::raw_sql("set local plan_cache_mode = force_generic_plan").execute(&mut *connection).await?;
        let mut query = filter.query(filter.page.limit, filter.oldest(), filter.newest());
        let rows = query.build().fetch_all(&mut *connection).await?;
        sqlx::raw_sql("set local plan_cache_mode = auto").execute(&mut *connection).await?;
        (rows, None)
    } else {
        let bounds = Bounds { limit: filter.page.limit, oldest: filter.oldest(), newest: filter.newest() };
        search(&mut *connection, bounds, now, |limit, oldest, newest| filter.query(limit, oldest, newest)).await?
    };
    Ok(Found { records: records(connection, &rows).await?, searched_down_to: searched_down_to.map(MessageId) })
}

/// What a page is looked for in: at most so many rows, with ids from the one to below the other.
pub(super) struct Bounds {
    pub limit: i64,
    pub oldest: Option<Uuid>,
    pub newest: Option<Uuid>,
}

/// Looks through one span of time after the other, the newest first, until the page is full or all is looked through. When that
/// takes too long, it says how far it came. `query` asks for so many rows between two ids.
pub(super) async fn search(
    connection: &mut PgConnection,
    bounds: Bounds,
    now: Timestamp,
    query: impl Fn(i64, Option<Uuid>, Option<Uuid>) -> QueryBuilder<Postgres>,
) -> Result<(Vec<PgRow>, Option<Uuid>), StoreError> {
    let Bounds { limit, oldest, newest } = bounds;
    let began = Instant::now();
    let mut newest = newest.unwrap_or_else(|| first_uuid_at(now + CLOCKS_DIFFER));
    let (mut rows, mut span) = (Vec::new(), FIRST_SPAN);
    loop {
        let start = first_uuid_at(time_of(newest) - span);
        let is_last = span >= LONGEST_SPAN || oldest.is_some_and(|oldest| oldest >= start);
        let from = if is_last { oldest } else { Some(start) };
        let missing = limit - i64::try_from(rows.len()).unwrap_or(i64::MAX);
        let began_span = Instant::now();
        rows.extend(query(missing, from, Some(newest)).build().fetch_all(&mut *connection).await?);
        let is_full = i64::try_from(rows.len()).is_ok_and(|found| found >= limit);
        if is_full || is_last {
            return Ok((rows, None));
        }
        newest = start;
        if began.elapsed() > SEARCHED_FOR {
            return Ok((rows, Some(newest)));
        }
        if began_span.elapsed() < FAST {
            span = span * 2;
        }
    }
}

impl MessageFilter {
    /// Does it ask for what an index leads to, on whatever day that is?
    fn is_found_by_an_index(&self) -> bool {
        self.to.is_some() || self.client_reference.is_some() || self.provider_message_id.is_some()
    }

    /// The first id that may be in it.
    fn oldest(&self) -> Option<Uuid> {
        let of_batch = self.batch_id.map(|batch| first_uuid_at(batch.time() - CLOCKS_DIFFER));
        [self.created_after.map(first_uuid_at), of_batch].into_iter().flatten().max()
    }

    /// The first id that may no longer be in it.
    fn newest(&self) -> Option<Uuid> {
        let of_batch = self.batch_id.map(|batch| first_uuid_at(batch.time() + CLOCKS_DIFFER));
        [self.created_before.map(first_uuid_at), self.page.before, of_batch].into_iter().flatten().min()
    }

    fn query(&self, limit: i64, oldest: Option<Uuid>, newest: Option<Uuid>) -> QueryBuilder<Postgres> {
        let mut query = QueryBuilder::<Postgres>::new(SELECT);
        let words = [
            ("app", self.app.as_deref()),
            ("channel", self.channel.map(Channel::as_str)),
            ("recipient", self.to.as_deref()),
            ("sender", self.from.as_deref()),
            ("provider", self.provider.as_deref()),
            ("client_reference", self.client_reference.as_deref()),
            ("error_code", self.error_code.map(ErrorCode::as_str)),
        ];
        for (column, value) in words {
            if let Some(value) = value {
                query.push(" and ").push(column).push(" = ").push_bind(value.to_owned());
            }
        }
        if !self.statuses.is_empty() {
            let statuses: Vec<String> = self.statuses.iter().map(|status| status.as_str().to_owned()).collect();
            query.push(" and status = any(").push_bind(statuses).push(")");
        }
        if let Some(batch) = self.batch_id {
            query.push(" and batch_id = ").push_bind(batch.0);
        }
        if let Some(native) = &self.provider_message_id {
            // Also the id of an attempt that was not the last. The index is by id and provider, so the providers are named too.
            query.push(" and id in (select message_id from attempts where provider = any(");
            query.push_bind(self.all_providers.clone()).push(") and provider_message_id = ").push_bind(native.clone());
            query.push(")");
        }
        if let Some(newest) = newest {
            query.push(" and id < ").push_bind(newest);
        }
        if let Some(oldest) = oldest {
            query.push(" and id >= ").push_bind(oldest);
        }
        // Written out, because a plan for any number of rows is another one than for a page.
        query.push(format!(" order by id desc limit {limit}"));
        query
    }
}

async fn records(connection: &mut PgConnection, rows: &[PgRow]) -> Result<Vec<MessageRecord>, StoreError> {
    let mut records = rows.iter().map(record).collect::<Result<Vec<_>, _>>()?;
    let ids: Vec<MessageId> = records.iter().map(|record| record.message.id).collect();
    let mut found: BTreeMap<MessageId, Vec<_>> = BTreeMap::new();
    for (message, attempt) in attempts::of_messages(connection, &ids).await? {
        found.entry(message).or_default().push(attempt);
    }
    for record in &mut records {
        record.attempts = found.remove(&record.message.id).unwrap_or_default();
    }
    Ok(records)
}

fn record(row: &PgRow) -> Result<MessageRecord, StoreError> {
    let parse = |column: &'static str| -> Result<String, StoreError> { Ok(row.try_get::<String, _>(column)?) };
    let sensitive: bool = row.try_get("sensitive")?;
    let template: Option<String> = row.try_get("template")?;
    let params: Option<Json<BTreeMap<String, String>>> = row.try_get("params")?;
    let content = Content {
        text: row.try_get("body")?,
        template: template.map(|name| TemplateUse { name, params: params.unwrap_or_default().0 }),
    };
    let created_at: Timestamp = row.try_get("created_at")?;
    let encoding: Option<String> = row.try_get("encoding")?;
    let metadata: Option<Json<BTreeMap<String, String>>> = row.try_get("metadata")?;
    let message = NewMessage {
        id: MessageId(row.try_get("id")?),
        app: row.try_get("app")?,
        batch_id: row.try_get::<Option<Uuid>, _>("batch_id")?.map(BatchId),
        test: row.try_get("test")?,
        to: PhoneNumber::from_stored(row.try_get("recipient")?),
        country: row.try_get("country")?,
        category: word("messages", "category", &parse("category")?)?,
        sensitive,
        content,
        encoding: encoding.map(|text| word("messages", "encoding", &text)).transpose()?,
        segments: row.try_get::<Option<i16>, _>("segments")?.map(unsmall),
        plan: row.try_get::<Json<Plan>, _>("plan")?.0,
        app_data: AppData {
            client_reference: row.try_get("client_reference")?,
            metadata: metadata.unwrap_or_default().0,
            callback_url: row.try_get("callback_url")?,
        },
        send_at: row.try_get("send_at")?,
        expires_at: row.try_get("expires_at")?,
        created_at,
    };
    let error = attempts::cause(
        "messages",
        row.try_get("error_code")?,
        row.try_get("error_category")?,
        row.try_get("error_retryable")?,
        row.try_get("provider_code")?,
    )?;
    Ok(MessageRecord {
        message,
        status: word("messages", "status", &parse("status")?)?,
        completed_at: row.try_get("completed_at")?,
        sent_at: row.try_get("sent_at")?,
        error,
        channel: word("messages", "channel", &parse("channel")?)?,
        from: row.try_get("sender")?,
        provider: row.try_get("provider")?,
        provider_message_id: row.try_get("provider_message_id")?,
        price: row.try_get("price")?,
        possible_duplicate: row.try_get("possible_duplicate")?,
        attempts: Vec::new(),
    })
}
