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
};
use crate::{
    domain::{Timestamp, batch::NewBatch, ids::BatchId},
    fail_points::{Step, reach},
    store::{
        Db, StoreError, batches,
        events::Receivers,
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
    Stored,
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
            let Ok(_turn) = of_task.shared.batches.clone().acquire_owned().await else { return };
            // It was told to repeat, or hung up: nothing was begun for it.
            if !answer.is_closed() {
                // The client may be gone by then; the batch stays.
                drop(answer.send(store(&of_task, insert, key).await));
            }
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
    let (now, of_unit, live) = (engine.clock().now(), key.clone(), engine.live());
    let waiting: Vec<StoredMessage> = insert.messages.iter().map(StoredMessage::new).collect();
    let providers = life::next_providers(&waiting);
    let done = Db::unit(&engine.db().intake, move |connection| {
        Box::pin(async move { commit(connection, &insert, &waiting, of_unit.as_ref(), &live.receivers, now).await })
    })
    .await;
    let done = match done {
        Ok(done) => reach(Step::AcceptCommitted).await.map(|()| done).map_err(StoreError::from),
        Err(error) => Err(error),
    };
    match done {
        Ok(Done::Stored) => {
            wake(engine, &providers);
            Ok(BatchAccepted::Stored)
        }
        Ok(Done::KeyInUse(used)) => judge(key.as_ref(), used).map(|made| BatchAccepted::Replayed(BatchId(made))),
        Err(error) => {
            super::log_failure("batches", &error);
            let in_use = key.is_some() && error.is_lock_timeout();
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
    Stored,
    /// Nothing is: the key was used, and for this.
    KeyInUse(Option<Used>),
}

/// Stores all of it; or nothing, when its key was used before.
async fn commit(
    connection: &mut sqlx::PgConnection,
    insert: &BatchInsert,
    waiting: &[StoredMessage],
    key: Option<&IdempotencyKey>,
    receivers: &Receivers,
    now: Timestamp,
) -> Result<Done, StoreError> {
    reach(Step::AcceptRead).await?;
    if let Some(key) = key
        && idempotency::take(&mut *connection, &[(key, insert.batch.id.0)], now).await?.is_empty()
    {
        return Ok(Done::KeyInUse(idempotency::find(connection, &[key]).await?.pop()));
    }
    let open = u16::try_from(waiting.len()).unwrap_or(u16::MAX);
    batches::insert(&mut *connection, &insert.batch, open).await?;
    let pairs: Vec<(&Insert, &StoredMessage)> = insert.messages.iter().zip(waiting).collect();
    messages::insert(&mut *connection, &pairs, None, receivers, now).await?;
    messages::insert_failed(&mut *connection, &insert.failed, receivers, now).await?;
    if open == 0 {
        batches::announce(connection, &[insert.batch.id], receivers, now).await?;
    }
    reach(Step::AcceptWritten).await?;
    Ok(Done::Stored)
}
