//! Proof of who calls: AK/SK (`SDK-HMAC-SHA256`) and X-WSSE for what we send, and the check of what Huawei pushes signed.
//!
//! Pure functions over text and bytes. Whoever sends must send exactly the headers and the body that were signed here;
//! this module neither builds requests nor reads a clock.
//!
//! The algorithm: <https://support.huaweicloud.com/intl/en-us/devg-apisign/api-sign-algorithm-001.html>. Application key and
//! secret stand where other services have the account's AK and SK.

use std::fmt::Write as _;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use url::form_urlencoded;

use crate::domain::Timestamp;

const ALGORITHM: &str = "SDK-HMAC-SHA256";

/// The fixed `Authorization` value that goes with an `X-WSSE` header.
pub const WSSE_AUTHORIZATION: &str = r#"WSSE realm="SDP",profile="UsernameToken",type="Appkey""#;

/// What goes into the Base64 of a WSSE digest. The platform takes both; its documents show the first and describe the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WsseDigest {
    /// The hash as 64 lower-case hex digits.
    Hex,
    /// The 32 bytes of the hash.
    Raw,
}

/// A key and its secret: an application's, or those that sign pushes.
#[derive(Debug, Clone)]
pub struct KeyPair {
    /// The public part.
    pub access_key: String,
    /// The secret part.
    pub secret: SecretString,
}

/// The parts of a request that AK/SK signs.
#[derive(Debug, Clone, Copy)]
pub struct Signable<'a> {
    /// In capitals.
    pub method: &'a str,
    /// As it stands in the request line, percent-encoded or not.
    pub path: &'a str,
    /// As it stands in the request line, without `?`.
    pub query: &'a str,
    /// The headers to sign: names in lower case and sorted.
    pub headers: &'a [(&'a str, &'a str)],
    /// The very bytes.
    pub body: &'a [u8],
}

impl Signable<'_> {
    /// The canonical form that is hashed.
    pub fn canonical_request(&self) -> String {
        let mut text = String::with_capacity(256);
        let _ = writeln!(text, "{}\n{}\n{}", self.method, canonical_path(self.path), canonical_query(self.query));
        for (name, value) in self.headers {
            let _ = writeln!(text, "{name}:{}", value.trim());
        }
        let _ = write!(text, "\n{}\n{}", self.signed_headers(), hex::encode(Sha256::digest(self.body)));
        text
    }

    /// What the secret is applied to.
    pub fn string_to_sign(&self, date: &str) -> String {
        format!("{ALGORITHM}\n{date}\n{}", hex::encode(Sha256::digest(self.canonical_request())))
    }

    /// The `Authorization` header for this request.
    pub fn authorization(&self, key: &KeyPair, date: &str) -> String {
        let signature = hex::encode(self.mac(&key.secret, date).finalize().into_bytes());
        format!("{ALGORITHM} Access={}, SignedHeaders={}, Signature={signature}", key.access_key, self.signed_headers())
    }

    fn signed_headers(&self) -> String {
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| *name).collect();
        names.join(";")
    }

    fn mac(&self, secret: &SecretString, date: &str) -> Hmac<Sha256> {
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes()) else {
            unreachable!("an HMAC takes keys of any length")
        };
        mac.update(self.string_to_sign(date).as_bytes());
        mac
    }
}

/// An `Authorization` header of the AK/SK kind, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authorization<'a> {
    /// Which key.
    pub access_key: &'a str,
    /// Which headers are signed, in the order of the canonical form.
    pub signed_headers: Vec<&'a str>,
    signature: Vec<u8>,
}

impl<'a> Authorization<'a> {
    /// Reads the header, with or without a space after each comma.
    pub fn parse(header: &'a str) -> Option<Self> {
        let attributes = header.trim().strip_prefix(ALGORITHM)?.strip_prefix(' ')?;
        let (mut access, mut headers, mut signature) = (None, None, None);
        for attribute in attributes.split(',') {
            let (name, value) = attribute.trim().split_once('=')?;
            match name {
                "Access" => access = Some(value),
                "SignedHeaders" => headers = Some(value.split(';').collect()),
                "Signature" => signature = Some(hex::decode(value).ok()?),
                _ => return None,
            }
        }
        Some(Self { access_key: access?, signed_headers: headers?, signature: signature? })
    }

