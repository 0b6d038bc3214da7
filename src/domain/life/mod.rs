//! The life of a message: the pure state machine behind every change of status.
//!
//! A [`Life`] is a message as the engine sees it: its plan, its attempts, and what is left to do. The engine loads it, lets one
//! thing happen to it (an answer, a report, a timer, a lease that ran out), and saves it; a row lock or its version keeps others
//! out. Each of these is a method here that takes the time as an argument and touches nothing else, so every rule can be tested
//! without a database.
//!
//! The status is never set; it is one fold over the attempts and the work that is left (`fold`).

mod answer;
mod fold;
mod plan;
mod report;
#[cfg(test)]
mod tests;
mod timers;

use std::time::Duration;

use super::{
    Timestamp,
    content::{Category, Channel},
    error_code::{ErrorCategory, ErrorCode},
    ids::{AttemptId, CallId, MessageId},
    status::{AttemptStatus, MessageStatus},
    verdict::Verdict,
};
pub use answer::{Answer, EvidenceRule, LONGEST_WAIT_BEFORE_NEXT_STEP, RetryRule};
pub use fold::Folded;
pub use plan::{Failover, OnUnknown, Plan, Step};
pub use report::Absorbed;

/// A message as the engine sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Life {
    /// Which message.
    pub id: MessageId,
    /// Its class.
    pub category: Category,
    /// What was decided when it was accepted.
    pub plan: Plan,
    /// Not before; none: at once.
    pub send_at: Option<Timestamp>,
    /// No hand-over begins after this.
    pub expires_at: Timestamp,
    /// Its status as stored.
    pub status: MessageStatus,
    /// When it became final; none while it is not.
    pub completed_at: Option<Timestamp>,
    /// When the first provider took it.
    pub sent_at: Option<Timestamp>,
    /// Why it is where it is.
    pub error: Option<Cause>,
    /// It was handed over again although an earlier outcome was unclear.
    pub possible_duplicate: bool,
    /// The hand-overs so far, by number.
    pub attempts: Vec<Attempt>,
    /// The hand-over to come, where there is one.
    pub send: Option<HandOver>,
    /// What was decided since it was loaded, for the timeline.
    pub decisions: Vec<Decision>,
}

/// A hand-over that waits to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HandOver {
    /// Index into the plan's steps.
    pub step: u16,
    /// Not before.
    pub due: Timestamp,
    /// Answers of this step so far that were marked to be tried again.
    pub tries: u16,
    /// At most so many recipients in its call, after a refusal of a whole call that named no recipient.
    pub group_limit: Option<u16>,
}

/// One hand-over to one provider.
#[derive(Debug, Clone, PartialEq)]
pub struct Attempt {
    /// Its id.
    pub id: AttemptId,
    /// From 1.
    pub number: u16,
    /// Index into the plan's steps.
    pub step: u16,
    /// To whom.
    pub provider: String,
    /// On which channel.
    pub channel: Channel,
    /// The sender that was used.
    pub sender: String,
    /// The call that carried it.
    pub call_id: CallId,
    /// Where it is.
    pub status: AttemptStatus,
    /// Why.
    pub error: Option<Cause>,
    /// May it be handed over once more if it is unclear and the route says so? The provider's own words may forbid it.
    pub resend_allowed: bool,
    /// The provider's id.
    pub provider_message_id: Option<String>,
    /// When the call was about to be made.
    pub started_at: Timestamp,
    /// When its answer (or the lack of one) was recorded.
    pub answered_at: Option<Timestamp>,
    /// When its report settled it.
    pub completed_at: Option<Timestamp>,
    /// Until when evidence about it may come; none: none can come, or none is needed any more.
    pub evidence_until: Option<Timestamp>,
    /// When to ask the provider next.
    pub next_poll_at: Option<Timestamp>,
    /// How often it was asked.
    pub polls: u16,
    /// Into how many segments the provider split it.
    pub segments: Option<u16>,
    /// What the provider charged.
    pub price: Option<String>,
    /// Which parts of a long message were reported as delivered.
    pub parts_delivered: Vec<u16>,
    /// Changed since it was loaded.
    pub changed: Changed,
}

/// Whether a row has to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changed {
    /// As it is stored.
    No,
    /// Stored, but changed.
    Yes,
    /// Not stored yet.
    New,
}

