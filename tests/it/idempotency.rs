//! One (app, key) makes at most one message or one batch: over two processes, through a crash, for a day, and not at all when the
//! request is refused.

use std::{collections::BTreeSet, time::Duration};

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    crash::NX,
    support::{
        Answer, Client, TestGateway,
        gateway::{SHOP, SHOP_TEST, string},
        process::{Process, Site, eventually},
    },
};

const SANDBOX: &str = "[routes.any]\nsteps = [{ provider = \"sandbox\" }]\n";

/// Posts with a key as the shop. None when no answer comes.
async fn post(client: &Client, path: &str, key: &str, body: &Value) -> Option<Answer> {
    let request = client.request(Method::POST, path).bearer_auth(SHOP).header("idempotency-key", key).json(body);
    let response = request.send().await.ok()?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let text = response.text().await.ok()?;
    let json = serde_json::from_str(&text).unwrap_or_default();
    Some(Answer { status, headers, text, json })
}

async fn keyed(gateway: &TestGateway, path: &str, key: &str, body: &Value) -> Answer {
    post(&gateway.client, path, key, body).await.unwrap()
}

fn message(text: &str) -> Value {
    json!({ "to": "+99900000001", "text": text })
}

fn batch(text: &str) -> Value {
    let recipients: Vec<Value> = (0..50).map(|index| json!({ "to": format!("+9991{index:07}") })).collect();
    json!({ "text": text, "recipients": recipients })
}

/// Repeats until the request was taken.
async fn taken(client: &Client, path: &str, key: &str, body: &Value) -> Answer {
    loop {
        let answer = post(client, path, key, body).await.unwrap();
        // Still under way, or too busy to answer in time: the key resolves it.
        if !matches!(answer.status, 409 | 503) {
            return answer;
        }
        assert!(answer.status != 409 || answer.problem().1 == "idempotency_key_in_progress", "{}", answer.text);
    }
}

async fn fifty_at_once(path: &'static str, body: Value, table: &str) -> (Site, [Process; 2]) {
    let site = Site::new(&format!("{NX}{SANDBOX}")).await;
    let processes = [site.start().await, site.start_beside().await];
    for round in 0..3 {
        let key = format!("key-{round}");
        let requests = (0..50).map(|number| {
            let (client, key, body) = (processes[number % 2].client.clone(), key.clone(), body.clone());
            tokio::spawn(async move { taken(&client, path, &key, &body).await })
        });
        let answers: Vec<Answer> =
            futures_util::future::join_all(requests).await.into_iter().map(Result::unwrap).collect();
        let ids: BTreeSet<&str> = answers.iter().map(|answer| string(&answer.json["id"])).collect();
        assert_eq!(ids.len(), 1, "{ids:?}");
        assert!(answers.iter().all(|answer| answer.status == 202));
        let new = answers.iter().filter(|answer| answer.header("idempotent-replayed").is_empty()).count();
        assert!(new <= 1, "{new} say that they are new");
        assert_eq!(site.database.count(&format!("select from {table}")).await, round + 1);
    }
    let other = taken(&processes[1].client, path, "key-0", &{
        let mut changed = body;
        changed["text"] = json!("changed");
        changed
    })
    .await;
    assert_eq!(other.problem(), (422, "idempotency_key_reused"));
    assert_eq!(site.database.count(&format!("select from {table}")).await, 3);
    (site, processes)
}

#[tokio::test]
async fn fifty_equal_messages_over_two_processes_are_one() {
    fifty_at_once("/v1/messages", message("hello"), "messages").await;
}

#[tokio::test]
async fn fifty_equal_batches_over_two_processes_are_one() {
    let (site, _processes) = fifty_at_once("/v1/batches", batch("hello"), "batches").await;
    // Both processes sent of them and applied reports to them.
    site.until_rows("select from batches where open = 0 and completed_at is not null", 3).await;
    let told = "select from events where type = 'batch.completed' and state->'counts'->'delivered' = '50'";
    assert_eq!(site.database.count(told).await, 3);
}

