//! What apps are called with: signed, whole, in their place, at the address that is meant, and once.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};
use sms_gateway::clock::Clock;

use crate::support::{
    TestGateway,
    carriers::{NXCLOUD, form, nx_receipt},
    gateway::{AUDIT, BANK, OPS, SHOP, string},
    process::Site,
    receiver::{Call, OTHER_SECRET, Receiver, Reply, SECRET},
};

const TO: &str = "+8618637616887";
const FORM: [(&str, &str); 1] = [("content-type", "application/x-www-form-urlencoded")];

/// The shop's webhook, over a provider whose reports come by hand.
async fn start(receiver: &Receiver) -> TestGateway {
    TestGateway::start(&format!("{NXCLOUD}{}", receiver.configured())).await
}

/// Is taken. Gives back the id of the message and of the provider.
async fn is_sent(gateway: &TestGateway, mut body: Value) -> (String, String) {
    body["to"] = json!(TO);
    let id = gateway.send(body).await;
    let sent = gateway.wait_for_status(&id, "sent").await;
    (id, string(&sent["provider_message_id"]).to_owned())
}

async fn is_reported(gateway: &TestGateway, native: &str, status: &str) {
    assert_eq!(gateway.push("nx", "nx-token", &FORM, nx_receipt(native, TO, status)).await.status, 200);
}

fn kinds(calls: &[Call]) -> Vec<&str> {
    calls.iter().map(Call::kind).collect()
}

#[tokio::test]
async fn each_event_is_signed_numbered_and_shows_the_message_as_it_was_then() {
    let receiver = Receiver::start().await;
    let gateway = start(&receiver).await;
    let (id, native) = is_sent(&gateway, json!({ "text": "hello", "client_reference": "order-1" })).await;
    let when_sent = gateway.message(&id).await;
    receiver.until_calls(1).await;
    is_reported(&gateway, &native, "DELIVRD").await;
    let when_delivered = gateway.wait_for_end(&id, "delivered").await;
    let calls = receiver.until_calls(2).await;
    assert_eq!(kinds(&calls), ["message.sent", "message.delivered"]);
    assert!(calls.iter().all(|call| call.is_signed_with(SECRET) && call.id.starts_with("evt_")), "{calls:?}");
    assert_eq!((calls[0].body["sequence"].as_u64(), calls[1].body["sequence"].as_u64()), (Some(1), Some(2)));
    assert_eq!((calls[0].message(), calls[1].message()), (&when_sent, &when_delivered));
    assert_eq!(calls[0].path, "/hook");
}

#[tokio::test]
async fn an_event_that_is_late_still_shows_the_message_as_it_was_when_it_happened() {
    let receiver = Receiver::start().await;
    receiver.answer(|_| Reply::status(500));
    let gateway = start(&receiver).await;
    let (id, native) = is_sent(&gateway, json!({ "text": "hello" })).await;
    let when_sent = gateway.message(&id).await;
    let first = receiver.until_calls(1).await.remove(0);
    is_reported(&gateway, &native, "DELIVRD").await;
    gateway.wait_for_end(&id, "delivered").await;
    receiver.until_calls(2).await;
    receiver.answer(|_| Reply::status(200));
    gateway.advance(Duration::from_secs(7));
    let calls = receiver.until_calls(4).await;
    let again = calls.iter().skip(2).find(|call| call.id == first.id).unwrap();
    assert_eq!((again.message(), string(&again.body["timestamp"])), (&when_sent, string(&first.body["timestamp"])));
    assert!(again.timestamp > first.timestamp, "each try has its own time");
    assert!(again.is_signed_with(SECRET));
}

#[tokio::test]
async fn while_secrets_are_rotated_each_of_them_signs() {
    let receiver = Receiver::start().await;
    let both = receiver.configured().replace(&format!("\"{SECRET}\""), &format!("[\"{OTHER_SECRET}\", \"{SECRET}\"]"));
    let gateway = TestGateway::start(&format!("{NXCLOUD}{both}")).await;
    is_sent(&gateway, json!({ "text": "hello" })).await;
    let call = receiver.until_calls(1).await.remove(0);
    assert!(call.is_signed_with(SECRET) && call.is_signed_with(OTHER_SECRET), "{call:?}");
    assert!(!call.is_signed_with("whsec_d3Jvbmctc2VjcmV0LXdyb25nLXNlY3JldA=="));
    assert_eq!(call.signature.split(' ').filter(|one| one.starts_with("v1,")).count(), 2);
}

