//! Pushes to the gateway: reports and inbound messages, when they are due, each of them once unless the settings say more.
//!
//! One task wakes for all that is due, makes batches where the protocol has them, and hands the calls to a pooled client
//! with a bound on how many run at once. How each try was answered is kept for inspection.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::http::header::CONTENT_TYPE;
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore, watch},
    time::Instant,
};
use url::Url;

use super::{
    behaviour::{Protocol, ScriptedReport},
    huawei,
    ledger::{Accepted, InFlight, lock, push_bounded},
    nxcloud,
    options::Keep,
    world::World,
};
use crate::{domain::Timestamp, tls};

/// So many calls to the gateway at once.
const MAX_CONCURRENT: usize = 64;
/// Beyond so many that wait, further pushes are dropped and counted.
const MAX_WAITING: usize = 2_000_000;
const MAX_ANSWER_KEPT: usize = 4_096;

/// Something to push.
#[derive(Debug, Clone)]
pub(super) enum Push {
    /// A delivery report of a message.
    Report(Arc<Accepted>, ScriptedReport),
    /// An inbound message.
    Inbound(InboundPush),
}

/// A message from a subscriber to one of the numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InboundPush {
    /// Through which protocol.
    pub provider: Protocol,
    /// The subscriber.
    pub from: String,
    /// Our number.
    pub to: String,
    /// What it says.
    pub text: String,
    /// Its id; absent: a new one. The same one twice is the same message pushed twice.
    #[serde(default)]
    pub message_id: Option<String>,
}

/// A push that was made, and how it was answered.
#[derive(Debug, Clone, Serialize)]
pub struct PushRecord {
    /// Which protocol.
    pub provider: Protocol,
    /// What kind: `report`, `reports` for a batch, `inbound`.
    pub kind: &'static str,
    /// Where to.
    pub url: String,
    /// The ids of the messages in it.
    pub message_ids: Vec<String>,
    /// The body as it was sent.
    pub body: String,
    /// When it was made.
    pub pushed_at: Timestamp,
    /// The HTTP status of the answer.
    pub status: Option<u16>,
    /// The body of the answer.
    pub answer: Option<String>,
    /// Why there was no answer.
    pub error: Option<String>,
}

/// What became of all pushes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct PushCounts {
    /// HTTP calls made.
    pub made: u64,
    /// Answered with 2xx.
    pub taken: u64,
    /// Answered otherwise, or not at all.
    pub failed: u64,
    /// Had no address to go to, or no room to wait in.
    pub dropped: u64,
    /// Reports and inbound messages that still wait or are under way.
    pub waiting: u64,
    /// HTTP calls that are not answered yet.
    pub in_flight: u64,
}

/// One HTTP call to make.
#[derive(Debug, Clone)]
pub(super) struct Outgoing {
    pub provider: Protocol,
    pub kind: &'static str,
    pub url: Url,
    pub content_type: &'static str,
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
    pub message_ids: Vec<String>,
}

/// The pushes that wait, and the record of those made.
#[derive(Debug)]
pub(super) struct Pusher {
    keep: Keep,
    client: reqwest::Client,
    due: Mutex<BinaryHeap<Reverse<Due>>>,
    wake: Notify,
    waiting: watch::Sender<u64>,
    room: Arc<Semaphore>,
    sequence: AtomicU64,
    made: AtomicU64,
    taken: AtomicU64,
    failed: AtomicU64,
    dropped: AtomicU64,
    in_flight: AtomicU64,
    records: Mutex<VecDeque<PushRecord>>,
}

#[derive(Debug)]
struct Due {
    at: Instant,
    sequence: u64,
    push: Push,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.sequence == other.sequence
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.sequence).cmp(&(other.at, other.sequence))
    }
}

