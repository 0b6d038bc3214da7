//! Attempts: one row for each hand-over of one message to one provider.

use sqlx::PgConnection;
use uuid::Uuid;

use super::{StoreError, small, unsmall, word};
use crate::domain::{
    Timestamp,
    ids::{AttemptId, CallId, MessageId, first_uuid_at},
    life::{Attempt, Cause, Changed},
};

/// An attempt may be this much younger than its message: send time ahead, validity, windows.
pub const YOUNGER_BY: chrono::TimeDelta = chrono::TimeDelta::days(40);

struct Row {
    id: Uuid,
    message_id: Uuid,
    number: i16,
    step: i16,
    provider: String,
    channel: String,
    sender: String,
    call_id: Uuid,
    status: String,
    provider_message_id: Option<String>,
    error_code: Option<String>,
    error_category: Option<String>,
    error_retryable: Option<bool>,
    provider_code: Option<String>,
    started_at: Timestamp,
    answered_at: Option<Timestamp>,
    completed_at: Option<Timestamp>,
    evidence_until: Option<Timestamp>,
    next_poll_at: Option<Timestamp>,
    polls: i16,
    segments: Option<i16>,
    price: Option<String>,
    parts_delivered: Vec<i16>,
}

/// A cause out of its four columns.
pub(super) fn cause(
    table: &'static str,
    code: Option<&str>,
    category: Option<&str>,
    retryable: Option<bool>,
    provider_code: Option<String>,
) -> Result<Option<Cause>, StoreError> {
    let Some(code) = code else { return Ok(None) };
    let code: crate::domain::error_code::ErrorCode = word(table, "error_code", code)?;
    let category = category.map_or(Ok(code.category()), |text| word(table, "error_category", text))?;
    Ok(Some(Cause { code, category, retryable: retryable.unwrap_or(false), provider_code }))
}

impl TryFrom<Row> for (MessageId, Attempt) {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        let error = cause(
            "attempts",
            row.error_code.as_deref(),
            row.error_category.as_deref(),
            row.error_retryable,
            row.provider_code,
        )?;
        let attempt = Attempt {
            id: AttemptId(row.id),
            number: unsmall(row.number),
            step: unsmall(row.step),
            provider: row.provider,
            channel: word("attempts", "channel", &row.channel)?,
            sender: row.sender,
            call_id: CallId(row.call_id),
            status: word("attempts", "status", &row.status)?,
            error,
            provider_message_id: row.provider_message_id,
            started_at: row.started_at,
            answered_at: row.answered_at,
            completed_at: row.completed_at,
            evidence_until: row.evidence_until,
            next_poll_at: row.next_poll_at,
            polls: unsmall(row.polls),
            segments: row.segments.map(unsmall),
            price: row.price,
            parts_delivered: row.parts_delivered.into_iter().map(unsmall).collect(),
            changed: Changed::No,
        };
        Ok((MessageId(row.message_id), attempt))
    }
}

/// All attempts of some messages, by message and number. The ids bound the partitions that are read.
pub async fn of_messages(
    connection: &mut PgConnection,
    messages: &[MessageId],
) -> Result<Vec<(MessageId, Attempt)>, StoreError> {
    let Some(last) = messages.iter().max() else { return Ok(Vec::new()) };
    of_messages_until(connection, messages, last.time() + YOUNGER_BY).await
}