#[tokio::test]
async fn nothing_of_a_sensitive_content_is_in_it() {
    let receiver = Receiver::start().await;
    let gateway = start(&receiver).await;
    is_sent(&gateway, json!({ "text": "Your code is 369751", "sensitive": true })).await;
    let call = receiver.until_calls(1).await.remove(0);
    assert!(!call.raw.contains("369751") && call.message()["text"].is_null(), "{}", call.raw);
    assert_eq!(call.message()["sensitive"], true);
}

#[tokio::test]
async fn a_message_with_a_callback_url_is_told_of_there_and_nowhere_else() {
    let (receiver, own) = (Receiver::start().await, Receiver::start().await);
    let gateway = start(&receiver).await;
    let url = format!("http://{}/orders/7?token=abc", own.address);
    is_sent(&gateway, json!({ "text": "hello", "callback_url": url })).await;
    let call = own.until_calls(1).await.remove(0);
    assert_eq!((call.kind(), call.path.as_str()), ("message.sent", "/orders/7?token=abc"));
    assert!(call.is_signed_with(SECRET));
    is_sent(&gateway, json!({ "text": "hello again" })).await;
    receiver.until_calls(1).await;
    assert_eq!((receiver.calls().len(), own.calls().len()), (1, 1));
    let elsewhere = json!({ "to": TO, "text": "hello", "callback_url": "http://evil.example/" });
    assert_eq!(gateway.post_message(elsewhere).await.problem(), (422, "host_not_allowed"));
}

#[tokio::test]
async fn a_name_is_resolved_and_called_where_it_leads() {
    let receiver = Receiver::start().await;
    let named = receiver.configured().replace("127.0.0.1", "localhost");
    let gateway = TestGateway::start(&format!("{NXCLOUD}{named}")).await;
    is_sent(&gateway, json!({ "text": "hello" })).await;
    assert_eq!(kinds(&receiver.until_calls(1).await), ["message.sent"]);
}

#[tokio::test]
async fn an_inbound_message_is_told_to_the_owner_of_its_number() {
    let receiver = Receiver::start().await;
    let gateway = start(&receiver).await;
    let push = form(&[
        ("messageId", "in-1"),
        ("toPhone", "+8615088888888"),
        ("fromPhone", "+84361234567"),
        ("content", "Where is my parcel?"),
        ("type", "0"),
    ]);
    assert_eq!(gateway.push("nx", "nx-token", &FORM, push).await.status, 200);
    let call = receiver.until_calls(1).await.remove(0);
    assert_eq!(call.kind(), "inbound_message.received");
    let shown = gateway.client.get(SHOP, "/v1/inbound_messages").await.json["data"][0].clone();
    assert_eq!((&call.body["data"]["inbound_message"], string(&shown["text"])), (&shown, "Where is my parcel?"));
    assert!(call.is_signed_with(SECRET) && call.body.get("sequence").is_none(), "{}", call.raw);
}

#[tokio::test]
async fn the_timeline_tells_of_webhooks() {
    let receiver = Receiver::start().await;
    receiver.answer(|call| Reply::status(if call.kind() == "message.sent" { 500 } else { 200 }));
    let gateway = start(&receiver).await;
    let (id, native) = is_sent(&gateway, json!({ "text": "hello" })).await;
    receiver.until_calls(1).await;
    is_reported(&gateway, &native, "DELIVRD").await;
    let told = async || {
        let story = gateway.story(&id).await;
        let webhooks: Vec<String> = story.into_iter().filter(|entry| entry.starts_with("webhook.")).collect();
        (webhooks.len() == 2).then_some(webhooks)
    };
    let told = gateway.until("both webhooks are told of", told).await;
    assert!(told.contains(&"webhook.delivered delivered".to_owned()), "{told:?}");
    assert!(told.iter().any(|entry| entry.starts_with("webhook.failed")), "{told:?}");
}