    /// Is the request signed with one of these keys? Several keys may share an access key while its secret changes.
    pub fn verify(&self, request: &Signable<'_>, date: &str, keys: &[KeyPair]) -> bool {
        keys.iter()
            .filter(|key| key.access_key == self.access_key)
            .any(|key| request.mac(&key.secret, date).verify_slice(&self.signature).is_ok())
    }
}

/// A time as `X-Sdk-Date` writes it.
pub fn sdk_date(now: Timestamp) -> String {
    now.format("%Y%m%dT%H%M%SZ").to_string()
}

/// A time as the `Created` of X-WSSE writes it: UTC, and no milliseconds.
pub fn wsse_created(now: Timestamp) -> String {
    now.format("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The `X-WSSE` header. The nonce is letters and digits only.
pub fn wsse(key: &KeyPair, nonce: &str, created: &str, digest: WsseDigest) -> String {
    let hash = Sha256::digest(format!("{nonce}{created}{}", key.secret.expose_secret()));
    let password_digest = match digest {
        WsseDigest::Hex => BASE64.encode(hex::encode(hash)),
        WsseDigest::Raw => BASE64.encode(hash),
    };
    format!(
        r#"UsernameToken Username="{}",PasswordDigest="{password_digest}",Nonce="{nonce}",Created="{created}""#,
        key.access_key
    )
}

/// Every segment encoded anew; always ends in `/`, although the request's own path need not.
fn canonical_path(path: &str) -> String {
    let mut canonical = String::with_capacity(path.len() + 8);
    for segment in path.split('/').skip(usize::from(path.starts_with('/'))) {
        canonical.push('/');
        percent_encode(&decode(segment), &mut canonical);
    }
    if !canonical.ends_with('/') {
        canonical.push('/');
    }
    canonical
}

fn canonical_query(query: &str) -> String {
    let mut pairs: Vec<_> = form_urlencoded::parse(query.as_bytes()).collect();
    pairs.sort();
    let mut canonical = String::with_capacity(query.len());
    for (name, value) in &pairs {
        if !canonical.is_empty() {
            canonical.push('&');
        }
        percent_encode(name.as_bytes(), &mut canonical);
        canonical.push('=');
        percent_encode(value.as_bytes(), &mut canonical);
    }
    canonical
}

/// RFC 3986: everything but the unreserved characters.
pub(super) fn percent_encode(bytes: &[u8], into: &mut String) {
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(byte) {
            into.push(char::from(*byte));
        } else {
            let _ = write!(into, "%{byte:02X}");
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn vectors() -> serde_json::Value {
        serde_json::from_str(include_str!("fixtures/vectors.json")).unwrap()
    }

    fn text<'a>(vector: &'a serde_json::Value, name: &str) -> &'a str {
        vector[name].as_str().unwrap_or_else(|| panic!("{name} is missing"))
    }

    fn pair(access_key: &str, secret: &str) -> KeyPair {
        KeyPair { access_key: access_key.into(), secret: secret.into() }
    }

    fn headers(vector: &serde_json::Value) -> Vec<(&str, &str)> {
        let list = vector["headers"].as_array().unwrap();
        list.iter().map(|header| (header[0].as_str().unwrap(), header[1].as_str().unwrap())).collect()
    }

    #[test]
    fn every_published_request_gets_its_published_signature_and_verifies() {
        let vectors = vectors();
        let aksk = vectors["aksk"].as_array().unwrap();
        assert_eq!(aksk.len(), 6);
        for vector in aksk {
            let headers = headers(vector);
            let request = Signable {
                method: text(vector, "method"),
                path: text(vector, "path"),
                query: text(vector, "query"),
                headers: &headers,
                body: text(vector, "body").as_bytes(),
            };
            let key = pair(text(vector, "access_key"), text(vector, "secret"));
            let date = text(vector, "date");
            assert_eq!(request.canonical_request(), text(vector, "canonical_request"), "{vector}");
            let signed = request.string_to_sign(date);
            assert_eq!(signed.rsplit('\n').next().unwrap(), text(vector, "canonical_hash"), "{vector}");
            let header = request.authorization(&key, date);
            assert!(header.ends_with(&format!(", Signature={}", text(vector, "signature"))), "{header}");
            assert!(Authorization::parse(&header).unwrap().verify(&request, date, &[key]));
        }
    }

    #[test]
    fn every_wsse_digest_comes_out_in_both_encodings() {
        let vectors = vectors();
        let wsse_vectors = vectors["wsse"].as_array().unwrap();
        assert_eq!(wsse_vectors.len(), 2);
        for vector in wsse_vectors {
            let key = pair(text(vector, "app_key"), text(vector, "app_secret"));
            for (digest, expected) in [(WsseDigest::Hex, "digest_hex"), (WsseDigest::Raw, "digest_raw")] {
                let (nonce, created) = (text(vector, "nonce"), text(vector, "created"));
                assert_eq!(
                    wsse(&key, nonce, created, digest),
                    format!(
                        r#"UsernameToken Username="{}",PasswordDigest="{}",Nonce="{nonce}",Created="{created}""#,
                        key.access_key,
                        text(vector, expected)
                    )
                );
            }
        }
    }

    #[test]
    fn times_are_utc_and_without_milliseconds() {
        let time = Timestamp::from_timestamp_millis(1_735_603_199_987).unwrap();
        // The last day of a year: a week-based year would already say 2025.
        assert_eq!(sdk_date(time), "20241230T235959Z");
        assert_eq!(wsse_created(time), "2024-12-30T23:59:59Z");
    }

    #[test]
    fn paths_end_in_a_slash_and_are_encoded_once() {
        for (path, canonical) in [
            ("", "/"),
            ("/", "/"),
            ("/sms/batchSendSms/v1", "/sms/batchSendSms/v1/"),
            ("/sms/batchSendSms/v1/", "/sms/batchSendSms/v1/"),
            ("/a b/%20", "/a%20b/%20/"),
            ("/~-_.!/%e4%bd%a0", "/~-_.%21/%E4%BD%A0/"),
            ("/100%/%zz", "/100%25/%25zz/"),
        ] {
            assert_eq!(canonical_path(path), canonical, "{path}");
        }
    }

    #[test]
    fn queries_are_sorted_by_name_then_value_and_keep_empty_values() {
        for (query, canonical) in [
            ("", ""),
            ("b=2&a=1", "a=1&b=2"),
            ("a=2&a=1", "a=1&a=2"),
            ("b=1&B=1", "B=1&b=1"),
            ("flag&x=", "flag=&x="),
            ("q=a%20b&p=%2b", "p=%2B&q=a%20b"),
        ] {
            assert_eq!(canonical_query(query), canonical, "{query}");
        }
    }

    #[test]
    fn an_authorization_header_is_read_with_and_without_spaces() {
        for header in [
            "SDK-HMAC-SHA256 Access=ak, SignedHeaders=host;x-sdk-date, Signature=00ff",
            "SDK-HMAC-SHA256 Access=ak,SignedHeaders=host;x-sdk-date,Signature=00FF",
        ] {
            let parsed = Authorization::parse(header).unwrap();
            assert_eq!((parsed.access_key, parsed.signature.as_slice()), ("ak", [0x00, 0xff].as_slice()));
            assert_eq!(parsed.signed_headers, ["host", "x-sdk-date"]);
        }
        for header in [
            "",
            "SDK-HMAC-SHA256",
            "SDK-HMAC-SHA256 Access=ak, SignedHeaders=host",
            "SDK-HMAC-SHA256 Access=ak, SignedHeaders=host, Signature=xyz",
            "SDK-HMAC-SHA512 Access=ak, SignedHeaders=host, Signature=00",
        ] {
            assert_eq!(Authorization::parse(header), None, "{header}");
        }
    }

    #[test]
    fn no_secret_shows_in_debug_output() {
        assert!(!format!("{:?}", pair("ak", "tell-nobody")).contains("tell-nobody"));
    }
}
