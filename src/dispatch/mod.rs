//! The engine: from an accepted message to its last report.
//!
//! | part | does |
//! | --- | --- |
//! | [`accept`] | stores what apps send, many requests in one commit |
//! | [`batches`] | stores batches, each in a commit of its own |
//! | [`cancel`] | takes back what no provider has yet |
//! | [`mod@line`] | one task for each provider: claims what is due, opens attempts, makes the calls |
//! | [`record`] | writes down what came of the calls, many in one commit |
//! | [`settle`] | takes in what carriers push, polls answer and the sandbox feeds |
//! | `spool` | keeps pushes in local files while the database does not take them |
//! | [`sweep`] | what time brings: leases that ran out, validity, windows, polls, partitions |
//!
//! Every part has messages under a row lock or with their versions, lets one thing happen to each ([`crate::domain::life`]), and
//! saves them in one transaction. No transaction is open while a provider is called. There is no leader: any number of processes
//! do all of this on one database.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    clock::Clock,
    error_chain::chain,
    providers::CallbackEvent,
    secrets::Secrets,
    store::{
        Db, StoreError, switches,
        throttles::{self, Throttle},
    },
};

pub mod accept;
pub mod availability;
mod backlog;
pub mod batches;
pub mod breaker;
pub mod cancel;
pub mod health;
pub mod line;
pub mod live;
pub mod ramp;
pub mod record;
pub mod settle;
mod spool;
pub mod sweep;
pub(crate) mod writers;

pub use live::{Live, LiveProvider};

/// How many units of work may wait for a writer before the gateway says that it is full.
const QUEUE_LENGTH: usize = 4096;
/// Apps and carriers are not kept waiting for the database for longer; what was begun for them goes on.
const ANSWER_WITHIN: Duration = Duration::from_millis(1800);
/// After a database failure, so long until the next try.
const AFTER_FAILURE: Duration = Duration::from_millis(200);

/// What all parts of the engine share.
#[derive(Debug, Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    db: Db,
    clock: Clock,
    secrets: Arc<Secrets>,
    live: ArcSwap<Live>,
    backlog: ArcSwap<backlog::Backlog>,
    accept: mpsc::Sender<accept::Request>,
    /// Turns at storing a batch.
    batches: Arc<Semaphore>,
    record: mpsc::Sender<record::Entry>,
    settle: mpsc::Sender<settle::Arrival>,
    spool: spool::Spool,
    changed: Notify,
    /// There may be something to tell apps.
    told: Notify,
    /// Messages are handed to providers by this process.
    dispatches: bool,
    /// An operator has to release all sending first.
    held: AtomicBool,
    /// Held while a switch is made or followed: what was read before a switch must not undo it.
    switching: tokio::sync::Mutex<()>,
    /// Nothing new is begun.
    stop: CancellationToken,
    /// No more requests come in.
    closed: CancellationToken,
    /// What begins things: lines, sweeps, calls.
    calls: TaskTracker,
    /// All calls have ended.
    ended: CancellationToken,
    /// What writes down.
    writers: TaskTracker,
}

/// What the engine is built from.
#[derive(Debug)]
pub struct Parts {
    /// The database.
    pub db: Db,
    /// Business time.
    pub clock: Clock,
    /// Keys for content at rest and call references.
    pub secrets: Arc<Secrets>,
    /// Providers, routes, templates and apps, as they are now.
    pub live: Live,
    /// Nothing is sent until an operator releases it.
    pub held: bool,
    /// What drivers inside the process feed in.
    pub feed: mpsc::Receiver<(String, Vec<CallbackEvent>)>,
}

/// Which half of the engine a process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Duties {
    /// Takes requests of apps and pushes of carriers.
    pub intake: bool,
    /// Hands messages to providers.
    pub dispatch: bool,
}

impl Engine {
    /// Starts the engine's tasks.
    pub fn start(parts: Parts, duties: Duties) -> Self {
        let (accept, accept_queue) = mpsc::channel(QUEUE_LENGTH);
        let (record, record_queue) = mpsc::channel(QUEUE_LENGTH);
        let (settle, settle_queue) = mpsc::channel(QUEUE_LENGTH);
        let (spool, spool_queue) = spool::Spool::new(&parts.live.config);
        let engine = Self {
            shared: Arc::new(Shared {
                db: parts.db,
                clock: parts.clock,
                secrets: parts.secrets,
                live: ArcSwap::from_pointee(parts.live),
                backlog: ArcSwap::default(),
                accept,
                batches: Arc::new(Semaphore::new(batches::AT_ONCE)),
                record,
                settle,
                spool,
                changed: Notify::new(),
                told: Notify::new(),
                dispatches: duties.dispatch,
                held: AtomicBool::new(parts.held),
                switching: tokio::sync::Mutex::default(),
                stop: CancellationToken::new(),
                closed: CancellationToken::new(),
                calls: TaskTracker::new(),
                ended: CancellationToken::new(),
                writers: TaskTracker::new(),
            }),
        };
        if duties.intake {
            accept::spawn(&engine, accept_queue);
            spool::spawn(&engine, spool_queue);
        }
        settle::spawn(&engine, settle_queue, parts.feed);
        record::spawn(&engine, record_queue);
        if duties.dispatch {
            line::spawn(&engine);
            sweep::spawn(&engine);
        }
        engine
    }

    /// The database.
    pub fn db(&self) -> &Db {
        &self.shared.db
    }

