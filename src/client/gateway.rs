//! A gateway, seen from outside: where it is, and its HTTP API.

use std::{
    fs,
    net::{Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use reqwest::{Client, RequestBuilder, header::RETRY_AFTER};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use tokio::time::sleep;
use url::{Host, Url};

use super::{
    LONGEST_PAGE,
    args::Reach,
    problem::{ClientError, Problem},
    show::text,
};
use crate::tls;

const TIMEOUT: Duration = Duration::from_secs(30);
/// A post whose answer was lost is made so often, with one idempotency key.
const TRIES: u32 = 4;
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A gateway on this machine, as its configuration says.
#[derive(Debug, Clone)]
pub struct Local {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Where it keeps the keys of its first start.
    pub data_dir: PathBuf,
}

/// How a process on the same machine reaches what listens there.
pub fn local_url(mut listen: SocketAddr) -> String {
    if listen.ip().is_unspecified() {
        listen.set_ip(if listen.is_ipv4() { [127, 0, 0, 1].into() } else { Ipv6Addr::LOCALHOST.into() });
    }
    format!("http://{listen}")
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name.eq_ignore_ascii_case("localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// A gateway that can be asked.
#[derive(Debug)]
pub struct Gateway {
    http: Client,
    base: Url,
    key: SecretString,
}

impl Gateway {
    /// The gateway that is meant. The local configuration is read only for what nobody said.
    pub fn reach(reach: &Reach, local: impl FnOnce() -> Result<Local, ClientError>) -> Result<Self, ClientError> {
        let (base, key) = match (reach.url.clone(), reach.key.clone()) {
            (Some(url), Some(key)) => (url, key),
            (url, key) => {
                // A key is for the gateway that made it and for nobody else on the way.
                let elsewhere = url.as_ref().is_some_and(|url| !is_loopback(url));
                if elsewhere {
                    return Err(ClientError::KeyForElsewhere);
                }
                let local = local()?;
                let listens = Url::parse(&local_url(local.listen)).map_err(ClientError::Address)?;
                let path = local.data_dir.join("keys.toml");
                let key = key.or_else(|| first_key(&path)).ok_or(ClientError::NoKey(path))?;
                (url.unwrap_or(listens), key)
            }
        };
        let builder = Client::builder().timeout(TIMEOUT).redirect(reqwest::redirect::Policy::none()).no_proxy();
        let builder = match tls::client_config() {
            Some(tls) => builder.tls_backend_preconfigured(tls),
            // Plain http still works.
            None => builder.tls_certs_only([]),
        };
        let http = builder.build().map_err(ClientError::Lost)?;
        Ok(Self { http, base, key })
    }

    /// A message.
    pub async fn message(&self, id: &str) -> Result<Value, ClientError> {
        self.ask(self.http.get(self.url(&["v1", "messages", id]))).await
    }

    /// The timeline of a message, oldest first.
    pub async fn events(&self, id: &str) -> Result<Vec<Value>, ClientError> {
        self.pages(&self.url(&["v1", "messages", id, "events"]), &[], usize::MAX).await
    }

    /// The newest messages that fit.
    pub async fn list(&self, filters: &[(&str, String)], limit: usize) -> Result<Vec<Value>, ClientError> {
        self.pages(&self.url(&["v1", "messages"]), filters, limit).await
    }

    async fn pages(&self, url: &Url, filters: &[(&str, String)], limit: usize) -> Result<Vec<Value>, ClientError> {
        let (mut found, mut cursor) = (Vec::new(), None);
        loop {
            let mut query = filters.to_vec();
            query.push(("limit", (limit - found.len()).min(LONGEST_PAGE).to_string()));
            query.extend(cursor.map(|cursor| ("cursor", cursor)));
            let mut page = self.ask(self.http.get(url.clone()).query(&query)).await?;
            if let Value::Array(data) = page["data"].take() {
                found.extend(data);
            }
            cursor = page["next_cursor"].as_str().map(str::to_owned);
            if cursor.is_none() || found.len() >= limit {
                return Ok(found);
            }
        }
    }

    /// Posts, and again while the answer is lost or the gateway is away for a moment: the key makes one message of it.
    pub async fn post(&self, path: &[&str], body: &Value, key: &str) -> Result<Value, ClientError> {
        let mut tries = 1;
        loop {
            let request = self.http.post(self.url(path)).header("idempotency-key", key).json(body);
            match self.ask(request).await {
                // Where nobody listens, nobody will in a moment.
                Err(error) if tries < TRIES && error.may_pass() && !error.is_unreachable() => {
                    tries += 1;
                    sleep(error.retry_after().unwrap_or(PAUSE).min(LONGEST_PAUSE)).await;
                }
                done => return done,
            }
        }
    }

    /// The address of a path, whose parts may be anything that a person types.
    fn url(&self, path: &[&str]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        url
    }

    async fn ask(&self, request: RequestBuilder) -> Result<Value, ClientError> {
        let answer = request.bearer_auth(self.key.expose_secret()).send().await.map_err(|source| {
            if source.is_connect() || source.is_builder() {
                ClientError::Unreachable { url: self.base.to_string(), source }
            } else {
                ClientError::Lost(source)
            }
        })?;
        let (status, url) = (answer.status(), answer.url().to_string());
        let wait = answer.headers().get(RETRY_AFTER).and_then(|wait| wait.to_str().ok()?.parse().ok());
        let body = answer.bytes().await.map_err(ClientError::Lost)?;
        if status.is_success()
            && let Ok(body) = serde_json::from_slice::<Value>(&body)
            && (body["data"].is_array() || !text(&body["id"]).is_empty())
        {
            return Ok(body);
        }
        match serde_json::from_slice::<Problem>(&body) {
            Ok(mut problem) => {
                problem.retry_after = wait.map(Duration::from_secs);
                Err(ClientError::Refused(Box::new(problem)))
            }
            Err(_) => Err(ClientError::Foreign { url, status: status.as_u16() }),
        }
    }
}

/// The key of the app `demo`, which a gateway without a configuration makes at its first start.
fn first_key(path: &Path) -> Option<SecretString> {
    let keys: toml::Table = fs::read_to_string(path).ok()?.parse().ok()?;
    keys.get("demo")?.as_str().map(SecretString::from)
}
