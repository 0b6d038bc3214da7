//! What the process watches while it runs: its own readiness, and a configuration that is to be read again.

use std::{
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::build;
use crate::{
    api::{
        messages::answer::MessageError,
        providers::{HealthStatus, ProviderHealth, ProviderState},
        state::{ApiState, Loaded, Readiness},
    },
    config,
    dispatch::{Engine, LiveProvider},
    domain::Timestamp,
    error_chain::chain,
    keys::FirstKeys,
    providers::Feed,
    store::StoreError,
};

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A provider of which fewer calls go well is degraded.
const WELL: f64 = 0.9;

/// What a reload needs.
#[derive(Debug)]
pub(super) struct Reload {
    pub config_path: Option<PathBuf>,
    pub feed: Feed,
    pub loaded: Arc<ArcSwap<Loaded>>,
    pub first_keys: Option<FirstKeys>,
}

pub(super) fn spawn(tasks: &TaskTracker, stop: &CancellationToken, state: &ApiState, reload: Reload) {
    let (of_task, stopped) = (state.clone(), stop.clone());
    tasks.spawn(async move {
        while !stopped.is_cancelled() {
            look(&of_task).await;
            of_task.metrics.run_upkeep();
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = stopped.cancelled() => {}
            }
        }
        of_task.readiness.store(Arc::new(Readiness::from([("serving", false)])));
    });
    let (of_task, stopped) = (state.clone(), stop.clone());
    tasks.spawn(async move {
        let Ok(mut hangups) = signal(SignalKind::hangup()) else { return };
        let mut seen = changed_at(&reload);
        loop {
            tokio::select! {
                _ = hangups.recv() => again(&of_task, &reload),
                () = tokio::time::sleep(LOOK_EVERY) => {
                    let found = changed_at(&reload);
                    if found != seen {
                        seen = found;
                        again(&of_task, &reload);
                    }
                }
                () = stopped.cancelled() => return,
            }
        }
    });
}

/// When the configuration file was last written; none while there is none.
fn changed_at(reload: &Reload) -> Option<SystemTime> {
    let path = config::file(reload.config_path.as_deref(), config::environment());
    std::fs::metadata(path).and_then(|file| file.modified()).ok()
}

async fn look(state: &ApiState) {
    let database = match state.engine.db().ready().await {
        Ok(()) => follow(&state.engine).await,
        Err(error) => Err(error),
    };
    if let Err(error) = &database {
        tracing::warn!(error = chain(error), "the database is not ready");
    }
    state.readiness.store(Arc::new(Readiness::from([("database", database.is_ok()), ("serving", true)])));
    let live = state.engine.live();
    let now = state.clock.now();
    let states = live.providers.iter().map(|(name, provider)| (name.clone(), state_of(provider, now)));
    state.provider_states.store(Arc::new(states.collect()));
}

async fn follow(engine: &Engine) -> Result<(), StoreError> {
    engine.follow_switches().await?;
    engine.follow_backlog().await
}

fn state_of(provider: &LiveProvider, now: Timestamp) -> ProviderState {
    let calls = provider.calls.summary(now);
    let status = match calls.success_ratio {
        _ if provider.breaker.is_open() => HealthStatus::Down,
        Some(ratio) if ratio < WELL => HealthStatus::Degraded,
        Some(_) | None => HealthStatus::Up,
    };
    ProviderState {
        enabled: !provider.paused.load(Ordering::Relaxed),
        health: ProviderHealth {
            status,
            success_ratio: calls.success_ratio,
            latency_p95_ms: calls.latency_p95.map(|p95| u32::try_from(p95.as_millis()).unwrap_or(u32::MAX)),
            last_error: calls.last_error.map(MessageError::from),
            changed_at: provider.breaker.changed_at(),
        },
    }
}

/// Reads the configuration again. A bad one changes nothing and says so.
fn again(state: &ApiState, reload: &Reload) {
    let running = state.engine.live();
    let read = config::reload(&running.config, reload.config_path.as_deref(), config::environment());
    let replaced = read.and_then(|mut read| {
        if let (true, Some(keys)) = (read.config.first_start, &reload.first_keys) {
            keys.admit(&mut read.config.apps);
        }
        read.warnings.iter().for_each(|warning| tracing::warn!(key = warning.key, "{}", warning.problem));
        build::live(read.config, &state.clock, &reload.feed)
    });
    match replaced {
        Ok(live) => {
            reload.loaded.store(Arc::new(build::loaded(&live)));
            state.engine.replace(live);
            tracing::info!("the configuration was read again");
        }
        Err(errors) => tracing::error!(%errors, "the configuration has errors; the old one stays in force"),
    }
}
