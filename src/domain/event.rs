//! What apps are told of: the types of events, when a change is one, and a message as it was at that moment.

use chrono::SubsecRound as _;
use serde::{Deserialize, Serialize};

use super::{
    Timestamp,
    error_code::{ErrorCategory, ErrorCode},
    life::{Attempt, Cause, Life},
    message::MessageRecord,
    status::{AttemptStatus, MessageStatus},
};

/// What an event tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
pub enum EventType {
    /// A provider took it.
    #[serde(rename = "message.sent")]
    MessageSent,
    /// It reached the phone.
    #[serde(rename = "message.delivered")]
    MessageDelivered,
    /// It was taken, then reported as lost.
    #[serde(rename = "message.undelivered")]
    MessageUndelivered,
    /// No provider took it.
    #[serde(rename = "message.failed")]
    MessageFailed,
    /// Its validity ended.
    #[serde(rename = "message.expired")]
    MessageExpired,
    /// Nobody knows; told again when that is final.
    #[serde(rename = "message.unknown")]
    MessageUnknown,
    /// It was canceled.
    #[serde(rename = "message.canceled")]
    MessageCanceled,
    /// A message arrived on a number of the app.
    #[serde(rename = "inbound_message.received")]
    InboundMessageReceived,
    /// Every message of a batch is final.
    #[serde(rename = "batch.completed")]
    BatchCompleted,
}

super::content::text_enum!(EventType {
    MessageSent = "message.sent",
    MessageDelivered = "message.delivered",
    MessageUndelivered = "message.undelivered",
    MessageFailed = "message.failed",
    MessageExpired = "message.expired",
    MessageUnknown = "message.unknown",
    MessageCanceled = "message.canceled",
    InboundMessageReceived = "inbound_message.received",
    BatchCompleted = "batch.completed",
});

/// What of a message decides whether there is something to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// Its status.
    pub status: MessageStatus,
    /// Is that the end?
    pub is_final: bool,
}

impl Told {
    /// As a life stands now.
    pub fn of(life: &Life) -> Self {
        Self { status: life.status, is_final: life.is_final() }
    }

    /// The event that lies between what was told and what is now, if there is one.
    pub fn event_until(self, now: Self) -> Option<EventType> {
        let entered = self.status != now.status;
        match now.status {
            MessageStatus::Scheduled | MessageStatus::Queued | MessageStatus::Sending => None,
            MessageStatus::Sent => entered.then_some(EventType::MessageSent),
            // Once when it becomes unclear, and once more when it stays so.
            MessageStatus::Unknown => (entered || now.is_final && !self.is_final).then_some(EventType::MessageUnknown),
            MessageStatus::Delivered => entered.then_some(EventType::MessageDelivered),
            MessageStatus::Undelivered => entered.then_some(EventType::MessageUndelivered),
            MessageStatus::Failed => entered.then_some(EventType::MessageFailed),
            MessageStatus::Expired => entered.then_some(EventType::MessageExpired),
            MessageStatus::Canceled => entered.then_some(EventType::MessageCanceled),
        }
    }
}

/// How an event stands with its receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryStatus {
    /// Waits for its first try, or for the next one.
    Pending,
    /// The receiver took it.
    Delivered,
    /// The last try failed, and no more are made.
    Failed,
    /// There was nowhere to deliver it.
    Skipped,
}

super::content::text_enum!(DeliveryStatus {
    Pending = "pending",
    Delivered = "delivered",
    Failed = "failed",
    Skipped = "skipped",
});

