//! One receiver: how many events are on their way to it, and how it is doing as far as this process has seen.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::sync::Semaphore;

use super::schedule;
use crate::domain::Timestamp;

/// Events on their way to one receiver at once.
pub const IN_FLIGHT: usize = 16;

/// What a process knows about a receiver.
#[derive(Debug)]
pub struct LineState {
    /// Room for events on their way.
    pub slots: Arc<Semaphore>,
    /// Somebody is taking what is due for it.
    busy: AtomicBool,
    health: Mutex<Health>,
}

#[derive(Debug, Default)]
struct Health {
    /// It took the last event.
    up: bool,
    /// Since when it has taken nothing.
    away_since: Option<Timestamp>,
    probed_at: Option<Timestamp>,
    paused_until: Option<Timestamp>,
    /// It is back: what waits for it is not made to wait any longer.
    catching_up: bool,
}

impl Default for LineState {
    fn default() -> Self {
        let slots = Arc::new(Semaphore::new(IN_FLIGHT));
        Self { slots, busy: AtomicBool::new(false), health: Mutex::default() }
    }
}

impl LineState {
    /// Takes the line, if nobody has it.
    pub fn take(&self) -> bool {
        !self.busy.swap(true, Ordering::AcqRel)
    }

    /// Gives it back.
    pub fn give_back(&self) {
        self.busy.store(false, Ordering::Release);
    }

    /// Nobody has it and nothing is on its way.
    pub fn is_idle(&self) -> bool {
        !self.busy.load(Ordering::Acquire) && self.slots.available_permits() == IN_FLIGHT
    }

    /// It took an event. True when that is news: what waits for it can go.
    pub fn taken(&self) -> bool {
        let mut health = self.health();
        let back = !health.up;
        (health.up, health.away_since) = (true, None);
        health.catching_up |= back;
        back
    }

    /// It did not.
    pub fn not_taken(&self, now: Timestamp, paused_until: Option<Timestamp>) {
        let mut health = self.health();
        health.away_since = health.away_since.or(Some(now));
        health.paused_until = paused_until.max(health.paused_until);
        (health.up, health.catching_up) = (false, false);
    }

    /// Is what waits for it to go at once?
    pub fn is_catching_up(&self) -> bool {
        self.health().catching_up
    }

    /// Nothing waits any more.
    pub fn caught_up(&self) {
        self.health().catching_up = false;
    }

    /// Did it ask for a pause that is not over?
    pub fn is_paused(&self, now: Timestamp) -> bool {
        self.health().paused_until.is_some_and(|until| until > now)
    }

    /// Nothing is due for it, but something waits: shall one event be tried all the same? Notes it.
    pub fn probe(&self, now: Timestamp) -> bool {
        let mut health = self.health();
        // After a start it is not known since when; what waits says that something was not taken.
        let since = *health.away_since.get_or_insert(now);
        let last = health.probed_at.unwrap_or(since).max(since);
        let away = (now - since).to_std().unwrap_or_default();
        let due = (now - last).to_std().unwrap_or_default() >= schedule::probe_gap(away);
        if due {
            health.probed_at = Some(now);
        }
        due
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A lease on what is about to be delivered: longer than a try can take.
pub const LEASE: Duration = Duration::from_mins(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_timestamp(1_770_000_000 + seconds, 0).unwrap()
    }

    #[test]
    fn what_waits_goes_when_the_receiver_takes_something_again() {
        let line = LineState::default();
        assert!(line.taken() && line.is_catching_up());
        line.caught_up();
        assert!(!line.taken() && !line.is_catching_up());
        line.not_taken(at(0), None);
        assert!(line.taken() && line.is_catching_up());
        line.not_taken(at(1), None);
        assert!(!line.is_catching_up());
    }

    #[test]
    fn a_receiver_that_is_away_is_probed_every_so_often() {
        let line = LineState::default();
        line.not_taken(at(0), None);
        assert!(!line.probe(at(29)));
        assert!(line.probe(at(30)) && !line.probe(at(59)) && line.probe(at(60)));
        assert!(line.probe(at(3600)) && !line.probe(at(3899)) && line.probe(at(3900)));
    }

    #[test]
    fn a_pause_ends_by_itself() {
        let line = LineState::default();
        line.not_taken(at(0), Some(at(60)));
        line.not_taken(at(1), None);
        assert!(line.is_paused(at(59)) && !line.is_paused(at(60)));
    }
}
