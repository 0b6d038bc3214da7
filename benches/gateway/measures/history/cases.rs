//! What is asked of the history: each filter that `GET /v1/messages` documents, alone, and some that go together.

use rand::{RngExt, rngs::ThreadRng};
use sms_gateway::{
    clock::Clock,
    domain::{Timestamp, content::Channel, error_code::ErrorCode, ids::BatchId, status::MessageStatus},
    store::history::{MessageFilter, Page},
};
use url::form_urlencoded::Serializer;
use uuid::Uuid;

use super::rows;

/// The size of a page where nothing is asked for; the store looks for one more.
const PAGE: i64 = 50;

/// Picks what to ask for.
#[derive(Debug)]
pub struct Draw {
    rows: u64,
    batches: Vec<Uuid>,
    rng: ThreadRng,
}

impl Draw {
    /// Out of so many messages, and these batches.
    pub fn new(rows: u64, batches: &[Uuid]) -> Self {
        Self { rows, batches: batches.to_vec(), rng: rand::rng() }
    }

    /// One of the messages.
    fn number(&mut self) -> u64 {
        self.rng.random_range(0..self.rows)
    }

    /// One of the batches.
    fn batch(&mut self) -> BatchId {
        let index = self.number() % self.batches.len().max(1) as u64;
        BatchId(self.batches.get(index as usize).copied().unwrap_or_default())
    }

    /// Some moment of the days that there are messages of.
    fn moment(&mut self) -> Timestamp {
        let back = self.rng.random_range(1.1..f64::from(u32::try_from(rows::DAYS).unwrap_or(1)));
        Clock::system().now() - chrono::TimeDelta::milliseconds((back * 86_400_000.0) as i64)
    }
}

/// A question, with new values each time.
pub struct Case {
    /// As the report calls it.
    pub name: &'static str,
    /// Makes one.
    pub ask: fn(&mut Draw) -> MessageFilter,
}

/// All of them.
pub const CASES: &[Case] = &[
    Case { name: "nothing: the newest page", ask: |_| any() },
    Case {
        name: "`created_before`: any depth",
        ask: |draw| MessageFilter { created_before: Some(draw.moment()), ..any() },
    },
    Case { name: "`created_after`", ask: |draw| MessageFilter { created_after: Some(draw.moment()), ..any() } },
    Case { name: "`app`", ask: |_| of_app() },
    Case {
        name: "`app`, `created_before`",
        ask: |draw| MessageFilter { created_before: Some(draw.moment()), ..of_app() },
    },
    Case { name: "`to`", ask: |draw| MessageFilter { to: Some(rows::recipient(draw.number())), ..any() } },
    Case { name: "`app`, `to`", ask: |draw| MessageFilter { to: Some(rows::recipient(draw.number())), ..of_app() } },
    Case {
        name: "`client_reference`",
        ask: |draw| MessageFilter { client_reference: Some(rows::reference(draw.number())), ..any() },
    },
    Case {
        name: "`provider_message_id`",
        ask: |draw| MessageFilter { provider_message_id: Some(rows::native(draw.number())), ..any() },
    },
    Case { name: "`batch_id`", ask: |draw| MessageFilter { batch_id: Some(draw.batch()), ..any() } },
    Case { name: "`status=delivered`", ask: |_| of_status(MessageStatus::Delivered) },
    Case { name: "`status=undelivered` (4 %)", ask: |_| of_status(MessageStatus::Undelivered) },
    Case { name: "`status=queued` (none)", ask: |_| of_status(MessageStatus::Queued) },
    Case {
        name: "`app`, `status=unknown` (none)",
        ask: |_| MessageFilter { app: of_app().app, ..of_status(MessageStatus::Unknown) },
    },
    Case {
        name: "`error_code` (4 %)",
        ask: |_| MessageFilter { error_code: Some(ErrorCode::RecipientUnreachable), ..any() },
    },
    Case {
        name: "`error_code` (none)",
        ask: |_| MessageFilter { error_code: Some(ErrorCode::InternalError), ..any() },
    },
    Case { name: "`channel=sms`", ask: |_| MessageFilter { channel: Some(Channel::Sms), ..any() } },
    Case { name: "`channel=voice` (none)", ask: |_| MessageFilter { channel: Some(Channel::Voice), ..any() } },
    Case { name: "`provider` (40 %)", ask: |_| MessageFilter { provider: Some("huawei".into()), ..any() } },
    Case { name: "`from` (40 %)", ask: |_| MessageFilter { from: Some("isms100000001".into()), ..any() } },
    Case { name: "`from` (none)", ask: |_| MessageFilter { from: Some("isms100000009".into()), ..any() } },
];

fn any() -> MessageFilter {
    let page = Page { before: None, limit: PAGE + 1 };
    MessageFilter { page, ..MessageFilter::default() }
}

fn of_app() -> MessageFilter {
    MessageFilter { app: Some("bench".to_owned()), ..any() }
}

fn of_status(status: MessageStatus) -> MessageFilter {
    MessageFilter { statuses: vec![status], ..any() }
}

/// The same question as a path with parameters.
pub fn path(filter: &MessageFilter) -> String {
    let mut query = Serializer::new(String::from("/v1/messages?"));
    let time = |time: Option<Timestamp>| time.map(|time| time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true));
    let parameters = [
        ("app", filter.app.clone()),
        ("channel", filter.channel.map(|channel| channel.as_str().to_owned())),
        ("to", filter.to.clone()),
        ("from", filter.from.clone()),
        ("provider", filter.provider.clone()),
        ("batch_id", filter.batch_id.map(|id| id.to_string())),
        ("client_reference", filter.client_reference.clone()),
        ("provider_message_id", filter.provider_message_id.clone()),
        ("error_code", filter.error_code.map(|code| code.as_str().to_owned())),
        ("created_after", time(filter.created_after)),
        ("created_before", time(filter.created_before)),
        ("limit", Some(PAGE.to_string())),
    ];
    for (name, value) in parameters {
        if let Some(value) = value {
            query.append_pair(name, &value);
        }
    }
    for status in &filter.statuses {
        query.append_pair("status", status.as_str());
    }
    query.finish()
}
