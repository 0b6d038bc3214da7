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
use crate::{domain::Timestamp, store::deliveries::Place};

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
    /// It has taken one since this process began.
    known: bool,
    /// Since when it has taken nothing.
    away_since: Option<Timestamp>,
    probed_at: Option<Timestamp>,
    paused_until: Option<Timestamp>,
    /// It is back: what waits for it is not made to wait any longer. Up to here that was tried; each event once, so that one that
    /// fails whatever happens is not tried again and again.
    ahead: Option<Place>,
}

/// Somebody is taking what is due for a receiver, until this is dropped.
#[derive(Debug)]
pub struct Taken(Arc<LineState>);

impl Drop for Taken {
    fn drop(&mut self) {
        self.0.busy.store(false, Ordering::Release);
    }
}

impl Default for LineState {
    fn default() -> Self {
        let slots = Arc::new(Semaphore::new(IN_FLIGHT));
        Self { slots, busy: AtomicBool::new(false), health: Mutex::default() }
    }
}

impl LineState {
    /// Takes the line, if nobody has it.
    pub fn take(self: &Arc<Self>) -> Option<Taken> {
        (!self.busy.swap(true, Ordering::AcqRel)).then(|| Taken(self.clone()))
    }

    /// Nobody has it and nothing is on its way.
    pub fn is_idle(&self) -> bool {
        !self.busy.load(Ordering::Acquire) && self.slots.available_permits() == IN_FLIGHT
    }

    /// It took an event. True when what waits for it can go now, and that is news.
    pub fn taken(&self, now: Timestamp) -> bool {
        let mut health = self.health();
        let was_up = std::mem::replace(&mut health.up, true);
        let known = std::mem::replace(&mut health.known, true);
        let away = health.away_since.take().map(|since| (now - since).to_std().unwrap_or_default());
        // After a start nobody knows for how long it was away. One that failed for a moment has missed nothing that its turn does
        // not bring soon.
        if !known || away.is_some_and(|away| away >= schedule::AWAY) {
            health.ahead = Some(Place { due: now, ..Place::FIRST });
        }
        !was_up && health.ahead.is_some()
    }

    /// It did not.
    pub fn not_taken(&self, now: Timestamp, paused_until: Option<Timestamp>) {
        let mut health = self.health();
        health.away_since = health.away_since.or(Some(now));
        health.paused_until = paused_until.max(health.paused_until);
        health.up = false;
    }

    /// Is what waits for it to go at once? Then this far it has gone.
    pub fn ahead(&self) -> Option<Place> {
        let health = self.health();
        health.ahead.filter(|_| health.up)
    }

    /// From one place on it went until another one; none: nothing waits any more.
    pub fn went_ahead(&self, from: Place, until: Option<Place>) {
        let mut health = self.health();
        // Else it began anew meanwhile.
        if health.ahead == Some(from) {
            health.ahead = until;
        }
    }

    /// Did it ask for a pause that is not over?
    pub fn is_paused(&self, now: Timestamp) -> bool {
        self.health().paused_until.is_some_and(|until| until > now)
    }

    /// Nothing is due for it, but something waits: shall one event be tried all the same? Notes it.
    pub fn probe(&self, now: Timestamp) -> bool {
        let mut health = self.health();
        if health.up {
            // What waits waits for its own sake.
            return false;
        }
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

    fn start(seconds: i64) -> Place {
        Place { due: at(seconds), ..Place::FIRST }
    }

    #[test]
    fn what_waits_goes_when_a_receiver_that_was_away_takes_something_again() {
        let line = LineState::default();
        assert!(line.taken(at(0)), "after a start nobody knows");
        assert_eq!(line.ahead(), Some(start(0)));
        line.went_ahead(start(0), None);
        assert!(!line.taken(at(1)) && line.ahead().is_none());
        line.not_taken(at(2), None);
        assert!(!line.taken(at(31)) && line.ahead().is_none(), "it failed for a moment");
        line.not_taken(at(32), None);
        line.not_taken(at(60), None);
        assert!(line.taken(at(62)));
        assert_eq!(line.ahead(), Some(start(62)));
    }

    #[test]
    fn an_event_that_fails_holds_up_what_goes_ahead_and_does_not_begin_it_anew() {
        let line = LineState::default();
        assert!(line.taken(at(0)));
        line.went_ahead(start(0), Some(start(500)));
        line.not_taken(at(1), None);
        assert!(line.ahead().is_none());
        assert!(line.taken(at(2)));
        assert_eq!(line.ahead(), Some(start(500)), "from where it was");
        line.went_ahead(start(0), None);
        assert_eq!(line.ahead(), Some(start(500)), "somebody else began it");
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
    fn one_that_is_well_is_not_probed() {
        let line = LineState::default();
        line.taken(at(0));
        assert!(!line.probe(at(1)) && !line.probe(at(3600)));
    }

    #[test]
    fn a_line_is_free_again_however_its_turn_ends() {
        let line = Arc::new(LineState::default());
        let taken = line.take();
        assert!(taken.is_some() && line.take().is_none());
        drop(taken);
        assert!(line.take().is_some());
    }

    #[test]
    fn a_pause_ends_by_itself() {
        let line = LineState::default();
        line.not_taken(at(0), Some(at(60)));
        line.not_taken(at(1), None);
        assert!(line.is_paused(at(59)) && !line.is_paused(at(60)));
    }
}
