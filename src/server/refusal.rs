//! The HTTP library answers what it cannot read by itself, without a body. Here such an answer gets the body that all others have.
//!
//! It is told by its form: it is one whole head that announces no body and lacks the request id that every answer of the router
//! carries. An answer that is not recognised goes out as it is.

use std::{fmt, sync::Arc};

/// The longest that such an answer is; a head of ours without a body is longer.
const LONGEST: usize = 256;
const NO_BODY: &str = "content-length: 0\r\n";

/// What is said to somebody who does not speak HTTP, given the status that fits.
#[derive(Clone)]
pub struct Refusals(Arc<dyn Fn(u16) -> Refusal + Send + Sync>);

/// One such answer.
#[derive(Debug)]
pub struct Refusal {
    /// For `X-Request-Id`.
    pub request_id: String,
    /// `application/problem+json`.
    pub problem: Vec<u8>,
}

impl Refusals {
    /// What makes them.
    pub fn new(make: impl Fn(u16) -> Refusal + Send + Sync + 'static) -> Self {
        Self(Arc::new(make))
    }

    /// The whole answer that goes out instead of these bytes, if they are a refusal without a body.
    pub(super) fn instead_of(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        if bytes.len() > LONGEST || !bytes.starts_with(b"HTTP/1.1 4") {
            return None;
        }
        let head = std::str::from_utf8(bytes).ok().filter(|head| head.find("\r\n\r\n") == Some(head.len() - 4))?;
        if head.contains("x-request-id: ") {
            return None;
        }
        let (before, after) = head.split_once(NO_BODY)?;
        let status = head.get(9..12)?.parse().ok()?;
        let Refusal { request_id, problem } = (self.0)(status);
        let fields = format!(
            "content-type: application/problem+json\r\nx-request-id: {request_id}\r\ncontent-length: {}\r\n",
            problem.len()
        );
        Some([before.as_bytes(), fields.as_bytes(), after.as_bytes(), &problem].concat())
    }
}

impl fmt::Debug for Refusals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Refusals")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_head_without_a_body_and_a_request_id_is_replaced() {
        let refusals = Refusals::new(|status| Refusal {
            request_id: "req_1".to_owned(),
            problem: status.to_string().into_bytes(),
        });
        let bare = "HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\ndate: x\r\n\r\n";
        let replaced = String::from_utf8(refusals.instead_of(bare.as_bytes()).unwrap()).unwrap();
        assert!(replaced.ends_with("x-request-id: req_1\r\ncontent-length: 3\r\ndate: x\r\n\r\n431"), "{replaced}");
        for other in [
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nx-request-id: req_2\r\n\r\n",
            "HTTP/1.1 404 Not Found\r\ncontent-length: 3\r\n\r\nabc",
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 4",
            "",
        ] {
            assert!(refusals.instead_of(other.as_bytes()).is_none(), "{other:?}");
        }
    }
}
