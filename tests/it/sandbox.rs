//! The sandbox's test numbers, from the POST to the end that the number asks for.

use std::time::Duration;

use serde_json::json;
use sms_gateway::simulator::Protocol;

use crate::support::{
    TestGateway,
    carriers::{NXCLOUD, attempts, error},
    gateway::{SHOP, SHOP_TEST, string},
};

/// What a gateway has that nobody configured.
const TWO_SANDBOXES: &str = r#"
[providers.sandbox_backup]
driver = "sandbox"
[routes.everything]
steps = [{ provider = "sandbox" }, { provider = "sandbox_backup" }]
"#;

#[tokio::test]
async fn numbers_1_and_8_and_all_that_mean_nothing_are_delivered() {
    let gateway = TestGateway::start(TWO_SANDBOXES).await;
    for number in ["+99900000001", "+99900000008", "+99900000010", "+99912345678", "+99900000000"] {
        let id = gateway.text(number, "hello").await;
        let message = gateway.wait_for_end(&id, "delivered").await;
        assert_eq!(attempts(&message), ["sandbox delivered"], "{number}");
        assert!(message["error"].is_null() && message["sent_at"].is_string() && message["completed_at"].is_string());
        let story = gateway.story(&id).await;
        assert_eq!((story[0].as_str(), story[1].as_str()), ("created queued", "attempt.started sending"), "{number}");
        assert_eq!(story.last().unwrap().rsplit(' ').next(), Some("delivered"), "{number}");
        assert!(story.contains(&"report.applied delivered".to_owned()), "{number}: {story:?}");
    }
}

#[tokio::test]
async fn number_2_is_undelivered_because_the_phone_cannot_be_reached() {
    let gateway = TestGateway::start(TWO_SANDBOXES).await;
    let id = gateway.text("+99900000002", "hello").await;
    let message = gateway.wait_for_end(&id, "undelivered").await;
    assert_eq!(error(&message), ("recipient_unreachable", "unreachable"));
    assert_eq!(string(&message["error"]["category"]), "recipient");
    let story = gateway.story(&id).await;
    assert_eq!(story, ["created queued", "attempt.started sending", "attempt.sent sent", "report.applied undelivered"]);
}

#[tokio::test]
async fn number_3_fails_at_once_and_no_other_provider_is_asked() {
    let gateway = TestGateway::start(TWO_SANDBOXES).await;
    let id = gateway.text("+99900000003", "hello").await;
    let message = gateway.wait_for_end(&id, "failed").await;
    assert_eq!(error(&message), ("recipient_invalid", "number_invalid"));
    assert_eq!(attempts(&message), ["sandbox failed"]);
    assert_eq!(gateway.story(&id).await, ["created queued", "attempt.started sending", "attempt.failed failed"]);
}

#[tokio::test]
async fn number_4_is_unknown_and_final_only_when_no_evidence_can_come_any_more() {
    let gateway = TestGateway::start(TWO_SANDBOXES).await;
    let id = gateway.text("+99900000004", "hello").await;
    let message = gateway.wait_for_status(&id, "unknown").await;
    assert_eq!((message["final"].as_bool(), error(&message).0), (Some(false), "delivery_unconfirmed"));
    gateway.advance(Duration::from_secs(30));
    assert_eq!(gateway.message(&id).await["final"], false);
    gateway.advance(Duration::from_secs(31));
    let message = gateway.wait_for_end(&id, "unknown").await;
    assert_eq!(error(&message).0, "delivery_unconfirmed");
    assert_eq!(attempts(&message), ["sandbox unknown"]);
}

#[tokio::test]
async fn number_5_expires_in_the_network() {
    let gateway = TestGateway::start(TWO_SANDBOXES).await;
    let id = gateway.text("+99900000005", "hello").await;
    let message = gateway.wait_for_end(&id, "expired").await;
    assert_eq!(error(&message), ("expired", "expired"));
}

#[tokio::test]
async fn number_6_is_throttled_once_and_then_delivered_by_the_same_provider() {
    let gateway = TestGateway::start(TWO_SANDBOXES).await;
    let id = gateway.text("+99900000006", "hello").await;
    let message =
        gateway.wait_for(&id, |message| !attempts(message).is_empty() && message["status"] != "sending").await;
    assert_eq!(string(&message["attempts"][0]["error"]["code"]), "provider_rate_limited");
    gateway.advance(Duration::from_secs(2));
    let message = gateway.wait_for_end(&id, "delivered").await;
    assert_eq!(attempts(&message), ["sandbox failed", "sandbox delivered"]);
    let story = gateway.story(&id).await;
    assert!(story.contains(&"retry.scheduled queued".to_owned()), "{story:?}");
}

