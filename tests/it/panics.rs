//! A driver that panics: the message that it happens to ends, and the others go on.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use serde_json::json;
use sms_gateway::{
    clock::Clock,
    dispatch::{Live, LiveProvider},
    domain::{
        Timestamp,
        capabilities::Capabilities,
        ids::{AttemptId, CallId, MessageId},
        life::Life,
    },
    providers::{
        Call, Callback, CallbackAnswers, CallbackEvent, CallbackRejected, Outcome, Provider, ProviderError, http::Http,
    },
    store::{Db, events::Receivers, life},
};

use crate::support::{TestGateway, carriers::attempts, gateway::string};

/// Stands in for a driver, and panics at messages that say so.
#[derive(Debug)]
struct Panicking {
    driver: Arc<dyn Provider>,
    carrier: String,
    calls: AtomicUsize,
}

#[async_trait]
impl Provider for Panicking {
    fn capabilities(&self) -> &Capabilities {
        self.driver.capabilities()
    }

    async fn submit(&self, call: &Call) -> Result<Vec<Outcome>, ProviderError> {
        let says =
            |word: &str| call.submissions.iter().any(|one| one.text.as_deref().is_some_and(|it| it.contains(word)));
        if says("panic before") {
            self.calls.fetch_add(1, Ordering::Relaxed);
            panic!("before anything was written");
        }
        if says("panic after") {
            self.calls.fetch_add(1, Ordering::Relaxed);
            let http = Http::new(std::time::Duration::from_secs(5), Clock::system()).unwrap();
            drop(http.send(http.post(&self.carrier)).await);
            panic!("after something was written");
        }
        self.driver.submit(call).await
    }

    fn verify_callback(&self, callback: &Callback) -> Result<(), CallbackRejected> {
        self.driver.verify_callback(callback)
    }

    fn parse_callback(&self, callback: &Callback) -> Result<Vec<CallbackEvent>, CallbackRejected> {
        self.driver.parse_callback(callback)
    }

    fn callback_answers(&self) -> CallbackAnswers {
        self.driver.callback_answers()
    }
}

/// A gateway whose sandbox panics when it is told to.
async fn start() -> (TestGateway, Arc<Panicking>) {
    let gateway = TestGateway::start("[routes.one]\nsteps = [{ provider = \"sandbox\" }]").await;
    let live = gateway.gateway.engine().live();
    let mut providers = live.providers.clone();
    let before = &live.providers["sandbox"];
    let (driver, carrier) = (before.driver.clone(), gateway.simulator.base_url());
    let panicking = Arc::new(Panicking { driver, carrier, calls: AtomicUsize::new(0) });
    let replaced = LiveProvider::new("sandbox".to_owned(), before.section.clone(), panicking.clone());
    providers.insert("sandbox".to_owned(), Arc::new(replaced));
    gateway.gateway.engine().replace(Live::new(live.config.clone(), providers));
    (gateway, panicking)
}

#[tokio::test]
async fn three_panics_before_anything_is_written_fail_the_message_and_the_others_go_on() {
    let (gateway, driver) = start().await;
    let bad = gateway.text("+99900000001", "panic before").await;
    for tried in 1..=2 {
        gateway.wait_for(&bad, |message| attempts(message).len() == tried && message["status"] == "queued").await;
        let good = gateway.text("+99900000001", "good").await;
        gateway.wait_for_end(&good, "delivered").await;
        gateway.advance(std::time::Duration::from_secs(5));
    }
    let message = gateway.wait_for_end(&bad, "failed").await;
    assert_eq!(string(&message["error"]["code"]), "internal_error");
    assert_eq!((attempts(&message).len(), driver.calls.load(Ordering::Relaxed)), (3, 3));
}

#[tokio::test]
async fn a_panic_after_something_was_written_leaves_the_message_unknown_and_it_is_not_sent_again() {
    let (gateway, driver) = start().await;
    let id = gateway.text("+99900000001", "panic after").await;
    let message = gateway.wait_for_status(&id, "unknown").await;
    assert_eq!(string(&message["error"]["code"]), "submission_unconfirmed");
    gateway.advance(std::time::Duration::from_hours(1));
    let good = gateway.text("+99900000001", "good").await;
    gateway.wait_for_end(&good, "delivered").await;
    assert_eq!((attempts(&gateway.message(&id).await).len(), driver.calls.load(Ordering::Relaxed)), (1, 1));
}

#[tokio::test]
async fn a_panic_over_one_message_of_a_call_for_many_fails_that_one_alone() {
    let (gateway, _) = start().await;
    let due = gateway.clock.now() + chrono::TimeDelta::minutes(1);
    let mut ids = Vec::new();
    for index in 0..12 {
        let text = if index == 7 { "panic before" } else { "good" };
        let body = json!({ "to": format!("+999000001{index:02}"), "text": text, "send_at": due });
        ids.push(gateway.send(body).await);
    }
    gateway.advance(std::time::Duration::from_secs(61));
    for (index, id) in ids.iter().enumerate() {
        let ended = async || {
            gateway.advance(std::time::Duration::from_secs(2));
            let message = gateway.message(id).await;
            (message["final"] == true).then_some(message)
        };
        let message = gateway.until("it ends", ended).await;
        let expected = if index == 7 { "failed" } else { "delivered" };
        assert_eq!(string(&message["status"]), expected, "{message}");
    }
}

/// Lets something happen to the life of a message, as the engine would.
async fn to_life(gateway: &TestGateway, id: &str, act: fn(&mut Life, Timestamp)) {
    let (id, now): (MessageId, _) = (id.parse().unwrap(), gateway.clock.now());
    Db::unit(&gateway.gateway.engine().db().work, move |connection| {
        Box::pin(async move {
            let mut locked = life::lock(&mut *connection, &[id]).await?;
            act(&mut locked[0].life, now);
            life::save(connection, &locked.iter().collect::<Vec<_>>(), None, &Receivers::default(), now).await
        })
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_message_that_cannot_be_prepared_is_told_as_attempts_and_leaves_the_queue() {
    // Held, so that nobody but the test acts on it.
    let hold = "dispatch.hold_on_start = true\n[routes.one]\nsteps = [{ provider = \"sandbox\" }]";
    let gateway = TestGateway::start(hold).await;
    let id = gateway.text("+99900000001", "cannot be prepared").await;
    for tried in 1..=3 {
        to_life(&gateway, &id, |life, now| {
            life.preparation_panicked(AttemptId::new(now), CallId::new(now), now);
        })
        .await;
        let message = gateway.message(&id).await;
        let expected = if tried < 3 { "queued" } else { "failed" };
        assert_eq!((string(&message["status"]), attempts(&message).len()), (expected, tried));
        assert!(attempts(&message).iter().all(|attempt| attempt == "sandbox failed"), "{message}");
        gateway.advance(std::time::Duration::from_secs(10));
    }
    assert_eq!(string(&gateway.message(&id).await["error"]["code"]), "internal_error");
    assert_eq!(gateway.database.count("select 1 from queue").await, 0);
}

#[tokio::test]
async fn a_message_that_the_gateway_gives_up_leaves_the_queue() {
    let hold = "dispatch.hold_on_start = true\n[routes.one]\nsteps = [{ provider = \"sandbox\" }]";
    let gateway = TestGateway::start(hold).await;
    let id = gateway.text("+99900000001", "given up").await;
    to_life(&gateway, &id, Life::give_up).await;
    let message = gateway.wait_for_end(&id, "failed").await;
    assert_eq!(string(&message["error"]["code"]), "internal_error");
    assert_eq!(gateway.database.count("select 1 from queue").await, 0);
}
