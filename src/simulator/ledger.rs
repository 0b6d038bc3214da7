//! What was accepted, refused and seen: the evidence that a test holds against the gateway.
//!
//! Everything is bounded: lists drop their oldest entries, and the search for doubles stops taking new keys (and says so)
//! at its limit. In counts-only mode nothing but counters grows.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use serde::Serialize;

use super::{behaviour::Protocol, options::Keep};
use crate::domain::Timestamp;

const SHARDS: usize = 32;
const MAX_CONTENTS_PER_SHARD: usize = 1 << 17;
const MAX_DOUBLES_LISTED: usize = 1_000;

/// A message that was taken from a call.
#[derive(Debug, Clone, Serialize)]
pub struct Accepted {
    /// Which protocol.
    pub provider: Protocol,
    /// Counts the HTTP calls; recipients of one call share it.
    pub call: u64,
    /// The recipient as the call named it.
    pub to: String,
    /// The sender as the call named it.
    pub from: String,
    /// NxCloud and voice: the text.
    pub text: Option<String>,
    /// Huawei: the template.
    pub template_id: Option<String>,
    /// Huawei: the values.
    pub params: Vec<String>,
    /// Huawei: the signature that was named.
    pub signature: Option<String>,
    /// Huawei: `extend`.
    pub reference: Option<String>,
    /// Huawei: `statusCallback`.
    pub status_callback: Option<String>,
    /// The id it was given, also when the answer kept it back.
    pub message_id: String,
    /// Into how many parts it is split.
    pub parts: u16,
    /// When.
    pub received_at: Timestamp,
}

impl Accepted {
    /// The text, or the template with its values.
    pub fn content(&self) -> String {
        match (&self.text, &self.template_id) {
            (Some(text), _) => text.clone(),
            (None, Some(template)) => format!("{template}({})", self.params.join("|")),
            (None, None) => String::new(),
        }
    }
}

/// A message that was accepted more than once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Double {
    /// Which protocol.
    pub provider: Protocol,
    /// The recipient.
    pub to: String,
    /// The text, or the template with its values.
    pub content: String,
}

/// What one protocol has seen.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct ProtocolCounts {
    /// HTTP calls.
    pub calls: u64,
    /// Messages accepted.
    pub accepted: u64,
    /// Polls and questions for the balance.
    pub questions: u64,
    /// Calls that were spoiled on purpose, by script, number or chance.
    pub spoiled: u64,
    /// Calls that are not answered yet.
    pub in_flight: u64,
    /// The most calls at once.
    pub peak_in_flight: u64,
    /// Refusals by code: of whole calls, and of single numbers in them.
    pub refused: BTreeMap<String, u64>,
}

#[derive(Debug, Default)]
struct Counters {
    calls: AtomicU64,
    accepted: AtomicU64,
    questions: AtomicU64,
    spoiled: AtomicU64,
    in_flight: AtomicU64,
    peak_in_flight: AtomicU64,
    refused: Mutex<BTreeMap<String, u64>>,
}

/// Everything that was accepted, and how often.
#[derive(Debug)]
pub(super) struct Ledger {
    keep: Keep,
    calls: AtomicU64,
    counters: [Counters; 3],
    accepted: Mutex<VecDeque<Arc<Accepted>>>,
    contents: [Mutex<HashMap<u64, u32>>; SHARDS],
    doubled: AtomicU64,
    untracked: AtomicU64,
    doubles: Mutex<VecDeque<Double>>,
}

/// Counts a call as in flight until it is dropped.
#[derive(Debug)]
pub(super) struct InFlight<'a>(&'a AtomicU64);

