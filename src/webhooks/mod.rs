//! What we call of apps: events are delivered to webhooks, signed, at least once, each with an id that never changes.
//!
//! | part | does |
//! | --- | --- |
//! | here | looks whom something waits for, takes it under a lease, lets each receiver have its own room |
//! | [`deliver`] | one try: where to, with what, and what the answer means |
//! | [`post`] | the client: no redirects, no proxies, short answers |
//! | [`sign`] | Standard Webhooks 1.0.0 |
//! | [`schedule`] | when it is tried again |
//! | [`mod@line`] | how a receiver is doing |
//! | [`record`] | writes down what came of it, many in one commit |
//!
//! Events themselves are written by whoever changes a message (`store::events`). Any number of processes deliver; what one has
//! taken the others pass over. A process that dies between an answer and its commit leaves a lease that runs out, and the event is
//! sent once more with the same id.

mod deliver;
mod line;
mod post;
mod record;
pub mod schedule;
mod sign;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

use self::{line::LineState, post::Poster, record::Entry};
use crate::{
    config::Config,
    dispatch::{Engine, writers},
    domain::{Timestamp, ids::EventId},
    error_chain::chain,
    store::{
        Db, StoreError,
        deliveries::{self, Claims, Line, Place, Waiting},
        life::Lease,
    },
};

/// How often it is looked for what is due, when nothing says that there is something.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Looking more often than this gains nothing: what came meanwhile is found together.
const REST: Duration = Duration::from_millis(20);
const AFTER_FAILURE: Duration = Duration::from_millis(200);
/// A receiver that takes longer does not keep the process from ending.
const WAITED_FOR_AT_THE_END: Duration = Duration::from_secs(5);
/// Results that wait for their commit.
const QUEUE_LENGTH: usize = 4096;
/// Receivers of which nothing is on its way are remembered up to this many.
const REMEMBERED: usize = 1024;
/// Whatever waits for a receiver is due before this.
const WHENEVER: chrono::TimeDelta = chrono::TimeDelta::days(3650);

/// Receivers that are claimed for at once: the engine's other work needs its connections too.
const CLAIMS: usize = 2;
/// With less room than this it is waited for a little, so that several events share a claim.
const ROOM: usize = 4;
const ROOM_WITHIN: Duration = Duration::from_millis(10);

type Key = (String, String);

/// Delivers events until it is told to end.
#[derive(Debug, Clone)]
pub struct Sender {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    engine: Engine,
    poster: Poster,
    lines: Mutex<HashMap<Key, Arc<LineState>>>,
    results: mpsc::Sender<Entry>,
    claims: Semaphore,
    tries: TaskTracker,
    /// What is not answered by now is not waited for.
    cut: CancellationToken,
    /// All tries have ended.
    ended: CancellationToken,
    writers: TaskTracker,
}

impl Sender {
    /// Starts delivering what the engine's database holds.
    pub fn start(engine: &Engine) -> Result<Self, reqwest::Error> {
        let (results, queue) = mpsc::channel(QUEUE_LENGTH);
        let sender = Self {
            shared: Arc::new(Shared {
                engine: engine.clone(),
                poster: Poster::new()?,
                lines: Mutex::default(),
                results,
                claims: Semaphore::new(CLAIMS),
                tries: TaskTracker::new(),
                cut: CancellationToken::new(),
                ended: CancellationToken::new(),
                writers: TaskTracker::new(),
            }),
        };
        let Shared { ended, writers: tracker, .. } = &*sender.shared;
        writers::spawn(engine, queue, ended, tracker, |engine, group| async move {
            record::record(&engine, group).await;
        });
        let of_task = sender.clone();
        sender.shared.tries.spawn(async move {
            // In a task of its own, so that a panic is not the end of all webhooks.
            while let Err(panic) = tokio::spawn(of_task.clone().run()).await {
                if !panic.is_panic() {
                    return;
                }
                tracing::error!(part = "webhooks", error = chain(&panic), "looking for what is due panicked");
                of_task.shared.engine.pause(AFTER_FAILURE).await;
            }
        });
        Ok(sender)
    }

