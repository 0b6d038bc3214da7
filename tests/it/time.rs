//! What time brings to a message before it is with a provider: its `send_at`, and the end of its validity.

use std::{str::FromStr, time::Duration};

use serde_json::{Value, json};
use sms_gateway::{
    domain::{life::HandOver, status::MessageStatus},
    simulator::{Behaviour, Protocol, ScriptedReport},
    store::{
        Db,
        events::Receivers,
        life::{self, StoredMessage},
    },
};
use sqlx::postgres::PgConnectOptions;

use crate::support::{
    TestGateway,
    carriers::{HUAWEI, NXCLOUD, VOICE, attempts, error, nx_receipt, with_receipts},
    gateway::{OPS, SHOP, string},
};

const TO: &str = "+84361234567";

const DAY: i64 = 86_400;

fn at(gateway: &TestGateway, seconds: i64) -> String {
    (gateway.clock.now() + chrono::TimeDelta::seconds(seconds)).to_rfc3339()
}

fn calls(gateway: &TestGateway, protocol: Protocol) -> u64 {
    gateway.simulator.counts().providers.get(&protocol).map_or(0, |counts| counts.calls)
}

async fn switch(gateway: &TestGateway, provider: &str, enabled: bool) {
    let path = format!("/v1/providers/{provider}");
    let request = gateway.client.request(reqwest::Method::PATCH, &path).bearer_auth(OPS);
    assert_eq!(gateway.client.send(request.json(&json!({ "enabled": enabled }))).await.status, 200);
}

#[tokio::test]
async fn send_at_is_at_most_thirty_days_ahead_and_five_minutes_ago() {
    let gateway = with_receipts(NXCLOUD).await;
    for (seconds, status) in [(30 * DAY + 60, 422), (30 * DAY - 60, 202), (-330, 422)] {
        let body = json!({ "to": TO, "text": "hello", "send_at": at(&gateway, seconds) });
        let answer = gateway.post_message(body).await;
        assert_eq!(answer.status, status, "{seconds}: {}", answer.text);
        if status == 422 {
            assert_eq!(answer.errors(), [("/send_at".to_owned(), "out_of_range".to_owned())]);
        } else {
            assert_eq!(string(&answer.json["status"]), "scheduled");
        }
    }
    let late = gateway.send(json!({ "to": TO, "text": "hello", "send_at": at(&gateway, -270) })).await;
    let message = gateway.wait_for_end(&late, "delivered").await;
    assert!(message["send_at"].is_null(), "up to five minutes ago means now: {message}");
}

#[tokio::test]
async fn a_scheduled_message_is_sent_at_its_time_and_not_before_also_over_a_restart() {
    let gateway = with_receipts(NXCLOUD).await;
    let id = gateway.send(json!({ "to": TO, "text": "later", "send_at": at(&gateway, 3600) })).await;
    gateway.advance(Duration::from_mins(59));
    let now = gateway.text("+84361234568", "now").await;
    gateway.wait_for_end(&now, "delivered").await;
    assert_eq!(string(&gateway.message(&id).await["status"]), "scheduled");
    let gateway = gateway.restart("").await;
    assert_eq!((string(&gateway.message(&id).await["status"]), calls(&gateway, Protocol::Nxcloud)), ("scheduled", 1));
    gateway.advance(Duration::from_mins(2));
    let message = gateway.wait_for_end(&id, "delivered").await;
    assert!(string(&message["sent_at"]) > string(&message["send_at"]), "{message}");
}

#[tokio::test]
async fn validity_counts_from_send_at() {
    let gateway = with_receipts(NXCLOUD).await;
    switch(&gateway, "nx", false).await;
    let send_at = at(&gateway, 3600);
    let id = gateway.send(json!({ "to": TO, "text": "hello", "send_at": send_at, "validity_period": 600 })).await;
    gateway.advance(Duration::from_mins(69));
    gateway.wait_for_status(&id, "queued").await;
    gateway.advance(Duration::from_mins(2));
    let message = gateway.wait_for_end(&id, "expired").await;
    assert_eq!((error(&message).0, message["attempts"].as_array().map(Vec::len)), ("expired", Some(0)));
    switch(&gateway, "nx", true).await;
    let other = gateway.text("+84361234568", "now").await;
    gateway.wait_for_end(&other, "delivered").await;
    assert_eq!(calls(&gateway, Protocol::Nxcloud), 1, "what has expired is never sent");
}