#[tokio::test]
async fn the_log_shows_each_event_with_its_delivery_to_its_own_app_only() {
    let receiver = Receiver::start().await;
    let gateway = start(&receiver).await;
    let (id, native) = is_sent(&gateway, json!({ "text": "hello" })).await;
    is_reported(&gateway, &native, "DELIVRD").await;
    receiver.until_calls(2).await;
    let delivered = async |key: &str| {
        let page = gateway.client.get(key, "/v1/events?delivery_status=delivered").await;
        assert_eq!(page.status, 200, "{}", page.text);
        let data = page.json["data"].as_array().unwrap().clone();
        (data.len() == 2).then_some(data)
    };
    let data = gateway.until("both are delivered", async || delivered(SHOP).await).await;
    assert_eq!((string(&data[0]["type"]), string(&data[1]["type"])), ("message.delivered", "message.sent"));
    assert_eq!(
        (string(&data[1]["data"]["message"]["status"]), string(&data[1]["data"]["message"]["id"])),
        ("sent", id.as_str())
    );
    let delivery = &data[0]["delivery"];
    let expected = (json!(format!("http://{}/hook", receiver.address)), json!(1), json!(204), json!(null));
    let found = (
        delivery["url"].clone(),
        delivery["tries"].clone(),
        delivery["last_status_code"].clone(),
        delivery["next_try_at"].clone(),
    );
    assert_eq!(found, expected);
    assert_eq!(delivered(AUDIT).await.map(|all| all.len()), Some(2));
    assert!(delivered(BANK).await.is_none());
    for (query, count) in [
        ("type=message.sent", 1),
        ("app=shop", 2),
        ("app=bank", 0),
        ("created_before=2020-01-01T00:00:00Z", 0),
        ("created_after=2020-01-01T00:00:00Z&limit=1", 1),
    ] {
        let page = gateway.client.get(OPS, &format!("/v1/events?{query}")).await;
        assert_eq!(page.json["data"].as_array().map(Vec::len), Some(count), "{query}: {}", page.text);
    }
    let first = gateway.client.get(OPS, "/v1/events?limit=1").await.json;
    let second = gateway.client.get(OPS, &format!("/v1/events?limit=1&cursor={}", string(&first["next_cursor"]))).await;
    assert_eq!((&first["data"][0]["id"], &second.json["data"][0]["id"]), (&data[0]["id"], &data[1]["id"]));
    assert_eq!(gateway.client.get(SHOP, "/v1/events?type=message.read").await.problem(), (422, "invalid"));
    assert_eq!(gateway.client.get(SHOP, "/v1/events?app=bank").await.problem(), (403, "forbidden"));
}

#[tokio::test]
async fn one_event_is_delivered_once_more_with_the_same_id() {
    let receiver = Receiver::start().await;
    let gateway = start(&receiver).await;
    is_sent(&gateway, json!({ "text": "hello" })).await;
    let first = receiver.until_calls(1).await.remove(0);
    let path = format!("/v1/events/{}/redeliver", first.id);
    assert_eq!(gateway.client.post(BANK, &path, &json!({})).await.problem(), (404, "not_found"));
    assert_eq!(gateway.client.post(AUDIT, &path, &json!({})).await.problem(), (403, "forbidden"));
    let queued = gateway.client.post(SHOP, &path, &json!({})).await;
    assert_eq!((queued.status, string(&queued.json["delivery"]["status"])), (202, "pending"), "{}", queued.text);
    let again = receiver.until_calls(2).await.remove(1);
    assert_eq!((&again.id, &again.body), (&first.id, &first.body));
    assert!(again.is_signed_with(SECRET));
}

