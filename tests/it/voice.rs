//! One-time codes read out by a call: the answers to the call, and what asking brings.

use std::time::Duration;

use serde_json::{Value, json};
use sms_gateway::simulator::{Behaviour, Protocol, VoiceAnswer};

use crate::support::{
    Setup, TestGateway,
    carriers::{NXCLOUD, VOICE, attempts, error},
    gateway::{OPS, SHOP, string},
};

const TO: &str = "+84361234567";

async fn start() -> TestGateway {
    TestGateway::start(VOICE).await
}

async fn call(gateway: &TestGateway, to: &str) -> String {
    gateway.send(json!({ "to": to, "text": "369751", "channel": "voice" })).await
}

fn questions(gateway: &TestGateway) -> u64 {
    gateway.simulator.counts().providers[&Protocol::Voice].questions
}

#[tokio::test]
async fn a_call_that_is_taken_is_asked_about_and_delivered_when_it_was_answered() {
    let gateway = start().await;
    let id = call(&gateway, TO).await;
    let message = gateway.wait_for_status(&id, "sent").await;
    assert_eq!((string(&message["channel"]), questions(&gateway)), ("voice", 0));
    gateway.advance(Duration::from_secs(6));
    let message = gateway.wait_for_end(&id, "delivered").await;
    let taken = gateway.simulator.accepted();
    assert_eq!(
        (taken[0].to.as_str(), taken[0].from.as_str(), taken[0].text.as_deref()),
        ("0361234567", "DAUSO1", Some("369751"))
    );
    assert_eq!(string(&message["provider_message_id"]), taken[0].message_id);
}

#[tokio::test]
async fn a_call_that_nobody_answered_is_undelivered() {
    let gateway = start().await;
    let id = call(&gateway, "+84360970002").await;
    gateway.wait_for_status(&id, "sent").await;
    gateway.advance(Duration::from_secs(6));
    let message = gateway.wait_for_end(&id, "undelivered").await;
    assert_eq!(error(&message), ("recipient_no_answer", "23"));
}

#[tokio::test]
async fn a_call_still_under_way_is_asked_about_again() {
    let gateway = start().await;
    let id = call(&gateway, "+84360970012").await;
    gateway.wait_for_status(&id, "sent").await;
    for (seconds, asked) in [(6, 1), (8, 2), (12, 3)] {
        assert_eq!(string(&gateway.message(&id).await["status"]), "sent");
        gateway.advance(Duration::from_secs(seconds));
        gateway.until("it is asked", async || (questions(&gateway) == asked).then_some(())).await;
    }
    gateway.wait_for_end(&id, "delivered").await;
}

#[tokio::test]
async fn every_way_in_which_the_answer_was_ever_written_is_read() {
    for way in [VoiceAnswer::Commas, VoiceAnswer::Semicolon, VoiceAnswer::Json] {
        let gateway = start().await;
        gateway.simulator.change(|settings| settings.voice_answer = way);
        let id = call(&gateway, TO).await;
        gateway.wait_for_status(&id, "sent").await;
        gateway.advance(Duration::from_secs(6));
        gateway.wait_for_end(&id, "delivered").await;
    }
}

#[tokio::test]
async fn code_27_is_unclear_never_repeated_and_never_failed_over() {
    let both = format!("{NXCLOUD}{VOICE}").replace(
        r#"steps = [{ provider = "call" }]"#,
        "priority = 1\nfailover = \"on_undelivered\"\nsteps = [{ provider = \"call\" }, { provider = \"nx\" }]",
    );
    let gateway = TestGateway::start(&both).await;
    let id = call(&gateway, "+84360980027").await;
    let message = gateway.wait_for_status(&id, "unknown").await;
    assert_eq!(error(&message), ("submission_unconfirmed", "27"));
    assert_eq!(message["final"], true, "without an id nothing can be asked");
    gateway.advance(Duration::from_hours(1));
    let other = call(&gateway, TO).await;
    gateway.wait_for_status(&other, "sent").await;
    assert_eq!(attempts(&gateway.message(&id).await), ["call unknown"]);
    assert_eq!(gateway.simulator.counts().providers[&Protocol::Voice].calls, 2);
    assert_eq!(gateway.simulator.counts().providers[&Protocol::Nxcloud].calls, 0);
}

#[tokio::test]
async fn a_call_that_is_taken_without_an_id_is_unknown_and_final_at_once() {
    let gateway = start().await;
    let id = call(&gateway, "+84360970041").await;
    let message = gateway.wait_for_end(&id, "unknown").await;
    assert_eq!(error(&message).0, "delivery_unconfirmed");
    assert_eq!(attempts(&message), ["call unknown"]);
}

