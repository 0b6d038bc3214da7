//! Canaries: values that must never be seen where people look. They go through everything that can go well or wrong, with every log
//! switched on, and are looked for in logs, metrics, the answers to errors and what operators are shown.

use std::{
    net::{Ipv4Addr, SocketAddr},
    process::{Command, Stdio},
};

use axum::{
    Router,
    body::{Bytes, to_bytes},
    extract::Request,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use reqwest::Method;
use serde_json::{Value, json};
use sms_gateway::config::KeyHash;

use crate::support::{
    Client,
    carriers::form,
    gateway::{AUDIT, Folder, OPS, SHOP},
    process::{Process, Site, eventually},
};

/// Without its country code, so that no way of writing it hides it. Masked it may be shown.
const NUMBER: &str = "367770001";
const CODE: &str = "739155";

/// What must not be found anywhere. The code stands alone: six digits come about by chance inside of others.
const CANARIES: [&str; 15] = [
    NUMBER,
    "canary",
    "c2VjcmV0LWNhbmFyeS1zZWNyZXQtY2FuYXJ5LXNlY3I=",
    "secret-canary-secret-canary-secr",
    SHOP,
    OPS,
    AUDIT,
    "Y2FuYXJ5",
    "63616e617279",
    "can%61ry",
    "+84 36 777 0001",
    "0x6f7470",
    "Your code is",
    "sgw_live_canary",
    "simulator-secret",
];

/// What was found of them in a text.
fn found(text: &str) -> Vec<&'static str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric());
    let code = words.into_iter().any(|word| word == CODE);
    CANARIES.into_iter().filter(|canary| text.contains(canary)).chain(code.then_some(CODE)).collect()
}

#[test]
fn a_canary_is_seen_where_it_is() {
    assert_eq!(found("a canary"), ["canary"]);
    assert_eq!(found("at 12:00:00.739155Z"), [""; 0]);
    assert_eq!(found(r#"{"code":"739155"}"#), [CODE]);
}

/// In how many ways the carrier answers.
const WAYS: usize = 8;

/// A carrier that says back whatever it was told, secrets and all, in a way that its address chooses.
async fn carrier() -> SocketAddr {
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().fallback(async |request: Request| {
        let way = request.uri().path().split('/').nth(1).unwrap_or_default().to_owned();
        let headers = format!("{:?}", request.headers());
        let body = to_bytes(request.into_body(), usize::MAX).await.unwrap_or_default();
        echo(&way, &headers, &body)
    });
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

fn echo(way: &str, headers: &str, body: &Bytes) -> Response {
    let said = format!("{headers} {}", String::from_utf8_lossy(body));
    let in_header = HeaderValue::from_str(&said.replace(|c: char| !c.is_ascii_graphic(), "")).unwrap();
    let told = |code: Value| json!({ "code": code, "message": said, "description": said }).to_string();
    match way {
        "way0" => told(json!(0)).into_response(),
        "way1" => said.into_response(),
        "way2" => (StatusCode::BAD_REQUEST, told(json!("E000503"))).into_response(),
        "way3" => (StatusCode::INTERNAL_SERVER_ERROR, said).into_response(),
        "way4" => (StatusCode::FOUND, [(header::LOCATION, in_header)], said).into_response(),
        "way5" => told(json!(said)).into_response(),
        "way6" => (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, in_header)], said).into_response(),
        _ => (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, in_header)], said).into_response(),
    }
}

