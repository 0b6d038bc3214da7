//! Whether a provider may be called now, and if not, why: the one place that knows.
//!
//! Five things keep calls from a provider: an operator's pause, a throttle that the provider asked for, a clock too far off for its
//! signatures, a fault of our account with it, and an open breaker. A pause ends by the operator and a throttle by its time. The
//! other three end when a probe finds them gone: one waiting message at a time is let through, and one that only finds
//! what is known already is not charged for it ([`Answer::found_again`]). On its way back the provider is ramped up.
//!
//! It lives in memory, each process has its own. Only pauses and throttles are shared (`store::switches`, `store::throttles`).

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use chrono::TimeDelta;

use super::{breaker::Breaker, ramp::Ramp};
use crate::{
    domain::{
        Timestamp,
        error_code::ErrorCode,
        life::{Answer, Cause, LONGEST_WAIT_BEFORE_NEXT_STEP},
        verdict::NeutralStatus,
    },
    store::throttles::Throttle,
};

/// One probe in so long.
const PROBE_EVERY: Duration = Duration::from_secs(1);
/// While probes find the same fault of our account or clock again, each waits twice as long as the last, up to this: bad
/// credentials that are tried every second get an account locked.
const LONGEST_PROBE_WAIT: Duration = Duration::from_secs(15);
/// From here on a clock that is off is worth a word, long before it matters.
const CLOCK_WARNING: TimeDelta = TimeDelta::seconds(20);

/// Why a provider gets nothing at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unavailable {
    /// An operator paused it.
    Paused,
    /// It asked for a pause.
    Throttled,
    /// Our clock and its clock differ too much for signatures.
    ClockOff,
    /// It refuses our account: credentials, money, quota, suspension.
    AccountFault,
    /// Too many calls failed.
    BreakerOpen,
}

impl Unavailable {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Paused, Self::Throttled, Self::ClockOff, Self::AccountFault, Self::BreakerOpen];

    /// As the API and the metrics write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Paused => "paused",
            Self::Throttled => "throttled",
            Self::ClockOff => "clock_off",
            Self::AccountFault => "account_fault",
            Self::BreakerOpen => "breaker_open",
        }
    }

    /// For the timeline of a message that is passed on.
    pub const fn told(self) -> &'static str {
        match self {
            Self::Paused => "the provider is paused",
            Self::Throttled => "the provider takes no more for now",
            Self::ClockOff => "our clock and the provider's differ too much",
            Self::AccountFault => "the provider refuses our account",
            Self::BreakerOpen => "the provider's breaker is open",
        }
    }
}

/// What a line may do for its provider now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    /// Hand over, with at most so many calls at once.
    Open(usize),
    /// One message may try; the rest is passed on where it can be.
    Probe(Unavailable),
    /// Nothing goes out; what has somewhere else to go, goes.
    Over(Unavailable),
    /// Nothing goes out, and it is not worth going elsewhere for.
    Wait,
}

/// How a provider is, for people to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Condition {
    /// Why it gets nothing.
    pub unavailable: Option<Unavailable>,
    /// Until when, where that is known.
    pub until: Option<Timestamp>,
    /// Since when it is as it is; none while it never was otherwise.
    pub changed_at: Option<Timestamp>,
    /// How far its clock is ahead of ours, where it says so.
    pub clock_skew: Option<TimeDelta>,
}

/// Whether one provider may be called.
#[derive(Debug)]
pub struct Availability {
    provider: String,
    /// Only operators keep calls from it.
    exempt: bool,
    clock_tolerance: Option<TimeDelta>,
    most: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    paused: bool,
    throttle: Option<Throttle>,
    /// The throttle was seen in the database; when it is gone there, somebody lifted it.
    throttle_is_shared: bool,
    account: Option<Cause>,
    skew: Option<TimeDelta>,
    clock_is_off: bool,
    clock_was_told: bool,
    breaker: Breaker,
    ramp: Ramp,
    probed_at: Option<Timestamp>,
    probe_wait: Duration,
    changed_at: Option<Timestamp>,
}

impl Availability {
    /// A provider of which nothing bad is known.
    pub fn new(provider: &str, exempt: bool, clock_tolerance: Option<Duration>, most: usize) -> Self {
        let state = State {
            paused: false,
            throttle: None,
            throttle_is_shared: false,
            account: None,
            skew: None,
            clock_is_off: false,
            clock_was_told: false,
            breaker: Breaker::default(),
            ramp: Ramp::default(),
            probed_at: None,
            probe_wait: PROBE_EVERY,
            changed_at: None,
        };
        let clock_tolerance = clock_tolerance.and_then(|tolerance| TimeDelta::from_std(tolerance).ok());
        Self { provider: provider.to_owned(), exempt, clock_tolerance, most, state: Mutex::new(state) }
    }

    /// Why no call may be made now, if so.
    pub fn unavailable(&self, now: Timestamp) -> Option<Unavailable> {
        self.lock().unavailable(now)
    }

