//! Receivers that fail, and processes that die: every event arrives at least once, with the same id.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use sms_gateway::dispatch::Live;

use crate::support::{
    TestGateway,
    carriers::NXCLOUD,
    gateway::{BANK, OPS, SHOP, free_address, string},
    process::Site,
    receiver::{Receiver, Reply, SECRET, configured},
};

const TO: &str = "+8618637616887";

/// The shop's webhook, over a provider of which no reports come: each message is one event.
async fn start(receiver: &Receiver) -> TestGateway {
    TestGateway::start(&format!("{NXCLOUD}{}", receiver.configured())).await
}

async fn is_sent(gateway: &TestGateway, text: &str) -> String {
    let id = gateway.text(TO, text).await;
    gateway.wait_for_status(&id, "sent").await;
    id
}

/// The newest event, once it is as it shall be.
async fn event(gateway: &TestGateway, fits: impl Fn(&Value) -> bool) -> Value {
    let look = async || {
        let page = gateway.client.get(OPS, "/v1/events?limit=1").await.json;
        Some(page["data"][0].clone()).filter(|event| !event.is_null() && fits(&event["delivery"]))
    };
    gateway.until("an event stands as it shall", look).await
}

fn time(value: &Value) -> chrono::DateTime<chrono::Utc> {
    string(value).parse().unwrap()
}

#[tokio::test]
async fn what_is_not_taken_is_tried_over_a_day_and_then_failed() {
    let receiver = Receiver::start().await;
    receiver.answer(|_| Reply::status(500));
    let gateway = start(&receiver).await;
    is_sent(&gateway, "hello").await;
    let gaps = [5, 30, 120, 600, 1800, 3600, 7200, 14_400, 21_600, 36_000];
    for (index, gap) in gaps.iter().enumerate() {
        let tries = index + 1;
        // What is tried out of turn is none of these.
        let queued = format!("select from webhook_queue where tries = {tries} and lease is null");
        gateway.until("it was tried", async || (gateway.database.count(&queued).await == 1).then_some(())).await;
        let found = event(&gateway, |delivery| delivery["status"] == "pending").await;
        let delivery = &found["delivery"];
        assert_eq!(
            (string(&delivery["status"]), string(&delivery["last_error"])),
            ("pending", "the receiver answered 500")
        );
        let next = time(&delivery["next_try_at"]);
        let waits = (next - time(&delivery["last_try_at"])).as_seconds_f64();
        let gap = f64::from(*gap);
        assert!(waits >= gap * 0.9 - 2.0 && waits <= gap * 1.1 + 1.0, "{waits} s after try {tries}");
        gateway.advance((next - gateway.clock.now()).to_std().unwrap_or_default());
    }
    let found = event(&gateway, |delivery| delivery["status"] == "failed").await;
    assert!(found["delivery"]["tries"].as_u64() >= Some(11) && found["delivery"]["next_try_at"].is_null(), "{found}");
    let ids: BTreeSet<String> = receiver.calls().into_iter().map(|call| call.id).collect();
    assert_eq!(ids.len(), 1);
}

