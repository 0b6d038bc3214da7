//! What an app may send: its daily limit, what it may name, and how many one-time codes a number gets. Whatever is refused leaves
//! nothing behind.

use std::time::Duration;

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    Answer, Client, TestGateway,
    gateway::{BANK, OPS, SHOP, SHOP_TEST},
    process::Site,
};

const OPEN: &str = "[routes.all]\nsteps = [{ provider = \"sandbox\" }]";
const TO: &str = "+99900000001";

fn text() -> Value {
    json!({ "to": TO, "text": "hello" })
}

fn code(to: &str) -> Value {
    json!({ "to": to, "text": "Your code is 123456", "category": "otp" })
}

async fn with_key(client: &Client, app: &str, key: &str, body: &Value) -> Answer {
    let request = client.request(Method::POST, "/v1/messages").bearer_auth(app).header("idempotency-key", key);
    client.send(request.json(body)).await
}

fn retry_after(answer: &Answer) -> u64 {
    answer.header("retry-after").parse().unwrap()
}

/// Puts the clock to the next midnight, a second in: a test must not straddle a day by chance.
fn next_day(gateway: &TestGateway) {
    let now = gateway.clock.now();
    let midnight = now.date_naive().succ_opt().unwrap().and_hms_opt(0, 0, 1).unwrap().and_utc();
    gateway.advance((midnight - now).to_std().unwrap());
}

#[tokio::test]
async fn a_daily_limit_refuses_what_is_over_it_until_the_next_day() {
    let gateway = TestGateway::start(&format!("{OPEN}\n[apps.shop]\ndaily_limit = 2")).await;
    next_day(&gateway);
    for _ in 0..2 {
        assert_eq!(gateway.post_message(text()).await.status, 202);
    }
    let refused = gateway.post_message(text()).await;
    assert_eq!(refused.problem(), (429, "quota_exceeded"));
    assert!((86_000..=86_400).contains(&retry_after(&refused)), "{}", refused.header("retry-after"));
    assert_eq!(gateway.client.post(BANK, "/v1/messages", &text()).await.status, 202, "another app has its own");
    assert_eq!(gateway.database.count("select 1 from messages where app = 'shop'").await, 2);
    assert_eq!(gateway.database.count("select 1 from app_days where app = 'shop' and accepted = 2").await, 1);
    next_day(&gateway);
    assert_eq!(gateway.post_message(text()).await.status, 202);
}

#[tokio::test]
async fn a_replay_is_answered_although_the_limit_is_used_up_and_counts_nothing() {
    let gateway = TestGateway::start(&format!("{OPEN}\n[apps.shop]\ndaily_limit = 1")).await;
    next_day(&gateway);
    let first = with_key(&gateway.client, SHOP, "one", &text()).await;
    assert_eq!(first.status, 202);
    let again = with_key(&gateway.client, SHOP, "one", &text()).await;
    assert_eq!((again.status, again.header("idempotent-replayed")), (202, "true"));
    assert_eq!(again.json["id"], first.json["id"]);
    assert_eq!(gateway.database.count("select 1 from app_days where accepted = 1").await, 1);
}

#[tokio::test]
async fn a_refused_request_keeps_neither_its_key_nor_a_count() {
    let gateway = TestGateway::start(&format!("{OPEN}\n[apps.shop]\ndaily_limit = 1")).await;
    next_day(&gateway);
    assert_eq!(gateway.post_message(text()).await.status, 202);
    for _ in 0..3 {
        let refused = with_key(&gateway.client, SHOP, "later", &text()).await;
        assert_eq!(refused.problem(), (429, "quota_exceeded"));
    }
    assert_eq!(gateway.database.count("select 1 from idempotency_keys").await, 0);
    assert_eq!(gateway.database.count("select 1 from app_days where accepted = 1").await, 1);
    next_day(&gateway);
    let taken = with_key(&gateway.client, SHOP, "later", &text()).await;
    assert_eq!((taken.status, taken.header("idempotent-replayed")), (202, ""));
}

#[tokio::test]
async fn a_test_key_uses_nothing_up_and_is_not_limited() {
    let config = format!("{OPEN}\n[apps.shop]\ndaily_limit = 1\n[limits]\notp_per_number = \"1/10m\"");
    let gateway = TestGateway::start(&config).await;
    next_day(&gateway);
    for _ in 0..3 {
        assert_eq!(gateway.client.post(SHOP_TEST, "/v1/messages", &code("+84901234567")).await.status, 202);
    }
    assert_eq!(gateway.post_message(code("+84901234567")).await.status, 202);
    assert_eq!(gateway.post_message(text()).await.problem(), (429, "quota_exceeded"));
    assert_eq!(gateway.client.post(SHOP_TEST, "/v1/messages", &text()).await.status, 202);
}