    /// How it is.
    pub fn condition(&self, now: Timestamp) -> Condition {
        let state = self.lock();
        let unavailable = state.unavailable(now);
        let throttle = state.throttle.as_ref().map(|throttle| throttle.until);
        // A throttle ends by itself, and nobody is there to note it.
        let ended = throttle.filter(|until| *until <= now);
        Condition {
            unavailable,
            until: throttle.filter(|_| unavailable == Some(Unavailable::Throttled)),
            changed_at: state.changed_at.max(ended),
            clock_skew: state.skew,
        }
    }

    /// The throttle that holds, if any.
    pub fn throttle(&self) -> Option<Throttle> {
        self.lock().throttle.clone()
    }

    /// Did an operator pause it?
    pub fn is_paused(&self) -> bool {
        self.lock().paused
    }

    /// Pauses it or takes that back. True when it was otherwise before.
    pub fn pause(&self, paused: bool) -> bool {
        std::mem::replace(&mut self.lock().paused, paused) != paused
    }

    /// An operator says that it is in order again: a throttle is lifted, and the next message may try at once.
    pub fn try_again(&self) {
        let mut state = self.lock();
        state.throttle = None;
        state.probed_at = None;
        state.probe_wait = PROBE_EVERY;
    }

    /// What the line may do now, with so many calls in flight.
    pub fn pass(&self, in_flight: usize, now: Timestamp) -> Pass {
        let state = self.lock();
        match state.unavailable(now) {
            None => match state.ramp.slots().unwrap_or(self.most).saturating_sub(in_flight) {
                0 => Pass::Wait,
                room => Pass::Open(room),
            },
            Some(Unavailable::Throttled) if !state.throttled_for_long(now) => Pass::Wait,
            Some(why @ (Unavailable::Paused | Unavailable::Throttled)) => Pass::Over(why),
            Some(why) if state.probe_is_due(why, now) => Pass::Probe(why),
            Some(why) => Pass::Over(why),
        }
    }

    /// A probe is on its way.
    pub fn probed(&self, now: Timestamp) {
        self.lock().probed_at = Some(now);
    }

    /// Takes in how a call went, and marks the answers that found only what is known. `skew` is how far the provider's clock is
    /// ahead. Gives back a throttle that begins with it, or is longer now.
    pub fn note(&self, answers: &mut [Answer], skew: Option<TimeDelta>, now: Timestamp) -> Option<Throttle> {
        if self.exempt {
            return None;
        }
        let mut state = self.lock();
        let before = state.unavailable(now);
        for answer in answers.iter_mut() {
            answer.found_again = state.knows(answer, now);
        }
        let failed = answers.iter().all(|answer| answer.verdict.counts_for_breaker());
        let cause = answers.first().and_then(cause_of).filter(|_| failed);
        if failed {
            state.breaker.failed(cause.clone());
        } else {
            state.breaker.succeeded();
        }
        let throttle = state.take_throttle(answers, now);
        state.note_account(cause, answers);
        self.note_clock(&mut state, skew);
        let after = state.unavailable(now);
        if after.is_none() && before.is_none() {
            state.ramp.record(!failed, self.most);
        }
        if after != before {
            self.turned(&mut state, before, after, now);
        }
        throttle
    }

    /// Follows the throttle that the processes share.
    pub fn follow_throttle(&self, shared: Option<Throttle>) {
        let mut state = self.lock();
        match shared {
            Some(shared) => {
                state.throttle_is_shared = true;
                if state.throttle.as_ref().is_none_or(|own| own.until < shared.until) {
                    state.throttle = Some(shared);
                    state.ramp.start();
                }
            }
            None if state.throttle_is_shared => {
                state.throttle_is_shared = false;
                state.throttle = None;
            }
            None => {}
        }
    }

    fn note_clock(&self, state: &mut State, skew: Option<TimeDelta>) {
        let Some(skew) = skew else { return };
        state.skew = Some(skew);
        let told = skew.abs() > CLOCK_WARNING;
        if told != std::mem::replace(&mut state.clock_was_told, told) {
            let (provider, seconds) = (&self.provider, skew.num_seconds());
            if told {
                tracing::warn!(provider, seconds, "the provider's clock is ahead of ours (behind, if negative)");
            } else {
                tracing::info!(provider, seconds, "our clock and the provider's agree again");
            }
        }
        let off = self.clock_tolerance.is_some_and(|tolerance| skew.abs() >= tolerance);
        if off && state.clock_is_off {
            state.find_again();
        }
        state.clock_is_off = off;
    }