    /// Waits a little for the tries on their way and writes down what came of them. The engine must have been stopped before.
    pub async fn drain(&self) {
        self.shared.tries.close();
        if timeout(WAITED_FOR_AT_THE_END, self.shared.tries.wait()).await.is_err() {
            self.shared.cut.cancel();
            self.shared.tries.wait().await;
        }
        self.shared.ended.cancel();
        self.shared.writers.close();
        self.shared.writers.wait().await;
    }

    async fn run(self) {
        let engine = &self.shared.engine;
        let (mut config, mut lagging) = (None, HashSet::new());
        while !engine.stopping() {
            if let Err(error) = self.look(&mut config, &mut lagging).await {
                tracing::error!(part = "webhooks", error = chain(&error), "the database did not do it");
                engine.pause(AFTER_FAILURE).await;
            }
            tokio::select! {
                () = engine.pause(LOOK_EVERY) => {}
                () = engine.told() => tokio::time::sleep(REST).await,
            }
        }
    }

    /// Looks whom something waits for, and lets those lines run for which something is to be done.
    async fn look(&self, seen: &mut Option<Arc<Config>>, lagging: &mut HashSet<String>) -> Result<(), StoreError> {
        let engine = &self.shared.engine;
        let (config, now) = (engine.live().config.clone(), engine.clock().now());
        let changed = seen.as_ref().is_none_or(|seen| !Arc::ptr_eq(seen, &config));
        let configured = changed.then(|| webhooks_of(&config));
        let lines = Db::unit(&engine.db().work, move |connection| {
            Box::pin(async move {
                if let Some(configured) = configured {
                    deliveries::forget_switches(&mut *connection, &configured).await?;
                }
                deliveries::lines(connection, now).await
            })
        })
        .await?;
        *seen = Some(config);
        tell_lag(&lines, lagging, now);
        for Waiting { line, due, is_paused, .. } in lines {
            let Some(due) = due.filter(|_| !is_paused) else { continue };
            let state = self.state_of(&line);
            let due = due <= now || state.ahead().is_some();
            if (due || state.probe(now))
                && !state.is_paused(now)
                && let Some(taken) = state.take()
            {
                let of_task = self.clone();
                self.shared.tries.spawn(async move {
                    of_task.run_line(&line, &state, !due).await;
                    drop(taken);
                });
            }
        }
        Ok(())
    }

    fn state_of(&self, line: &Line) -> Arc<LineState> {
        let mut lines = self.shared.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() > REMEMBERED {
            lines.retain(|_, state| !state.is_idle());
        }
        lines.entry((line.app.clone(), line.receiver.clone())).or_default().clone()
    }

    /// Takes what is due for one receiver and sends it, as much at once as there is room, until nothing is left.
    async fn run_line(&self, line: &Line, state: &Arc<LineState>, is_probe: bool) {
        let engine = &self.shared.engine;
        while !engine.stopping() && !state.is_paused(engine.clock().now()) {
            let Some(mut room) = room(state, is_probe).await else { return };
            if engine.stopping() {
                return;
            }
            let claims = match self.claim_next(line, state, room.num_permits(), is_probe).await {
                Ok(claims) => claims,
                Err(error) => {
                    tracing::error!(part = "webhooks", error = chain(&error), "the database did not do it");
                    return;
                }
            };
            for event in &claims.unreadable {
                tracing::error!(part = "webhooks", event = %EventId(*event), "an event cannot be read and is failed");
            }
            if claims.last.is_none() {
                return;
            }
            for claimed in claims.events {
                let Some(slot) = room.split(1) else { break };
                let (of_task, line, state) = (self.clone(), line.clone(), state.clone());
                self.shared.tries.spawn(async move {
                    let Shared { engine, poster, results, cut, .. } = &*of_task.shared;
                    tokio::select! {
                        entry = deliver::deliver(engine, poster, &state, &line, claimed) => {
                            drop(results.send(entry).await);
                        }
                        // Its lease runs out, and it is sent again.
                        () = cut.cancelled() => {}
                    }
                    drop(slot);
                });
            }
            if is_probe {
                return;
            }
        }
    }

