//! The last part of a callback address: the provider's token, or the reference of one call with its MAC.

use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

use crate::secrets::Secrets;

/// What a good token names.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Named {
    /// The provider, and nothing more.
    Provider,
    /// One call, which the address authenticates.
    Call(String),
}

/// None for a token that is not this provider's. All tokens are compared, and each in constant time.
pub(crate) fn check(provider: &str, token: &str, configured: &[SecretString], secrets: &Secrets) -> Option<Named> {
    let fits = configured
        .iter()
        .fold(false, |found, own| bool::from(own.expose_secret().as_bytes().ct_eq(token.as_bytes())) | found);
    if fits {
        return Some(Named::Provider);
    }
    let (reference, mac) = token.rsplit_once('.')?;
    secrets.verify_callback_mac(&format!("{provider}/{reference}"), mac).then(|| Named::Call(reference.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets() -> Secrets {
        let key = SecretString::from("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
        Secrets::load(&[key], std::path::Path::new("unused"), &mut rand::rng()).unwrap()
    }

    #[test]
    fn a_configured_token_names_the_provider_and_a_signed_reference_its_call() {
        let (secrets, configured) = (secrets(), ["old".into(), "new".into()]);
        assert_eq!(check("huawei", "new", &configured, &secrets), Some(Named::Provider));
        let signed = format!("call_1.{}", secrets.callback_mac("huawei/call_1"));
        assert_eq!(check("huawei", &signed, &[], &secrets), Some(Named::Call("call_1".to_owned())));
    }

    #[test]
    fn any_other_token_names_nothing() {
        let secrets = secrets();
        let others = format!("call_1.{}", secrets.callback_mac("other/call_1"));
        let foreign = format!("call_2.{}", secrets.callback_mac("huawei/call_1"));
        for token in ["", "other", "call_1.", "call_1", ".", foreign.as_str(), others.as_str()] {
            assert_eq!(check("huawei", token, &["own".into()], &secrets), None, "{token}");
        }
    }
}