/// The same, where none was begun later than this.
pub async fn of_messages_until(
    connection: &mut PgConnection,
    messages: &[MessageId],
    until: Timestamp,
) -> Result<Vec<(MessageId, Attempt)>, StoreError> {
    let Some(first) = messages.iter().min() else { return Ok(Vec::new()) };
    let ids: Vec<Uuid> = messages.iter().map(|id| id.0).collect();
    let rows = sqlx::query_as!(
        Row,
        "select id, message_id, number, step, provider, channel, sender, call_id, status, provider_message_id, error_code,
                error_category, error_retryable, provider_code, started_at, answered_at, completed_at, evidence_until,
                next_poll_at, polls, segments, price, parts_delivered
         from attempts
         where message_id = any($1) and id >= $2 and id < $3
         order by message_id, number",
        &ids,
        first_uuid_at(first.time()),
        first_uuid_at(until),
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(TryInto::try_into).collect()
}

/// An attempt to be written, with its message and its recipient.
pub type Written<'a> = (MessageId, &'a str, &'a Attempt);

/// Writes the attempts that are new or changed.
pub async fn save(connection: &mut PgConnection, attempts: &[Written<'_>]) -> Result<(), StoreError> {
    let of = |changed| -> Vec<Written<'_>> {
        attempts.iter().filter(|(_, _, attempt)| attempt.changed == changed).copied().collect()
    };
    let (new, changed) = (of(Changed::New), of(Changed::Yes));
    insert(&mut *connection, &new).await?;
    update(connection, &changed).await
}

async fn insert(connection: &mut PgConnection, new: &[Written<'_>]) -> Result<(), StoreError> {
    if new.is_empty() {
        return Ok(());
    }
    let each = || new.iter().map(|(_, _, attempt)| *attempt);
    let ids: Vec<Uuid> = each().map(|attempt| attempt.id.0).collect();
    let messages: Vec<Uuid> = new.iter().map(|(message, _, _)| message.0).collect();
    let recipients: Vec<&str> = new.iter().map(|(_, recipient, _)| *recipient).collect();
    let numbers: Vec<i16> = each().map(|attempt| small(attempt.number)).collect();
    let steps: Vec<i16> = each().map(|attempt| small(attempt.step)).collect();
    let providers: Vec<&str> = each().map(|attempt| attempt.provider.as_str()).collect();
    let channels: Vec<&str> = each().map(|attempt| attempt.channel.as_str()).collect();
    let senders: Vec<&str> = each().map(|attempt| attempt.sender.as_str()).collect();
    let calls: Vec<Uuid> = each().map(|attempt| attempt.call_id.0).collect();
    let statuses: Vec<&str> = each().map(|attempt| attempt.status.as_str()).collect();
    let started: Vec<Timestamp> = each().map(|attempt| attempt.started_at).collect();
    sqlx::query!(
        "insert into attempts (id, message_id, recipient, number, step, provider, channel, sender, call_id, status, started_at)
         select * from unnest($1::uuid[], $2::uuid[], $3::text[], $4::smallint[], $5::smallint[], $6::text[], $7::text[],
                              $8::text[], $9::uuid[], $10::text[], $11::timestamptz[])",
        &ids,
        &messages,
        &recipients as &[&str],
        &numbers,
        &steps,
        &providers as &[&str],
        &channels as &[&str],
        &senders as &[&str],
        &calls,
        &statuses as &[&str],
        &started,
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn update(connection: &mut PgConnection, changed: &[Written<'_>]) -> Result<(), StoreError> {
    if changed.is_empty() {
        return Ok(());
    }
    let each = || changed.iter().map(|(_, _, attempt)| *attempt);
    let error = || each().map(|attempt| attempt.error.as_ref());
    let ids: Vec<Uuid> = each().map(|attempt| attempt.id.0).collect();
    let statuses: Vec<&str> = each().map(|attempt| attempt.status.as_str()).collect();
    let native: Vec<Option<&str>> = each().map(|attempt| attempt.provider_message_id.as_deref()).collect();
    let codes: Vec<Option<&str>> = error().map(|cause| cause.map(|cause| cause.code.as_str())).collect();
    let categories: Vec<Option<&str>> = error().map(|cause| cause.map(|cause| cause.category.as_str())).collect();
    let retryable: Vec<Option<bool>> = error().map(|cause| cause.map(|cause| cause.retryable)).collect();
    let provider_codes: Vec<Option<&str>> = error().map(|cause| cause?.provider_code.as_deref()).collect();
    let answered: Vec<Option<Timestamp>> = each().map(|attempt| attempt.answered_at).collect();
    let completed: Vec<Option<Timestamp>> = each().map(|attempt| attempt.completed_at).collect();
    let evidence: Vec<Option<Timestamp>> = each().map(|attempt| attempt.evidence_until).collect();
    let polls_at: Vec<Option<Timestamp>> = each().map(|attempt| attempt.next_poll_at).collect();
    let polls: Vec<i16> = each().map(|attempt| small(attempt.polls)).collect();
    let segments: Vec<Option<i16>> = each().map(|attempt| attempt.segments.map(small)).collect();
    let prices: Vec<Option<&str>> = each().map(|attempt| attempt.price.as_deref()).collect();
    // Arrays of arrays must be rectangular in PostgreSQL, so the parts travel as text.
    let parts: Vec<String> = each().map(parts_text).collect();
    sqlx::query!(
        "update attempts as a
         set status = n.status, provider_message_id = n.native, error_code = n.code, error_category = n.category,
             error_retryable = n.retryable, provider_code = n.provider_code, answered_at = n.answered,
             completed_at = n.completed, evidence_until = n.evidence, next_poll_at = n.poll_at, polls = n.polls,
             segments = n.segments, price = n.price, parts_delivered = n.parts::smallint[]
         from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::boolean[], $7::text[],
                     $8::timestamptz[], $9::timestamptz[], $10::timestamptz[], $11::timestamptz[], $12::smallint[],
                     $13::smallint[], $14::text[], $15::text[])
              as n (id, status, native, code, category, retryable, provider_code, answered, completed, evidence, poll_at,
                    polls, segments, price, parts)
         where a.id = n.id and a.id = any($1)",
        &ids,
        &statuses as &[&str],
        &native as &[Option<&str>],
        &codes as &[Option<&str>],
        &categories as &[Option<&str>],
        &retryable as &[Option<bool>],
        &provider_codes as &[Option<&str>],
        &answered as &[Option<Timestamp>],
        &completed as &[Option<Timestamp>],
        &evidence as &[Option<Timestamp>],
        &polls_at as &[Option<Timestamp>],
        &polls,
        &segments as &[Option<i16>],
        &prices as &[Option<&str>],
        &parts,
    )
    .execute(connection)
    .await?;
    Ok(())
}

fn parts_text(attempt: &Attempt) -> String {
    let parts: Vec<String> = attempt.parts_delivered.iter().map(u16::to_string).collect();
    format!("{{{}}}", parts.join(","))
}
