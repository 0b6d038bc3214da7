//! `NxCloud`'s signature, of our calls and of its pushes.
//!
//! The text that is hashed: `accessKey=…&action=…&bizType=…&ts=…`, then `&body=` and the very bytes of a body that is not empty,
//! then `&accessSecret=…`. A plain MD5 or SHA-256 of it in lower-case hex, no HMAC. Nothing is encoded, trimmed or sorted anew:
//! one space more in the body is another signature.
//!
//! <https://github.com/nxtele/http-api-document-en/wiki/API-auth-basics>

use md5::Md5;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// The hash, as the `algorithm` header names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    Md5,
    Sha256,
}

impl Algorithm {
    /// As the header and the configuration write it.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Md5 => "md5",
            Self::Sha256 => "sha256",
        }
    }
}

/// The signed headers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Headers<'a> {
    pub(super) access_key: &'a str,
    pub(super) action: &'a str,
    pub(super) biz_type: &'a str,
    /// Milliseconds since 1970 as text.
    pub(super) ts: &'a str,
}

/// The `sign` header for these headers and this body.
pub(super) fn sign(algorithm: Algorithm, headers: Headers<'_>, body: &[u8], secret: &SecretString) -> String {
    let digest = match algorithm {
        Algorithm::Md5 => digest::<Md5>(headers, body, secret),
        Algorithm::Sha256 => digest::<Sha256>(headers, body, secret),
    };
    hex::encode(digest)
}

/// Is this their signature? No document says which hash a push is signed with, so its length decides.
pub(super) fn verify(signature: &str, headers: Headers<'_>, body: &[u8], secret: &SecretString) -> bool {
    let Ok(given) = hex::decode(signature.trim()) else { return false };
    let expected = match given.len() {
        16 => digest::<Md5>(headers, body, secret),
        32 => digest::<Sha256>(headers, body, secret),
        _ => return false,
    };
    given.ct_eq(&expected).into()
}

fn digest<D: Digest>(headers: Headers<'_>, body: &[u8], secret: &SecretString) -> Vec<u8> {
    let Headers { access_key, action, biz_type, ts } = headers;
    let mut hash = D::new();
    for (name, value) in [("accessKey=", access_key), ("&action=", action), ("&bizType=", biz_type), ("&ts=", ts)] {
        hash.update(name);
        hash.update(value);
    }
    // Whatever the Content-Type says: a push whose body the signature leaves out could carry anybody's content.
    if !body.is_empty() {
        hash.update("&body=");
        hash.update(body);
    }
    hash.update("&accessSecret=");
    hash.update(secret.expose_secret());
    hash.finalize().to_vec()
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Vector {
        access_key: String,
        secret: String,
        action: String,
        biz_type: String,
        ts: String,
        body: String,
        md5: String,
        sha256: String,
    }

    fn vectors() -> Vec<Vector> {
        serde_json::from_str(include_str!("fixtures/vectors.json")).unwrap()
    }

    fn headers(vector: &Vector) -> Headers<'_> {
        Headers { access_key: &vector.access_key, action: &vector.action, biz_type: &vector.biz_type, ts: &vector.ts }
    }

    #[test]
    fn the_published_examples_hold() {
        assert_eq!(vectors().len(), 3);
        for vector in vectors() {
            let secret = vector.secret.clone().into();
            let made = |algorithm| sign(algorithm, headers(&vector), vector.body.as_bytes(), &secret);
            assert_eq!(made(Algorithm::Md5), vector.md5);
            assert_eq!(made(Algorithm::Sha256), vector.sha256);
        }
    }

    #[test]
    fn either_hash_is_recognised_and_any_change_refused() {
        let vector = vectors().remove(0);
        let secret: SecretString = vector.secret.clone().into();
        let body = vector.body.as_bytes();
        let good = headers(&vector);
        for signature in [&vector.md5, &vector.sha256, &vector.md5.to_uppercase()] {
            assert!(verify(signature, good, body, &secret), "{signature}");
            assert!(!verify(signature, good, &body[1..], &secret));
            assert!(!verify(signature, good, b"", &secret));
            assert!(!verify(signature, good, body, &"another".into()));
            for other in [
                Headers { access_key: "x", ..good },
                Headers { action: "mo", ..good },
                Headers { biz_type: "4", ..good },
                Headers { ts: "1655710885432", ..good },
            ] {
                assert!(!verify(signature, other, body, &secret));
            }
        }
        for nonsense in ["", "no hex", &vector.md5[..30], "00"] {
            assert!(!verify(nonsense, good, body, &secret), "{nonsense}");
        }
    }

    #[test]
    fn an_empty_body_is_left_out_and_an_empty_object_is_not() {
        let vector = vectors().remove(0);
        let secret: SecretString = "s".into();
        let made = |body: &[u8]| sign(Algorithm::Md5, headers(&vector), body, &secret);
        assert_eq!(made(b""), "b6bd07ce445fda3c30c5ffe55ef41b52");
        assert_eq!(made(b"{}"), "31b387bcffb140f3901272b074885c9c");
    }
}
