//! The root secret, and the keys for each use that are derived from it with HKDF-SHA256.
//!
//! While rotating there are several root secrets: the first one makes, all of them open and verify. The list comes from the
//! configuration, else from `secret.key` in the data folder, which is made at first start.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use chacha20poly1305::{
    XChaCha20Poly1305, XNonce,
    aead::{Aead, Payload},
};
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use rand::Rng;
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;
use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroizing;

use crate::private_file;

const ROOT_BYTES: usize = 32;
const NONCE_BYTES: usize = 24;
const MAC_BYTES: usize = 16;

/// The root secret cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    /// The file cannot be read or made.
    #[error("{} can be neither read nor made", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A text that is not 32 bytes in base64.
    #[error("{origin} is not 32 bytes in base64")]
    Malformed {
        /// Where it stands.
        origin: String,
    },
}

/// Sealed content that does not open: it was changed, belongs elsewhere, or its root secret is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("sealed content does not open with any of the root secrets")]
pub struct DoesNotOpen;

/// The derived keys. Debug shows how many root secrets there are and nothing of them.
#[derive(Clone)]
pub struct Secrets {
    current: Derived,
    earlier: Vec<Derived>,
}

#[derive(Clone)]
struct Derived {
    /// Tells at a glance which root secret sealed something; two may share it, so it is a hint only.
    id: u8,
    content: XChaCha20Poly1305,
    callback: Hmac<Sha256>,
    fingerprint: Hmac<Sha256>,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secrets").field("root_secrets", &self.all().count()).finish()
    }
}

/// Are these 32 bytes in base64?
pub fn is_root_secret(text: &str) -> bool {
    decode(text).is_some()
}

impl Secrets {
    /// From the configured list, or from `secret.key` in the data folder if the list is empty.
    pub fn load(
        configured: &[SecretString],
        data_dir: &Path,
        rng: &mut impl rand::CryptoRng,
    ) -> Result<Self, SecretsError> {
        let Some((first, rest)) = configured.split_first() else { return Self::from_file(data_dir, rng) };
        let derive = |(index, text): (usize, &SecretString)| {
            let malformed = || SecretsError::Malformed { origin: format!("server.secret_key[{index}]") };
            decode(text.expose_secret()).map(|root| Derived::from_root(&root)).ok_or_else(malformed)
        };
        let earlier: Result<Vec<Derived>, SecretsError> = (1..).zip(rest).map(derive).collect();
        Ok(Self { current: derive((0, first))?, earlier: earlier? })
    }

    fn from_file(data_dir: &Path, rng: &mut impl rand::CryptoRng) -> Result<Self, SecretsError> {
        let path = data_dir.join("secret.key");
        let (text, _) = private_file::read_or_make(&path, || {
            let mut root = Zeroizing::new([0_u8; ROOT_BYTES]);
            rng.fill_bytes(root.as_mut());
            format!("{}\n", STANDARD.encode(root.as_ref()))
        })
        .map_err(|source| SecretsError::File { path: path.clone(), source })?;
        let text = Zeroizing::new(text);
        let root = decode(text.trim()).ok_or_else(|| SecretsError::Malformed { origin: path.display().to_string() })?;
        Ok(Self { current: Derived::from_root(&root), earlier: Vec::new() })
    }

    fn all(&self) -> impl Iterator<Item = &Derived> {
        std::iter::once(&self.current).chain(&self.earlier)
    }

    /// Encrypts content for the database. It opens only together with the same `bound_to` (the id of its row), so that it
    /// cannot be moved to another one.
    ///
    /// The nonce is the one random value that nobody may hand in: a repeated one would give the content away.
    pub fn seal(&self, content: &[u8], bound_to: &[u8]) -> Vec<u8> {
        let mut nonce = [0_u8; NONCE_BYTES];
        rand::rng().fill_bytes(&mut nonce);
        let payload = Payload { msg: content, aad: bound_to };
        #[expect(clippy::expect_used, reason = "it fails only beyond 256 GiB")]
        let sealed = self.current.content.encrypt(XNonce::from_slice(&nonce), payload).expect("content fits");
        let mut bytes = Vec::with_capacity(1 + NONCE_BYTES + sealed.len());
        bytes.push(self.current.id);
        bytes.extend_from_slice(&nonce);
        bytes.extend_from_slice(&sealed);
        bytes
    }

