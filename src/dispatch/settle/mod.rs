//! Settling: what carriers push, polls answer and the sandbox feeds, many in one commit.
//!
//! A push is kept as it came in, read, matched to its attempts and applied in one transaction, and answered after that. If the
//! applying fails, the push alone is kept, still before it is answered, and a sweep applies it later. If the database does not
//! take it in time, the spool does. If not even that is possible it is not answered with success.

mod kept;
mod matching;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use super::{ANSWER_WITHIN, Engine, Live, log_failure, writers};
use crate::{
    domain::{
        Timestamp,
        ids::{CallId, InboundMessageId, MessageId, new_uuid, time_of},
        life::{Absorbed, Changed},
        report::{Inbound, Report},
    },
    fail_points::{Step, reach},
    providers::{Callback, CallbackEvent},
    store::{
        Db, StoreError,
        callbacks::{self, CallbackState, StoredCallback},
        events,
        inbound::{self, InboundRecord},
        life::{self, StoredMessage},
        reports::{self, Match, Outcome, StoredReport},
    },
};

pub(in crate::dispatch) use kept::apply_waiting;

/// Something that came in.
#[derive(Debug)]
pub(super) struct Arrival {
    provider: String,
    /// The push that brought it, when it is not kept yet.
    callback: Option<Arc<StoredCallback>>,
    callback_id: Option<uuid::Uuid>,
    events: Vec<CallbackEvent>,
    /// The attempt that was asked about, for polls.
    asked: Option<Match>,
    answer: Option<oneshot::Sender<Result<(), NotKept>>>,
}

/// A push that could not be kept. The carrier must not be told that it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the push could not be kept")]
pub struct NotKept;

impl Engine {
    /// Keeps a push and applies what it says. `Ok` means that it is durable.
    pub async fn take_in(&self, provider: &str, push: &Callback, events: Vec<CallbackEvent>) -> Result<(), NotKept> {
        let stored = Arc::new(self.sealed(provider, push));
        if !self.shared.spool.is_in_use() {
            let (answer, answered) = oneshot::channel();
            let arrival = Arrival {
                provider: provider.to_owned(),
                callback_id: Some(stored.id),
                callback: Some(stored.clone()),
                events,
                asked: None,
                answer: Some(answer),
            };
            let taken = self.shared.settle.try_send(arrival).is_ok();
            if taken && let Ok(Ok(Ok(()))) = timeout(ANSWER_WITHIN, answered).await {
                return Ok(());
            }
        }
        // It may be stored all the same; then its replay finds it there.
        self.spool(&stored, None).await
    }

    /// Keeps a push that could not be read, for people to look at.
    pub async fn keep_unreadable(&self, provider: &str, push: &Callback, problem: &str) -> Result<(), NotKept> {
        let stored = Arc::new(self.sealed(provider, push));
        if !self.shared.spool.is_in_use() {
            let (of_unit, of_problem) = (stored.clone(), problem.to_owned());
            let kept = Db::unit(&self.db().intake, move |connection| {
                Box::pin(async move {
                    callbacks::insert(&mut *connection, &[(&of_unit, CallbackState::Unreadable)]).await?;
                    callbacks::mark(connection, of_unit.id, CallbackState::Unreadable, Some(&of_problem)).await
                })
            });
            match timeout(ANSWER_WITHIN, kept).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(error)) => log_failure("callbacks", &error),
                Err(_) => {}
            }
        }
        self.spool(&stored, Some(problem)).await
    }

    fn sealed(&self, provider: &str, push: &Callback) -> StoredCallback {
        let id = new_uuid(push.received_at);
        StoredCallback {
            id,
            provider: provider.to_owned(),
            headers: push.headers.clone(),
            path: push.path_and_query.clone(),
            body: self.secrets().seal(&push.body, id.as_bytes()),
            call_reference: push.call_reference.clone(),
        }
    }

    /// Hands in the answer to a question about an attempt.
    pub(super) async fn polled(&self, provider: &str, asked: Match, report: Report) {
        let arrival = Arrival {
            provider: provider.to_owned(),
            callback: None,
            callback_id: None,
            events: vec![CallbackEvent::Report(report)],
            asked: Some(asked),
            answer: None,
        };
        drop(self.shared.settle.send(arrival).await);
    }
}

