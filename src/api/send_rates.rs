//! How many requests to send an app may make in a second, where its configuration says so.
//!
//! Each process counts for itself: a rate keeps an app from crowding out the others, and is no quota.

use std::{collections::BTreeMap, fmt, num::NonZeroU32, time::Duration};

use governor::{
    DefaultDirectRateLimiter, Quota,
    clock::{Clock as _, DefaultClock},
};

use crate::config::App;

/// The rates of all apps that have one. A second's worth is saved up.
#[derive(Default)]
pub struct SendRates(BTreeMap<String, DefaultDirectRateLimiter>);

impl SendRates {
    /// The rates of these apps, with nothing used up.
    pub fn new(apps: &BTreeMap<String, App>) -> Self {
        let rates = apps.iter().filter_map(|(name, app)| {
            let rate = NonZeroU32::new(app.rate_per_second?)?;
            Some((name.clone(), DefaultDirectRateLimiter::direct(Quota::per_second(rate))))
        });
        Self(rates.collect())
    }

    /// Counts one request; or says how long to wait until one is free again.
    pub fn take(&self, app: &str) -> Result<(), Duration> {
        let Some(rate) = self.0.get(app) else { return Ok(()) };
        rate.check().map_err(|until| until.wait_time_from(DefaultClock::default().now()))
    }
}

impl fmt::Debug for SendRates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