#[tokio::test]
async fn a_batch_that_was_committed_but_not_answered_is_the_same_batch_when_it_is_repeated() {
    let site = Site::new(&format!("{NX}{SANDBOX}")).await;
    let mut killed = site.start().await;
    let mut brake = site.hold_commits("insert on idempotency_keys", "true").await;
    let client = killed.client.clone();
    let posting = tokio::spawn(async move { post(&client, "/v1/batches", "key", &batch("hello")).await });
    brake.reached("commit").await;
    killed.kill();
    assert!(posting.await.unwrap().is_none(), "it was answered before it was durable");
    brake.release().await;
    assert_eq!(site.database.count("select from batches").await, 1);
    let after = site.start().await;
    let answer = taken(&after.client, "/v1/batches", "key", &batch("hello")).await;
    assert_eq!((answer.status, answer.header("idempotent-replayed")), (202, "true"), "{}", answer.text);
    let path = format!("/v1/batches/{}", string(&answer.json["id"]));
    eventually("it is sent after all", async || {
        let batch = after.client.get(SHOP, &path).await.json;
        (batch["counts"]["delivered"] == 50).then_some(())
    })
    .await;
    assert_eq!(site.database.count("select from messages").await, 50);
    assert_eq!(site.database.count("select from batches where open = 0 and completed_at is not null").await, 1);
}

#[tokio::test]
async fn a_batch_that_was_read_but_not_committed_is_stored_whole_when_it_is_repeated() {
    let site = Site::new(&format!("{NX}{SANDBOX}")).await;
    let mut killed = site.start().await;
    let mut brake = site.hold_table("queue").await;
    let client = killed.client.clone();
    let posting = tokio::spawn(async move { post(&client, "/v1/batches", "key", &batch("hello")).await });
    brake.reached("insert into queue").await;
    killed.kill();
    assert!(posting.await.unwrap().is_none(), "it was answered before it was durable");
    brake.release().await;
    for table in ["batches", "messages", "idempotency_keys"] {
        assert_eq!(site.database.count(&format!("select from {table}")).await, 0, "{table}");
    }
    let after = site.start().await;
    let answer = taken(&after.client, "/v1/batches", "key", &batch("hello")).await;
    assert_eq!((answer.status, answer.header("idempotent-replayed")), (202, ""), "{}", answer.text);
    assert_eq!(site.database.count("select from messages").await, 50);
}

#[tokio::test]
async fn a_batch_is_replayed_as_it_is_now_and_its_key_is_free_after_a_day() {
    let gateway = TestGateway::start(SANDBOX).await;
    let (path, body) = ("/v1/batches", batch("hello"));
    let first = keyed(&gateway, path, "key", &body).await;
    assert_eq!((first.status, first.header("idempotent-replayed")), (202, ""), "{}", first.text);
    let read = format!("{path}/{}", string(&first.json["id"]));
    gateway
        .until("it is completed", async || {
            (gateway.client.get(SHOP, &read).await.json["status"] == "completed").then_some(())
        })
        .await;
    gateway.advance(Duration::from_hours(23));
    let repeat = keyed(&gateway, path, "key", &body).await;
    assert_eq!((repeat.status, repeat.header("idempotent-replayed")), (202, "true"), "{}", repeat.text);
    assert_eq!((&repeat.json["id"], string(&repeat.json["status"])), (&first.json["id"], "completed"));
    assert_eq!(repeat.header("location"), read);
    gateway.advance(Duration::from_hours(2));
    let later = keyed(&gateway, path, "key", &body).await;
    assert_eq!((later.status, later.header("idempotent-replayed")), (202, ""), "{}", later.text);
    assert_ne!(later.json["id"], first.json["id"]);
}

#[tokio::test]
async fn a_key_belongs_to_one_request_of_one_kind() {
    let gateway = TestGateway::start(SANDBOX).await;
    assert_eq!(keyed(&gateway, "/v1/messages", "one", &message("hello")).await.status, 202);
    assert_eq!(keyed(&gateway, "/v1/batches", "two", &batch("hello")).await.status, 202);
    for (path, key, body) in [
        ("/v1/messages", "one", message("changed")),
        ("/v1/messages", "two", message("hello")),
        ("/v1/batches", "one", batch("hello")),
        ("/v1/batches", "two", batch("changed")),
    ] {
        let answer = keyed(&gateway, path, key, &body).await;
        assert_eq!(answer.problem(), (422, "idempotency_key_reused"), "{path} {key}: {}", answer.text);
    }
    assert_eq!(gateway.database.count("select from messages").await, 51);
}

