//! Canceling: in time it keeps a message from being sent, too late it changes nothing, and never both.

use std::time::Duration;

use serde_json::{Value, json};
use sms_gateway::simulator::{Behaviour, Ending};

use crate::support::{
    Answer, TestGateway,
    carriers::{HUAWEI, NXCLOUD, with_receipts},
    gateway::{AUDIT, BANK, OPS, SHOP, string},
};

const TO: &str = "+84361234567";

async fn cancel(gateway: &TestGateway, key: &str, id: &str) -> Answer {
    gateway.client.post(key, &format!("/v1/messages/{id}/cancel"), &json!({})).await
}

async fn pause(gateway: &TestGateway, provider: &str) {
    let path = format!("/v1/providers/{provider}");
    let request = gateway.client.request(reqwest::Method::PATCH, &path).bearer_auth(OPS);
    assert_eq!(gateway.client.send(request.json(&json!({ "enabled": false }))).await.status, 200);
}

async fn scheduled(gateway: &TestGateway, to: &str) -> String {
    let send_at = gateway.clock.now() + chrono::TimeDelta::hours(1);
    gateway.send(json!({ "to": to, "text": "hello", "send_at": send_at })).await
}

#[tokio::test]
async fn a_scheduled_message_is_canceled_and_never_sent() {
    let gateway = with_receipts(NXCLOUD).await;
    let id = scheduled(&gateway, TO).await;
    let first = cancel(&gateway, SHOP, &id).await;
    assert_eq!((first.status, string(&first.json["status"])), (200, "canceled"), "{}", first.text);
    assert_eq!((first.json["final"].as_bool(), first.json["completed_at"].is_string()), (Some(true), true));
    assert!(first.json["error"].is_null());
    let repeat = cancel(&gateway, SHOP, &id).await;
    assert_eq!((repeat.status, &repeat.json), (200, &first.json), "{}", repeat.text);
    gateway.advance(Duration::from_hours(2));
    let other = gateway.text(TO, "another one").await;
    gateway.wait_for_end(&other, "delivered").await;
    assert_eq!(gateway.simulator.accepted().len(), 1);
    assert_eq!(gateway.story(&id).await, ["created scheduled", "canceled canceled"]);
    assert_eq!(gateway.database.count("select from queue").await, 0);
}

#[tokio::test]
async fn a_message_that_waits_for_its_provider_is_canceled() {
    let gateway = with_receipts(NXCLOUD).await;
    pause(&gateway, "nx").await;
    let id = gateway.text(TO, "hello").await;
    assert_eq!(string(&cancel(&gateway, SHOP, &id).await.json["status"]), "canceled");
    assert_eq!(gateway.story(&id).await, ["created queued", "canceled canceled"]);
}

