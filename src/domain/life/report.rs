//! What a delivery report or a poll does to a message. Reports are late, doubled and out of order by nature.

use super::{Attempt, Cause, Life, answer::changed, fold::EndedBy};
use crate::domain::{Timestamp, report::Report, status::AttemptStatus, verdict::NeutralStatus};

/// Whether a report changed anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absorbed {
    /// It did.
    Applied,
    /// It came too late, said what was known, or says nothing final.
    Ignored,
    /// It says that nobody knows, and the answer to the call is not there yet: it is to be taken in again after that.
    BeforeAnswer,
}

impl Life {
    /// Takes in a report about an attempt.
    pub fn absorb(&mut self, number: u16, report: &Report, now: Timestamp) -> Absorbed {
        let settled = self.is_settled();
        let Some(index) = self.attempts.iter().position(|attempt| attempt.number == number) else {
            return Absorbed::Ignored;
        };
        // A message may end by one attempt while another is still open: that one's own report is recorded with it.
        if settled && !self.attempts[index].is_open() {
            return Absorbed::Ignored;
        }
        let said_more = self.attempts[index].take_in(report);
        let Some(status) = self.attempts[index].status_after(report) else {
            let evidence = self.was_taken(index, now);
            self.settle_status(now, EndedBy::Attempts);
            if self.attempts[index].waits_for_its_answer(report) {
                return Absorbed::BeforeAnswer;
            }
            return if (said_more || evidence) && !settled { Absorbed::Applied } else { Absorbed::Ignored };
        };
        let is_last = index + 1 == self.attempts.len();
        if self.resend_waits(now) && (is_last || status == AttemptStatus::Delivered) {
            self.take_back(now);
        }
        self.attempts[index].settle(status, report, now);
        if settled {
            return Absorbed::Ignored;
        }
        self.sent_at = self.sent_at.or(Some(now));
        // Only the latest hand-over leads on. What came before it was given up for it, and while it is open or unclear nothing
        // may follow.
        if is_last && matches!(status, AttemptStatus::Undelivered | AttemptStatus::Expired) {
            self.go_on_after_loss(index, report, now);
        }
        if status == AttemptStatus::Delivered {
            self.send = None;
        }
        self.settle_status(now, EndedBy::Attempts);
        Absorbed::Applied
    }

    fn go_on_after_loss(&mut self, index: usize, report: &Report, now: Timestamp) {
        let (number, step) = (self.attempts[index].number, self.attempts[index].step);
        // After a final `unknown` the content may be erased, and its app was told that nothing follows.
        let over = self.is_final() || self.send.is_some();
        if over || !self.may_go_on_after_loss(report.verdict.failover, now) {
            return;
        }
        if let Some(next) = self.next_step_after(step) {
            self.go_on_to(next, Some(number), "it was reported as not delivered", now);
        }
    }
}

impl Attempt {
    fn is_open(&self) -> bool {
        matches!(self.status, AttemptStatus::Sending | AttemptStatus::Sent | AttemptStatus::Unknown)
    }

    /// The status that a report brings once it is taken in, or none when it decides nothing.
    fn status_after(&self, report: &Report) -> Option<AttemptStatus> {
        let said = match report.verdict.status {
            NeutralStatus::Sent => return None,
            NeutralStatus::Delivered if !self.has_all_parts(report) => return None,
            NeutralStatus::Delivered => AttemptStatus::Delivered,
            NeutralStatus::Undelivered | NeutralStatus::Failed => AttemptStatus::Undelivered,
            NeutralStatus::Expired => AttemptStatus::Expired,
            NeutralStatus::Unknown => AttemptStatus::Unknown,
        };
        let decides = match self.status {
            AttemptStatus::Delivered => false,
            // The carrier says that it arrived: it knows better than any refusal or loss. Anything less is noise.
            AttemptStatus::Failed | AttemptStatus::Undelivered | AttemptStatus::Expired => {
                said == AttemptStatus::Delivered
            }
            AttemptStatus::Sending => !self.waits_for_its_answer(report),
            AttemptStatus::Sent | AttemptStatus::Unknown => said != self.status,
        };
        decides.then_some(said)
    }

    /// The answer opens the window for later reports, so one that leaves the end open has to come after it.
    fn waits_for_its_answer(&self, report: &Report) -> bool {
        self.status == AttemptStatus::Sending && report.verdict.status == NeutralStatus::Unknown
    }

    fn settle(&mut self, status: AttemptStatus, report: &Report, now: Timestamp) {
        self.status = status;
        self.error = Cause::of(&report.verdict, Some(&report.provider_code));
        self.answered_at = self.answered_at.or(Some(now));
        self.changed = changed(self.changed);
        // A later report may still settle an `unknown`, within the window that was opened when it was sent.
        if status != AttemptStatus::Unknown {
            self.completed_at = Some(now);
            self.evidence_until = None;
            self.next_poll_at = None;
        }
    }

    /// Is every part of the message reported as delivered?
    fn has_all_parts(&self, report: &Report) -> bool {
        report.parts <= 1 || (1..=report.parts).all(|part| self.parts_delivered.contains(&part))
    }

    /// Keeps what a report says besides its status. False when all of that was known.
    fn take_in(&mut self, report: &Report) -> bool {
        let mut news = false;
        if self.provider_message_id.is_none() && report.target.provider_message_id.is_some() {
            self.provider_message_id.clone_from(&report.target.provider_message_id);
            news = true;
        }
        let delivered = report.verdict.status == NeutralStatus::Delivered;
        let is_part = report.parts > 1 && (1..=report.parts).contains(&report.part);
        if delivered && is_part && !self.parts_delivered.contains(&report.part) {
            self.parts_delivered.push(report.part);
            news = true;
        }
        // While it is open the latest report is the best one; after that, what is missing is filled in.
        if report.price.is_some() && self.price != report.price && (self.is_open() || self.price.is_none()) {
            self.price.clone_from(&report.price);
            news = true;
        }
        let segments = report.segments.or((report.parts > 1).then_some(report.parts));
        if segments.is_some() && self.segments != segments && (self.is_open() || self.segments.is_none()) {
            self.segments = segments;
            news = true;
        }
        if news {
            self.changed = changed(self.changed);
        }
        news
    }
}
