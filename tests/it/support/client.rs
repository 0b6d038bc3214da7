//! A client that speaks to the gateway as an app or a carrier would.

use std::time::Duration;

use reqwest::{Method, header::HeaderMap};
use serde_json::Value;

/// An answer, whole.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
    /// Null when the body is no JSON.
    pub json: Value,
}

impl Answer {
    /// A header, or the empty text.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The status and the code of a problem.
    pub fn problem(&self) -> (u16, &str) {
        (self.status, self.json["code"].as_str().unwrap_or_default())
    }

    /// The pointers (or parameters) and codes of the single errors of a problem.
    pub fn errors(&self) -> Vec<(String, String)> {
        let errors = self.json["errors"].as_array().cloned().unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let place =
            |error: &Value| text(if error["pointer"].is_string() { &error["pointer"] } else { &error["parameter"] });
        errors.iter().map(|error| (place(error), text(&error["code"]))).collect()
    }
}

/// A client for one address.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
}

impl Client {
    pub fn new(base: String) -> Self {
        sms_gateway::tls::install_crypto();
        let http = reqwest::Client::builder()
            .tls_certs_only([])
            .timeout(Duration::from_secs(30))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .unwrap();
        Self { http, base }
    }

    /// Begins a request.
    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base))
    }

    /// Sends it and reads the whole answer.
    pub async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.unwrap();
        let json = serde_json::from_str(&text).unwrap_or_default();
        Answer { status, headers, text, json }
    }

    /// Reads a path with a key; an empty key sends none.
    pub async fn get(&self, key: &str, path: &str) -> Answer {
        let request = self.request(Method::GET, path);
        self.send(if key.is_empty() { request } else { request.bearer_auth(key) }).await
    }

    /// Posts JSON with a key.
    pub async fn post(&self, key: &str, path: &str, body: &Value) -> Answer {
        self.send(self.request(Method::POST, path).bearer_auth(key).json(body)).await
    }
}