#[tokio::test]
async fn a_message_that_was_refused_and_waits_to_be_tried_again_is_canceled() {
    let gateway = TestGateway::start(HUAWEI).await;
    let body = json!({ "to": "+85260970040", "template": { "name": "parcel", "params": { "place": "the gate" } } });
    let id = gateway.send(body).await;
    gateway.wait_for(&id, |message| message["attempts"][0]["status"] == "failed").await;
    let canceled = cancel(&gateway, SHOP, &id).await;
    assert_eq!((canceled.status, string(&canceled.json["status"])), (200, "canceled"), "{}", canceled.text);
    assert_eq!(canceled.json["attempts"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn what_a_provider_has_or_may_have_or_what_has_ended_cannot_be_canceled() {
    let gateway = with_receipts(NXCLOUD).await;
    let silent = || Behaviour { reports: Some(Vec::new()), ..Behaviour::default() };
    gateway.simulator.next_for(TO, silent());
    let sent = gateway.text(TO, "sent").await;
    gateway.wait_for_status(&sent, "sent").await;
    gateway.simulator.next_for(TO, Behaviour { ending: Ending::Close, ..silent() });
    let unclear = gateway.text(TO, "unclear").await;
    gateway.wait_for_status(&unclear, "unknown").await;
    let delivered = gateway.text(TO, "delivered").await;
    gateway.wait_for_end(&delivered, "delivered").await;
    for id in [sent, unclear, delivered] {
        let before = gateway.message(&id).await;
        let answer = cancel(&gateway, SHOP, &id).await;
        assert_eq!(answer.problem(), (409, "not_cancelable"), "{}", answer.text);
        assert_eq!(gateway.message(&id).await, before);
    }
}

#[tokio::test]
async fn a_message_of_another_app_is_not_there_to_be_canceled() {
    let gateway = with_receipts(NXCLOUD).await;
    let id = scheduled(&gateway, TO).await;
    assert_eq!(cancel(&gateway, BANK, &id).await.problem(), (404, "not_found"));
    assert_eq!(cancel(&gateway, AUDIT, &id).await.problem(), (403, "forbidden"));
    assert_eq!(cancel(&gateway, "sgw_live_nobody", &id).await.status, 401);
    for id in ["msg_00000000000000000000000000", "msg_x"] {
        assert_eq!(cancel(&gateway, OPS, id).await.problem(), (404, "not_found"), "{id}");
    }
    assert_eq!(string(&gateway.message(&id).await["status"]), "scheduled");
    assert_eq!(string(&cancel(&gateway, OPS, &id).await.json["status"]), "canceled", "operators act for every app");
}

#[tokio::test]
async fn content_of_a_sensitive_message_is_erased_when_it_is_canceled() {
    let gateway = with_receipts(NXCLOUD).await;
    let send_at = gateway.clock.now() + chrono::TimeDelta::hours(1);
    let id = gateway.send(json!({ "to": TO, "text": "secret", "sensitive": true, "send_at": send_at })).await;
    assert_eq!(gateway.database.count("select from messages where sealed is not null").await, 1);
    assert_eq!(cancel(&gateway, SHOP, &id).await.status, 200);
    assert_eq!(gateway.database.count("select from messages where sealed is not null").await, 0);
}

/// A round of the race: all become due at one moment, and are canceled one by one or as a batch at the same moment.
async fn race(gateway: &TestGateway, round: usize, as_batch: bool) {
    let numbers: Vec<String> = (0..30).map(|index| format!("+8436{round:02}{index:05}")).collect();
    let send_at = gateway.clock.now() + chrono::TimeDelta::minutes(1);
    let recipients: Vec<Value> = numbers.iter().map(|to| json!({ "to": to })).collect();
    let body = json!({ "text": "hello", "send_at": send_at, "recipients": recipients });
    let batch = gateway.client.post(SHOP, "/v1/batches", &body).await;
    assert_eq!(batch.status, 202, "{}", batch.text);
    let batch = string(&batch.json["id"]).to_owned();
    let listed = gateway.client.get(SHOP, &format!("/v1/messages?limit=200&batch_id={batch}")).await;
    let ids: Vec<String> =
        listed.json["data"].as_array().unwrap().iter().map(|message| string(&message["id"]).to_owned()).collect();
    gateway.advance(Duration::from_secs(61));
    // Some are canceled before the first claim, some while claims run, some too late.
    tokio::time::sleep(Duration::from_millis(rand::random_range(0..120))).await;
    if as_batch {
        let path = format!("/v1/batches/{batch}/cancel");
        assert_eq!(gateway.client.post(SHOP, &path, &json!({})).await.status, 200);
    } else {
        for answer in futures_util::future::join_all(ids.iter().map(|id| cancel(gateway, SHOP, id))).await {
            assert!(matches!(answer.status, 200 | 409), "{}", answer.text);
        }
    }
    for id in &ids {
        let message = gateway.wait_for(id, |message| message["final"] == true).await;
        let accepted = gateway.simulator.accepted();
        let times = accepted.iter().filter(|taken| string(&message["to"]).ends_with(taken.to.trim_start_matches('+')));
        let times = times.count();
        match string(&message["status"]) {
            "canceled" => assert_eq!(times, 0, "canceled and sent: {message}"),
            status => assert_eq!((status, times), ("delivered", 1), "{message}"),
        }
    }
    let batch = gateway.client.get(SHOP, &format!("/v1/batches/{batch}")).await;
    assert!(batch.json["completed_at"].is_string(), "{}", batch.text);
}

#[tokio::test]
async fn a_message_is_canceled_or_sent_and_never_both() {
    let gateway = with_receipts(NXCLOUD).await;
    for round in 0..10 {
        race(&gateway, round, round % 2 == 0).await;
    }
    assert_eq!(gateway.database.count("select from queue").await, 0);
    assert_eq!(gateway.database.count("select from batches where open <> 0").await, 0);
    assert_eq!(gateway.database.count("select from events where type = 'batch.completed'").await, 10);
}