    /// Business time.
    pub fn clock(&self) -> &Clock {
        &self.shared.clock
    }

    /// Keys for content at rest and call references.
    pub fn secrets(&self) -> &Secrets {
        &self.shared.secrets
    }

    /// Providers, routes, templates and apps, as they are now.
    pub fn live(&self) -> Arc<Live> {
        self.shared.live.load_full()
    }

    /// Puts a new configuration in place. Calls in flight end with the one that they began with.
    pub fn replace(&self, live: Live) {
        let paused =
            |(name, provider): (&String, &Arc<LiveProvider>)| (name.clone(), !provider.availability.is_paused());
        let before = self.live();
        live.follow(&before.providers.iter().map(paused).collect());
        let throttle =
            |(name, provider): (&String, &Arc<LiveProvider>)| Some((name.clone(), provider.availability.throttle()?));
        live.follow_throttles(before.providers.iter().filter_map(throttle).collect());
        self.shared.live.store(Arc::new(live));
        self.shared.changed.notify_waiters();
    }

    /// Is all sending held?
    pub fn is_held(&self) -> bool {
        self.shared.held.load(Ordering::Relaxed)
    }

    /// Pauses or resumes a provider for all processes; each follows within a second.
    pub async fn switch_provider(&self, provider: &str, enabled: bool) -> Result<(), StoreError> {
        let _switching = self.shared.switching.lock().await;
        self.switch(provider, enabled).await?;
        if let Some(provider) = self.live().providers.get(provider) {
            provider.availability.pause(!enabled);
            if enabled {
                provider.availability.try_again();
            }
            provider.wake.notify_one();
        }
        Ok(())
    }

    /// Holds or releases all sending, for all processes; each follows within a second.
    pub async fn switch_sending(&self, enabled: bool) -> Result<(), StoreError> {
        let _switching = self.shared.switching.lock().await;
        self.switch(switches::ALL_SENDING, enabled).await?;
        self.shared.held.store(!enabled, Ordering::Relaxed);
        self.shared.changed.notify_waiters();
        Ok(())
    }

    /// Reads what operators switched, in whichever process. Whoever runs an engine calls this about every second.
    pub async fn follow_switches(&self) -> Result<(), StoreError> {
        let _switching = self.shared.switching.lock().await;
        let now = self.clock().now();
        let (switched, throttled) = self
            .db()
            .read(move |connection| {
                Box::pin(
                    async move { Ok((switches::all(&mut *connection).await?, throttles::all(connection, now).await?)) },
                )
            })
            .await?;
        let held = switched.get(switches::ALL_SENDING) == Some(&false);
        if self.shared.held.swap(held, Ordering::Relaxed) != held {
            self.shared.changed.notify_waiters();
        }
        self.live().follow(&switched);
        self.live().follow_throttles(throttled);
        Ok(())
    }

    /// Writes down for all processes, and for the next start, that a provider asked for a pause.
    fn share_throttle(&self, provider: &str, throttle: Throttle) {
        let (of_task, provider) = (self.clone(), provider.to_owned());
        self.spawn_writer(async move {
            let written = Db::unit(&of_task.db().work, move |connection| {
                Box::pin(async move { throttles::set(connection, &provider, &throttle).await })
            });
            if let Err(error) = written.await {
                log_failure("throttles", &error);
            }
        });
    }

    async fn switch(&self, name: &str, enabled: bool) -> Result<(), StoreError> {
        let (name, now) = (name.to_owned(), self.clock().now());
        Db::unit(&self.db().work, move |connection| {
            Box::pin(async move {
                if enabled {
                    // Who resumes a provider means it: also if it asked for a pause.
                    throttles::lift(&mut *connection, &name).await?;
                }
                switches::set(connection, &name, enabled, now).await
            })
        })
        .await
    }

    /// Begins nothing new: what is not with a provider yet is left to others, or to the next start. Requests and pushes that
    /// still come in are taken.
    pub fn stop_sending(&self) {
        self.shared.stop.cancel();
    }

    /// Finishes the calls in flight and writes down what came of them. Nobody calls any more.
    pub async fn drain(&self) {
        self.stop_sending();
        self.shared.closed.cancel();
        self.shared.calls.close();
        self.shared.calls.wait().await;
        self.shared.ended.cancel();
        self.shared.writers.close();
        self.shared.writers.wait().await;
    }

    /// There may be something to tell apps.
    pub fn tell(&self) {
        self.shared.told.notify_one();
    }

    /// Waits until there may be something to tell apps. For one task.
    pub async fn told(&self) {
        self.shared.told.notified().await;
    }

    /// A task that begins things.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.shared.calls.spawn(task);
    }

    /// A task that writes things down, until all that begin things have ended.
    fn spawn_writer(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.shared.writers.spawn(task);
    }

    /// Waits a little, or until the clock is put forward, the configuration changes, or the engine stops.
    pub async fn pause(&self, length: Duration) {
        tokio::select! {
            () = tokio::time::sleep(length) => {}
            () = self.shared.clock.moved() => {}
            () = self.shared.changed.notified() => {}
            () = self.shared.stop.cancelled() => {}
        }
    }

    /// Is nothing new begun any more?
    pub fn stopping(&self) -> bool {
        self.shared.stop.is_cancelled()
    }
}

/// Logs a database failure once, where it is handled.
fn log_failure(part: &'static str, error: &StoreError) {
    tracing::error!(part, error = chain(error), "the database did not do it");
}
