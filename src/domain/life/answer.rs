//! What the answer to a call does to a message: taken, refused, unclear; and the decision to retry or to go on.

use std::time::Duration;

use super::{Attempt, Cause, Changed, DecisionKind, Failover, HandOver, Life, fold::EndedBy};
use crate::domain::{
    Timestamp,
    content::Category,
    error_code::ErrorCode,
    ids::{AttemptId, CallId},
    status::AttemptStatus,
    verdict::{FailoverAllowed, NeutralStatus, Scope, Verdict},
};

/// What came of one hand-over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// What it means.
    pub verdict: Verdict,
    /// The provider's code, verbatim.
    pub provider_code: Option<String>,
    /// The provider's id.
    pub provider_message_id: Option<String>,
    /// Into how many segments it was split.
    pub segments: Option<u16>,
    /// Not again before so long.
    pub retry_after: Option<Duration>,
    /// Nothing reached the provider at all: the try is not counted.
    pub not_connected: bool,
    /// The provider was known to refuse everything for just this: the try says nothing of the message and is not counted.
    pub found_again: bool,
    /// The whole call was refused without naming a recipient: try again in a call of at most so many.
    pub split_to: Option<u16>,
}

impl Answer {
    /// Nothing was sent, and that was our own fault.
    fn own_fault() -> Self {
        let error = ErrorCode::InternalError;
        Self {
            verdict: Verdict {
                status: NeutralStatus::Failed,
                error: Some(error),
                category: Some(error.category()),
                retryable: true,
                failover: FailoverAllowed::No,
                retry_here: true,
                resend_allowed: true,
                scope: Scope::None,
            },
            provider_code: None,
            provider_message_id: None,
            segments: None,
            retry_after: None,
            not_connected: false,
            found_again: false,
            split_to: None,
        }
    }
}

/// Whether and how long evidence about an attempt may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EvidenceRule {
    /// For how long reports or polls may come.
    pub window: Duration,
    /// The first question, where the provider is asked.
    pub first_poll: Option<Duration>,
    /// A report can name the attempt even if the answer with its id was lost.
    pub without_id: bool,
}

/// When to try the same provider again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryRule {
    /// Answers marked to be tried again, per step.
    pub max_attempts: u16,
}

/// A longer wait is not waited for while there is a next step.
pub const LONGEST_WAIT_BEFORE_NEXT_STEP: Duration = Duration::from_mins(1);
/// So many faults of our own end a message.
const MOST_OWN_FAULTS: usize = 3;
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
const LONGEST_BACKOFF: Duration = Duration::from_mins(1);

impl Life {
    /// Opens an attempt for the hand-over that waits. Returns its number; none when nothing waits, or not yet, or no longer.
    pub fn start_attempt(&mut self, id: AttemptId, call_id: CallId, sender: &str, now: Timestamp) -> Option<u16> {
        let send = self.send.filter(|send| send.due <= now && now < self.expires_at)?;
        let step = self.step(send.step)?.clone();
        let number = self.next_number();
        self.send = None;
        self.possible_duplicate |= self.attempts.iter().any(Attempt::hand_over_is_unclear);
        self.attempts.push(Attempt {
            id,
            number,
            step: send.step,
            provider: step.provider,
            channel: step.channel,
            sender: sender.to_owned(),
            call_id,
            status: AttemptStatus::Sending,
            error: None,
            resend_allowed: true,
            provider_message_id: None,
            started_at: now,
            answered_at: None,
            completed_at: None,
            evidence_until: None,
            next_poll_at: None,
            polls: 0,
            segments: None,
            price: None,
            parts_delivered: Vec::new(),
            changed: Changed::New,
        });
        self.settle_status(now, EndedBy::Attempts);
        Some(number)
    }

    /// Records the answer to an attempt that came from the given hand-over.
    pub fn answered(
        &mut self,
        number: u16,
        answer: &Answer,
        came_from: HandOver,
        evidence: EvidenceRule,
        retry: RetryRule,
        now: Timestamp,
    ) {
        let Some(index) = self.attempts.iter().position(|attempt| attempt.number == number) else { return };
        let attempt = &mut self.attempts[index];
        let reported = attempt.is_reported();
        attempt.changed = changed(attempt.changed);
        attempt.provider_message_id = answer.provider_message_id.clone().or(attempt.provider_message_id.take());
        attempt.segments = answer.segments.or(attempt.segments);
        attempt.answered_at = attempt.answered_at.or(Some(now));
        if attempt.status != AttemptStatus::Sending {
            // A report overtook the answer, or the lease ran out and the attempt is `unknown`. The id is worth keeping, since
            // it lets a report find the attempt, and so is knowing that it was taken; the status is not the answer's to change
            // any more.
            if answer.verdict.status == NeutralStatus::Sent {
                self.was_taken(index, now);
            }
            self.settle_status(now, EndedBy::Attempts);
            return;
        }
        match answer.verdict.status {
            NeutralStatus::Sent => self.taken(index, evidence, now),
            NeutralStatus::Failed => self.refused(index, answer, came_from, retry, now),
            NeutralStatus::Unknown | NeutralStatus::Delivered | NeutralStatus::Undelivered | NeutralStatus::Expired => {
                let cause = Cause::of(&answer.verdict, answer.provider_code.as_deref());
                self.attempts[index].resend_allowed = answer.verdict.resend_allowed;
                self.attempts[index].becomes_unclear(reported, cause, evidence, now);
                self.tell_unclear(index);
            }
        }
        self.settle_status(now, EndedBy::Attempts);
    }

