//! When a provider gets nothing for a while, and why: throttles, faults of the account, clocks, the breaker and the way back.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use sms_gateway::simulator::{Behaviour, Match, Protocol, Script};

use crate::{
    provider_faults::{TWO, start},
    support::{
        TestGateway,
        carriers::{HUAWEI, VOICE, attempts, error},
        gateway::{OPS, string},
    },
};

const TO: &str = "+84361234567";
const OTHER: &str = "+84361234568";

/// The next messages get this, whoever they are for.
fn next(gateway: &TestGateway, times: u32, behaviour: Behaviour) {
    let matching = Match { provider: None, to: None };
    gateway.simulator.script(Script { matching, times, behaviour });
}

fn calls(gateway: &TestGateway, protocol: Protocol) -> u64 {
    gateway.simulator.counts().providers[&protocol].calls
}

async fn provider(gateway: &TestGateway, name: &str) -> Value {
    gateway.client.get(OPS, &format!("/v1/providers/{name}")).await.json
}

/// Waits until the API tells this reason, or none.
async fn told(gateway: &TestGateway, name: &str, reason: Value) -> Value {
    gateway
        .until(&format!("{name} is {reason}"), async || {
            let provider = provider(gateway, name).await;
            (provider["health"]["reason"] == reason).then_some(provider)
        })
        .await
}

async fn resume(gateway: &TestGateway, name: &str) {
    let request = gateway.client.request(Method::PATCH, &format!("/v1/providers/{name}")).bearer_auth(OPS);
    assert_eq!(gateway.client.send(request.json(&json!({ "enabled": true }))).await.status, 200);
}

/// Something else has been handed over, so whatever was due before it would have been, too.
async fn a_turn_of(gateway: &TestGateway, name: &str) {
    let id = gateway.send(json!({ "to": "+84361234599", "text": "a turn", "provider": name })).await;
    gateway.wait_for_status(&id, "sent").await;
}

fn parcel(to: &str) -> Value {
    json!({ "to": to, "template": { "name": "parcel", "params": { "place": "Main gate" } } })
}

#[tokio::test]
async fn a_429_keeps_every_message_from_the_provider_for_as_long_as_it_says() {
    for as_date in [false, true] {
        let gateway = start(TWO, &["first"], "").await;
        let throttled = Behaviour { retry_after: Some(40), retry_after_as_date: as_date, ..Behaviour::http(429) };
        next(&gateway, 1, throttled);
        let met = gateway.text(TO, "met").await;
        gateway.wait_for(&met, |message| attempts(message) == ["first failed"]).await;
        let waits = gateway.text(OTHER, "waits").await;
        gateway.advance(Duration::from_secs(30));
        a_turn_of(&gateway, "second").await;
        assert_eq!(attempts(&gateway.message(&waits).await).len(), 0, "by date: {as_date}");
        let shown = told(&gateway, "first", json!("throttled")).await;
        assert_eq!((&shown["health"]["status"], shown["health"]["until"].is_string()), (&json!("down"), true));
        gateway.advance(Duration::from_secs(15));
        gateway.wait_for_status(&met, "sent").await;
        gateway.wait_for_status(&waits, "sent").await;
        told(&gateway, "first", Value::Null).await;
    }
}

#[tokio::test]
async fn a_long_throttle_sends_messages_to_the_next_step_and_other_providers_go_on() {
    let gateway = start(TWO, &["first", "second"], "").await;
    next(&gateway, 1, Behaviour { retry_after: Some(300), ..Behaviour::http(429) });
    let met = gateway.text(TO, "met").await;
    assert_eq!(attempts(&gateway.wait_for_status(&met, "sent").await), ["first failed", "second sent"]);
    let passed = gateway.text(OTHER, "passed over").await;
    assert_eq!(attempts(&gateway.wait_for_status(&passed, "sent").await), ["second sent"]);
    let story = gateway.timeline(&passed).await;
    let why = |entry: &Value| entry["type"] == "step.passed_over" && string(&entry["detail"]).contains("takes no more");
    assert!(story.iter().any(why), "{story:?}");
    gateway.advance(Duration::from_secs(301));
    let back = gateway.text(TO, "back").await;
    assert_eq!(attempts(&gateway.wait_for_status(&back, "sent").await), ["first sent"]);
}

