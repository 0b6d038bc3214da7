//! Who is served first when much waits: the classes in their order, and inside a class the apps in turn.
//!
//! The gateway holds while messages come in. After the release the simulator tells in which order they went out.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use sms_gateway::simulator::{Behaviour, Match, Protocol, Script};

use crate::support::{
    TestGateway,
    carriers::{HUAWEI, NXCLOUD},
    gateway::{BANK, OPS, SHOP},
};

/// One call at a time, each for one recipient.
fn one_by_one() -> String {
    NXCLOUD.replace("[providers.nx]", "[dispatch]\nhold_on_start = true\n[providers.nx]\nmax_in_flight = 1")
}

async fn post(gateway: &TestGateway, key: &str, body: Value) -> String {
    let answer = gateway.client.post(key, "/v1/messages", &body).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    answer.json["id"].as_str().unwrap().to_owned()
}

/// Sends texts, one after the other, each to a number of its own.
async fn post_texts(gateway: &TestGateway, key: &str, category: &str, texts: &[&str]) {
    for text in texts {
        post(gateway, key, json!({ "to": "+84361234567", "text": text, "category": category })).await;
    }
}

async fn release(gateway: &TestGateway) {
    let request = gateway.client.request(Method::POST, "/v1/release").bearer_auth(OPS);
    assert_eq!(gateway.client.send(request).await.status, 204);
}

/// The texts that went out, once there are so many.
async fn went_out(gateway: &TestGateway, count: usize) -> Vec<String> {
    gateway
        .until("all have gone out", async || {
            let accepted = gateway.simulator.accepted();
            (accepted.len() >= count).then(|| accepted.iter().filter_map(|one| one.text.clone()).collect())
        })
        .await
}

#[tokio::test]
async fn codes_go_before_what_people_wait_for_and_that_before_marketing() {
    let gateway = TestGateway::start(&one_by_one()).await;
    post_texts(&gateway, SHOP, "marketing", &["m1", "m2"]).await;
    post_texts(&gateway, BANK, "marketing", &["m3"]).await;
    post_texts(&gateway, SHOP, "transactional", &["t1"]).await;
    post_texts(&gateway, SHOP, "otp", &["o1"]).await;
    post_texts(&gateway, BANK, "transactional", &["t2"]).await;
    release(&gateway).await;
    let classes: String = went_out(&gateway, 6).await.iter().map(|text| &text[..1]).collect();
    assert_eq!(classes, "ottmmm");
}

#[tokio::test]
async fn inside_a_class_the_apps_take_turns_however_much_one_of_them_has_waiting() {
    let gateway = TestGateway::start(&one_by_one()).await;
    let texts: Vec<String> = (1..=12).map(|number| format!("shop {number}")).collect();
    post_texts(&gateway, SHOP, "marketing", &texts.iter().map(String::as_str).collect::<Vec<_>>()).await;
    post_texts(&gateway, BANK, "marketing", &["bank 1", "bank 2", "bank 3"]).await;
    release(&gateway).await;
    let order = went_out(&gateway, 15).await;
    let expected = ["bank 1", "shop 1", "bank 2", "shop 2", "bank 3", "shop 3", "shop 4", "shop 5"];
    assert_eq!(order[..8], expected, "{order:?}");
    assert_eq!(order[8..], texts[5..], "what an app sends stays in its order");
}

#[tokio::test]
async fn a_turn_is_not_lost_to_what_was_sent_in_between_in_another_class() {
    let gateway = TestGateway::start(&one_by_one()).await;
    let matching = Match { provider: Some(Protocol::Nxcloud), to: None };
    let behaviour = Behaviour { answer_delay_ms: 50, ..Behaviour::default() };
    gateway.simulator.script(Script { matching, times: 8, behaviour });
    post_texts(&gateway, BANK, "marketing", &["bank m1", "bank m2", "bank m3"]).await;
    post_texts(&gateway, SHOP, "marketing", &["shop m1", "shop m2", "shop m3"]).await;
    release(&gateway).await;
    went_out(&gateway, 1).await;
    post_texts(&gateway, SHOP, "otp", &["shop o1"]).await;
    let order = went_out(&gateway, 7).await;
    let marketing: Vec<&String> = order.iter().filter(|text| text.contains(" m")).collect();
    assert_eq!(marketing, ["bank m1", "shop m1", "bank m2", "shop m2", "bank m3", "shop m3"], "{order:?}");
    assert!(order.iter().position(|text| text == "shop o1").unwrap() <= 2, "the code goes next: {order:?}");
}