#[tokio::test]
async fn all_events_of_a_time_are_delivered_once_more_to_their_own_app() {
    let receiver = Receiver::start().await;
    let gateway = start(&receiver).await;
    for text in ["one", "two", "three"] {
        is_sent(&gateway, json!({ "text": text })).await;
    }
    receiver.until_calls(3).await;
    let now = Clock::system().now();
    let (after, before) = (now - chrono::TimeDelta::minutes(5), now + chrono::TimeDelta::minutes(5));
    let range = json!({ "created_after": after, "created_before": before, "type": "message.sent" });
    let path = "/v1/events/redeliver";
    assert_eq!(gateway.client.post(BANK, path, &range).await.json, json!({ "count": 0 }));
    assert_eq!(gateway.client.post(AUDIT, path, &range).await.problem(), (403, "forbidden"));
    let queued = gateway.client.post(SHOP, path, &range).await;
    assert_eq!((queued.status, &queued.json["count"]), (202, &json!(3)), "{}", queued.text);
    let calls = receiver.until_calls(6).await;
    let mut times: BTreeMap<&str, u32> = BTreeMap::new();
    for call in &calls {
        *times.entry(&call.id).or_default() += 1;
    }
    assert_eq!(times.values().copied().collect::<Vec<_>>(), [2, 2, 2]);
    let of_bank = json!({ "created_after": after, "created_before": before, "app": "bank" });
    assert_eq!(gateway.client.post(OPS, path, &of_bank).await.json, json!({ "count": 0 }));
    assert_eq!(gateway.client.post(SHOP, path, &of_bank).await.problem(), (403, "forbidden"));
    let upside_down = json!({ "created_after": before, "created_before": after });
    assert_eq!(gateway.client.post(SHOP, path, &upside_down).await.problem(), (422, "out_of_range"));
    assert_eq!(gateway.client.post(SHOP, path, &json!({})).await.status, 422);
}

#[tokio::test]
async fn two_processes_deliver_each_event_once() {
    let receiver = Receiver::start().await;
    receiver.answer(|_| Reply::status(200).after(Duration::from_millis(20)));
    let config = format!(
        "[routes.all]\nsteps = [{{ provider = \"sandbox\" }}]\n[apps.bank]\nkeys = [\"{}\"]\n{}",
        sms_gateway::config::KeyHash::of(BANK),
        receiver.configured()
    );
    let site = Site::new(&config).await;
    let (one, two) = (site.start().await, site.start_beside().await);
    for index in 0..40 {
        let process = if index % 2 == 0 { &one } else { &two };
        let body = json!({ "to": "+99900000002", "text": format!("{index}") });
        assert_eq!(process.client.post(BANK, "/v1/messages", &body).await.status, 202);
    }
    site.until_rows("select from events where type = 'message.undelivered' and delivery = 'delivered'", 40).await;
    site.until_rows("select from webhook_queue", 0).await;
    let calls = receiver.calls();
    let mut ids: Vec<&str> = calls.iter().map(|call| call.id.as_str()).collect();
    ids.sort_unstable();
    let all = ids.len();
    ids.dedup();
    assert_eq!(ids.len(), all, "an event was sent twice");
    assert!(calls.iter().all(|call| call.is_signed_with(SECRET)));
}

#[tokio::test]
async fn apps_are_shown_without_keys_and_secrets() {
    let receiver = Receiver::start().await;
    let gateway = start(&receiver).await;
    let shown = gateway.client.get(OPS, "/v1/apps").await;
    let data = shown.json["data"].as_array().unwrap();
    let names: Vec<&str> = data.iter().map(|app| string(&app["name"])).collect();
    assert_eq!(names, ["audit", "bank", "ops", "shop"]);
    let expected = json!({
        "name": "shop", "role": "app", "webhook_url": format!("http://{}/hook", receiver.address), "webhook_events": [],
        "webhook_disabled_at": null, "callback_hosts": ["127.0.0.1"], "inbound_numbers": ["+8615088888888"],
        "default_route": null, "rate_per_second": null, "daily_limit": null, "countries": null, "routes": null,
        "providers": null, "templates": null, "senders": null, "max_segments": null,
    });
    assert_eq!(data[3], expected);
    assert!(!shown.text.contains("whsec") && !shown.text.contains("sha256"), "{}", shown.text);
    assert_eq!(gateway.client.get(AUDIT, "/v1/apps").await.status, 200);
    assert_eq!(gateway.client.get(SHOP, "/v1/apps").await.problem(), (403, "forbidden"));
}
