//! What the tests of the life of a message share: plans, answers and reports in a few words, and a message with a clock.
//!
//! Each file holds the rules of one matter, one sentence each; `properties` drives messages with whatever may happen.

use std::time::Duration;

use uuid::Uuid;

use super::*;
use crate::domain::{
    report::{Report, ReportTarget},
    verdict::{FailoverAllowed, NeutralStatus, Scope},
};

mod answers;
mod ends;
mod failover;
mod properties;
mod reports;
mod timers;
mod unclear;

const WINDOW: Duration = Duration::from_hours(1);
const VALIDITY: Duration = Duration::from_mins(10);
const RETRY: RetryRule = RetryRule { max_attempts: 4 };

fn start_of_time() -> Timestamp {
    Timestamp::from_timestamp(1_800_000_000, 0).unwrap()
}

/// A plan whose steps have these `after_seconds`.
fn plan(after_seconds: &[Option<u32>]) -> Plan {
    let step = |(index, after_seconds): (usize, &Option<u32>)| Step {
        provider: format!("p{index}"),
        channel: Channel::Sms,
        from: None,
        after_seconds: *after_seconds,
    };
    Plan {
        route: None,
        steps: after_seconds.iter().enumerate().map(step).collect(),
        failover: Failover::OnRejection,
        on_unknown: OnUnknown::Hold,
    }
}

fn verdict(status: NeutralStatus, error: Option<ErrorCode>) -> Verdict {
    Verdict {
        status,
        error,
        category: error.map(ErrorCode::category),
        retryable: false,
        failover: FailoverAllowed::Yes,
        retry_here: false,
        resend_allowed: true,
        scope: Scope::Provider,
    }
}

fn answer(verdict: Verdict) -> Answer {
    Answer {
        verdict,
        provider_code: None,
        provider_message_id: None,
        segments: None,
        retry_after: None,
        not_connected: false,
        found_again: false,
        split_to: None,
    }
}

fn taken() -> Answer {
    Answer { provider_message_id: Some("native".into()), ..answer(verdict(NeutralStatus::Sent, None)) }
}

fn refused(failover: FailoverAllowed) -> Answer {
    let refusal = verdict(NeutralStatus::Failed, Some(ErrorCode::ProviderRejected));
    Answer { provider_code: Some("E1".into()), ..answer(Verdict { failover, ..refusal }) }
}

/// Refused for now.
fn busy() -> Answer {
    let refusal = verdict(NeutralStatus::Failed, Some(ErrorCode::ProviderRateLimited));
    answer(Verdict { retry_here: true, retryable: true, ..refusal })
}

fn not_connected() -> Answer {
    Answer { not_connected: true, ..busy() }
}

fn unclear() -> Answer {
    let doubt = verdict(NeutralStatus::Unknown, Some(ErrorCode::SubmissionUnconfirmed));
    answer(Verdict { failover: FailoverAllowed::No, ..doubt })
}

fn report(status: NeutralStatus) -> Report {
    let error = match status {
        NeutralStatus::Sent | NeutralStatus::Delivered => None,
        NeutralStatus::Undelivered | NeutralStatus::Failed => Some(ErrorCode::RecipientUnreachable),
        NeutralStatus::Expired => Some(ErrorCode::Expired),
        NeutralStatus::Unknown => Some(ErrorCode::DeliveryUnconfirmed),
    };
    Report {
        target: ReportTarget::default(),
        provider_code: format!("{status:?}"),
        verdict: verdict(status, error),
        part: 1,
        parts: 1,
        occurred_at: None,
        description: None,
        price: None,
        segments: None,
    }
}

fn part(status: NeutralStatus, part: u16, parts: u16) -> Report {
    Report { part, parts, ..report(status) }
}

/// A message, its clock, and what the engine knows besides.
#[derive(Debug, Clone)]
struct Story {
    life: Life,
    now: Timestamp,
    /// The hand-over in flight.
    came_from: HandOver,
    evidence: EvidenceRule,
    /// How often it was handed over again because of an unclear outcome.
    resends: usize,
}

impl Story {
    fn of(plan: Plan) -> Self {
        let now = start_of_time();
        let send = HandOver { step: 0, due: now, tries: 0, group_limit: None };
        let life = Life {
            id: MessageId(Uuid::from_u128(7)),
            category: Category::Transactional,
            plan,
            send_at: None,
            expires_at: now + VALIDITY,
            status: MessageStatus::Queued,
            completed_at: None,
            sent_at: None,
            error: None,
            possible_duplicate: false,
            attempts: Vec::new(),
            send: Some(send),
            decisions: Vec::new(),
        };
        Self {
            life,
            now,
            came_from: send,
            evidence: EvidenceRule { window: WINDOW, first_poll: None, without_id: true },
            resends: 0,
        }
    }

    /// With one step, or with two and this rule of going on.
    fn with(failover: Failover) -> Self {
        Self::of(Plan { failover, ..plan(&[None, None]) })
    }

    fn alone() -> Self {
        Self::of(plan(&[None]))
    }

    fn on_unknown(mut self, on_unknown: OnUnknown) -> Self {
        self.life.plan.on_unknown = on_unknown;
        self
    }

    fn try_start(&mut self) -> Option<u16> {
        let send = self.life.send;
        let ids = (AttemptId(Uuid::from_u128(1)), CallId(Uuid::from_u128(2)));
        let number = self.life.start_attempt(ids.0, ids.1, "sender", self.now)?;
        self.came_from = send.unwrap();
        Some(number)
    }

    /// Waits until the hand-over is due and begins it.
    fn start(&mut self) -> u16 {
        self.now = self.now.max(self.life.send.unwrap().due);
        self.try_start().unwrap()
    }

    fn answer(&mut self, number: u16, answer: &Answer) {
        self.life.answered(number, answer, self.came_from, self.evidence, RETRY, self.now);
    }

    /// Begins the hand-over that waits and answers it.
    fn hand_over(&mut self, answer: &Answer) -> u16 {
        let number = self.start();
        self.answer(number, answer);
        number
    }

    fn report(&mut self, number: u16, report: &Report) -> Absorbed {
        self.life.absorb(number, report, self.now)
    }

    fn later(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }

    /// Time passes, and the timers are looked at.
    fn tick_after(&mut self, seconds: u64) {
        self.later(seconds);
        self.life.tick(self.now);
    }

    fn lease_runs_out(&mut self) {
        let evidence = self.evidence;
        self.life.lease_ran_out(&Cause::own(ErrorCode::SubmissionUnconfirmed, false), |_| evidence, self.now);
    }

    fn validity_ends(&mut self) {
        self.now = self.now.max(self.life.expires_at);
        self.life.validity_over(self.now);
    }

    fn waits_for(&self) -> Option<u16> {
        self.life.send.map(|send| send.step)
    }

    fn wait(&self) -> Duration {
        (self.life.send.unwrap().due - self.now).to_std().unwrap()
    }

    fn error(&self) -> Option<ErrorCode> {
        self.life.error.as_ref().map(|cause| cause.code)
    }

    fn attempt(&self, number: u16) -> &Attempt {
        self.life.attempts.iter().find(|attempt| attempt.number == number).unwrap()
    }

    /// Its status, with a mark when that is not an end.
    fn at(&self) -> (MessageStatus, bool) {
        (self.life.status, self.life.is_final())
    }
}