#[tokio::test]
async fn what_is_scheduled_takes_no_turn_before_it_is_due() {
    let gateway = TestGateway::start(&one_by_one()).await;
    let at = (gateway.clock.now() + chrono::TimeDelta::hours(1)).to_rfc3339();
    let later = json!({ "to": "+84361234567", "text": "bank later", "category": "otp", "send_at": at });
    let later = post(&gateway, BANK, later).await;
    post_texts(&gateway, SHOP, "marketing", &["shop 1", "shop 2", "shop 3"]).await;
    release(&gateway).await;
    assert_eq!(went_out(&gateway, 3).await, ["shop 1", "shop 2", "shop 3"]);
    assert_eq!(gateway.message(&later).await["status"], "scheduled");
    gateway.advance(Duration::from_mins(61));
    assert_eq!(went_out(&gateway, 4).await[3], "bank later");
}

#[tokio::test]
async fn what_comes_in_while_others_wait_does_not_pass_them() {
    let config = NXCLOUD.replace("[providers.nx]", "[providers.nx]\nmax_in_flight = 1");
    let gateway = TestGateway::start(&config).await;
    let matching = Match { provider: Some(Protocol::Nxcloud), to: None };
    let behaviour = Behaviour { answer_delay_ms: 300, ..Behaviour::default() };
    gateway.simulator.script(Script { matching, times: 1, behaviour });
    // The first occupies the only slot. The bank's waits for it, and so does what the shop goes on sending.
    post_texts(&gateway, SHOP, "marketing", &["shop 0"]).await;
    went_out(&gateway, 1).await;
    post_texts(&gateway, BANK, "marketing", &["bank 1"]).await;
    for number in 1..=40 {
        post_texts(&gateway, SHOP, "marketing", &[&format!("shop {number}")]).await;
    }
    let order = went_out(&gateway, 42).await;
    let place = order.iter().position(|text| text == "bank 1").unwrap();
    assert!(place <= 2, "it is the next or the one after: {order:?}");
}

#[tokio::test]
async fn turns_leave_the_calls_of_each_app_whole_and_nobody_out() {
    let config = HUAWEI
        .replace("[providers.hw]", "[dispatch]\nhold_on_start = true\n[providers.hw]\nmax_in_flight = 1")
        .replace("from = \"isms100000001\"", "from = \"isms100000001\"\nsenders = [\"isms100000002\"]");
    let gateway = TestGateway::start(&config).await;
    let body = |index: usize, from: &str| {
        let to = format!("+84361{index:06}");
        json!({ "to": to, "from": from, "template": { "name": "parcel", "params": { "place": "5" } } })
    };
    for index in 0..520 {
        post(&gateway, BANK, body(index, "isms100000001")).await;
    }
    for index in 600..605 {
        post(&gateway, SHOP, body(index, "isms100000002")).await;
    }
    release(&gateway).await;
    let calls = gateway
        .until("all have gone out", async || {
            let accepted = gateway.simulator.accepted();
            let mut calls: Vec<(u64, &str, usize)> = Vec::new();
            for one in &accepted {
                match calls.last_mut() {
                    Some((call, ..)) if *call == one.call => calls.last_mut().unwrap().2 += 1,
                    _ => calls.push((one.call, &one.from, 1)),
                }
            }
            let sizes = calls.iter().map(|(_, from, size)| (from.chars().last().unwrap(), *size)).collect::<Vec<_>>();
            (accepted.len() == 525).then_some(sizes)
        })
        .await;
    assert_eq!(calls, [('1', 500), ('2', 5), ('1', 20)]);
}
