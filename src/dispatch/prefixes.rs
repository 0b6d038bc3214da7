//! Prefixes that suddenly get many one-time codes: the mark of somebody who has codes sent to numbers that earn money for it.
//!
//! Such traffic goes to a few ranges of numbers, through a form that anybody can fill in: so codes are counted by the first digits
//! of their numbers, and each prefix is held against its own past. Nothing is asked for a message: counts are kept in memory and
//! added to a small table now and then, and what is over is found out at the same time. So a burst is seen some seconds after it
//! began, and a process that ends without warning forgets the counts of these seconds.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{Engine, log_failure};
use crate::{
    config::PrefixVelocity,
    domain::{Timestamp, content::Category, message::NewMessage, phone_number::PhoneNumber},
    store::{
        Db, StoreError,
        prefix_counts::{self, Busy},
    },
};

/// Country code and area, or the block of numbers of one operator: fewer would be whole countries, more hardly anybody's past.
const DIGITS: usize = 7;
/// How often counts are written and held against the past.
const EVERY: Duration = Duration::from_secs(10);
/// So many codes in an hour are nothing to speak of.
pub const LEAST: i64 = 30;
/// So many times as many as in an hour of its past are too many for a prefix.
pub const FACTOR: i64 = 10;
/// A gateway that has not seen a whole day has nothing to compare with.
const LEARNING: chrono::TimeDelta = chrono::TimeDelta::days(1);
/// A blocked prefix is looked at again all the time; a client need not ask more often than this.
const RETRY_AFTER: Duration = Duration::from_mins(15);

/// What is counted in this process, and which prefixes get too much.
#[derive(Debug, Default)]
pub(super) struct Prefixes(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    counted: HashMap<String, i64>,
    over: HashSet<String>,
}

impl Prefixes {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gets this number's prefix too much? Then, when to try again.
    pub(super) fn is_over(&self, to: &PhoneNumber) -> Option<Duration> {
        self.state().over.contains(prefix(to)).then_some(RETRY_AFTER)
    }
}

/// Is this a message whose prefix is counted? Those of test keys never leave.
pub(super) fn counts(message: &NewMessage) -> bool {
    message.category == Category::Otp && !message.test
}

impl Engine {
    /// Notes codes that were stored.
    pub(super) fn count_prefixes<'n>(&self, codes: impl Iterator<Item = &'n PhoneNumber>) {
        if self.live().config.limits.prefix_velocity == PrefixVelocity::Off {
            return;
        }
        let mut state = self.shared.prefixes.state();
        for to in codes {
            *state.counted.entry(prefix(to).to_owned()).or_default() += 1;
        }
    }
}

fn prefix(to: &PhoneNumber) -> &str {
    let digits = to.digits();
    digits.get(..DIGITS).unwrap_or(digits)
}

/// A prefix for people: not even it is shown whole.
fn masked(prefix: &str) -> String {
    format!("+{}••", prefix.get(..prefix.len().saturating_sub(2)).unwrap_or_default())
}

pub(super) fn spawn(engine: &Engine) {
    if engine.live().config.limits.prefix_velocity == PrefixVelocity::Off {
        return;
    }
    let of_task = engine.clone();
    engine.spawn(async move {
        while !of_task.stopping() {
            of_task.pause(EVERY.mul_f64(rand::random_range(0.8..1.2))).await;
            if let Err(error) = look(&of_task).await {
                log_failure("prefixes", &error);
            }
        }
    });
}

/// Writes what was counted and finds out which prefixes get too much.
async fn look(engine: &Engine) -> Result<(), StoreError> {
    let now = engine.clock().now();
    let counted = std::mem::take(&mut engine.shared.prefixes.state().counted);
    let of_unit = counted.clone();
    let done = Db::unit(&engine.db().work, move |connection| {
        Box::pin(async move {
            let counts: Vec<(&str, i64)> = of_unit.iter().map(|(prefix, count)| (prefix.as_str(), *count)).collect();
            prefix_counts::add(&mut *connection, &counts, now).await?;
            let busy = prefix_counts::busy(&mut *connection, LEAST, now).await?;
            let began = if busy.is_empty() { None } else { prefix_counts::began(connection).await? };
            Ok((busy, began))
        })
    })
    .await;
    let (busy, began) = match done {
        Ok(found) => found,
        Err(error) => {
            // Once more with the next ones, twice at the worst.
            let mut state = engine.shared.prefixes.state();
            for (prefix, count) in counted {
                *state.counted.entry(prefix).or_default() += count;
            }
            return Err(error);
        }
    };
    let over = too_many(&busy, began, now);
    tell(engine, &over);
    engine.shared.prefixes.state().over = over.into_iter().map(|(busy, _)| busy.prefix.clone()).collect();
    Ok(())
}

/// Those that got too many in the last hour, with how many would have been usual.
fn too_many(busy: &[Busy], began: Option<Timestamp>, now: Timestamp) -> Vec<(&Busy, i64)> {
    let Some(began) = began.filter(|began| now - *began >= LEARNING) else { return Vec::new() };
    let hours = (now - began).min(prefix_counts::PAST).num_hours().max(1);
    let usual = |busy: &Busy| busy.past / hours;
    let over = busy.iter().map(|busy| (busy, usual(busy)));
    over.filter(|(busy, usual)| busy.last_hour > (usual * FACTOR).max(LEAST)).collect()
}

/// Says once of each prefix that it gets too many.
fn tell(engine: &Engine, over: &[(&Busy, i64)]) {
    metrics::gauge!("sms_gateway_prefixes_over").set(u32::try_from(over.len()).unwrap_or(u32::MAX));
    let known = engine.shared.prefixes.state().over.clone();
    for (busy, usual) in over.iter().filter(|(busy, _)| !known.contains(&busy.prefix)) {
        metrics::counter!("sms_gateway_prefix_bursts_total").increment(1);
        tracing::warn!(
            prefix = masked(&busy.prefix),
            last_hour = busy.last_hour,
            usual_hour = usual,
            "a prefix suddenly gets many one-time codes"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_held_against_its_own_past() {
        let now: Timestamp = "2026-03-10T12:00:00Z".parse().unwrap();
        let busy = |last_hour, past| [Busy { prefix: "8436777".to_owned(), last_hour, past }];
        let is_over = |last_hour, past, days: i64| {
            !too_many(&busy(last_hour, past), Some(now - chrono::TimeDelta::days(days)), now).is_empty()
        };
        assert!(!is_over(LEAST, 0, 8), "few are never too many");
        assert!(is_over(LEAST + 1, 0, 8), "it never got any");
        assert!(!is_over(1000, 168 * 100, 8), "ten times an ordinary hour");
        assert!(is_over(1001, 168 * 100, 8));
        assert!(is_over(1001, 48 * 100, 2), "only the hours that there were count");
        assert!(!is_over(1_000_000, 0, 0), "nothing to compare with yet");
    }

    #[test]
    fn a_prefix_is_never_shown_whole() {
        assert_eq!(masked(prefix(&PhoneNumber::parse("+84367770001").unwrap())), "+84367••");
    }
}
