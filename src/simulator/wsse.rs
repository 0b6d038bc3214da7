//! X-WSSE, seen from the platform: each piece that is missing or wrong has its own code.

use axum::http::HeaderMap;
use base64::{Engine, prelude::BASE64_STANDARD};
use chrono::NaiveDateTime;
use sha2::{Digest, Sha256};

use crate::domain::Timestamp;

/// The documented bound on the clock difference.
const MAX_SKEW_SECONDS: i64 = 24 * 60 * 60;

/// A token that fits; its nonce must not have been seen before.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Token<'a> {
    pub nonce: &'a str,
}

/// Checks both headers, in the order in which the codes are documented.
pub(super) fn verify<'a, 'k>(
    headers: &'a HeaderMap,
    now: Timestamp,
    secret_of: impl FnOnce(&str) -> Option<&'k str>,
) -> Result<Token<'a>, &'static str> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    check_authorization(text("authorization").unwrap_or_default())?;
    let token = text("x-wsse").ok_or("E000020")?;
    let token = token.strip_prefix("UsernameToken").ok_or("E000026")?;
    let username = attribute(token, "Username").ok_or("E000021")?;
    let nonce = attribute(token, "Nonce").ok_or("E000022")?;
    let created = attribute(token, "Created").ok_or("E000023")?;
    let digest = attribute(token, "PasswordDigest").ok_or("E000024")?;
    let created_at = read_created(created).ok_or("E000025")?;
    let secret = secret_of(username).ok_or("E000102")?;
    if !(1..=128).contains(&nonce.len()) || !nonce.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err("E000101");
    }
    if (now - created_at).abs().num_seconds() > MAX_SKEW_SECONDS {
        return Err("E000110");
    }
    if !digests(nonce, created, secret).iter().any(|expected| expected == digest) {
        return Err("E000105");
    }
    Ok(Token { nonce })
}

fn check_authorization(authorization: &str) -> Result<(), &'static str> {
    let attributes = authorization.strip_prefix("WSSE").ok_or("E000008")?;
    let realm = attribute(attributes, "realm").ok_or("E000002")?;
    let profile = attribute(attributes, "profile").ok_or("E000003")?;
    let kind = attribute(attributes, "type").ok_or("E000007")?;
    match (realm, profile, kind) {
        ("SDP", "UsernameToken", "Appkey") => Ok(()),
        ("SDP", "UsernameToken", _) => Err("E000006"),
        ("SDP", _, _) => Err("E000005"),
        (_, _, _) => Err("E000004"),
    }
}

/// The value of `name="value"` in a list with commas.
fn attribute<'a>(list: &'a str, name: &str) -> Option<&'a str> {
    list.split(',').find_map(|pair| {
        let (key, value) = pair.trim().split_once('=')?;
        let value = value.trim().strip_prefix('"')?.strip_suffix('"')?;
        (key.trim() == name).then_some(value)
    })
}

fn read_created(created: &str) -> Option<Timestamp> {
    let parsed = NaiveDateTime::parse_from_str(created, "%Y-%m-%dT%H:%M:%SZ").ok()?;
    (created.len() == 20).then(|| parsed.and_utc())
}

