//! What carriers tell us after the call: delivery reports and inbound messages, in neutral words.

use chrono::Datelike;
use serde::{Deserialize, Serialize};

use super::{Timestamp, verdict::Verdict};

/// How a report names the attempt that it is about. A driver fills in what the provider gave; the engine matches.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ReportTarget {
    /// The provider's own id of the message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider_message_id: Option<String>,
    /// Our reference of the call, given back (Huawei `extend`), as it was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call_reference: Option<String>,
    /// The recipient in E.164 with `+`, where the report names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recipient: Option<String>,
    /// The sender, where the report names it, as the provider writes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sender: Option<String>,
    /// The text, where the report repeats it. Never stored.
    #[serde(skip)]
    pub text: Option<String>,
}

/// One delivery report about one part of one message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Which attempt.
    pub target: ReportTarget,
    /// The provider's status, verbatim.
    pub provider_code: String,
    /// What that means.
    pub verdict: Verdict,
    /// Which part of a long message, from 1.
    pub part: u16,
    /// Of how many.
    pub parts: u16,
    /// When it happened, by the provider's clock, where it says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub occurred_at: Option<Timestamp>,
    /// The provider's words about it, where it has any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// What it charged: a decimal number as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price: Option<String>,
    /// Into how many segments the provider split it, where it says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub segments: Option<u16>,
}

/// A message that arrived on one of our numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inbound {
    /// The provider's id of it; repeats are dropped by this and never by text.
    pub provider_message_id: String,
    /// Who sent it: E.164 with `+` where it is a number, else as given (short codes, names).
    pub from: String,
    /// Our number: E.164 with `+`, or a channel number as the provider writes it.
    pub to: String,
    /// What it says.
    pub text: String,
    /// Into how many segments it was split, where the provider says so.
    pub segments: Option<u16>,
    /// What the provider charged: a decimal number as text.
    pub price: Option<String>,
    /// By the provider's clock, where it says so.
    pub received_at: Option<Timestamp>,
}

/// No provider's id is longer than this; what is, is none.
pub const LONGEST_ID: usize = 128;
/// Codes, numbers and the like; what is longer is cut.
const LONGEST_WORD: usize = 64;
const LONGEST_TEXT: usize = 4096;

/// A text as the database can hold it: without NUL, and no longer than `most` bytes.
pub fn storable(text: &str, most: usize) -> String {
    let mut text = text.replace('\0', "");
    let mut end = most.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}

/// Is it a code, and not a text that a carrier put in its place? Only codes may stand where everybody looks: in logs and in the
/// health of a provider.
pub fn is_code(text: &str) -> bool {
    (1..=32).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':'))
}

/// A provider's id as the database can hold it; none when it is no id.
pub fn storable_id(id: Option<String>) -> Option<String> {
    id.map(|id| id.replace('\0', "")).filter(|id| !id.is_empty() && id.len() <= LONGEST_ID)
}

/// A time that can be written as RFC 3339 and be stored; none for a carrier's year 200000.
fn storable_time(time: Option<Timestamp>) -> Option<Timestamp> {
    time.filter(|time| (1970..=9999).contains(&time.year()))
}

impl Report {
    /// The report as the database can hold it, whatever the carrier wrote.
    #[must_use]
    pub fn storable(mut self) -> Self {
        let word = |text: Option<String>| text.map(|text| storable(&text, LONGEST_WORD));
        self.target.provider_message_id = storable_id(self.target.provider_message_id.take());
        self.target.call_reference = word(self.target.call_reference.take());
        self.target.recipient = word(self.target.recipient.take());
        self.target.sender = word(self.target.sender.take());
        self.provider_code = storable(&self.provider_code, LONGEST_WORD);
        self.description = self.description.take().map(|text| storable(&text, LONGEST_TEXT));
        self.price = word(self.price.take());
        self.occurred_at = storable_time(self.occurred_at);
        self
    }
}

impl Inbound {
    /// The message as the database can hold it, whatever the carrier wrote.
    #[must_use]
    pub fn storable(mut self) -> Self {
        self.provider_message_id = storable(&self.provider_message_id, LONGEST_ID);
        self.from = storable(&self.from, LONGEST_WORD);
        self.to = storable(&self.to, LONGEST_WORD);
        self.text = self.text.replace('\0', "");
        self.price = self.price.take().map(|text| storable(&text, LONGEST_WORD));
        self.received_at = storable_time(self.received_at);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nul_is_dropped_and_what_is_too_long_is_cut_between_characters() {
        assert_eq!(storable("a\0b", 64), "ab");
        assert_eq!(storable("äöü", 3), "ä");
        assert_eq!(storable("", 3), "");
    }

    #[test]
    fn a_time_that_no_database_holds_is_none() {
        for (text, storable) in [
            ("2026-03-01T09:00:00Z", true),
            ("1970-01-01T00:00:00Z", true),
            ("1969-12-31T23:59:59Z", false),
            ("+10000-01-01T00:00:00Z", false),
            ("-200000-01-01T00:00:00Z", false),
        ] {
            assert_eq!(storable_time(Some(text.parse().unwrap())).is_some(), storable, "{text}");
        }
    }

    #[test]
    fn a_text_is_no_code() {
        for (text, code) in [
            ("E200015", true),
            ("-1", true),
            ("ZZ:9999", true),
            ("http_503", true),
            ("", false),
            ("Your code is 369751", false),
            ("+84361234567", false),
            ("{\"code\":1}", false),
            ("123456789012345678901234567890123", false),
        ] {
            assert_eq!(is_code(text), code, "{text}");
        }
    }

    #[test]
    fn an_id_that_is_too_long_or_empty_is_none() {
        assert_eq!(storable_id(Some("i".repeat(LONGEST_ID))), Some("i".repeat(LONGEST_ID)));
        assert_eq!(storable_id(Some("i".repeat(LONGEST_ID + 1))), None);
        assert_eq!(storable_id(Some("\0".to_owned())), None);
    }
}
