//! What the gateway calls: one trait, and a folder for each driver.
//!
//! A driver translates and does nothing else. It never retries, never sees the database, never logs a body or a number.
//! Timeouts, rates, in-flight limits, the breaker and metrics wrap it from outside.
//!
//! # Add a provider
//!
//! Copy `sandbox/` to a new folder, fill in the same files, and add two adjacent lines below: the module and its row in
//! [`DRIVERS`]. The conformance suite walks that list.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use chrono::TimeDelta;

use crate::{
    clock::Clock,
    domain::{
        Timestamp,
        capabilities::Capabilities,
        ids::AttemptId,
        phone_number::PhoneNumber,
        report::{Inbound, Report},
        verdict::Verdict,
    },
};

pub mod codes;
#[cfg(test)]
mod conformance;
pub mod error;
pub mod http;
pub mod registrations;
#[cfg(test)]
pub(crate) mod scripted_server;

pub mod huawei_sms;
pub mod nxcloud_did;
pub mod onsms_voice;
pub mod sandbox;

pub use crate::domain::template::BoundTemplate;
pub use crate::settings::{self, SettingsProblem};
pub use error::{ProviderError, ProviderErrorKind};
pub use registrations::Registrations;

/// Every driver: the word that configuration uses, and how one is built from its settings.
pub const DRIVERS: &[(&str, BuildDriver)] = &[
    ("huawei_sms", huawei_sms::build),
    ("nxcloud_did", nxcloud_did::build),
    ("onsms_voice", onsms_voice::build),
    ("sandbox", sandbox::build),
];

/// Builds a driver from its part of the configuration.
pub type BuildDriver = fn(Setup) -> Result<Arc<dyn Provider>, Vec<SettingsProblem>>;

/// Where a driver that runs inside the process hands in what others push over HTTP: the provider's name, and the events of one
/// push. They are settled exactly as a callback's.
pub type Feed = tokio::sync::mpsc::Sender<(String, Vec<CallbackEvent>)>;

/// What a driver is built from.
#[derive(Clone)]
pub struct Setup {
    /// The provider's name in the configuration.
    pub name: String,
    /// The default sender.
    pub from: Option<String>,
    /// Other senders that a call may name.
    pub senders: Vec<String>,
    /// How long one call may take.
    pub timeout: Duration,
    /// The driver's own keys: what is left of the section once the keys common to all providers are taken out.
    pub settings: toml::Table,
    /// Signing time comes from here.
    pub clock: Clock,
    /// For drivers that run inside the process; none where nobody listens.
    pub feed: Option<Feed>,
}

impl fmt::Debug for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The settings hold secrets.
        f.debug_struct("Setup").field("name", &self.name).field("from", &self.from).finish_non_exhaustive()
    }
}

/// The same interface for every provider.
#[async_trait]
pub trait Provider: fmt::Debug + Send + Sync {
    /// What it can do. Fixed once built.
    fn capabilities(&self) -> &Capabilities;

    /// Makes one call for one or more recipients. `Ok` holds one outcome for each submission, in the order given; `Err` is
    /// about the whole call.
    async fn submit(&self, call: &Call) -> Result<Vec<Outcome>, ProviderError>;

    /// Is this push really the provider's? Checked before anything is read of it. There is no default, so that no driver
    /// forgets it.
    fn verify_callback(&self, callback: &Callback) -> Result<(), CallbackRejected>;

    /// What a push says. One push may carry many events. A part that cannot be read is a [`CallbackEvent::Unreadable`] and
    /// spoils nothing beside it.
    fn parse_callback(&self, callback: &Callback) -> Result<Vec<CallbackEvent>, CallbackRejected>;

    /// What the provider wants to read once its push is kept, and when it could not be.
    fn callback_answers(&self) -> CallbackAnswers;

    /// Asks what became of an attempt. Only called when [`Capabilities::reports`] is [`crate::domain::capabilities::Reports::Poll`].
    async fn fetch_status(&self, provider_message_id: &str) -> Result<Report, ProviderError> {
        let _ = provider_message_id;
        Err(ProviderError::unsupported())
    }

    /// How far the provider's clock is ahead of ours by its last answer, where answers say so.
    fn clock_skew(&self) -> Option<TimeDelta> {
        None
    }

    /// What is registered with the provider, where that can be managed. None for a driver or a configuration without it.
    fn registrations(&self) -> Option<Arc<dyn Registrations>> {
        None
    }

    /// What is known to be wrong with a template's values, by what the provider has registered. Never asks and never waits: a
    /// template that is not known yet is not found fault with.
    fn check_template(&self, bound: &BoundTemplate) -> Vec<ParamFault> {
        let _ = bound;
        Vec::new()
    }

