//! The apps: requests at a steady rate, each with a key, each repeated with its key until it is acknowledged.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use reqwest::Method;
use serde_json::Value;
use tokio::{
    sync::Semaphore,
    task::{JoinHandle, JoinSet},
    time::MissedTickBehavior,
};

use super::carrier::Carrier;
use crate::support::{
    Client,
    gateway::{SHOP, string},
};

/// A process that was frozen answers nothing. Where the machine is slow an answer takes its time, and whoever gives up too soon
/// makes it slower.
const ANSWER_WITHIN: Duration = Duration::from_secs(6);
/// Before a request is repeated; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(25);
const LONGEST_PAUSE: Duration = Duration::from_millis(400);
/// A message that nobody has taken by then is a fault of its own.
const PATIENCE: Duration = Duration::from_secs(90);

/// What all requests share.
#[derive(Debug)]
pub struct Apps {
    carrier: Carrier,
    /// Part of every key, so that runs on one database never meet.
    name: String,
    gateways: Vec<Client>,
    /// Requests that each process has not answered yet.
    pub unanswered: Vec<AtomicUsize>,
    stop: AtomicBool,
    next: AtomicU32,
    repeats: AtomicU32,
    acknowledged: Mutex<HashMap<u32, String>>,
    problems: Mutex<Vec<String>>,
}

/// What came of the load.
#[derive(Debug)]
pub struct Posted {
    pub begun: u32,
    /// By the number of the message, its id.
    pub acknowledged: HashMap<u32, String>,
    /// Acknowledged requests that were made once more.
    pub repeats: u32,
    pub problems: Vec<String>,
}

/// What came of one request.
enum Outcome {
    Taken {
        id: String,
    },
    /// With what was said, if anything was.
    NotNow(String),
    Wrong(String),
}

impl Apps {
    pub fn new(carrier: Carrier, name: String, gateways: Vec<Client>) -> Arc<Self> {
        Arc::new(Self {
            carrier,
            name,
            unanswered: gateways.iter().map(|_| AtomicUsize::new(0)).collect(),
            gateways,
            stop: AtomicBool::new(false),
            next: AtomicU32::new(0),
            repeats: AtomicU32::new(0),
            acknowledged: Mutex::default(),
            problems: Mutex::default(),
        })
    }

    /// Begins so many requests a second until [`Apps::end`].
    ///
    /// While nobody takes any, no more are begun than are repeated at once in two thirds of a second.
    pub fn start(self: &Arc<Self>, per_second: u32) -> JoinHandle<()> {
        let apps = Arc::clone(self);
        tokio::spawn(async move {
            let room = Arc::new(Semaphore::new(per_second as usize * 2 / 3));
            let mut requests = JoinSet::new();
            let mut clock = tokio::time::interval(Duration::from_secs(1) / per_second);
            clock.set_missed_tick_behavior(MissedTickBehavior::Burst);
            while !apps.stop.load(Ordering::Relaxed) {
                clock.tick().await;
                while requests.try_join_next().is_some() {}
                let Ok(place) = Arc::clone(&room).try_acquire_owned() else { continue };
                let (apps, number) = (Arc::clone(&apps), apps.next.fetch_add(1, Ordering::Relaxed));
                requests.spawn(async move {
                    apps.until_taken(number).await;
                    drop(place);
                });
            }
            requests.join_all().await;
        })
    }

    /// Begins nothing more. Whoever waits for the handle of [`Apps::start`] waits for what is under way.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// How many were acknowledged so far.
    pub fn count(&self) -> usize {
        self.acknowledged.lock().unwrap().len()
    }

    /// What came of it all.
    pub fn end(&self) -> Posted {
        Posted {
            begun: self.next.load(Ordering::Relaxed),
            acknowledged: self.acknowledged.lock().unwrap().clone(),
            repeats: self.repeats.load(Ordering::Relaxed),
            problems: self.problems.lock().unwrap().clone(),
        }
    }

    /// Repeats requests that were acknowledged: each must answer the same message.
    pub async fn repeat(&self, some: usize) {
        let known: Vec<(u32, String)> =
            self.acknowledged.lock().unwrap().iter().take(some).map(|(number, id)| (*number, id.clone())).collect();
        for (number, id) in known {
            self.again(number, &id).await;
        }
    }

    async fn until_taken(&self, number: u32) {
        let until = Instant::now() + PATIENCE;
        for turn in 0_u32.. {
            let said = match self.post(number, number + turn).await {
                Outcome::Taken { id } => {
                    self.acknowledged.lock().unwrap().insert(number, id.clone());
                    // One in eight apps did not see the answer.
                    if number % 8 == 3 {
                        self.again(number, &id).await;
                    }
                    return;
                }
                Outcome::NotNow(what) => what,
                Outcome::Wrong(what) => return self.problem(what),
            };
            if Instant::now() > until {
                return self.problem(format!("nobody takes message {number}: {said}"));
            }
            tokio::time::sleep((FIRST_PAUSE * 2_u32.pow(turn.min(8))).min(LONGEST_PAUSE)).await;
        }
    }

    async fn again(&self, number: u32, id: &str) {
        if let Outcome::Taken { id: other } = self.post(number, number + 1).await {
            self.repeats.fetch_add(1, Ordering::Relaxed);
            if other != id {
                self.problem(format!("one key made two messages: {id} and {other}"));
            }
        }
    }

    async fn post(&self, number: u32, turn: u32) -> Outcome {
        let process = turn as usize % self.gateways.len();
        let request = self.gateways[process].request(Method::POST, "/v1/messages").bearer_auth(SHOP);
        let request = request.header("idempotency-key", format!("{}-{number}", self.name)).timeout(ANSWER_WITHIN);
        self.unanswered[process].fetch_add(1, Ordering::Relaxed);
        let answered = match request.json(&self.carrier.request(number)).send().await {
            Ok(answer) => {
                let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
                answer.text().await.map(|text| (status, headers, text))
            }
            Err(error) => Err(error),
        };
        self.unanswered[process].fetch_sub(1, Ordering::Relaxed);
        let (status, headers, text) = match answered {
            Ok(answer) => answer,
            Err(error) => return Outcome::NotNow(format!("{error:?}")),
        };
        let json: Value = serde_json::from_str(&text).unwrap_or_default();
        match status {
            202 => Outcome::Taken { id: string(&json["id"]).to_owned() },
            409 => Outcome::NotNow(text),
            429 | 503 if headers.contains_key("retry-after") => Outcome::NotNow(text),
            _ => Outcome::Wrong(format!("a request was answered {status} {text}")),
        }
    }

    fn problem(&self, what: String) {
        self.problems.lock().unwrap().push(what);
    }
}