#[tokio::test]
async fn a_throttle_outlives_a_restart_and_an_operator_lifts_it() {
    let gateway = start(TWO, &["first"], "").await;
    next(&gateway, 1, Behaviour { retry_after: Some(3600), ..Behaviour::http(429) });
    let met = gateway.text(TO, "met").await;
    gateway.wait_for(&met, |message| attempts(message) == ["first failed"]).await;
    let written = async || (gateway.database.count("select 1 from provider_throttles").await == 1).then_some(());
    gateway.until("the throttle is written down", written).await;
    let gateway = gateway.restart("").await;
    let waits = gateway.text(OTHER, "waits").await;
    a_turn_of(&gateway, "second").await;
    assert_eq!(attempts(&gateway.message(&waits).await).len(), 0);
    told(&gateway, "first", json!("throttled")).await;
    resume(&gateway, "first").await;
    gateway.wait_for_status(&waits, "sent").await;
}

#[tokio::test]
async fn flow_control_of_huawei_is_waited_out_for_ten_minutes_by_all_messages() {
    let gateway = TestGateway::start(HUAWEI).await;
    next(&gateway, 1, Behaviour::code("E200015"));
    let met = gateway.send(parcel("+85260123456")).await;
    let message = gateway.wait_for(&met, |message| attempts(message) == ["hw failed"]).await;
    assert_eq!(string(&message["attempts"][0]["error"]["code"]), "provider_rate_limited");
    let waits = gateway.send(parcel("+85260123457")).await;
    gateway.advance(Duration::from_secs(590));
    told(&gateway, "hw", json!("throttled")).await;
    assert_eq!((attempts(&gateway.message(&waits).await).len(), calls(&gateway, Protocol::Huawei)), (0, 1));
    gateway.advance(Duration::from_secs(15));
    for id in [met, waits] {
        gateway.wait_for_end(&id, "delivered").await;
    }
}

#[tokio::test]
async fn a_daily_limit_of_huawei_is_waited_out_until_the_day_is_over() {
    let gateway = TestGateway::start(HUAWEI).await;
    next(&gateway, 1, Behaviour::code("E000623"));
    let met = gateway.send(parcel("+85260123456")).await;
    assert_eq!(error(&gateway.wait_for_end(&met, "failed").await), ("quota_exceeded", "E000623"));
    let mut waits = parcel("+85260123457");
    waits["validity_period"] = json!(2 * 86_400);
    let waits = gateway.send(waits).await;
    let shown = told(&gateway, "hw", json!("throttled")).await;
    let until: chrono::DateTime<chrono::Utc> = string(&shown["health"]["until"]).parse().unwrap();
    let midnight =
        (gateway.clock.now() + chrono::TimeDelta::days(1)).date_naive().and_hms_opt(0, 0, 0).unwrap().and_utc();
    assert!((until - midnight).num_seconds().abs() <= 2, "{until}");
    assert_eq!(attempts(&gateway.message(&waits).await).len(), 0);
    gateway.advance((midnight - gateway.clock.now() + chrono::TimeDelta::seconds(3)).to_std().unwrap());
    gateway.wait_for_end(&waits, "delivered").await;
}

#[tokio::test]
async fn an_account_without_money_or_rights_pauses_its_provider_and_nothing_that_waits_is_lost() {
    for (code, neutral) in
        [("1102", "insufficient_balance"), ("1100", "account_suspended"), ("1003", "provider_auth_failed")]
    {
        // Under a name of its own, since all gateways of this program count in one place.
        let name = format!("broke_{code}");
        let gateway = start(&TWO.replace("providers.first", &format!("providers.{name}")), &[&name], "").await;
        next(&gateway, 1000, Behaviour::code(code));
        let met = gateway.text(TO, "met").await;
        assert_eq!(error(&gateway.wait_for_end(&met, "failed").await), (neutral, code));
        let mut waiting = Vec::new();
        for index in 0..5 {
            waiting.push(gateway.text(&format!("+8436123450{index}"), "waits").await);
        }
        let shown = told(&gateway, &name, json!("account_fault")).await;
        assert_eq!(shown["health"]["status"], "down");
        assert_eq!(string(&shown["health"]["last_error"]["provider_code"]), code);
        for _ in 0..5 {
            let before = calls(&gateway, Protocol::Nxcloud);
            gateway.advance(Duration::from_secs(20));
            gateway.until("it was probed", async || (calls(&gateway, Protocol::Nxcloud) > before).then_some(())).await;
        }
        for id in &waiting {
            let message = gateway.message(id).await;
            assert!(message["final"] == false, "{code}: {message}");
        }
        let metrics = gateway.client.get("", "/metrics").await.text;
        let gauge = format!("sms_gateway_provider_unavailable{{provider=\"{name}\",reason=\"account_fault\"}} 1");
        assert!(metrics.contains(&gauge), "{code}");
        // What is left of the script goes, as a top-up makes it.
        gateway.simulator.reset();
        resume(&gateway, &name).await;
        for id in &waiting {
            gateway
                .until("it is sent", async || {
                    gateway.advance(Duration::from_secs(20));
                    (gateway.message(id).await["status"] == "sent").then_some(())
                })
                .await;
        }
        told(&gateway, &name, Value::Null).await;
    }
}

