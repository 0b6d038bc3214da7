//! What apps are told of is written with the change that it tells of: which events there are, and in which order.

use std::time::Duration;

use crate::support::{
    TestGateway,
    carriers::{NXCLOUD, form, nx_receipt},
    gateway::string,
};

const SANDBOX: &str = r#"
[routes.all]
steps = [{ provider = "sandbox" }]
"#;
const TO: &str = "+8618637616887";
const FORM: [(&str, &str); 1] = [("content-type", "application/x-www-form-urlencoded")];

/// The shop wants to know everything, and nobody listens at its webhook. Stands right after the shop's own keys.
const WEBHOOK: &str = r#"
webhook_url = "http://127.0.0.1:9/hook"
webhook_secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLw=="
callback_hosts = ["127.0.0.1"]
"#;

/// How many events of a message there are of a type, with their place and how they stand.
async fn told(gateway: &TestGateway, kind: &str, sequence: u8, delivery: &str) -> bool {
    let query =
        format!("select from events where type = '{kind}' and sequence = {sequence} and delivery = '{delivery}'");
    gateway.database.count(&query).await == 1
}

/// The shop's webhook, over a provider whose reports come by hand.
fn by_hand(more: &str) -> String {
    format!("{NXCLOUD}{WEBHOOK}{more}")
}

/// Is taken, and then reported as delivered.
async fn is_delivered(gateway: &TestGateway) {
    let id = gateway.text(TO, "hello").await;
    let sent = gateway.wait_for_status(&id, "sent").await;
    let receipt = nx_receipt(string(&sent["provider_message_id"]), TO, "DELIVRD");
    assert_eq!(gateway.push("nx", "nx-token", &FORM, receipt).await.status, 200);
    gateway.wait_for_end(&id, "delivered").await;
}

#[tokio::test]
async fn taken_and_delivered_are_two_events_with_their_places() {
    let gateway = TestGateway::start(&by_hand("")).await;
    is_delivered(&gateway).await;
    assert!(told(&gateway, "message.sent", 1, "pending").await);
    assert!(told(&gateway, "message.delivered", 2, "pending").await);
    assert_eq!(gateway.database.count("select from events").await, 2);
    assert_eq!(gateway.database.count("select from webhook_queue where app = 'shop' and receiver = ''").await, 2);
    assert_eq!(gateway.database.count("select from messages where events = 2").await, 1);
}

#[tokio::test]
async fn unknown_is_told_on_entering_it_and_once_more_when_it_is_final() {
    let gateway = TestGateway::start(&format!("{SANDBOX}[apps.shop]{WEBHOOK}")).await;
    let id = gateway.text("+99900000004", "hello").await;
    gateway.wait_for_status(&id, "unknown").await;
    assert_eq!(gateway.database.count("select from events where type = 'message.unknown'").await, 1);
    gateway.advance(Duration::from_secs(61));
    gateway.wait_for_end(&id, "unknown").await;
    let finals = "select from events where type = 'message.unknown' and state ? 'completed_at'";
    assert_eq!(gateway.database.count("select from events where type = 'message.unknown'").await, 2);
    assert_eq!(gateway.database.count(finals).await, 1);
}

#[tokio::test]
async fn what_has_nowhere_to_go_is_written_down_and_skipped() {
    let gateway = TestGateway::start(SANDBOX).await;
    let id = gateway.text("+99900000003", "hello").await;
    gateway.wait_for_end(&id, "failed").await;
    assert!(told(&gateway, "message.failed", 1, "skipped").await);
    assert_eq!(gateway.database.count("select from webhook_queue").await, 0);
}

#[tokio::test]
async fn what_its_app_does_not_want_to_know_is_skipped() {
    let gateway = TestGateway::start(&by_hand("webhook_events = [\"message.delivered\"]")).await;
    is_delivered(&gateway).await;
    assert!(told(&gateway, "message.sent", 1, "skipped").await);
    assert!(told(&gateway, "message.delivered", 2, "pending").await);
}

#[tokio::test]
async fn the_owner_of_a_number_is_told_of_an_inbound_message_once() {
    let gateway = TestGateway::start(&by_hand("")).await;
    let inbound = |id: &str, to: &str| {
        form(&[("messageId", id), ("toPhone", to), ("fromPhone", "+84361234567"), ("content", "hi"), ("type", "0")])
    };
    for push in
        [inbound("in-1", "+8615088888888"), inbound("in-1", "+8615088888888"), inbound("in-2", "+8615099999999")]
    {
        assert_eq!(gateway.push("nx", "nx-token", &FORM, push).await.status, 200);
    }
    assert_eq!(gateway.database.count("select from inbound_messages").await, 2);
    let events = "select from events e join inbound_messages i on i.id = e.inbound_message_id
                  where e.type = 'inbound_message.received' and e.app = 'shop' and e.delivery = 'pending'";
    assert_eq!(gateway.database.count(events).await, 1);
    assert_eq!(gateway.database.count("select from events").await, 1);
}