pub(super) fn spawn(
    engine: &Engine,
    queue: mpsc::Receiver<Arrival>,
    mut feed: mpsc::Receiver<(String, Vec<CallbackEvent>)>,
) {
    let tracker = &engine.shared.writers;
    writers::spawn(engine, queue, &engine.shared.ended, tracker, |engine, group| async move {
        settle(&engine, group).await;
    });
    let of_task = engine.clone();
    engine.spawn_writer(async move {
        loop {
            let next = tokio::select! {
                next = feed.recv() => next,
                () = of_task.shared.ended.cancelled() => None,
            };
            let Some((provider, events)) = next else { return };
            let arrival = Arrival { provider, callback: None, callback_id: None, events, asked: None, answer: None };
            if of_task.shared.settle.send(arrival).await.is_err() {
                return;
            }
        }
    });
}

async fn settle(engine: &Engine, group: Vec<Arrival>) {
    let (live, now) = (engine.live(), engine.clock().now());
    let group = Arc::new(group);
    let unit = |reading| {
        let (live, arrivals) = (live.clone(), group.clone());
        Db::unit(&engine.db().intake, move |connection| {
            Box::pin(async move {
                reach(Step::PushRead).await?;
                let next = apply(connection, &live, &arrivals, reading, now).await?;
                reach(Step::PushWritten).await?;
                Ok(next)
            })
        })
    };
    let done = match unit(Reading::Free).await {
        // Somebody else had to do with one of the messages at the same time.
        Err(StoreError::Overtaken) => unit(Reading::Locked).await,
        done => done,
    };
    let done = match done {
        Ok(next) => reach(Step::PushCommitted).await.map(|()| next).map_err(StoreError::from),
        Err(error) => Err(error),
    };
    let Ok(mut group) = Arc::try_unwrap(group) else { return };
    match done {
        Ok(next) => {
            engine.live().wake_all(&next);
            engine.tell();
            for arrival in &mut group {
                arrival.answer(Ok(()));
            }
        }
        Err(error) => {
            log_failure("settle", &error);
            for mut arrival in group {
                if arrival.callback.is_none() && !error.lies_with_the_data() {
                    again_soon(engine, arrival);
                    continue;
                }
                if !error.lies_with_the_data() && !error.is_lock_timeout() {
                    // The database is away. Whoever waits for the answer has the spool.
                    arrival.answer(Err(NotKept));
                    continue;
                }
                let kept = keep(engine, arrival.callback.take()).await;
                arrival.answer(kept);
            }
        }
    }
}

/// What a poll or the sandbox said is not kept anywhere else: it is tried again when the database may be back.
fn again_soon(engine: &Engine, arrival: Arrival) {
    let of_task = engine.clone();
    engine.spawn_writer(async move {
        tokio::time::sleep(super::AFTER_FAILURE).await;
        // At the end of the process nobody takes it any more: a poll is made again, and its window closes in any case.
        if !of_task.shared.ended.is_cancelled() {
            drop(of_task.shared.settle.send(arrival).await);
        }
    });
}

impl Arrival {
    fn answer(&mut self, kept: Result<(), NotKept>) {
        if let Some(answer) = self.answer.take() {
            // The carrier may be gone; what it said stays.
            let _ = answer.send(kept);
        }
    }
}

/// Keeps a push by itself; a sweep applies it later.
async fn keep(engine: &Engine, callback: Option<Arc<StoredCallback>>) -> Result<(), NotKept> {
    let Some(callback) = callback else { return Ok(()) };
    Db::unit(&engine.db().intake, move |connection| {
        Box::pin(async move { callbacks::insert(connection, &[(&callback, CallbackState::Waiting)]).await })
    })
    .await
    .map_err(|error| {
        log_failure("callbacks", &error);
        NotKept
    })
}