    /// What is due; and if that is nothing, what a receiver that is back has been waiting for.
    async fn claim_next(
        &self,
        line: &Line,
        state: &LineState,
        room: usize,
        is_probe: bool,
    ) -> Result<Claims, StoreError> {
        let now = self.shared.engine.clock().now();
        if is_probe {
            return self.claim(line, (Place::FIRST, now + WHENEVER), room).await;
        }
        let due = self.claim(line, (Place::FIRST, now), room).await?;
        if due.last.is_some() {
            return Ok(due);
        }
        let Some(from) = state.ahead() else { return Ok(due) };
        let claims = self.claim(line, (from, now + WHENEVER), room).await?;
        state.went_ahead(from, claims.last);
        Ok(claims)
    }

    async fn claim(&self, line: &Line, range: (Place, Timestamp), room: usize) -> Result<Claims, StoreError> {
        let engine = &self.shared.engine;
        let config = engine.live().config.clone();
        let webhook = config.apps.get(&line.app).and_then(|app| app.webhook_url.as_ref());
        let (webhook, line) = (webhook.map(|url| url.as_str().to_owned()), line.clone());
        let limit = i64::try_from(room).unwrap_or(i64::MAX);
        let lease = Lease { token: Uuid::new_v4(), length: line::LEASE };
        // It is never closed.
        let _turn = self.shared.claims.acquire().await.ok();
        Db::unit(&engine.db().work, move |connection| {
            Box::pin(async move { deliveries::claim(connection, &line, webhook.as_deref(), range, limit, lease).await })
        })
        .await
    }
}

/// Room for events on their way: for one of them, or for all that there is, when that is little after a short wait.
async fn room(state: &LineState, for_one: bool) -> Option<OwnedSemaphorePermit> {
    let mut room = state.slots.clone().acquire_owned().await.ok()?;
    if for_one {
        return Some(room);
    }
    let more = u32::try_from(state.slots.available_permits()).unwrap_or(0);
    if let Ok(more) = state.slots.clone().try_acquire_many_owned(more) {
        room.merge(more);
    }
    let missing = u32::try_from(ROOM.saturating_sub(room.num_permits())).unwrap_or(0);
    if missing > 0
        && let Ok(Ok(more)) = timeout(ROOM_WITHIN, state.slots.clone().acquire_many_owned(missing)).await
    {
        room.merge(more);
    }
    Some(room)
}

fn webhooks_of(config: &Config) -> Vec<(String, String)> {
    let apps = config.apps.iter();
    apps.filter_map(|(name, app)| Some((name.clone(), app.webhook_url.as_ref()?.as_str().to_owned()))).collect()
}

/// Tells the metrics for how long the oldest event of each app has been waiting, also while its receiver is away or asked for a pause.
fn tell_lag(lines: &[Waiting], lagging: &mut HashSet<String>, now: Timestamp) {
    let mut lags: BTreeMap<&str, f64> = lagging.iter().map(|app| (app.as_str(), 0.0)).collect();
    for waiting in lines {
        let since = waiting.due.into_iter().chain(waiting.oldest_failed).min().unwrap_or(now);
        let lag = (now - since).to_std().unwrap_or_default().as_secs_f64();
        let worst = lags.entry(&waiting.line.app).or_default();
        *worst = worst.max(lag);
    }
    for (app, lag) in &lags {
        metrics::gauge!("sms_gateway_webhook_lag_seconds", "app" => (*app).to_owned()).set(*lag);
    }
    *lagging = lines.iter().map(|waiting| waiting.line.app.clone()).collect();
}
