//! Accepting: many requests become one commit, and each is answered after its own is durable.
//!
//! There is no timer. Requests that come in while a commit runs form the next group by themselves: under load the groups grow,
//! and when it is quiet a request is committed at once.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::{Arc, atomic::Ordering},
};

use futures_util::StreamExt as _;
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc, oneshot},
    time::timeout,
};
use uuid::Uuid;

use super::{
    ANSWER_WITHIN, Engine, LiveProvider,
    line::{self, Opened, Prepared, plan::Planner},
    prefixes,
    screen::{ScreenedOut, screen},
    writers,
};
use crate::{
    domain::{Timestamp, ids::MessageId},
    fail_points::{Step, reach},
    store::{
        Db, StoreError,
        idempotency::{self, IdempotencyKey, Used},
        life::{self, Lease, StoredMessage},
        messages::{self, Insert},
    },
};

/// Parts of a group that are stored again at the same time.
const AGAIN_AT_ONCE: usize = 4;

type Write = (Insert, Option<IdempotencyKey>);
type Answer = oneshot::Sender<Result<Accepted, NotAccepted>>;

/// A request that waits for its commit.
#[derive(Debug)]
pub(super) struct Request {
    insert: Insert,
    key: Option<IdempotencyKey>,
    answer: Answer,
}

/// A message that is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accepted {
    /// Stored by this request.
    Stored(MessageId),
    /// An earlier request with the same key and body made this one.
    Replayed(MessageId),
}

/// Why nothing was stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAccepted {
    /// Too much is waiting.
    #[error("too many requests are waiting")]
    Full,
    /// The database did not confirm it. It may have done it all the same: the idempotency key tells.
    #[error("the database did not confirm it")]
    Unavailable,
    /// Another process is storing a request with this key.
    #[error("a request with this idempotency key is being stored")]
    KeyInProgress,
    /// The key was used for another request.
    #[error("the idempotency key was used for another request")]
    KeyReused,
    /// It may not be sent.
    #[error("it was screened out")]
    ScreenedOut(ScreenedOut),
}

impl Engine {
    /// Stores a message and waits until it is durable, for as long as an app can be made to wait. Dropping the future does not
    /// undo it once its commit has begun.
    pub async fn accept(&self, insert: Insert, key: Option<IdempotencyKey>) -> Result<Accepted, NotAccepted> {
        let (answer, answered) = oneshot::channel();
        let request = Request { insert, key, answer };
        self.shared.accept.try_send(request).map_err(|_| NotAccepted::Full)?;
        match timeout(ANSWER_WITHIN, answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => Err(NotAccepted::Unavailable),
        }
    }
}

pub(super) fn spawn(engine: &Engine, queue: mpsc::Receiver<Request>) {
    // They are among the calls, since they begin some: what comes of those is written down after them.
    let tracker = &engine.shared.calls;
    writers::spawn(engine, queue, &engine.shared.closed, tracker, |engine, group| async move {
        let size = u32::try_from(group.len()).unwrap_or(u32::MAX);
        metrics::histogram!("sms_gateway_accept_group_size").record(f64::from(size));
        let (of_limited, others) = by_limit(&engine, group);
        tokio::join!(store(&engine, others), store(&engine, of_limited));
    });
}

/// Messages of apps with a daily limit, and the others. The count of such an app's day is locked until the commit, so that these
/// may have to wait for it; the others shall not wait with them.
fn by_limit(engine: &Engine, group: Vec<Request>) -> (Vec<Request>, Vec<Request>) {
    let live = engine.live();
    let is_limited = |app: &str| live.config.apps.get(app).is_some_and(|app| app.daily_limit.is_some());
    group.into_iter().partition(|request| is_limited(&request.insert.message.app))
}