    fn turned(&self, state: &mut State, before: Option<Unavailable>, after: Option<Unavailable>, now: Timestamp) {
        state.changed_at = Some(now);
        let provider = &self.provider;
        let Some(why) = after else {
            tracing::info!(provider, "the provider is in use again");
            return;
        };
        state.ramp.start();
        if before.is_none() {
            state.probed_at = Some(now);
            state.probe_wait = PROBE_EVERY;
        }
        let (reason, detail) = (why.as_str(), why.told());
        match why {
            Unavailable::AccountFault => {
                let cause = state.account.as_ref();
                let (error, code) =
                    (cause.map(|it| it.code.as_str()), cause.and_then(|it| it.provider_code.as_deref()));
                tracing::error!(provider, reason, error, provider_code = code, "{detail}; it is paused");
            }
            Unavailable::ClockOff => {
                let seconds = state.skew.map(|skew| skew.num_seconds());
                tracing::error!(provider, reason, seconds, "{detail}; it is paused");
            }
            Unavailable::Throttled => {
                let until = state.throttle.as_ref().map(|throttle| throttle.until.to_rfc3339());
                tracing::warn!(provider, reason, until, "{detail}");
            }
            Unavailable::Paused | Unavailable::BreakerOpen => tracing::warn!(provider, reason, "{detail}"),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn unavailable(&self, now: Timestamp) -> Option<Unavailable> {
        if self.paused {
            Some(Unavailable::Paused)
        } else if self.throttle.as_ref().is_some_and(|throttle| throttle.until > now) {
            Some(Unavailable::Throttled)
        } else if self.clock_is_off {
            Some(Unavailable::ClockOff)
        } else if self.account.is_some() {
            Some(Unavailable::AccountFault)
        } else if self.breaker.is_open() {
            Some(Unavailable::BreakerOpen)
        } else {
            None
        }
    }

    fn throttled_for_long(&self, now: Timestamp) -> bool {
        self.throttle.as_ref().is_some_and(|throttle| throttle.until - now > long_wait())
    }

    fn probe_is_due(&self, why: Unavailable, now: Timestamp) -> bool {
        let wait = if why == Unavailable::BreakerOpen { PROBE_EVERY } else { self.probe_wait };
        // Whichever way the clock was put: a probe must come in the end.
        self.probed_at.is_none_or(|at| (now - at).abs().to_std().is_ok_and(|since| since >= wait))
    }

    /// Is this refusal the very fault for which the provider gets nothing? Then it says nothing of the message.
    fn knows(&self, answer: &Answer, now: Timestamp) -> bool {
        let throttle = self.throttle.as_ref().filter(|throttle| throttle.until > now);
        let throttle = throttle.and_then(|throttle| throttle.cause.as_ref());
        let known = [self.account.as_ref(), throttle, self.breaker.open_for()];
        is_never_the_messages(answer) && cause_of(answer).is_some_and(|cause| known.contains(&Some(&cause)))
    }

    fn take_throttle(&mut self, answers: &[Answer], now: Timestamp) -> Option<Throttle> {
        let asked = answers.iter().filter(|answer| is_a_throttle(answer));
        let longest = asked.max_by_key(|answer| answer.retry_after)?;
        let throttle = Throttle { until: now + longest.retry_after?, cause: cause_of(longest) };
        if self.throttle.as_ref().is_some_and(|own| own.until >= throttle.until) {
            return None;
        }
        self.throttle = Some(throttle.clone());
        // The database does not know it yet: that it is not there means nothing.
        self.throttle_is_shared = false;
        Some(throttle)
    }

    fn note_account(&mut self, fault: Option<Cause>, answers: &[Answer]) {
        let fault = fault.filter(|fault| is_of_the_account(fault.code) && !answers.iter().any(is_a_throttle));
        if answers.iter().any(|answer| answer.verdict.status == NeutralStatus::Sent) {
            self.account = None;
        } else if fault.is_some() && fault == self.account {
            self.find_again();
        } else if fault.is_some() {
            self.probe_wait = PROBE_EVERY;
            self.account = fault;
        }
    }

    fn find_again(&mut self) {
        self.probe_wait = (self.probe_wait * 2).min(LONGEST_PROBE_WAIT);
    }
}

fn long_wait() -> TimeDelta {
    TimeDelta::from_std(LONGEST_WAIT_BEFORE_NEXT_STEP).unwrap_or(TimeDelta::MAX)
}

fn cause_of(answer: &Answer) -> Option<Cause> {
    Cause::of(&answer.verdict, answer.provider_code.as_deref())
}

/// Does the provider say that we are too fast, or have used up our share, and until when?
fn is_a_throttle(answer: &Answer) -> bool {
    let asks = matches!(answer.verdict.error, Some(ErrorCode::ProviderRateLimited | ErrorCode::QuotaExceeded));
    asks && answer.retry_after.is_some_and(|wait| !wait.is_zero())
}

/// Faults with which everything that goes through our account will fail. Access that is denied and addresses that are wrong
/// are left to the breaker: something between us and the provider may say so about a single request.
fn is_of_the_account(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::ProviderAuthFailed
            | ErrorCode::AccountSuspended
            | ErrorCode::InsufficientBalance
            | ErrorCode::QuotaExceeded
    )
}

/// A refusal that certainly has nothing to do with the message that met it.
fn is_never_the_messages(answer: &Answer) -> bool {
    let code = answer.verdict.error;
    let of_provider = matches!(code, Some(ErrorCode::ProviderRateLimited | ErrorCode::ProviderUnavailable));
    answer.verdict.status == NeutralStatus::Failed
        && answer.verdict.counts_for_breaker()
        && (of_provider || code.is_some_and(is_of_the_account))
}

#[cfg(test)]
mod tests;
