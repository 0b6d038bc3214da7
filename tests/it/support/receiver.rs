//! An app's webhook: it verifies what comes with the public library of Standard Webhooks, keeps it, and answers as it is told.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, Response, Uri},
};
use serde_json::Value;
use sms_gateway::clock::Clock;
use standardwebhooks::Webhook;

use super::gateway::string;

/// What the shop's webhooks are signed with.
pub const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLw==";
/// Another one.
pub const OTHER_SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

/// One call of a webhook.
#[derive(Debug, Clone)]
pub struct Call {
    pub id: String,
    pub timestamp: i64,
    pub signature: String,
    pub path: String,
    pub body: Value,
    pub raw: String,
    /// When it came, by the test's own clock.
    pub at: Instant,
}

impl Call {
    /// What it tells.
    pub fn kind(&self) -> &str {
        string(&self.body["type"])
    }

    /// The message that it is about.
    pub fn message(&self) -> &Value {
        &self.body["data"]["message"]
    }

    /// Would the public library take it?
    pub fn is_signed_with(&self, secret: &str) -> bool {
        let webhook = Webhook::new(secret).unwrap();
        let now = Clock::system().now().timestamp();
        if (now - self.timestamp).abs() < 200 {
            let mut headers = HeaderMap::new();
            for (name, value) in [
                ("webhook-id", &self.id),
                ("webhook-timestamp", &self.timestamp.to_string()),
                ("webhook-signature", &self.signature),
            ] {
                headers.insert(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
            }
            return webhook.verify(self.raw.as_bytes(), &headers).is_ok();
        }
        // The test has put the clock forward, which the library's own knows nothing of.
        let signed = webhook.sign(&self.id, self.timestamp, self.raw.as_bytes()).unwrap();
        self.signature.split(' ').any(|one| one == signed)
    }
}

/// An answer to be given.
#[derive(Debug, Clone, Default)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub delay: Duration,
}

impl Reply {
    pub fn status(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }
}

type Behaviour = Box<dyn Fn(&Call) -> Reply + Send>;

struct Inner {
    calls: Vec<Call>,
    behaviour: Behaviour,
}

/// A running receiver; it ends with its test.
pub struct Receiver {
    pub address: SocketAddr,
    inner: Arc<Mutex<Inner>>,
    task: tokio::task::JoinHandle<()>,
}

impl Receiver {
    /// One that takes everything.
    pub async fn start() -> Self {
        Self::start_at((Ipv4Addr::LOCALHOST, 0).into()).await
    }

    /// The same at an address where nobody listened before.
    pub async fn start_at(address: SocketAddr) -> Self {
        let listener = tokio::net::TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let inner = Arc::new(Mutex::new(Inner { calls: Vec::new(), behaviour: Box::new(|_| Reply::status(204)) }));
        let router = Router::new().fallback(take).with_state(inner.clone());
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, inner, task }
    }

    /// Answers like this from now on.
    pub fn answer(&self, behaviour: impl Fn(&Call) -> Reply + Send + 'static) {
        self.inner().behaviour = Box::new(behaviour);
    }

    /// The calls so far.
    pub fn calls(&self) -> Vec<Call> {
        self.inner().calls.clone()
    }

    /// Waits until there were so many calls.
    pub async fn until_calls(&self, count: usize) -> Vec<Call> {
        let until = Instant::now() + Duration::from_secs(15);
        loop {
            let calls = self.calls();
            if calls.len() >= count {
                return calls;
            }
            assert!(Instant::now() < until, "{} calls instead of {count}", calls.len());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// An app's webhook here, with one secret.
    pub fn configured(&self) -> String {
        configured(self.address)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }
}

/// An app's webhook at an address, with one secret.
pub fn configured(address: SocketAddr) -> String {
    format!(
        "\nwebhook_url = \"http://{address}/hook\"\nwebhook_secret = \"{SECRET}\"\ncallback_hosts = [\"127.0.0.1\"]\n"
    )
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn take(State(inner): State<Arc<Mutex<Inner>>>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response<Body> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let raw = String::from_utf8(body.to_vec()).unwrap();
    let call = Call {
        id: text("webhook-id"),
        timestamp: text("webhook-timestamp").parse().unwrap_or_default(),
        signature: text("webhook-signature"),
        path: uri.to_string(),
        body: serde_json::from_str(&raw).unwrap_or_default(),
        raw,
        at: Instant::now(),
    };
    let reply = {
        let mut inner = inner.lock().unwrap();
        let reply = (inner.behaviour)(&call);
        inner.calls.push(call);
        reply
    };
    tokio::time::sleep(reply.delay).await;
    let mut response = Response::builder().status(reply.status);
    for (name, value) in reply.headers {
        response = response.header(name, value);
    }
    response.body(Body::empty()).unwrap()
}