impl<'a> InFlight<'a> {
    pub fn begin(counter: &'a AtomicU64) -> Self {
        counter.fetch_add(1, Ordering::Relaxed);
        Self(counter)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Ledger {
    pub fn new(keep: Keep) -> Self {
        Self {
            keep,
            calls: AtomicU64::new(0),
            counters: std::array::from_fn(|_| Counters::default()),
            accepted: Mutex::default(),
            contents: std::array::from_fn(|_| Mutex::default()),
            doubled: AtomicU64::new(0),
            untracked: AtomicU64::new(0),
            doubles: Mutex::default(),
        }
    }

    /// Begins a call: its number, and a guard that ends it.
    pub fn begin(&self, protocol: Protocol) -> (u64, InFlight<'_>) {
        let counters = &self.counters[protocol.index()];
        counters.calls.fetch_add(1, Ordering::Relaxed);
        let now = counters.in_flight.fetch_add(1, Ordering::Relaxed) + 1;
        counters.peak_in_flight.fetch_max(now, Ordering::Relaxed);
        (self.calls.fetch_add(1, Ordering::Relaxed) + 1, InFlight(&counters.in_flight))
    }

    pub fn question(&self, protocol: Protocol) {
        self.counters[protocol.index()].questions.fetch_add(1, Ordering::Relaxed);
    }

    pub fn refused(&self, protocol: Protocol, code: &str) {
        let mut refused = lock(&self.counters[protocol.index()].refused);
        match refused.get_mut(code) {
            Some(count) => *count += 1,
            None => {
                refused.insert(code.to_owned(), 1);
            }
        }
    }

    pub fn spoiled(&self, protocol: Protocol) {
        self.counters[protocol.index()].spoiled.fetch_add(1, Ordering::Relaxed);
    }

    pub fn accept(&self, accepted: Accepted) -> Arc<Accepted> {
        let accepted = Arc::new(accepted);
        self.counters[accepted.provider.index()].accepted.fetch_add(1, Ordering::Relaxed);
        if let Keep::Last(limit) = self.keep {
            self.watch_for_double(&accepted);
            push_bounded(&mut lock(&self.accepted), Arc::clone(&accepted), limit);
        }
        accepted
    }

    fn watch_for_double(&self, accepted: &Accepted) {
        let content = accepted.content();
        let key = content_key(accepted.provider, &accepted.to, &content);
        let mut shard = lock(&self.contents[shard_of(key)]);
        let full = shard.len() >= MAX_CONTENTS_PER_SHARD;
        match shard.get_mut(&key) {
            Some(count) => *count += 1,
            None if full => {
                self.untracked.fetch_add(1, Ordering::Relaxed);
                return;
            }
            None => {
                shard.insert(key, 1);
                return;
            }
        }
        drop(shard);
        self.doubled.fetch_add(1, Ordering::Relaxed);
        let double = Double { provider: accepted.provider, to: accepted.to.clone(), content };
        push_bounded(&mut lock(&self.doubles), double, MAX_DOUBLES_LISTED);
    }

    /// The last accepted messages, oldest first.
    pub fn accepted(&self) -> Vec<Arc<Accepted>> {
        lock(&self.accepted).iter().cloned().collect()
    }

    /// How often this content was accepted for this recipient.
    pub fn times_accepted(&self, protocol: Protocol, to: &str, content: &str) -> u32 {
        let key = content_key(protocol, to, content);
        lock(&self.contents[shard_of(key)]).get(&key).copied().unwrap_or(0)
    }

    /// Each acceptance beyond the first, the last thousand of them.
    pub fn doubles(&self) -> Vec<Double> {
        lock(&self.doubles).iter().cloned().collect()
    }

    pub fn doubled(&self) -> u64 {
        self.doubled.load(Ordering::Relaxed)
    }

    /// Messages whose doubles could not be noticed because the table was full.
    pub fn untracked(&self) -> u64 {
        self.untracked.load(Ordering::Relaxed)
    }

    pub fn counts(&self, protocol: Protocol) -> ProtocolCounts {
        let counters = &self.counters[protocol.index()];
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ProtocolCounts {
            calls: read(&counters.calls),
            accepted: read(&counters.accepted),
            questions: read(&counters.questions),
            spoiled: read(&counters.spoiled),
            in_flight: read(&counters.in_flight),
            peak_in_flight: read(&counters.peak_in_flight),
            refused: lock(&counters.refused).clone(),
        }
    }

    pub fn reset(&self) {
        for counters in &self.counters {
            for counter in
                [&counters.calls, &counters.accepted, &counters.questions, &counters.spoiled, &counters.peak_in_flight]
            {
                counter.store(0, Ordering::Relaxed);
            }
            lock(&counters.refused).clear();
        }
        lock(&self.accepted).clear();
        lock(&self.doubles).clear();
        self.contents.iter().for_each(|shard| lock(shard).clear());
        self.doubled.store(0, Ordering::Relaxed);
        self.untracked.store(0, Ordering::Relaxed);
    }
}

fn content_key(protocol: Protocol, to: &str, content: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (protocol, to, content).hash(&mut hasher);
    hasher.finish()
}

fn shard_of(key: u64) -> usize {
    usize::try_from(key % SHARDS as u64).unwrap_or(0)
}

/// Appends, and drops the oldest beyond the limit.
pub(super) fn push_bounded<T>(list: &mut VecDeque<T>, item: T, limit: usize) {
    if list.len() >= limit {
        list.pop_front();
    }
    if limit > 0 {
        list.push_back(item);
    }
}

/// A lock whose holder panicked is still good here: every change is a single step.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(to: &str, text: &str) -> Accepted {
        Accepted {
            provider: Protocol::Nxcloud,
            call: 1,
            to: to.to_owned(),
            from: "8615088888888".to_owned(),
            text: Some(text.to_owned()),
            template_id: None,
            params: Vec::new(),
            signature: None,
            reference: None,
            status_callback: None,
            message_id: "id".to_owned(),
            parts: 1,
            received_at: Timestamp::default(),
        }
    }

