//! The three operations, over the wire.

use std::time::Duration;

use serde_json::json;

use super::super::{Behaviour, VoiceAnswer, testing::bench};

const PHONE: &str = "0361234567";

#[tokio::test]
async fn a_call_is_taken_and_can_be_polled() {
    let bench = bench(|options| options.settings.voice_pending_polls = 1).await;
    let answer = bench.call(PHONE, "123456").await.unwrap();
    let id = answer.body.strip_prefix("1,,,").unwrap();
    assert!(uuid::Uuid::parse_str(id).is_ok());
    let mut polls = Vec::new();
    for _ in 0..3 {
        polls.push(bench.voice("checkVoice", &json!({"request_id": id})).await.unwrap().body);
    }
    assert_eq!(polls, ["27", "1", "1"]);
    assert_eq!(bench.simulator.accepted()[0].message_id, id);
}

#[tokio::test]
async fn numbers_choose_what_polls_say() {
    let bench = bench(|_| {}).await;
    for (phone, expected) in [("0360970002", ["23", "23"]), ("0360970004", ["27", "27"]), ("0360970012", ["27", "27"])]
    {
        let answer = bench.call(phone, "1").await.unwrap();
        let id = answer.body.strip_prefix("1,,,").unwrap();
        let mut polls = Vec::new();
        for _ in 0..2 {
            polls.push(bench.voice("checkVoice", &json!({"request_id": id})).await.unwrap().body);
        }
        assert_eq!(polls, expected, "{phone}");
    }
}

#[tokio::test]
async fn a_poll_for_an_unknown_call_or_by_a_stranger_is_refused() {
    let bench = bench(|_| {}).await;
    let unknown = bench.voice("checkVoice", &json!({"request_id": "1dc7b7eb"})).await.unwrap();
    assert_eq!(unknown.body, "11");
    let stranger = bench.voice("checkVoice", &json!({"request_id": "1dc7b7eb", "pass": "wrong"})).await.unwrap();
    assert_eq!(stranger.body, "-1");
}

#[tokio::test]
async fn each_fault_of_a_call_has_its_code() {
    let bench = bench(|_| {}).await;
    let good = json!({"sender": "DAUSO1", "phonesend": PHONE, "message": "123456"});
    let cases = [
        ("username", json!("nobody"), "-1"),
        ("pass", json!("wrong"), "-1"),
        ("key", json!("wrong"), "-1"),
        ("key", json!(null), "11"),
        ("sender", json!("OTHER"), "5"),
        ("phonesend", json!("036123456x"), "-4"),
        ("phonesend", json!("+84361234567"), "-4"),
        ("phonesend", json!("84361234567"), "10"),
        ("phonesend", json!("036123456"), "10"),
        ("phonesend", json!("01612345678"), "31"),
        ("message", json!("1234567"), "11"),
        ("message", json!(""), "11"),
        ("message", json!("12a"), "11"),
        ("message", json!(123_456), "11"),
        ("message", json!("một"), "20"),
        ("message", json!(null), "11"),
    ];
    for (name, value, code) in cases {
        let mut body = good.clone();
        body[name] = value.clone();
        assert_eq!(bench.voice("postSMS", &body).await.unwrap().body, code, "{name} = {value}");
    }
    let unread = bench.post("/onsmsapivoice/postSMS", &[("content-type", "application/json")], "{").await.unwrap();
    assert_eq!(unread.body, "11");
    assert!(bench.simulator.accepted().is_empty());
}

#[tokio::test]
async fn the_same_content_to_a_number_is_refused_for_a_while() {
    let bench = bench(|_| {}).await;
    let mut codes = Vec::new();
    for (phone, message) in [(PHONE, "111111"), (PHONE, "111111"), (PHONE, "222222"), ("0361234568", "111111")] {
        codes.push(bench.call(phone, message).await.unwrap().body.split(',').next().unwrap().to_owned());
    }
    assert_eq!(codes, ["1", "6", "1", "1"]);
    bench.clock.advance(Duration::from_mins(1));
    assert!(bench.call(PHONE, "111111").await.unwrap().body.starts_with("1,,,"));
}

#[tokio::test]
async fn the_balance_goes_down_until_there_is_none() {
    let bench = bench(|options| options.voice.balance = 1).await;
    let balance = async || bench.voice("checkBalance", &json!({})).await.unwrap().json();
    assert_eq!(balance().await, json!({"errorcode": "1", "balance": 1}));
    bench.call(PHONE, "1").await.unwrap();
    assert_eq!(bench.call(PHONE, "2").await.unwrap().body, "-8");
    assert_eq!(balance().await, json!({"errorcode": "1", "balance": 0}));
    let wrong = bench.voice("checkBalance", &json!({"key": "wrong"})).await.unwrap().json();
    assert_eq!(wrong["errorcode"], "0");
}

#[tokio::test]
async fn answers_have_three_shapes() {
    let bench = bench(|_| {}).await;
    bench.simulator.change(|settings| settings.voice_answer = VoiceAnswer::Semicolon);
    assert!(bench.call(PHONE, "1").await.unwrap().body.starts_with("1;"));
    bench.simulator.change(|settings| settings.voice_answer = VoiceAnswer::Json);
    let taken = bench.call(PHONE, "2").await.unwrap().json();
    assert_eq!(taken["code"], "1");
    assert!(taken["request_id"].is_string());
    let refused = bench.call("036", "2").await.unwrap().json();
    assert_eq!((refused["code"].as_str(), refused.get("request_id")), (Some("10"), None));
}

#[tokio::test]
async fn codes_are_forced_with_and_without_an_id() {
    let bench = bench(|_| {}).await;
    for (phone, body) in [("0360980007", "7"), ("0360989902", "-2"), ("0360980027", "27"), ("0360970041", "1")] {
        assert_eq!(bench.call(phone, "1").await.unwrap().body, body);
    }
    assert_eq!(bench.simulator.accepted().len(), 1, "the last one was taken");
    bench.simulator.next_for("+84361234567", Behaviour { accepted: Some(true), ..Behaviour::code("27") });
    assert!(bench.call(PHONE, "1").await.unwrap().body.starts_with("27,,,"));
}
