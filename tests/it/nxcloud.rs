//! SMS through `NxCloud`: calls, receipts and inbound messages over its wire protocol.

use std::time::Duration;

use serde_json::{Value, json};
use sms_gateway::simulator::{Behaviour, Ending, InboundPush, Match, Protocol, Script};

use crate::support::{
    Setup, TestGateway,
    carriers::{NXCLOUD, attempts, error, nx_receipt, nx_signed},
    gateway::{BANK, SHOP, string},
};

const TO: &str = "+8618637616887";

/// A gateway whose receipts come back as forms.
async fn start() -> TestGateway {
    started(NXCLOUD, false).await
}

async fn started(config: &str, signed: bool) -> TestGateway {
    Setup::new(config)
        .pushes(move |settings, base| {
            settings.nxcloud_callback_url = Some(format!("{base}/callbacks/nx/nx-token").parse().unwrap());
            settings.nxcloud_signed = signed;
        })
        .start()
        .await
}

fn answered_with(code: &str) -> Behaviour {
    Behaviour::code(code)
}

/// Taken, but the connection breaks before the answer, and no receipt follows.
fn answer_lost() -> Behaviour {
    Behaviour { ending: Ending::Close, reports: Some(Vec::new()), ..Behaviour::default() }
}

fn times(gateway: &TestGateway, text: &str) -> u32 {
    gateway.simulator.times_accepted(Protocol::Nxcloud, TO.trim_start_matches('+'), text)
}

#[tokio::test]
async fn a_message_is_sent_and_its_receipt_delivers_it() {
    let gateway = start().await;
    let id = gateway.text(TO, "hello").await;
    let message = gateway.wait_for_end(&id, "delivered").await;
    assert_eq!(attempts(&message), ["nx delivered"]);
    assert_eq!((string(&message["provider"]), string(&message["from"])), ("nx", "8615088888888"));
    assert_eq!(message["price"]["amount"], "0.0360");
    let taken = gateway.simulator.accepted();
    assert_eq!((taken.len(), taken[0].to.as_str(), taken[0].text.as_deref()), (1, "8618637616887", Some("hello")));
    assert_eq!(string(&message["provider_message_id"]), taken[0].message_id);
    gateway.simulator.idle().await;
    assert_eq!(gateway.simulator.pushes()[0].answer.as_deref(), Some("success"));
}

#[tokio::test]
async fn signed_receipts_deliver_too() {
    let gateway =
        started(&NXCLOUD.replace("callback_token", "verify_callbacks = \"always\"\ncallback_token"), true).await;
    let id = gateway.text(TO, "hello").await;
    gateway.wait_for_end(&id, "delivered").await;
    let unsigned = gateway.push("nx", "nx-token", &[], nx_receipt("x", TO, "DELIVRD")).await;
    assert_eq!((unsigned.status, unsigned.text.as_str()), (401, "error"));
}

#[tokio::test]
async fn calls_are_signed_with_sha256_where_that_is_configured() {
    let gateway = started(&NXCLOUD.replace("callback_token", "algorithm = \"sha256\"\ncallback_token"), false).await;
    let id = gateway.text(TO, "hello").await;
    gateway.wait_for_end(&id, "delivered").await;
}

#[tokio::test]
async fn a_negative_receipt_makes_it_undelivered() {
    let gateway = start().await;
    let id = gateway.text("+85260970002", "hello").await;
    let message = gateway.wait_for_end(&id, "undelivered").await;
    assert_eq!(error(&message), ("delivery_failed", "UNDELIVR"));
}

#[tokio::test]
async fn each_refusal_has_its_neutral_code() {
    let gateway = start().await;
    for (code, neutral, category) in [
        ("1102", "insufficient_balance", "account"),
        ("12001", "content_too_long", "request"),
        ("1003", "provider_auth_failed", "account"),
        ("12008", "sender_not_allowed", "account"),
        ("9006", "recipient_invalid", "request"),
        ("-1", "provider_rejected", "provider"),
        ("77777", "provider_rejected", "provider"),
    ] {
        gateway.simulator.next_for(TO, answered_with(code));
        let id = gateway.text(TO, code).await;
        let message = gateway.wait_for_end(&id, "failed").await;
        assert_eq!(error(&message), (neutral, code));
        assert_eq!(string(&message["error"]["category"]), category, "{code}");
        assert_eq!(attempts(&message), ["nx failed"], "{code}");
        assert_eq!(times(&gateway, code), 0);
    }
}

