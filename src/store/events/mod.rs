//! What apps are told of. An event is written in the transaction of the change that it tells of, so that there is never one
//! without the other; many in one statement. Delivering them is another matter (`deliveries`).

mod read;

use std::collections::HashMap;

use sqlx::PgConnection;
use url::Url;
use uuid::Uuid;

pub use read::{EventFilter, StoredEvent, Subject, find, list, of_message, with_ids};

use super::{StoreError, inbound::InboundRecord, life::StoredMessage};
use crate::domain::{
    Timestamp,
    event::{EventType, MessageState},
    ids::{BatchId, new_uuid},
};

/// Where each app wants to be told of what, as configured. An app that is not in it is told nothing.
#[derive(Debug, Clone, Default)]
pub struct Receivers(HashMap<String, Receiver>);

/// What an app configured.
#[derive(Debug, Clone, Default)]
pub struct Receiver {
    /// Its webhook.
    pub webhook_url: Option<String>,
    /// What it wants to know; empty: everything.
    pub events: Vec<EventType>,
}

impl FromIterator<(String, Receiver)> for Receivers {
    fn from_iter<I: IntoIterator<Item = (String, Receiver)>>(apps: I) -> Self {
        Self(apps.into_iter().collect())
    }
}

impl Receivers {
    /// The address that an event goes to as things stand; none when there is none, or its app does not want to know.
    pub fn address<'a>(&'a self, app: &str, event: EventType, callback_url: Option<&'a str>) -> Option<&'a str> {
        let app = self.0.get(app)?;
        let wanted = app.events.is_empty() || app.events.contains(&event);
        callback_url.or(app.webhook_url.as_deref()).filter(|_| wanted)
    }
}

/// The name of an app's webhook among its receivers.
pub const WEBHOOK: &str = "";

/// Whom an event goes to: the app's webhook, or the host that a `callback_url` names.
pub fn receiver(callback_url: Option<&str>) -> String {
    let origin = |url: &str| Url::parse(url).map(|url| url.origin().ascii_serialization()).unwrap_or_default();
    callback_url.map_or_else(|| WEBHOOK.to_owned(), origin)
}

/// An event that is about to be written.
struct NewEvent<'a> {
    app: &'a str,
    event: EventType,
    message: Option<Uuid>,
    batch: Option<Uuid>,
    inbound: Option<Uuid>,
    sequence: Option<i16>,
    state: Option<String>,
    callback_url: Option<&'a str>,
}

/// Writes what is to be told about messages that were just saved or stored.
pub(in crate::store) async fn of_messages(
    connection: &mut PgConnection,
    messages: &[&StoredMessage],
    receivers: &Receivers,
    now: Timestamp,
) -> Result<(), StoreError> {
    let new: Vec<NewEvent<'_>> = messages
        .iter()
        .filter_map(|message| {
            Some(NewEvent {
                app: &message.app,
                event: message.event()?,
                message: Some(message.life.id.0),
                batch: None,
                inbound: None,
                sequence: Some(message.events().saturating_add(1)),
                state: Some(json(&MessageState::of(&message.life))),
                callback_url: message.callback_url(),
            })
        })
        .collect();
    insert(connection, &new, receivers, now).await
}

/// Tells the app that owns its number of an inbound message, in the transaction that keeps it.
pub async fn of_inbound(
    connection: &mut PgConnection,
    inbound: &InboundRecord,
    receivers: &Receivers,
    now: Timestamp,
) -> Result<(), StoreError> {
    let Some(app) = &inbound.app else { return Ok(()) };
    let new = NewEvent {
        app,
        event: EventType::InboundMessageReceived,
        message: None,
        batch: None,
        inbound: Some(inbound.id.0),
        sequence: None,
        state: None,
        callback_url: None,
    };
    insert(connection, &[new], receivers, now).await
}

/// A batch whose last message became final.
#[derive(Debug, Clone)]
pub struct CompletedBatch {
    /// Which one.
    pub id: BatchId,
    /// Whose it is.
    pub app: String,
    /// Where its events go instead of the app's webhook.
    pub callback_url: Option<String>,
    /// The batch as the API shows it at this moment.
    pub shown: serde_json::Value,
}

