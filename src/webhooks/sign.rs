//! Signing by Standard Webhooks 1.0.0 (<https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>).

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::Sha256;

/// What the configuration writes before the base64 of a secret.
const PREFIX: &str = "whsec_";

/// The value of `webhook-signature`: one signature for each secret. None without a secret.
pub fn signature(secrets: &[SecretString], id: &str, timestamp: i64, body: &[u8]) -> Option<String> {
    let signed: Vec<String> =
        secrets.iter().filter_map(|secret| sign(secret.expose_secret(), id, timestamp, body)).collect();
    (!signed.is_empty()).then(|| signed.join(" "))
}

fn sign(secret: &str, id: &str, timestamp: i64, body: &[u8]) -> Option<String> {
    let key = STANDARD.decode(secret.strip_prefix(PREFIX)?).ok()?;
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).ok()?;
    mac.update(format!("{id}.{timestamp}.").as_bytes());
    mac.update(body);
    Some(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vector of the specification's own libraries.
    #[test]
    fn the_known_vector_holds_and_each_secret_has_its_own() {
        let secret = SecretString::from("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD");
        let (id, timestamp) = ("msg_27UH4WbU6Z5A5EzD8u03UvzRbpk", 1_649_367_553);
        let body = br#"{"email":"test@example.com","username":"test_user"}"#;
        let known = "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=";
        assert_eq!(signature(std::slice::from_ref(&secret), id, timestamp, body).as_deref(), Some(known));
        let other = SecretString::from("whsec_AAAA");
        let both = signature(&[other, secret], id, timestamp, body).unwrap();
        assert_eq!(both.split(' ').collect::<Vec<_>>()[1], known);
        assert_eq!(signature(&[], id, 0, body), None);
    }
}
