//! What a reload of the configuration replaces: the configuration itself and the providers built from it.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::{
    availability::{Availability, Pass},
    health::CallLog,
};
use crate::{
    config::{App, Config, ProviderSection},
    domain::{
        Timestamp,
        capabilities::{Capabilities, Reports},
        life::EvidenceRule,
    },
    providers::Provider,
    store::{
        budgets::Limits,
        events::{Receiver, Receivers},
        life::Turns,
        throttles::Throttle,
    },
};

/// The configuration and what was built from it.
#[derive(Debug)]
pub struct Live {
    /// As validated.
    pub config: Arc<Config>,
    /// The providers by name.
    pub providers: BTreeMap<String, Arc<LiveProvider>>,
    /// Where apps want to be told of what.
    pub receivers: Receivers,
}

/// A provider with everything that wraps it.
#[derive(Debug)]
pub struct LiveProvider {
    /// Its name in the configuration.
    pub name: String,
    /// Its part of the configuration.
    pub section: ProviderSection,
    /// The driver.
    pub driver: Arc<dyn Provider>,
    /// Says when not to call, and why.
    pub availability: Availability,
    /// How calls went lately.
    pub calls: CallLog,
    /// Calls at once.
    pub in_flight: Arc<Semaphore>,
    /// Questions at once about what became of messages; they take no room from calls, nor from the way back after a failure.
    pub polls: Arc<Semaphore>,
    /// More may wait for it than its line has claimed: what is accepted now has to wait behind it.
    pub backlog: AtomicBool,
    /// Whose turn it is among the apps whose messages wait for it.
    turns: Mutex<Turns>,
    /// Something may be due for it.
    pub wake: Notify,
}

/// Huawei makes its own last report at 72 h; a little more is left for its way.
const REPORT_WINDOW: Duration = Duration::from_hours(76);

impl LiveProvider {
    /// Wraps a driver.
    pub fn new(name: String, section: ProviderSection, driver: Arc<dyn Provider>) -> Self {
        let (exempt, tolerance) = (driver.capabilities().breaker_exempt, driver.capabilities().clock_tolerance);
        let availability = Availability::new(&name, exempt, tolerance, section.max_in_flight);
        let in_flight = Arc::new(Semaphore::new(section.max_in_flight));
        let polls = Arc::new(Semaphore::new(section.max_in_flight));
        let (calls, backlog) = (CallLog::default(), AtomicBool::new(true));
        Self {
            name,
            section,
            driver,
            availability,
            calls,
            in_flight,
            polls,
            backlog,
            turns: Mutex::default(),
            wake: Notify::new(),
        }
    }

    /// What the driver can do.
    pub fn capabilities(&self) -> &Capabilities {
        self.driver.capabilities()
    }

    /// Whether and how long evidence about its attempts may come.
    pub fn evidence(&self) -> EvidenceRule {
        let capabilities = self.capabilities();
        let (window, first_poll) = match capabilities.reports {
            Reports::Poll { first, window } => (self.section.report_window.unwrap_or(window), Some(first)),
            Reports::Push | Reports::None => (self.section.report_window.unwrap_or(REPORT_WINDOW), None),
        };
        EvidenceRule { window, first_poll, without_id: capabilities.echoes_reference || capabilities.heuristic_match }
    }

    /// Calls that are being made.
    pub fn calls_in_flight(&self) -> usize {
        self.section.max_in_flight.saturating_sub(self.in_flight.available_permits())
    }

    /// Slots for calls, as many as are free, at most so many; none when none is free.
    pub fn try_slots(&self, most: usize) -> Option<OwnedSemaphorePermit> {
        let free = self.in_flight.available_permits().min(most);
        let free = u32::try_from(free).ok().filter(|free| *free > 0)?;
        self.in_flight.clone().try_acquire_many_owned(free).ok()
    }

    /// Slots for messages that are just being accepted, when nothing that waits is before them and no limit has to be asked.
    pub fn slots_at_once(&self, most: usize, now: Timestamp) -> Option<OwnedSemaphorePermit> {
        if self.backlog.load(Ordering::Relaxed) || !self.limits().is_empty() {
            return None;
        }
        match self.availability.pass(self.calls_in_flight(), now) {
            Pass::Open(room) => self.try_slots(most.min(room)),
            Pass::Probe(_) | Pass::Over(_) | Pass::Wait => None,
        }
    }

    /// Whose turn it is.
    pub fn turns(&self) -> MutexGuard<'_, Turns> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it may be handed, over all processes.
    pub fn limits(&self) -> Limits {
        Limits { rate_per_second: self.section.rate_per_second, daily_limit: self.section.daily_limit }
    }
}

impl Live {
    /// A configuration with its providers.
    pub fn new(config: Arc<Config>, providers: BTreeMap<String, Arc<LiveProvider>>) -> Self {
        let receiver = |app: &App| Receiver {
            webhook_url: app.webhook_url.as_ref().map(|url| url.as_str().to_owned()),
            events: app.webhook_events.clone(),
        };
        let receivers = config.apps.iter().map(|(name, app)| (name.clone(), receiver(app))).collect();
        Self { config, providers, receivers }
    }

    /// Pauses and resumes providers as operators switched them. One that nobody switched is on.
    pub fn follow(&self, switched: &HashMap<String, bool>) {
        for (name, provider) in &self.providers {
            let enabled = switched.get(name).copied().unwrap_or(true);
            if provider.availability.pause(!enabled) && enabled {
                provider.wake.notify_one();
            }
        }
    }

    /// Follows the throttles that all processes share.
    pub fn follow_throttles(&self, mut shared: HashMap<String, Throttle>) {
        for (name, provider) in &self.providers {
            provider.availability.follow_throttle(shared.remove(name));
        }
    }

    /// What a provider can do, by its name.
    pub fn capabilities(&self, provider: &str) -> Option<&Capabilities> {
        self.providers.get(provider).map(|provider| provider.capabilities())
    }

    /// Wakes the provider's line: something may be due.
    pub fn wake(&self, provider: &str) {
        if let Some(provider) = self.providers.get(provider) {
            provider.wake.notify_one();
        }
    }

    /// Wakes the lines of some providers.
    pub fn wake_all<'p>(&self, providers: impl IntoIterator<Item = &'p String>) {
        for provider in providers {
            self.wake(provider);
        }
    }

    /// Whether and how long evidence may come about attempts with a provider that may no longer be configured.
    pub fn evidence(&self, provider: &str) -> EvidenceRule {
        self.providers
            .get(provider)
            .map_or(EvidenceRule { window: REPORT_WINDOW, first_poll: None, without_id: true }, |provider| {
                provider.evidence()
            })
    }

    /// The app that owns one of our numbers, written with or without `+`.
    pub fn owner_of(&self, number: &str) -> Option<&str> {
        let bare = number.trim_start_matches('+');
        self.config
            .apps
            .iter()
            .find(|(_, app)| app.inbound_numbers.iter().any(|own| own.trim_start_matches('+') == bare))
            .map(|(name, _)| name.as_str())
    }
}
