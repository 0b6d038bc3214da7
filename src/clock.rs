//! Business time: handed to whoever needs it, so that tests can put it forward instead of sleeping.
//!
//! Leases do not use it: they expire in database time. Nothing else in the program reads the system's clock.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime},
};

use tokio::sync::Notify;

use crate::domain::Timestamp;

/// The system's clock, plus what a test has put it forward by.
#[derive(Debug, Clone, Default)]
pub struct Clock {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    ahead_nanos: AtomicI64,
    moved: Notify,
}

impl Clock {
    /// The system's clock.
    pub fn system() -> Self {
        Self::default()
    }

    /// The time now.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the system's clock")]
    pub fn now(&self) -> Timestamp {
        let ahead = chrono::TimeDelta::nanoseconds(self.shared.ahead_nanos.load(Ordering::Relaxed));
        Timestamp::from(SystemTime::now()) + ahead
    }

    /// Puts the clock forward and wakes everybody who waits with [`Clock::moved`].
    pub fn advance(&self, by: Duration) {
        let nanos = i64::try_from(by.as_nanos()).unwrap_or(i64::MAX);
        self.shared.ahead_nanos.fetch_add(nanos, Ordering::Relaxed);
        self.shared.moved.notify_waiters();
    }

    /// Waits until the clock is put forward; in production, for ever.
    pub async fn moved(&self) {
        self.shared.moved.notified().await;
    }
}
