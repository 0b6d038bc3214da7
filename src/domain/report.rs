//! What carriers tell us after the call: delivery reports and inbound messages, in neutral words.

use serde::{Deserialize, Serialize};

use super::{Timestamp, verdict::Verdict};

/// How a report names the attempt that it is about. A driver fills in what the provider gave; the engine matches.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ReportTarget {
    /// The provider's own id of the message.
    pub provider_message_id: Option<String>,
    /// Our reference of the call, given back (Huawei `extend`), as it was sent.
    pub call_reference: Option<String>,
    /// The recipient in E.164 with `+`, where the report names it.
    pub recipient: Option<String>,
    /// The sender, where the report names it, as the provider writes it.
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
    pub occurred_at: Option<Timestamp>,
    /// The provider's words about it, where it has any.
    pub description: Option<String>,
    /// What it charged: a decimal number as text.
    pub price: Option<String>,
    /// Into how many segments the provider split it, where it says so.
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