#[tokio::test]
async fn a_number_gets_so_many_codes_in_a_time_whichever_apps_send_them() {
    let gateway = TestGateway::start(&format!("{OPEN}\n[limits]\notp_per_number = \"3/10m\"")).await;
    for key in [SHOP, BANK, OPS] {
        assert_eq!(gateway.client.post(key, "/v1/messages", &code(TO)).await.status, 202);
        gateway.advance(Duration::from_mins(1));
    }
    let refused = gateway.client.post(BANK, "/v1/messages", &code(TO)).await;
    assert_eq!(refused.problem(), (429, "rate_limited"));
    assert_eq!(refused.errors(), [("/to".to_owned(), "rate_limited".to_owned())]);
    let wait = retry_after(&refused);
    assert!((410..=421).contains(&wait), "the oldest falls out seven minutes from now, not {wait} s");
    assert_eq!(gateway.database.count("select 1 from messages").await, 3);
    assert_eq!(gateway.post_message(code("+99900000011")).await.status, 202, "another number");
    assert_eq!(gateway.post_message(text()).await.status, 202, "it is about codes only");
    gateway.advance(Duration::from_secs(wait));
    assert_eq!(gateway.client.post(BANK, "/v1/messages", &code(TO)).await.status, 202);
    assert_eq!(gateway.client.post(BANK, "/v1/messages", &code(TO)).await.status, 429, "the next one is young");
}

#[tokio::test]
async fn what_one_limit_refuses_does_not_count_for_the_other() {
    let config = format!("{OPEN}\n[limits]\notp_per_number = \"1/10m\"\n[apps.shop]\ndaily_limit = 2");
    let gateway = TestGateway::start(&config).await;
    next_day(&gateway);
    assert_eq!(gateway.post_message(code(TO)).await.status, 202);
    for _ in 0..3 {
        assert_eq!(gateway.post_message(code(TO)).await.problem(), (429, "rate_limited"));
    }
    assert_eq!(gateway.post_message(text()).await.status, 202, "refused codes used nothing of the day");
    assert_eq!(gateway.post_message(code("+99900000011")).await.problem(), (429, "quota_exceeded"));
    assert_eq!(gateway.client.post(BANK, "/v1/messages", &code("+99900000011")).await.status, 202);
}

#[tokio::test]
async fn limits_hold_over_two_processes_at_once() {
    let site = Site::new(&format!("{OPEN}\n[limits]\notp_per_number = \"5/10m\"")).await;
    site.replace_in_config("[apps.shop]", "[apps.shop]\ndaily_limit = 30");
    let (one, other) = (site.start().await, site.start_beside().await);
    let clients = [one.address(), other.address()].map(|address| Client::new(format!("http://{address}")));
    let (bodies, clients) = ([code(TO), code("+99900000011"), text()], &clients);
    let calls = (0..120).map(|index: usize| {
        let body = bodies[index % 3].clone();
        async move { clients[index % 2].post(SHOP, "/v1/messages", &body).await.status }
    });
    let statuses = join_all(calls).await;
    assert!(statuses.iter().all(|status| matches!(status, 202 | 429)), "{statuses:?}");
    for number in [TO, "+99900000011"] {
        let query = format!("select 1 from messages where recipient = '{number}' and category = 'otp'");
        let codes = site.database.count(&query).await;
        assert!(codes <= 5, "{codes} codes for {number}");
    }
    let taken = statuses.iter().filter(|status| **status == 202).count();
    assert_eq!(taken, 30, "ten codes at most and forty texts: the day is used up to the last");
    assert_eq!(site.database.count("select 1 from messages").await, 30);
    assert_eq!(site.database.count("select 1 from app_days where accepted = 30").await, 1);
}

#[tokio::test]
async fn equal_requests_at_once_that_are_refused_are_all_told_the_same() {
    let gateway = TestGateway::start(&format!("{OPEN}\n[apps.shop]\ndaily_limit = 1")).await;
    next_day(&gateway);
    assert_eq!(gateway.post_message(text()).await.status, 202);
    let body = text();
    let calls = (0..50).map(|_| with_key(&gateway.client, SHOP, "same", &body));
    for answer in join_all(calls).await {
        assert_eq!(answer.problem(), (429, "quota_exceeded"), "{}", answer.text);
    }
    assert_eq!(gateway.database.count("select 1 from idempotency_keys").await, 0);
}
