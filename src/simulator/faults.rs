//! Faults by chance, the same for the same seed: what a chaos run asks for in place of scripts.
//!
//! Chance only strikes calls that no script and no special number decides.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use super::behaviour::{Behaviour, Ending, Protocol, ScriptedReport};

/// Shares of calls or messages, each from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FaultRates {
    /// Calls: the connection is closed and nothing was taken.
    pub closed_before: f64,
    /// Calls: taken, then the connection is closed in place of an answer.
    pub answer_lost: f64,
    /// Calls: taken, and the answer breaks off.
    pub answer_truncated: f64,
    /// Calls: taken, and the answer is something that cannot be read.
    pub answer_garbled: f64,
    /// Calls: answered 400 ms late.
    pub answer_slow: f64,
    /// Calls: taken, and not answered for half a minute.
    pub answer_never: f64,
    /// Calls: refused with the protocol's code for a recipient that cannot be.
    pub refused: f64,
    /// Calls: 429 with `Retry-After`, not taken.
    pub throttled: f64,
    /// Calls: 503 with `Retry-After`, not taken.
    pub busy: f64,
    /// Calls: 500, not taken.
    pub error_not_taken: f64,
    /// Calls: 502, taken.
    pub error_taken: f64,
    /// Messages: the report comes before the answer.
    pub report_early: f64,
    /// Messages: the report comes twice, the second one later.
    pub report_doubled: f64,
    /// Messages: an intermediate report comes after the final one.
    pub report_shuffled: f64,
    /// Messages: the report says not delivered.
    pub report_negative: f64,
    /// Messages: no report.
    pub report_lost: f64,
}

impl FaultRates {
    /// The call's fault for a chance between 0 and 1, if any.
    fn call(&self, protocol: Protocol, chance: f64) -> Option<Behaviour> {
        let http = |status, retry_after| Behaviour { retry_after, ..Behaviour::http(status) };
        let closed = Behaviour { ending: Ending::Close, ..Behaviour::default() };
        pick(
            chance,
            [
                (self.closed_before, Behaviour { accepted: Some(false), ..closed.clone() }),
                (self.answer_lost, closed),
                (self.answer_truncated, Behaviour { ending: Ending::Truncate, ..Behaviour::default() }),
                (self.answer_garbled, Behaviour { body: Some("upstream said: {".to_owned()), ..Behaviour::default() }),
                (self.answer_slow, Behaviour { answer_delay_ms: 400, ..Behaviour::default() }),
                (self.answer_never, Behaviour { answer_delay_ms: 30_000, ..Behaviour::default() }),
                (self.refused, Behaviour::code(protocol.refusing_code())),
                (self.throttled, http(429, Some(1))),
                (self.busy, http(503, Some(1))),
                (self.error_not_taken, http(500, None)),
                (self.error_taken, Behaviour { accepted: Some(true), ..http(502, None) }),
            ],
        )
    }

    /// The reports of a message for a chance between 0 and 1; none: the ordinary ones.
    fn reports(&self, chance: f64) -> Option<Vec<ScriptedReport>> {
        let delivered = ScriptedReport::default;
        let after = |status, delay| ScriptedReport { delay_ms: Some(delay), ..ScriptedReport::new(status) };
        pick(
            chance,
            [
                (self.report_early, vec![ScriptedReport { before_answer: true, ..delivered() }]),
                (self.report_doubled, vec![delivered(), after("delivered", 300)]),
                (self.report_shuffled, vec![delivered(), after("accepted", 100)]),
                (self.report_negative, vec![ScriptedReport::new("undelivered")]),
                (self.report_lost, Vec::new()),
            ],
        )
    }

    fn is_quiet(&self) -> bool {
        *self == Self::default()
    }
}

fn pick<T, const N: usize>(chance: f64, shares: [(f64, T); N]) -> Option<T> {
    let mut reached = 0.0;
    shares.into_iter().find_map(|(share, value)| {
        reached += share;
        (chance < reached).then_some(value)
    })
}

/// A sequence of chances that depends on the seed alone.
#[derive(Debug)]
pub(super) struct Dice {
    seed: u64,
    thrown: AtomicU64,
}

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self { seed, thrown: AtomicU64::new(0) }
    }

    pub fn call_fault(&self, protocol: Protocol, rates: &FaultRates) -> Option<Behaviour> {
        if rates.is_quiet() { None } else { rates.call(protocol, self.throw()) }
    }

    pub fn report_fault(&self, rates: &FaultRates) -> Option<Vec<ScriptedReport>> {
        if rates.is_quiet() { None } else { rates.reports(self.throw()) }
    }

    /// The next chance, from the splitmix64 sequence.
    fn throw(&self) -> f64 {
        let step = self.thrown.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        let mut mixed = self.seed.wrapping_add(step.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        let high = u32::try_from(mixed >> 32).unwrap_or(u32::MAX);
        f64::from(high) / (f64::from(u32::MAX) + 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_throws_the_same_and_another_does_not() {
        let thrown = |seed| {
            let dice = Dice::new(seed);
            (0..20).map(|_| dice.throw().to_bits()).collect::<Vec<_>>()
        };
        assert_eq!(thrown(7), thrown(7));
        assert_ne!(thrown(7), thrown(8));
    }

    #[test]
    fn faults_come_about_as_often_as_asked() {
        let dice = Dice::new(1);
        let rates = FaultRates { answer_lost: 0.1, busy: 0.2, ..FaultRates::default() };
        let faults: Vec<_> = (0..10_000).filter_map(|_| dice.call_fault(Protocol::Nxcloud, &rates)).collect();
        let lost = faults.iter().filter(|fault| fault.ending == Ending::Close).count();
        assert!((850..1_150).contains(&lost), "{lost}");
        assert!((2_750..3_250).contains(&faults.len()), "{}", faults.len());
    }

    #[test]
    fn without_rates_there_are_no_faults() {
        let dice = Dice::new(1);
        assert!((0..1_000).all(|_| dice.call_fault(Protocol::Nxcloud, &FaultRates::default()).is_none()));
        assert!((0..1_000).all(|_| dice.report_fault(&FaultRates::default()).is_none()));
    }
}
