//! Ten times as much as the gateway can take: what it takes, it takes as fast as ever, and the rest is told so at once.
//!
//! It measures and takes its time, so it is not run with the other tests: `./dev overload` does it with a release build.
//! `SMS_GATEWAY_BINARY` names another program, `OVERLOAD_SECONDS` another length.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{MissedTickBehavior, interval, sleep, timeout},
};

use crate::support::{gateway::SHOP, process::Site};

/// Clients that hear nothing for so long give up.
const PATIENCE: Duration = Duration::from_secs(5);
const MEASURE: Duration = Duration::from_secs(10);
/// Connections while the capacity is measured.
const STEADY: usize = 64;
/// Connections at the most, below what the gateway takes in.
const MOST: usize = 3500;
const TICK: Duration = Duration::from_millis(5);

fn request() -> Arc<[u8]> {
    let body = json!({ "to": "+99900000001", "text": "one of very many" }).to_string();
    let head = format!(
        "POST /v1/messages HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {SHOP}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    head.into_bytes().into()
}

/// One request on an open connection. Says the status, and keeps the connection if it can be used again.
async fn call(stream: &mut TcpStream, request: &[u8], buffer: &mut Vec<u8>) -> Option<(u16, bool)> {
    stream.write_all(request).await.ok()?;
    buffer.clear();
    loop {
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
        let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let head = std::str::from_utf8(&buffer[..end]).ok()?.to_ascii_lowercase();
        let length: usize = head.split("content-length: ").nth(1)?.split("\r\n").next()?.parse().ok()?;
        if buffer.len() >= end + 4 + length {
            return Some((head.get(9..12)?.parse().ok()?, !head.contains("connection: close")));
        }
    }
}

/// What came of all requests: for each status how long each took. 0: no answer.
#[derive(Default, Clone)]
struct Tally(Arc<Mutex<BTreeMap<u16, Vec<Duration>>>>);

impl Tally {
    fn add(&self, status: u16, took: Duration) {
        self.0.lock().unwrap().entry(status).or_default().push(took);
    }

    fn count(&self, status: u16) -> usize {
        self.0.lock().unwrap().get(&status).map_or(0, Vec::len)
    }

    fn p99(&self, status: u16) -> Duration {
        let mut took = self.0.lock().unwrap().get(&status).cloned().unwrap_or_default();
        took.sort_unstable();
        took.get(took.len() * 99 / 100).copied().unwrap_or_default()
    }

    fn told(&self) -> String {
        let counts: Vec<(u16, usize)> =
            self.0.lock().unwrap().iter().map(|(status, took)| (*status, took.len())).collect();
        counts
            .iter()
            .map(|(status, count)| format!("{status}: {count} (p99 {:?})", self.p99(*status)))
            .collect::<Vec<_>>()
            .join(", ")
    }
}

/// Messages a second that a few clients get through, each sending the next when the last one is answered.
async fn capacity(address: SocketAddr, tally: &Tally) -> f64 {
    let (request, until) = (request(), Instant::now() + MEASURE);
    let clients = (0..STEADY).map(|_| {
        let (request, tally) = (request.clone(), tally.clone());
        tokio::spawn(async move {
            let (mut stream, mut buffer) = (TcpStream::connect(address).await.unwrap(), Vec::new());
            while Instant::now() < until {
                let began = Instant::now();
                let (status, _) = call(&mut stream, &request, &mut buffer).await.expect("nothing is overloaded yet");
                tally.add(status, began.elapsed());
            }
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.await.unwrap();
    }
    assert_eq!(tally.told().split(", ").count(), 1, "all were taken: {}", tally.told());
    seconds(tally.count(202), MEASURE)
}

#[expect(clippy::cast_precision_loss, reason = "counts of requests are small")]
fn seconds(count: usize, length: Duration) -> f64 {
    count as f64 / length.as_secs_f64()
}

/// Offers so many requests a second, whatever comes of them. Says how many could not even be offered.
async fn offer(address: SocketAddr, rate: f64, length: Duration, tally: &Tally) -> usize {
    let (request, idle) = (request(), Arc::new(Mutex::new(Vec::<TcpStream>::new())));
    let open = Arc::new(tokio::sync::Semaphore::new(MOST));
    let (began, mut offered, mut left_out) = (Instant::now(), 0_usize, 0);
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    while began.elapsed() < length {
        ticks.tick().await;
        while seconds(offered, began.elapsed().max(TICK)) < rate && began.elapsed() < length {
            offered += 1;
            let Ok(permit) = open.clone().try_acquire_owned() else {
                left_out += 1;
                continue;
            };
            let (request, idle, tally) = (request.clone(), idle.clone(), tally.clone());
            tokio::spawn(async move {
                let began = Instant::now();
                let kept = idle.lock().unwrap().pop();
                let done = timeout(PATIENCE, async {
                    let mut stream = match kept {
                        Some(stream) => stream,
                        None => TcpStream::connect(address).await.ok()?,
                    };
                    let (status, again) = call(&mut stream, &request, &mut Vec::with_capacity(1024)).await?;
                    if again {
                        idle.lock().unwrap().push(stream);
                    }
                    Some(status)
                });
                tally.add(done.await.ok().flatten().unwrap_or(0), began.elapsed());
                drop(permit);
            });
        }
    }
    // What is on its way is answered or gives up.
    drop(timeout(PATIENCE * 2, open.acquire_many(u32::try_from(MOST).unwrap())).await);
    left_out
}

/// Asks whether it is alive, each time on a connection of its own.
async fn health(address: SocketAddr, until: Instant) -> Tally {
    let tally = Tally::default();
    while Instant::now() < until {
        let began = Instant::now();
        let asked = timeout(PATIENCE, async {
            let mut stream = TcpStream::connect(address).await.ok()?;
            call(&mut stream, b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n", &mut Vec::new()).await
        });
        tally.add(asked.await.ok().flatten().map_or(0, |(status, _)| status), began.elapsed());
        sleep(Duration::from_millis(200)).await;
    }
    tally
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures for minutes: ./dev overload"]
#[expect(clippy::print_stdout, reason = "figures are for people")]
async fn ten_times_the_capacity_is_survived_at_full_speed() {
    let length = std::env::var("OVERLOAD_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(30);
    let length = Duration::from_secs(length);
    let site = Site::new("[routes.all]\nsteps = [{ provider = \"sandbox\" }]").await;
    let process = site.start().await;
    let address = process.address();
    let (alone, flood) = (Tally::default(), Tally::default());
    let capacity = capacity(address, &alone).await;
    println!("capacity {capacity:.0}/s over {STEADY} connections, p99 {:?}", alone.p99(202));
    let asked = tokio::spawn(health(address, Instant::now() + length));
    let left_out = offer(address, capacity * 10.0, length, &flood).await;
    let health = asked.await.unwrap();
    let goodput = seconds(flood.count(202), length);
    let memory = process.most_memory();
    println!("offered {:.0}/s for {length:?}: {}; {left_out} for want of connections", capacity * 10.0, flood.told());
    println!("goodput {goodput:.0}/s ({:.2} of the capacity), accepted p99 {:?}", goodput / capacity, flood.p99(202));
    println!("health {}; at most {} MiB", health.told(), memory / 1024 / 1024);
    let stored = usize::try_from(site.database.count("select from messages").await).unwrap();
    assert!(stored >= alone.count(202) + flood.count(202), "what was taken is there: {stored}");
    let answered = flood.count(202) + flood.count(503);
    assert_eq!(
        flood.count(0) + answered,
        flood.0.lock().unwrap().values().map(Vec::len).sum::<usize>(),
        "{}",
        flood.told()
    );
    assert!(goodput >= 0.9 * capacity, "goodput {goodput:.0}/s of {capacity:.0}/s");
    assert!(flood.p99(202) <= Duration::from_millis(250), "accepted p99 {:?}", flood.p99(202));
    assert!(memory <= 256 * 1024 * 1024, "{memory} bytes");
    assert_eq!(health.told().split(", ").count(), 1, "health always answers: {}", health.told());
    assert!(health.count(200) > 0);
}