#[tokio::test]
async fn a_fault_of_the_account_sends_messages_to_the_next_step_where_there_is_one() {
    let voice = VOICE.split("[routes").next().unwrap();
    let gateway = start(&format!("{TWO}{voice}"), &["first", "call"], "").await;
    let matching = Match { provider: Some(Protocol::Nxcloud), to: None };
    gateway.simulator.script(Script { matching, times: 1000, behaviour: Behaviour::code("1102") });
    for (to, text) in [(TO, "100000"), (OTHER, "200000"), (TO, "300000"), (OTHER, "400000")] {
        let id = gateway.text(to, text).await;
        let tried = attempts(&gateway.wait_for_status(&id, "sent").await);
        assert_eq!(tried.last().map(String::as_str), Some("call sent"), "a probe or not: {tried:?}");
        gateway.advance(Duration::from_secs(1));
    }
    told(&gateway, "first", json!("account_fault")).await;
}

#[tokio::test]
async fn a_refused_timestamp_is_signed_again_and_no_message_is_lost_however_often_it_is_refused() {
    let gateway = start(TWO, &["first"], "").await;
    next(&gateway, 12, Behaviour::code("1004"));
    let ids = [gateway.text(TO, "one").await, gateway.text(OTHER, "two").await];
    for id in &ids {
        let sent = async || {
            gateway.advance(Duration::from_secs(20));
            let message = gateway.message(id).await;
            assert!(message["status"] != "failed", "{message}");
            (message["status"] == "sent").then_some(())
        };
        gateway.until("it is sent", sent).await;
    }
}

#[tokio::test]
async fn a_clock_that_is_fifty_seconds_off_pauses_nxcloud_until_it_is_right_and_nothing_is_lost() {
    let gateway = start(TWO, &["first"], "").await;
    gateway.simulator.change(|settings| settings.clock_offset_ms = -50_000);
    let first = gateway.text(TO, "shows it").await;
    gateway.wait_for_status(&first, "sent").await;
    let shown = told(&gateway, "first", json!("clock_off")).await;
    assert_eq!(shown["health"]["status"], "down");
    gateway.simulator.change(|settings| settings.clock_offset_ms = -70_000);
    let mut waiting = Vec::new();
    for index in 0..3 {
        waiting.push(gateway.text(&format!("+8436123450{index}"), "waits").await);
    }
    for _ in 0..3 {
        let before = calls(&gateway, Protocol::Nxcloud);
        gateway.advance(Duration::from_secs(20));
        gateway.until("it was probed", async || (calls(&gateway, Protocol::Nxcloud) > before).then_some(())).await;
    }
    told(&gateway, "first", json!("clock_off")).await;
    gateway.simulator.change(|settings| settings.clock_offset_ms = 0);
    for id in &waiting {
        gateway
            .until("it is sent", async || {
                gateway.advance(Duration::from_secs(20));
                let message = gateway.message(id).await;
                assert!(message["final"] == false, "{message}");
                (message["status"] == "sent").then_some(())
            })
            .await;
    }
    told(&gateway, "first", Value::Null).await;
    assert_eq!(gateway.simulator.doubles(), []);
}

