//! One breaker for each provider: it opens when calls fail, and closes when one goes well again. Faults of messages and
//! recipients do not count; only those of the provider and of our account do. When a probe is let through is not decided here
//! but in [`super::availability`].

use std::collections::VecDeque;

use crate::domain::life::Cause;

/// Failures in a row that open it.
const IN_A_ROW: usize = 5;
/// Or half of so many last calls.
const LAST_CALLS: usize = 20;

/// A provider's breaker.
#[derive(Debug, Default)]
pub struct Breaker {
    last: VecDeque<bool>,
    failures_in_a_row: usize,
    open: bool,
    /// While it is open: what the last failure was.
    open_for: Option<Cause>,
}

impl Breaker {
    /// Is it open?
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// What it is open for.
    pub fn open_for(&self) -> Option<&Cause> {
        self.open_for.as_ref()
    }

    /// Takes in a call that went well.
    pub fn succeeded(&mut self) {
        self.failures_in_a_row = 0;
        if std::mem::take(&mut self.open) {
            self.open_for = None;
            self.last.clear();
        }
        self.push(false);
    }

    /// Takes in a call that failed, and why.
    pub fn failed(&mut self, why: Option<Cause>) {
        self.failures_in_a_row += 1;
        self.push(true);
        let failures = self.last.iter().filter(|failed| **failed).count();
        let half = self.last.len() == LAST_CALLS && failures * 2 >= LAST_CALLS;
        if self.is_open() || self.failures_in_a_row >= IN_A_ROW || half {
            self.open = true;
            self.open_for = why;
        }
    }

    fn push(&mut self, failed: bool) {
        self.last.push_back(failed);
        if self.last.len() > LAST_CALLS {
            self.last.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fail(breaker: &mut Breaker, times: usize) {
        (0..times).for_each(|_| breaker.failed(None));
    }

    #[test]
    fn five_failures_in_a_row_open_it_and_one_success_closes_it() {
        let mut breaker = Breaker::default();
        fail(&mut breaker, 4);
        assert!(!breaker.is_open());
        fail(&mut breaker, 1);
        assert!(breaker.is_open());
        breaker.succeeded();
        assert!(!breaker.is_open());
    }

    #[test]
    fn half_of_the_last_twenty_calls_open_it_though_never_five_in_a_row() {
        let mut breaker = Breaker::default();
        for _ in 0..9 {
            breaker.failed(None);
            breaker.succeeded();
        }
        assert!(!breaker.is_open());
        breaker.succeeded();
        breaker.failed(None);
        assert!(breaker.is_open());
    }

    #[test]
    fn failures_of_before_it_opened_do_not_open_it_again_once_it_is_closed() {
        let mut breaker = Breaker::default();
        fail(&mut breaker, 20);
        breaker.succeeded();
        fail(&mut breaker, 4);
        assert!(!breaker.is_open());
    }
}