async fn apply(
    connection: &mut sqlx::PgConnection,
    live: &Live,
    arrivals: &[Arrival],
    reading: Reading,
    now: Timestamp,
) -> Result<HashSet<String>, StoreError> {
    let new: Vec<(&StoredCallback, CallbackState)> =
        arrivals.iter().filter_map(|arrival| Some((arrival.callback.as_deref()?, CallbackState::Done))).collect();
    callbacks::insert(&mut *connection, &new).await?;
    let (mut reports, mut arrived) = sort(live, arrivals, now);
    matching::find_attempts(&mut *connection, live, &mut reports, now).await?;
    matching::decide_doubtful(live, &mut reports, &mut arrived);
    let polled: Vec<bool> = reports.iter().map(|sorted| sorted.polled).collect();
    let mut kept: Vec<StoredReport> = reports.into_iter().map(|sorted| sorted.report).collect();
    let next = absorb_all(&mut *connection, live, &mut kept, reading, now).await?;
    // What a carrier says by itself is kept whatever it is; the same answer to each of our questions tells nothing.
    let mut polled = polled.into_iter();
    kept.retain(|report| polled.next() != Some(true) || report.outcome != Outcome::Ignored);
    reports::insert(&mut *connection, &kept).await?;
    for inbound in arrived {
        if inbound::insert(&mut *connection, &inbound).await? {
            events::of_inbound(&mut *connection, &inbound, &live.receivers, now).await?;
        }
    }
    Ok(next)
}

/// A report on its way, and the inbound message that it may be instead.
struct Sorted {
    report: StoredReport,
    or_inbound: Option<InboundRecord>,
    /// It answers a question of ours.
    polled: bool,
}

fn sort(live: &Live, arrivals: &[Arrival], now: Timestamp) -> (Vec<Sorted>, Vec<InboundRecord>) {
    let (mut reports, mut arrived) = (Vec::new(), Vec::new());
    for arrival in arrivals {
        for event in &arrival.events {
            match event {
                CallbackEvent::Report(report) => {
                    reports.push(Sorted {
                        report: stored(arrival, report, now),
                        or_inbound: None,
                        polled: arrival.asked.is_some(),
                    });
                }
                CallbackEvent::Inbound(inbound) => arrived.push(received(live, arrival, inbound, now)),
                CallbackEvent::ReportOrInbound(report, inbound) => reports.push(Sorted {
                    report: stored(arrival, report, now),
                    or_inbound: Some(received(live, arrival, inbound, now)),
                    polled: false,
                }),
                CallbackEvent::Unreadable { problem } => {
                    tracing::warn!(
                        provider = arrival.provider,
                        problem,
                        "a part of a push could not be read; it is kept"
                    );
                    metrics::counter!("sms_gateway_callbacks_unreadable_total", "provider" => arrival.provider.clone())
                        .increment(1);
                }
            }
        }
    }
    (reports, arrived)
}

fn stored(arrival: &Arrival, report: &Report, now: Timestamp) -> StoredReport {
    metrics::counter!("sms_gateway_reports_total", "provider" => arrival.provider.clone()).increment(1);
    StoredReport {
        id: new_uuid(now),
        callback_id: arrival.callback_id,
        provider: arrival.provider.clone(),
        call_id: report.target.call_reference.as_deref().and_then(|text| text.parse::<CallId>().ok()),
        report: report.clone().storable(),
        matched: arrival.asked,
        outcome: Outcome::Waiting,
        rematch_at: None,
    }
}

fn received(live: &Live, arrival: &Arrival, inbound: &Inbound, now: Timestamp) -> InboundRecord {
    let inbound = inbound.clone().storable();
    let channel = live.capabilities(&arrival.provider).map_or(crate::domain::content::Channel::Sms, |it| it.channel);
    InboundRecord {
        id: InboundMessageId::new(now),
        callback_id: arrival.callback_id,
        app: live.owner_of(&inbound.to).map(str::to_owned),
        channel,
        from: inbound.from.clone(),
        to: inbound.to.clone(),
        text: inbound.text.clone(),
        segments: inbound.segments,
        provider: arrival.provider.clone(),
        provider_message_id: inbound.provider_message_id.clone(),
        price: inbound.price.clone(),
        received_at: inbound.received_at.unwrap_or(now),
        created_at: now,
    }
}