/// All drivers, each once for every way in which the carrier answers, and each once where nobody listens.
fn config(carrier: SocketAddr) -> String {
    let nowhere = "http://127.0.0.1:9".to_owned();
    let addresses = (0..WAYS).map(|way| (format!("{way}"), format!("http://{carrier}/way{way}")));
    let mut config = format!(
        "[limits]\notp_per_number = \"1000/1d\"\n[telemetry]\nlog_format = \"FORMAT\"\n[apps.audit]\nrole = \"auditor\"\nkeys = [\"{}\"]\n[templates.login]\n\
         text = \"Your code is {{{{code}}}}\"\ncategory = \"otp\"\nparams = [{{ name = \"code\" }}]\n",
        KeyHash::of(AUDIT)
    );
    for (name, address) in addresses.chain([("nowhere".to_owned(), nowhere)]) {
        let providers = format!(
            r#"
            [providers.nx_{name}]
            driver = "nxcloud_did"
            base_url = "{address}"
            access_key = "canary-nx-key"
            access_secret = "canary-nx-secret"
            from = "8615088888888"
            callback_token = "canary-nx-token"
            timeout_seconds = 1
            [providers.hw_{name}]
            driver = "huawei_sms"
            base_url = "{address}"
            app_key = "canary-hw-key"
            app_secret = "canary-hw-secret"
            from = "isms100000001"
            callback_token = "canary-hw-token"
            push_keys = [{{ access_key = "canary-push-key", secret = "canary-push-secret" }}]
            timeout_seconds = 1
            [templates.login.bindings.hw_{name}]
            template_id = "8ff55eac1d0b478ab3c06c3c6a492300"
            params = ["code"]
            [providers.voice_{name}]
            driver = "onsms_voice"
            base_url = "{address}"
            username = "canary-user"
            password = "canary-password"
            key = "canary-key"
            from = "DAUSO1"
            timeout_seconds = 1
            [templates.login.bindings.voice_{name}]
            params = ["code"]
            "#
        );
        config.push_str(&providers);
    }
    config
}

/// Answers that must not say any of it.
struct Errors(Vec<(String, String)>);

impl Errors {
    async fn send(&mut self, client: &Client, what: &str, request: reqwest::RequestBuilder) {
        let answer = client.send(request).await;
        assert!(answer.status >= 400, "{what}: {} {}", answer.status, answer.text);
        self.0.push((what.to_owned(), format!("{:?} {}", answer.headers, answer.text)));
    }
}

async fn send_everything(process: &Process) {
    let mut ids = Vec::new();
    for way in (0..WAYS).map(|way| way.to_string()).chain(["nowhere".to_owned()]) {
        for driver in ["nx", "hw", "voice"] {
            let body = json!({
                "to": format!("+84{NUMBER}"), "template": { "name": "login", "params": { "code": CODE } },
                "provider": format!("{driver}_{way}"), "client_reference": "canary-reference",
                "metadata": { "canary-name": "canary-value" },
            });
            let request = process.client.request(Method::POST, "/v1/messages").bearer_auth(SHOP);
            let request = request.header("idempotency-key", format!("canary-{driver}-{way}")).json(&body);
            let answer = process.client.send(request).await;
            assert_eq!(answer.status, 202, "{}", answer.text);
            ids.push((format!("{driver}_{way}"), answer.json["id"].as_str().unwrap().to_owned()));
        }
        let text = json!({ "to": format!("+84{NUMBER}"), "text": "canary text", "provider": format!("nx_{way}") });
        assert_eq!(process.client.post(SHOP, "/v1/messages", &text).await.status, 202);
    }
    for (name, id) in ids {
        eventually(&name, async || {
            let events = process.client.get(SHOP, &format!("/v1/messages/{id}/events")).await.text;
            ["attempt.", "submit"].iter().any(|kind| events.contains(kind)).then_some(())
        })
        .await;
    }
}

async fn push_everything(process: &Process, errors: &mut Errors) {
    let receipt = form(&[
        ("messageId", "canary-id"),
        ("toPhone", &format!("+84{NUMBER}")),
        ("fromPhone", "+8615088888888"),
        ("content", "canary text"),
        ("smsStatus", "canary-status"),
        ("type", "1"),
    ]);
    let inbound = form(&[
        ("messageId", "canary-in"),
        ("toPhone", "+8615088888888"),
        ("fromPhone", &format!("+84{NUMBER}")),
        ("content", &format!("canary {CODE}")),
        ("type", "0"),
    ]);
    let garbage = format!("{{\"messageId\": \"canary {NUMBER} {CODE}");
    let push = |path: &str, body: &str| process.client.request(Method::POST, path).body(body.to_owned());
    for body in [&receipt, &inbound, &garbage] {
        let answer = process.client.send(push("/callbacks/nx_0/canary-nx-token", body)).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        errors.send(&process.client, "a wrong token", push("/callbacks/nx_0/canary-wrong-token", body)).await;
        errors.send(&process.client, "no provider", push("/callbacks/canary/canary-nx-token", body)).await;
        errors.send(&process.client, "unsigned", push("/callbacks/hw_0/canary-hw-token", body)).await;
        let forged = push("/callbacks/nx_0/canary-nx-token", body).header("sign", "canary-signature");
        errors.send(&process.client, "forged", forged).await;
    }
}

