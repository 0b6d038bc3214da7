//! Accepting: many requests become one commit, and each is answered after its own is durable.
//!
//! There is no timer. Requests that come in while a commit runs form the next group by themselves: under load the groups grow,
//! and when it is quiet a request is committed at once.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use tokio::sync::{mpsc, oneshot};

use super::{Engine, writers};
use crate::{
    domain::ids::MessageId,
    fail_points::{Step, reach},
    store::{
        Db, StoreError,
        idempotency::{self, IdempotencyKey, Used},
        messages::{self, Insert},
    },
};

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
    /// The database did not do it. After a lost connection it may have: the idempotency key tells.
    #[error("the database did not do it")]
    Unavailable,
    /// Another process is storing a request with this key.
    #[error("a request with this idempotency key is being stored")]
    KeyInProgress,
    /// The key was used for another request.
    #[error("the idempotency key was used for another request")]
    KeyReused,
}

impl Engine {
    /// Stores a message and waits until it is durable. Dropping the future does not undo it.
    pub async fn accept(&self, insert: Insert, key: Option<IdempotencyKey>) -> Result<Accepted, NotAccepted> {
        let (answer, answered) = oneshot::channel();
        let request = Request { insert, key, answer };
        self.shared.accept.try_send(request).map_err(|_| NotAccepted::Full)?;
        answered.await.unwrap_or(Err(NotAccepted::Unavailable))
    }
}

pub(super) fn spawn(engine: &Engine, queue: mpsc::Receiver<Request>) {
    writers::spawn(engine, queue, &engine.shared.closed, |engine, group| async move {
        let size = u32::try_from(group.len()).unwrap_or(u32::MAX);
        metrics::histogram!("sms_gateway_accept_group_size").record(f64::from(size));
        store(&engine, group).await;
    });
}

/// Stores one group. Requests of the group that share a key are one: the first is stored, the others replay it.
async fn store(engine: &Engine, group: Vec<Request>) {
    let now = engine.clock().now();
    let mut seen: HashSet<(String, String)> = HashSet::new();
    let (mut writes, mut answers, mut repeats) = (Vec::new(), Vec::new(), Vec::new());
    for request in group {
        let first = request.key.as_ref().is_none_or(|key| seen.insert((key.app.clone(), key.key.clone())));
        if first {
            writes.push((request.insert, request.key));
            answers.push(request.answer);
        } else {
            repeats.push(request);
        }
    }
    let writes = Arc::new(writes);
    let of_unit = writes.clone();
    let done = Db::unit(&engine.db().intake, move |connection| {
        Box::pin(async move { commit(connection, &of_unit, now).await })
    })
    .await;
    let done = match done {
        Ok(outcome) => reach(Step::AcceptCommitted).await.map(|()| outcome).map_err(StoreError::from),
        Err(error) => Err(error),
    };
    match done {
        Ok(outcome) => {
            answer(engine, outcome, &writes, answers);
            for request in repeats {
                replay(engine, request).await;
            }
        }
        Err(error) => {
            super::log_failure("accept", &error);
            for request in repeats {
                drop(request.answer.send(Err(NotAccepted::Unavailable)));
            }
            not_stored(engine, &error, &writes, answers).await;
        }
    }
}

/// A key that another process is just using is held there: its request waits in vain and must not take the others with it.
async fn not_stored(engine: &Engine, error: &StoreError, writes: &[Write], answers: Vec<Answer>) {
    let in_use = error.is_lock_timeout() && writes.iter().any(|(_, key)| key.is_some());
    let mut again = Vec::new();
    for ((insert, key), answer) in writes.iter().zip(answers) {
        if !in_use {
            drop(answer.send(Err(NotAccepted::Unavailable)));
        } else if key.is_some() {
            drop(answer.send(Err(NotAccepted::KeyInProgress)));
        } else {
            again.push(Request { insert: insert.clone(), key: None, answer });
        }
    }
    if !again.is_empty() {
        Box::pin(store(engine, again)).await;
    }
}

struct Outcome {
    stored: HashSet<MessageId>,
    used: HashMap<(String, String), Used>,
}

async fn commit(
    connection: &mut sqlx::PgConnection,
    writes: &[Write],
    now: crate::domain::Timestamp,
) -> Result<Outcome, StoreError> {
    reach(Step::AcceptRead).await?;
    let keyed: Vec<(&IdempotencyKey, MessageId)> =
        writes.iter().filter_map(|(insert, key)| Some((key.as_ref()?, insert.message.id))).collect();
    let taken: HashSet<MessageId> = idempotency::take(&mut *connection, &keyed, now).await?.into_iter().collect();
    let lost: Vec<&IdempotencyKey> =
        keyed.iter().filter(|(_, message)| !taken.contains(message)).map(|(key, _)| *key).collect();
    let used = if lost.is_empty() { Vec::new() } else { idempotency::find(&mut *connection, &lost).await? };
    let fresh: Vec<&Insert> = writes
        .iter()
        .filter(|(insert, key)| key.is_none() || taken.contains(&insert.message.id))
        .map(|(insert, _)| insert)
        .collect();
    messages::insert(connection, &fresh).await?;
    reach(Step::AcceptWritten).await?;
    Ok(Outcome {
        stored: fresh.iter().map(|insert| insert.message.id).collect(),
        used: used.into_iter().map(|used| ((used.app.clone(), used.key.clone()), used)).collect(),
    })
}

fn answer(engine: &Engine, mut outcome: Outcome, writes: &[Write], answers: Vec<Answer>) {
    let live = engine.live();
    let mut providers: BTreeSet<&String> = BTreeSet::new();
    for ((insert, key), answer) in writes.iter().zip(answers) {
        let id = insert.message.id;
        let result = if outcome.stored.contains(&id) {
            if let Some(step) = insert.message.plan.steps.first() {
                providers.insert(&step.provider);
            }
            Ok(Accepted::Stored(id))
        } else {
            let used = key.as_ref().and_then(|key| outcome.used.remove(&(key.app.clone(), key.key.clone())));
            judge(key.as_ref(), used)
        };
        // The client may be gone; the message stays.
        drop(answer.send(result));
    }
    live.wake_all(providers);
}

/// What a request with a used key gets.
fn judge(key: Option<&IdempotencyKey>, used: Option<Used>) -> Result<Accepted, NotAccepted> {
    match (key, used) {
        (Some(key), Some(used)) if key.is_repeated_by(&used) => Ok(Accepted::Replayed(used.message)),
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
        Ok(used) => judge(Some(&key), used),
        Err(_) => Err(NotAccepted::Unavailable),
    };
    drop(request.answer.send(result));
}