#[tokio::test]
async fn a_lost_answer_is_unknown_and_final_at_once_and_the_call_is_not_made_again() {
    let gateway = start().await;
    let id = call(&gateway, "+84360970020").await;
    let message = gateway.wait_for_end(&id, "unknown").await;
    assert_eq!(error(&message).0, "submission_unconfirmed");
    assert_eq!(gateway.simulator.counts().providers[&Protocol::Voice].calls, 1);
}

#[tokio::test]
async fn each_refusal_has_its_neutral_code() {
    let gateway = start().await;
    // A number each: who takes no such calls is not called again.
    for (index, (code, neutral)) in [
        ("-1", "provider_auth_failed"),
        ("-2", "provider_access_denied"),
        ("-4", "recipient_invalid"),
        ("-8", "insufficient_balance"),
        ("5", "sender_not_allowed"),
        ("6", "duplicate_message"),
        ("7", "recipient_opted_out"),
        ("15", "account_suspended"),
        ("99", "provider_rejected"),
    ]
    .into_iter()
    .enumerate()
    {
        let to = format!("+8436123450{index}");
        gateway.simulator.next_for(&to, Behaviour::code(code));
        let id = call(&gateway, &to).await;
        let message = gateway.wait_for_end(&id, "failed").await;
        assert_eq!(error(&message), (neutral, code));
    }
}

#[tokio::test]
async fn only_one_to_six_digits_can_be_read_out() {
    let gateway = start().await;
    for text in ["1234567", "12 34", "abc", "12345é", "1234."] {
        let answer = gateway.post_message(json!({ "to": TO, "text": text })).await;
        assert_eq!(answer.problem(), (422, "content_unsupported"), "{text}: {}", answer.text);
        assert_eq!(answer.errors(), [("/text".to_owned(), "content_unsupported".to_owned())]);
    }
    for (index, text) in ["1", "123456", "000000"].into_iter().enumerate() {
        let id = gateway.send(json!({ "to": format!("+8436123456{index}"), "text": text })).await;
        gateway.wait_for_status(&id, "sent").await;
    }
}

#[tokio::test]
async fn only_vietnamese_numbers_can_be_called() {
    let gateway = start().await;
    let answer = gateway.post_message(json!({ "to": "+85260123456", "text": "123456" })).await;
    assert_eq!(answer.status, 422, "{}", answer.text);
}

#[tokio::test]
async fn a_call_without_an_outcome_is_unknown_and_final_when_the_poll_window_is_over() {
    let gateway = start().await;
    let id = call(&gateway, "+84360970004").await;
    gateway.wait_for_status(&id, "sent").await;
    gateway.advance(Duration::from_mins(9));
    gateway.until("it is asked", async || (questions(&gateway) > 0).then_some(())).await;
    assert_eq!(string(&gateway.message(&id).await["status"]), "sent");
    gateway.advance(Duration::from_mins(2));
    let message = gateway.wait_for_end(&id, "unknown").await;
    assert_eq!(error(&message).0, "delivery_unconfirmed");
}

#[tokio::test]
async fn the_digits_of_a_template_are_read_out_and_never_shown() {
    let config = format!(
        "{VOICE}{}",
        r#"
        [templates.login_code]
        text = "Your code is {{code}}"
        category = "otp"
        params = [{ name = "code", pattern = "[0-9]{4,6}" }]
        [templates.login_code.bindings.call]
        params = ["code"]
        "#
    );
    let gateway = TestGateway::start(&config).await;
    let template = json!({ "name": "login_code", "params": { "code": "369751" } });
    let answer = gateway.post_message(json!({ "to": TO, "template": template })).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    assert!(!answer.text.contains("369751"));
    let id = string(&answer.json["id"]).to_owned();
    gateway.wait_for_status(&id, "sent").await;
    gateway.advance(Duration::from_secs(6));
    let message = gateway.wait_for_end(&id, "delivered").await;
    assert!(!message.to_string().contains("369751"));
    assert_eq!(gateway.simulator.accepted()[0].text.as_deref(), Some("369751"));
    let left = "select 1 from messages where body is not null or params is not null or sealed is not null";
    assert_eq!(gateway.database.count(left).await, 0);
}

#[tokio::test]
async fn the_balance_of_the_account_can_be_asked_by_operators() {
    let gateway = Setup::new(VOICE).simulator(|options| options.voice.balance = 41).start().await;
    let answer = gateway.client.get(OPS, "/v1/providers/call/balance").await;
    assert_eq!((answer.status, amount(&answer.json)), (200, "41".to_owned()), "{}", answer.text);
    assert_eq!(gateway.client.get(SHOP, "/v1/providers/call/balance").await.problem(), (403, "forbidden"));
    let cannot = gateway.client.get(OPS, "/v1/providers/sandbox/balance").await;
    assert_eq!(cannot.problem(), (404, "capability_unsupported"));
}

fn amount(balance: &Value) -> String {
    let amount = if balance["amount"].is_null() { &balance["balance"]["amount"] } else { &balance["amount"] };
    string(amount).to_owned()
}
