//! The writers of a queue: what waits while a commit runs forms the next group by itself.
//!
//! There is no timer that collects. When it is quiet a single item is written at once; under load the groups grow. A second
//! writer steps in only when the first is slow: two that share what comes in would have groups of half the size, and each
//! group costs its statements and its commit.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{Mutex, mpsc},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::Engine;
use crate::error_chain::chain;

/// How many items are written in one commit.
pub(crate) const GROUP: usize = 500;
/// Writers for each queue.
const WRITERS: usize = 2;
/// After so long a group is no reason any more to let the next one wait.
const SLOW: Duration = Duration::from_millis(50);

/// Writes what comes through a queue in groups, in tasks of a tracker. After `until`, what is left in the queue is written, and
/// then the writers end.
pub(crate) fn spawn<T, F, W>(
    engine: &Engine,
    queue: mpsc::Receiver<T>,
    until: &CancellationToken,
    tracker: &TaskTracker,
    write: W,
) where
    T: Send + 'static,
    F: Future<Output = ()> + Send + 'static,
    W: Fn(Engine, Vec<T>) -> F + Clone + Send + 'static,
{
    let queue = Arc::new(Mutex::new(queue));
    for _ in 0..WRITERS {
        let (engine_of_task, queue, until, write) = (engine.clone(), queue.clone(), until.clone(), write.clone());
        tracker.spawn(async move {
            loop {
                let mut queue = queue.lock().await;
                let group = next_group(&mut queue, &until).await;
                if group.is_empty() {
                    return;
                }
                // In a task of its own, so that a panic ends this group and not the writer.
                let mut writing = tokio::spawn(write(engine_of_task.clone(), group));
                let written = timeout(SLOW, &mut writing).await;
                drop(queue);
                let written = match written {
                    Ok(written) => written,
                    Err(_) => writing.await,
                };
                if let Err(panic) = written {
                    tracing::error!(error = chain(&panic), "a writer panicked");
                }
            }
        });
    }
}

/// What waits, at most a group of it; nothing at the end.
async fn next_group<T>(queue: &mut mpsc::Receiver<T>, until: &CancellationToken) -> Vec<T> {
    let mut group = Vec::new();
    tokio::select! {
        _ = queue.recv_many(&mut group, GROUP) => {}
        () = until.cancelled() => {
            queue.close();
            while group.len() < GROUP && let Ok(item) = queue.try_recv() {
                group.push(item);
            }
        }
    }
    group
}