    fn taken(&mut self, index: usize, evidence: EvidenceRule, now: Timestamp) {
        self.sent_at = self.sent_at.or(Some(now));
        let attempt = &mut self.attempts[index];
        attempt.status = AttemptStatus::Sent;
        attempt.evidence_until = Some(now + evidence.window);
        attempt.next_poll_at = evidence.first_poll.map(|wait| now + wait);
    }

    /// Something shows that the provider took an attempt after all whose hand-over was unclear. It stays `unknown`, since
    /// nobody knows whether it arrives; but it is not to be handed over again. False when that was known.
    pub(super) fn was_taken(&mut self, index: usize, now: Timestamp) -> bool {
        if !self.attempts[index].hand_over_is_unclear() {
            return false;
        }
        if self.resend_waits(now) && index + 1 == self.attempts.len() {
            self.take_back(now);
        }
        let attempt = &mut self.attempts[index];
        attempt.error = Some(Cause::own(ErrorCode::DeliveryUnconfirmed, false));
        attempt.changed = changed(attempt.changed);
        self.sent_at = self.sent_at.or(Some(now));
        true
    }

    /// Certainly not taken: the same provider again, the next one, or the end.
    fn refused(&mut self, index: usize, answer: &Answer, came_from: HandOver, retry: RetryRule, now: Timestamp) {
        let attempt = &mut self.attempts[index];
        attempt.status = AttemptStatus::Failed;
        attempt.error = Cause::of(&answer.verdict, answer.provider_code.as_deref());
        attempt.completed_at = Some(now);
        let (number, step, provider) = (attempt.number, attempt.step, attempt.provider.clone());
        if self.is_final() {
            return;
        }
        if let Some(limit) = answer.split_to {
            let detail =
                format!("the whole call was refused without naming a recipient; again in a call of at most {limit}");
            self.decide(DecisionKind::RetryScheduled, Some(number), Some(provider), detail);
            self.send = Some(HandOver { group_limit: Some(limit), due: now, ..came_from });
            return;
        }
        let uncounted = answer.not_connected || answer.found_again;
        let tries = if uncounted { came_from.tries } else { came_from.tries.saturating_add(1) };
        let wait = self.backoff(number, step).max(answer.retry_after.unwrap_or_default());
        let next = self.next_step_after(step).filter(|_| self.may_go_on(answer.verdict.failover));
        // Only what the provider asks for is too long: our own waits never are.
        let too_long = answer.retry_after.is_some_and(|asked| asked > LONGEST_WAIT_BEFORE_NEXT_STEP);
        // A fault that was known is waited for where there is nothing else to go to, as if no call had been made.
        let waits = answer.found_again && next.is_none();
        let tries_left = match answer.verdict.error {
            Some(ErrorCode::InternalError) => self.own_faults() < MOST_OWN_FAULTS,
            Some(_) | None => tries < retry.max_attempts,
        };
        // Nor does one that served as a probe and found the provider still gone serve again, as long as it has somewhere to go.
        let again = (answer.not_connected || waits || (answer.verdict.retry_here && tries_left))
            && !((too_long || answer.found_again) && next.is_some());
        if again {
            let detail = format!("again in {} ms", wait.as_millis());
            self.decide(DecisionKind::RetryScheduled, Some(number), Some(provider), detail);
            self.send = Some(HandOver { due: now + wait, tries, ..came_from });
        } else if let Some(next) = next {
            self.go_on_to(next, Some(number), "the provider did not take it", now);
        }
    }

    /// Attempts that failed by a fault of our own.
    fn own_faults(&self) -> usize {
        let ours =
            |attempt: &&Attempt| attempt.error.as_ref().is_some_and(|cause| cause.code == ErrorCode::InternalError);
        self.attempts.iter().filter(ours).count()
    }

