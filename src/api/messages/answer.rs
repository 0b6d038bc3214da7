//! A message, its attempts and its timeline as the API shows them.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::{
    content::{Channel, Content, TemplateUse},
    error_code::{ErrorCategory, ErrorCode},
    ids::{BatchId, EventId, MessageId},
    life::{self, Cause},
    message::MessageRecord,
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
    /// For whom: E.164. Of a batch's recipient that is no possible number, what was given.
    #[schema(value_type = String, max_length = 32, examples("+84901234567"))]
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

impl From<Cause> for MessageError {
    fn from(cause: Cause) -> Self {
        let Cause { code, category, retryable, provider_code } = cause;
        Self { code, category, message: code.message(), hint: code.hint(), retryable, provider_code }
    }
}

impl From<life::Attempt> for Attempt {
    fn from(attempt: life::Attempt) -> Self {
        Self {
            number: attempt.number.into(),
            provider: attempt.provider,
            channel: attempt.channel,
            from: Some(attempt.sender).filter(|sender| !sender.is_empty()),
            provider_message_id: attempt.provider_message_id,
            status: attempt.status,
            error: attempt.error.map(MessageError::from),
            started_at: attempt.started_at,
        }
    }
}

impl From<MessageRecord> for Message {
    fn from(record: MessageRecord) -> Self {
        let MessageRecord { message, attempts, .. } = record;
        let Content { text, template } = message.content;
        let (text, template) = if message.sensitive {
            (None, template.map(|used| TemplateUse { params: BTreeMap::new(), ..used }))
        } else {
            (text, template)
        };
        let counted = attempts.iter().rev().find_map(|attempt| attempt.segments);
        Self {
            id: message.id,
            app: message.app,
            batch_id: message.batch_id,
            status: record.status,
            is_final: record.completed_at.is_some(),
            channel: record.channel,
            to: message.to,
            from: record.from.filter(|sender| !sender.is_empty()),
            country: message.country,
            text,
            template,
            encoding: message.encoding,
            segments: counted.or(message.segments),
            route: message.plan.route,
            provider: record.provider,
            provider_message_id: record.provider_message_id,
            attempts: attempts.into_iter().map(Attempt::from).collect(),
            error: record.error.map(MessageError::from),
            price: record.price.map(|amount| Money { amount, currency: None }),
            client_reference: message.app_data.client_reference,
            metadata: message.app_data.metadata,
            callback_url: message.app_data.callback_url,
            possible_duplicate: record.possible_duplicate,
            sensitive: message.sensitive,
            test: message.test,
            send_at: message.send_at,
            expires_at: message.expires_at,
            created_at: message.created_at,
            sent_at: record.sent_at,
            completed_at: record.completed_at,
        }
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
    use serde_json::{Value, json};

    use super::*;
    use crate::domain::{
        content::Category,
        life::{Changed, Failover, OnUnknown, Plan, Step},
        message::{AppData, NewMessage},
    };

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_770_000_000 + second, 0).unwrap()
    }

    fn record(sensitive: bool) -> MessageRecord {
        let step =
            Step { provider: "nxcloud".into(), channel: Channel::Sms, from: Some("861".into()), after_seconds: None };
        let template = TemplateUse { name: "login_code".into(), params: [("code".into(), "369751".into())].into() };
        NewMessage {
            id: MessageId(uuid::Uuid::nil()),
            app: "shop".into(),
            batch_id: None,
            test: false,
            to: PhoneNumber::parse("+84361234567").unwrap(),
            country: Some("VN".into()),
            category: Category::Otp,
            sensitive,
            content: Content { text: Some("Your code is 369751".into()), template: Some(template) },
            encoding: Some(Encoding::Gsm7),
            segments: Some(1),
            plan: Plan {
                route: Some("otp_vn".into()),
                steps: vec![step],
                failover: Failover::default(),
                on_unknown: OnUnknown::default(),
            },
            app_data: AppData { client_reference: Some("order-1".into()), ..AppData::default() },
            send_at: None,
            expires_at: at(600),
            created_at: at(0),
        }
        .accepted()
    }

    fn shown(record: MessageRecord) -> Value {
        serde_json::to_value(Message::from(record)).unwrap()
    }

    #[test]
    fn a_message_that_was_just_accepted_shows_its_first_step() {
        let expected = json!({
            "id": "msg_00000000000000000000000000", "app": "shop", "batch_id": null, "status": "queued", "final": false,
            "channel": "sms", "to": "+84361234567", "from": "861", "country": "VN", "text": "Your code is 369751",
            "template": { "name": "login_code", "params": { "code": "369751" } }, "encoding": "gsm7", "segments": 1,
            "route": "otp_vn", "provider": null, "provider_message_id": null, "attempts": [], "error": null,
            "price": null, "client_reference": "order-1", "metadata": {}, "callback_url": null,
            "possible_duplicate": false, "sensitive": false, "test": false, "send_at": null,
            "expires_at": at(600), "created_at": at(0), "sent_at": null, "completed_at": null,
        });
        assert_eq!(shown(record(false)), expected);
    }

    #[test]
    fn nothing_of_a_sensitive_content_is_shown() {
        let shown = shown(record(true));
        assert!(!shown.to_string().contains("369751"));
        assert_eq!((&shown["text"], &shown["template"]["name"]), (&json!(null), &json!("login_code")));
    }

    #[test]
    fn the_providers_count_of_segments_goes_before_ours() {
        let mut record = record(false);
        record.completed_at = Some(at(9));
        record.error = Some(Cause::own(ErrorCode::Expired, true));
        record.attempts.push(life::Attempt {
            id: crate::domain::ids::AttemptId(uuid::Uuid::nil()),
            number: 1,
            step: 0,
            provider: "nxcloud".into(),
            channel: Channel::Sms,
            sender: "861".into(),
            call_id: crate::domain::ids::CallId(uuid::Uuid::nil()),
            status: AttemptStatus::Expired,
            error: Some(Cause::own(ErrorCode::Expired, true)),
            resend_allowed: true,
            provider_message_id: Some("p-1".into()),
            started_at: at(1),
            answered_at: Some(at(2)),
            completed_at: Some(at(9)),
            evidence_until: None,
            next_poll_at: None,
            polls: 0,
            segments: Some(2),
            price: None,
            parts_delivered: vec![],
            changed: Changed::No,
        });
        let shown = shown(record);
        assert_eq!(
            (&shown["segments"], &shown["final"], &shown["error"]["category"]),
            (&json!(2), &json!(true), &json!("network"))
        );
        assert_eq!(shown["attempts"][0]["error"]["code"], "expired");
    }
}
