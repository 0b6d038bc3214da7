//! The load: one thread that keeps many connections busy, or that sends at a rate whatever the answers do.
//!
//! It shares its cores with what it measures, so it does little: requests are written from a template into a buffer, answers
//! are read to their length and only their status is looked at.

use std::{
    cell::Cell,
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use nix::time::{ClockId, clock_gettime};
use rand::RngExt;
use tokio::{runtime, sync::mpsc, task::LocalSet};

use super::http::Connection;

/// Writes the request with this number into the buffer, which is empty.
pub type Write = Arc<dyn Fn(u64, &mut Vec<u8>) + Send + Sync>;

/// When requests are sent.
#[derive(Debug, Clone, Copy)]
pub enum Pace {
    /// The next one as soon as the one before is answered, for so long.
    For(Duration),
    /// The same, until so many are sent.
    Count(u64),
    /// So many a second for so long, at random distances, whether those before are answered or not.
    Rate(u32, Duration),
}

/// What came of it.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Answered with 2xx.
    pub done: u64,
    /// Answered otherwise, or not at all.
    pub failed: u64,
    /// From the first request to the last answer.
    pub seconds: f64,
    /// Of each request, in microseconds, sorted; with a rate, from the moment when it was due.
    pub latencies: Vec<u32>,
    /// CPU seconds of the load itself.
    pub cpu: f64,
}

impl Outcome {
    /// Requests a second.
    pub fn rate(&self) -> f64 {
        self.done as f64 / self.seconds
    }

    /// The latency that so many of a hundred do not exceed, in milliseconds.
    pub fn percentile(&self, percent: f64) -> f64 {
        super::stats::percentile(&self.latencies, percent) / 1000.0
    }
}

/// Runs a load to its end, in a thread of its own.
pub async fn run(address: SocketAddr, connections: usize, pace: Pace, write: Write) -> Result<Outcome> {
    let (tell, told) = tokio::sync::oneshot::channel();
    std::thread::Builder::new().name("load".to_owned()).spawn(move || {
        // Nobody listens any more when the run is broken off.
        drop(tell.send(in_this_thread(address, connections, pace, write)));
    })?;
    told.await.context("the load broke off")?
}

fn in_this_thread(address: SocketAddr, connections: usize, pace: Pace, write: Write) -> Result<Outcome> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let local = LocalSet::new();
    local.block_on(&runtime, async move {
        let mut open = Vec::with_capacity(connections);
        for _ in 0..connections {
            open.push(Connection::open(address).await?);
        }
        let cpu = thread_cpu()?;
        let started = Instant::now();
        let mut outcome = match pace {
            Pace::For(time) => closed(open, u64::MAX, Some(started + time), write).await,
            Pace::Count(count) => closed(open, count, None, write).await,
            Pace::Rate(rate, time) => at_a_rate(open, rate, time, write).await?,
        };
        outcome.seconds = started.elapsed().as_secs_f64();
        outcome.cpu = thread_cpu()? - cpu;
        outcome.latencies.sort_unstable();
        Ok(outcome)
    })
}

async fn closed(open: Vec<Connection>, count: u64, until: Option<Instant>, write: Write) -> Outcome {
    let next = Rc::new(Cell::new(0_u64));
    let tasks: Vec<_> = open
        .into_iter()
        .map(|mut connection| {
            let (next, write) = (Rc::clone(&next), Arc::clone(&write));
            tokio::task::spawn_local(async move {
                let (mut outcome, mut buffer) = (Outcome::default(), Vec::with_capacity(1024));
                loop {
                    let (number, started) = (next.get(), Instant::now());
                    if number >= count || until.is_some_and(|until| started >= until) {
                        return outcome;
                    }
                    next.set(number + 1);
                    if !one(&mut connection, number, &write, &mut buffer, started, &mut outcome).await {
                        return outcome;
                    }
                }
            })
        })
        .collect();
    gather(tasks).await
}

/// Makes one call; false when the connection is of no more use.
async fn one(
    connection: &mut Connection,
    number: u64,
    write: &Write,
    buffer: &mut Vec<u8>,
    since: Instant,
    outcome: &mut Outcome,
) -> bool {
    buffer.clear();
    write(number, buffer);
    let answer = connection.call(buffer).await;
    match &answer {
        Ok((200..=299, _)) => {
            outcome.done += 1;
            outcome.latencies.push(u32::try_from(since.elapsed().as_micros()).unwrap_or(u32::MAX));
        }
        Ok(_) | Err(_) => outcome.failed += 1,
    }
    answer.is_ok()
}

async fn gather(tasks: Vec<tokio::task::JoinHandle<Outcome>>) -> Outcome {
    let mut whole = Outcome::default();
    for task in tasks {
        if let Ok(part) = task.await {
            whole.done += part.done;
            whole.failed += part.failed;
            whole.latencies.extend(part.latencies);
        } else {
            whole.failed += 1;
        }
    }
    whole
}

async fn at_a_rate(open: Vec<Connection>, rate: u32, time: Duration, write: Write) -> Result<Outcome> {
    let mut lines = Vec::with_capacity(open.len());
    let mut tasks = Vec::with_capacity(open.len());
    for mut connection in open {
        let (line, mut due) = mpsc::unbounded_channel::<(u64, Instant)>();
        lines.push(line);
        let write = Arc::clone(&write);
        tasks.push(tokio::task::spawn_local(async move {
            let (mut outcome, mut buffer) = (Outcome::default(), Vec::with_capacity(1024));
            while let Some((number, since)) = due.recv().await {
                if !one(&mut connection, number, &write, &mut buffer, since, &mut outcome).await {
                    break;
                }
            }
            outcome
        }));
    }
    // The runtime's timer is too coarse; a thread that sleeps is exact to some 60 µs.
    std::thread::Builder::new().name("pace".to_owned()).spawn(move || {
        let (started, mut rng) = (Instant::now(), rand::rng());
        let mut due = started;
        for number in 0_u64.. {
            due += Duration::from_secs_f64(-(1.0 - rng.random::<f64>()).ln() / f64::from(rate));
            if due > started + time {
                return;
            }
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let line = usize::try_from(number).unwrap_or(0) % lines.len();
            let _ = lines[line].send((number, due));
        }
    })?;
    Ok(gather(tasks).await)
}

fn thread_cpu() -> Result<f64> {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?;
    Ok(Duration::from(time).as_secs_f64())
}
