//! A message, its attempts and its timeline as the API shows them.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::{
    content::{Channel, TemplateUse},
    error_code::{ErrorCategory, ErrorCode},
    ids::{BatchId, EventId, MessageId},
    phone_number::PhoneNumber,
    segments::Encoding,
    status::{AttemptStatus, MessageStatus},
};

/// One message to one recipient.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Message {
    /// Its id.
    #[schema(value_type = String, pattern = "^msg_[0-7][0-9a-hjkmnp-tv-z]{25}$", examples("msg_01h455vb4pex5vsknk084sn02q"))]
    pub id: MessageId,
    /// Whose it is.
    pub app: String,
    /// The batch that it belongs to.
    #[schema(value_type = Option<String>, pattern = "^bat_[0-7][0-9a-hjkmnp-tv-z]{25}$")]
    pub batch_id: Option<BatchId>,
    /// Where it is.
    pub status: MessageStatus,
    /// The status is an end. Stop polling.
    #[serde(rename = "final")]
    pub is_final: bool,
    /// Of the last attempt; before it, of the first step.
    pub channel: Channel,
    /// For whom.
    #[schema(value_type = String, pattern = "^\\+[1-9][0-9]{6,14}$")]
    pub to: PhoneNumber,
    /// The sender.
    pub from: Option<String>,
    /// The recipient's country (ISO 3166-1 alpha-2).
    #[schema(pattern = "^[A-Z]{2}$")]
    pub country: Option<String>,
    /// As rendered; null when sensitive, or when only the provider knows the template's text.
    pub text: Option<String>,
    /// The template and its params; params are left out when sensitive.
    pub template: Option<TemplateUse>,
    /// How the text is written on the air.
    pub encoding: Option<Encoding>,
    /// The provider's count once it gave one, else the gateway's.
    #[schema(minimum = 1)]
    pub segments: Option<u16>,
    /// The route that matched.
    pub route: Option<String>,
    /// Of the last attempt.
    pub provider: Option<String>,
    /// Of the last attempt.
    pub provider_message_id: Option<String>,
    /// Every hand-over to a provider, oldest first.
    pub attempts: Vec<Attempt>,
    /// Why it did not arrive.
    #[schema(required = true)]
    pub error: Option<MessageError>,
    /// What the provider said it charged.
    pub price: Option<Money>,
    /// The app's own id for it.
    #[schema(required = true)]
    pub client_reference: Option<String>,
    /// The app's own data.
    pub metadata: BTreeMap<String, String>,
    /// Where its events go instead of the app's webhook.
    #[schema(format = "uri")]
    pub callback_url: Option<String>,
    /// Handed over again although an earlier outcome was unclear.
    pub possible_duplicate: bool,
    /// Text and params are never shown.
    pub sensitive: bool,
    /// Was sent with a test key.
    pub test: bool,
    /// Not before this time.
    pub send_at: Option<DateTime<Utc>>,
    /// Not after this time.
    pub expires_at: DateTime<Utc>,
    /// When it was accepted.
    pub created_at: DateTime<Utc>,
    /// When a provider took it.
    pub sent_at: Option<DateTime<Utc>>,
    /// When it became final.
    pub completed_at: Option<DateTime<Utc>>,
}

/// One hand-over to one provider.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Attempt {
    /// From 1.
    #[schema(minimum = 1)]
    pub number: u32,
    /// Which provider.
    pub provider: String,
    /// On which channel.
    pub channel: Channel,
    /// The sender that was used.
    pub from: Option<String>,
    /// The provider's id of it.
    pub provider_message_id: Option<String>,
    /// Where it is.
    pub status: AttemptStatus,
    /// Why it went wrong.
    pub error: Option<MessageError>,
    /// When it began.
    pub started_at: DateTime<Utc>,
}

/// Why a message is `undelivered`, `failed`, `expired` or `unknown`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct MessageError {
    /// The neutral cause.
    pub code: ErrorCode,
    /// Whose it is to mend.
    pub category: ErrorCategory,
    /// What happened, in one sentence.
    pub message: &'static str,
    /// What to do about it.
    pub hint: Option<&'static str>,
    /// The same message, sent again later, may succeed.
    pub retryable: bool,
    /// The provider's code, verbatim.
    #[schema(examples("E200028"))]
    pub provider_code: Option<String>,
}

impl MessageError {
    /// The error with its words. `category` is the provider's own, where its table has one.
    pub fn new(
        code: ErrorCode,
        category: Option<ErrorCategory>,
        retryable: bool,
        provider_code: Option<String>,
    ) -> Self {
        let category = category.unwrap_or(code.category());
        Self { code, category, message: code.message(), hint: code.hint(), retryable, provider_code }
    }
}

/// An amount of money.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Money {
    /// A decimal number as text.
    #[schema(pattern = "^-?[0-9]+(\\.[0-9]+)?$", examples("0.0360"))]
    pub amount: String,
    /// ISO 4217; null where the provider does not say.
    #[schema(pattern = "^[A-Z]{3}$")]
    pub currency: Option<String>,
}

/// One thing that happened to a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct TimelineEntry {
    /// Its id.
    #[schema(value_type = String, pattern = "^evt_[0-7][0-9a-hjkmnp-tv-z]{25}$")]
    pub id: EventId,
    /// What happened. More kinds may be added.
    #[serde(rename = "type")]
    #[schema(examples(
        "created",
        "attempt.started",
        "attempt.sent",
        "failover",
        "report.applied",
        "webhook.delivered"
    ))]
    pub kind: String,
    /// When.
    pub timestamp: DateTime<Utc>,
    /// The message's status after it.
    pub status: MessageStatus,
    /// Which attempt it is about.
    pub attempt: Option<u32>,
    /// Which provider it is about.
    pub provider: Option<String>,
    /// The provider's code, verbatim.
    pub provider_code: Option<String>,
    /// For people.
    pub detail: Option<String>,
    /// The provider's words, secrets removed. Operators only.
    pub raw: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_category_of_the_providers_table_goes_before_the_usual_one() {
        let usual = MessageError::new(ErrorCode::Expired, None, true, None);
        assert_eq!(usual.category, ErrorCategory::Network);
        let own = MessageError::new(ErrorCode::Expired, Some(ErrorCategory::Recipient), true, None);
        assert_eq!(own.category, ErrorCategory::Recipient);
    }
}
