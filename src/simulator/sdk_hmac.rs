//! SDK-HMAC-SHA256, seen from the platform: checks signed calls, and signs the pushes of applications with push keys.
//!
//! Written apart from the driver's signing on purpose. Two implementations that agree, and agree with the published
//! examples, show more than one that is used twice.

use axum::http::HeaderMap;
use chrono::NaiveDateTime;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use crate::domain::Timestamp;

const ALGORITHM: &str = "SDK-HMAC-SHA256";
const DATE_FORMAT: &str = "%Y%m%dT%H%M%SZ";
/// The documented bound on the clock difference.
const MAX_SKEW_SECONDS: i64 = 15 * 60;
const UNSIGNED_PAYLOAD: &str = "UNSIGNED-PAYLOAD";

/// A request as it came off the wire.
#[derive(Debug, Clone, Copy)]
pub(super) struct Received<'a> {
    pub method: &'a str,
    pub path: &'a str,
    pub query: &'a str,
    pub headers: &'a HeaderMap,
    pub body: &'a [u8],
}

/// Why a signature is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refused {
    /// The headers are not those of a signed request.
    Malformed(&'static str),
    /// Nobody has this access key.
    UnknownKey,
    /// The date is too far from now.
    Expired,
    /// Another signature was expected; with the canonical request as the platform sees it.
    Mismatch(String),
}

/// Whether the `Authorization` header belongs to this scheme.
pub(super) fn is_signed(authorization: &str) -> bool {
    authorization.trim_start().starts_with(ALGORITHM)
}

/// Checks the signature of a request.
pub(super) fn verify<'k>(
    request: Received<'_>,
    now: Timestamp,
    secret_of: impl FnOnce(&str) -> Option<&'k str>,
) -> Result<(), Refused> {
    let authorization = Authorization::read(header(request.headers, "authorization").unwrap_or_default())?;
    let secret = secret_of(authorization.access).ok_or(Refused::UnknownKey)?;
    let date = header(request.headers, "x-sdk-date").ok_or(Refused::Malformed("X-Sdk-Date is missing"))?;
    check_date(date, now)?;
    let names = signed_names(authorization.signed_headers)?;
    let signed = names
        .iter()
        .map(|&name| header(request.headers, name).map(|value| (name, value)))
        .collect::<Option<Vec<_>>>()
        .ok_or(Refused::Malformed("a header in SignedHeaders was not sent"))?;
    let body_hash = body_hash(request, &names)?;
    let canonical = canonical_request(request.method, request.path, request.query, &signed, &body_hash);
    if signature(secret, date, &canonical) == authorization.signature {
        Ok(())
    } else {
        Err(Refused::Mismatch(canonical))
    }
}

/// The `Authorization` header and the date to send with a request of ours.
pub(super) fn sign(
    access: &str,
    secret: &str,
    now: Timestamp,
    path: &str,
    query: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> (String, String) {
    let date = now.format(DATE_FORMAT).to_string();
    let mut signed: Vec<(&str, &str)> = headers.to_vec();
    signed.push(("x-sdk-date", &date));
    signed.sort_unstable();
    let canonical = canonical_request("POST", path, query, &signed, &hex::encode(Sha256::digest(body)));
    let names: Vec<&str> = signed.iter().map(|(name, _)| *name).collect();
    let signature = signature(secret, &date, &canonical);
    // The platform's own pushes separate the three without a space.
    (format!("{ALGORITHM} Access={access},SignedHeaders={},Signature={signature}", names.join(";")), date)
}

struct Authorization<'a> {
    access: &'a str,
    signed_headers: &'a str,
    signature: &'a str,
}

impl<'a> Authorization<'a> {
    fn read(header: &'a str) -> Result<Self, Refused> {
        let malformed = || Refused::Malformed("Authorization is not SDK-HMAC-SHA256 Access, SignedHeaders, Signature");
        let rest = header.trim().strip_prefix(ALGORITHM).ok_or_else(malformed)?;
        if !rest.starts_with(char::is_whitespace) {
            return Err(malformed());
        }
        let mut fields = rest.trim_start().splitn(3, ',').map(|field| field.strip_prefix(' ').unwrap_or(field));
        let mut field = |name| fields.next().and_then(|field| field.strip_prefix(name)).ok_or_else(malformed);
        let read = Self {
            access: field("Access=")?,
            signed_headers: field("SignedHeaders=")?,
            signature: field("Signature=")?,
        };
        let is_word = !read.signature.is_empty() && read.signature.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if is_word { Ok(read) } else { Err(malformed()) }
    }
}

