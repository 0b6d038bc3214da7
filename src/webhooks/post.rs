//! The client that calls apps' webhooks. It follows no redirect, uses no proxy and repeats nothing; a name is resolved once for a
//! connection, and the connection goes to what that gave. Whether a host may be called at all is decided before.
//!
//! Neither bodies nor queries of addresses stand in what it says about a failure.

use std::{fmt, time::Duration};

use reqwest::{
    Client,
    header::{CONTENT_TYPE, DATE, HeaderMap, HeaderValue, USER_AGENT},
};
use tokio::time::timeout;
use url::Url;

use crate::{domain::Timestamp, error_chain::chain, providers::http::retry_after, tls};

/// From the first byte of the connection to the head of the answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// The head decides. Of the body so much is read, for so long, that a short one lets the connection be used again.
const MOST_OF_BODY: usize = 4 * 1024;
const BODY_WITHIN: Duration = Duration::from_secs(1);
/// Below the idle time of the usual servers and proxies.
const POOL_IDLE: Duration = Duration::from_secs(15);
/// Longest description of a failure.
const LONGEST_ERROR: usize = 200;

/// The client. Cheap to clone.
#[derive(Clone)]
pub struct Poster {
    client: Client,
    answer_within: Duration,
}

/// What a receiver answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// Not again before so long.
    pub retry_after: Option<Duration>,
}

impl fmt::Debug for Poster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Poster")
    }
}

impl Poster {
    /// A client.
    pub fn new() -> Result<Self, reqwest::Error> {
        Self::that_waits(ANSWER_WITHIN)
    }

    fn that_waits(answer_within: Duration) -> Result<Self, reqwest::Error> {
        let builder = Client::builder()
            .connect_timeout(CONNECT_WITHIN)
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
        Ok(Self { client: client.build()?, answer_within })
    }

    /// Posts JSON. An error says why there is no answer.
    pub async fn post(&self, url: &Url, headers: HeaderMap, body: Vec<u8>, now: Timestamp) -> Result<Answer, String> {
        let request = self
            .client
            .post(url.clone())
            .headers(headers)
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, concat!("sms-gateway/", env!("CARGO_PKG_VERSION")))
            .body(body);
        let mut response = match timeout(self.answer_within, request.send()).await {
            Ok(answered) => answered.map_err(told)?,
            Err(_) => return Err(format!("no answer within {} s", self.answer_within.as_secs())),
        };
        // A date is measured against the receiver's clock, and against ours if it does not tell.
        if !response.headers().contains_key(DATE)
            && let Ok(now) = HeaderValue::from_str(&now.to_rfc2822())
        {
            response.headers_mut().insert(DATE, now);
        }
        let answer = Answer { status: response.status().as_u16(), retry_after: retry_after(response.headers()) };
        let reading = async {
            let mut read = 0;
            while let Ok(Some(chunk)) = response.chunk().await {
                read += chunk.len();
                if read > MOST_OF_BODY {
                    break;
                }
            }
        };
        // What was not read by then is not waited for.
        let _ = timeout(BODY_WITHIN, reading).await;
        Ok(answer)
    }
}

fn told(error: reqwest::Error) -> String {
    let text = chain(&error.without_url());
    text.chars().take(LONGEST_ERROR).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::providers::scripted_server::{Script, Server, refused_url, reply};

    fn at_nine() -> Timestamp {
        "2026-03-01T09:00:00Z".parse().unwrap()
    }

    async fn post(script: Script) -> Result<Answer, String> {
        let server = Server::start(script).await;
        let url = format!("{}/hook?token=hunter2", server.url()).parse().unwrap();
        let poster = Poster::that_waits(Duration::from_secs(1)).unwrap();
        let answer = poster.post(&url, HeaderMap::new(), b"{}".to_vec(), at_nine()).await;
        assert_eq!(server.connections(), 1, "sent once and never again");
        answer
    }

    #[tokio::test]
    async fn the_status_and_the_wait_are_read() {
        let bytes = reply("429 Slow\r\nRetry-After: 12", b"slow down");
        let expected = Answer { status: 429, retry_after: Some(Duration::from_secs(12)) };
        assert_eq!(post(Script::ReadThenWrite(bytes)).await, Ok(expected));
    }

    #[tokio::test]
    async fn a_date_is_measured_against_our_clock_where_the_receiver_tells_none() {
        let bytes = reply("503 Busy\r\nRetry-After: Sun, 01 Mar 2026 09:00:40 GMT", b"");
        let expected = Answer { status: 503, retry_after: Some(Duration::from_secs(40)) };
        assert_eq!(post(Script::ReadThenWrite(bytes)).await, Ok(expected));
    }

    #[tokio::test]
    async fn a_receiver_that_does_not_answer_is_given_up_after_a_while() {
        for script in [Script::ReadThenHang, Script::NeverRead] {
            assert_eq!(post(script).await, Err("no answer within 1 s".to_owned()));
        }
    }

    #[tokio::test]
    async fn a_body_that_has_no_end_is_not_read_to_the_end() {
        let mut endless = b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n".to_vec();
        endless.extend(vec![b'x'; 8 * 1024 * 1024]);
        let began = Instant::now();
        assert_eq!(post(Script::ReadThenWrite(endless)).await.map(|answer| answer.status), Ok(200));
        assert!(began.elapsed() < Duration::from_secs(5));
    }

    #[tokio::test]
    async fn what_went_wrong_is_told_without_the_query() {
        let error = post(Script::ReadThenClose).await.unwrap_err();
        assert!(!error.contains("hunter2") && !error.is_empty(), "{error}");
        let refused = format!("{}?token=hunter2", refused_url().await).parse().unwrap();
        let error = Poster::new().unwrap().post(&refused, HeaderMap::new(), Vec::new(), at_nine()).await.unwrap_err();
        assert!(!error.contains("hunter2") && error.contains("refused"), "{error}");
    }
}
