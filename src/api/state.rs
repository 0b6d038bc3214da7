//! What the handlers share. Everything here is cheap to clone and may change while the process runs.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
};

use arc_swap::ArcSwap;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::Semaphore;

use super::{
    batches::create::Rooms,
    providers::{BalanceAnswer, ProviderState},
    send_rates::SendRates,
    storing::Storing,
};
use crate::{
    clock::Clock, config::Config, dispatch::Engine, domain::capabilities::Capabilities, keys::KeyRing,
    providers::Provider,
};

/// Calls under `/v1` that one process works on at once. Beyond it they are refused before any work is done.
pub const MAX_CALLS: usize = 1024;

/// What comes from one reading of the configuration; a reload replaces all of it at once.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration in force.
    pub config: Arc<Config>,
    /// The keys of its apps.
    pub keys: KeyRing,
    /// Its providers by name.
    pub providers: BTreeMap<String, Arc<dyn Provider>>,
    /// How much its apps may send.
    pub send_rates: SendRates,
}

impl Loaded {
    /// What the driver of a provider says of itself.
    pub fn capabilities(&self, provider: &str) -> Option<&Capabilities> {
        Some(self.providers.get(provider)?.capabilities())
    }
}

/// Is each part of the process ready? The key names the part.
pub type Readiness = BTreeMap<&'static str, bool>;

/// What the handlers share.
#[derive(Clone)]
pub struct ApiState {
    /// The configuration and what was built from it.
    pub loaded: Arc<ArcSwap<Loaded>>,
    /// Accepts messages, and knows the database and the secrets.
    pub engine: Engine,
    /// Business time.
    pub clock: Clock,
    /// What the engine last said about each provider; one that is not named is up and enabled.
    pub provider_states: Arc<ArcSwap<BTreeMap<String, ProviderState>>>,
    /// What `/readyz` says. Empty: not ready, because nothing has been checked yet.
    pub readiness: Arc<ArcSwap<Readiness>>,
    /// What `/metrics` renders.
    pub metrics: PrometheusHandle,
    /// Room for calls under `/v1`.
    pub admission: Arc<Semaphore>,
    /// Room for batches, which may be large.
    pub batches: Arc<Rooms>,
    /// Room for messages that are being stored.
    pub storing: Arc<Storing>,
    /// Balances asked for a moment ago.
    pub(super) balances: Arc<Mutex<HashMap<String, BalanceAnswer>>>,
}

impl ApiState {
    /// A state in which nothing has been checked yet.
    pub fn new(loaded: Arc<ArcSwap<Loaded>>, engine: Engine, clock: Clock, metrics: PrometheusHandle) -> Self {
        Self {
            loaded,
            engine,
            clock,
            provider_states: Arc::default(),
            readiness: Arc::default(),
            metrics,
            admission: Arc::new(Semaphore::new(MAX_CALLS)),
            batches: Arc::default(),
            storing: Arc::default(),
            balances: Arc::default(),
        }
    }
}

// Written by hand, because the handle of the metrics would print every value.
impl std::fmt::Debug for ApiState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiState").finish_non_exhaustive()
    }
}