/// Tells apps of batches that are complete, in the transaction that notes it.
pub async fn of_batches(
    connection: &mut PgConnection,
    batches: &[CompletedBatch],
    receivers: &Receivers,
    now: Timestamp,
) -> Result<(), StoreError> {
    let new: Vec<NewEvent<'_>> = batches
        .iter()
        .map(|batch| NewEvent {
            app: &batch.app,
            event: EventType::BatchCompleted,
            message: None,
            batch: Some(batch.id.0),
            inbound: None,
            sequence: None,
            state: Some(batch.shown.to_string()),
            callback_url: batch.callback_url.as_deref(),
        })
        .collect();
    insert(connection, &new, receivers, now).await
}

fn json(state: &MessageState) -> String {
    serde_json::to_string(state).unwrap_or_default()
}

async fn insert(
    connection: &mut PgConnection,
    new: &[NewEvent<'_>],
    receivers: &Receivers,
    now: Timestamp,
) -> Result<(), StoreError> {
    if new.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = new.iter().map(|_| new_uuid(now)).collect();
    let apps: Vec<&str> = new.iter().map(|event| event.app).collect();
    let types: Vec<&str> = new.iter().map(|event| event.event.as_str()).collect();
    let messages: Vec<Option<Uuid>> = new.iter().map(|event| event.message).collect();
    let batches: Vec<Option<Uuid>> = new.iter().map(|event| event.batch).collect();
    let inbound: Vec<Option<Uuid>> = new.iter().map(|event| event.inbound).collect();
    let sequences: Vec<Option<i16>> = new.iter().map(|event| event.sequence).collect();
    let states: Vec<Option<&str>> = new.iter().map(|event| event.state.as_deref()).collect();
    let callbacks: Vec<Option<&str>> = new.iter().map(|event| event.callback_url).collect();
    let address =
        |event: &NewEvent<'_>| receivers.address(event.app, event.event, event.callback_url).map(str::to_owned);
    let addresses: Vec<Option<String>> = new.iter().map(address).collect();
    let whom: Vec<String> = new.iter().map(|event| receiver(event.callback_url)).collect();
    // What has nowhere to go is written down and never looked at again.
    if addresses.iter().all(Option::is_none) {
        sqlx::query!(
            "insert into events (id, app, type, message_id, batch_id, inbound_message_id, sequence, state, callback_url, receiver,
                                 delivery)
             select id, app, type, message_id, batch_id, inbound_message_id, sequence, state::jsonb, callback_url, receiver, 'skipped'
             from unnest($1::uuid[], $2::text[], $3::text[], $4::uuid[], $5::uuid[], $6::uuid[], $7::smallint[], $8::text[],
                         $9::text[], $10::text[])
                  as u (id, app, type, message_id, batch_id, inbound_message_id, sequence, state, callback_url, receiver)",
            &ids,
            &apps as &[&str],
            &types as &[&str],
            &messages as &[Option<Uuid>],
            &batches as &[Option<Uuid>],
            &inbound as &[Option<Uuid>],
            &sequences as &[Option<i16>],
            &states as &[Option<&str>],
            &callbacks as &[Option<&str>],
            &whom,
        )
        .execute(connection)
        .await?;
        return Ok(());
    }
    sqlx::query!(
        "with n as materialized (
             select u.*, u.address is not null
                    and not exists (select from webhook_switches s where s.app = u.app and s.url = u.address) as goes
             from unnest($1::uuid[], $2::text[], $3::text[], $4::uuid[], $5::uuid[], $6::uuid[], $7::smallint[], $8::text[],
                         $9::text[], $10::text[], $11::text[])
                  as u (id, app, type, message_id, batch_id, inbound_message_id, sequence, state, callback_url, address,
                        receiver)
         ), written as (
             insert into events (id, app, type, message_id, batch_id, inbound_message_id, sequence, state, callback_url,
                                 receiver, delivery)
             select id, app, type, message_id, batch_id, inbound_message_id, sequence, state::jsonb, callback_url, receiver,
                    case when goes then 'pending' else 'skipped' end
             from n
         )
         insert into webhook_queue (event_id, app, receiver, due) select id, app, receiver, $12 from n where goes",
        &ids,
        &apps as &[&str],
        &types as &[&str],
        &messages as &[Option<Uuid>],
        &batches as &[Option<Uuid>],
        &inbound as &[Option<Uuid>],
        &sequences as &[Option<i16>],
        &states as &[Option<&str>],
        &callbacks as &[Option<&str>],
        &addresses as &[Option<String>],
        &whom,
        now,
    )
    .execute(connection)
    .await?;
    Ok(())
}