/// Stores one group. Requests of the group that share a key are one: the first is stored, the others replay it.
async fn store(engine: &Engine, group: Vec<Request>) {
    let now = engine.clock().now();
    let mut seen: HashSet<(String, String)> = HashSet::new();
    let (mut writes, mut answers, mut repeats) = (Vec::new(), Vec::new(), Vec::new());
    for request in group {
        // It was told to repeat, or hung up: nothing was begun for it, and those that still wait go first.
        if request.answer.is_closed() {
            continue;
        }
        let first = request.key.as_ref().is_none_or(|key| seen.insert((key.app.clone(), key.key.clone())));
        if first {
            writes.push((request.insert, request.key));
            answers.push(request.answer);
        } else {
            repeats.push(request);
        }
    }
    if writes.is_empty() {
        return;
    }
    let writes = Arc::new(writes);
    let (of_unit, opened) = (writes.clone(), Opened::default());
    let (at_once, of_opened, of_task) = (AtOnce::for_each_provider(engine, &writes), opened.clone(), engine.clone());
    let done = Db::unit(&engine.db().intake, move |connection| {
        Box::pin(async move { commit(connection, &of_task, &of_unit, at_once, &of_opened, now).await })
    })
    .await;
    let done = match done {
        Ok(outcome) => reach(Step::AcceptCommitted).await.map(|()| outcome).map_err(StoreError::from),
        Err(error) => Err(error),
    };
    match done {
        Ok(mut outcome) => {
            for (provider, prepared, mut slots) in std::mem::take(&mut outcome.calls) {
                line::make_calls(engine, &provider, prepared, &mut slots);
            }
            let stored = writes.iter().map(|(insert, _)| &insert.message);
            let codes = stored.filter(|message| outcome.stored.contains(&message.id) && prefixes::counts(message));
            engine.count_prefixes(codes.map(|message| &message.to));
            let (repeats, again) = after_refusals(&outcome, &writes, repeats);
            // What is durable does not wait for what is not.
            answer(engine, outcome, &writes, answers);
            for request in repeats {
                replay(engine, request).await;
            }
            if !again.is_empty() {
                Box::pin(store(engine, again)).await;
            }
        }
        Err(error) => {
            super::log_failure("accept", &error);
            opened.take_back(engine);
            for request in repeats {
                drop(request.answer.send(Err(NotAccepted::Unavailable)));
            }
            not_stored(engine, &error, &writes, answers).await;
        }
    }
}

/// A provider that has room for what is just being accepted: it is stored with its attempt and its lease, and goes out as soon
/// as it is durable, without being claimed.
struct AtOnce {
    planner: Planner,
    lease: Lease,
    slots: OwnedSemaphorePermit,
}

impl AtOnce {
    fn for_each_provider(engine: &Engine, writes: &[Write]) -> HashMap<String, Self> {
        if !engine.shared.dispatches || engine.is_held() || engine.stopping() {
            return HashMap::new();
        }
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for provider in writes.iter().filter_map(|(insert, _)| provider_at_once(insert)) {
            *counts.entry(provider).or_default() += 1;
        }
        let (live, lease) = (engine.live(), line::new_lease(engine));
        let room = |(name, count): (&str, usize)| {
            let provider = live.providers.get(name)?;
            let slots = provider.slots_at_once(count, engine.clock().now())?;
            let planner = Planner::new(engine, provider, lease, slots.num_permits());
            Some((name.to_owned(), Self { planner, lease, slots }))
        };
        counts.into_iter().filter_map(room).collect()
    }
}

/// The provider that a message is for, when it is due as soon as it is accepted.
fn provider_at_once(insert: &Insert) -> Option<&str> {
    let due = insert.message.send_at.is_none_or(|at| at <= insert.message.created_at);
    insert.message.plan.steps.first().filter(|_| due).map(|step| step.provider.as_str())
}

/// What a group waited for in vain, a key that another process is just using or a count, is one app's: the others are stored again
/// without it. So is each by itself when there was one that no row can hold.
async fn not_stored(engine: &Engine, error: &StoreError, writes: &[Write], answers: Vec<Answer>) {
    let waited = error.is_lock_timeout() || matches!(error, StoreError::KeyHeld);
    let first = writes.first().map(|(insert, _)| insert.message.app.as_str());
    let of_one_app = writes.iter().all(|(insert, _)| Some(insert.message.app.as_str()) == first);
    let mut again: BTreeMap<String, Vec<Request>> = BTreeMap::new();
    for (number, ((insert, key), answer)) in writes.iter().zip(answers).enumerate() {
        let request = |answer| Request { insert: insert.clone(), key: key.clone(), answer };
        if error.lies_with_the_data() && writes.len() > 1 {
            again.insert(format!("{number:03}"), vec![request(answer)]);
        } else if waited && !of_one_app {
            again.entry(insert.message.app.clone()).or_default().push(request(answer));
        } else if !matches!(error, StoreError::KeyHeld) {
            drop(answer.send(Err(NotAccepted::Unavailable)));
        } else if key.is_some() {
            drop(answer.send(Err(NotAccepted::KeyInProgress)));
        } else {
            again.entry(String::new()).or_default().push(request(answer));
        }
    }
    let again = futures_util::stream::iter(again.into_values());
    again.for_each_concurrent(AGAIN_AT_ONCE, |requests| Box::pin(store(engine, requests))).await;
}