#[tokio::test]
async fn each_scheme_bears_as_much_of_a_wrong_clock_as_it_would_be_taken_with() {
    let wsse = HUAWEI.replace("callback_token", "auth = \"wsse\"\ncallback_token");
    for (config, name, offset, reason) in [
        (HUAWEI.to_owned(), "hw", 590, Value::Null),
        (HUAWEI.to_owned(), "hw", 610, json!("clock_off")),
        (wsse.clone(), "hw", 11 * 3600, Value::Null),
        (wsse, "hw", 13 * 3600, json!("clock_off")),
        (TWO.to_owned() + "[routes.sms]\nsteps = [{ provider = \"first\" }]", "first", 40, Value::Null),
    ] {
        let gateway = TestGateway::start(&config).await;
        gateway.simulator.change(|settings| settings.clock_offset_ms = offset * 1000);
        let body = if name == "hw" { parcel("+85260123456") } else { json!({ "to": TO, "text": "hello" }) };
        let id = gateway.send(body).await;
        gateway.wait_for(&id, |message| message["sent_at"].is_string()).await;
        told(&gateway, name, reason).await;
    }
}

#[tokio::test]
async fn while_the_breaker_is_open_messages_wait_and_the_way_back_is_a_ramp() {
    let config = TWO.replacen("timeout_seconds = 1", "timeout_seconds = 5\nmax_in_flight = 16", 1);
    let gateway = start(&config, &["first"], "").await;
    next(&gateway, 1000, Behaviour::http(500));
    for index in 0..5 {
        let id = gateway.text(&format!("+8436123450{index}"), "opens it").await;
        gateway.wait_for_status(&id, "unknown").await;
    }
    told(&gateway, "first", json!("breaker_open")).await;
    let due = gateway.clock.now() + chrono::TimeDelta::minutes(1);
    let mut ids = Vec::new();
    for index in 0..60 {
        let body = json!({ "to": format!("+8436123460{index:02}"), "text": "waits", "send_at": due });
        ids.push(gateway.send(body).await);
    }
    gateway.simulator.reset();
    gateway.simulator.change(|settings| settings.answer_delay_ms = 50);
    gateway.advance(Duration::from_secs(61));
    for id in &ids {
        gateway.wait_for_status(id, "sent").await;
    }
    let mut started: Vec<_> = gateway.simulator.accepted().iter().map(|call| call.received_at).collect();
    started.sort();
    // A probe, then one, then two at once, each taking 50 ms; without a ramp all sixteen slots would be filled by then.
    let soon = started.iter().filter(|at| (**at - started[0]).num_milliseconds() < 120).count();
    assert!((1..=8).contains(&soon), "{soon} of {}: {started:?}", started.len());
    assert_eq!(gateway.simulator.doubles(), []);
}

#[tokio::test]
async fn what_waits_behind_an_open_breaker_expires_and_is_never_sent() {
    let gateway = start(TWO, &["first"], "").await;
    next(&gateway, 5, Behaviour::http(500));
    for index in 0..5 {
        let id = gateway.text(&format!("+8436123450{index}"), "opens it").await;
        gateway.wait_for_status(&id, "unknown").await;
    }
    // Faults of the address are the provider's, and say nothing of the message: as long as they last it is open.
    next(&gateway, 1000, Behaviour { retry_after: Some(1), ..Behaviour::http(503) });
    let id = gateway.send(json!({ "to": TO, "text": "expires", "validity_period": 60 })).await;
    gateway.advance(Duration::from_secs(61));
    gateway.wait_for_end(&id, "expired").await;
    gateway.simulator.reset();
    let other = gateway.text(OTHER, "later").await;
    gateway
        .until("the breaker closes", async || {
            gateway.advance(Duration::from_secs(2));
            (gateway.message(&other).await["status"] == "sent").then_some(())
        })
        .await;
    assert_eq!(gateway.simulator.times_accepted(Protocol::Nxcloud, "84361234567", "expires"), 0);
}

#[tokio::test]
async fn an_account_wide_refusal_of_a_call_for_many_is_one_refusal_and_is_not_split() {
    let gateway = TestGateway::start(HUAWEI).await;
    let due = gateway.clock.now() + chrono::TimeDelta::hours(1);
    next(&gateway, 1, Behaviour::code("E000104"));
    let mut ids = Vec::new();
    for index in 0..20 {
        let mut body = parcel(&format!("+852601234{index:02}"));
        body["send_at"] = json!(due);
        ids.push(gateway.send(body).await);
    }
    gateway.advance(Duration::from_mins(61));
    for id in &ids {
        assert_eq!(error(&gateway.wait_for_end(id, "failed").await), ("provider_auth_failed", "E000104"));
    }
    assert_eq!(calls(&gateway, Protocol::Huawei), 1);
}
