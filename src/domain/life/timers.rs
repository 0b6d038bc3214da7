//! What time does to a message: report windows, polls, steps that wait, validity, and providers that are not there.

use super::{
    Attempt, Cause, DecisionKind, Failover, HandOver, Life, OnUnknown, RESEND_AFTER, answer::changed, fold::EndedBy,
};
use crate::domain::{
    Timestamp,
    error_code::ErrorCode,
    status::{AttemptStatus, MessageStatus},
};

/// What a message goes on to by itself, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct GoingOn {
    at: Timestamp,
    step: u16,
    attempt: u16,
    resend: bool,
}

impl Life {
    /// The next moment at which [`Life::tick`] has something to do.
    pub fn next_timer(&self, now: Timestamp) -> Option<Timestamp> {
        let windows = self.open_attempts().filter_map(|attempt| attempt.evidence_until);
        let polls = self.open_attempts().filter_map(|attempt| attempt.next_poll_at);
        windows.chain(polls).chain(self.next_going_on(now).map(|next| next.at)).min()
    }

    /// The attempt to ask the provider about now.
    pub fn due_poll(&self, now: Timestamp) -> Option<&Attempt> {
        self.open_attempts().find(|attempt| attempt.next_poll_at.is_some_and(|at| at <= now))
    }

    /// Notes that an attempt was asked about, and when to ask again: each wait is one and a half times the last.
    pub fn polled(&mut self, number: u16, first: std::time::Duration, now: Timestamp) {
        if let Some(attempt) = self.attempts.iter_mut().find(|attempt| attempt.number == number)
            && attempt.next_poll_at.is_some()
        {
            attempt.polls = attempt.polls.saturating_add(1);
            let wait = first.mul_f64(1.5_f64.powi(i32::from(attempt.polls.min(20))));
            attempt.next_poll_at = Some(now + wait);
            attempt.changed = changed(attempt.changed);
        }
    }

    /// Lets pass what is over, and goes on to what is due.
    pub fn tick(&mut self, now: Timestamp) {
        for attempt in &mut self.attempts {
            attempt.close_window(now);
        }
        if self.is_final() {
            return;
        }
        if let Some(next) = self.next_going_on(now).filter(|next| next.at <= now) {
            if next.resend {
                let provider = self.step(next.step).map(|step| step.provider.clone());
                let detail = "no evidence came; the route says to hand it over once more".to_owned();
                self.decide(DecisionKind::Resend, Some(next.attempt), provider, detail);
                self.possible_duplicate = true;
                self.send = Some(HandOver { step: next.step, due: now, tries: 0, group_limit: None });
            } else {
                self.go_on_to(next.step, Some(next.attempt), "no final report in time", now);
            }
        }
        self.settle_status(now, EndedBy::Attempts);
    }

    /// The validity is over and a hand-over still waits.
    pub fn validity_over(&mut self, now: Timestamp) {
        if self.send.is_none() || now < self.expires_at {
            return;
        }
        self.take_back(now);
        self.decide(DecisionKind::Expired, None, None, "its validity ended while a hand-over waited".into());
        self.settle_status(now, EndedBy::Validity);
    }

    /// The recipient opted out and a hand-over still waits. Its validity is over with that, so that nothing makes it go on.
    pub fn opted_out(&mut self, now: Timestamp) {
        if self.send.is_none() {
            return;
        }
        self.take_back(now);
        self.expires_at = self.expires_at.min(now);
        self.decide(DecisionKind::OptedOut, None, None, "the recipient opted out while a hand-over waited".into());
        self.settle_status(now, EndedBy::OptOut);
    }

    /// The provider of the waiting hand-over is paused or failing. True when the message goes on to its next step.
    pub fn step_unavailable(&mut self, why: &str, now: Timestamp) -> bool {
        let Some(send) = self.send else { return false };
        if self.plan.failover == Failover::Never {
            return false;
        }
        let Some(next) = self.next_step_after(send.step) else { return false };
        let provider = self.step(send.step).map(|step| step.provider.clone());
        self.decide(DecisionKind::StepPassedOver, None, provider, why.to_owned());
        self.send = Some(HandOver { step: next, due: now.max(send.due), tries: 0, group_limit: None });
        self.settle_status(now, EndedBy::Attempts);
        true
    }

    /// Cancels what waits. False when a provider has the message, or may have it.
    pub fn cancel(&mut self, now: Timestamp) -> bool {
        if self.status == MessageStatus::Canceled {
            return true;
        }
        let had_by_nobody = self.attempts.iter().all(|attempt| attempt.status == AttemptStatus::Failed);
        if self.send.is_none() || !had_by_nobody {
            return false;
        }
        self.send = None;
        self.decide(DecisionKind::Canceled, None, None, "canceled before a provider had it".into());
        self.settle_status(now, EndedBy::Cancel);
        true
    }