/// Both encodings that are in use: Base64 of the digest's hexadecimal text, and of its bytes.
fn digests(nonce: &str, created: &str, secret: &str) -> [String; 2] {
    let hash = Sha256::digest(format!("{nonce}{created}{secret}"));
    [BASE64_STANDARD.encode(hex::encode(hash)), BASE64_STANDARD.encode(hash)]
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "c8RWg3ggEcyd4D3p94bf3Y7x1Ile";
    const AUTHORIZATION: &str = r#"WSSE realm="SDP",profile="UsernameToken",type="Appkey""#;
    const HEX_DIGEST: &str = "NmZjODg4MzRkZDkxY2I4ODcyZjhmMGUwODIxMzY2YTMxY2FlNzRmZDNlNDFhYmExOWJhNTg5MWE1NGJjYTY0MA==";

    fn token(digest: &str) -> String {
        format!(
            r#"UsernameToken Username="{KEY}",PasswordDigest="{digest}",Nonce="66C92B11FF8A425FB8D4CCFE0ED9ED1F",Created="2018-02-12T15:30:20Z""#
        )
    }

    fn check(authorization: &str, token: Option<&str>, now: &str) -> Result<(), &'static str> {
        let mut headers = HeaderMap::new();
        headers.insert("authorization", authorization.parse().unwrap());
        if let Some(token) = token {
            headers.insert("x-wsse", token.parse().unwrap());
        }
        let secret = |key: &str| (key == KEY).then_some("q4Ii87BhExampleSecret80SfD7Al");
        verify(&headers, now.parse().unwrap(), secret).map(|_| ())
    }

    const NOON: &str = "2018-02-12T16:00:00Z";

    #[test]
    fn both_encodings_of_the_digest_are_taken() {
        for digest in [HEX_DIGEST, "b8iINN2Ry4hy+PDgghNmoxyudP0+Qauhm6WJGlS8pkA="] {
            assert_eq!(check(AUTHORIZATION, Some(&token(digest)), NOON), Ok(()));
        }
        let symbols = digests("abcDEF123", "2025-06-30T12:00:00Z", "pa+ss w=ord/&%\"'");
        assert_eq!(symbols[1], "JmMP30GT2KiFk33TrbfLZXkK26rHY+wluVjAWse6Sa0=");
    }

    #[test]
    fn every_fault_of_the_authorization_header_has_its_code() {
        let cases = [
            (r#"Basic realm="SDP",profile="UsernameToken",type="Appkey""#, "E000008"),
            (r#"WSSE profile="UsernameToken",type="Appkey""#, "E000002"),
            (r#"WSSE realm="SDP",type="Appkey""#, "E000003"),
            (r#"WSSE realm="SDP",profile="UsernameToken""#, "E000007"),
            (r#"WSSE realm="X",profile="UsernameToken",type="Appkey""#, "E000004"),
            (r#"WSSE realm="SDP",profile="X",type="Appkey""#, "E000005"),
            (r#"WSSE realm="SDP",profile="UsernameToken",type="X""#, "E000006"),
        ];
        for (authorization, code) in cases {
            assert_eq!(check(authorization, Some(&token(HEX_DIGEST)), NOON), Err(code), "{authorization}");
        }
    }

    #[test]
    fn every_fault_of_the_token_has_its_code() {
        let good = token(HEX_DIGEST);
        assert_eq!(check(AUTHORIZATION, None, NOON), Err("E000020"));
        let cases = [
            ("UsernameToken", "Token", "E000026"),
            ("Username=", "User=", "E000021"),
            ("Nonce=", "Once=", "E000022"),
            ("Created=", "Made=", "E000023"),
            ("PasswordDigest=", "Digest=", "E000024"),
            ("2018-02-12T15:30:20Z", "2018-02-12T15:30:20.123Z", "E000025"),
            ("2018-02-12T15:30:20Z", "2018-02-12 15:30:20", "E000025"),
            (KEY, "nobody", "E000102"),
            ("66C92B11", "66C9-2B11", "E000101"),
            ("NmZj", "NmZk", "E000105"),
        ];
        for (from, to, code) in cases {
            let spoiled = good.replacen(from, to, 1);
            assert_eq!(check(AUTHORIZATION, Some(&spoiled), NOON), Err(code), "{from} -> {to}");
        }
    }

    #[test]
    fn a_token_lives_a_day_either_way() {
        let good = token(HEX_DIGEST);
        for (now, expected) in [
            ("2018-02-13T15:30:20Z", Ok(())),
            ("2018-02-13T15:30:21Z", Err("E000110")),
            ("2018-02-11T15:30:20Z", Ok(())),
            ("2018-02-11T15:30:19Z", Err("E000110")),
        ] {
            assert_eq!(check(AUTHORIZATION, Some(&good), now), expected, "{now}");
        }
    }
}
