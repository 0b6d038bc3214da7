//! A unit of work on one connection. It ends in bounded time, whatever the network does, and a connection that may be spoilt is
//! not used again.
//!
//! The server bounds each statement and each lock by itself. It cannot bound its own silence: behind a network that swallows
//! packets nothing would ever come back, neither answers nor errors, and the driver sets no keepalive. So a unit ends when
//! nothing at all was heard for longer than any statement may take. Its connection is closed then and never given back: a
//! database future that is cut off leaves its connection in the middle of something.

use std::{future::poll_fn, panic::AssertUnwindSafe, pin::pin, task::Poll, time::Duration};

use futures_util::{FutureExt as _, future::BoxFuture};
use sqlx::{
    Connection, PgConnection, PgPool, Postgres,
    pool::PoolConnection,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::{
    sync::oneshot,
    time::{Instant, sleep, timeout},
};

use super::StoreError;

/// For a free connection that answers, or a new one.
const ACQUIRE_WITHIN: Duration = Duration::from_millis(1500);
/// More than the server's own limit for a statement, which tells more than silence does.
pub(super) const SILENCE: Duration = Duration::from_secs(6);
/// The same for the making and dropping of days' tables, whose statements may take two minutes.
pub(super) const LONG_SILENCE: Duration = Duration::from_secs(130);
/// For what came in while the whole process was stopped.
const LAST_LOOK: Duration = Duration::from_millis(500);
/// A connection that was not used for so long is asked whether it is still there before it is used.
const ASKED_AFTER: Duration = Duration::from_millis(100);
/// Until a connection has shown that it can be used again.
const GIVEN_BACK_WITHIN: Duration = Duration::from_secs(2);

/// A pool whose connections are made when they are needed.
pub(super) fn pool(options: PgConnectOptions, size: u32) -> PgPool {
    PgPoolOptions::new()
        .max_connections(size)
        .acquire_timeout(ACQUIRE_WITHIN)
        .test_before_acquire(false)
        .before_acquire(|connection, history| {
            Box::pin(async move {
                if history.idle_for > ASKED_AFTER {
                    connection.ping().await?;
                }
                Ok(true)
            })
        })
        .after_release(|connection, _| {
            Box::pin(async move {
                let outside =
                    sqlx::raw_sql("select now() = statement_timestamp() as outside").fetch_one(connection).await;
                Ok(outside.and_then(|row| sqlx::Row::try_get::<bool, _>(&row, "outside")).unwrap_or(false))
            })
        })
        .connect_lazy_with(options)
}

/// Runs work in one transaction, in a task of its own, and commits it. Dropping the future does not cut the work off.
pub(super) async fn in_transaction<T, F>(
    pool: &PgPool,
    begin: &'static str,
    silence: Duration,
    work: F,
) -> Result<T, StoreError>
where
    T: Send + 'static,
    F: for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, Result<T, StoreError>> + Send + 'static,
{
    let (pool, (answer, answered)) = (pool.clone(), oneshot::channel());
    tokio::spawn(async move {
        let mut connection = match pool.acquire().await {
            Ok(connection) => connection,
            Err(error) => {
                // Whoever waits for the answer may want back what the work holds.
                drop(work);
                return drop(answer.send(Err(error.into())));
            }
        };
        let committed = AssertUnwindSafe(commit(&mut connection, begin, work)).catch_unwind();
        let cut_off = match unless_silent(silence, committed).await {
            Some(Ok(done)) => Ok(done),
            Some(Err(_)) => Err(StoreError::Panicked),
            None => Err(StoreError::Silent),
        };
        let done = match cut_off {
            Ok(done) => done,
            Err(error) => {
                // Taken out of the pool and closed, without a word to a server that may not hear it.
                drop(connection.detach());
                return drop(answer.send(Err(error)));
            }
        };
        let stays_so = done.as_ref().is_err_and(StoreError::is_read_only);
        drop(answer.send(done));
        if stays_so {
            connection.close_on_drop();
        } else {
            give_back(connection).await;
        }
    });
    answered.await.unwrap_or(Err(StoreError::CutOff))
}

async fn commit<T, F>(connection: &mut PgConnection, begin: &'static str, work: F) -> Result<T, StoreError>
where
    F: for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, Result<T, StoreError>>,
{
    let mut transaction = connection.begin_with(begin).await?;
    let done = work(&mut transaction).await?;
    transaction.commit().await?;
    Ok(done)
}

/// By itself the pool would wait for ever for a connection that does not answer, and be a place short for as long.
async fn give_back(mut connection: PoolConnection<Postgres>) {
    if timeout(GIVEN_BACK_WITHIN, connection.return_to_pool()).await.is_err() {
        tracing::warn!("a database connection does not answer; it was closed");
    }
}

/// Waits for work on a connection for as long as there is any sign of life. None: nothing was heard for too long.
async fn unless_silent<F: Future>(within: Duration, work: F) -> Option<F::Output> {
    let (mut work, mut silence) = (pin!(work), pin!(sleep(within)));
    let mut last_look = false;
    poll_fn(|context| {
        if let Poll::Ready(done) = work.as_mut().poll(context) {
            return Poll::Ready(Some(done));
        }
        let elapsed = silence.as_mut().poll(context).is_ready();
        if elapsed && last_look {
            return Poll::Ready(None);
        }
        // If it was not the timer it was the connection that woke the task up. If it was, this process may have been stopped for
        // so long itself: what came in meanwhile is seen after the timer.
        last_look = elapsed;
        silence.as_mut().reset(Instant::now() + if elapsed { LAST_LOOK } else { within });
        silence.as_mut().poll(context).map(|()| None)
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(100);

    #[tokio::test]
    async fn work_of_which_nothing_is_heard_ends() {
        assert_eq!(unless_silent(SHORT, std::future::pending::<()>()).await, None);
    }

    #[tokio::test]
    async fn work_that_takes_long_and_shows_signs_of_life_goes_on() {
        let (answer, mut answers) = tokio::sync::mpsc::channel(1);
        let server = async move {
            for number in 1..=6 {
                sleep(SHORT / 2).await;
                answer.send(number).await.unwrap();
            }
        };
        let work = async move {
            let mut last = 0;
            while let Some(number) = answers.recv().await {
                last = number;
            }
            last
        };
        let (_, done) = tokio::join!(tokio::spawn(server), unless_silent(SHORT, work));
        assert_eq!(done, Some(6));
    }
}