/// Why something is where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// The neutral code.
    pub code: ErrorCode,
    /// Whose it is to mend.
    pub category: ErrorCategory,
    /// Sent again later by the app, it may succeed.
    pub retryable: bool,
    /// The provider's code, verbatim.
    pub provider_code: Option<String>,
}

impl Cause {
    /// A cause that no provider named.
    pub fn own(code: ErrorCode, retryable: bool) -> Self {
        Self { code, category: code.category(), retryable, provider_code: None }
    }

    /// What a code table says.
    pub fn of(verdict: &Verdict, provider_code: Option<&str>) -> Option<Self> {
        let code = verdict.error?;
        Some(Self {
            code,
            category: verdict.category.unwrap_or_else(|| code.category()),
            retryable: verdict.retryable,
            provider_code: provider_code.map(str::to_owned),
        })
    }
}

/// Something that was decided and leaves no other row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The timeline's word for it.
    pub kind: DecisionKind,
    /// The attempt that led to it.
    pub attempt: Option<u16>,
    /// The provider that it is about.
    pub provider: Option<String>,
    /// The provider's code, verbatim.
    pub provider_code: Option<String>,
    /// A sentence for people.
    pub detail: String,
}

/// The timeline's words for what was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DecisionKind {
    /// Nobody knows whether the provider took it. Evidence may settle the attempt later, so it is told here.
    AttemptUnknown,
    /// The same provider will be tried again.
    RetryScheduled,
    /// The next provider will be tried.
    Failover,
    /// A provider was passed over without a call.
    StepPassedOver,
    /// The message will be handed over again after an unclear outcome.
    Resend,
    /// Its validity ended.
    Expired,
    /// The app or an operator canceled it.
    Canceled,
    /// An operator settled it.
    Settled,
}

super::content::text_enum!(DecisionKind {
    AttemptUnknown = "attempt.unknown",
    RetryScheduled = "retry.scheduled",
    Failover = "failover",
    StepPassedOver = "step.passed_over",
    Resend = "resend",
    Expired = "expired",
    Canceled = "canceled",
    Settled = "settled",
});

/// How long after an unclear outcome a route that says `resend` waits for evidence.
pub const RESEND_AFTER: Duration = Duration::from_secs(15);

impl Life {
    /// The number of the next attempt.
    pub fn next_number(&self) -> u16 {
        self.attempts.last().map_or(1, |attempt| attempt.number.saturating_add(1))
    }

    /// The step after the furthest one that was used or passed over.
    fn next_step_after(&self, step: u16) -> Option<u16> {
        let used = self.attempts.iter().map(|attempt| attempt.step).max().unwrap_or(0).max(step);
        let next = used.saturating_add(1);
        (usize::from(next) < self.plan.steps.len()).then_some(next)
    }

    /// Was an attempt begun since it was loaded?
    pub fn has_new_attempt(&self) -> bool {
        self.attempts.iter().any(|attempt| attempt.changed == Changed::New)
    }

    /// Is there a step after the one that waits?
    pub fn has_next_step(&self) -> bool {
        // A route that never goes on has nowhere to go, whatever its steps.
        self.plan.failover != Failover::Never && self.send.is_some_and(|send| self.next_step_after(send.step).is_some())
    }

    /// It cannot be sent, which was known before anything was done with it.
    pub fn born_failed(&mut self, cause: Cause, now: Timestamp) {
        (self.status, self.error) = (MessageStatus::Failed, Some(cause));
        (self.completed_at, self.send) = (Some(now), None);
    }

    /// The step of a hand-over.
    pub fn step(&self, index: u16) -> Option<&Step> {
        self.plan.steps.get(usize::from(index))
    }

    fn decide(&mut self, kind: DecisionKind, attempt: Option<u16>, provider: Option<String>, detail: String) {
        self.decisions.push(Decision { kind, attempt, provider, provider_code: None, detail });
    }

    /// Tells that an attempt became unclear, as long as the reason is still known.
    fn tell_unclear(&mut self, index: usize) {
        let attempt = &self.attempts[index];
        let Some(cause) = attempt.error.clone() else { return };
        let (number, provider) = (attempt.number, attempt.provider.clone());
        self.decisions.push(Decision {
            kind: DecisionKind::AttemptUnknown,
            attempt: Some(number),
            provider: Some(provider),
            provider_code: cause.provider_code,
            detail: cause.code.message().to_owned(),
        });
    }
}