#[tokio::test]
async fn number_7_is_refused_by_the_first_step_and_delivered_by_the_second() {
    let gateway = TestGateway::start(TWO_SANDBOXES).await;
    let id = gateway.text("+99900000007", "hello").await;
    let message = gateway.wait_for_end(&id, "delivered").await;
    assert_eq!(attempts(&message), ["sandbox failed", "sandbox_backup delivered"]);
    assert_eq!((string(&message["provider"]), string(&message["route"])), ("sandbox_backup", "everything"));
    let story = gateway.story(&id).await;
    assert!(story.contains(&"failover queued".to_owned()), "{story:?}");
}

#[tokio::test]
async fn number_9_fails_for_lack_of_money() {
    let gateway = TestGateway::start(TWO_SANDBOXES).await;
    let id = gateway.text("+99900000009", "hello").await;
    let message = gateway.wait_for_end(&id, "failed").await;
    assert_eq!(error(&message), ("insufficient_balance", "no_money"));
    assert_eq!(string(&message["error"]["category"]), "account");
}

#[tokio::test]
async fn a_report_that_overtakes_the_answer_leaves_a_timeline_in_order() {
    let gateway = TestGateway::start(TWO_SANDBOXES).await;
    let id = gateway.text("+99900000008", "hello").await;
    gateway.wait_for_end(&id, "delivered").await;
    let timeline = gateway.timeline(&id).await;
    let times: Vec<&str> = timeline.iter().map(|entry| string(&entry["timestamp"])).collect();
    assert!(times.is_sorted(), "{times:?}");
    assert_eq!(timeline.iter().filter(|entry| entry["type"] == "report.applied").count(), 1);
}

#[tokio::test]
async fn what_a_test_key_sends_never_leaves() {
    let gateway = TestGateway::start(NXCLOUD).await;
    let bodies = [
        json!({ "to": "+8618637616887", "text": "hello" }),
        json!({ "to": "+8618637616887", "text": "hello", "provider": "nx" }),
        json!({ "to": "+8618637616887", "text": "hello", "route": "sms" }),
    ];
    for body in bodies {
        let answer = gateway.client.post(SHOP_TEST, "/v1/messages", &body).await;
        assert_eq!((answer.status, &answer.json["test"]), (202, &json!(true)), "{}", answer.text);
        let message = gateway.wait_for_end(string(&answer.json["id"]), "delivered").await;
        assert_eq!(attempts(&message), ["sandbox delivered"], "{body}");
    }
    assert_eq!(gateway.simulator.counts().providers[&Protocol::Nxcloud].calls, 0);
}

#[tokio::test]
async fn test_numbers_go_to_sandboxes_only() {
    let route = r#"steps = [{ provider = "nx" }, { provider = "sandbox" }]"#;
    let gateway = TestGateway::start(&NXCLOUD.replace(r#"steps = [{ provider = "nx" }]"#, route)).await;
    let id = gateway.text("+99900000001", "hello").await;
    let message = gateway.wait_for_end(&id, "delivered").await;
    assert_eq!(attempts(&message), ["sandbox delivered"]);
    let named = json!({ "to": "+99900000001", "text": "hello", "provider": "nx" });
    let answer = gateway.client.post(SHOP, "/v1/messages", &named).await;
    assert_eq!(answer.problem(), (422, "destination_not_allowed"), "{}", answer.text);
    assert_eq!(gateway.simulator.counts().providers[&Protocol::Nxcloud].calls, 0);
}

#[tokio::test]
async fn a_scheduled_message_goes_out_when_its_time_has_come() {
    let gateway = TestGateway::start(TWO_SANDBOXES).await;
    let at = gateway.clock.now() + chrono::TimeDelta::hours(1);
    let id = gateway.send(json!({ "to": "+99900000001", "text": "hello", "send_at": at })).await;
    let message = gateway.message(&id).await;
    assert_eq!((string(&message["status"]), message["final"].as_bool()), ("scheduled", Some(false)));
    gateway.advance(Duration::from_mins(59));
    let other = gateway.text("+99900000001", "at once").await;
    gateway.wait_for_end(&other, "delivered").await;
    assert_eq!(string(&gateway.message(&id).await["status"]), "scheduled");
    gateway.advance(Duration::from_mins(2));
    gateway.wait_for_end(&id, "delivered").await;
}

#[tokio::test]
async fn the_content_of_a_sensitive_message_is_never_shown_and_is_gone_at_the_end() {
    let gateway = TestGateway::start(TWO_SANDBOXES).await;
    let body = json!({ "to": "+99900000001", "text": "Your code is 369751", "sensitive": true });
    let answer = gateway.post_message(body).await;
    assert_eq!(answer.status, 202);
    assert!(!answer.text.contains("369751"), "{}", answer.text);
    let id = string(&answer.json["id"]).to_owned();
    let message = gateway.wait_for_end(&id, "delivered").await;
    assert!(message["text"].is_null() && message["sensitive"] == true);
    let left = "select 1 from messages where body is not null or params is not null or sealed is not null";
    assert_eq!(gateway.database.count(left).await, 0);
}
