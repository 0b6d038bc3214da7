//! One breaker for each provider: it stops calling a provider that fails, and lets one probe a second through until that
//! answers well again. Faults of messages and recipients do not count; only those of the provider and of our account do.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::domain::Timestamp;

/// Failures in a row that open it.
const IN_A_ROW: usize = 5;
/// Or half of so many last calls.
const LAST_CALLS: usize = 20;
/// While it is open, one call in so long.
const PROBE_EVERY: Duration = Duration::from_secs(1);

/// A provider's breaker.
#[derive(Debug)]
pub struct Breaker {
    exempt: bool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    last: VecDeque<bool>,
    failures_in_a_row: usize,
    /// While it is open: when it opened, or when the last probe went through.
    open: Option<Instant>,
    /// When it last opened or closed.
    changed_at: Option<Timestamp>,
}

impl Breaker {
    /// A closed breaker; one that is exempt never opens.
    pub fn new(exempt: bool) -> Self {
        Self { exempt, state: Mutex::default() }
    }

    /// Is it open? Probes pass through [`Breaker::take_probe`].
    pub fn is_open(&self) -> bool {
        self.lock().open.is_some()
    }

    /// While it is open: may this call go through as a probe?
    pub fn take_probe(&self) -> bool {
        let mut state = self.lock();
        let Some(since) = state.open else { return true };
        let due = since.elapsed() >= PROBE_EVERY;
        if due {
            state.open = Some(Instant::now());
        }
        due
    }

    /// When it last opened or closed; none while it never did.
    pub fn changed_at(&self) -> Option<Timestamp> {
        self.lock().changed_at
    }

    /// Takes in how a call went.
    pub fn record(&self, failed: bool, now: Timestamp) {
        if self.exempt {
            return;
        }
        let mut state = self.lock();
        if failed {
            state.failures_in_a_row += 1;
        } else {
            if state.open.take().is_some() {
                state.last.clear();
                state.changed_at = Some(now);
            }
            state.failures_in_a_row = 0;
        }
        state.last.push_back(failed);
        if state.last.len() > LAST_CALLS {
            state.last.pop_front();
        }
        let failures = state.last.iter().filter(|failed| **failed).count();
        let half = state.last.len() == LAST_CALLS && failures * 2 >= LAST_CALLS;
        if failed && state.open.is_none() && (state.failures_in_a_row >= IN_A_ROW || half) {
            state.open = Some(Instant::now());
            state.changed_at = Some(now);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        Timestamp::from_timestamp(1_700_000_000, 0).unwrap()
    }

    #[test]
    fn five_failures_in_a_row_open_it_and_one_success_closes_it() {
        let breaker = Breaker::new(false);
        (0..4).for_each(|_| breaker.record(true, now()));
        assert!(!breaker.is_open());
        breaker.record(true, now());
        assert!(breaker.is_open());
        breaker.record(false, now());
        assert!(!breaker.is_open());
    }

    #[test]
    fn half_of_the_last_twenty_calls_open_it_though_never_five_in_a_row() {
        let breaker = Breaker::new(false);
        for _ in 0..9 {
            breaker.record(true, now());
            breaker.record(false, now());
        }
        assert!(!breaker.is_open());
        breaker.record(false, now());
        breaker.record(true, now());
        assert!(breaker.is_open());
    }

    #[test]
    fn no_second_probe_passes_within_a_second() {
        let breaker = Breaker::new(false);
        (0..5).for_each(|_| breaker.record(true, now()));
        assert!(!breaker.take_probe(), "it opened a moment ago");
    }

    #[test]
    fn an_exempt_breaker_never_opens() {
        let breaker = Breaker::new(true);
        (0..50).for_each(|_| breaker.record(true, now()));
        assert!(!breaker.is_open());
    }
}
