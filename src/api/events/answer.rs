//! An event as webhooks deliver it and as the API shows it.

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    api::{inbound_messages::InboundMessage, messages::answer::Message},
    domain::{
        batch::Batch,
        event::{DeliveryStatus, EventType},
        ids::EventId,
    },
    store::events::{self, Subject},
};

/// What a webhook is called with.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Event {
    /// What happened.
    #[serde(rename = "type")]
    pub kind: EventType,
    /// When it happened, not when this try was made.
    pub timestamp: DateTime<Utc>,
    /// Among the events of one message: 1, 2, 3…
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, nullable = false)]
    pub sequence: Option<u32>,
    /// What it happened to.
    pub data: EventData,
}

/// What an event is about: one of these. None of them when it is no longer kept.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
pub struct EventData {
    /// The message as it was then.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub message: Option<Box<Message>>,
    /// The message that arrived.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub inbound_message: Option<Box<InboundMessage>>,
    /// The batch as it was then.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Batch>, nullable = false)]
    pub batch: Option<serde_json::Value>,
}

/// An event and the state of its delivery.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct StoredEvent {
    /// Its id: the `webhook-id` of every try.
    #[schema(value_type = String, pattern = "^evt_[0-7][0-9a-hjkmnp-tv-z]{25}$")]
    pub id: EventId,
    /// The app that is told.
    pub app: String,
    /// What happened.
    #[serde(rename = "type")]
    pub kind: EventType,
    /// When it happened.
    pub timestamp: DateTime<Utc>,
    /// Among the events of one message: 1, 2, 3…
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, nullable = false)]
    pub sequence: Option<u32>,
    /// What it happened to.
    pub data: EventData,
    /// How it was delivered.
    pub delivery: Delivery,
}

/// The state of an event's delivery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Delivery {
    /// `skipped` when there was nowhere to deliver it.
    pub status: DeliveryStatus,
    /// Where the last try went; before it, the message's own `callback_url`.
    pub url: Option<String>,
    /// Tries so far.
    pub tries: u32,
    /// When the last one was made.
    pub last_try_at: Option<DateTime<Utc>>,
    /// What it was answered.
    pub last_status_code: Option<u16>,
    /// Why it was not taken.
    pub last_error: Option<String>,
    /// When the next try is made.
    pub next_try_at: Option<DateTime<Utc>>,
}

impl From<Subject> for EventData {
    fn from(subject: Subject) -> Self {
        match subject {
            Subject::Message(record) => Self { message: Some(Box::new(Message::from(*record))), ..Self::default() },
            Subject::Inbound(record) => {
                Self { inbound_message: Some(Box::new(InboundMessage::from(*record))), ..Self::default() }
            }
            Subject::Batch(shown) => Self { batch: Some(shown), ..Self::default() },
            Subject::Gone => Self::default(),
        }
    }
}

impl From<events::StoredEvent> for StoredEvent {
    fn from(event: events::StoredEvent) -> Self {
        Self {
            id: event.id,
            app: event.app,
            kind: event.event,
            timestamp: event.id.time(),
            sequence: event.sequence.map(u32::from),
            data: event.subject.into(),
            delivery: Delivery {
                status: event.delivery,
                url: event.url.or(event.callback_url),
                tries: event.tries.into(),
                last_try_at: event.tried_at,
                last_status_code: event.last_status_code,
                last_error: event.last_error,
                next_try_at: event.next_try_at,
            },
        }
    }
}

impl From<events::StoredEvent> for Event {
    fn from(event: events::StoredEvent) -> Self {
        let shown = StoredEvent::from(event);
        Self { kind: shown.kind, timestamp: shown.timestamp, sequence: shown.sequence, data: shown.data }
    }
}
