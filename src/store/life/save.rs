//! Saving what happened to messages: the messages first, and with them whether anybody was faster.

use std::collections::BTreeMap;

use sqlx::PgConnection;
use uuid::Uuid;

use super::{Lease, StoredMessage};
use crate::{
    domain::{
        Timestamp,
        content::Category,
        ids::{BatchId, new_uuid},
        life::Life,
        status::{AttemptStatus, MessageStatus},
    },
    store::{
        StoreError, attempts, batches,
        events::{self, Receivers},
        small,
    },
};

/// Saves what happened to messages. `lease` is given to those that are being sent. When somebody else changed one of them since
/// it was read, nothing of it may stay: it ends with [`StoreError::Overtaken`], and so must the transaction. What apps are to be
/// told of is written with it.
pub async fn save(
    connection: &mut PgConnection,
    messages: &[&StoredMessage],
    lease: Option<Lease>,
    receivers: &Receivers,
    now: Timestamp,
) -> Result<(), StoreError> {
    if messages.is_empty() {
        return Ok(());
    }
    update_messages(&mut *connection, messages).await?;
    save_attempts(&mut *connection, messages).await?;
    save_queue(&mut *connection, messages, lease, now).await?;
    insert_decisions(&mut *connection, messages, now).await?;
    events::of_messages(&mut *connection, messages, receivers, now).await?;
    let mut changes: BTreeMap<BatchId, i32> = BTreeMap::new();
    for (batch, by) in messages.iter().filter_map(|message| message.opens()) {
        *changes.entry(batch).or_default() += by;
    }
    batches::note_open(connection, &changes, receivers, now).await
}

/// Writes the attempts of messages that are new or changed.
pub(in crate::store) async fn save_attempts(
    connection: &mut PgConnection,
    messages: &[&StoredMessage],
) -> Result<(), StoreError> {
    let written: Vec<attempts::Written<'_>> = messages
        .iter()
        .flat_map(|m| m.life.attempts.iter().map(|attempt| (m.life.id, m.to.as_str(), attempt)))
        .collect();
    attempts::save(connection, &written).await
}

async fn update_messages(connection: &mut PgConnection, messages: &[&StoredMessage]) -> Result<(), StoreError> {
    let lives = || messages.iter().map(|message| &message.life);
    let ids: Vec<Uuid> = lives().map(|life| life.id.0).collect();
    let versions: Vec<i32> = messages.iter().map(|message| message.version).collect();
    let statuses: Vec<&str> = lives().map(|life| life.status.as_str()).collect();
    let completed: Vec<Option<Timestamp>> = lives().map(|life| life.completed_at).collect();
    let sent: Vec<Option<Timestamp>> = lives().map(|life| life.sent_at).collect();
    let codes: Vec<Option<&str>> = lives().map(|life| life.error.as_ref().map(|cause| cause.code.as_str())).collect();
    let categories: Vec<Option<&str>> =
        lives().map(|life| life.error.as_ref().map(|cause| cause.category.as_str())).collect();
    let retryable: Vec<Option<bool>> = lives().map(|life| life.error.as_ref().map(|cause| cause.retryable)).collect();
    let provider_codes: Vec<Option<&str>> = lives().map(|life| life.error.as_ref()?.provider_code.as_deref()).collect();
    let duplicates: Vec<bool> = lives().map(|life| life.possible_duplicate).collect();
    let shown = || lives().map(|life| life.attempts.last());
    let providers: Vec<Option<&str>> = shown().map(|a| Some(a?.provider.as_str())).collect();
    let native: Vec<Option<&str>> = shown().map(|a| a?.provider_message_id.as_deref()).collect();
    let channels: Vec<Option<&str>> = shown().map(|a| Some(a?.channel.as_str())).collect();
    let senders: Vec<Option<&str>> = shown().map(|a| Some(a?.sender.as_str())).collect();
    let segments: Vec<Option<i16>> = shown().map(|a| a?.segments.map(small)).collect();
    let prices: Vec<Option<&str>> = shown().map(|a| a?.price.as_deref()).collect();
    let told: Vec<i16> = messages.iter().map(|message| i16::from(message.event().is_some())).collect();
    // No bounds on the ids here: the range would look cheaper than it is, and be read as a whole.
    let updated = sqlx::query!(
        "update messages as m
         set version = m.version + 1, status = n.status, completed_at = n.completed, sent_at = n.sent, error_code = n.code,
             error_category = n.category, error_retryable = n.retryable, provider_code = n.provider_code,
             possible_duplicate = n.duplicate, provider = coalesce(n.provider, m.provider),
             provider_message_id = case when n.provider is null then m.provider_message_id else n.native end,
             channel = coalesce(n.channel, m.channel), sender = coalesce(n.sender, m.sender),
             segments = coalesce(n.segments, m.segments), price = coalesce(n.price, m.price),
             sealed = case when n.completed is null then m.sealed end, events = m.events + n.told
         from unnest($1::uuid[], $2::text[], $3::timestamptz[], $4::timestamptz[], $5::text[], $6::text[], $7::boolean[],
                     $8::text[], $9::boolean[], $10::text[], $11::text[], $12::text[], $13::text[], $14::smallint[],
                     $15::text[], $16::integer[], $17::smallint[])
              as n (id, status, completed, sent, code, category, retryable, provider_code, duplicate, provider, native,
                    channel, sender, segments, price, version, told)
         where m.id = n.id and m.version = n.version",
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
        &versions,
        &told,
    )
    .execute(connection)
    .await?;
    if updated.rows_affected() == messages.len() as u64 { Ok(()) } else { Err(StoreError::Overtaken) }
}