    /// The gateway failed on this message and would again: nothing more is done with it. What a provider has or may have is
    /// `unknown`, which a late report still settles; what nobody has is `failed`.
    pub fn give_up(&mut self, now: Timestamp) {
        self.send = None;
        for attempt in &mut self.attempts {
            let error = match attempt.status {
                AttemptStatus::Sending => ErrorCode::SubmissionUnconfirmed,
                AttemptStatus::Sent => ErrorCode::DeliveryUnconfirmed,
                AttemptStatus::Unknown
                | AttemptStatus::Delivered
                | AttemptStatus::Undelivered
                | AttemptStatus::Failed
                | AttemptStatus::Expired => continue,
            };
            attempt.status = AttemptStatus::Unknown;
            attempt.error = Some(Cause::own(error, false));
            attempt.answered_at = attempt.answered_at.or(Some(now));
            attempt.changed = changed(attempt.changed);
        }
        for attempt in self.attempts.iter_mut().filter(|attempt| attempt.status == AttemptStatus::Unknown) {
            attempt.evidence_until = None;
            attempt.next_poll_at = None;
            attempt.changed = changed(attempt.changed);
        }
        self.settle_status(now, EndedBy::OwnFault);
    }

    fn open_attempts(&self) -> impl Iterator<Item = &Attempt> {
        self.attempts.iter().filter(|attempt| matches!(attempt.status, AttemptStatus::Sent | AttemptStatus::Unknown))
    }

    /// What the message will go on to by itself if no final report comes: a step that waits its seconds, or a resend.
    pub(super) fn next_going_on(&self, now: Timestamp) -> Option<GoingOn> {
        let last = self.attempts.last()?;
        let next = self.timed_step(last).into_iter().chain(self.resend(last)).min_by_key(|next| next.at)?;
        // Too late for another hand-over: then there is nothing to go on to.
        (next.at < self.expires_at && now < self.expires_at).then_some(next)
    }

    /// The next step, where it begins some seconds after the one before. Trying that one again does not put it off.
    fn timed_step(&self, last: &Attempt) -> Option<GoingOn> {
        let goes_on_here = self.send.is_some_and(|send| send.step == last.step);
        let unsettled = match last.status {
            AttemptStatus::Sent | AttemptStatus::Unknown => goes_on_here || self.send.is_none(),
            AttemptStatus::Failed => goes_on_here,
            AttemptStatus::Sending | AttemptStatus::Delivered | AttemptStatus::Undelivered | AttemptStatus::Expired => {
                false
            }
        };
        if unsettled { self.after_seconds(last) } else { None }
    }

    /// The step after an attempt's, where it begins by time, and when.
    fn after_seconds(&self, last: &Attempt) -> Option<GoingOn> {
        if self.plan.failover == Failover::Never {
            return None;
        }
        let step = self.next_step_after(last.step)?;
        let seconds = self.step(step)?.after_seconds?;
        let begun = self.attempts.iter().find(|attempt| attempt.step == last.step)?.started_at;
        let at = begun + std::time::Duration::from_secs(seconds.into());
        Some(GoingOn { at, step, attempt: last.number, resend: false })
    }

    fn resend(&self, last: &Attempt) -> Option<GoingOn> {
        let wanted = self.plan.on_unknown == OnUnknown::Resend && !self.possible_duplicate;
        if !wanted || self.send.is_some() || !last.hand_over_is_unclear() || !last.resend_allowed {
            return None;
        }
        let at = last.answered_at.unwrap_or(last.started_at) + RESEND_AFTER;
        Some(GoingOn { at, step: last.step, attempt: last.number, resend: true })
    }

    /// Is the hand-over that waits a resend? Only that, or a step that waited its seconds, follows an unknown. A resend whose
    /// provider was passed over waits for another step.
    pub(super) fn resend_waits(&self, now: Timestamp) -> bool {
        let unknown = self.attempts.last().filter(|last| last.status == AttemptStatus::Unknown);
        unknown.zip(self.send).is_some_and(|(last, send)| {
            let in_time = self.after_seconds(last).is_some_and(|timed| timed.at <= now);
            send.step == last.step || !in_time
        })
    }

    /// Drops the hand-over that waits. A resend that never began makes no duplicate.
    pub(super) fn take_back(&mut self, now: Timestamp) {
        self.possible_duplicate &= !self.resend_waits(now);
        self.send = None;
    }
}

impl Attempt {
    fn close_window(&mut self, now: Timestamp) {
        let over = self.evidence_until.is_some_and(|until| until <= now);
        if !over || !matches!(self.status, AttemptStatus::Sent | AttemptStatus::Unknown) {
            return;
        }
        if self.status == AttemptStatus::Sent {
            self.status = AttemptStatus::Unknown;
            self.error = Some(Cause::own(ErrorCode::DeliveryUnconfirmed, false));
        }
        self.evidence_until = None;
        self.next_poll_at = None;
        self.changed = changed(self.changed);
    }
}
