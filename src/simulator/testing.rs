//! What the tests of the simulator share: a client that signs its calls, and a gateway that only writes down what it is told.

use std::sync::Arc;

use axum::{Router, body::Bytes, extract::State, http::HeaderMap, response::IntoResponse, routing::any};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::{net::TcpListener, sync::mpsc};
use url::{Url, form_urlencoded};

use super::{Simulator, SimulatorOptions, sdk_hmac};
use crate::{clock::Clock, domain::Timestamp};

pub(super) const TEMPLATE: &str = "8ff55eac1d0b478ab3c06c3c6a492300";
pub(super) const FORM: &str = "application/x-www-form-urlencoded";
pub(super) const JSON: &str = "application/json";

/// A simulator and a client for it.
pub(super) struct Bench {
    pub simulator: Simulator,
    pub clock: Clock,
    pub http: reqwest::Client,
}

/// An answer, read to its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// The code in a JSON answer, as text.
    pub fn code(&self) -> String {
        let code = &self.json()["code"];
        code.as_str().map_or_else(|| code.to_string(), str::to_owned)
    }

    /// The status of each number in a Huawei answer.
    pub fn statuses(&self) -> Vec<String> {
        let json = self.json();
        let list = json["result"].as_array().cloned().unwrap_or_default();
        list.iter().map(|entry| entry["status"].as_str().unwrap().to_owned()).collect()
    }
}

pub(super) async fn bench(change: impl FnOnce(&mut SimulatorOptions)) -> Bench {
    let mut options = SimulatorOptions::default();
    options.settings.report_delay_ms = 0;
    change(&mut options);
    let clock = options.clock.clone();
    let simulator = Simulator::start("127.0.0.1:0".parse().unwrap(), options).await.unwrap();
    let http = reqwest::Client::builder()
        .no_proxy()
        .retry(reqwest::retry::never())
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap();
    Bench { simulator, clock, http }
}

impl Bench {
    pub async fn post(&self, path: &str, headers: &[(&str, &str)], body: &str) -> Result<Answer, reqwest::Error> {
        let mut request = self.http.post(format!("{}{path}", self.simulator.base_url())).body(body.to_owned());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Ok(Answer { status, headers, body: response.text().await? })
    }

    pub async fn huawei(&self, path: &str, content_type: &str, body: &str) -> Result<Answer, reqwest::Error> {
        let host = self.simulator.addr().to_string();
        let signed = [("content-type", content_type), ("host", host.as_str())];
        let (authorization, date) =
            sdk_hmac::sign("simulator-key", "simulator-secret", self.clock.now(), path, "", &signed, body.as_bytes());
        let headers = [("content-type", content_type), ("x-sdk-date", &date), ("authorization", &authorization)];
        self.post(path, &headers, body).await
    }

    /// A signed form call; the fields are added to a sender and a template, or replace them.
    pub async fn form(&self, fields: &[(&str, &str)]) -> Result<Answer, reqwest::Error> {
        self.huawei("/sms/batchSendSms/v1", FORM, &form_body(fields)).await
    }

    pub async fn diff(&self, body: &Value) -> Result<Answer, reqwest::Error> {
        self.huawei("/sms/batchSendDiffSms/v1", JSON, &body.to_string()).await
    }

    pub async fn nxcloud(&self, phone: &str, content: &str) -> Result<Answer, reqwest::Error> {
        self.nxcloud_body(&json!({"sender": "8615088888888", "phone": phone, "content": content}).to_string(), &[])
            .await
    }

    /// A call signed over this body; `changes` are made to the headers after signing.
    pub async fn nxcloud_body(&self, body: &str, changes: &[(&str, Option<&str>)]) -> Result<Answer, reqwest::Error> {
        let ts = self.clock.now().timestamp_millis().to_string();
        let raw = format!(
            "accessKey=simulator-key&action=mtsend&bizType=4&ts={ts}&body={body}&accessSecret=simulator-secret"
        );
        let md5 = hex::encode(md5::Md5::digest(&raw));
        let mut headers = vec![
            ("accesskey", "simulator-key"),
            ("ts", ts.as_str()),
            ("biztype", "4"),
            ("action", "mtsend"),
            ("sign", md5.as_str()),
            ("content-type", JSON),
        ];
        for (name, value) in changes {
            headers.retain(|(key, _)| key != name);
            headers.extend(value.map(|value| (*name, value)));
        }
        self.post("/didsms/mtsend", &headers, body).await
    }

