//! How calls to a provider went lately, for people to look at. Nothing is decided by it; that is the breaker's.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use chrono::TimeDelta;

use crate::domain::{Timestamp, life::Cause};

/// Calls older than this are not looked at.
const WINDOW: TimeDelta = TimeDelta::minutes(5);
/// At most so many calls are remembered.
const REMEMBERED: usize = 2048;

/// The calls of the last minutes.
#[derive(Debug, Default)]
pub struct CallLog {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    calls: VecDeque<LoggedCall>,
    last_error: Option<Cause>,
}

#[derive(Debug, Clone, Copy)]
struct LoggedCall {
    at: Timestamp,
    went_well: bool,
    took: Duration,
}

/// What the log says.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CallSummary {
    /// Of the calls in the window; none when there were none.
    pub success_ratio: Option<f64>,
    /// 95 of 100 calls took at most so long.
    pub latency_p95: Option<Duration>,
    /// The last fault of the provider or of our account with it.
    pub last_error: Option<Cause>,
}

impl CallLog {
    /// Takes in how a call went. `fault` is a fault of the provider or of our account.
    pub fn record(&self, at: Timestamp, took: Duration, fault: Option<Cause>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.calls.push_back(LoggedCall { at, went_well: fault.is_none(), took });
        if state.calls.len() > REMEMBERED {
            state.calls.pop_front();
        }
        if fault.is_some() {
            state.last_error = fault;
        }
    }

    /// How it went lately.
    pub fn summary(&self, now: Timestamp) -> CallSummary {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let recent: Vec<LoggedCall> = state.calls.iter().filter(|call| now - call.at <= WINDOW).copied().collect();
        let mut times: Vec<Duration> = recent.iter().map(|call| call.took).collect();
        times.sort_unstable();
        let well = u32::try_from(recent.iter().filter(|call| call.went_well).count()).unwrap_or(u32::MAX);
        let all = u32::try_from(recent.len()).unwrap_or(u32::MAX);
        CallSummary {
            success_ratio: (all > 0).then(|| f64::from(well) / f64::from(all)),
            latency_p95: times.get((times.len() * 95).div_ceil(100).saturating_sub(1)).copied(),
            last_error: state.last_error.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::error_code::ErrorCode;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_timestamp(1_700_000_000 + second, 0).unwrap()
    }

    #[test]
    fn a_log_without_calls_says_nothing() {
        assert_eq!(CallLog::default().summary(at(0)), CallSummary::default());
    }

    #[test]
    fn the_ratio_and_the_95th_of_a_hundred_calls_are_told() {
        let log = CallLog::default();
        let fault = || Some(Cause::own(ErrorCode::ProviderUnavailable, true));
        (1..=100).for_each(|n| log.record(at(0), Duration::from_millis(n), (n > 90).then(fault).flatten()));
        let summary = log.summary(at(1));
        assert_eq!(summary.success_ratio, Some(0.9));
        assert_eq!(summary.latency_p95, Some(Duration::from_millis(95)));
        assert_eq!(summary.last_error, fault());
    }

    #[test]
    fn calls_of_more_than_five_minutes_ago_do_not_count() {
        let log = CallLog::default();
        log.record(at(0), Duration::from_millis(1), None);
        assert_eq!(log.summary(at(301)).success_ratio, None);
    }
}
