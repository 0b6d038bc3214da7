//! The spool: pushes that the database does not take are kept in local files before they are answered, and stored when it does.
//!
//! A carrier pushes a report once and goes away, so it cannot be told to come back when the database does. Pushes that come in
//! together are written and synchronised together. A replay stores them as pushes that wait to be applied and then deletes the
//! file; a crash between the two stores them again, which changes nothing, since a push has an id. Only pushes whose sender has
//! been verified get here.

mod folder;
mod frame;
mod record;

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::sync::{mpsc, oneshot};

use self::folder::{Taken, Writer};
use super::{Engine, log_failure, settle::NotKept, writers};
use crate::{
    config::Config,
    domain::ids::{new_uuid, time_of},
    error_chain::chain,
    store::{
        Db, StoreError,
        callbacks::{self, CallbackState, StoredCallback},
        maintenance,
    },
};

/// How often it is tried whether the database takes again what it did not take.
const TRY_EVERY: Duration = Duration::from_millis(200);
/// How often it is looked for files that a process left which is gone.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Pushes in one commit.
const GROUP: usize = 500;

/// The local files, and whether pushes go there at once.
#[derive(Debug)]
pub(super) struct Spool {
    folder: PathBuf,
    writer: Arc<Mutex<Writer>>,
    queue: mpsc::Sender<Push>,
    /// The database did not take the last push: the next ones do not wait for it.
    in_use: AtomicBool,
}

/// A push that waits to be written.
#[derive(Debug)]
pub(super) struct Push {
    content: Vec<u8>,
    answer: oneshot::Sender<Result<(), NotKept>>,
}

/// A push as it was kept, and why it could not be read.
type Kept = (StoredCallback, Option<String>);

impl Spool {
    /// The spool of a configuration, and what is to be written to it.
    pub(super) fn new(config: &Config) -> (Self, mpsc::Receiver<Push>) {
        let folder = config.server.spool_dir.clone().unwrap_or_else(|| config.database.data_dir.join("spool"));
        let (queue, pushes) = mpsc::channel(super::QUEUE_LENGTH);
        let writer = Arc::new(Mutex::new(Writer::new(folder.clone(), config.server.spool_max_bytes)));
        (Self { folder, writer, queue, in_use: AtomicBool::new(false) }, pushes)
    }

    /// Do pushes go to the spool without asking the database?
    pub(super) fn is_in_use(&self) -> bool {
        self.in_use.load(Ordering::Relaxed)
    }
}

impl Engine {
    /// Tries whether the spool can be written, so that it is known before it is needed.
    pub async fn try_spool(&self) {
        if let Err(error) = self.with_writer(|writer| writer.try_out()).await {
            let folder = self.shared.spool.folder.display();
            tracing::warn!(%folder, error = chain(&error), "pushes cannot be kept here while the database is away");
        }
    }

    /// Keeps a push in the spool. `Ok` means that it is durable.
    pub(super) async fn spool(&self, callback: &StoredCallback, problem: Option<&str>) -> Result<(), NotKept> {
        let spool = &self.shared.spool;
        let (answer, answered) = oneshot::channel();
        let push = Push { content: record::seal(self.secrets(), callback, problem), answer };
        let kept = match spool.queue.try_send(push) {
            Ok(()) => answered.await.unwrap_or(Err(NotKept)),
            Err(_) => Err(NotKept),
        };
        count(if kept.is_ok() { "spooled" } else { "refused" }, 1);
        // While nothing can be kept here, the database is asked each time.
        if kept.is_ok() && !spool.in_use.swap(true, Ordering::Relaxed) {
            tracing::warn!("the database does not take pushes: they are kept in local files until it does");
        }
        kept
    }

    /// Works with the files where blocking is allowed.
    async fn with_writer<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Writer) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let writer = self.shared.spool.writer.clone();
        blocking(move || work(&mut writer.lock().unwrap_or_else(PoisonError::into_inner))).await
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|panic| Err(io::Error::other(panic)))
}

/// Gauges are floating point; no spool is so large that this would show.
fn show_bytes(used: u64) {
    metrics::gauge!("sms_gateway_spool_bytes").set(f64::from(u32::try_from(used / 1024).unwrap_or(u32::MAX)) * 1024.0);
}

fn count(event: &'static str, records: usize) {
    metrics::counter!("sms_gateway_spool_pushes_total", "event" => event)
        .increment(u64::try_from(records).unwrap_or(u64::MAX));
}

pub(super) fn spawn(engine: &Engine, queue: mpsc::Receiver<Push>) {
    let tracker = &engine.shared.writers;
    writers::spawn(engine, queue, &engine.shared.ended, tracker, |engine, group| async move {
        write(&engine, group).await;
    });
    let of_task = engine.clone();
    engine.spawn_writer(async move {
        loop {
            let pause = match replay(&of_task).await {
                Ok(()) => LOOK_EVERY,
                Err(NotReplayed::Database(error)) => {
                    log_failure("spool", &error);
                    TRY_EVERY
                }
                Err(NotReplayed::File(error)) => {
                    tracing::error!(error = chain(&error), "the spool cannot be read");
                    LOOK_EVERY
                }
            };
            if !rest(&of_task, pause).await {
                return;
            }
        }
    });
}