    pub async fn voice(&self, operation: &str, changes: &Value) -> Result<Answer, reqwest::Error> {
        let mut body = json!({"username": "simulator", "pass": "simulator-pass", "key": "simulator-key"});
        for (key, value) in changes.as_object().unwrap() {
            body[key] = value.clone();
        }
        self.post(&format!("/onsmsapivoice/{operation}"), &[("content-type", JSON)], &body.to_string()).await
    }

    pub async fn call(&self, phone: &str, message: &str) -> Result<Answer, reqwest::Error> {
        self.voice("postSMS", &json!({"sender": "DAUSO1", "phonesend": phone, "message": message})).await
    }
}

pub(super) fn form_body(fields: &[(&str, &str)]) -> String {
    let mut all = vec![("from", "isms100000001"), ("templateId", TEMPLATE), ("templateParas", "[\"123456\"]")];
    for field in fields {
        all.retain(|(name, _)| name != &field.0);
        all.push(*field);
    }
    form_urlencoded::Serializer::new(String::new()).extend_pairs(all).finish()
}

/// Both headers of an X-WSSE call.
pub(super) fn wsse_headers(now: Timestamp, nonce: &str) -> [(&'static str, String); 2] {
    let created = now.format("%Y-%m-%dT%H:%M:%SZ").to_string();
    let digest = BASE64_STANDARD.encode(Sha256::digest(format!("{nonce}{created}simulator-secret")));
    let token = format!(
        r#"UsernameToken Username="simulator-key",PasswordDigest="{digest}",Nonce="{nonce}",Created="{created}""#
    );
    let authorization = r#"WSSE realm="SDP",profile="UsernameToken",type="Appkey""#;
    [("authorization", authorization.to_owned()), ("x-wsse", token)]
}

/// A push as it arrived.
#[derive(Debug)]
pub(super) struct Pushed {
    pub path: String,
    pub headers: HeaderMap,
    pub body: String,
}

impl Pushed {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap().to_str().unwrap()
    }

    /// The value of a form field; empty if it is absent.
    pub fn field(&self, name: &str) -> String {
        let mut fields = form_urlencoded::parse(self.body.as_bytes());
        fields.find(|(key, _)| key == name).map(|(_, value)| value.into_owned()).unwrap_or_default()
    }

    pub fn has_field(&self, name: &str) -> bool {
        form_urlencoded::parse(self.body.as_bytes()).any(|(key, _)| key == name)
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// A gateway that answers `success` and hands on what came.
pub(super) struct Receiver {
    pub url: Url,
    pushed: mpsc::UnboundedReceiver<Pushed>,
}

impl Receiver {
    pub async fn start() -> Self {
        let (sender, pushed) = mpsc::unbounded_channel();
        let receive = |State(sender): State<Arc<mpsc::UnboundedSender<Pushed>>>,
                       uri: axum::http::Uri,
                       headers: HeaderMap,
                       body: Bytes| async move {
            let body = String::from_utf8(body.to_vec()).unwrap();
            sender.send(Pushed { path: uri.to_string(), headers, body }).unwrap();
            "success".into_response()
        };
        let router = Router::new().fallback(any(receive)).with_state(Arc::new(sender));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("http://{}/callbacks", listener.local_addr().unwrap())).unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, pushed }
    }

    pub async fn next(&mut self) -> Pushed {
        self.pushed.recv().await.unwrap()
    }

    /// What has come and was not asked for yet.
    pub fn rest(&mut self) -> Vec<Pushed> {
        std::iter::from_fn(|| self.pushed.try_recv().ok()).collect()
    }
}
