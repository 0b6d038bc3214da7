//! The writers of a queue: what waits while a commit runs forms the next group by itself.
//!
//! There is no timer. When it is quiet a single item is written at once; under load the groups grow.

use std::sync::Arc;

use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::CancellationToken;

use super::Engine;

/// How many items are written in one commit.
pub(super) const GROUP: usize = 500;
/// Writers for each queue: one commits while the other one fills.
const WRITERS: usize = 2;

/// Writes what comes through a queue in groups. After `until`, what is left in the queue is written, and then the writers end.
pub(super) fn spawn<T, F, W>(engine: &Engine, queue: mpsc::Receiver<T>, until: &CancellationToken, write: W)
where
    T: Send + 'static,
    F: Future<Output = ()> + Send + 'static,
    W: Fn(Engine, Vec<T>) -> F + Clone + Send + 'static,
{
    let queue = Arc::new(Mutex::new(queue));
    for _ in 0..WRITERS {
        let (engine_of_task, queue, until, write) = (engine.clone(), queue.clone(), until.clone(), write.clone());
        engine.spawn_writer(async move {
            loop {
                let group = next_group(&queue, &until).await;
                if group.is_empty() {
                    return;
                }
                // In a task of its own, so that a panic ends this group and not the writer.
                if tokio::spawn(write(engine_of_task.clone(), group)).await.is_err() {
                    tracing::error!("a writer panicked");
                }
            }
        });
    }
}

/// What waits, at most a group of it; nothing at the end.
async fn next_group<T>(queue: &Mutex<mpsc::Receiver<T>>, until: &CancellationToken) -> Vec<T> {
    let mut group = Vec::new();
    let mut queue = queue.lock().await;
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