#[tokio::test]
async fn nothing_is_tried_again_after_the_validity() {
    let gateway = TestGateway::start(HUAWEI).await;
    // Flow control: once more in ten minutes, which is after the end.
    let body = json!({ "to": "+85260970040", "validity_period": 300,
        "template": { "name": "parcel", "params": { "place": "the gate" } } });
    let id = gateway.send(body).await;
    gateway.wait_for(&id, |message| attempts(message) == ["hw failed"]).await;
    gateway.advance(Duration::from_mins(6));
    let message = gateway.wait_for_end(&id, "expired").await;
    assert_eq!((error(&message), attempts(&message)), (("expired", "E200015"), vec!["hw failed".to_owned()]));
    gateway.advance(Duration::from_mins(6));
    let other = json!({ "to": "+85260123456", "template": { "name": "parcel", "params": { "place": "the gate" } } });
    let other = gateway.send(other).await;
    gateway.wait_for_end(&other, "delivered").await;
    assert_eq!(calls(&gateway, Protocol::Huawei), 2);
}

fn two_steps(route: &str) -> String {
    let nxcloud = NXCLOUD.replace("[routes.sms]\nsteps = [{ provider = \"nx\" }]", "");
    let voice = VOICE.split("[routes").next().unwrap();
    format!("{nxcloud}{voice}[routes.both]\n{route}")
}

fn code(validity: u32) -> Value {
    json!({ "to": TO, "text": "123456", "validity_period": validity })
}

#[tokio::test]
async fn no_next_step_begins_after_the_validity() {
    let gateway = with_receipts(&two_steps(
        "steps = [{ provider = \"nx\" }, { provider = \"call\", after_seconds = 400 }]\nfailover = \"on_undelivered\"",
    ))
    .await;
    gateway.simulator.next_for(TO, Behaviour { reports: Some(Vec::new()), ..Behaviour::default() });
    let id = gateway.send(code(300)).await;
    gateway.wait_for_status(&id, "sent").await;
    gateway.advance(Duration::from_mins(10));
    let other = gateway.send(json!({ "to": "+84361234568", "text": "123456", "provider": "nx" })).await;
    gateway.wait_for_end(&other, "delivered").await;
    assert_eq!(attempts(&gateway.message(&id).await), ["nx sent"]);
    assert_eq!(calls(&gateway, Protocol::Voice), 0);
}

#[tokio::test]
async fn a_report_of_loss_after_the_validity_ends_the_message() {
    let gateway = with_receipts(&two_steps(
        "steps = [{ provider = \"nx\" }, { provider = \"call\" }]\nfailover = \"on_undelivered\"",
    ))
    .await;
    for (validity, expected) in [(300, vec!["nx undelivered"]), (3600, vec!["nx undelivered", "call delivered"])] {
        gateway.simulator.next_for(TO, Behaviour { reports: Some(Vec::new()), ..Behaviour::default() });
        let id = gateway.send(code(validity)).await;
        let native = string(&gateway.wait_for_status(&id, "sent").await["provider_message_id"]).to_owned();
        gateway.advance(Duration::from_mins(6));
        let receipt = nx_receipt(&native, TO, "UNDELIVR");
        assert_eq!(gateway.push("nx", "nx-token", &[], receipt).await.status, 200);
        let message = gateway.wait_for(&id, |message| message["status"] != "sent").await;
        if expected.len() == 1 {
            assert_eq!((string(&message["status"]), attempts(&message)), ("undelivered", vec![expected[0].to_owned()]));
        } else {
            gateway.wait_for(&id, |message| attempts(message).len() == 2).await;
        }
    }
}

#[tokio::test]
async fn a_batch_waits_and_expires_like_its_messages() {
    let gateway = with_receipts(NXCLOUD).await;
    switch(&gateway, "nx", false).await;
    let body =
        json!({ "text": "hello", "validity_period": 600, "recipients": [{ "to": TO }, { "to": "+84361234568" }] });
    let batch = gateway.client.post(SHOP, "/v1/batches", &body).await;
    assert_eq!(batch.status, 202, "{}", batch.text);
    gateway.advance(Duration::from_mins(11));
    let path = format!("/v1/batches/{}", string(&batch.json["id"]));
    let done = gateway
        .until("it is completed", async || {
            let batch = gateway.client.get(OPS, &path).await.json;
            (batch["status"] == "completed").then_some(batch)
        })
        .await;
    assert_eq!(done["counts"]["expired"].as_u64(), Some(2), "{done}");
    assert_eq!(calls(&gateway, Protocol::Nxcloud), 0);
}