impl Pusher {
    pub fn new(keep: Keep) -> Result<Self, reqwest::Error> {
        let builder = reqwest::Client::builder()
            .timeout(Duration::from_secs(10))
            .pool_max_idle_per_host(MAX_CONCURRENT)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .tcp_nodelay(true);
        let client = match tls::client_config() {
            Some(tls) => builder.tls_backend_preconfigured(tls),
            None => builder.tls_certs_only([]),
        }
        .build()?;
        Ok(Self {
            keep,
            client,
            due: Mutex::default(),
            wake: Notify::new(),
            waiting: watch::Sender::new(0),
            room: Arc::new(Semaphore::new(MAX_CONCURRENT)),
            sequence: AtomicU64::new(0),
            made: AtomicU64::new(0),
            taken: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            in_flight: AtomicU64::new(0),
            records: Mutex::default(),
        })
    }

    /// Has something pushed after a delay.
    pub fn schedule(&self, push: Push, delay_ms: u64) {
        let at = Instant::now() + Duration::from_millis(delay_ms);
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed);
        let mut due = lock(&self.due);
        if due.len() >= MAX_WAITING {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let is_first = due.peek().is_none_or(|Reverse(first)| at < first.at);
        due.push(Reverse(Due { at, sequence, push }));
        // Counted under the lock: the task that takes it out again must find it counted.
        self.waiting.send_modify(|waiting| *waiting += 1);
        drop(due);
        if is_first {
            self.wake.notify_one();
        }
    }

    /// Waits until nothing waits to be pushed.
    pub async fn idle(&self) {
        // The sender lives as long as `self`, so waiting cannot fail.
        let _ = self.waiting.subscribe().wait_for(|waiting| *waiting == 0).await;
    }

    pub fn records(&self) -> Vec<PushRecord> {
        lock(&self.records).iter().cloned().collect()
    }

    pub fn counts(&self) -> PushCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        PushCounts {
            made: read(&self.made),
            taken: read(&self.taken),
            failed: read(&self.failed),
            dropped: read(&self.dropped),
            waiting: *self.waiting.borrow(),
            in_flight: read(&self.in_flight),
        }
    }

    pub fn reset(&self) {
        let given_up = std::mem::take(&mut *lock(&self.due)).len() as u64;
        self.waiting.send_modify(|waiting| *waiting -= given_up);
        lock(&self.records).clear();
        for counter in [&self.made, &self.taken, &self.failed, &self.dropped] {
            counter.store(0, Ordering::Relaxed);
        }
    }

    fn take_due(&self) -> (Vec<Push>, Option<Instant>) {
        let mut due = lock(&self.due);
        let horizon = Instant::now();
        let mut ready = Vec::new();
        while due.peek().is_some_and(|Reverse(first)| first.at <= horizon) {
            ready.extend(due.pop().map(|Reverse(first)| first.push));
        }
        (ready, due.peek().map(|Reverse(first)| first.at))
    }

    fn finished(&self, pushes: u64) {
        self.waiting.send_modify(|waiting| *waiting = waiting.saturating_sub(pushes));
    }

    /// Makes one try. True when it was answered with success.
    async fn deliver(&self, outgoing: Outgoing, pushed_at: Timestamp) -> bool {
        let Outgoing { provider, kind, url, content_type, headers, body, message_ids } = outgoing;
        let keep_body = if self.keep == Keep::CountsOnly { String::new() } else { body.clone() };
        let mut request = self.client.post(url.clone()).header(CONTENT_TYPE, content_type).body(body);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        self.made.fetch_add(1, Ordering::Relaxed);
        let in_flight = InFlight::begin(&self.in_flight);
        let answered = match request.send().await {
            Ok(response) => {
                let status = response.status();
                response.text().await.map(|text| (status, text))
            }
            Err(error) => Err(error),
        };
        drop(in_flight);
        let taken = answered.as_ref().is_ok_and(|(status, _)| status.is_success());
        if taken { &self.taken } else { &self.failed }.fetch_add(1, Ordering::Relaxed);
        let Keep::Last(limit) = self.keep else { return taken };
        let (status, answer, error) = match answered {
            Ok((status, text)) => (Some(status.as_u16()), Some(text.chars().take(MAX_ANSWER_KEPT).collect()), None),
            Err(error) => (None, None, Some(error.without_url().to_string())),
        };
        let url = url.to_string();
        let record = PushRecord { provider, kind, url, message_ids, body: keep_body, pushed_at, status, answer, error };
        push_bounded(&mut lock(&self.records), record, limit);
        taken
    }
}

