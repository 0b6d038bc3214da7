//! The HTTP client that drivers use, and the one place that decides what a transport failure means.
//!
//! Not connected: certainly not sent. Anything that goes wrong after that, up to the last byte of the answer: the outcome is
//! unknown. It never repeats a request, follows no redirect and uses no proxy, so that one call of a driver is one request on
//! the wire. What a body says is the driver's to read.

use std::{
    cell::Cell,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use chrono::TimeDelta;
use reqwest::{
    Client, Method, RequestBuilder, Response,
    header::{DATE, HeaderMap, RETRY_AFTER},
};

use super::{
    SettingsProblem,
    codes::{Stage, shared},
    error::ProviderError,
};
use crate::{clock::Clock, domain::Timestamp, tls};

/// No provider's answer comes near it; more than that is no answer of theirs.
const MAX_ANSWER_BYTES: usize = 1024 * 1024;
/// Below the idle time of the usual proxies: a connection that they are about to close would turn a send into an unknown one.
const POOL_IDLE: Duration = Duration::from_secs(15);
const LONGEST_CONNECT: Duration = Duration::from_secs(5);
/// A wait that a server may ask for; more is taken as this.
const LONGEST_RETRY_AFTER: Duration = Duration::from_hours(24);

/// A client for one provider.
#[derive(Clone)]
pub struct Http {
    client: Client,
    clock: Clock,
    /// How far the server's clock is ahead by its last answer, in milliseconds.
    skew: Arc<AtomicI64>,
}

tokio::task_local! {
    /// Something may have been written to the provider in this call.
    static WRITTEN: Cell<bool>;
}

/// Makes a driver's call, and says beside what came of it whether anything may have been written to the provider: after a panic
/// nothing else tells. A driver that sends past [`Http::send`] is not seen.
pub async fn watched<F: Future>(call: F) -> (F::Output, bool) {
    WRITTEN.scope(Cell::new(false), async { (call.await, WRITTEN.with(Cell::get)) }).await
}

/// No answer has said what time it is there.
const NO_SKEW: i64 = i64::MIN;

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Http")
    }
}

/// A whole answer, whatever its status.
#[derive(Clone)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// All headers.
    pub headers: HeaderMap,
    /// The very bytes.
    pub body: Bytes,
    /// The server's clock, where it says so.
    pub date: Option<Timestamp>,
    /// Not again before so long, where the server says so.
    pub retry_after: Option<Duration>,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").field("status", &self.status).field("bytes", &self.body.len()).finish_non_exhaustive()
    }
}

impl Answer {
    /// Is the status 2xx?
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// An answer that is longer than any provider's.
#[derive(Debug, thiserror::Error)]
#[error("the answer is longer than {MAX_ANSWER_BYTES} bytes")]
struct TooLong;

impl Http {
    /// A client whose calls may take so long, from the first byte of the connection to the last of the answer.
    pub fn new(timeout: Duration, clock: Clock) -> Result<Self, reqwest::Error> {
        // Connecting must give up before the whole call does: only then is it known that nothing was written.
        let connect = LONGEST_CONNECT.min(timeout / 2);
        let builder = Client::builder()
            .timeout(timeout)
            .connect_timeout(connect)
            .pool_idle_timeout(POOL_IDLE)
            .retry(reqwest::retry::never())
            .redirect(reqwest::redirect::Policy::none())
            .http1_only()
            .no_proxy();
        let client = match tls::client_config() {
            Some(tls) => builder.tls_backend_preconfigured(tls),
            // Plain http still works.
            None => builder.tls_certs_only([]),
        };
        let client = client.build()?;
        Ok(Self { client, clock, skew: Arc::new(AtomicI64::new(NO_SKEW)) })
    }

    /// Begins a POST.
    pub fn post(&self, url: &str) -> RequestBuilder {
        self.client.post(url)
    }

    /// Begins a request of any method.
    pub fn request(&self, method: Method, url: &str) -> RequestBuilder {
        self.client.request(method, url)
    }

    /// How far the server's clock is ahead of ours, to about a second, by its last answer.
    pub fn clock_skew(&self) -> Option<TimeDelta> {
        let skew = self.skew.load(Ordering::Relaxed);
        if skew == NO_SKEW { None } else { TimeDelta::try_milliseconds(skew) }
    }

