//! How many messages are being stored at once; the others are refused, since they would only wait.
//!
//! A fixed bound would be too high for a slow machine, where all of them wait for one another, or too low for a fast one. It
//! follows the time that storing takes: each message that took too long lowers it, each that did not raises it. So under
//! overload what is let in is answered about as fast as ever. Clients whose bodies arrive slowly do not count here.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

/// Never more than these at once.
pub const MOST: usize = 1024;
/// So many are let in however long they take: a database that is slow, but not overloaded, is to be kept busy too.
pub const LEAST: usize = 256;
/// A message that is stored within this was not kept waiting.
const GOOD_TIME: Duration = Duration::from_millis(120);

/// The room for messages.
#[derive(Debug)]
pub struct Storing {
    running: AtomicUsize,
    bound: AtomicUsize,
}

/// A message that was let in; it makes room when it is dropped.
#[derive(Debug)]
pub struct Admitted(Arc<Storing>);

impl Default for Storing {
    fn default() -> Self {
        Self { running: AtomicUsize::new(0), bound: AtomicUsize::new(MOST) }
    }
}

impl Storing {
    /// Is there room? Asked before a body is read: it takes none, so that clients whose bodies arrive slowly keep nobody out.
    pub fn has_room(&self) -> bool {
        self.running.load(Ordering::Relaxed) < self.bound.load(Ordering::Relaxed)
    }

    /// Lets a message in while there is room.
    pub fn enter(self: &Arc<Self>) -> Option<Admitted> {
        let admitted = Admitted(self.clone());
        let before = self.running.fetch_add(1, Ordering::Relaxed);
        // Dropped again where there is none, which takes the message out of the count.
        (before < self.bound.load(Ordering::Relaxed)).then_some(admitted)
    }
}

impl Admitted {
    /// Notes how long a message took to be stored.
    pub fn stored_within(&self, took: Duration) {
        // Two steps down and one up: it settles where two out of three are in good time.
        let moved = |bound: usize| {
            let next = if took > GOOD_TIME { bound.saturating_sub(2) } else { bound + 1 };
            Some(next.clamp(LEAST, MOST))
        };
        let _ = self.0.bound.fetch_update(Ordering::Relaxed, Ordering::Relaxed, moved);
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(storing: &Arc<Storing>) -> Vec<Admitted> {
        std::iter::from_fn(|| storing.enter()).collect()
    }

    #[test]
    fn a_message_that_is_stored_makes_room() {
        let storing = Arc::new(Storing::default());
        let mut inside = fill(&storing);
        assert_eq!(inside.len(), MOST);
        assert!(storing.enter().is_none(), "it is full, and asking takes no room");
        assert!(!storing.has_room());
        inside.pop();
        assert!(storing.has_room());
        assert!(storing.enter().is_some());
    }

    #[test]
    fn the_bound_falls_while_messages_wait_and_rises_again() {
        let storing = Arc::new(Storing::default());
        let one = storing.enter().unwrap();
        (0..MOST).for_each(|_| one.stored_within(GOOD_TIME * 2));
        drop(one);
        let inside = fill(&storing);
        assert_eq!(inside.len(), LEAST);
        (0..10).for_each(|_| inside[0].stored_within(GOOD_TIME));
        assert_eq!(fill(&storing).len(), 10);
        drop(inside);
        let one = storing.enter().unwrap();
        (0..MOST).for_each(|_| one.stored_within(GOOD_TIME));
        drop(one);
        assert_eq!(fill(&storing).len(), MOST);
    }
}