    /// Decrypts what [`Secrets::seal`] made with this or an earlier root secret.
    pub fn open(&self, sealed: &[u8], bound_to: &[u8]) -> Result<Vec<u8>, DoesNotOpen> {
        let (id, rest) = sealed.split_first().ok_or(DoesNotOpen)?;
        let (nonce, content) = rest.split_at_checked(NONCE_BYTES).ok_or(DoesNotOpen)?;
        self.all()
            .filter(|derived| derived.id == *id)
            .find_map(|derived| {
                derived.content.decrypt(XNonce::from_slice(nonce), Payload { msg: content, aad: bound_to }).ok()
            })
            .ok_or(DoesNotOpen)
    }

    /// The code that goes with a call in a callback address: 32 hex digits over `PROVIDER/REFERENCE`.
    pub fn callback_mac(&self, reference: &str) -> String {
        hex::encode(&tag(&self.current.callback, reference.as_bytes())[..MAC_BYTES])
    }

    /// Does the code belong to the reference? Takes the same time whatever the code is.
    pub fn verify_callback_mac(&self, reference: &str, mac: &str) -> bool {
        let presented = mac.as_bytes();
        let matches = |derived: &Derived| {
            hex::encode(&tag(&derived.callback, reference.as_bytes())[..MAC_BYTES]).as_bytes().ct_eq(presented)
        };
        self.all().fold(Choice::from(0), |any, derived| any | matches(derived)).into()
    }

    /// The fingerprints of a normalised request by this root secret and the earlier ones, this one first. What was fingerprinted
    /// before a rotation is still known, and a short code cannot be guessed back from any of them.
    pub fn fingerprints(&self, request: &[u8]) -> Vec<[u8; 32]> {
        self.all().map(|derived| tag(&derived.fingerprint, request)).collect()
    }
}

impl Derived {
    fn from_root(root: &[u8; ROOT_BYTES]) -> Self {
        let kdf = Hkdf::<Sha256>::new(None, root);
        let content = derive(&kdf, b"sms-gateway/content/1");
        let callback = derive(&kdf, b"sms-gateway/callback-reference/1");
        let fingerprint = derive(&kdf, b"sms-gateway/request-fingerprint/1");
        Self {
            id: derive(&kdf, b"sms-gateway/key-id/1")[0],
            content: chacha20poly1305::KeyInit::new((&*content).into()),
            callback: keyed(&callback),
            fingerprint: keyed(&fingerprint),
        }
    }
}

#[expect(clippy::expect_used, reason = "32 bytes are within what one hash gives")]
fn derive(kdf: &Hkdf<Sha256>, usage: &[u8]) -> Zeroizing<[u8; 32]> {
    let mut key = Zeroizing::new([0_u8; 32]);
    kdf.expand(usage, key.as_mut()).expect("a length that HKDF allows");
    key
}

#[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
fn keyed(key: &[u8; 32]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("a key length that HMAC takes")
}

fn tag(keyed: &Hmac<Sha256>, data: &[u8]) -> [u8; 32] {
    keyed.clone().chain_update(data).finalize().into_bytes().into()
}