    /// Asks how much money is left. Only called when [`Capabilities::balance`] is true.
    async fn balance(&self) -> Result<Balance, ProviderError> {
        Err(ProviderError::unsupported())
    }
}

/// A value that the provider's own template would not take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParamFault {
    /// Which of the bound values, from 0; none: there are too many or too few of them.
    pub index: Option<usize>,
    /// What is wrong, as a sentence. Never holds the value.
    pub detail: String,
}

/// One call to a provider.
#[derive(Debug, Clone)]
pub struct Call {
    /// Our reference: at most 128 letters, digits and `_`. Given back in reports where the provider can.
    pub reference: String,
    /// The sender, the same for all of the call.
    pub from: String,
    /// Where reports of this call shall go.
    pub report_url: Option<String>,
    /// For whom. Never empty, no number twice, at most [`Capabilities::max_recipients_per_call`].
    pub submissions: Vec<Submission>,
}

/// One message as one provider gets it.
#[derive(Debug, Clone)]
pub struct Submission {
    /// The attempt that this call is recorded under.
    pub attempt_id: AttemptId,
    /// Which attempt of its message this is, from 1, over all steps.
    pub attempt_number: u16,
    /// For whom.
    pub to: PhoneNumber,
    /// The text as rendered, where there is one.
    pub text: Option<String>,
    /// The provider's own template, where the gateway's template is bound to one.
    pub binding: Option<BoundTemplate>,
}

impl Submission {
    /// About how many bytes it adds to a call; what [`Capabilities::max_call_bytes`] is compared with. A provider that has the
    /// template registered gets the values and never the text.
    pub fn weight(&self) -> usize {
        let text = self.text.as_ref().map_or(0, String::len);
        let content = self.binding.as_ref().map_or(text, |bound| {
            let params: usize = bound.params.iter().map(|param| param.len() + 4).sum();
            let content = bound.template_id.as_ref().map_or(text, String::len);
            params + content + bound.signature.as_ref().map_or(0, String::len)
        });
        64 + self.to.as_str().len() + content
    }

    /// The same after another one: what says the same as the one before adds no more than a number.
    pub fn weight_after(&self, before: Option<&Self>) -> usize {
        let repeated = before.is_some_and(|before| before.text == self.text && before.binding == self.binding);
        if repeated { self.to.as_str().len() + 4 } else { self.weight() }
    }
}

/// What the provider said about one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// What it means. [`crate::domain::verdict::NeutralStatus::Sent`], `Failed` or `Unknown`.
    pub verdict: Verdict,
    /// The provider's code, verbatim; none where there was none (success without a code).
    pub provider_code: Option<String>,
    /// The provider's id of the message.
    pub provider_message_id: Option<String>,
    /// Into how many segments it was split, where the provider says so.
    pub segments: Option<u16>,
    /// Not again before so long, where the provider says so or its documents do (E200015).
    pub retry_after: Option<Duration>,
}

/// A push from a provider, as it came in.
#[derive(Debug, Clone)]
pub struct Callback {
    /// Header names in lower case, values as text; those of the transport (cookies, forwarded addresses) left out.
    pub headers: Vec<(String, String)>,
    /// The path and query as the provider called it.
    pub path_and_query: String,
    /// The very bytes.
    pub body: bytes::Bytes,
    /// The call's reference when the address named and authenticated one.
    pub call_reference: Option<String>,
    /// When it came in.
    pub received_at: Timestamp,
}

impl Callback {
    /// The value of a header, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// One thing that a push says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallbackEvent {
    /// A delivery report.
    Report(Report),
    /// An inbound message.
    Inbound(Inbound),
    /// A provider that pushes both on one address without saying which: a report if its id is known, else inbound.
    ReportOrInbound(Report, Inbound),
    /// A part that cannot be read; kept and counted.
    Unreadable {
        /// Why, without the content.
        problem: String,
    },
}

/// A push that is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallbackRejected {
    /// The signature is missing or wrong.
    #[error("the signature does not fit: {0}")]
    Signature(&'static str),
    /// The whole body cannot be read.
    #[error("the body cannot be read: {0}")]
    Malformed(String),
}

/// How a push is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallbackAnswers {
    /// `Content-Type` of all of them.
    pub content_type: &'static str,
    /// Kept: 200 with this body.
    pub success: &'static str,
    /// Refused (401) or not kept (503): this body.
    pub failure: &'static str,
}

/// Money left with a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Balance {
    /// A decimal number as text.
    pub amount: String,
    /// ISO 4217, where the provider says so.
    pub currency: Option<String>,
}
