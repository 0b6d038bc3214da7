//! The state that all handlers share, and the decision what happens to a message.

use std::sync::{
    Arc,
    atomic::{AtomicI64, AtomicU64, Ordering},
};

use arc_swap::ArcSwap;
use chrono::TimeDelta;
use tokio_util::sync::CancellationToken;

use super::{
    behaviour::{Behaviour, Protocol, ScriptedReport, canonical_number, number_rule},
    faults::Dice,
    huawei::management::Registry,
    ledger::{Accepted, Ledger},
    options::{HuaweiAccount, NxcloudAccount, Settings, SimulatorOptions, VoiceAccount},
    push::{Push, Pusher},
    recent::{Polls, Recent},
    script::Scripts,
};
use crate::{clock::Clock, domain::Timestamp};

/// All that one simulator knows.
#[derive(Debug)]
pub(super) struct World {
    pub huawei: HuaweiAccount,
    pub nxcloud: NxcloudAccount,
    pub voice: VoiceAccount,
    pub settings: ArcSwap<Settings>,
    pub ledger: Ledger,
    pub scripts: Scripts,
    pub dice: Dice,
    pub nonces: Recent,
    pub repeats: Recent,
    pub polls: Polls,
    pub nxcloud_balance: AtomicI64,
    pub voice_balance: AtomicI64,
    pub pusher: Pusher,
    pub management: Registry,
    pub stopping: CancellationToken,
    first_calls: Recent,
    clock: Clock,
    initial_settings: Settings,
    sequence: AtomicU64,
}

impl World {
    pub fn new(options: SimulatorOptions, pusher: Pusher) -> Self {
        let SimulatorOptions { huawei, nxcloud, voice, settings, keep, seed, clock } = options;
        Self {
            ledger: Ledger::new(keep),
            scripts: Scripts::default(),
            dice: Dice::new(seed),
            nonces: Recent::new(TimeDelta::hours(48)),
            repeats: Recent::new(TimeDelta::from_std(voice.repeat_window).unwrap_or(TimeDelta::MAX)),
            first_calls: Recent::new(TimeDelta::MAX),
            polls: Polls::default(),
            nxcloud_balance: AtomicI64::new(nxcloud.balance),
            voice_balance: AtomicI64::new(voice.balance),
            pusher,
            management: Registry::default(),
            stopping: CancellationToken::new(),
            clock,
            initial_settings: settings.clone(),
            settings: ArcSwap::from_pointee(settings),
            sequence: AtomicU64::new(1),
            huawei,
            nxcloud,
            voice,
        }
    }

    /// The simulator's time.
    pub fn now(&self) -> Timestamp {
        self.clock.now() + TimeDelta::milliseconds(self.settings.load().clock_offset_ms)
    }

    /// A number that is new in this simulator.
    pub fn next_number(&self) -> u64 {
        self.sequence.fetch_add(1, Ordering::Relaxed)
    }

    /// What a script or a special number wants of this recipient.
    pub fn rule(&self, protocol: Protocol, to: &str) -> Option<Behaviour> {
        let digits = canonical_number(to);
        let scripted = self.scripts.take(protocol, &digits);
        let behaviour = scripted.or_else(|| {
            let rule = self.settings.load().special_numbers.then(|| number_rule(protocol, &digits)).flatten()?;
            let holds = !rule.first_call_only || self.first_calls.remember((protocol, digits), self.now());
            holds.then_some(rule.behaviour)
        });
        behaviour.map(|behaviour| behaviour.without_success_code(protocol))
    }

    /// What happens to a call for one recipient: a rule, or else chance.
    pub fn decide(&self, protocol: Protocol, to: &str) -> Behaviour {
        let rule = self.rule(protocol, to).or_else(|| self.call_fault(protocol));
        rule.unwrap_or_default()
    }

    /// A fault of a whole call by chance.
    pub fn call_fault(&self, protocol: Protocol) -> Option<Behaviour> {
        self.dice.call_fault(protocol, &self.settings.load().faults)
    }

    /// The reports of a message that is taken.
    pub fn reports(&self, protocol: Protocol, behaviour: &Behaviour) -> Vec<ScriptedReport> {
        let settings = self.settings.load();
        let given = behaviour.reports.clone().or_else(|| self.dice.report_fault(&settings.faults));
        let reports = given.unwrap_or_else(|| {
            let parts = settings.parts.max(1);
            (1..=parts).map(|part| ScriptedReport { part, parts, ..ScriptedReport::default() }).collect()
        });
        match protocol {
            Protocol::Huawei => reports,
            Protocol::Nxcloud | Protocol::Voice => fold_parts(reports),
        }
    }

    /// Writes down what was taken and plans its reports. Those to come before the answer are pushed before this returns.
    pub async fn take(&self, accepted: Accepted, reports: Vec<ScriptedReport>) {
        let accepted = self.ledger.accept(accepted);
        if accepted.provider == Protocol::Voice {
            return;
        }
        let default_delay = self.settings.load().report_delay_ms;
        for report in reports {
            if report.wire_status(accepted.provider).is_none() {
                continue;
            }
            for _ in 0..report.copies {
                let push = Push::Report(Arc::clone(&accepted), report.clone());
                if report.before_answer {
                    self.push_now(push).await;
                } else {
                    self.pusher.schedule(push, report.delay_ms.unwrap_or(default_delay));
                }
            }
        }
    }

    /// Forgets everything that was scripted, seen and counted, and takes back the first settings.
    pub fn reset(&self) {
        self.scripts.clear();
        self.ledger.reset();
        self.pusher.reset();
        self.management.reset();
        for recent in [&self.nonces, &self.repeats, &self.first_calls] {
            recent.clear();
        }
        self.polls.clear();
        self.nxcloud_balance.store(self.nxcloud.balance, Ordering::Relaxed);
        self.voice_balance.store(self.voice.balance, Ordering::Relaxed);
        self.settings.store(Arc::new(self.initial_settings.clone()));
    }
}

/// One report for all parts, for protocols that know no parts: the first that is negative decides.
fn fold_parts(reports: Vec<ScriptedReport>) -> Vec<ScriptedReport> {
    let parts = reports.iter().map(|report| report.parts).max().unwrap_or(1);
    if parts <= 1 {
        return reports;
    }
    let decisive = reports.iter().find(|report| report.status != "delivered").or(reports.first()).cloned();
    decisive.map(|report| ScriptedReport { part: 1, parts, ..report }).into_iter().collect()
}
