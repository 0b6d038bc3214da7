//! What a provider's code means: one row of a driver's code table, in neutral words.

use serde::{Deserialize, Serialize};

use super::error_code::{ErrorCategory, ErrorCode};

/// What a code says about the attempt that it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NeutralStatus {
    /// Taken, nothing final yet.
    Sent,
    /// It reached the phone; for voice, the call was answered.
    Delivered,
    /// Taken, then reported lost.
    Undelivered,
    /// Certainly not taken.
    Failed,
    /// Its time ran out in the network.
    Expired,
    /// It may or may not have been taken or delivered.
    Unknown,
}

/// May the route go on to its next step after this code?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailoverAllowed {
    /// Never: the next provider would meet the same fault, or the recipient said no.
    No,
    /// Only for one-time codes, where a second message does less harm than none.
    OtpOnly,
    /// Yes.
    Yes,
}

/// Where the fault lies. Only `Account` and `Provider` count for the provider's breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// This message's own content or parameters.
    Message,
    /// This recipient.
    Recipient,
    /// The sender that was used.
    Sender,
    /// The template or its registration.
    Template,
    /// The country or network it goes to.
    Destination,
    /// The networks between provider and phone.
    Network,
    /// Our account with the provider: everything through it will fail.
    Account,
    /// The provider itself.
    Provider,
    /// Nothing is at fault (codes of success).
    None,
}

/// One row of a code table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Verdict {
    /// The attempt's status after this code.
    pub status: NeutralStatus,
    /// The neutral cause; none for codes of success.
    pub error: Option<ErrorCode>,
    /// Whose it is to mend; none for codes of success.
    pub category: Option<ErrorCategory>,
    /// The same message, sent again later by the app, may succeed.
    pub retryable: bool,
    /// May the route go on to its next step?
    pub failover: FailoverAllowed,
    /// May the gateway itself try again on the same provider? True only where certainly nothing was sent.
    pub retry_here: bool,
    /// May an unclear outcome be answered by handing over once more, where the route says `resend`?
    #[serde(default = "allowed")]
    pub resend_allowed: bool,
    /// Where the fault lies.
    pub scope: Scope,
}

/// Reports that were stored before there was a word for it.
fn allowed() -> bool {
    true
}

impl Verdict {
    /// Does this count against the provider's breaker?
    pub fn counts_for_breaker(&self) -> bool {
        self.error.is_some() && matches!(self.scope, Scope::Account | Scope::Provider)
    }
}