#[tokio::test]
async fn a_call_whose_timestamp_was_refused_is_signed_again() {
    let gateway = start().await;
    gateway.simulator.next_for(TO, answered_with("1004"));
    let id = gateway.text(TO, "hello").await;
    gateway.wait_for(&id, |message| message["attempts"][0]["status"] == "failed").await;
    gateway.advance(Duration::from_secs(2));
    let message = gateway.wait_for_end(&id, "delivered").await;
    assert_eq!(attempts(&message), ["nx failed", "nx delivered"]);
    assert!(message["error"].is_null());
}

#[tokio::test]
async fn a_code_that_is_a_string_is_read() {
    let gateway = start().await;
    gateway.simulator.change(|settings| settings.nxcloud_code_as_string = true);
    let id = gateway.text(TO, "hello").await;
    gateway.wait_for_end(&id, "delivered").await;
    gateway.simulator.next_for(TO, answered_with("1102"));
    let id = gateway.text(TO, "again").await;
    assert_eq!(error(&gateway.wait_for_end(&id, "failed").await), ("insufficient_balance", "1102"));
}

#[tokio::test]
async fn no_answer_in_time_leaves_it_unknown_and_it_is_never_sent_again() {
    let gateway = started(&NXCLOUD.replace("callback_token", "timeout_seconds = 1\ncallback_token"), false).await;
    let slow = Behaviour { answer_delay_ms: 20_000, reports: Some(Vec::new()), ..Behaviour::default() };
    gateway.simulator.next_for(TO, slow);
    let id = gateway.text(TO, "hello").await;
    let message = gateway.wait_for_status(&id, "unknown").await;
    assert_eq!((message["final"].as_bool(), error(&message).0), (Some(false), "submission_unconfirmed"));
    gateway.advance(Duration::from_hours(1));
    // Another message passes the same line after it: had the first been due again, it would have gone out before.
    let other = gateway.text(TO, "other").await;
    gateway.wait_for_end(&other, "delivered").await;
    assert_eq!(times(&gateway, "hello"), 1);
    assert_eq!(string(&gateway.message(&id).await["status"]), "unknown");
}

#[tokio::test]
async fn every_broken_answer_leaves_it_unknown_until_its_receipt_settles_it() {
    let gateway = start().await;
    for number in ["+85260970020", "+85260970024", "+85260970025", "+85260970026", "+85260970035", "+85260970036"] {
        let id = gateway.text(number, "hello").await;
        let message = gateway.wait_for_end(&id, "delivered").await;
        assert_eq!(attempts(&message), ["nx delivered"], "{number}");
        let story = gateway.story(&id).await;
        assert!(story.contains(&"report.applied delivered".to_owned()), "{number}: {story:?}");
    }
    assert_eq!(gateway.simulator.doubles(), []);
}

#[tokio::test]
async fn a_late_receipt_with_an_unknown_id_settles_the_only_unclear_message_that_fits() {
    let gateway = start().await;
    gateway.simulator.next_for(TO, answer_lost());
    let id = gateway.text(TO, "hello").await;
    gateway.wait_for_status(&id, "unknown").await;
    let other_number = gateway.push("nx", "nx-token", &[], nx_receipt("late-0", "+8618637616888", "DELIVRD")).await;
    assert_eq!((other_number.status, other_number.text.as_str()), (200, "success"));
    assert_eq!(string(&gateway.message(&id).await["status"]), "unknown");
    assert_eq!(gateway.push("nx", "nx-token", &[], nx_receipt("late-1", TO, "DELIVRD")).await.status, 200);
    let message = gateway.wait_for_end(&id, "delivered").await;
    assert_eq!(string(&message["provider_message_id"]), "late-1");
}

