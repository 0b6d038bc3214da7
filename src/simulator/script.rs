//! Behaviours that were asked for: each holds for the next calls that match it.

use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
};

use serde::{Deserialize, Serialize};

use super::{
    behaviour::{Behaviour, Protocol, canonical_number},
    ledger::lock,
};

/// A behaviour for the next so many messages that match.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    /// Which messages.
    #[serde(default, rename = "match")]
    pub matching: Match,
    /// How many of them.
    #[serde(default = "once")]
    pub times: u32,
    /// What happens to them.
    pub behaviour: Behaviour,
}

fn once() -> u32 {
    1
}

/// Which messages a script is for; what is absent matches all.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Match {
    /// Which protocol.
    pub provider: Option<Protocol>,
    /// Which recipient: with or without `+`, for voice also in its local form.
    pub to: Option<String>,
}

/// The scripts that wait, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Scripts {
    waiting: AtomicUsize,
    queue: Mutex<Vec<Script>>,
}

impl Scripts {
    pub fn add(&self, mut script: Script) {
        script.matching.to = script.matching.to.as_deref().map(canonical_number);
        let mut queue = lock(&self.queue);
        if script.times > 0 {
            queue.push(script);
        }
        self.waiting.store(queue.len(), Ordering::Release);
    }

    /// The behaviour of the first script that matches, which is then used once less.
    pub fn take(&self, protocol: Protocol, digits: &str) -> Option<Behaviour> {
        if self.waiting.load(Ordering::Acquire) == 0 {
            return None;
        }
        let mut queue = lock(&self.queue);
        let at = queue.iter().position(|script| {
            script.matching.provider.is_none_or(|wanted| wanted == protocol)
                && script.matching.to.as_deref().is_none_or(|wanted| wanted == digits)
        })?;
        let script = &mut queue[at];
        script.times -= 1;
        let behaviour = script.behaviour.clone();
        if script.times == 0 {
            queue.remove(at);
        }
        self.waiting.store(queue.len(), Ordering::Release);
        Some(behaviour)
    }

    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Acquire)
    }

    pub fn clear(&self) {
        lock(&self.queue).clear();
        self.waiting.store(0, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(provider: Option<Protocol>, to: Option<&str>, times: u32, code: &str) -> Script {
        Script { matching: Match { provider, to: to.map(str::to_owned) }, times, behaviour: Behaviour::code(code) }
    }

    #[test]
    fn scripts_are_used_in_order_as_often_as_they_say() {
        let scripts = Scripts::default();
        scripts.add(script(Some(Protocol::Voice), None, 2, "5"));
        scripts.add(script(None, Some("+84361234567"), 1, "6"));
        let take = |protocol, digits| scripts.take(protocol, digits).and_then(|behaviour| behaviour.code);
        assert_eq!(take(Protocol::Huawei, "85260123456"), None);
        assert_eq!(take(Protocol::Nxcloud, "84361234567").as_deref(), Some("6"));
        assert_eq!(take(Protocol::Nxcloud, "84361234567"), None);
        assert_eq!(take(Protocol::Voice, "84361234567").as_deref(), Some("5"));
        assert_eq!(take(Protocol::Voice, "84361234568").as_deref(), Some("5"));
        assert_eq!(take(Protocol::Voice, "84361234568"), None);
    }
}