#[tokio::test]
async fn what_a_test_key_made_is_never_taken_for_what_a_live_one_asks_for() {
    let gateway = TestGateway::start(SANDBOX).await;
    let request = gateway.client.request(Method::POST, "/v1/messages").bearer_auth(SHOP_TEST);
    let tried = gateway.client.send(request.header("idempotency-key", "one").json(&message("hello"))).await;
    assert_eq!(tried.status, 202, "{}", tried.text);
    let live = keyed(&gateway, "/v1/messages", "one", &message("hello")).await;
    assert_eq!(live.problem(), (422, "idempotency_key_reused"));
}

#[tokio::test]
async fn a_repeat_of_a_batch_is_recognised_although_it_would_be_refused_by_now() {
    let gateway = TestGateway::start(SANDBOX).await;
    let mut body = batch("hello");
    body["send_at"] = json!(gateway.clock.now() + chrono::TimeDelta::minutes(1));
    let first = keyed(&gateway, "/v1/batches", "key", &body).await;
    gateway.advance(Duration::from_hours(1));
    let repeat = keyed(&gateway, "/v1/batches", "key", &body).await;
    assert_eq!((repeat.status, &repeat.json["id"]), (202, &first.json["id"]), "{}", repeat.text);
}

fn both() -> [(&'static str, Value); 2] {
    [("/v1/messages", message("hello")), ("/v1/batches", batch("hello"))]
}

#[tokio::test]
async fn nothing_is_kept_of_the_key_of_a_request_that_is_wrong() {
    let gateway = TestGateway::start(SANDBOX).await;
    for (path, body) in both() {
        let mut wrong = body.clone();
        wrong["surprise"] = json!(1);
        assert_eq!(keyed(&gateway, path, path, &wrong).await.status, 422);
        let answer = keyed(&gateway, path, path, &body).await;
        assert_eq!((answer.status, answer.header("idempotent-replayed")), (202, ""), "{}", answer.text);
    }
}

#[tokio::test]
async fn nothing_is_kept_of_the_key_of_a_request_that_comes_too_fast() {
    let gateway = TestGateway::start(&format!("{SANDBOX}[apps.shop]\nrate_per_second = 1")).await;
    for (path, body) in both() {
        let mut number = 0;
        let refused = gateway
            .until("it is too fast", async || {
                number += 1;
                let key = format!("{path}-{number}");
                (keyed(&gateway, path, &key, &body).await.status == 429).then_some(key)
            })
            .await;
        let kept = format!("select from idempotency_keys where key = '{refused}'");
        assert_eq!(gateway.database.count(&kept).await, 0, "{path}");
    }
}

#[tokio::test]
async fn nothing_is_kept_of_the_key_of_a_request_that_would_wait_too_long() {
    let gateway = TestGateway::start(&format!("{SANDBOX}[providers.sandbox]\nrate_per_second = 1")).await;
    for number in 0..30 {
        assert_eq!(keyed(&gateway, "/v1/messages", &format!("wait-{number}"), &message("wait")).await.status, 202);
    }
    gateway.advance(Duration::from_mins(10));
    for (path, body) in both() {
        let mut urgent = body.clone();
        urgent["validity_period"] = json!(900);
        let mut number = 0;
        let key = gateway
            .until("the backlog is seen", async || {
                number += 1;
                let key = format!("{path}-{number}");
                let answer = keyed(&gateway, path, &key, &urgent).await;
                (answer.status == 503).then_some(key)
            })
            .await;
        let other = keyed(&gateway, path, &key, &body).await;
        assert_eq!((other.status, other.header("idempotent-replayed")), (202, ""), "{}", other.text);
    }
}