async fn ask_wrongly(process: &Process, errors: &mut Errors) {
    let client = &process.client;
    let post = |body: String| {
        let request = client.request(Method::POST, "/v1/messages").bearer_auth(SHOP);
        request.header("content-type", "application/json").body(body)
    };
    for body in [
        format!("{{\"to\":\"+84{NUMBER}\",\"text\":\"canary\\u0000 {CODE}\"}}"),
        format!("{{\"to\":\"0{NUMBER}\",\"text\":\"canary {CODE}\"}}"),
        format!("{{\"to\":\"+84{NUMBER}\",\"text\":\"canary {CODE}\",\"channel\":\"canary\",\"send_at\":\"canary\"}}"),
        format!("{{\"to\":\"+84{NUMBER}\",\"text\":\"canary {CODE}\",\"provider\":\"canary\",\"route\":\"canary\"}}"),
        format!(
            "{{\"to\":\"+84{NUMBER}\",\"text\":\"canary {CODE}\",\"callback_url\":\"https://canary:canary@canary/\"}}"
        ),
        format!("{{\"to\":\"+84{NUMBER}\",\"text\":\"canary {CODE}\""),
        format!("{{\"to\":\"+84{NUMBER}\",\"text\":\"canary {CODE}\",\"text\":\"canary\"}}"),
        format!("\"canary +84{NUMBER}"),
        format!("{{\"to\":\"+84{NUMBER}\",\"template\":{{\"name\":\"canary\",\"params\":{{\"code\":\"{CODE}\"}}}}}}"),
        format!("{{\"to\":\"+84{NUMBER}\",\"template\":{{\"name\":\"login\",\"params\":{{\"code\":{CODE}}}}}}}"),
        format!("{{\"to\":\"+84{NUMBER}\",\"text\":\"{}\"}}", format!("canary {CODE} ").repeat(200)),
    ] {
        errors.send(client, "a wrong body", post(body)).await;
    }
    let get = |path: &str| client.request(Method::GET, path);
    for path in [
        "/v1/messages/canary",
        "/v1/messages/msg_00000000000000000000000000",
        "/v1/messages?status=canary&channel=canary&cursor=canary&to=0367770001&limit=canary",
        "/v1/inbound_messages?provider=canary-canary&created_after=canary",
        "/canary/canary",
        "/v1/templates/canary",
        "/v1/messages?to=%2B84367770001&cursor=Y2FuYXJ5",
    ] {
        errors.send(client, path, get(path).bearer_auth(SHOP)).await;
    }
    errors.send(client, "a wrong key", get("/v1/messages").bearer_auth("sgw_live_canary")).await;
    errors.send(client, "not a key", get("/v1/messages").header("authorization", "Basic canary")).await;
    let key = post(json!({ "to": "+99900000001", "text": "x" }).to_string());
    errors.send(client, "a wrong idempotency key", key.header("idempotency-key", "canary-ü")).await;
    errors
        .send(client, "an unknown method", client.request(Method::from_bytes(b"CANARY").unwrap(), "/v1/messages"))
        .await;
}

/// A database that refuses, and says in detail which row.
async fn refuse_in_the_database(site: &Site, process: &Process, errors: &mut Errors) {
    let refused = "+84367770002";
    let rule = format!("alter table messages add constraint some_rule check (recipient <> '{refused}')");
    site.run(&rule).await;
    let body = json!({ "to": refused, "text": "canary text", "provider": "nx_0" });
    let post = process.client.request(Method::POST, "/v1/messages").bearer_auth(SHOP).json(&body);
    errors.send(&process.client, "a row that is refused", post).await;
    site.run("alter table messages drop constraint some_rule").await;
    site.run("alter table messages rename to other_messages").await;
    let post = process.client.request(Method::POST, "/v1/messages").bearer_auth(SHOP).json(&body);
    errors.send(&process.client, "no table", post).await;
    let get = process.client.request(Method::GET, "/v1/messages?to=%2B84367770001").bearer_auth(SHOP);
    errors.send(&process.client, "no table to read", get).await;
    site.run("alter table other_messages rename to messages").await;
}

