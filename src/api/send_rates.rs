//! How many messages to send an app may ask for in a second, where its configuration says so.
//!
//! A bucket for each app that fills at its rate and holds a second's worth. A request is let in when there is one to take; what
//! it turns out to cost besides may leave the bucket in debt, so that a batch of a thousand is possible at any rate and paid for
//! by waiting. Each process counts for itself: a rate keeps an app from crowding out the others, and is no quota.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::config::App;

/// The rates of all apps that have one.
#[derive(Debug, Default)]
pub struct SendRates(BTreeMap<String, Bucket>);

#[derive(Debug)]
struct Bucket {
    rate: f64,
    level: Mutex<Level>,
}

#[derive(Debug, Clone, Copy)]
struct Level {
    tokens: f64,
    at: Instant,
}

/// What is left of a rate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Left {
    /// Requests that would be let in now.
    pub requests: f64,
    /// Until the bucket is full again.
    pub full_in: Duration,
}

impl SendRates {
    /// The rates of these apps, with nothing used up.
    pub fn new(apps: &BTreeMap<String, App>) -> Self {
        let rates = apps.iter().filter_map(|(name, app)| Some((name.clone(), Bucket::full(app.rate_per_second?))));
        Self(rates.collect())
    }

    /// Takes over what was used up before the configuration was read again.
    pub fn go_on_from(&self, before: &Self) {
        for (app, bucket) in &self.0 {
            if let Some(earlier) = before.0.get(app) {
                let level = *earlier.level();
                *bucket.level() = Level { tokens: level.tokens.min(bucket.rate), ..level };
            }
        }
    }

    /// Counts one message; or says how long to wait until one is free again.
    pub fn take(&self, app: &str) -> Result<(), Duration> {
        self.0.get(app).map_or(Ok(()), |bucket| bucket.take(Instant::now()))
    }

    /// Counts what a request that was let in costs beyond the first message, whether or not there is so much.
    pub fn charge(&self, app: &str, more: usize) {
        if let Some(bucket) = self.0.get(app) {
            bucket.charge(f64::from(u32::try_from(more).unwrap_or(u32::MAX)), Instant::now());
        }
    }

    /// Gives back the one that was taken for a request which was not done after all.
    pub fn give_back(&self, app: &str) {
        if let Some(bucket) = self.0.get(app) {
            bucket.charge(-1.0, Instant::now());
        }
    }

    /// What is left to an app; none: it has no rate.
    pub fn left(&self, app: &str) -> Option<Left> {
        Some(self.0.get(app)?.left(Instant::now()))
    }
}

impl Bucket {
    fn full(rate: u32) -> Self {
        let rate = f64::from(rate);
        Self { rate, level: Mutex::new(Level { tokens: rate, at: Instant::now() }) }
    }

    fn level(&self) -> std::sync::MutexGuard<'_, Level> {
        self.level.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The level as it is now.
    fn filled(&self, now: Instant) -> std::sync::MutexGuard<'_, Level> {
        let mut level = self.level();
        let since = now.saturating_duration_since(level.at).as_secs_f64();
        *level = Level { tokens: (level.tokens + since * self.rate).min(self.rate), at: level.at.max(now) };
        level
    }

    fn take(&self, now: Instant) -> Result<(), Duration> {
        let mut level = self.filled(now);
        if level.tokens >= 1.0 {
            level.tokens -= 1.0;
            return Ok(());
        }
        Err(Duration::from_secs_f64((1.0 - level.tokens) / self.rate))
    }

    fn charge(&self, tokens: f64, now: Instant) {
        let mut level = self.filled(now);
        level.tokens = (level.tokens - tokens).min(self.rate);
    }

    fn left(&self, now: Instant) -> Left {
        let level = self.filled(now);
        let full_in = Duration::from_secs_f64((self.rate - level.tokens) / self.rate);
        Left { requests: level.tokens.floor().max(0.0), full_in }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seconds_worth_is_there_and_comes_back_at_the_rate() {
        let (bucket, now) = (Bucket::full(4), Instant::now());
        for _ in 0..4 {
            assert_eq!(bucket.take(now), Ok(()));
        }
        assert_eq!(bucket.take(now), Err(Duration::from_millis(250)));
        assert_eq!(bucket.take(now + Duration::from_millis(250)), Ok(()));
        assert!(bucket.take(now + Duration::from_millis(300)).is_err());
        assert_eq!(bucket.left(now + Duration::from_mins(1)), Left { requests: 4.0, full_in: Duration::ZERO });
    }

    #[test]
    fn a_batch_is_let_in_at_any_rate_and_paid_for_by_waiting() {
        let (bucket, now) = (Bucket::full(10), Instant::now());
        assert_eq!(bucket.take(now), Ok(()));
        bucket.charge(999.0, now);
        assert_eq!(bucket.take(now), Err(Duration::from_millis(99_100)));
        assert_eq!(bucket.left(now), Left { requests: 0.0, full_in: Duration::from_secs(100) });
        assert_eq!(bucket.take(now + Duration::from_secs(100)), Ok(()));
    }

    #[test]
    fn a_new_configuration_forgives_no_debt_and_gives_no_more_than_its_own_rate() {
        let rates = |rate| {
            let app = App { rate_per_second: Some(rate), ..App::default() };
            SendRates::new(&BTreeMap::from([("shop".to_owned(), app)]))
        };
        let before = rates(100);
        before.charge("shop", 1000);
        let after = rates(100);
        after.go_on_from(&before);
        assert!(after.take("shop").is_err());
        let smaller = rates(2);
        smaller.go_on_from(&rates(100));
        assert_eq!([smaller.take("shop"), smaller.take("shop")], [Ok(()), Ok(())]);
        assert!(smaller.take("shop").is_err());
    }
}
