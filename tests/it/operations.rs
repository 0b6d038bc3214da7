//! What operators can switch, what limits hold over, and a configuration that is read again while the gateway runs.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use sms_gateway::config::KeyHash;

use crate::support::{
    Setup, TestGateway,
    carriers::attempts,
    gateway::{AUDIT, OPS, SHOP, string},
    process::{Site, eventually},
};

const TO: &str = "+99900000001";

/// Two sandboxes, the first with `EXTRA` keys.
async fn sandboxes(extra: &str) -> TestGateway {
    Setup::new(&format!(
        r#"
        [providers.sandbox]
        driver = "sandbox"
        {extra}
        [providers.spare]
        driver = "sandbox"
        [routes.both]
        steps = [{{ provider = "sandbox" }}, {{ provider = "spare" }}]
        [routes.one]
        priority = 500
        steps = [{{ provider = "sandbox" }}]
        "#
    ))
    .start()
    .await
}

async fn switch(gateway: &TestGateway, key: &str, enabled: bool) -> (u16, serde_json::Value) {
    let request = gateway.client.request(Method::PATCH, "/v1/providers/sandbox").bearer_auth(key);
    let answer = gateway.client.send(request.json(&json!({ "enabled": enabled }))).await;
    (answer.status, answer.json["enabled"].clone())
}

#[tokio::test]
async fn a_paused_provider_is_passed_over_until_it_is_resumed() {
    let gateway = sandboxes("").await;
    assert_eq!(switch(&gateway, OPS, false).await, (200, json!(false)));
    let id = gateway.text(TO, "over the spare one").await;
    assert_eq!(attempts(&gateway.wait_for_end(&id, "delivered").await), ["spare delivered"]);
    assert!(gateway.story(&id).await.iter().any(|entry| entry.contains("step.passed_over")));
    assert_eq!(switch(&gateway, OPS, true).await, (200, json!(true)));
    let id = gateway.text(TO, "over the first one").await;
    assert_eq!(attempts(&gateway.wait_for_end(&id, "delivered").await), ["sandbox delivered"]);
}

#[tokio::test]
async fn a_message_whose_only_provider_is_paused_waits_for_it() {
    let gateway = sandboxes("").await;
    switch(&gateway, OPS, false).await;
    let id = gateway.send(json!({ "to": TO, "text": "waits", "route": "one" })).await;
    assert_eq!(string(&gateway.message(&id).await["status"]), "queued");
    switch(&gateway, OPS, true).await;
    gateway.wait_for_end(&id, "delivered").await;
}

#[tokio::test]
async fn only_operators_switch_providers() {
    let gateway = sandboxes("").await;
    assert_eq!(switch(&gateway, SHOP, false).await.0, 403);
    assert_eq!(switch(&gateway, AUDIT, false).await.0, 403);
}

#[tokio::test]
async fn a_start_that_holds_sends_nothing_until_an_operator_releases_it() {
    let gateway =
        Setup::new("dispatch.hold_on_start = true\n[routes.one]\nsteps = [{ provider = \"sandbox\" }]").start().await;
    let id = gateway.text(TO, "held").await;
    let release = async |key| {
        gateway.client.send(gateway.client.request(Method::POST, "/v1/release").bearer_auth(key)).await.status
    };
    assert_eq!(release(SHOP).await, 403);
    assert!(attempts(&gateway.message(&id).await).is_empty());
    assert_eq!(release(OPS).await, 204);
    gateway.wait_for_end(&id, "delivered").await;
}

#[tokio::test]
async fn what_is_over_a_providers_daily_limit_goes_on_to_the_next_step() {
    let gateway = sandboxes("daily_limit = 2").await;
    let mut took = Vec::new();
    for _ in 0..3 {
        let id = gateway.text(TO, "counted").await;
        took.push(attempts(&gateway.wait_for_end(&id, "delivered").await).join(" "));
    }
    assert_eq!(took, ["sandbox delivered", "sandbox delivered", "spare delivered"]);
}

#[tokio::test]
async fn a_rate_lets_no_more_out_in_a_second_than_it_says() {
    let gateway = sandboxes("rate_per_second = 5").await;
    let mut ids = Vec::new();
    for _ in 0..15 {
        ids.push(gateway.send(json!({ "to": TO, "text": "in turn", "route": "one" })).await);
    }
    let mut started = Vec::new();
    for id in ids {
        let message = gateway.wait_for_end(&id, "delivered").await;
        let at: chrono::DateTime<chrono::Utc> = string(&message["attempts"][0]["started_at"]).parse().unwrap();
        started.push(at);
    }
    started.sort();
    // A second's worth is saved up before the first; any six after that take a second. A tenth is left for the clocks.
    let too_close = started.windows(11).any(|window| (window[10] - window[0]).num_milliseconds() < 900);
    assert!(!too_close, "{started:?}");
}

#[tokio::test]
async fn a_changed_file_is_read_again_and_a_bad_one_changes_nothing() {
    let site = Site::new("").await;
    let process = site.start().await;
    let allowed = async |key: &str| process.client.get(key, "/v1/messages").await.status;
    assert_eq!(allowed("sgw_live_late").await, 401);
    let app = format!("\n[apps.late]\nkeys = [\"{}\"]\n", KeyHash::of("sgw_live_late"));
    site.append_to_config(&app);
    eventually("the new app is let in", async || (allowed("sgw_live_late").await == 200).then_some(())).await;
    site.append_to_config("\n[apps.broken]\nkeys = [\"nonsense\"]\n");
    eventually("the mistake is told", async || process.logged().contains("apps.broken").then_some(())).await;
    assert_eq!(allowed("sgw_live_late").await, 200);
}

#[tokio::test]
async fn a_day_is_dropped_once_it_is_older_than_it_is_kept() {
    let gateway =
        Setup::new("retention.messages_days = 35\n[routes.one]\nsteps = [{ provider = \"sandbox\" }]").start().await;
    let id = gateway.text(TO, "old one day").await;
    gateway.wait_for_end(&id, "delivered").await;
    gateway.advance(Duration::from_hours(24 * 34));
    // The tables of a day so far ahead are made within a moment of the clock's leap.
    let newer = gateway
        .until("the new day is there", async || {
            let answer = gateway.post_message(json!({ "to": TO, "text": "a month later" })).await;
            (answer.status == 202).then(|| string(&answer.json["id"]).to_owned())
        })
        .await;
    gateway.wait_for_end(&newer, "delivered").await;
    gateway.message(&id).await;
    gateway.advance(Duration::from_hours(48));
    gateway
        .until("the old day is gone", async || {
            let answer = gateway.client.get(SHOP, &format!("/v1/messages/{id}")).await;
            (answer.status == 404).then_some(())
        })
        .await;
    gateway.message(&newer).await;
}
