//! The status of a message as one fold over its attempts and the work that is left.

use super::{Attempt, Cause, Life};
use crate::domain::{
    Timestamp,
    error_code::ErrorCode,
    status::{AttemptStatus, MessageStatus},
};

/// Why the work ended, where no attempt says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EndedBy {
    /// Nothing special: what the attempts say.
    Attempts,
    /// The validity ended while a hand-over waited.
    Validity,
    /// Somebody canceled it.
    Cancel,
    /// The recipient wants to hear no more.
    OptOut,
    /// The gateway itself failed on it and gave it up.
    OwnFault,
}

/// What the fold found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folded {
    /// The status.
    pub status: MessageStatus,
    /// It is an end.
    pub is_final: bool,
    /// Why.
    pub error: Option<Cause>,
}

impl Life {
    /// The status that follows from the attempts: delivered > still open > unknown > undelivered > failed.
    pub(super) fn fold(&self, now: Timestamp, by: EndedBy) -> Folded {
        let open = |status| Folded { status, is_final: false, error: None };
        if self.last(AttemptStatus::Delivered).is_some() {
            return Folded { status: MessageStatus::Delivered, is_final: true, error: None };
        }
        if self.last(AttemptStatus::Sending).is_some() {
            return open(MessageStatus::Sending);
        }
        if let Some(send) = self.send {
            let ahead = self.attempts.is_empty() && self.send_at.is_some_and(|at| at > now && send.due > now);
            return open(if ahead { MessageStatus::Scheduled } else { MessageStatus::Queued });
        }
        if self.last(AttemptStatus::Sent).is_some() {
            return open(MessageStatus::Sent);
        }
        if let Some(attempt) = self.last(AttemptStatus::Unknown) {
            let nothing_comes = !self.evidence_may_come(now) && self.next_going_on(now).is_none();
            let is_final = by == EndedBy::OwnFault || nothing_comes;
            return Folded { status: MessageStatus::Unknown, is_final, error: attempt.error.clone() };
        }
        self.fold_ended(by)
    }

    /// Nothing is open and nothing is unclear: the message has ended, and this is how.
    fn fold_ended(&self, by: EndedBy) -> Folded {
        let lost = self
            .attempts
            .iter()
            .rev()
            .find(|attempt| matches!(attempt.status, AttemptStatus::Undelivered | AttemptStatus::Expired));
        let (status, error) = match (lost, by) {
            (Some(attempt), _) if attempt.status == AttemptStatus::Expired => {
                (MessageStatus::Expired, attempt.error.clone())
            }
            (Some(attempt), _) => (MessageStatus::Undelivered, attempt.error.clone()),
            (None, EndedBy::Validity) => {
                let provider_code = self.attempts.last().and_then(|attempt| attempt.error.clone()?.provider_code);
                (MessageStatus::Expired, Some(Cause { provider_code, ..Cause::own(ErrorCode::Expired, true) }))
            }
            (None, EndedBy::Cancel) => (MessageStatus::Canceled, None),
            (None, EndedBy::OptOut) => (MessageStatus::Failed, Some(Cause::own(ErrorCode::RecipientOptedOut, false))),
            (None, EndedBy::OwnFault) => (MessageStatus::Failed, Some(Cause::own(ErrorCode::InternalError, true))),
            (None, EndedBy::Attempts) => {
                let error = self.attempts.last().and_then(|attempt| attempt.error.clone());
                (MessageStatus::Failed, error.or_else(|| self.error.clone()))
            }
        };
        Folded { status, is_final: true, error }
    }

    /// May a report or a poll still say what became of an unclear attempt?
    fn evidence_may_come(&self, now: Timestamp) -> bool {
        self.attempts
            .iter()
            .filter(|attempt| attempt.status == AttemptStatus::Unknown)
            .any(|attempt| attempt.evidence_until.is_some_and(|until| until > now))
    }

    fn last(&self, status: AttemptStatus) -> Option<&Attempt> {
        self.attempts.iter().rev().find(|attempt| attempt.status == status)
    }

    /// Brings the status up to date after something happened. An end stays one: why it ended is known only when it does.
    pub(super) fn settle_status(&mut self, now: Timestamp, by: EndedBy) {
        if self.is_settled() {
            return;
        }
        let folded = self.fold(now, by);
        self.status = folded.status;
        self.error = folded.error;
        if folded.is_final {
            self.completed_at = self.completed_at.or(Some(now));
            self.send = None;
        }
    }

    /// Nothing will be done any more. Only late evidence may still settle an `unknown`.
    pub fn is_final(&self) -> bool {
        self.completed_at.is_some()
    }

    /// Final, and not even evidence can change it.
    pub(super) fn is_settled(&self) -> bool {
        self.is_final() && self.status != MessageStatus::Unknown
    }
}