#[tokio::test]
async fn an_unknown_that_is_final_completes_its_batch_and_a_late_report_does_not_do_so_twice() {
    let gateway = with_receipts(NXCLOUD).await;
    let late = ScriptedReport { delay_ms: Some(20), ..ScriptedReport::default() };
    gateway.simulator.next_for(TO, Behaviour { reports: Some(vec![late]), ..Behaviour::default() });
    gateway.simulator.next_for("+84361234568", Behaviour { reports: Some(Vec::new()), ..Behaviour::default() });
    let body = json!({ "text": "hello", "recipients": [{ "to": TO }, { "to": "+84361234568" }] });
    let batch = gateway.client.post(SHOP, "/v1/batches", &body).await;
    let path = format!("/v1/batches/{}", string(&batch.json["id"]));
    let read = async || gateway.client.get(OPS, &path).await.json;
    gateway.until("one is delivered", async || (read().await["counts"]["delivered"] == 1).then_some(())).await;
    gateway.until("one is sent", async || (read().await["counts"]["sent"] == 1).then_some(())).await;
    assert_eq!(string(&read().await["status"]), "processing");
    gateway.advance(Duration::from_hours(77));
    let done =
        gateway.until("it is completed", async || Some(read().await).filter(|it| it["status"] == "completed")).await;
    assert_eq!((done["counts"]["unknown"].as_u64(), done["counts"]["delivered"].as_u64()), (Some(1), Some(1)));
    let listed = gateway.client.get(OPS, "/v1/messages?status=unknown").await;
    let native = string(&listed.json["data"][0]["provider_message_id"]).to_owned();
    let receipt = nx_receipt(&native, "+84361234568", "DELIVRD");
    assert_eq!(gateway.push("nx", "nx-token", &[], receipt).await.status, 200);
    let after = gateway
        .until("both are delivered", async || Some(read().await).filter(|it| it["counts"]["delivered"] == 2))
        .await;
    assert_eq!((&after["status"], &after["completed_at"]), (&done["status"], &done["completed_at"]));
    assert_eq!(gateway.database.count("select from events where type = 'batch.completed'").await, 1);
}

#[tokio::test]
async fn a_final_unknown_that_is_sent_again_opens_its_batch_anew_and_its_end_is_told_once() {
    let config = NXCLOUD.replace("callback_token", "report_window_hours = 1\ncallback_token");
    let gateway = with_receipts(&config).await;
    gateway.simulator.next_for(TO, Behaviour { reports: Some(Vec::new()), ..Behaviour::default() });
    let body = json!({ "text": "hello", "recipients": [{ "to": TO }] });
    let batch = gateway.client.post(SHOP, "/v1/batches", &body).await;
    let path = format!("/v1/batches/{}", string(&batch.json["id"]));
    let read = async || gateway.client.get(OPS, &path).await.json;
    gateway.until("it is sent", async || (read().await["counts"]["sent"] == 1).then_some(())).await;
    gateway.advance(Duration::from_hours(2));
    gateway.until("it is completed", async || (read().await["status"] == "completed").then_some(())).await;
    reopen(&gateway).await;
    let opened = read().await;
    assert_eq!((string(&opened["status"]), &opened["completed_at"]), ("processing", &Value::Null), "{opened}");
    let done =
        gateway.until("it is over", async || Some(read().await).filter(|it| it["completed_at"].is_string())).await;
    assert_eq!(done["counts"]["delivered"].as_u64(), Some(1), "{done}");
    assert_eq!(gateway.database.count("select from events where type = 'batch.completed'").await, 1);
}

/// Hands the only message over once more, as an operator may.
async fn reopen(gateway: &TestGateway) {
    let db = Db::open(PgConnectOptions::from_str(gateway.database.url()).unwrap(), 8);
    let listed = gateway.client.get(OPS, "/v1/messages?status=unknown").await;
    let id = string(&listed.json["data"][0]["id"]).parse().unwrap();
    let now = gateway.clock.now();
    Db::unit(&db.work, move |connection| {
        Box::pin(async move {
            let mut locked = life::lock(&mut *connection, &[id]).await?;
            let life = &mut locked[0].life;
            (life.status, life.completed_at) = (MessageStatus::Queued, None);
            life.send = Some(HandOver { step: 0, due: now, tries: 0, group_limit: None });
            let saved: Vec<&StoredMessage> = locked.iter().collect();
            life::save(connection, &saved, None, &Receivers::default(), now).await
        })
    })
    .await
    .unwrap();
}