    /// The gateway itself failed before a call could be made: that counts as an attempt, so that it is told and comes to an end.
    pub fn preparation_panicked(&mut self, id: AttemptId, call_id: CallId, now: Timestamp) {
        let Some(came_from) = self.send else { return };
        let Some(number) = self.start_attempt(id, call_id, "", now) else { return };
        let Some(index) = self.attempts.iter().position(|attempt| attempt.number == number) else { return };
        self.attempts[index].answered_at = Some(now);
        let answer = Answer::own_fault();
        self.refused(index, &answer, came_from, RetryRule { max_attempts: 0 }, now);
        self.settle_status(now, EndedBy::Attempts);
    }

    fn may_go_on(&self, allowed: FailoverAllowed) -> bool {
        let by_code = match allowed {
            FailoverAllowed::No => false,
            FailoverAllowed::OtpOnly => self.category == Category::Otp,
            FailoverAllowed::Yes => true,
        };
        by_code && self.plan.failover != Failover::Never
    }

    /// The same question for a message that a report called lost.
    pub(super) fn may_go_on_after_loss(&self, allowed: FailoverAllowed, now: Timestamp) -> bool {
        self.plan.failover == Failover::OnUndelivered && self.may_go_on(allowed) && now < self.expires_at
    }

    pub(super) fn go_on_to(&mut self, step: u16, attempt: Option<u16>, why: &str, now: Timestamp) {
        let provider = self.step(step).map(|step| step.provider.clone());
        self.decide(DecisionKind::Failover, attempt, provider, format!("on to step {}: {why}", step + 1));
        self.send = Some(HandOver { step, due: now, tries: 0, group_limit: None });
    }

    /// A second, doubled for each attempt of the step so far, at most a minute; spread by up to a quarter, so that messages
    /// that failed together do not come back together. The spread follows from the message's id and needs no dice.
    fn backoff(&self, number: u16, step: u16) -> Duration {
        let before = self.attempts.iter().filter(|attempt| attempt.step == step && attempt.number < number).count();
        let doubled = FIRST_BACKOFF.saturating_mul(1 << u32::try_from(before).unwrap_or(u32::MAX).min(6));
        let spread = self.id.0.as_bytes()[15] ^ number.wrapping_mul(157).to_le_bytes()[0];
        doubled.min(LONGEST_BACKOFF).mul_f64(1.0 + f64::from(spread) / 1024.0)
    }

    /// The lease ran out while the call was being made: it may have been made. The attempt is `unknown` until evidence comes.
    pub fn lease_ran_out(&mut self, cause: &Cause, evidence: impl Fn(&Attempt) -> EvidenceRule, now: Timestamp) {
        for index in 0..self.attempts.len() {
            let attempt = &mut self.attempts[index];
            if attempt.status == AttemptStatus::Sending {
                let rule = evidence(attempt);
                attempt.becomes_unclear(attempt.is_reported(), Some(cause.clone()), rule, now);
                self.tell_unclear(index);
            }
        }
        self.settle_status(now, EndedBy::Attempts);
    }
}

impl Attempt {
    /// It may have been taken; if a report came already, it was. Never handed over again for that alone.
    fn becomes_unclear(&mut self, reported: bool, cause: Option<Cause>, evidence: EvidenceRule, now: Timestamp) {
        let taken = || Cause::own(ErrorCode::DeliveryUnconfirmed, false);
        let in_doubt = || Cause::own(ErrorCode::SubmissionUnconfirmed, false);
        self.status = AttemptStatus::Unknown;
        self.error = Some(if reported { taken() } else { cause.unwrap_or_else(in_doubt) });
        // The lack of an answer is recorded like one: a resend waits from here.
        self.answered_at = self.answered_at.or(Some(now));
        let can_be_found = evidence.without_id || self.provider_message_id.is_some();
        self.evidence_until = can_be_found.then(|| now + evidence.window);
        self.next_poll_at = self.provider_message_id.as_ref().and(evidence.first_poll).map(|wait| now + wait);
        self.changed = changed(self.changed);
    }

    /// While the call is being made, only a report can have left these.
    fn is_reported(&self) -> bool {
        self.provider_message_id.is_some() || !self.parts_delivered.is_empty()
    }

    /// Nobody knows whether the provider took it.
    pub(super) fn hand_over_is_unclear(&self) -> bool {
        self.status == AttemptStatus::Unknown
            && self.error.as_ref().is_some_and(|cause| cause.code == ErrorCode::SubmissionUnconfirmed)
    }
}

pub(super) fn changed(before: Changed) -> Changed {
    match before {
        Changed::New => Changed::New,
        Changed::No | Changed::Yes => Changed::Yes,
    }
}