/// What changes about a message, as it was at one moment. Short names, since it is written with every event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MessageState {
    status: MessageStatus,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    completed_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sent_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<CauseState>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    possible_duplicate: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    attempts: Vec<AttemptState>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct AttemptState {
    #[serde(rename = "n")]
    number: u16,
    #[serde(rename = "s")]
    status: AttemptStatus,
    #[serde(rename = "id", default, skip_serializing_if = "Option::is_none")]
    provider_message_id: Option<String>,
    #[serde(rename = "e", default, skip_serializing_if = "Option::is_none")]
    error: Option<CauseState>,
    #[serde(rename = "g", default, skip_serializing_if = "Option::is_none")]
    segments: Option<u16>,
    #[serde(rename = "p", default, skip_serializing_if = "Option::is_none")]
    price: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct CauseState {
    #[serde(rename = "c")]
    code: ErrorCode,
    #[serde(rename = "t")]
    category: ErrorCategory,
    #[serde(rename = "r")]
    retryable: bool,
    #[serde(rename = "p", default, skip_serializing_if = "Option::is_none")]
    provider_code: Option<String>,
}

impl From<&Cause> for CauseState {
    fn from(cause: &Cause) -> Self {
        Self {
            code: cause.code,
            category: cause.category,
            retryable: cause.retryable,
            provider_code: cause.provider_code.clone(),
        }
    }
}

impl From<CauseState> for Cause {
    fn from(state: CauseState) -> Self {
        let CauseState { code, category, retryable, provider_code } = state;
        Self { code, category, retryable, provider_code }
    }
}

impl From<&Attempt> for AttemptState {
    fn from(attempt: &Attempt) -> Self {
        Self {
            number: attempt.number,
            status: attempt.status,
            provider_message_id: attempt.provider_message_id.clone(),
            error: attempt.error.as_ref().map(CauseState::from),
            segments: attempt.segments,
            price: attempt.price.clone(),
        }
    }
}

impl AttemptState {
    fn put_into(self, attempt: &mut Attempt) {
        attempt.status = self.status;
        attempt.provider_message_id = self.provider_message_id;
        attempt.error = self.error.map(Cause::from);
        attempt.segments = self.segments;
        attempt.price = self.price;
    }
}

/// The database keeps microseconds: what is told is what is shown later.
fn as_stored(time: Timestamp) -> Timestamp {
    time.trunc_subsecs(6)
}

impl MessageState {
    /// As a life stands now.
    pub fn of(life: &Life) -> Self {
        Self {
            status: life.status,
            completed_at: life.completed_at.map(as_stored),
            sent_at: life.sent_at.map(as_stored),
            error: life.error.as_ref().map(CauseState::from),
            possible_duplicate: life.possible_duplicate,
            attempts: life.attempts.iter().map(AttemptState::from).collect(),
        }
    }

    /// Shows a message as it was, out of what it is now.
    pub fn put_into(self, record: &mut MessageRecord) {
        record.status = self.status;
        record.completed_at = self.completed_at;
        record.sent_at = self.sent_at;
        record.error = self.error.map(Cause::from);
        record.possible_duplicate = self.possible_duplicate;
        record.attempts.retain(|attempt| self.attempts.iter().any(|state| state.number == attempt.number));
        for state in self.attempts {
            if let Some(attempt) = record.attempts.iter_mut().find(|attempt| attempt.number == state.number) {
                state.put_into(attempt);
            }
        }
        let last = record.attempts.last();
        record.provider = last.map(|attempt| attempt.provider.clone());
        record.provider_message_id = last.and_then(|attempt| attempt.provider_message_id.clone());
        if let Some(last) = last {
            record.channel = last.channel;
            record.from = Some(last.sender.clone());
        }
        record.price = record.attempts.iter().rev().find_map(|attempt| attempt.price.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::{EventType::*, MessageStatus::*, *};

    fn told(status: MessageStatus, is_final: bool) -> Told {
        Told { status, is_final }
    }

    #[test]
    fn each_status_that_an_app_waits_for_is_told_when_it_is_entered() {
        for (status, event) in [
            (Delivered, MessageDelivered),
            (Undelivered, MessageUndelivered),
            (Failed, MessageFailed),
            (Expired, MessageExpired),
            (Canceled, MessageCanceled),
        ] {
            assert_eq!(told(Sent, false).event_until(told(status, true)), Some(event));
            assert_eq!(told(status, true).event_until(told(status, true)), None);
        }
        assert_eq!(told(Sending, false).event_until(told(Sent, false)), Some(MessageSent));
        assert_eq!(told(Sent, false).event_until(told(Sent, false)), None);
        for status in [Scheduled, Queued, Sending] {
            assert_eq!(told(Sent, false).event_until(told(status, false)), None);
        }
    }

    #[test]
    fn unknown_is_told_when_entered_and_once_more_when_it_is_final() {
        assert_eq!(told(Sending, false).event_until(told(Unknown, false)), Some(MessageUnknown));
        assert_eq!(told(Unknown, false).event_until(told(Unknown, false)), None);
        assert_eq!(told(Unknown, false).event_until(told(Unknown, true)), Some(MessageUnknown));
        assert_eq!(told(Unknown, true).event_until(told(Unknown, true)), None);
        assert_eq!(told(Sending, false).event_until(told(Unknown, true)), Some(MessageUnknown));
        assert_eq!(told(Unknown, true).event_until(told(Delivered, true)), Some(MessageDelivered));
    }
}
