//! Storing what was accepted: messages and their places in the queue, many in one statement.

use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    StoreError,
    events::{self, Receivers},
    life::{self, Lease, StoredMessage},
    small,
};
use crate::domain::{Timestamp, content::Channel, life::Cause, message::NewMessage, segments::Encoding};

/// A message as it is stored: the content of a sensitive one is already sealed.
#[derive(Debug, Clone)]
pub struct Insert {
    /// The message.
    pub message: NewMessage,
    /// Its content, sealed, when it is sensitive.
    pub sealed: Option<Vec<u8>>,
}

/// Stores messages and queues them, with the attempts that they begin with. `lease` is given to those that are being sent. Apps are
/// told of those that are born final; nothing else will ever be told of them, so the messages need not count it.
pub async fn insert(
    connection: &mut PgConnection,
    inserts: &[(&Insert, &StoredMessage)],
    lease: Option<Lease>,
    receivers: &Receivers,
    now: Timestamp,
) -> Result<(), StoreError> {
    if inserts.is_empty() {
        return Ok(());
    }
    insert_rows(&mut *connection, inserts).await?;
    let stored: Vec<&StoredMessage> = inserts.iter().map(|(_, stored)| *stored).collect();
    life::save_attempts(&mut *connection, &stored).await?;
    life::insert_queue(&mut *connection, &stored, lease, now).await?;
    events::of_messages(connection, &stored, receivers, now).await
}

/// A message that cannot be sent, and why.
#[derive(Debug, Clone)]
pub struct Failed {
    /// The message; nothing of its content is sealed, since nobody will need it.
    pub message: NewMessage,
    /// Why.
    pub cause: Cause,
    /// The channel that was asked for, where the plan has no step that names one.
    pub channel: Option<Channel>,
    /// The sender that was asked for, likewise.
    pub from: Option<String>,
}

/// Stores messages that are `failed` from the beginning. They are inserted as any other and changed at once, so that the columns
/// which only these need cost the others nothing.
pub async fn insert_failed(
    connection: &mut PgConnection,
    failed: &[Failed],
    receivers: &Receivers,
    now: Timestamp,
) -> Result<(), StoreError> {
    if failed.is_empty() {
        return Ok(());
    }
    let inserts: Vec<Insert> =
        failed.iter().map(|failed| Insert { message: failed.message.clone(), sealed: None }).collect();
    let mut stored: Vec<StoredMessage> = inserts.iter().map(StoredMessage::new).collect();
    insert_rows(&mut *connection, &inserts.iter().zip(&stored).collect::<Vec<_>>()).await?;
    let ids: Vec<Uuid> = failed.iter().map(|failed| failed.message.id.0).collect();
    let codes: Vec<&str> = failed.iter().map(|failed| failed.cause.code.as_str()).collect();
    let categories: Vec<&str> = failed.iter().map(|failed| failed.cause.category.as_str()).collect();
    let retryable: Vec<bool> = failed.iter().map(|failed| failed.cause.retryable).collect();
    let channels: Vec<Option<&str>> = failed.iter().map(|failed| failed.channel.map(Channel::as_str)).collect();
    let senders: Vec<Option<&str>> = failed.iter().map(|failed| failed.from.as_deref()).collect();
    sqlx::query!(
        "update messages m
         set status = 'failed', completed_at = m.created_at, error_code = n.code, error_category = n.category,
             error_retryable = n.retryable, channel = coalesce(n.channel, m.channel), sender = coalesce(m.sender, n.sender)
         from unnest($1::uuid[], $2::text[], $3::text[], $4::boolean[], $5::text[], $6::text[])
              as n (id, code, category, retryable, channel, sender)
         where m.id = n.id",
        &ids,
        &codes as &[&str],
        &categories as &[&str],
        &retryable,
        &channels as &[Option<&str>],
        &senders as &[Option<&str>],
    )
    .execute(&mut *connection)
    .await?;
    for (stored, failed) in stored.iter_mut().zip(failed) {
        stored.life.born_failed(failed.cause.clone(), failed.message.created_at);
    }
    events::of_messages(connection, &stored.iter().collect::<Vec<_>>(), receivers, now).await
}

