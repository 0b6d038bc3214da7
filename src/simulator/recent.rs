//! Bounded memory: keys that were seen lately, and the answers that polls will get.

use std::{
    collections::{HashMap, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
    sync::Mutex,
};

use chrono::TimeDelta;

use super::ledger::lock;
use crate::domain::Timestamp;

const SHARDS: usize = 16;
const MAX_PER_SHARD: usize = 1 << 14;
const MAX_POLLS: usize = 1 << 17;

/// Keys seen within a window of time; beyond its bound the oldest are forgotten early.
#[derive(Debug)]
pub(super) struct Recent {
    window: TimeDelta,
    shards: [Mutex<Shard>; SHARDS],
}

#[derive(Debug, Default)]
struct Shard {
    seen: HashMap<u64, Timestamp>,
    order: VecDeque<(u64, Timestamp)>,
}

impl Recent {
    pub fn new(window: TimeDelta) -> Self {
        Self { window, shards: std::array::from_fn(|_| Mutex::default()) }
    }

    /// Whether the key was seen within the window.
    pub fn knows(&self, key: impl Hash, now: Timestamp) -> bool {
        let key = hash(key);
        lock(self.shard(key)).seen.get(&key).is_some_and(|at| now - *at < self.window)
    }

    /// Remembers the key; false when it was seen within the window.
    pub fn remember(&self, key: impl Hash, now: Timestamp) -> bool {
        let key = hash(key);
        let mut shard = lock(self.shard(key));
        if shard.seen.get(&key).is_some_and(|at| now - *at < self.window) {
            return false;
        }
        shard.seen.insert(key, now);
        shard.order.push_back((key, now));
        while let Some(&(oldest, at)) = shard.order.front() {
            if shard.order.len() <= MAX_PER_SHARD && now - at < self.window {
                break;
            }
            shard.order.pop_front();
            // The key may have been seen again since; then a later entry of the queue holds it.
            if shard.seen.get(&oldest) == Some(&at) {
                shard.seen.remove(&oldest);
            }
        }
        true
    }

    pub fn clear(&self) {
        for shard in &self.shards {
            *lock(shard) = Shard::default();
        }
    }

    fn shard(&self, key: u64) -> &Mutex<Shard> {
        &self.shards[usize::try_from(key % SHARDS as u64).unwrap_or(0)]
    }
}

fn hash(key: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}

/// The answers to the polls of each call, one after the other; the last one stays.
#[derive(Debug, Default)]
pub(super) struct Polls {
    inner: Mutex<PollTable>,
}

#[derive(Debug, Default)]
struct PollTable {
    answers: HashMap<String, VecDeque<String>>,
    order: VecDeque<String>,
}

impl Polls {
    pub fn prepare(&self, id: String, answers: Vec<String>) {
        let mut table = lock(&self.inner);
        table.order.push_back(id.clone());
        table.answers.insert(id, answers.into());
        if table.order.len() > MAX_POLLS
            && let Some(oldest) = table.order.pop_front()
        {
            table.answers.remove(&oldest);
        }
    }

    pub fn next(&self, id: &str) -> Option<String> {
        let mut table = lock(&self.inner);
        let answers = table.answers.get_mut(id)?;
        if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() }
    }

    pub fn clear(&self) {
        *lock(&self.inner) = PollTable::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_known_for_the_window_and_no_longer() {
        let recent = Recent::new(TimeDelta::seconds(60));
        let start = Timestamp::default();
        assert!(recent.remember("a", start));
        assert!(!recent.remember("a", start + TimeDelta::seconds(59)));
        assert!(recent.knows("a", start + TimeDelta::seconds(59)));
        assert!(!recent.knows("a", start + TimeDelta::seconds(60)));
        assert!(recent.remember("a", start + TimeDelta::seconds(60)));
    }

    #[test]
    fn it_stays_within_its_bound() {
        let recent = Recent::new(TimeDelta::days(1));
        let many = SHARDS * MAX_PER_SHARD + 20_000;
        for key in 0..many {
            recent.remember(key, Timestamp::default());
        }
        let kept: usize = recent.shards.iter().map(|shard| lock(shard).seen.len()).sum();
        assert!(kept <= SHARDS * MAX_PER_SHARD, "{kept}");
        assert!(recent.knows(many - 1, Timestamp::default()));
    }

    #[test]
    fn polls_are_answered_in_turn_and_the_last_answer_stays() {
        let polls = Polls::default();
        polls.prepare("id".to_owned(), vec!["27".to_owned(), "1".to_owned()]);
        let answers: Vec<_> = (0..3).map(|_| polls.next("id").unwrap()).collect();
        assert_eq!(answers, ["27", "1", "1"]);
        assert_eq!(polls.next("other"), None);
    }
}