/// How the messages are read that reports are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// Without locks; if somebody else changes one at the same time, all is done again.
    Free,
    /// Under lock.
    Locked,
}

/// Reads the messages that the reports are about, applies them and saves what they changed.
async fn absorb_all(
    connection: &mut sqlx::PgConnection,
    live: &Live,
    reports: &mut [StoredReport],
    reading: Reading,
    now: Timestamp,
) -> Result<HashSet<String>, StoreError> {
    let ids: HashSet<MessageId> = reports.iter().filter_map(|report| Some(report.matched?.message)).collect();
    let ids: Vec<MessageId> = ids.into_iter().collect();
    let mut messages = match reading {
        Reading::Free => life::read(&mut *connection, &ids).await?,
        Reading::Locked => life::lock(&mut *connection, &ids).await?,
    };
    absorb(reports, &mut messages, now);
    // What nothing was said about anew stays as it is: the call that is being made for it finds it as it left it.
    let applied = |report: &&StoredReport| report.outcome == Outcome::Applied;
    let changed: HashSet<MessageId> =
        reports.iter().filter(applied).filter_map(|report| Some(report.matched?.message)).collect();
    let untold = |message: &StoredMessage| message.life.attempts.iter().all(|attempt| attempt.changed == Changed::No);
    messages.retain(|message| changed.contains(&message.life.id) || !untold(message));
    life::save(connection, &messages.iter().collect::<Vec<_>>(), None, &live.receivers, now).await?;
    Ok(life::next_providers(&messages))
}

/// Lets reports act on the messages in hand, in the order in which they came, and notes what became of each.
pub(super) fn absorb(reports: &mut [StoredReport], messages: &mut [StoredMessage], now: Timestamp) {
    let places: HashMap<MessageId, usize> =
        messages.iter().enumerate().map(|(place, locked)| (locked.life.id, place)).collect();
    for report in reports {
        let found = report.matched.and_then(|found| Some((found, *places.get(&found.message)?)));
        let absorbed = found.map(|(found, place)| messages[place].life.absorb(found.attempt, &report.report, now));
        report.outcome = match absorbed {
            Some(Absorbed::Applied) => Outcome::Applied,
            Some(Absorbed::Ignored) => Outcome::Ignored,
            Some(Absorbed::BeforeAnswer) | None => {
                let age = now - time_of(report.id);
                report.matched = None;
                if age > reports::KEPT_FOR { Outcome::Unmatched } else { Outcome::Waiting }
            }
        };
        report.rematch_at = (report.outcome == Outcome::Waiting).then(|| next_look(report, now));
    }
}

/// Soon at first, since an answer may just be on its way into the database; then ever more rarely.
fn next_look(report: &StoredReport, now: Timestamp) -> Timestamp {
    let age = now - time_of(report.id);
    now + age.max(chrono::TimeDelta::seconds(1)).min(chrono::TimeDelta::hours(1))
}

/// Looks again for the attempts of reports that wait. For the sweep.
pub(super) async fn rematch(engine: &Engine) -> Result<usize, StoreError> {
    let (live, now) = (engine.live(), engine.clock().now());
    let (count, next) = Db::unit(&engine.db().work, move |connection| {
        Box::pin(async move {
            let due = reports::lock_due(&mut *connection, now).await?;
            let mut sorted: Vec<Sorted> =
                due.into_iter().map(|report| Sorted { report, or_inbound: None, polled: false }).collect();
            matching::find_attempts(&mut *connection, &live, &mut sorted, now).await?;
            let mut reports: Vec<StoredReport> = sorted.into_iter().map(|sorted| sorted.report).collect();
            let next = absorb_all(&mut *connection, &live, &mut reports, Reading::Locked, now).await?;
            reports::update(connection, &reports).await?;
            Ok((reports.len(), next))
        })
    })
    .await?;
    engine.live().wake_all(&next);
    Ok(count)
}