/// Classes in the order in which they are served.
pub(in crate::store) fn class(category: Category) -> i16 {
    match category {
        Category::Otp => 0,
        Category::Transactional => 1,
        Category::Marketing => 2,
    }
}

async fn save_queue(
    connection: &mut PgConnection,
    messages: &[&StoredMessage],
    lease: Option<Lease>,
    now: Timestamp,
) -> Result<(), StoreError> {
    // A message may have ended by one attempt while another is being made: that one still needs its lease.
    let over = |message: &StoredMessage| message.life.is_final() && !is_being_sent(&message.life);
    let (over, open): (Vec<_>, Vec<_>) = messages.iter().copied().partition(|message| over(message));
    let gone: Vec<Uuid> = over.iter().filter(|message| message.queued).map(|message| message.life.id.0).collect();
    if !gone.is_empty() {
        sqlx::query!("delete from queue where message_id = any($1)", &gone).execute(&mut *connection).await?;
    }
    let (queued, new): (Vec<_>, Vec<_>) = open.into_iter().partition(|message| message.queued);
    update_queue(&mut *connection, &queued, lease, now).await?;
    insert_queue(connection, &new, lease, now).await
}

fn is_being_sent(life: &Life) -> bool {
    life.attempts.iter().any(|attempt| attempt.status == AttemptStatus::Sending)
}

/// The columns of the queue that follow from a life.
struct Places<'a> {
    ids: Vec<Uuid>,
    providers: Vec<&'a str>,
    steps: Vec<i16>,
    tries: Vec<Option<i16>>,
    limits: Vec<Option<i16>>,
    next: Vec<bool>,
    attempts: Vec<i16>,
    due: Vec<Option<Timestamp>>,
    timers: Vec<Option<Timestamp>>,
    leased: Vec<bool>,
}