fn check_date(date: &str, now: Timestamp) -> Result<(), Refused> {
    let parsed = NaiveDateTime::parse_from_str(date, DATE_FORMAT)
        .ok()
        .filter(|_| date.len() == 16)
        .ok_or(Refused::Malformed("X-Sdk-Date is not yyyyMMdd'T'HHmmss'Z'"))?;
    if (now - parsed.and_utc()).abs().num_seconds() > MAX_SKEW_SECONDS { Err(Refused::Expired) } else { Ok(()) }
}

fn signed_names(list: &str) -> Result<Vec<&str>, Refused> {
    let names: Vec<&str> = list.split(';').collect();
    let lower_case = names.iter().all(|name| !name.is_empty() && !name.bytes().any(|byte| byte.is_ascii_uppercase()));
    if !lower_case || !names.is_sorted() {
        return Err(Refused::Malformed("SignedHeaders are not sorted names in lower case"));
    }
    if !names.contains(&"x-sdk-date") {
        return Err(Refused::Malformed("X-Sdk-Date is not signed"));
    }
    Ok(names)
}

/// The body's hash, or what `X-Sdk-Content-Sha256` puts in its place.
fn body_hash(request: Received<'_>, signed: &[&str]) -> Result<String, Refused> {
    let actual = hex::encode(Sha256::digest(request.body));
    match header(request.headers, "x-sdk-content-sha256") {
        None => Ok(actual),
        Some(given) if given == actual => Ok(actual),
        Some(UNSIGNED_PAYLOAD) if signed.contains(&"x-sdk-content-sha256") => Ok(UNSIGNED_PAYLOAD.to_owned()),
        Some(_) => Err(Refused::Malformed("X-Sdk-Content-Sha256 is not the hash of the body")),
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim)
}

fn canonical_request(method: &str, path: &str, query: &str, headers: &[(&str, &str)], body_hash: &str) -> String {
    let mut canonical = format!("{method}\n{}\n{}\n", canonical_path(path), canonical_query(query));
    for (name, value) in headers {
        canonical.push_str(name);
        canonical.push(':');
        canonical.push_str(value.trim());
        canonical.push('\n');
    }
    canonical.push('\n');
    let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
    canonical.push_str(&names.join(";"));
    canonical.push('\n');
    canonical.push_str(body_hash);
    canonical
}

fn canonical_path(path: &str) -> String {
    let mut canonical = path.split('/').map(|segment| encode(&decode(segment))).collect::<Vec<_>>().join("/");
    if !canonical.ends_with('/') {
        canonical.push('/');
    }
    canonical
}

fn canonical_query(query: &str) -> String {
    let mut pairs: Vec<(Vec<u8>, Vec<u8>)> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (decode(name), decode(value)))
        .collect();
    pairs.sort();
    let encoded: Vec<String> =
        pairs.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
    encoded.join("&")
}

fn encode(bytes: &[u8]) -> String {
    let mut encoded = String::with_capacity(bytes.len());
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push('%');
            encoded.push_str(&hex::encode_upper([byte]));
        }
    }
    encoded
}

fn decode(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escaped = (bytes[at] == b'%').then(|| bytes.get(at + 1..at + 3)).flatten();
        if let Some(byte) = escaped.and_then(|digits| hex::decode(digits).ok()) {
            decoded.extend(byte);
            at += 3;
        } else {
            decoded.push(bytes[at]);
            at += 1;
        }
    }
    decoded
}

#[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
fn signature(secret: &str, date: &str, canonical: &str) -> String {
    let to_sign = format!("{ALGORITHM}\n{date}\n{}", hex::encode(Sha256::digest(canonical)));
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any key length");
    mac.update(to_sign.as_bytes());
    hex::encode(mac.finalize().into_bytes())
}

#[cfg(test)]
pub(super) mod tests;