async fn insert_rows(connection: &mut PgConnection, inserts: &[(&Insert, &StoredMessage)]) -> Result<(), StoreError> {
    let each = || inserts.iter().map(|(insert, _)| &insert.message);
    let readable = || inserts.iter().map(|(insert, _)| (!insert.message.sensitive).then_some(&insert.message.content));
    let json = |value: &_| serde_json::to_string(value).unwrap_or_default();
    let ids: Vec<Uuid> = each().map(|m| m.id.0).collect();
    let apps: Vec<&str> = each().map(|m| m.app.as_str()).collect();
    let batches: Vec<Option<Uuid>> = each().map(|m| m.batch_id.map(|id| id.0)).collect();
    let tests: Vec<bool> = each().map(|m| m.test).collect();
    let statuses: Vec<&str> = inserts.iter().map(|(_, stored)| stored.life.status.as_str()).collect();
    let attempts = || inserts.iter().map(|(_, stored)| stored.life.attempts.last());
    let providers: Vec<Option<&str>> = attempts().map(|attempt| Some(attempt?.provider.as_str())).collect();
    let recipients: Vec<&str> = each().map(|m| m.to.as_str()).collect();
    let countries: Vec<Option<&str>> = each().map(|m| m.country.as_deref()).collect();
    let first = || each().map(|m| m.plan.steps.first());
    let channels: Vec<&str> = first().map(|step| step.map_or("sms", |step| step.channel.as_str())).collect();
    let senders: Vec<Option<&str>> = attempts()
        .zip(first())
        .map(|(attempt, step)| attempt.map(|attempt| attempt.sender.as_str()).or_else(|| step?.from.as_deref()))
        .collect();
    let categories: Vec<&str> = each().map(|m| m.category.as_str()).collect();
    let sensitive: Vec<bool> = each().map(|m| m.sensitive).collect();
    let bodies: Vec<Option<&str>> = readable().map(|content| content?.text.as_deref()).collect();
    let templates: Vec<Option<&str>> = each().map(|m| Some(m.content.template.as_ref()?.name.as_str())).collect();
    let params: Vec<Option<String>> =
        readable().map(|content| Some(json(&content?.template.as_ref()?.params))).collect();
    let sealed: Vec<Option<&[u8]>> = inserts.iter().map(|(insert, _)| insert.sealed.as_deref()).collect();
    let encodings: Vec<Option<&str>> = each().map(|m| m.encoding.map(Encoding::as_str)).collect();
    let segments: Vec<Option<i16>> = each().map(|m| m.segments.map(small)).collect();
    let plans: Vec<String> = each().map(|m| serde_json::to_string(&m.plan).unwrap_or_default()).collect();
    let references: Vec<Option<&str>> = each().map(|m| m.app_data.client_reference.as_deref()).collect();
    let metadata: Vec<Option<String>> =
        each().map(|m| (!m.app_data.metadata.is_empty()).then(|| json(&m.app_data.metadata))).collect();
    let callbacks: Vec<Option<&str>> = each().map(|m| m.app_data.callback_url.as_deref()).collect();
    let send_ats: Vec<Option<Timestamp>> = each().map(|m| m.send_at).collect();
    let expiries: Vec<Timestamp> = each().map(|m| m.expires_at).collect();
    let created: Vec<Timestamp> = each().map(|m| m.created_at).collect();
    sqlx::query!(
        "insert into messages (id, app, batch_id, test, status, recipient, country, channel, sender, category, sensitive,
                               body, template, params, sealed, encoding, segments, plan, client_reference, metadata,
                               callback_url, send_at, expires_at, created_at, provider)
         select id, app, batch_id, test, status, recipient, country, channel, sender, category, sensitive, body, template,
                params::jsonb, sealed, encoding, segments, plan::jsonb, reference, metadata::jsonb, callback_url, send_at,
                expires_at, created_at, provider
         from unnest($1::uuid[], $2::text[], $3::uuid[], $4::boolean[], $5::text[], $6::text[], $7::text[], $8::text[],
                     $9::text[], $10::text[], $11::boolean[], $12::text[], $13::text[], $14::text[], $15::bytea[],
                     $16::text[], $17::smallint[], $18::text[], $19::text[], $20::text[], $21::text[],
                     $22::timestamptz[], $23::timestamptz[], $24::timestamptz[], $25::text[])
              as n (id, app, batch_id, test, status, recipient, country, channel, sender, category, sensitive, body,
                    template, params, sealed, encoding, segments, plan, reference, metadata, callback_url, send_at,
                    expires_at, created_at, provider)",
        &ids,
        &apps as &[&str],
        &batches as &[Option<Uuid>],
        &tests,
        &statuses as &[&str],
        &recipients as &[&str],
        &countries as &[Option<&str>],
        &channels as &[&str],
        &senders as &[Option<&str>],
        &categories as &[&str],
        &sensitive,
        &bodies as &[Option<&str>],
        &templates as &[Option<&str>],
        &params as &[Option<String>],
        &sealed as &[Option<&[u8]>],
        &encodings as &[Option<&str>],
        &segments as &[Option<i16>],
        &plans,
        &references as &[Option<&str>],
        &metadata as &[Option<String>],
        &callbacks as &[Option<&str>],
        &send_ats as &[Option<Timestamp>],
        &expiries,
        &created,
        &providers as &[Option<&str>],
    )
    .execute(connection)
    .await?;
    Ok(())
}
