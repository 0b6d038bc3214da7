//! The signature of the platform's common headers, in both directions; written apart from the driver's.

use axum::http::{HeaderMap, HeaderValue};
use md5::Md5;
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};

use super::super::options::NxcloudAccount;
use crate::domain::Timestamp;

/// The documented bound on the clock difference.
const MAX_SKEW_MS: i64 = 60_000;

/// The headers that are signed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Signed<'a> {
    pub access_key: &'a str,
    pub action: &'a str,
    pub biz_type: &'a str,
    pub ts: &'a str,
}

/// With which hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    Md5,
    Sha256,
}

/// Checks the headers of a send call.
pub(super) fn verify(
    account: &NxcloudAccount,
    headers: &HeaderMap,
    body: &[u8],
    now: Timestamp,
) -> Result<(), &'static str> {
    let header = |name| {
        let value: Option<&str> = headers.get(name).and_then(|value| value.to_str().ok());
        value.filter(|value| !value.is_empty()).ok_or("1001")
    };
    let signed = Signed {
        access_key: header("accesskey")?,
        action: header("action")?,
        biz_type: header("biztype")?,
        ts: header("ts")?,
    };
    let sign = header("sign")?;
    if signed.biz_type != "4" || signed.action != "mtsend" {
        return Err("1002");
    }
    if signed.access_key != account.access_key {
        return Err("1005");
    }
    let content_type = header("content-type").map_err(|_| "1003")?;
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/json") {
        return Err("1003");
    }
    let ts: i64 = signed.ts.parse().ok().filter(|_| signed.ts.len() == 13).ok_or("1004")?;
    if (now.timestamp_millis() - ts).abs() > MAX_SKEW_MS {
        return Err("1004");
    }
    let algorithm = match headers.get("algorithm").map(HeaderValue::as_bytes) {
        Some(b"sha256") if account.knows_algorithm => Algorithm::Sha256,
        Some(b"md5") | None => Algorithm::Md5,
        Some(_) if account.knows_algorithm => return Err("1003"),
        Some(_) => Algorithm::Md5,
    };
    let expected = compute(signed, body, account.access_secret.expose_secret(), algorithm);
    if sign == expected { Ok(()) } else { Err("1003") }
}

/// The signature over the headers and a JSON body.
pub(super) fn compute(signed: Signed<'_>, body: &[u8], secret: &str, algorithm: Algorithm) -> String {
    let Signed { access_key, action, biz_type, ts } = signed;
    let mut raw = format!("accessKey={access_key}&action={action}&bizType={biz_type}&ts={ts}").into_bytes();
    if !body.is_empty() {
        raw.extend_from_slice(b"&body=");
        raw.extend_from_slice(body);
    }
    raw.extend_from_slice(b"&accessSecret=");
    raw.extend_from_slice(secret.as_bytes());
    match algorithm {
        Algorithm::Md5 => hex::encode(Md5::digest(&raw)),
        Algorithm::Sha256 => hex::encode(Sha256::digest(&raw)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_examples_come_out() {
        let examples = [
            (
                r#"{"name":"牛小信","id":10001}"#,
                "87c3560d3331ae23f1021e2025722354",
                "e0eec2c99ef80f269a82795e2223f618ebfc0616c8b6c8c7d438021ec38ad0eb",
            ),
            (
                r#"{"id":10001,"name":"牛小信"}"#,
                "7750759da06333f20d0640be09355e34",
                "d04863619d46121592cdb312ec0a91c148a1f5daea64930ad0e1fb31a04dc808",
            ),
            (
                r#"{"id": 10001, "name": "牛小信"}"#,
                "d0c24a9886c629330d7f3f2056c65bc2",
                "feaa901c8a317a0f5e488dd7d9ae046742afa0d0a70f415817c835873efa4cb7",
            ),
        ];
        let signed = Signed { access_key: "fme2na3kdi3ki", action: "send", biz_type: "1", ts: "1655710885431" };
        for (body, md5, sha256) in examples {
            assert_eq!(compute(signed, body.as_bytes(), "abciiiko2k3", Algorithm::Md5), md5);
            assert_eq!(compute(signed, body.as_bytes(), "abciiiko2k3", Algorithm::Sha256), sha256);
        }
    }
}