/// Calls to one provider that are to be made, and the slots for them.
type Calls = (Arc<LiveProvider>, Vec<Prepared>, OwnedSemaphorePermit);

struct Outcome {
    stored: HashSet<MessageId>,
    /// What may not be sent; nothing was kept of it.
    screened_out: HashMap<MessageId, ScreenedOut>,
    /// The providers for which messages wait.
    waiting: BTreeSet<String>,
    calls: Vec<Calls>,
    used: HashMap<(String, String), Used>,
}

async fn commit(
    connection: &mut sqlx::PgConnection,
    engine: &Engine,
    writes: &[Write],
    at_once: HashMap<String, AtOnce>,
    opened: &Opened,
    now: Timestamp,
) -> Result<Outcome, StoreError> {
    reach(Step::AcceptRead).await?;
    let keyed: Vec<(&IdempotencyKey, Uuid)> =
        writes.iter().filter_map(|(insert, key)| Some((key.as_ref()?, insert.message.id.0))).collect();
    let taken: HashSet<Uuid> = idempotency::take(&mut *connection, &keyed, now).await?.into_iter().collect();
    let lost: Vec<&IdempotencyKey> =
        keyed.iter().filter(|(_, made)| !taken.contains(made)).map(|(key, _)| *key).collect();
    let used = if lost.is_empty() { Vec::new() } else { idempotency::find(&mut *connection, &lost).await? };
    let mut fresh: Vec<&Insert> = writes
        .iter()
        .filter(|(insert, key)| key.is_none() || taken.contains(&insert.message.id.0))
        .map(|(insert, _)| insert)
        .collect();
    let screened_out = take_out(&mut *connection, engine, &mut fresh, &keyed, now).await?;
    let lease = at_once.values().next().map(|at_once| at_once.lease);
    let (mut calls, waiting) = plan(&fresh, at_once);
    let stored: HashMap<MessageId, &StoredMessage> = calls
        .iter()
        .flat_map(|(_, prepared, _)| line::started(prepared))
        .chain(&waiting)
        .map(|message| (message.life.id, message))
        .collect();
    let inserts: Vec<(&Insert, &StoredMessage)> =
        fresh.iter().filter_map(|insert| Some((*insert, *stored.get(&insert.message.id)?))).collect();
    messages::insert(connection, &inserts, lease, &engine.live().receivers, now).await?;
    let stored = stored.into_keys().collect();
    for (_, prepared, _) in &mut calls {
        opened.note(prepared);
        line::handed_over(prepared).for_each(StoredMessage::is_inserted);
    }
    reach(Step::AcceptWritten).await?;
    Ok(Outcome {
        stored,
        screened_out,
        waiting: life::next_providers(&waiting).into_iter().collect(),
        calls,
        used: used.into_iter().map(|used| ((used.app.clone(), used.key.clone()), used)).collect(),
    })
}

/// Takes out what may not be sent, and gives back its keys: nothing is kept of it.
async fn take_out(
    connection: &mut sqlx::PgConnection,
    engine: &Engine,
    fresh: &mut Vec<&Insert>,
    keyed: &[(&IdempotencyKey, Uuid)],
    now: Timestamp,
) -> Result<HashMap<MessageId, ScreenedOut>, StoreError> {
    let verdicts = screen(&mut *connection, engine, fresh, now).await?;
    let out: HashMap<MessageId, ScreenedOut> =
        fresh.iter().zip(verdicts).filter_map(|(insert, verdict)| Some((insert.message.id, verdict?))).collect();
    if !out.is_empty() {
        fresh.retain(|insert| !out.contains_key(&insert.message.id));
        let keys = keyed.iter().filter(|(_, made)| out.contains_key(&MessageId(*made))).map(|(key, _)| *key);
        idempotency::give_back(connection, &keys.collect::<Vec<_>>()).await?;
    }
    Ok(out)
}