async fn look_everywhere(process: &Process, errors: Errors) {
    for (what, text) in errors.0 {
        assert_eq!(found(&text), [""; 0], "the answer to {what}: {text}");
    }
    for (key, path) in [
        ("", "/metrics"),
        ("", "/healthz"),
        ("", "/readyz"),
        (OPS, "/v1/providers"),
        (OPS, "/v1/providers/nx_0"),
        (AUDIT, "/v1/providers/hw_5"),
        (OPS, "/v1/routes"),
    ] {
        let answer = process.client.get(key, path).await;
        assert_eq!((found(&answer.text), answer.status), (Vec::new(), 200), "{path}: {}", answer.text);
    }
    for line in process.logged().lines() {
        assert_eq!(found(line), [""; 0], "{line}");
    }
}

async fn nothing_is_seen(format: &str) {
    let site = Site::new(&config(carrier().await).replace("FORMAT", format)).await;
    site.replace_in_config(
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        "c2VjcmV0LWNhbmFyeS1zZWNyZXQtY2FuYXJ5LXNlY3I=",
    );
    let process = site.start_with(&[("RUST_LOG", "trace"), ("RUST_BACKTRACE", "1")]).await;
    let mut errors = Errors(Vec::new());
    send_everything(&process).await;
    push_everything(&process, &mut errors).await;
    ask_wrongly(&process, &mut errors).await;
    refuse_in_the_database(&site, &process, &mut errors).await;
    site.append_to_config(
        "[providers.spoiled]\ndriver = \"nxcloud_did\"\ntimeout_seconds = 1\naccess_secret = [\"canary-reloaded\"]\n",
    );
    eventually("the mistake is told", async || process.logged().contains("spoiled").then_some(())).await;
    look_everywhere(&process, errors).await;
}

#[tokio::test]
async fn nothing_secret_is_seen_with_every_log_switched_on() {
    nothing_is_seen("json").await;
}

#[tokio::test]
async fn nothing_secret_is_seen_in_logs_for_people() {
    nothing_is_seen("pretty").await;
}

#[test]
fn a_configuration_that_is_wrong_is_told_without_its_secrets() {
    let folder = Folder::new();
    let path = folder.0.join("gateway.toml");
    for wrong in [
        "[apps.shop]\nkeys = [\"sgw_live_canary\"]",
        "[apps.shop]\nkeys = \"sgw_live_canary",
        "[apps.shop]\nwebhook_secret = \"canary\"",
        "[server]\nsecret_key = \"canary\"",
        "[server]\nsecret_key = [\"canary\", 5]",
        "[server]\nsecret_key = { canary = \"canary\" }",
        "[server]\nsecret_key = \"canary\\q\"",
        "[server]\nsecret_key = canary",
        "[database]\nurl = \"postgres:canary:canary@canary\"",
        "[database]\nurl = 5\nurl = \"canary\"",
        "[providers.nx]\ndriver = \"nxcloud_did\"\naccess_secret = [\"canary\"]\naccess_key = 5",
        "[providers.nx]\ndriver = \"nxcloud_did\"\naccess_sercet = \"canary\"",
        "[providers.hw]\ndriver = \"huawei_sms\"\npush_keys = [{ access_key = \"canary\", secert = \"canary\" }]",
        "[providers.hw]\ndriver = \"huawei_sms\"\npush_keys = \"canary\"",
        "[providers.hw]\ndriver = \"huawei_sms\"\nbase_url = \"http//canary:canary@x\"",
        "[providers.voice]\ndriver = \"onsms_voice\"\npassword = \"\"\nkey = { canary = 1 }",
        "[providers.nx]\ndriver = \"nxcloud_did\"\ncallback_token = [\"canary\", \"\"]",
        "[providers.nx]\ncallback_token = [[\"canary\"]]",
    ] {
        std::fs::write(&path, wrong).unwrap();
        for command in ["check", "serve"] {
            let output = Command::new(env!("CARGO_BIN_EXE_sms-gateway"))
                .args([command, "--config"])
                .arg(&path)
                .env_remove("DATABASE_URL")
                .env("RUST_LOG", "trace")
                .env("SMS_GATEWAY__DATABASE__DATA_DIR", &folder.0)
                .env("SMS_GATEWAY__SERVER__LISTEN", "canary")
                .stdin(Stdio::null())
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
            assert!(!output.status.success() && !said.is_empty(), "{command}: {wrong}");
            // Names of keys may be told, values may not.
            let said = said.replace(".canary", "").replace("gateway.toml", "");
            assert_eq!(found(&said), [""; 0], "{command}: {wrong}\n{said}");
        }
    }
}
