//! Loading a message's life under a row lock, and saving what happened to it. Always many at a time.
//!
//! The lock is the message's row, always taken in the order of the ids, so that two units of work that touch the same messages
//! wait for each other and never dead-lock.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use sqlx::{PgConnection, types::Json};
use uuid::Uuid;

use super::{StoreError, attempts, small, unsmall, word};
use crate::domain::{
    Timestamp,
    content::{Category, Content, TemplateUse},
    ids::{MessageId, new_uuid},
    life::{Attempt, HandOver, Life, Plan},
    phone_number::PhoneNumber,
    status::AttemptStatus,
};

/// A message under lock.
#[derive(Debug, Clone)]
pub struct Locked {
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
    /// It has a row in the queue.
    queued: bool,
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
}

impl TryFrom<Row> for Locked {
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
            life,
            app: row.app,
            to: PhoneNumber::from_stored(row.recipient),
            content,
            came_from,
            queued: row.queued,
        })
    }
}

/// Loads and locks messages, in the order of their ids. Those that do not exist are left out.
pub async fn lock(connection: &mut PgConnection, messages: &[MessageId]) -> Result<Vec<Locked>, StoreError> {
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
    let rows = sqlx::query_as!(
        Row,
        r#"select m.id, m.app, m.recipient, m.category, m.sensitive, m.body, m.template,
                  m.params as "params: Json<BTreeMap<String, String>>", m.sealed, m.plan as "plan: Json<Plan>", m.send_at,
                  m.expires_at, m.status, m.completed_at, m.sent_at, m.error_code, m.error_category, m.error_retryable,
                  m.provider_code, m.possible_duplicate, q.message_id is not null as "queued!", q.attempts as "attempts?",
                  q.step as "step?", q.tries as "tries?", q.group_limit as "group_limit?", q.send_due as "send_due?"
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

/// Locks what waits to be handed to a provider, in order of class and time, without waiting for anybody: what another
/// process holds is passed over.
pub async fn lock_due(
    connection: &mut PgConnection,
    provider: &str,
    now: Timestamp,
    limit: i64,
) -> Result<Vec<Locked>, StoreError> {
    let rows = sqlx::query_as!(
        Row,
        r#"select m.id, m.app, m.recipient, m.category, m.sensitive, m.body, m.template,
                  m.params as "params: Json<BTreeMap<String, String>>", m.sealed, m.plan as "plan: Json<Plan>", m.send_at,
                  m.expires_at, m.status, m.completed_at, m.sent_at, m.error_code, m.error_category, m.error_retryable,
                  m.provider_code, m.possible_duplicate, true as "queued!", q.attempts as "attempts?", q.step as "step?",
                  q.tries as "tries?", q.group_limit as "group_limit?", q.send_due as "send_due?"
           from queue q join messages m on m.id = q.message_id
           where q.provider = $1 and q.send_due <= $2 and q.lease is null and not q.scheduled and q.expires_at > $2
           order by q.class, q.send_due
           limit $3
           for update of q, m skip locked"#,
        provider,
        now,
        limit,
    )
    .fetch_all(&mut *connection)
    .await?;
    with_attempts(connection, rows).await
}

async fn with_attempts(connection: &mut PgConnection, rows: Vec<Row>) -> Result<Vec<Locked>, StoreError> {
    // A message that was never handed over has no attempts to look for.
    let tried: Vec<MessageId> =
        rows.iter().filter(|row| row.attempts != Some(0)).map(|row| MessageId(row.id)).collect();
    let mut found: BTreeMap<MessageId, Vec<Attempt>> = BTreeMap::new();
    for (message, attempt) in attempts::of_messages(connection, &tried).await? {
        found.entry(message).or_default().push(attempt);
    }
    rows.into_iter()
        .map(|row| {
            let mut locked = Locked::try_from(row)?;
            locked.life.attempts = found.remove(&locked.life.id).unwrap_or_default();
            Ok(locked)
        })
        .collect()
}

/// The providers that messages wait for now.
pub fn next_providers(messages: &[Locked]) -> HashSet<String> {
    let next = |locked: &Locked| Some(locked.life.step(locked.life.send?.step)?.provider.clone());
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

/// Saves what happened to messages that were locked in this transaction. `lease` is given to those that are being sent.
pub async fn save(
    connection: &mut PgConnection,
    messages: &[&Locked],
    lease: Option<Lease>,
    now: Timestamp,
) -> Result<(), StoreError> {
    if messages.is_empty() {
        return Ok(());
    }
    let written: Vec<attempts::Written<'_>> = messages
        .iter()
        .flat_map(|locked| locked.life.attempts.iter().map(|attempt| (locked.life.id, locked.to.as_str(), attempt)))
        .collect();
    attempts::save(&mut *connection, &written).await?;
    update_messages(&mut *connection, messages).await?;
    save_queue(&mut *connection, messages, lease, now).await?;
    insert_decisions(connection, messages, now).await
}

async fn update_messages(connection: &mut PgConnection, messages: &[&Locked]) -> Result<(), StoreError> {
    let lives = || messages.iter().map(|locked| &locked.life);
    let last = |life: &'_ Life| life.attempts.last().cloned();
    let ids: Vec<Uuid> = lives().map(|life| life.id.0).collect();
    let statuses: Vec<&str> = lives().map(|life| life.status.as_str()).collect();
    let completed: Vec<Option<Timestamp>> = lives().map(|life| life.completed_at).collect();
    let sent: Vec<Option<Timestamp>> = lives().map(|life| life.sent_at).collect();
    let codes: Vec<Option<&str>> = lives().map(|life| life.error.as_ref().map(|cause| cause.code.as_str())).collect();
    let categories: Vec<Option<&str>> =
        lives().map(|life| life.error.as_ref().map(|cause| cause.category.as_str())).collect();
    let retryable: Vec<Option<bool>> = lives().map(|life| life.error.as_ref().map(|cause| cause.retryable)).collect();
    let provider_codes: Vec<Option<&str>> = lives().map(|life| life.error.as_ref()?.provider_code.as_deref()).collect();
    let duplicates: Vec<bool> = lives().map(|life| life.possible_duplicate).collect();
    let attempts: Vec<Option<Attempt>> = lives().map(last).collect();
    let shown = || attempts.iter().map(Option::as_ref);
    let providers: Vec<Option<&str>> = shown().map(|a| Some(a?.provider.as_str())).collect();
    let native: Vec<Option<&str>> = shown().map(|a| a?.provider_message_id.as_deref()).collect();
    let channels: Vec<Option<&str>> = shown().map(|a| Some(a?.channel.as_str())).collect();
    let senders: Vec<Option<&str>> = shown().map(|a| Some(a?.sender.as_str())).collect();
    let segments: Vec<Option<i16>> = shown().map(|a| a?.segments.map(small)).collect();
    let prices: Vec<Option<&str>> = shown().map(|a| a?.price.as_deref()).collect();
    sqlx::query!(
        "update messages as m
         set status = n.status, completed_at = n.completed, sent_at = n.sent, error_code = n.code,
             error_category = n.category, error_retryable = n.retryable, provider_code = n.provider_code,
             possible_duplicate = n.duplicate, provider = coalesce(n.provider, m.provider),
             provider_message_id = case when n.provider is null then m.provider_message_id else n.native end,
             channel = coalesce(n.channel, m.channel), sender = coalesce(n.sender, m.sender),
             segments = coalesce(n.segments, m.segments), price = coalesce(n.price, m.price),
             sealed = case when n.completed is null then m.sealed end
         from unnest($1::uuid[], $2::text[], $3::timestamptz[], $4::timestamptz[], $5::text[], $6::text[], $7::boolean[],
                     $8::text[], $9::boolean[], $10::text[], $11::text[], $12::text[], $13::text[], $14::smallint[],
                     $15::text[])
              as n (id, status, completed, sent, code, category, retryable, provider_code, duplicate, provider, native,
                    channel, sender, segments, price)
         where m.id = n.id and m.id = any($1)",
        &ids,
        &statuses as &[&str],
        &completed as &[Option<Timestamp>],
        &sent as &[Option<Timestamp>],
        &codes as &[Option<&str>],
        &categories as &[Option<&str>],
        &retryable as &[Option<bool>],
        &provider_codes as &[Option<&str>],
        &duplicates,
        &providers as &[Option<&str>],
        &native as &[Option<&str>],
        &channels as &[Option<&str>],
        &senders as &[Option<&str>],
        &segments as &[Option<i16>],
        &prices as &[Option<&str>],
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Classes in the order in which they are served.
pub(super) fn class(category: Category) -> i16 {
    match category {
        Category::Otp => 0,
        Category::Transactional => 1,
        Category::Marketing => 2,
    }
}

async fn save_queue(
    connection: &mut PgConnection,
    messages: &[&Locked],
    lease: Option<Lease>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let sending = |life: &Life| life.attempts.iter().any(|attempt| attempt.status == AttemptStatus::Sending);
    // A message may have ended by one attempt while another is being made: that one still needs its lease.
    let over = |locked: &Locked| locked.life.is_final() && !sending(&locked.life);
    let gone: Vec<Uuid> =
        messages.iter().filter(|locked| locked.queued && over(locked)).map(|locked| locked.life.id.0).collect();
    if !gone.is_empty() {
        sqlx::query!("delete from queue where message_id = any($1)", &gone).execute(&mut *connection).await?;
    }
    let open: Vec<&Locked> = messages.iter().copied().filter(|locked| !over(locked)).collect();
    if open.is_empty() {
        return Ok(());
    }
    let lives = || open.iter().map(|locked| &locked.life);
    let step_of =
        |life: &Life| life.send.map_or_else(|| life.attempts.last().map_or(0, |last| last.step), |send| send.step);
    let ids: Vec<Uuid> = lives().map(|life| life.id.0).collect();
    let apps: Vec<&str> = open.iter().map(|locked| locked.app.as_str()).collect();
    let classes: Vec<i16> = lives().map(|life| class(life.category)).collect();
    let providers: Vec<&str> =
        lives().map(|life| life.step(step_of(life)).map_or("", |step| step.provider.as_str())).collect();
    let steps: Vec<i16> = lives().map(|life| small(step_of(life))).collect();
    let tries: Vec<Option<i16>> = lives().map(|life| life.send.map(|send| small(send.tries))).collect();
    let limits: Vec<Option<i16>> = lives().map(|life| life.send?.group_limit.map(small)).collect();
    let next: Vec<bool> = lives().map(Life::has_next_step).collect();
    let counts: Vec<i16> = lives().map(|life| i16::try_from(life.attempts.len()).unwrap_or(i16::MAX)).collect();
    let due: Vec<Option<Timestamp>> = lives().map(|life| life.send.map(|send| send.due)).collect();
    let timers: Vec<Option<Timestamp>> = lives().map(|life| life.next_timer(now)).collect();
    let expiries: Vec<Timestamp> = lives().map(|life| life.expires_at).collect();
    let leased: Vec<bool> = lives().map(sending).collect();
    // While a message is being sent, `tries` and `group_limit` stay those of the hand-over in flight: what was answered needs
    // them. A lease stays with whoever has it for as long as an attempt is open; the nil token says so.
    sqlx::query!(
        "insert into queue as q (message_id, app, class, provider, step, tries, group_limit, has_next, attempts, send_due,
                                 timer_due, expires_at, lease, lease_until)
         select n.id, n.app, n.class, n.provider, n.step, coalesce(n.tries, 0), n.group_limit, n.has_next, n.attempts, n.due,
                n.timer, n.expires, case when n.leased then coalesce($14::uuid, $16::uuid) end,
                case when n.leased then now() + make_interval(secs => $15) end
         from unnest($1::uuid[], $2::text[], $3::smallint[], $4::text[], $5::smallint[], $6::smallint[], $7::smallint[],
                     $8::boolean[], $9::smallint[], $10::timestamptz[], $11::timestamptz[], $12::timestamptz[],
                     $13::boolean[])
              as n (id, app, class, provider, step, tries, group_limit, has_next, attempts, due, timer, expires, leased)
         on conflict (message_id) do update
         set provider = excluded.provider, step = excluded.step,
             tries = case when excluded.send_due is null then q.tries else excluded.tries end,
             group_limit = case when excluded.send_due is null then q.group_limit else excluded.group_limit end,
             has_next = excluded.has_next, attempts = excluded.attempts, send_due = excluded.send_due,
             timer_due = excluded.timer_due,
             lease = case when excluded.lease = $16 then q.lease else excluded.lease end,
             lease_until = case when excluded.lease = $16 then q.lease_until else excluded.lease_until end",
        &ids,
        &apps as &[&str],
        &classes,
        &providers as &[&str],
        &steps,
        &tries as &[Option<i16>],
        &limits as &[Option<i16>],
        &next,
        &counts,
        &due as &[Option<Timestamp>],
        &timers as &[Option<Timestamp>],
        &expiries,
        &leased,
        lease.map(|lease| lease.token),
        lease.map_or(0.0, |lease| lease.length.as_secs_f64()),
        Uuid::nil(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn insert_decisions(
    connection: &mut PgConnection,
    messages: &[&Locked],
    now: Timestamp,
) -> Result<(), StoreError> {
    let each = || {
        messages.iter().flat_map(|locked| locked.life.decisions.iter().map(move |decision| (locked.life.id, decision)))
    };
    if each().next().is_none() {
        return Ok(());
    }
    let ids: Vec<Uuid> = each().map(|_| new_uuid(now)).collect();
    let owners: Vec<Uuid> = each().map(|(id, _)| id.0).collect();
    let kinds: Vec<&str> = each().map(|(_, decision)| decision.kind.as_str()).collect();
    let numbers: Vec<Option<i16>> = each().map(|(_, decision)| decision.attempt.map(small)).collect();
    let providers: Vec<Option<&str>> = each().map(|(_, decision)| decision.provider.as_deref()).collect();
    let codes: Vec<Option<&str>> = each().map(|(_, decision)| decision.provider_code.as_deref()).collect();
    let details: Vec<&str> = each().map(|(_, decision)| decision.detail.as_str()).collect();
    sqlx::query!(
        "insert into decisions (id, message_id, kind, attempt, provider, detail, provider_code)
         select * from unnest($1::uuid[], $2::uuid[], $3::text[], $4::smallint[], $5::text[], $6::text[], $7::text[])",
        &ids,
        &owners,
        &kinds as &[&str],
        &numbers as &[Option<i16>],
        &providers as &[Option<&str>],
        &details as &[&str],
        &codes as &[Option<&str>],
    )
    .execute(connection)
    .await?;
    Ok(())
}