#[tokio::test]
async fn a_receipt_that_fits_two_unclear_messages_settles_neither() {
    let gateway = start().await;
    let mut ids = Vec::new();
    for _ in 0..2 {
        gateway.simulator.next_for(TO, answer_lost());
        let id = gateway.text(TO, "hello").await;
        gateway.wait_for_status(&id, "unknown").await;
        ids.push(id);
    }
    let pushed = gateway.push("nx", "nx-token", &[], nx_receipt("late-1", TO, "DELIVRD")).await;
    assert_eq!((pushed.status, pushed.text.as_str()), (200, "success"));
    for id in ids {
        assert_eq!(string(&gateway.message(&id).await["status"]), "unknown");
    }
}

#[tokio::test]
async fn of_two_unclear_messages_the_text_tells_which_one_a_receipt_is_about() {
    let gateway = start().await;
    let mut ids = Vec::new();
    for text in ["hello", "something else"] {
        gateway.simulator.next_for(TO, answer_lost());
        let id = gateway.text(TO, text).await;
        gateway.wait_for_status(&id, "unknown").await;
        ids.push(id);
    }
    gateway.push("nx", "nx-token", &[], nx_receipt("late-1", TO, "DELIVRD")).await;
    gateway.wait_for_end(&ids[0], "delivered").await;
    assert_eq!(string(&gateway.message(&ids[1]).await["status"]), "unknown");
}

#[tokio::test]
async fn an_unclear_message_without_evidence_is_final_when_the_report_window_is_over() {
    let gateway = start().await;
    gateway.simulator.next_for(TO, answer_lost());
    let id = gateway.text(TO, "hello").await;
    gateway.wait_for_status(&id, "unknown").await;
    gateway.advance(Duration::from_hours(77));
    let message = gateway.wait_for_end(&id, "unknown").await;
    assert_eq!(error(&message).0, "submission_unconfirmed");
}

#[tokio::test]
async fn a_message_without_a_report_is_unknown_when_the_report_window_is_over() {
    let gateway = start().await;
    let id = gateway.text("+85260970004", "hello").await;
    gateway.wait_for_status(&id, "sent").await;
    gateway.advance(Duration::from_hours(75));
    gateway.advance(Duration::from_hours(2));
    let message = gateway.wait_for_end(&id, "unknown").await;
    assert_eq!(error(&message).0, "delivery_unconfirmed");
}

fn inbound(text: &str, id: &str) -> InboundPush {
    let (from, to) = ("12347200160".to_owned(), "8615088888888".to_owned());
    InboundPush { provider: Protocol::Nxcloud, from, to, text: text.to_owned(), message_id: Some(id.to_owned()) }
}

async fn inbound_messages(gateway: &TestGateway, key: &str) -> Vec<Value> {
    let answer = gateway.client.get(key, "/v1/inbound_messages").await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json["data"].as_array().unwrap().clone()
}

#[tokio::test]
async fn an_inbound_message_reaches_the_app_that_owns_the_number_once() {
    for signed in [false, true] {
        let gateway = started(NXCLOUD, signed).await;
        for _ in 0..3 {
            gateway.simulator.push_inbound(inbound("hello there", "mo-1")).unwrap();
        }
        gateway.simulator.idle().await;
        assert!(gateway.simulator.pushes().iter().all(|push| push.answer.as_deref() == Some("success")));
        let found = inbound_messages(&gateway, SHOP).await;
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!((string(&found[0]["app"]), string(&found[0]["provider"])), ("shop", "nx"));
        assert_eq!((string(&found[0]["from"]), string(&found[0]["to"])), ("+12347200160", "+8615088888888"));
        assert_eq!(string(&found[0]["text"]), "hello there");
        assert_eq!(inbound_messages(&gateway, BANK).await, Vec::<Value>::new());
        let path = format!("/v1/inbound_messages/{}", string(&found[0]["id"]));
        assert_eq!(gateway.client.get(SHOP, &path).await.status, 200);
        assert_eq!(gateway.client.get(BANK, &path).await.status, 404);
    }
}

#[tokio::test]
async fn a_push_with_a_wrong_token_finds_nothing() {
    let gateway = start().await;
    let id = gateway.text("+85260970004", "hello").await;
    let message = gateway.wait_for_status(&id, "sent").await;
    let body = nx_receipt(string(&message["provider_message_id"]), "+85260970004", "DELIVRD");
    for (provider, token) in [("nx", "wrong"), ("nx", "nx-token2"), ("nx", ""), ("other", "nx-token"), ("sandbox", "x")]
    {
        assert_eq!(gateway.push(provider, token, &[], body.clone()).await.status, 404, "{provider}/{token}");
    }
    assert_eq!(string(&gateway.message(&id).await["status"]), "sent");
}

