//! What the process watches while it runs: its own readiness, and a configuration that is to be read again.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::build;
use crate::{
    api::{
        messages::answer::MessageError,
        providers::{HealthStatus, ProviderHealth, ProviderState, UnavailableReason},
        state::{ApiState, Loaded, Readiness},
    },
    config,
    dispatch::{
        Engine, LiveProvider,
        availability::{Condition, Unavailable},
    },
    domain::Timestamp,
    error_chain::chain,
    keys::FirstKeys,
    providers::Feed,
    store::StoreError,
};

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A database that takes longer for two small questions is not ready for traffic.
const READY_WITHIN: Duration = Duration::from_secs(3);
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
    let asked = async {
        state.engine.db().ready().await?;
        follow(&state.engine).await
    };
    let database = tokio::time::timeout(READY_WITHIN, asked).await.unwrap_or(Err(StoreError::Silent));
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
    let condition = provider.availability.condition(now);
    publish(&provider.name, &condition);
    let down = condition.unavailable.is_some_and(|why| why != Unavailable::Paused);
    let status = match calls.success_ratio {
        _ if down => HealthStatus::Down,
        Some(ratio) if ratio < WELL => HealthStatus::Degraded,
        Some(_) | None => HealthStatus::Up,
    };
    ProviderState {
        enabled: !provider.availability.is_paused(),
        health: ProviderHealth {
            status,
            success_ratio: calls.success_ratio,
            latency_p95_ms: calls.latency_p95.map(|p95| u32::try_from(p95.as_millis()).unwrap_or(u32::MAX)),
            last_error: calls.last_error.map(MessageError::from),
            reason: condition.unavailable.map(UnavailableReason::from),
            until: condition.until,
            changed_at: condition.changed_at,
        },
    }
}

/// Tells the metrics whether a provider is in use, and if not, why.
fn publish(provider: &str, condition: &Condition) {
    for why in Unavailable::ALL {
        let here = f64::from(u8::from(condition.unavailable == Some(why)));
        let (provider, reason) = (provider.to_owned(), why.as_str());
        metrics::gauge!("sms_gateway_provider_unavailable", "provider" => provider, "reason" => reason).set(here);
    }
    if let Some(skew) = condition.clock_skew {
        // Whole milliseconds of at most some days: nothing is lost.
        let seconds = Duration::from_millis(skew.num_milliseconds().unsigned_abs()).as_secs_f64();
        let seconds = if skew < chrono::TimeDelta::zero() { -seconds } else { seconds };
        metrics::gauge!("sms_gateway_provider_clock_skew_seconds", "provider" => provider.to_owned()).set(seconds);
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
            let loaded = build::loaded(&live);
            loaded.send_rates.go_on_from(&reload.loaded.load().send_rates);
            reload.loaded.store(Arc::new(loaded));
            state.engine.replace(live);
            tracing::info!("the configuration was read again");
        }
        Err(errors) => tracing::error!(%errors, "the configuration has errors; the old one stays in force"),
    }
}
