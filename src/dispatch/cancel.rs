//! Canceling: what no provider has yet is taken out of the queue, under lock, so that it is canceled or sent and never both.

use super::Engine;
use crate::{
    domain::{
        Timestamp,
        batch::BatchRecord,
        ids::{BatchId, MessageId},
        message::MessageRecord,
        status::MessageStatus,
    },
    store::{
        Db, StoreError, batches,
        events::Receivers,
        history,
        life::{self, StoredMessage},
    },
};

/// What came of canceling a message.
#[derive(Debug, Clone, PartialEq)]
pub enum Canceled {
    /// It is canceled, by this call or by an earlier one.
    Done(Box<MessageRecord>),
    /// A provider has it, or may have it, or it has ended otherwise.
    TooLate,
    /// There is no such message for this app.
    NotThere,
}

impl Engine {
    /// Cancels a message. With an app: only if it is that app's.
    pub async fn cancel(&self, app: Option<String>, id: MessageId) -> Result<Canceled, StoreError> {
        let (now, live) = (self.clock().now(), self.live());
        Db::unit(&self.db().intake, move |connection| {
            Box::pin(async move {
                let mut locked = life::lock(&mut *connection, &[id]).await?;
                let Some(message) = locked.first_mut().filter(|it| app.as_ref().is_none_or(|app| *app == it.app))
                else {
                    return Ok(Canceled::NotThere);
                };
                let before = message.life.status;
                if !message.life.cancel(now) {
                    return Ok(Canceled::TooLate);
                }
                if before != MessageStatus::Canceled {
                    life::save(&mut *connection, &[message], None, &live.receivers, now).await?;
                }
                let record = history::find(connection, app.as_deref(), id).await?;
                Ok(record.map_or(Canceled::NotThere, |record| Canceled::Done(Box::new(record))))
            })
        })
        .await
    }

    /// Cancels those messages of a batch that no provider has yet, and gives it back as it is then. None: there is no such batch
    /// for this app.
    pub async fn cancel_batch(&self, app: Option<String>, id: BatchId) -> Result<Option<BatchRecord>, StoreError> {
        let (now, live) = (self.clock().now(), self.live());
        Db::unit(&self.db().intake, move |connection| {
            Box::pin(async move {
                if batches::find(&mut *connection, app.as_deref(), id).await?.is_none() {
                    return Ok(None);
                }
                cancel_waiting(&mut *connection, id, &live.receivers, now).await?;
                batches::find(connection, app.as_deref(), id).await
            })
        })
        .await
    }
}

async fn cancel_waiting(
    connection: &mut sqlx::PgConnection,
    id: BatchId,
    receivers: &Receivers,
    now: Timestamp,
) -> Result<(), StoreError> {
    let waiting = batches::waiting(&mut *connection, id).await?;
    let mut locked = life::lock(&mut *connection, &waiting).await?;
    // Some may have been claimed between the two looks, and some canceled.
    locked.retain_mut(|message| message.life.status != MessageStatus::Canceled && message.life.cancel(now));
    life::save(connection, &locked.iter().collect::<Vec<&StoredMessage>>(), None, receivers, now).await
}