async fn push_signed(gateway: &TestGateway, headers: &[(&'static str, String)], body: &Value) -> (u16, String) {
    let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let answer = gateway.push("nx", "nx-token", &headers, body.to_string()).await;
    (answer.status, answer.text)
}

fn signed_receipt(message: &Value) -> Value {
    json!({
        "messageId": message["provider_message_id"], "toPhone": "85260970004", "fromPhone": "8615088888888",
        "content": "hello", "size": "1", "smsStatus": "DELIVRD", "type": "1",
    })
}

#[tokio::test]
async fn a_bad_signature_is_refused_and_changes_nothing() {
    let gateway = start().await;
    let id = gateway.text("+85260970004", "hello").await;
    let message = gateway.wait_for_status(&id, "sent").await;
    let body = signed_receipt(&message);
    let now = gateway.clock.now().timestamp_millis().to_string();
    let mut headers = nx_signed("dr", &now, &body);
    headers[4].1 = "0".repeat(32);
    assert_eq!(push_signed(&gateway, &headers, &body).await, (401, "error".to_owned()));
    let of_another_body = nx_signed("dr", &now, &json!({}));
    assert_eq!(push_signed(&gateway, &of_another_body, &body).await, (401, "error".to_owned()));
    assert_eq!(string(&gateway.message(&id).await["status"]), "sent");
}

#[tokio::test]
async fn an_old_but_well_signed_receipt_is_taken_and_a_replay_changes_nothing() {
    let gateway = start().await;
    let id = gateway.text("+85260970004", "hello").await;
    let message = gateway.wait_for_status(&id, "sent").await;
    let body = signed_receipt(&message);
    let two_days_ago = (gateway.clock.now() - chrono::TimeDelta::days(2)).timestamp_millis().to_string();
    let headers = nx_signed("dr", &two_days_ago, &body);
    assert_eq!(push_signed(&gateway, &headers, &body).await, (200, "success".to_owned()));
    let delivered = gateway.wait_for_end(&id, "delivered").await;
    assert_eq!(push_signed(&gateway, &headers, &body).await, (200, "success".to_owned()));
    let contradicting = gateway
        .push("nx", "nx-token", &[], nx_receipt(string(&message["provider_message_id"]), "+85260970004", "UNDELIVR"))
        .await;
    assert_eq!(contradicting.status, 200);
    assert_eq!(gateway.message(&id).await, delivered);
    let story = gateway.story(&id).await;
    assert_eq!(story.iter().filter(|entry| *entry == "report.ignored delivered").count(), 2, "{story:?}");
}

#[tokio::test]
async fn a_receipt_that_comes_before_the_answer_is_kept_for_it() {
    let gateway = start().await;
    let id = gateway.text("+85260970005", "hello").await;
    let message = gateway.wait_for_end(&id, "delivered").await;
    assert_eq!(attempts(&message), ["nx delivered"]);
}

#[tokio::test]
async fn throttling_is_waited_for_as_long_as_the_carrier_asks() {
    let gateway = start().await;
    let matching = Match { provider: Some(Protocol::Nxcloud), to: Some(TO.to_owned()) };
    let busy = Behaviour { retry_after: Some(30), ..Behaviour::http(429) };
    gateway.simulator.script(Script { matching, times: 1, behaviour: busy });
    let id = gateway.text(TO, "hello").await;
    gateway.wait_for(&id, |message| attempts(message) == ["nx failed"]).await;
    gateway.advance(Duration::from_secs(25));
    let other = gateway.text("+8618637616888", "other").await;
    assert_eq!(string(&gateway.message(&id).await["status"]), "queued");
    assert_eq!(gateway.simulator.counts().providers[&Protocol::Nxcloud].calls, 1);
    gateway.advance(Duration::from_secs(10));
    for id in [id, other] {
        gateway.wait_for_end(&id, "delivered").await;
    }
}