    #[test]
    fn the_same_content_to_the_same_number_is_a_double() {
        let ledger = Ledger::new(Keep::default());
        for accepted in [text("1", "a"), text("1", "b"), text("2", "a"), text("1", "a"), text("1", "a")] {
            ledger.accept(accepted);
        }
        assert_eq!(ledger.doubled(), 2);
        assert_eq!(ledger.doubles()[0], Double { provider: Protocol::Nxcloud, to: "1".into(), content: "a".into() });
        assert_eq!(ledger.times_accepted(Protocol::Nxcloud, "1", "a"), 3);
        assert_eq!(ledger.times_accepted(Protocol::Voice, "1", "a"), 0);
    }

    #[test]
    fn only_the_last_messages_are_kept() {
        let ledger = Ledger::new(Keep::Last(2));
        for number in ["1", "2", "3"] {
            ledger.accept(text(number, "a"));
        }
        let kept: Vec<String> = ledger.accepted().iter().map(|accepted| accepted.to.clone()).collect();
        assert_eq!(kept, ["2", "3"]);
        assert_eq!(ledger.counts(Protocol::Nxcloud).accepted, 3);
    }

    #[test]
    fn counting_only_keeps_nothing_else() {
        let ledger = Ledger::new(Keep::CountsOnly);
        ledger.accept(text("1", "a"));
        ledger.accept(text("1", "a"));
        assert_eq!((ledger.accepted().len(), ledger.doubled()), (0, 0));
        assert_eq!(ledger.counts(Protocol::Nxcloud).accepted, 2);
    }

    #[test]
    fn the_peak_of_calls_at_once_is_kept() {
        let ledger = Ledger::new(Keep::CountsOnly);
        let first = ledger.begin(Protocol::Voice);
        let second = ledger.begin(Protocol::Voice);
        drop((first, second));
        drop(ledger.begin(Protocol::Voice));
        let counts = ledger.counts(Protocol::Voice);
        assert_eq!((counts.calls, counts.peak_in_flight), (3, 2));
    }
}
