//! What a delivery report or a poll does to a message. Reports are late, doubled and out of order by nature.

use super::{Attempt, Cause, Life, answer::changed, fold::Ended};
use crate::domain::{
    Timestamp,
    report::Report,
    status::{AttemptStatus, MessageStatus},
    verdict::NeutralStatus,
};

/// Whether a report changed anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absorbed {
    /// It did.
    Applied,
    /// It came too late, said what was known, or says nothing final.
    Ignored,
}

impl Life {
    /// Takes in a report about an attempt.
    pub fn absorb(&mut self, number: u16, report: &Report, now: Timestamp) -> Absorbed {
        let settled = self.is_final() && self.status != MessageStatus::Unknown;
        let Some(index) = self.attempts.iter().position(|attempt| attempt.number == number) else {
            return Absorbed::Ignored;
        };
        if settled && !self.later_than_the_end(index) {
            return Absorbed::Ignored;
        }
        let Some(status) = self.attempts[index].status_after(report) else {
            return self.note(index, report);
        };
        if status == AttemptStatus::Unknown && self.attempts[index].status == AttemptStatus::Unknown {
            return Absorbed::Ignored;
        }
        let attempt = &mut self.attempts[index];
        attempt.status = status;
        attempt.error = Cause::of(&report.verdict, Some(&report.provider_code));
        attempt.take_in(report);
        attempt.answered_at = attempt.answered_at.or(Some(now));
        if status == AttemptStatus::Unknown {
            // A later report may still settle it, within the window that was opened when it was sent.
        } else {
            attempt.completed_at = Some(now);
            attempt.evidence_until = None;
            attempt.next_poll_at = None;
        }
        self.sent_at = self.sent_at.or(Some(now));
        if settled {
            // The message ended another way; the attempt's own story is still told.
            return Absorbed::Ignored;
        }
        self.go_on_after(index, report, now);
        self.settle_status(now, Ended::ByAttempts);
        Absorbed::Applied
    }

    /// A message may end by one attempt while another is still open: that one's own report is recorded with it.
    fn later_than_the_end(&self, index: usize) -> bool {
        matches!(self.attempts[index].status, AttemptStatus::Sent | AttemptStatus::Unknown | AttemptStatus::Sending)
    }

    /// A report that decides nothing: a part of several, or "accepted". What it says besides is kept.
    fn note(&mut self, index: usize, report: &Report) -> Absorbed {
        let attempt = &mut self.attempts[index];
        let before = (attempt.parts_delivered.len(), attempt.provider_message_id.is_some(), attempt.price.is_some());
        attempt.take_in(report);
        let after = (attempt.parts_delivered.len(), attempt.provider_message_id.is_some(), attempt.price.is_some());
        if before == after { Absorbed::Ignored } else { Absorbed::Applied }
    }

    fn go_on_after(&mut self, index: usize, report: &Report, now: Timestamp) {
        let attempt = &self.attempts[index];
        let (number, step, status) = (attempt.number, attempt.step, attempt.status);
        if status == AttemptStatus::Delivered {
            self.send = None;
            return;
        }
        let lost = matches!(status, AttemptStatus::Undelivered | AttemptStatus::Expired);
        let open = |attempt: &Attempt| {
            matches!(attempt.status, AttemptStatus::Sending | AttemptStatus::Sent | AttemptStatus::Delivered)
        };
        if !lost || self.send.is_some() || self.attempts.iter().any(open) {
            return;
        }
        if !self.may_go_on_after_loss(report.verdict.failover, now) {
            return;
        }
        if let Some(next) = self.next_step_after(step) {
            self.go_on_to(next, Some(number), "it was reported as not delivered", now);
        }
    }
}

impl Attempt {
    /// The status that a report brings, or none when it decides nothing.
    fn status_after(&self, report: &Report) -> Option<AttemptStatus> {
        let negative_or_unclear = match report.verdict.status {
            NeutralStatus::Sent => return None,
            NeutralStatus::Delivered => AttemptStatus::Delivered,
            NeutralStatus::Undelivered | NeutralStatus::Failed => AttemptStatus::Undelivered,
            NeutralStatus::Expired => AttemptStatus::Expired,
            NeutralStatus::Unknown => AttemptStatus::Unknown,
        };
        match self.status {
            AttemptStatus::Delivered | AttemptStatus::Undelivered | AttemptStatus::Expired => None,
            // "Certainly not taken", and yet the carrier says it arrived: the carrier knows better. Anything less is noise.
            AttemptStatus::Failed => {
                (negative_or_unclear == AttemptStatus::Delivered).then_some(AttemptStatus::Delivered)
            }
            AttemptStatus::Sending | AttemptStatus::Sent | AttemptStatus::Unknown => {
                let whole = negative_or_unclear != AttemptStatus::Delivered || self.all_parts_with(report);
                whole.then_some(negative_or_unclear)
            }
        }
    }

    /// Does this report complete the parts of a long message?
    fn all_parts_with(&self, report: &Report) -> bool {
        let parts = report.parts.max(1);
        (1..=parts).all(|part| part == report.part || self.parts_delivered.contains(&part))
    }

    fn take_in(&mut self, report: &Report) {
        self.changed = changed(self.changed);
        if self.provider_message_id.is_none() {
            self.provider_message_id.clone_from(&report.target.provider_message_id);
        }
        if report.verdict.status == NeutralStatus::Delivered
            && report.parts > 1
            && !self.parts_delivered.contains(&report.part)
        {
            self.parts_delivered.push(report.part);
        }
        if report.price.is_some() {
            self.price.clone_from(&report.price);
        }
        let parts = (report.parts > 1).then_some(report.parts);
        self.segments = report.segments.or(parts).or(self.segments);
    }
}