#[tokio::test]
#[expect(clippy::print_stdout, reason = "how soon everything arrives is a figure that people ask for")]
async fn a_receiver_that_was_down_for_six_hours_gets_every_event_with_its_id() {
    let address = free_address();
    let gateway = TestGateway::start(&format!("{NXCLOUD}{}", configured(address))).await;
    let mut messages = BTreeSet::new();
    for index in 0..60 {
        messages.insert(is_sent(&gateway, &format!("{index}")).await);
    }
    for _ in 0..72 {
        gateway.advance(Duration::from_mins(5));
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    let failed = "select from events where delivery = 'pending' and tries > 0";
    gateway.until("all were tried", async || (gateway.database.count(failed).await == 60).then_some(())).await;
    let known: BTreeSet<String> = all_events(&gateway).await;
    let receiver = Receiver::start_at(address).await;
    let (returned, back_at) = (Instant::now(), gateway.clock.now());
    // Nothing but time passes until the next look at the receiver.
    while receiver.calls().is_empty() {
        gateway.advance(Duration::from_secs(10));
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    let noticed = gateway.clock.now() - back_at;
    let calls = receiver.until_calls(60).await;
    let took = returned.elapsed();
    println!(
        "down for 6 h: noticed {} s after its return; all {} events {} ms later",
        noticed.num_seconds(),
        known.len(),
        calls.last().unwrap().at.duration_since(calls[0].at).as_millis()
    );
    assert!(noticed <= chrono::TimeDelta::seconds(330), "{noticed}");
    assert!(took < Duration::from_secs(20), "{took:?}");
    let arrived: BTreeSet<String> = calls.iter().map(|call| call.id.clone()).collect();
    assert_eq!(arrived, known);
    let told: BTreeSet<String> = calls.iter().map(|call| string(&call.message()["id"]).to_owned()).collect();
    assert_eq!(told, messages);
    assert!(calls.iter().all(|call| call.is_signed_with(SECRET)));
}

async fn all_events(gateway: &TestGateway) -> BTreeSet<String> {
    let page = gateway.client.get(OPS, "/v1/events?limit=200").await.json;
    page["data"].as_array().unwrap().iter().map(|event| string(&event["id"]).to_owned()).collect()
}

#[tokio::test]
async fn an_answer_410_switches_the_webhook_off_also_over_a_restart() {
    let receiver = Receiver::start().await;
    receiver.answer(|_| Reply::status(410));
    let gateway = start(&receiver).await;
    is_sent(&gateway, "hello").await;
    let refused = event(&gateway, |delivery| delivery["status"] == "failed").await;
    assert_eq!(refused["delivery"]["last_status_code"], 410);
    let off = async |gateway: &TestGateway| {
        let apps = gateway.client.get(OPS, "/v1/apps").await.json;
        apps["data"].as_array().unwrap().iter().find(|app| app["name"] == "shop").unwrap()["webhook_disabled_at"]
            .clone()
    };
    assert!(off(&gateway).await.is_string());
    let gateway = gateway.restart("").await;
    is_sent(&gateway, "hello again").await;
    event(&gateway, |delivery| delivery["status"] == "skipped").await;
    assert_eq!(receiver.calls().len(), 1);
    // Another address is another receiver.
    let gateway = gateway.restart(&format!("[apps.shop]\nwebhook_url = \"http://{}/other\"", receiver.address)).await;
    assert!(off(&gateway).await.is_null());
    receiver.answer(|_| Reply::status(200));
    is_sent(&gateway, "to the other").await;
    assert_eq!(receiver.until_calls(2).await[1].path, "/other");
}

#[tokio::test]
async fn a_webhook_that_was_switched_off_is_on_again_when_it_takes_what_is_redelivered() {
    let receiver = Receiver::start().await;
    receiver.answer(|_| Reply::status(410));
    let gateway = start(&receiver).await;
    is_sent(&gateway, "hello").await;
    let refused = event(&gateway, |delivery| delivery["status"] == "failed").await;
    receiver.answer(|_| Reply::status(200));
    let path = format!("/v1/events/{}/redeliver", string(&refused["id"]));
    assert_eq!(gateway.client.post(SHOP, &path, &json!({})).await.status, 202);
    event(&gateway, |delivery| delivery["status"] == "delivered").await;
    is_sent(&gateway, "hello again").await;
    receiver.until_calls(3).await;
    assert_eq!(gateway.database.count("select from webhook_switches").await, 0);
}

#[tokio::test]
async fn a_receiver_that_asks_for_a_pause_gets_it() {
    let date = "Sun, 06 Nov 1994 08:49:37 GMT";
    for (status, wait) in [(429, "90"), (503, "90"), (429, "Sun, 06 Nov 1994 08:51:07 GMT")] {
        let receiver = Receiver::start().await;
        receiver.answer(move |_| Reply::status(status).header("retry-after", wait).header("date", date));
        let gateway = start(&receiver).await;
        is_sent(&gateway, "one").await;
        event(&gateway, |delivery| delivery["tries"] == 1).await;
        receiver.answer(|_| Reply::status(200));
        is_sent(&gateway, "two").await;
        gateway.advance(Duration::from_secs(80));
        // Longer than from one look at what is due to the next.
        tokio::time::sleep(Duration::from_millis(700)).await;
        assert_eq!(receiver.calls().len(), 1, "{status} {wait}");
        gateway.advance(Duration::from_secs(20));
        receiver.until_calls(3).await;
        event(&gateway, |delivery| delivery["status"] == "delivered").await;
    }
}

#[tokio::test]
async fn a_pause_longer_than_an_hour_is_one_of_an_hour() {
    let receiver = Receiver::start().await;
    receiver.answer(|_| Reply::status(429).header("retry-after", "999999"));
    let gateway = start(&receiver).await;
    is_sent(&gateway, "one").await;
    let paused = event(&gateway, |delivery| delivery["tries"] == 1).await;
    let wait = time(&paused["delivery"]["next_try_at"]) - time(&paused["delivery"]["last_try_at"]);
    assert_eq!(wait.num_minutes(), 60, "{wait}");
}

#[tokio::test]
async fn a_receiver_that_hangs_delays_no_other_one() {
    let (dead, alive) = (Receiver::start().await, Receiver::start().await);
    dead.answer(|_| Reply::status(200).after(Duration::from_secs(14)));
    let config = format!("{NXCLOUD}{}[apps.bank]{}", dead.configured(), alive.configured());
    let gateway = TestGateway::start(&config).await;
    for index in 0..20 {
        gateway.text(TO, &format!("{index}")).await;
    }
    let first = dead.until_calls(16).await[0].at;
    let began = Instant::now();
    let answer = gateway.client.post(BANK, "/v1/messages", &json!({ "to": TO, "text": "quick" })).await;
    assert_eq!(answer.status, 202);
    alive.until_calls(1).await;
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    let before_an_answer = dead.calls().iter().filter(|call| call.at < first + Duration::from_secs(14)).count();
    assert_eq!(before_an_answer, 16, "no more at once than there is room for");
}

#[tokio::test]
async fn an_event_that_fails_beside_others_keeps_its_tries() {
    let receiver = Receiver::start().await;
    receiver.answer(|call| Reply::status(if string(&call.message()["text"]) == "bad" { 500 } else { 200 }));
    let gateway = start(&receiver).await;
    is_sent(&gateway, "bad").await;
    for index in 0..30 {
        is_sent(&gateway, &format!("{index}")).await;
    }
    let delivered = "select from events where delivery = 'delivered'";
    gateway.until("the others", async || (gateway.database.count(delivered).await == 30).then_some(())).await;
    // Its second try is due after five seconds, which are not over for the gateway's clock unless the machine is slow.
    assert_eq!(gateway.database.count("select from webhook_queue where tries <= 2").await, 1);
    assert_eq!(gateway.database.count("select from events where delivery = 'pending'").await, 1);
}

#[tokio::test]
async fn an_event_that_cannot_be_read_keeps_no_others_back() {
    let receiver = Receiver::start().await;
    receiver.answer(|_| Reply::status(500));
    let gateway = start(&receiver).await;
    is_sent(&gateway, "one").await;
    is_sent(&gateway, "two").await;
    let tried = "select from webhook_queue where tries = 1 and lease is null";
    gateway.until("both failed", async || (gateway.database.count(tried).await == 2).then_some(())).await;
    let mut connection = crate::support::database::connect(&gateway.database.url().parse().unwrap()).await;
    sqlx::raw_sql(
        "update events set state = '{\"status\": \"lost\"}' where id = (select id from events order by id limit 1)",
    )
    .execute(&mut connection)
    .await
    .unwrap();
    receiver.answer(|_| Reply::status(200));
    gateway.advance(Duration::from_secs(7));
    let ended = async |how: &str| {
        let query = format!("select from events where {how}");
        gateway.until(how, async || (gateway.database.count(&query).await == 1).then_some(())).await;
    };
    ended("delivery = 'delivered'").await;
    ended("delivery = 'failed' and last_error = 'it cannot be read'").await;
    assert_eq!(gateway.database.count("select from webhook_queue").await, 0);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (receiver, elsewhere) = (Receiver::start().await, Receiver::start().await);
    let to = format!("http://{}/", elsewhere.address);
    receiver.answer(move |_| Reply::status(302).header("location", to.clone()));
    let gateway = start(&receiver).await;
    is_sent(&gateway, "hello").await;
    let found = event(&gateway, |delivery| delivery["tries"] == 1).await;
    assert_eq!(string(&found["delivery"]["last_error"]), "redirects are not followed");
    assert!(elsewhere.calls().is_empty());
}

#[tokio::test]
async fn a_host_that_was_taken_off_the_list_is_not_called_any_more() {
    let receiver = Receiver::start().await;
    receiver.answer(|_| Reply::status(500));
    let gateway =
        TestGateway::start(&format!("{NXCLOUD}webhook_secret = \"{SECRET}\"\ncallback_hosts = [\"127.0.0.1\"]")).await;
    let url = format!("http://{}/own", receiver.address);
    gateway.send(json!({ "to": TO, "text": "hello", "callback_url": url })).await;
    event(&gateway, |delivery| delivery["tries"] == 1).await;
    let engine = gateway.gateway.engine();
    let live = engine.live();
    let mut config = (*live.config).clone();
    config.apps.get_mut("shop").unwrap().callback_hosts = vec!["shop.internal".to_owned()];
    engine.replace(Live::new(Arc::new(config), live.providers.clone()));
    gateway.advance(Duration::from_secs(7));
    let found =
        event(&gateway, |delivery| string(&delivery["last_error"]) == "the host is not among callback_hosts").await;
    assert_eq!((string(&found["delivery"]["status"]), &found["delivery"]["tries"]), ("pending", &json!(1)));
    assert_eq!(receiver.calls().len(), 1);
}

#[tokio::test]
async fn an_answer_that_is_lost_with_its_process_is_asked_for_again_with_the_same_id() {
    let receiver = Receiver::start().await;
    let config = format!(
        "[routes.all]\nsteps = [{{ provider = \"sandbox\" }}]\n[apps.bank]\nkeys = [\"{}\"]\n{}",
        sms_gateway::config::KeyHash::of(BANK),
        receiver.configured()
    );
    let site = Site::new(&config).await;
    let mut killed = site.start().await;
    receiver.answer(|_| Reply::status(200).after(Duration::from_millis(700)));
    let body = json!({ "to": "+99900000003", "text": "hello" });
    assert_eq!(killed.client.post(BANK, "/v1/messages", &body).await.status, 202);
    receiver.until_calls(1).await;
    let mut brake = site.hold_table("webhook_queue").await;
    brake.reached("with n as materialized").await;
    killed.kill();
    brake.release().await;
    site.until_rows("select from events where delivery = 'pending'", 1).await;
    site.run("update webhook_queue set lease_until = now() - interval '1 second'").await;
    let _after = site.start().await;
    let calls = receiver.until_calls(2).await;
    assert_eq!((&calls[0].id, &calls[0].body), (&calls[1].id, &calls[1].body));
    assert!(calls.iter().all(|call| call.is_signed_with(SECRET)));
    site.until_rows("select from events where delivery = 'delivered'", 1).await;
    site.until_rows("select from webhook_queue", 0).await;
}

#[tokio::test]
async fn a_process_that_is_stopped_writes_down_what_was_answered() {
    let receiver = Receiver::start().await;
    receiver.answer(|_| Reply::status(200).after(Duration::from_millis(400)));
    let gateway = start(&receiver).await;
    is_sent(&gateway, "hello").await;
    receiver.until_calls(1).await;
    let gateway = gateway.restart("").await;
    assert_eq!(gateway.database.count("select from events where delivery = 'delivered'").await, 1);
    assert_eq!(receiver.calls().len(), 1);
}

#[tokio::test]
async fn metrics_tell_how_webhooks_go() {
    let receiver = Receiver::start().await;
    receiver.answer(|call| Reply::status(if string(&call.message()["text"]) == "bad" { 500 } else { 200 }));
    let gateway = start(&receiver).await;
    is_sent(&gateway, "good").await;
    is_sent(&gateway, "bad").await;
    receiver.until_calls(2).await;
    for metric in [
        "sms_gateway_webhook_deliveries_total{app=\"shop\",outcome=\"delivered\"}",
        "sms_gateway_webhook_deliveries_total{app=\"shop\",outcome=\"retried\"}",
        "sms_gateway_webhook_lag_seconds{app=\"shop\"}",
    ] {
        let shown = async || gateway.client.get("", "/metrics").await.text.contains(metric).then_some(());
        gateway.until(metric, shown).await;
    }
}
