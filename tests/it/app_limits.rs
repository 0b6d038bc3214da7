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

/// The answer that counts: a busy gateway says 503, and 409 while it is at the request with this key, and is asked again.
async fn decided(client: &Client, key: &str, body: &Value) -> Answer {
    loop {
        let answer = with_key(client, SHOP, key, body).await;
        if !matches!(answer.status, 409 | 503) {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
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
        async move { decided(&clients[index % 2], &format!("call {index}"), &body).await.status }
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

/// The parameters of one item of a `RateLimit` header.
fn item(header: &str, name: &str) -> Vec<(String, u64)> {
    let mut items = header.split(", ").filter_map(|item| item.strip_prefix(&format!("\"{name}\";")));
    let found = items.next().unwrap_or_else(|| panic!("no {name} in {header:?}"));
    found
        .split(';')
        .map(|pair| pair.split_once('=').unwrap())
        .map(|(k, v)| (k.to_owned(), v.parse().unwrap()))
        .collect()
}

#[tokio::test]
async fn every_answer_says_what_is_left() {
    let config = format!("{OPEN}\n[apps.shop]\nrate_per_second = 5\ndaily_limit = 100");
    let gateway = TestGateway::start(&config).await;
    next_day(&gateway);
    let first = gateway.post_message(text()).await;
    assert_eq!(first.header("ratelimit-policy"), "\"second\";q=5;w=1, \"day\";q=100;w=86400");
    let day = item(first.header("ratelimit"), "day");
    assert_eq!((day[0].clone(), day[1].0.as_str()), (("r".to_owned(), 99), "t"));
    assert!((86_000..=86_400).contains(&day[1].1), "{day:?}");
    let second = item(first.header("ratelimit"), "second");
    assert!(second[0].1 <= 5 && second[1].0 == "t" && second[1].1 <= 1, "{second:?}");
    let wrong = gateway.post_message(json!({ "to": "1" })).await;
    assert_eq!((wrong.status, wrong.header("ratelimit-policy")), (422, first.header("ratelimit-policy")));
    assert_eq!(item(wrong.header("ratelimit"), "day")[0].1, 99, "what is refused does not count");
    let unlimited = gateway.client.post(BANK, "/v1/messages", &text()).await;
    assert_eq!((unlimited.status, unlimited.header("ratelimit")), (202, ""));
    let read = gateway.client.get(SHOP, "/v1/messages").await;
    assert_eq!((read.status, read.header("ratelimit")), (200, ""));
}

#[tokio::test]
async fn who_has_no_key_or_may_not_send_is_told_so_before_anything_is_read() {
    let gateway = TestGateway::start(&format!("{OPEN}\n[apps.shop]\nrate_per_second = 1")).await;
    let send = |key: &'static str| {
        let request = gateway.client.request(Method::POST, "/v1/messages").bearer_auth(key).body("{");
        gateway.client.send(request.header("content-type", "application/json"))
    };
    assert_eq!(send("sgw_live_nobody").await.problem(), (401, "unauthenticated"));
    assert_eq!(send(crate::support::gateway::AUDIT).await.problem(), (403, "forbidden"));
    let mut seen = Vec::new();
    for _ in 0..10 {
        seen.push(send(SHOP).await.status);
    }
    assert_eq!(seen[0], 400);
    assert!(seen.contains(&429), "the rate comes before the body: {seen:?}");
}

#[tokio::test]
async fn an_app_names_and_reaches_only_what_it_may() {
    let config = r#"
        [limits]
        max_segments = 3
        [templates.hello]
        text = "Hello"
        category = "transactional"
        [templates.bye]
        text = "Bye"
        category = "transactional"
        [routes.all]
        steps = [{ provider = "sandbox" }]
        [routes.special]
        priority = 5000
        steps = [{ provider = "sandbox" }]
        [providers.other]
        driver = "sandbox"
        [apps.bank]
        countries = ["VN"]
        routes = ["all"]
        providers = ["sandbox"]
        templates = ["hello"]
        senders = ["BANK"]
        max_segments = 1
    "#;
    let gateway = TestGateway::start(config).await;
    let vn = "+84901234567";
    let refused = [
        (json!({ "to": "+85261234567", "text": "x" }), "/to", "destination_not_allowed"),
        (json!({ "to": "+80012345678", "text": "x" }), "/to", "destination_not_allowed"),
        (json!({ "to": vn, "text": "x", "route": "special" }), "/route", "not_found"),
        (json!({ "to": vn, "text": "x", "provider": "other" }), "/provider", "not_found"),
        (json!({ "to": vn, "template": { "name": "bye" } }), "/template/name", "not_found"),
        (json!({ "to": vn, "text": "x", "from": "SHOP" }), "/from", "sender_not_allowed"),
        (json!({ "to": vn, "text": "x".repeat(161) }), "/text", "content_too_long"),
    ];
    for (body, pointer, code) in refused {
        let answer = gateway.client.post(BANK, "/v1/messages", &body).await;
        assert_eq!(answer.problem(), (422, code), "{body}");
        assert_eq!(answer.errors(), [(pointer.to_owned(), code.to_owned())]);
        assert_eq!(answer.header("content-type"), "application/problem+json");
        if code != "destination_not_allowed" {
            let by_another = gateway.post_message(body.clone()).await;
            assert_eq!(by_another.status, 202, "another app may: {}", by_another.text);
        }
    }
    let too_long = gateway.post_message(json!({ "to": vn, "text": "x".repeat(3 * 153 + 1) })).await;
    assert_eq!(too_long.problem(), (422, "content_too_long"), "the general limit is for all others");
    assert_eq!(gateway.database.count("select from messages where app = 'bank'").await, 0);
    for body in [
        json!({ "to": vn, "text": "x", "from": "BANK", "route": "all" }),
        json!({ "to": vn, "template": { "name": "hello" }, "provider": "sandbox" }),
        json!({ "to": TO, "text": "test numbers belong to no country" }),
    ] {
        let answer = gateway.client.post(BANK, "/v1/messages", &body).await;
        assert_eq!(answer.status, 202, "{}", answer.text);
    }
}

/// Codes to numbers of one block, each to another number.
async fn burst(gateway: &TestGateway, count: usize) -> Vec<Answer> {
    let bodies: Vec<Value> = (0..count).map(|index| code(&format!("+8436777{index:04}"))).collect();
    let decided = |(index, body)| async move { decided(&gateway.client, &format!("burst {index}"), body).await };
    join_all(bodies.iter().enumerate().map(decided)).await
}

/// A gateway that has counted codes for two days, few of them.
async fn with_a_past(mode: &str) -> TestGateway {
    let gateway = TestGateway::start(&format!("{OPEN}\n[limits]\nprefix_velocity = \"{mode}\"")).await;
    let mut connection = crate::support::database::connect(&gateway.database.url().parse().unwrap()).await;
    sqlx::raw_sql(
        "insert into prefix_counts (quarter, prefix, accepted) values (now() - interval '2 days', '8490123', 5)",
    )
    .execute(&mut connection)
    .await
    .unwrap();
    gateway
}

#[tokio::test]
async fn a_block_of_numbers_that_suddenly_gets_many_codes_is_refused_where_that_is_wanted() {
    let gateway = with_a_past("block").await;
    assert!(burst(&gateway, 40).await.iter().all(|answer| answer.status == 202), "nothing is known of it yet");
    let refused = gateway
        .until("the burst is seen", async || {
            // Wakes the look, which would come by itself some seconds later.
            gateway.advance(Duration::from_secs(10));
            let answer = gateway.post_message(code("+84367779999")).await;
            (answer.status != 202).then_some(answer)
        })
        .await;
    assert_eq!(refused.problem(), (429, "rate_limited"));
    assert_eq!(refused.errors(), [("/to".to_owned(), "rate_limited".to_owned())]);
    assert_eq!(refused.header("retry-after"), "900");
    assert_eq!(gateway.post_message(code("+84901234567")).await.status, 202, "another block");
    let text = json!({ "to": "+84367779999", "text": "it is about codes only" });
    assert_eq!(gateway.post_message(text).await.status, 202);
    let metrics = gateway.client.get("", "/metrics").await.text;
    assert!(metrics.contains("sms_gateway_prefix_bursts_total"), "{metrics}");
}

#[tokio::test]
async fn a_burst_is_only_told_of_where_it_is_watched() {
    let site = Site::new(OPEN).await;
    site.run("insert into prefix_counts (quarter, prefix, accepted) values (now() - interval '2 days', '8490123', 5)")
        .await;
    let process = site.start().await;
    for index in 0..40 {
        let answer = process.client.post(SHOP, "/v1/messages", &code(&format!("+8436777{index:04}"))).await;
        assert_eq!(answer.status, 202, "{}", answer.text);
    }
    // As old as what a process counts some seconds later.
    let told = crate::support::process::eventually("the burst is told of", async || {
        let logged = process.logged();
        logged.contains("a prefix suddenly gets many").then_some(logged)
    });
    let logged = told.await;
    assert!(logged.contains("+84367••"), "{logged}");
    assert!(!logged.contains("8436777"), "no number and no whole prefix: {logged}");
    assert_eq!(process.client.post(SHOP, "/v1/messages", &code("+84367779999")).await.status, 202);
}

fn batch(numbers: &[&str]) -> Value {
    let recipients: Vec<Value> = numbers.iter().map(|number| json!({ "to": number })).collect();
    json!({ "text": "Your code is 123456", "category": "otp", "recipients": recipients })
}

#[tokio::test]
async fn in_a_batch_who_got_too_many_codes_or_opted_out_spoils_nothing() {
    let gateway = TestGateway::start(&format!("{OPEN}\n[limits]\notp_per_number = \"1/10m\"")).await;
    assert_eq!(gateway.post_message(code("+99900000011")).await.status, 202);
    let put = gateway.client.request(Method::PUT, "/v1/suppressions/+99900000012").bearer_auth(SHOP);
    assert_eq!(gateway.client.send(put).await.status, 200);
    let body = batch(&["+99900000011", "+99900000012", "+99900000013"]);
    let answer = gateway.client.post(SHOP, "/v1/batches", &body).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    assert_eq!(answer.json["counts"]["failed"], 2, "{}", answer.text);
    let path = format!("/v1/messages?batch_id={}", answer.json["id"].as_str().unwrap());
    let found = gateway.client.get(SHOP, &path).await.json["data"].as_array().unwrap().clone();
    let mut ends: Vec<_> = found
        .iter()
        .map(|one| (one["to"].as_str().unwrap(), one["error"]["code"].as_str(), one["error"]["retryable"].as_bool()))
        .collect();
    ends.sort_unstable();
    let expected = [
        ("+99900000011", Some("recipient_rate_limited"), Some(true)),
        ("+99900000012", Some("recipient_opted_out"), Some(false)),
        ("+99900000013", None, None),
    ];
    assert_eq!(ends, expected);
    gateway.advance(Duration::from_mins(10));
    assert_eq!(gateway.post_message(code("+99900000011")).await.status, 202, "what was born failed does not count");
}

#[tokio::test]
async fn a_batch_that_the_day_has_no_room_for_is_refused_as_a_whole() {
    let gateway = TestGateway::start(&format!("{OPEN}\n[apps.shop]\ndaily_limit = 3")).await;
    next_day(&gateway);
    let post = |numbers: &'static [&'static str]| {
        let request = gateway.client.request(Method::POST, "/v1/batches").bearer_auth(SHOP);
        gateway.client.send(request.header("idempotency-key", "k").json(&batch(numbers)))
    };
    let too_many = post(&["+99900000011", "+99900000012", "+99900000013", "+99900000014"]).await;
    assert_eq!(too_many.problem(), (422, "too_many"), "no day has room for it");
    assert_eq!(gateway.client.post(SHOP, "/v1/messages", &text()).await.status, 202);
    let too_many = post(&["+99900000011", "+99900000012", "+99900000013"]).await;
    assert_eq!(too_many.problem(), (429, "quota_exceeded"));
    assert!(retry_after(&too_many) > 86_000);
    assert_eq!(item(too_many.header("ratelimit"), "day")[0].1, 2, "nothing of it was counted");
    for (table, rows) in [("messages", 1), ("batches", 0), ("idempotency_keys", 0)] {
        assert_eq!(gateway.database.count(&format!("select from {table}")).await, rows, "{table}");
    }
    let taken = post(&["+99900000011", "+99900000012"]).await;
    assert_eq!(taken.status, 202, "the key is free, and so is the day: {}", taken.text);
    assert_eq!(item(taken.header("ratelimit"), "day")[0].1, 0);
    assert_eq!(gateway.post_message(text()).await.problem(), (429, "quota_exceeded"));
}

#[tokio::test]
async fn a_batch_costs_as_many_as_it_has_recipients_and_is_possible_at_any_rate() {
    let gateway = TestGateway::start(&format!("{OPEN}\n[apps.shop]\nrate_per_second = 2")).await;
    let numbers: Vec<String> = (0..40).map(|index| format!("+9990000{index:04}")).collect();
    let numbers: Vec<&str> = numbers.iter().map(String::as_str).collect();
    let answer = gateway.client.post(SHOP, "/v1/batches", &batch(&numbers)).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    let refused = gateway.post_message(text()).await;
    assert_eq!(refused.problem(), (429, "rate_limited"));
    assert!((15..=20).contains(&retry_after(&refused)), "{}", refused.header("retry-after"));
    assert_eq!(item(refused.header("ratelimit"), "second")[0].1, 0);
}