    /// Sends it and reads the whole answer.
    pub async fn send(&self, request: RequestBuilder) -> Result<Answer, ProviderError> {
        // An error says that nobody watches, as with a balance.
        let _ = WRITTEN.try_with(|written| written.set(true));
        let mut response = request.send().await.map_err(transport_error)?;
        // With the head in hand: the body may take its time.
        if let Some(date) = header_text(response.headers(), &DATE).and_then(http_date) {
            self.skew.store((date - self.clock.now()).num_milliseconds(), Ordering::Relaxed);
        }
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(transport_error)? {
            if body.len() + chunk.len() > MAX_ANSWER_BYTES {
                return Err(ProviderError::outcome_unknown(TooLong));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(answer(&response, body.freeze()))
    }
}

/// A client that could not be made, as a problem of a driver's settings.
pub fn client_problem(error: reqwest::Error) -> Vec<SettingsProblem> {
    vec![SettingsProblem { key: "base_url".into(), problem: format!("cannot be called: {}", error.without_url()) }]
}

/// What an HTTP status means when the body says nothing better.
pub fn status_error(answer: &Answer) -> ProviderError {
    let row = match (answer.status, answer.retry_after) {
        (200..300, _) => "unparseable_2xx",
        (300..400, _) => "http_3xx",
        (401, _) => "http_401",
        (403, _) => "http_403",
        (404, _) => "http_404",
        (429, _) => "http_429",
        (..200 | 400..500, _) => "http_4xx_other",
        (503, Some(_)) => "http_503",
        (500.., _) => "http_5xx_other",
    };
    ProviderError::refused(shared(Stage::SendResponse, row), format!("http_{}", answer.status))
        .with_retry_after(answer.retry_after)
}

fn transport_error(error: reqwest::Error) -> ProviderError {
    // The address is the operator's own, but a query in it may hold a key.
    let error = error.without_url();
    if error.is_builder() {
        // A header or address that cannot be written: no try will ever do better, so this is not the same as not connected.
        return ProviderError::refused(shared(Stage::SendResponse, "http_404"), "request_not_built").with_source(error);
    }
    if error.is_connect() { ProviderError::not_connected(error) } else { ProviderError::outcome_unknown(error) }
}

fn answer(response: &Response, body: Bytes) -> Answer {
    let headers = response.headers().clone();
    let date = header_text(&headers, &DATE).and_then(http_date);
    let retry_after = retry_after(&headers);
    Answer { status: response.status().as_u16(), headers, body, date, retry_after }
}

/// Not again before so long, where the server says so, in seconds or as a date.
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let date = header_text(headers, &DATE).and_then(http_date);
    header_text(headers, &RETRY_AFTER).and_then(|text| wait(text, date))
}

fn header_text<'a>(headers: &'a HeaderMap, name: &reqwest::header::HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn http_date(text: &str) -> Option<Timestamp> {
    chrono::DateTime::parse_from_rfc2822(text.trim()).ok().map(|date| date.to_utc())
}

/// Seconds, or a date, which is measured against the server's own clock.
fn wait(text: &str, date: Option<Timestamp>) -> Option<Duration> {
    let wait = match text.trim().parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => (http_date(text)? - date?).to_std().unwrap_or_default(),
    };
    Some(wait.min(LONGEST_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::error_code::ErrorCode,
        providers::{
            ProviderErrorKind,
            scripted_server::{Script, Server, refused_url, reply},
        },
    };

    async fn send(url: &str) -> Result<Answer, ProviderError> {
        // Long, so that a busy machine is not taken for a server that hangs.
        send_within(url, 20).await
    }

    async fn send_within(url: &str, seconds: u64) -> Result<Answer, ProviderError> {
        let http = Http::new(Duration::from_secs(seconds), Clock::system()).unwrap();
        http.send(http.post(url).body("{}")).await
    }

    #[tokio::test]
    async fn a_port_that_refuses_means_that_nothing_was_sent() {
        let error = send(&refused_url().await).await.unwrap_err();
        assert_eq!(error.kind, ProviderErrorKind::NotConnected);
        assert_eq!(error.verdict.error, Some(ErrorCode::ProviderUnavailable));
        assert!(error.verdict.retry_here);
    }

    #[tokio::test]
    async fn a_failed_tls_handshake_means_that_nothing_was_sent() {
        for (script, seconds) in [
            (Script::ReadThenWrite(b"plain text".to_vec()), 20),
            (Script::ReadThenClose, 20),
            (Script::ReadThenHang, 1),
        ] {
            let server = Server::start(script).await;
            let error = send_within(&format!("https://{}/", server.address), seconds).await.unwrap_err();
            assert_eq!(error.kind, ProviderErrorKind::NotConnected, "{error:?}");
        }
    }

    #[tokio::test]
    async fn whatever_breaks_after_the_connection_leaves_the_outcome_unknown() {
        let mut endless = reply("200 OK", &vec![b'x'; MAX_ANSWER_BYTES + 1]);
        let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel".to_vec();
        let half = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf".to_vec();
        for (name, script) in [
            ("closed before reading", Script::CloseAtOnce),
            ("closed after reading", Script::ReadThenClose),
            ("no answer", Script::ReadThenHang),
            ("never read", Script::NeverRead),
            ("half a body", Script::ReadThenWrite(half)),
            ("half a chunk", Script::ReadThenWrite(chunked)),
            ("no HTTP", Script::ReadThenWrite(b"\x00\x01 garbage \r\n\r\n".to_vec())),
            ("too long", Script::ReadThenWrite(std::mem::take(&mut endless))),
        ] {
            let seconds = if matches!(script, Script::ReadThenHang | Script::NeverRead) { 1 } else { 20 };
            let server = Server::start(script).await;
            let error = send_within(&server.url(), seconds).await.unwrap_err();
            assert_eq!(error.kind, ProviderErrorKind::OutcomeUnknown, "{name}: {error:?}");
            assert_eq!(error.verdict.error, Some(ErrorCode::SubmissionUnconfirmed), "{name}");
            assert!(!error.verdict.retry_here, "{name}");
            assert_eq!(server.connections(), 1, "{name}: sent once and never again");
        }
    }

    #[tokio::test]
    async fn an_answer_of_the_largest_size_is_whole() {
        let server = Server::start(Script::ReadThenWrite(reply("200 OK", &vec![b'x'; MAX_ANSWER_BYTES]))).await;
        let answer = send(&server.url()).await.unwrap();
        assert_eq!((answer.status, answer.body.len()), (200, MAX_ANSWER_BYTES));
    }

    #[tokio::test]
    async fn a_redirect_is_an_answer_and_not_followed() {
        let server = Server::start(Script::ReadThenWrite(reply("302 Found\r\nLocation: /elsewhere", b""))).await;
        let answer = send(&server.url()).await.unwrap();
        assert_eq!(status_error(&answer).verdict.error, Some(ErrorCode::ProviderMisconfigured));
        assert_eq!(server.connections(), 1);
    }

    #[tokio::test]
    async fn each_status_has_its_row() {
        use ErrorCode::{
            ProviderAccessDenied, ProviderAuthFailed, ProviderMisconfigured, ProviderRateLimited, ProviderRejected,
            ProviderUnavailable, SubmissionUnconfirmed,
        };
        use ProviderErrorKind::{OutcomeUnknown, Refused};
        for (head, kind, error, retry_here) in [
            ("200 OK", OutcomeUnknown, SubmissionUnconfirmed, false),
            ("301 Moved", Refused, ProviderMisconfigured, false),
            ("400 Bad", Refused, ProviderRejected, false),
            ("401 Who", Refused, ProviderAuthFailed, false),
            ("403 No", Refused, ProviderAccessDenied, false),
            ("404 Where", Refused, ProviderMisconfigured, false),
            ("429 Slow", Refused, ProviderRateLimited, true),
            ("500 Ouch", OutcomeUnknown, SubmissionUnconfirmed, false),
            ("503 Busy", OutcomeUnknown, SubmissionUnconfirmed, false),
            ("503 Busy\r\nRetry-After: 7", Refused, ProviderUnavailable, true),
            ("504 Late", OutcomeUnknown, SubmissionUnconfirmed, false),
        ] {
            let server = Server::answering(head, "no").await;
            let answer = send(&server.url()).await.unwrap();
            let found = status_error(&answer);
            assert_eq!((found.kind, found.verdict.error), (kind, Some(error)), "{head}");
            assert_eq!(found.verdict.retry_here, retry_here, "{head}");
            assert_eq!(found.provider_code, Some(format!("http_{}", &head[..3])), "{head}");
        }
    }

    #[tokio::test]
    async fn the_servers_clock_and_wait_are_read() {
        let date = "Date: Sun, 06 Nov 1994 08:49:37 GMT";
        for (head, wait) in [
            (format!("429 Slow\r\n{date}\r\nRetry-After: 12"), Some(12)),
            (format!("429 Slow\r\n{date}\r\nRetry-After: Sun, 06 Nov 1994 08:50:07 GMT"), Some(30)),
            (format!("429 Slow\r\n{date}\r\nRetry-After: Sun, 06 Nov 1994 08:00:00 GMT"), Some(0)),
            (format!("429 Slow\r\n{date}\r\nRetry-After: 99999999999"), Some(86_400)),
            (format!("429 Slow\r\n{date}\r\nRetry-After: soon"), None),
            (format!("429 Slow\r\n{date}"), None),
        ] {
            let server = Server::answering(&head, "").await;
            let answer = send(&server.url()).await.unwrap();
            assert_eq!(answer.retry_after, wait.map(Duration::from_secs), "{head}");
            assert_eq!(answer.date.unwrap().to_rfc3339(), "1994-11-06T08:49:37+00:00");
        }
    }

    #[tokio::test]
    async fn a_request_that_cannot_be_written_is_not_tried_for_ever() {
        let http = Http::new(Duration::from_secs(1), Clock::system()).unwrap();
        let error = http.send(http.post("http://127.0.0.1:9/").header("key", "two\nlines")).await.unwrap_err();
        assert_eq!(error.kind, ProviderErrorKind::Refused);
        assert_eq!(error.verdict.error, Some(ErrorCode::ProviderMisconfigured));
        assert!(!error.verdict.retry_here);
    }

    #[tokio::test]
    async fn an_error_shows_neither_the_query_nor_the_body() {
        let server = Server::start(Script::ReadThenClose).await;
        let error = send(&format!("http://{}/?key=hunter2", server.address)).await.unwrap_err();
        assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    }
}