impl World {
    /// Pushes at once and waits for the answer. Further tries come later.
    pub async fn push_now(&self, push: Push) {
        for outgoing in self.render(vec![push.clone()]) {
            let taken = self.pusher.deliver(outgoing, self.now()).await;
            let settings = self.settings.load();
            if !taken && settings.push_tries > 1 {
                self.pusher.schedule(push.clone(), settings.push_retry_ms);
            }
        }
    }

    /// Pushes as often as the settings say until it is taken. While it waits for the next try, others have its room.
    async fn push_until_taken(&self, outgoing: Outgoing, permit: OwnedSemaphorePermit) {
        let mut permit = Some(permit);
        for tried in 1.. {
            if self.pusher.deliver(outgoing.clone(), self.now()).await {
                return;
            }
            let (tries, pause) = (self.settings.load().push_tries, self.settings.load().push_retry_ms);
            if tried >= tries {
                return;
            }
            drop(permit.take());
            tokio::time::sleep(Duration::from_millis(pause)).await;
            permit = Arc::clone(&self.pusher.room).acquire_owned().await.ok();
        }
    }

    /// Pushes whatever falls due, until the simulator stops.
    pub async fn run_pushes(self: Arc<Self>) {
        loop {
            let (ready, next) = self.pusher.take_due();
            if ready.is_empty() {
                // What falls due meanwhile goes out together, in fuller batches.
                let tick = Duration::from_millis(self.settings.load().push_tick_ms.max(1));
                let pause = async {
                    match next {
                        Some(at) => tokio::time::sleep_until(at.max(Instant::now() + tick)).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    () = pause => {}
                    () = self.pusher.wake.notified() => {}
                    () = self.stopping.cancelled() => return,
                }
                continue;
            }
            if !self.start_calls(ready).await {
                return;
            }
        }
    }

    /// Starts the calls for some pushes as room for them comes free; false once the simulator stops.
    async fn start_calls(self: &Arc<Self>, ready: Vec<Push>) -> bool {
        let asked = ready.len() as u64;
        let calls = self.render(ready);
        let rendered: u64 = calls.iter().map(|call| call.message_ids.len() as u64).sum();
        self.pusher.dropped.fetch_add(asked - rendered, Ordering::Relaxed);
        self.pusher.finished(asked - rendered);
        for outgoing in calls {
            let permit = tokio::select! {
                permit = Arc::clone(&self.pusher.room).acquire_owned() => permit,
                () = self.stopping.cancelled() => return false,
            };
            let Ok(permit) = permit else { return false };
            let world = Arc::clone(self);
            tokio::spawn(async move {
                let pushes = outgoing.message_ids.len() as u64;
                tokio::select! {
                    () = world.push_until_taken(outgoing, permit) => {}
                    () = world.stopping.cancelled() => {}
                }
                world.pusher.finished(pushes);
            });
        }
        true
    }

    /// The HTTP calls for some pushes: one each, except for what goes into batches. What has no address is left out.
    fn render(&self, pushes: Vec<Push>) -> Vec<Outgoing> {
        let mut calls = Vec::with_capacity(pushes.len());
        let mut batch = Vec::new();
        for push in pushes {
            match push {
                Push::Report(message, report) => match message.provider {
                    Protocol::Huawei if message.status_callback.is_none() => batch.push((message, report)),
                    Protocol::Huawei => calls.extend(huawei::push::report(self, &message, &report)),
                    Protocol::Nxcloud => calls.extend(nxcloud::push::report(self, &message, &report)),
                    // Voice has no pushes; its results are polled.
                    Protocol::Voice => {}
                },
                Push::Inbound(inbound) => match inbound.provider {
                    Protocol::Huawei => calls.extend(huawei::push::uplink(self, &inbound)),
                    Protocol::Nxcloud => calls.extend(nxcloud::push::inbound(self, &inbound)),
                    Protocol::Voice => {}
                },
            }
        }
        calls.extend(huawei::push::batches(self, &batch));
        calls
    }
}