/// Makes calls for what has room with its provider; the rest waits in the queue.
fn plan(fresh: &[&Insert], at_once: HashMap<String, AtOnce>) -> (Vec<Calls>, Vec<StoredMessage>) {
    let mut due: HashMap<&str, Vec<StoredMessage>> = HashMap::new();
    let mut waiting = Vec::new();
    for insert in fresh {
        match provider_at_once(insert).filter(|provider| at_once.contains_key(*provider)) {
            Some(provider) => due.entry(provider).or_default().push(StoredMessage::new(insert)),
            None => waiting.push(StoredMessage::new(insert)),
        }
    }
    let calls = at_once
        .into_iter()
        .filter_map(|(name, AtOnce { planner, slots, .. })| {
            let mut due = due.remove(name.as_str())?;
            due.sort_by_key(|message| message.life.category);
            let (prepared, left) = planner.plan(due);
            waiting.extend(left);
            Some((planner.provider, prepared, slots))
        })
        .collect();
    (calls, waiting)
}

fn answer(engine: &Engine, mut outcome: Outcome, writes: &[Write], answers: Vec<Answer>) {
    let live = engine.live();
    for ((insert, key), answer) in writes.iter().zip(answers) {
        let id = insert.message.id;
        let result = if outcome.stored.contains(&id) {
            Ok(Accepted::Stored(id))
        } else if let Some(why) = outcome.screened_out.get(&id) {
            Err(NotAccepted::ScreenedOut(*why))
        } else {
            let used = key.as_ref().and_then(|key| outcome.used.remove(&(key.app.clone(), key.key.clone())));
            replayed(key.as_ref(), used)
        };
        // The client may be gone; the message stays.
        drop(answer.send(result));
    }
    for provider in outcome.waiting.iter().filter_map(|name| live.providers.get(name)) {
        provider.backlog.store(true, Ordering::Relaxed);
        provider.wake.notify_one();
    }
}

/// Requests of the group whose key was given back, since the first with that key may not be sent: the same request gets the same
/// answer, another one is to have its turn now. Gives back those that replay what was stored, and those whose turn it is.
fn after_refusals(outcome: &Outcome, writes: &[Write], repeats: Vec<Request>) -> (Vec<Request>, Vec<Request>) {
    let refused: Vec<(&IdempotencyKey, ScreenedOut)> = writes
        .iter()
        .filter_map(|(insert, key)| Some((key.as_ref()?, *outcome.screened_out.get(&insert.message.id)?)))
        .collect();
    let (mut left, mut again) = (Vec::new(), Vec::new());
    for request in repeats {
        let same_key = |own: &IdempotencyKey, key: &IdempotencyKey| own.app == key.app && own.key == key.key;
        let found = request.key.as_ref().and_then(|own| refused.iter().find(|(key, _)| same_key(own, key)));
        match found {
            None => left.push(request),
            Some((key, why)) if request.key.as_ref() == Some(*key) => {
                drop(request.answer.send(Err(NotAccepted::ScreenedOut(*why))));
            }
            Some(_) => again.push(request),
        }
    }
    (left, again)
}

fn replayed(key: Option<&IdempotencyKey>, used: Option<Used>) -> Result<Accepted, NotAccepted> {
    judge(key, used).map(|made| Accepted::Replayed(MessageId(made)))
}

/// What a request with a used key gets: what the key made.
pub(super) fn judge(key: Option<&IdempotencyKey>, used: Option<Used>) -> Result<Uuid, NotAccepted> {
    match (key, used) {
        (Some(key), Some(used)) if key.is_repeated_by(&used) => Ok(used.made),
        (Some(_), Some(_)) => Err(NotAccepted::KeyReused),
        // Forgotten between the two looks, which takes a key that is a day old: the client repeats and is stored.
        _ => Err(NotAccepted::Unavailable),
    }
}

async fn replay(engine: &Engine, request: Request) {
    let Some(key) = request.key else { return };
    let question = key.clone();
    let found = Db::unit(&engine.db().intake, move |connection| {
        Box::pin(async move { Ok(idempotency::find(connection, &[&question]).await?.pop()) })
    })
    .await;
    let result = match found {
        Ok(used) => replayed(Some(&key), used),
        Err(_) => Err(NotAccepted::Unavailable),
    };
    drop(request.answer.send(result));
}
