//! Accepting a batch: all of it in one commit, on a way of its own beside the groups of single messages.
//!
//! A thousand rows take long enough to be felt by whoever waits for the same commit, so batches are stored one or two at a time
//! and share nothing with single messages but the database. Nothing of them is sent at once: they wait in the queue like
//! everything that is not the first to come, and the lines are woken.

use std::{collections::HashSet, sync::atomic::Ordering};

use tokio::{sync::oneshot, time::timeout};

use super::{
    ANSWER_WITHIN, Engine,
    accept::{NotAccepted, judge},
    prefixes,
    screen::{self, ScreenedOut},
};
use crate::{
    domain::{Timestamp, batch::NewBatch, ids::BatchId, life::Cause, phone_number::PhoneNumber},
    fail_points::{Step, reach},
    store::{
        Db, StoreError, batches,
        idempotency::{self, IdempotencyKey, Used},
        life::{self, StoredMessage},
        messages::{self, Failed, Insert},
    },
};

/// Batches that one process stores at the same time; the others wait for them.
pub(super) const AT_ONCE: usize = 2;

/// A batch as it is to be stored.
#[derive(Debug, Clone)]
pub struct BatchInsert {
    /// The batch.
    pub batch: NewBatch,
    /// Its messages that are to be sent.
    pub messages: Vec<Insert>,
    /// Its messages that cannot be sent.
    pub failed: Vec<Failed>,
}

/// A batch that is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchAccepted {
    /// Stored by this request.
    Stored {
        /// So many of its messages cannot be sent.
        failed: u16,
    },
    /// An earlier request with the same key and body made this one.
    Replayed(BatchId),
}

impl Engine {
    /// Stores a batch and waits until it is durable, for as long as an app can be made to wait. Dropping the future does not undo
    /// it once its commit has begun.
    pub async fn accept_batch(
        &self,
        insert: BatchInsert,
        key: Option<IdempotencyKey>,
    ) -> Result<BatchAccepted, NotAccepted> {
        let (answer, answered) = oneshot::channel();
        let of_task = self.clone();
        self.spawn(async move {
            let mut answer = answer;
            let _turn = tokio::select! {
                biased;
                // It was told to repeat, or hung up: nothing was begun for it, and it is large.
                () = answer.closed() => return,
                Ok(turn) = of_task.shared.batches.clone().acquire_owned() => turn,
                else => return,
            };
            // The client may be gone by then; the batch stays.
            drop(answer.send(store(&of_task, insert, key).await));
        });
        match timeout(ANSWER_WITHIN, answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => Err(NotAccepted::Unavailable),
        }
    }
}

async fn store(
    engine: &Engine,
    insert: BatchInsert,
    key: Option<IdempotencyKey>,
) -> Result<BatchAccepted, NotAccepted> {
    let (now, of_task, of_unit) = (engine.clock().now(), engine.clone(), key.clone());
    let done = Db::unit(&engine.db().intake, move |connection| {
        Box::pin(async move { commit(connection, &of_task, insert, of_unit.as_ref(), now).await })
    })
    .await;
    let done = match done {
        Ok(done) => reach(Step::AcceptCommitted).await.map(|()| done).map_err(StoreError::from),
        Err(error) => Err(error),
    };
    match done {
        Ok(Done::Stored { failed, codes, providers }) => {
            engine.count_prefixes(codes.iter());
            wake(engine, &providers);
            Ok(BatchAccepted::Stored { failed })
        }
        Ok(Done::KeyInUse(used)) => judge(key.as_ref(), used).map(|made| BatchAccepted::Replayed(BatchId(made))),
        Err(StoreError::Undone) => Err(NotAccepted::ScreenedOut(ScreenedOut::day_is_used_up(now))),
        Err(error) => {
            super::log_failure("batches", &error);
            let in_use = matches!(error, StoreError::KeyHeld);
            Err(if in_use { NotAccepted::KeyInProgress } else { NotAccepted::Unavailable })
        }
    }
}

fn wake(engine: &Engine, providers: &HashSet<String>) {
    let live = engine.live();
    for provider in providers.iter().filter_map(|name| live.providers.get(name)) {
        provider.backlog.store(true, Ordering::Relaxed);
        provider.wake.notify_one();
    }
}

/// What a unit of work came to.
enum Done {
    /// All is stored.
    Stored {
        /// So many of its messages cannot be sent.
        failed: u16,
        /// The numbers of the others, where they are codes.
        codes: Vec<PhoneNumber>,
        /// The providers for which the others wait.
        providers: HashSet<String>,
    },
    /// Nothing is: the key was used, and for this.
    KeyInUse(Option<Used>),
}

/// Stores all of it; or nothing, when its key was used before. Or undoes all of it, when the app's day has no room for it.
async fn commit(
    connection: &mut sqlx::PgConnection,
    engine: &Engine,
    insert: BatchInsert,
    key: Option<&IdempotencyKey>,
    now: Timestamp,
) -> Result<Done, StoreError> {
    reach(Step::AcceptRead).await?;
    if let Some(key) = key
        && idempotency::take(&mut *connection, &[(key, insert.batch.id.0)], now).await?.is_empty()
    {
        return Ok(Done::KeyInUse(idempotency::find(connection, &[key]).await?.pop()));
    }
    let BatchInsert { batch, messages, mut failed } = insert;
    let candidates: Vec<&Insert> = messages.iter().collect();
    let verdicts = screen::screen_batch(&mut *connection, engine, &candidates, now).await?;
    let mut sendable = Vec::with_capacity(messages.len());
    for (insert, verdict) in messages.into_iter().zip(verdicts) {
        match verdict {
            None => sendable.push(insert),
            Some(why) => failed.push(born_failed(insert, why)),
        }
    }
    let (waiting, receivers): (Vec<StoredMessage>, _) =
        (sendable.iter().map(StoredMessage::new).collect(), &engine.live().receivers);
    batches::insert(&mut *connection, &batch, count(waiting.len())).await?;
    let pairs: Vec<(&Insert, &StoredMessage)> = sendable.iter().zip(&waiting).collect();
    messages::insert(&mut *connection, &pairs, None, receivers, now).await?;
    messages::insert_failed(&mut *connection, &failed, receivers, now).await?;
    if waiting.is_empty() {
        batches::announce(&mut *connection, &[batch.id], receivers, now).await?;
    }
    if !batch.test {
        screen::count_day(connection, engine, &batch.app, sendable.len(), now).await?;
    }
    reach(Step::AcceptWritten).await?;
    let codes = sendable.iter().filter(|insert| prefixes::counts(&insert.message));
    Ok(Done::Stored {
        failed: count(failed.len()),
        codes: codes.map(|insert| insert.message.to.clone()).collect(),
        providers: life::next_providers(&waiting),
    })
}

fn count(messages: usize) -> u16 {
    u16::try_from(messages).unwrap_or(u16::MAX)
}

/// A message that was well-formed and may not be sent. What would not be sent today may be tomorrow.
fn born_failed(insert: Insert, why: ScreenedOut) -> Failed {
    let retryable = why != ScreenedOut::OptedOut;
    Failed { message: insert.message, cause: Cause::own(why.error(), retryable), channel: None, from: None }
}