/// Waits, but not long once pushes go to the spool. False when the engine has ended.
async fn rest(engine: &Engine, pause: Duration) -> bool {
    let until = tokio::time::Instant::now() + pause;
    loop {
        tokio::select! {
            () = tokio::time::sleep(TRY_EVERY) => {}
            () = engine.shared.ended.cancelled() => return false,
        }
        if tokio::time::Instant::now() >= until || engine.shared.spool.is_in_use() {
            return true;
        }
    }
}

/// Writes one group and answers each push when it is durable.
async fn write(engine: &Engine, group: Vec<Push>) {
    let name = new_uuid(engine.clock().now());
    let (contents, answers): (Vec<Vec<u8>>, Vec<_>) = group.into_iter().map(|push| (push.content, push.answer)).unzip();
    let appended = engine
        .with_writer(move |writer| {
            let fitting = writer.append(&contents.iter().map(Vec::as_slice).collect::<Vec<_>>(), name)?;
            show_bytes(writer.used());
            Ok(fitting)
        })
        .await;
    let fitting = appended.unwrap_or_else(|error| {
        tracing::error!(error = chain(&error), "the spool cannot be written");
        0
    });
    for (place, answer) in answers.into_iter().enumerate() {
        // The carrier may be gone; what it said stays.
        let _ = answer.send(if place < fitting { Ok(()) } else { Err(NotKept) });
    }
}

/// Why a file is still there.
enum NotReplayed {
    Database(StoreError),
    File(io::Error),
}

impl From<io::Error> for NotReplayed {
    fn from(error: io::Error) -> Self {
        Self::File(error)
    }
}

/// Stores what lies in the spool, oldest first, and deletes what is stored.
async fn replay(engine: &Engine) -> Result<(), NotReplayed> {
    let spool = &engine.shared.spool;
    let mut unread = None;
    loop {
        let folder = spool.folder.clone();
        for path in blocking(move || folder::waiting(&folder)).await? {
            let replayed = match blocking(move || Taken::take(path)).await {
                Ok(Some(taken)) => replay_file(engine, taken).await,
                Ok(None) => Ok(()),
                Err(error) => Err(NotReplayed::File(error)),
            };
            match replayed {
                // One file that cannot be read must not keep the others back.
                Err(NotReplayed::File(error)) => unread = Some(error),
                other => other?,
            }
        }
        // Only now, when the database has taken all the others: an hour without it makes no thousand files.
        if !engine.with_writer(|writer| Ok(writer.close())).await? {
            break;
        }
    }
    if spool.in_use.swap(false, Ordering::Relaxed) {
        tracing::info!("the database takes pushes again");
    }
    unread.map_or(Ok(()), |error| Err(NotReplayed::File(error)))
}

async fn replay_file(engine: &Engine, taken: Taken) -> Result<(), NotReplayed> {
    let read = frame::read(&taken.bytes);
    let opened: Vec<Option<Kept>> =
        read.contents.iter().map(|content| record::open(engine.secrets(), content)).collect();
    let mut left = opened.iter().filter(|kept| kept.is_none()).count() + usize::from(read.damaged_from.is_some());
    let kept: Vec<Kept> = opened.into_iter().flatten().collect();
    for group in kept.chunks(GROUP) {
        let stored = store(engine, group.to_vec()).await.map_err(NotReplayed::Database)?;
        count("replayed", stored);
        tracing::info!(pushes = stored, "pushes of the spool were stored");
        left += group.len() - stored;
    }
    if left == 0 {
        blocking(move || taken.remove()).await?;
    } else {
        let aside = blocking(move || taken.set_aside()).await?;
        count("damaged", left);
        tracing::error!(file = %aside.display(), parts = left, "a part of the spool cannot be read; the file is kept");
    }
    let used = engine.with_writer(|writer| Ok(writer.measure())).await?;
    show_bytes(used);
    Ok(())
}

/// Stores pushes in one commit, or one by one where one of them cannot be stored. Says how many are.
async fn store(engine: &Engine, group: Vec<Kept>) -> Result<usize, StoreError> {
    let count = group.len();
    match insert(engine, group.clone()).await {
        Ok(()) => Ok(count),
        Err(error) if error.lies_with_the_data() => {
            let mut stored = 0;
            for kept in group {
                match insert(engine, vec![kept]).await {
                    Ok(()) => stored += 1,
                    Err(error) if error.lies_with_the_data() => log_failure("spool", &error),
                    Err(error) => return Err(error),
                }
            }
            Ok(stored)
        }
        Err(error) => Err(error),
    }
}

async fn insert(engine: &Engine, group: Vec<Kept>) -> Result<(), StoreError> {
    Db::unit(&engine.db().intake, move |connection| {
        Box::pin(async move {
            if let Some((oldest, _)) = group.first() {
                // It may have lain there for longer than the days that were made ahead.
                maintenance::ensure_partitions(&mut *connection, time_of(oldest.id)).await?;
            }
            let state = |problem: &Option<String>| {
                if problem.is_some() { CallbackState::Unreadable } else { CallbackState::Waiting }
            };
            let rows: Vec<_> = group.iter().map(|(callback, problem)| (callback, state(problem))).collect();
            callbacks::insert(&mut *connection, &rows).await?;
            for (callback, problem) in &group {
                if problem.is_some() {
                    callbacks::mark(&mut *connection, callback.id, CallbackState::Unreadable, problem.as_deref())
                        .await?;
                }
            }
            Ok(())
        })
    })
    .await
}
