//! The preview: what a message would become, told without storing anything.

use serde_json::{Value, json};

use crate::support::{
    Answer, TestGateway,
    carriers::{HUAWEI, NXCLOUD, VOICE},
    gateway::{AUDIT, BANK, OPS, SHOP, SHOP_TEST, string},
};

const TO: &str = "+84361234567";

/// Two providers of SMS and one of voice on one route.
fn config() -> String {
    let without_route = |config: &str| config.split("[routes").next().unwrap().to_owned();
    let route = "[routes.all]\nfailover = \"on_undelivered\"
        steps = [{ provider = \"hw\" }, { provider = \"nx\" }, { provider = \"call\", after_seconds = 45 }]";
    let (huawei, nxcloud, voice) = (without_route(HUAWEI), without_route(NXCLOUD), without_route(VOICE));
    format!("{huawei}{nxcloud}{voice}{route}")
}

async fn start() -> TestGateway {
    TestGateway::start(&config()).await
}

async fn ask(gateway: &TestGateway, body: &Value) -> Answer {
    gateway.client.post(SHOP, "/v1/preview", body).await
}

async fn preview(gateway: &TestGateway, body: &Value) -> Value {
    let answer = ask(gateway, body).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json
}

/// Each step with its reason; `-` where it is usable.
fn steps(preview: &Value) -> Vec<String> {
    let told = |step: &Value| {
        let reason = if step["usable"] == true { "-" } else { string(&step["reason"]) };
        format!("{} {reason}", string(&step["provider"]))
    };
    preview["steps"].as_array().unwrap().iter().map(told).collect()
}

fn warns(preview: &Value, of: &str) -> bool {
    preview["warnings"].as_array().unwrap().iter().any(|warning| string(warning).contains(of))
}

#[tokio::test]
async fn a_text_is_measured_and_each_step_says_whether_it_would_be_used() {
    let gateway = start().await;
    let found = preview(&gateway, &json!({ "to": TO, "text": "Hello {you}" })).await;
    assert_eq!((string(&found["text"]), string(&found["encoding"])), ("Hello {you}", "gsm7"));
    assert_eq!((found["characters"].as_u64(), found["segments"].as_u64()), (Some(13), Some(1)));
    assert_eq!((string(&found["route"]), &found["non_gsm_characters"]), ("all", &json!([])));
    assert_eq!(steps(&found), ["hw content_unsupported", "nx -", "call content_unsupported"]);
    assert_eq!(found["steps"][1]["from"], "8615088888888");
    assert_eq!((string(&found["steps"][2]["channel"]), &found["warnings"]), ("voice", &json!([])));
}

#[tokio::test]
async fn what_makes_a_text_ucs2_is_named_and_more_segments_are_warned_of() {
    let gateway = start().await;
    let text = format!("Mã {}😀 ạ", "a".repeat(70));
    let found = preview(&gateway, &json!({ "to": TO, "text": text })).await;
    assert_eq!((string(&found["encoding"]), found["segments"].as_u64()), ("ucs2", Some(2)));
    assert_eq!(found["characters"].as_u64(), Some(77));
    assert_eq!(found["non_gsm_characters"], json!(["ã", "😀", "ạ"]));
    assert!(warns(&found, "`ã`, `😀`, `ạ`") && warns(&found, "2 segments"), "{found}");
}

#[tokio::test]
async fn a_template_is_rendered_and_goes_to_whoever_is_bound_to_it() {
    let gateway = start().await;
    let body = json!({ "to": "+85260123456", "template": { "name": "parcel", "params": { "place": "the gate" } } });
    let found = preview(&gateway, &body).await;
    assert_eq!(string(&found["text"]), "Your parcel waits at the gate.");
    assert_eq!(steps(&found), ["hw -", "nx -", "call destination_not_allowed"]);
}

#[tokio::test]
async fn digits_may_become_a_call() {
    let gateway = start().await;
    let found = preview(&gateway, &json!({ "to": TO, "text": "123456" })).await;
    assert_eq!(steps(&found), ["hw content_unsupported", "nx -", "call -"]);
    let abroad = preview(&gateway, &json!({ "to": "+85260123456", "text": "123456" })).await;
    assert_eq!(steps(&abroad)[2], "call destination_not_allowed");
    let voice = preview(&gateway, &json!({ "to": TO, "text": "123456", "channel": "voice" })).await;
    assert_eq!(steps(&voice), ["hw content_unsupported", "nx content_unsupported", "call -"]);
    let sender = preview(&gateway, &json!({ "to": TO, "text": "123456", "from": "ACME" })).await;
    assert_eq!(steps(&sender)[1], "nx sender_not_allowed");
}

#[tokio::test]
async fn a_paused_provider_would_be_passed_over_and_where_none_is_left_the_message_would_wait() {
    let gateway = start().await;
    let body = json!({ "to": TO, "text": "123456" });
    for (provider, expected) in [
        ("nx", ["nx provider_unavailable", "call -"]),
        ("call", ["nx provider_unavailable", "call provider_unavailable"]),
    ] {
        let request = gateway.client.request(reqwest::Method::PATCH, &format!("/v1/providers/{provider}"));
        gateway.client.send(request.bearer_auth(OPS).json(&json!({ "enabled": false }))).await;
        let found = preview(&gateway, &body).await;
        assert_eq!(steps(&found)[1..], expected);
        assert!(warns(&found, &format!("{provider}: the provider is paused")), "{found}");
        assert_eq!(warns(&found, "would wait until its validity ends"), provider == "call", "{found}");
    }
}

#[tokio::test]
async fn a_recipient_that_opted_out_is_told_of_at_every_step() {
    let gateway = start().await;
    let request = gateway.client.request(reqwest::Method::PUT, &format!("/v1/suppressions/{TO}"));
    gateway.client.send(request.bearer_auth(SHOP)).await;
    let body = json!({ "to": TO, "text": "123456" });
    let found = preview(&gateway, &body).await;
    assert_eq!(steps(&found), ["hw content_unsupported", "nx recipient_opted_out", "call recipient_opted_out"]);
    assert!(warns(&found, "It would be refused: recipient_opted_out"), "{found}");
    let of_another_app = gateway.client.post(BANK, "/v1/preview", &body).await;
    assert_eq!(steps(&of_another_app.json)[1], "nx -");
}

#[tokio::test]
async fn a_message_that_no_provider_can_carry_is_previewed_with_the_reasons() {
    let gateway = TestGateway::start(&format!("{HUAWEI}[routes.sms.match]\ncountries = [\"HK\"]")).await;
    let found = preview(&gateway, &json!({ "to": "+85260123456", "text": "free text" })).await;
    assert_eq!((string(&found["route"]), steps(&found)), ("sms", vec!["hw content_unsupported".to_owned()]));
    assert!(warns(&found, "would be refused: content_unsupported"), "{found}");
    let nowhere = preview(&gateway, &json!({ "to": TO, "text": "free text" })).await;
    assert_eq!((&nowhere["route"], &nowhere["steps"]), (&Value::Null, &json!([])));
    assert!(warns(&nowhere, "would be refused: no_route"), "{nowhere}");
}

#[tokio::test]
async fn what_is_wrong_in_itself_is_refused_as_it_is_when_it_is_sent() {
    let gateway = start().await;
    for body in [
        json!({}),
        json!({ "to": "0361234567", "text": "x" }),
        json!({ "to": TO }),
        json!({ "to": TO, "text": "x", "template": { "name": "parcel" } }),
        json!({ "to": TO, "template": { "name": "parcel", "params": {} } }),
        json!({ "to": TO, "template": { "name": "none" } }),
        json!({ "to": TO, "text": "x", "route": "none", "surprise": 1 }),
        json!({ "to": TO, "text": "码".repeat(1000) }),
        json!({ "to": TO, "text": "x", "send_at": "2001-01-01T00:00:00Z" }),
        json!({ "to": TO, "text": "x", "callback_url": "https://elsewhere.example.com" }),
    ] {
        let (previewed, sent) = (ask(&gateway, &body).await, gateway.post_message(body.clone()).await);
        assert_eq!((previewed.status, previewed.errors()), (422, sent.errors()), "{body}");
    }
    let request = gateway.client.request(reqwest::Method::POST, "/v1/preview").bearer_auth(SHOP);
    let request = request.header("content-type", "application/json").body("{");
    assert_eq!(gateway.client.send(request).await.problem(), (400, "malformed_request"));
}

#[tokio::test]
async fn it_says_what_the_message_becomes_and_stores_nothing() {
    let gateway = start().await;
    let body = json!({ "to": TO, "text": "Mã của bạn" });
    let request = gateway.client.request(reqwest::Method::POST, "/v1/preview").bearer_auth(SHOP);
    let answer = gateway.client.send(request.header("idempotency-key", "k").json(&body)).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    for table in ["messages", "queue", "idempotency_keys"] {
        assert_eq!(gateway.database.count(&format!("select from {table}")).await, 0, "{table}");
    }
    let message = gateway.post_message(body).await.json;
    for field in ["text", "encoding", "segments", "route"] {
        assert_eq!(answer.json[field], message[field], "{field}");
    }
}

#[tokio::test]
async fn nothing_of_a_sensitive_text_is_shown() {
    let gateway = start().await;
    let found = preview(&gateway, &json!({ "to": TO, "text": "Mật khẩu: žluť", "sensitive": true })).await;
    assert_eq!((&found["text"], &found["non_gsm_characters"]), (&Value::Null, &json!([])));
    assert_eq!((string(&found["encoding"]), found["characters"].as_u64()), ("ucs2", Some(14)));
    assert!(!["ậ", "ž"].iter().any(|shown| found.to_string().contains(shown)), "{found}");
}

#[tokio::test]
async fn a_test_key_sees_the_sandbox_and_every_key_may_look() {
    let gateway = start().await;
    let body = json!({ "to": TO, "text": "hello" });
    let tested = gateway.client.post(SHOP_TEST, "/v1/preview", &body).await;
    assert_eq!(steps(&tested.json), ["sandbox -"], "{}", tested.text);
    assert!(warns(&tested.json, "sandbox only"));
    for key in [BANK, OPS, AUDIT] {
        assert_eq!(gateway.client.post(key, "/v1/preview", &body).await.status, 200, "{key}");
    }
    assert_eq!(gateway.client.post("sgw_live_nobody", "/v1/preview", &body).await.status, 401);
}
