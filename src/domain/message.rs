//! A message from the outside: as it is accepted, and as it is shown.

use std::collections::BTreeMap;

use super::{
    Timestamp,
    content::{Category, Channel, Content},
    ids::{BatchId, MessageId},
    life::{Attempt, Cause, Plan},
    phone_number::PhoneNumber,
    segments::Encoding,
    status::MessageStatus,
};

/// What an app says besides the content, and gets back as it was given.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AppData {
    /// The app's own id for it.
    pub client_reference: Option<String>,
    /// The app's own data.
    pub metadata: BTreeMap<String, String>,
    /// Where this message's events go instead of the app's webhook.
    pub callback_url: Option<String>,
}

/// What never changes about a message.
#[derive(Debug, Clone, PartialEq)]
pub struct NewMessage {
    /// Its id; also when it was accepted.
    pub id: MessageId,
    /// Whose it is.
    pub app: String,
    /// Accepted together with others.
    pub batch_id: Option<BatchId>,
    /// Accepted with a test key: it never leaves.
    pub test: bool,
    /// For whom.
    pub to: PhoneNumber,
    /// ISO 3166-1 alpha-2; none for numbers that belong to no country.
    pub country: Option<String>,
    /// Its class.
    pub category: Category,
    /// Content is sealed at rest and erased at the end.
    pub sensitive: bool,
    /// What it says. Empty once it was erased, or when the reader may not see it.
    pub content: Content,
    /// How the text is encoded; none when only a provider knows the text.
    pub encoding: Option<Encoding>,
    /// The gateway's count.
    pub segments: Option<u16>,
    /// What was decided.
    pub plan: Plan,
    /// What the app says besides.
    pub app_data: AppData,
    /// Not before.
    pub send_at: Option<Timestamp>,
    /// No hand-over begins after this.
    pub expires_at: Timestamp,
    /// When it was accepted.
    pub created_at: Timestamp,
}

/// A message as it is now.
#[derive(Debug, Clone, PartialEq)]
pub struct MessageRecord {
    /// What never changes.
    pub message: NewMessage,
    /// Where it is.
    pub status: MessageStatus,
    /// When it became final.
    pub completed_at: Option<Timestamp>,
    /// When the first provider took it.
    pub sent_at: Option<Timestamp>,
    /// Why it is where it is.
    pub error: Option<Cause>,
    /// Of the last attempt; before it, of the first step.
    pub channel: Channel,
    /// Of the last attempt; before it, what was asked for.
    pub from: Option<String>,
    /// Of the last attempt.
    pub provider: Option<String>,
    /// Of the last attempt.
    pub provider_message_id: Option<String>,
    /// What the provider charged: a decimal number as text.
    pub price: Option<String>,
    /// Handed over again although an earlier outcome was unclear.
    pub possible_duplicate: bool,
    /// The hand-overs so far.
    pub attempts: Vec<Attempt>,
}

impl NewMessage {
    /// The message as it is at the moment of its acceptance.
    pub fn accepted(self) -> MessageRecord {
        let ahead = self.send_at.is_some_and(|at| at > self.created_at);
        let first = self.plan.steps.first();
        MessageRecord {
            status: if ahead { MessageStatus::Scheduled } else { MessageStatus::Queued },
            completed_at: None,
            sent_at: None,
            error: None,
            channel: first.map_or(Channel::Sms, |step| step.channel),
            from: first.and_then(|step| step.from.clone()),
            provider: None,
            provider_message_id: None,
            price: None,
            possible_duplicate: false,
            attempts: Vec::new(),
            message: self,
        }
    }
}