impl<'a> Places<'a> {
    fn of(messages: &[&'a StoredMessage], now: Timestamp) -> Self {
        let lives = || messages.iter().map(|message| &message.life);
        let step_of =
            |life: &Life| life.send.map_or_else(|| life.attempts.last().map_or(0, |last| last.step), |send| send.step);
        Self {
            ids: lives().map(|life| life.id.0).collect(),
            providers: lives().map(|life| life.step(step_of(life)).map_or("", |step| step.provider.as_str())).collect(),
            steps: lives().map(|life| small(step_of(life))).collect(),
            tries: lives().map(|life| life.send.map(|send| small(send.tries))).collect(),
            limits: lives().map(|life| life.send?.group_limit.map(small)).collect(),
            next: lives().map(Life::has_next_step).collect(),
            attempts: lives().map(|life| i16::try_from(life.attempts.len()).unwrap_or(i16::MAX)).collect(),
            due: lives().map(|life| life.send.map(|send| send.due)).collect(),
            timers: lives().map(|life| life.next_timer(now)).collect(),
            leased: lives().map(is_being_sent).collect(),
        }
    }
}

/// Puts messages into the queue that have no row there. Those that are being sent get the lease.
pub(in crate::store) async fn insert_queue(
    connection: &mut PgConnection,
    messages: &[&StoredMessage],
    lease: Option<Lease>,
    now: Timestamp,
) -> Result<(), StoreError> {
    if messages.is_empty() {
        return Ok(());
    }
    let places = Places::of(messages, now);
    let apps: Vec<&str> = messages.iter().map(|message| message.app.as_str()).collect();
    let classes: Vec<i16> = messages.iter().map(|message| class(message.life.category)).collect();
    let expiries: Vec<Timestamp> = messages.iter().map(|message| message.life.expires_at).collect();
    let scheduled: Vec<bool> = messages.iter().map(|message| message.life.status == MessageStatus::Scheduled).collect();
    sqlx::query!(
        "insert into queue (message_id, app, class, provider, step, tries, group_limit, has_next, attempts, send_due,
                            timer_due, expires_at, scheduled, lease, lease_until)
         select n.id, n.app, n.class, n.provider, n.step, coalesce(n.tries, 0), n.group_limit, n.has_next, n.attempts, n.due,
                n.timer, n.expires, n.scheduled, case when n.leased then $15::uuid end,
                case when n.leased then now() + make_interval(secs => $16) end
         from unnest($1::uuid[], $2::text[], $3::smallint[], $4::text[], $5::smallint[], $6::smallint[], $7::smallint[],
                     $8::boolean[], $9::smallint[], $10::timestamptz[], $11::timestamptz[], $12::timestamptz[],
                     $13::boolean[], $14::boolean[])
              as n (id, app, class, provider, step, tries, group_limit, has_next, attempts, due, timer, expires, scheduled,
                    leased)",
        &places.ids,
        &apps as &[&str],
        &classes,
        &places.providers as &[&str],
        &places.steps,
        &places.tries as &[Option<i16>],
        &places.limits as &[Option<i16>],
        &places.next,
        &places.attempts,
        &places.due as &[Option<Timestamp>],
        &places.timers as &[Option<Timestamp>],
        &expiries,
        &scheduled,
        &places.leased,
        lease.map(|lease| lease.token),
        lease.map_or(0.0, |lease| lease.length.as_secs_f64()),
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn update_queue(
    connection: &mut PgConnection,
    messages: &[&StoredMessage],
    lease: Option<Lease>,
    now: Timestamp,
) -> Result<(), StoreError> {
    if messages.is_empty() {
        return Ok(());
    }
    let places = Places::of(messages, now);
    // While a message is being sent, `tries` and `group_limit` stay those of the hand-over in flight: what was answered needs
    // them. A lease stays with whoever has it for as long as an attempt is open.
    sqlx::query!(
        "update queue as q
         set provider = n.provider, step = n.step,
             tries = case when n.due is null then q.tries else coalesce(n.tries, 0) end,
             group_limit = case when n.due is null then q.group_limit else n.group_limit end,
             has_next = n.has_next, attempts = n.attempts, send_due = n.due, timer_due = n.timer,
             lease = case when n.leased then coalesce($11, q.lease) end,
             lease_until = case when n.leased and $11 is null then q.lease_until
                                when n.leased then now() + make_interval(secs => $12) end
         from unnest($1::uuid[], $2::text[], $3::smallint[], $4::smallint[], $5::smallint[], $6::boolean[], $7::smallint[],
                     $8::timestamptz[], $9::timestamptz[], $10::boolean[])
              as n (id, provider, step, tries, group_limit, has_next, attempts, due, timer, leased)
         where q.message_id = n.id",
        &places.ids,
        &places.providers as &[&str],
        &places.steps,
        &places.tries as &[Option<i16>],
        &places.limits as &[Option<i16>],
        &places.next,
        &places.attempts,
        &places.due as &[Option<Timestamp>],
        &places.timers as &[Option<Timestamp>],
        &places.leased,
        lease.map(|lease| lease.token) as Option<Uuid>,
        lease.map_or(0.0, |lease| lease.length.as_secs_f64()),
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn insert_decisions(
    connection: &mut PgConnection,
    messages: &[&StoredMessage],
    now: Timestamp,
) -> Result<(), StoreError> {
    let each = || {
        messages
            .iter()
            .flat_map(|message| message.life.decisions.iter().map(move |decision| (message.life.id, decision)))
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
