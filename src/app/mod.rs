//! The composition root: a configuration becomes a running gateway.
//!
//! Everything is built here and handed down; nothing below reads the configuration file, the environment or the clock by
//! itself. A [`Gateway`] is what `serve` runs and what the tests start in their own process.

mod build;
mod import;
mod watch;

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context as _;
use arc_swap::ArcSwap;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    api::{
        frame::refusals,
        router::{callbacks_router, operations_router, router},
        state::ApiState,
    },
    callbacks,
    clock::Clock,
    config::Config,
    dispatch::{Duties, Engine},
    keys::{FirstKeys, first_start_keys},
    private_postgres::{PrivatePostgres, PrivatePostgresError},
    secrets::Secrets,
    server::{Server, ServerOptions},
    store::{Db, switches},
    webhooks::Sender,
};

pub use build::check_providers;
pub use import::import_templates;

/// What is promised to whoever stops the process is half a minute.
const STOP_WITHIN: Duration = Duration::from_secs(28);

/// Which half of the work a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// All of it.
    All,
    /// Takes requests and callbacks.
    Api,
    /// Hands messages to providers.
    Worker,
}

/// What a gateway is started with.
#[derive(Debug)]
pub struct Start {
    /// As validated.
    pub config: Config,
    /// Where it was read from, for reloads.
    pub config_path: Option<PathBuf>,
    /// Business time.
    pub clock: Clock,
    /// Which half of the work.
    pub role: Role,
    /// What `/metrics` renders.
    pub metrics: PrometheusHandle,
}

/// A running gateway.
#[derive(Debug)]
pub struct Gateway {
    address: SocketAddr,
    callback_address: Option<SocketAddr>,
    first_keys: Option<FirstKeys>,
    engine: Engine,
    sender: Option<Sender>,
    postgres: Option<PrivatePostgres>,
    stop: CancellationToken,
    servers: TaskTracker,
    watchers: TaskTracker,
}

impl Gateway {
    /// Builds everything and starts it. Returns when it takes requests.
    pub async fn start(start: Start) -> anyhow::Result<Self> {
        let Start { mut config, config_path, clock, role, metrics } = start;
        let data_dir = config.database.data_dir.clone();
        let first_keys = if config.first_start {
            let keys = first_start_keys(&data_dir, &mut rand::rng()).context("the first keys")?;
            keys.admit(&mut config.apps);
            Some(keys)
        } else {
            None
        };
        let secrets = Arc::new(Secrets::load(&config.server.secret_key, &data_dir, &mut rand::rng())?);
        let (db, postgres) = build::database(&config, &clock).await?;
        let (switched, throttled) = build::switched(&db, config.dispatch.hold_on_start, &clock).await?;
        let (feed, incoming) = tokio::sync::mpsc::channel(1024);
        let live = build::live(config, &clock, &feed)?;
        // Before anything is sent: a paused provider stays paused over a restart, and a throttled one throttled.
        live.follow(&switched);
        live.follow_throttles(throttled);
        let held = switched.get(switches::ALL_SENDING) == Some(&false);
        let (listen, callback_listen) = (live.config.server.listen, live.config.server.callback_listen);
        let loaded = Arc::new(ArcSwap::from_pointee(build::loaded(&live)));
        let duties = Duties { intake: role != Role::Worker, dispatch: role != Role::Api };
        let parts = crate::dispatch::Parts { db, clock: clock.clone(), secrets, live, held, feed: incoming };
        let engine = Engine::start(parts, duties);
        let sender = duties.dispatch.then(|| Sender::start(&engine)).transpose()?;
        if duties.intake {
            engine.try_spool().await;
        }
        let state = ApiState::new(loaded.clone(), engine.clone(), clock.clone(), metrics);
        let (stop, servers, watchers) = (CancellationToken::new(), TaskTracker::new(), TaskTracker::new());
        watch::spawn(
            &watchers,
            &stop,
            &state,
            watch::Reload { config_path, feed, loaded, first_keys: first_keys.clone() },
        );
        let serve = |address: SocketAddr, router: axum::Router| -> anyhow::Result<SocketAddr> {
            let server =
                Server::bind(address, ServerOptions::default()).with_context(|| format!("listen on {address}"))?;
            let bound = server.address();
            servers.spawn(server.run(router, refusals(clock.clone()), stop.clone()));
            Ok(bound)
        };
        let pushes = callbacks::router(engine.clone());
        let callback_address = match callback_listen.filter(|_| role != Role::Worker) {
            Some(address) => Some(serve(address, callbacks_router(state.clone(), pushes.clone()))?),
            None => None,
        };
        let main = match (role, callback_address) {
            (Role::Worker, _) => operations_router(state),
            (Role::All | Role::Api, Some(_)) => router(state, axum::Router::new()),
            (Role::All | Role::Api, None) => router(state, pushes),
        };
        let address = serve(listen, main)?;
        Ok(Self { address, callback_address, first_keys, engine, sender, postgres, stop, servers, watchers })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where carriers call, when that is a listener of its own.
    pub fn callback_address(&self) -> Option<SocketAddr> {
        self.callback_address
    }

    /// The keys that the first start made, when no apps are configured.
    pub fn first_keys(&self) -> Option<&FirstKeys> {
        self.first_keys.as_ref()
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Waits until the private PostgreSQL dies; for ever where there is none.
    pub async fn database_died(&self) -> PrivatePostgresError {
        match &self.postgres {
            Some(postgres) => postgres.died().await,
            None => std::future::pending().await,
        }
    }

    /// Stops taking requests, finishes calls in flight, gives back what was not started, and ends. What cannot finish in time is
    /// dropped: its lease makes it `unknown`.
    pub async fn stop(self) {
        self.stop.cancel();
        self.engine.stop_sending();
        let drain = async {
            self.servers.close();
            self.servers.wait().await;
            let webhooks = async {
                if let Some(sender) = &self.sender {
                    sender.drain().await;
                }
            };
            tokio::join!(webhooks, self.engine.drain());
            self.watchers.close();
            self.watchers.wait().await;
            self.engine.db().close().await;
        };
        if tokio::time::timeout(STOP_WITHIN, drain).await.is_err() {
            tracing::warn!("not everything could be finished in time");
        }
        if let Some(postgres) = self.postgres {
            postgres.stop().await;
        }
    }
}

/// Opens the database of a configuration and brings its tables up to date.
pub async fn migrate(config: &Config, clock: &Clock) -> anyhow::Result<()> {
    let (db, postgres): (Db, _) = build::database(config, clock).await?;
    db.close().await;
    if let Some(postgres) = postgres {
        postgres.stop().await;
    }
    Ok(())
}