fn decode(text: &str) -> Option<Zeroizing<[u8; ROOT_BYTES]>> {
    let bytes = Zeroizing::new(STANDARD.decode(text).ok()?);
    Some(Zeroizing::new(bytes.as_slice().try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use rand::{SeedableRng, rngs::StdRng};

    use super::*;
    use crate::private_file::tests::Folder;

    fn secrets(roots: &[u8]) -> Secrets {
        let configured: Vec<SecretString> = roots.iter().map(|byte| STANDARD.encode([*byte; 32]).into()).collect();
        Secrets::load(&configured, Path::new("/nowhere"), &mut StdRng::seed_from_u64(1)).unwrap()
    }

    #[test]
    fn what_was_sealed_opens_again_and_does_not_show_its_content() {
        let secrets = secrets(&[1]);
        let sealed = secrets.seal(b"code 123456", b"msg_1");
        assert_eq!(secrets.open(&sealed, b"msg_1").unwrap(), b"code 123456");
        assert!(!sealed.windows(6).any(|window| window == b"123456"));
        assert_ne!(sealed, secrets.seal(b"code 123456", b"msg_1"), "a nonce is used once");
    }

    #[test]
    fn after_a_rotation_the_old_secret_still_opens_and_verifies() {
        let (old, rotated, new) = (secrets(&[1]), secrets(&[2, 1]), secrets(&[2]));
        let sealed = old.seal(b"text", b"id");
        assert_eq!(rotated.open(&sealed, b"id").unwrap(), b"text");
        assert_eq!(new.open(&sealed, b"id"), Err(DoesNotOpen));
        assert_eq!(new.open(&rotated.seal(b"text", b"id"), b"id").unwrap(), b"text", "the first one seals");

        let mac = old.callback_mac("call_1");
        assert!(rotated.verify_callback_mac("call_1", &mac));
        assert!(!new.verify_callback_mac("call_1", &mac));
        assert_eq!(new.callback_mac("call_1"), rotated.callback_mac("call_1"));

        let fingerprint = old.fingerprints(b"{}")[0];
        assert!(rotated.fingerprints(b"{}").contains(&fingerprint));
        assert!(!new.fingerprints(b"{}").contains(&fingerprint));
    }

    #[test]
    fn a_change_anywhere_keeps_content_shut() {
        let secrets = secrets(&[1]);
        let sealed = secrets.seal(b"text", b"id");
        for index in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[index] ^= 1;
            assert_eq!(secrets.open(&changed, b"id"), Err(DoesNotOpen), "byte {index}");
        }
        for length in 0..sealed.len() {
            assert_eq!(secrets.open(&sealed[..length], b"id"), Err(DoesNotOpen), "cut to {length}");
        }
        assert_eq!(secrets.open(&sealed, b"other id"), Err(DoesNotOpen));
    }

    #[test]
    fn a_callback_code_fits_one_reference_only() {
        let secrets = secrets(&[1]);
        let mac = secrets.callback_mac("call_1");
        assert_eq!(mac.len(), 32);
        assert!(secrets.verify_callback_mac("call_1", &mac));
        for (reference, mac) in
            [("call_2", mac.as_str()), ("call_1", ""), ("call_1", &mac[1..]), ("call_1", &mac.to_uppercase())]
        {
            assert!(!secrets.verify_callback_mac(reference, mac), "{reference} {mac}");
        }
    }

    #[test]
    fn each_use_has_a_key_of_its_own() {
        let secrets = secrets(&[1]);
        assert_ne!(hex::encode(&secrets.fingerprints(b"x")[0][..MAC_BYTES]), secrets.callback_mac("x"));
    }

    #[test]
    fn without_a_configured_secret_one_is_made_and_kept() {
        let folder = Folder::new();
        let mut rng = StdRng::seed_from_u64(1);
        let first = Secrets::load(&[], &folder.0, &mut rng).unwrap();
        let again = Secrets::load(&[], &folder.0, &mut rng).unwrap();
        assert_eq!(again.open(&first.seal(b"text", b""), b"").unwrap(), b"text");
        let path = folder.0.join("secret.key");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

        fs::write(&path, "c2hvcnQ=\n").unwrap();
        let error = Secrets::load(&[], &folder.0, &mut rng).unwrap_err().to_string();
        assert!(error.contains("secret.key is not 32 bytes") && !error.contains("c2hv"), "{error}");
    }

    #[test]
    fn debug_output_holds_nothing_of_the_keys() {
        assert_eq!(format!("{:?}", secrets(&[1, 2])), "Secrets { root_secrets: 2 }");
    }
}
