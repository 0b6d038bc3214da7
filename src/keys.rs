//! API keys: made from 256 random bits, kept only as hashes, and looked up without telling how close a guess was.
//!
//! A key says what it is (`sgw_live_…`, `sgw_test_…`) so that one found in a log can be recognised. What a key may do is decided
//! elsewhere; here it only gets the name of its app.

use std::{collections::BTreeMap, fmt, io, path::Path};

use rand::CryptoRng;
use secrecy::{ExposeSecret, SecretString};
use subtle::{ConditionallySelectable, ConstantTimeEq};

use crate::{
    config::{App, KeyHash, Role},
    private_file::{self, Origin},
};

const LIVE: &str = "sgw_live_";
const TEST: &str = "sgw_test_";

/// Makes a new key: a live one, or one whose messages never leave the gateway.
pub fn generate(test: bool, rng: &mut impl CryptoRng) -> SecretString {
    let mut bits = [0_u8; 32];
    rng.fill_bytes(&mut bits);
    format!("{}{}", if test { TEST } else { LIVE }, hex::encode(bits)).into()
}

/// Whose key it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The app's name in the configuration.
    pub app: String,
    /// What the key may do.
    pub role: Role,
    /// Do its messages stay in the sandbox?
    pub test: bool,
}

/// All keys of all apps.
#[derive(Debug, Clone, Default)]
pub struct KeyRing {
    entries: Vec<(KeyHash, Identity)>,
}

impl KeyRing {
    /// The keys of these apps.
    pub fn new(apps: &BTreeMap<String, App>) -> Self {
        let entries = apps.iter().flat_map(|(name, app)| {
            let live = app.keys.iter().map(|hash| (*hash, false));
            let test = app.test_keys.iter().map(|hash| (*hash, true));
            live.chain(test).map(|(hash, test)| (hash, Identity { app: name.clone(), role: app.role, test }))
        });
        Self { entries: entries.collect() }
    }

    /// Whose key this is. Takes the same time whichever key it is like.
    pub fn lookup(&self, key: &str) -> Option<&Identity> {
        let presented = KeyHash::of(key);
        let mut found = u64::MAX;
        for (index, (hash, _)) in (0_u64..).zip(&self.entries) {
            found.conditional_assign(&index, hash.0.ct_eq(&presented.0));
        }
        self.entries.get(usize::try_from(found).ok()?).map(|(_, identity)| identity)
    }
}

/// The keys that the gateway made for itself because no apps were configured.
#[derive(Debug, Clone)]
pub struct FirstKeys {
    /// The key of the app `demo`.
    pub demo: SecretString,
    /// The key of the operator `operator`.
    pub operator: SecretString,
    /// Were they made just now?
    pub origin: Origin,
}

impl FirstKeys {
    /// Lets the two apps of the first start in with these keys.
    pub fn admit(&self, apps: &mut BTreeMap<String, App>) {
        for (name, key) in [("demo", &self.demo), ("operator", &self.operator)] {
            if let Some(app) = apps.get_mut(name) {
                app.keys = vec![KeyHash::of(key.expose_secret())];
            }
        }
    }
}

/// Reads `keys.toml` in the folder, or makes it (mode 0600) with two new keys.
pub fn first_start_keys(data_dir: &Path, rng: &mut impl CryptoRng) -> io::Result<FirstKeys> {
    let path = data_dir.join("keys.toml");
    let (text, origin) = private_file::read_or_make(&path, || {
        let (demo, operator) = (generate(false, rng), generate(false, rng));
        format!("demo = \"{}\"\noperator = \"{}\"\n", demo.expose_secret(), operator.expose_secret())
    })?;
    let keys: toml::Table = text.parse().map_err(|_| unreadable(&path, "is not TOML"))?;
    let key = |name: &'static str| match keys.get(name).and_then(toml::Value::as_str) {
        Some(key) if key.starts_with(LIVE) => Ok(SecretString::from(key)),
        Some(_) | None => Err(unreadable(&path, format!("has no key for {name}"))),
    };
    Ok(FirstKeys { demo: key("demo")?, operator: key("operator")?, origin })
}

// The cause is left out on purpose: a TOML error quotes the line, and the line is a key.
fn unreadable(path: &Path, problem: impl fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{} {problem}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, os::unix::fs::PermissionsExt};

    use rand::{SeedableRng, rngs::StdRng};

    use super::*;
    use crate::private_file::tests::Folder;

    fn rng() -> StdRng {
        StdRng::seed_from_u64(7)
    }

    fn app(role: Role, keys: &[&str], test_keys: &[&str]) -> App {
        let hashes = |keys: &[&str]| keys.iter().map(|key| KeyHash::of(key)).collect();
        App { role, keys: hashes(keys), test_keys: hashes(test_keys), ..App::default() }
    }

    #[test]
    fn keys_say_what_they_are_and_are_never_the_same() {
        let mut rng = rng();
        let keys: BTreeSet<String> =
            (0..100).map(|index| generate(index % 2 == 0, &mut rng).expose_secret().to_owned()).collect();
        assert_eq!(keys.len(), 100);
        assert!(keys.iter().all(|key| key.len() == "sgw_live_".len() + 64));
        assert_eq!(keys.iter().filter(|key| key.starts_with("sgw_test_")).count(), 50);
    }

    #[test]
    fn a_key_leads_to_its_app_and_nothing_else_does() {
        let apps = BTreeMap::from([
            ("bank".to_owned(), app(Role::App, &["b-old", "b-new"], &["b-test"])),
            ("ops".to_owned(), app(Role::Operator, &["o"], &[])),
        ]);
        let ring = KeyRing::new(&apps);
        let identity = |app: &str, role, test| Identity { app: app.into(), role, test };
        for (key, expected) in [
            ("b-old", Some(identity("bank", Role::App, false))),
            ("b-new", Some(identity("bank", Role::App, false))),
            ("b-test", Some(identity("bank", Role::App, true))),
            ("o", Some(identity("ops", Role::Operator, false))),
            ("b-ol", None),
            ("", None),
        ] {
            assert_eq!(ring.lookup(key), expected.as_ref(), "{key}");
        }
        assert_eq!(KeyRing::default().lookup("o"), None);
    }

    #[test]
    fn first_keys_are_made_once_and_let_their_apps_in() {
        let folder = Folder::new();
        let mut rng = rng();
        let made = first_start_keys(&folder.0, &mut rng).unwrap();
        let read = first_start_keys(&folder.0, &mut rng).unwrap();
        assert_eq!((made.origin, read.origin), (Origin::Made, Origin::Found));
        assert_eq!(made.operator.expose_secret(), read.operator.expose_secret());
        let path = folder.0.join("keys.toml");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_to_string(path).unwrap().lines().count(), 2);

        let mut apps = BTreeMap::from([("demo".to_owned(), app(Role::App, &[], &[]))]);
        read.admit(&mut apps);
        assert_eq!(KeyRing::new(&apps).lookup(read.demo.expose_secret()).unwrap().app, "demo");
    }

    #[test]
    fn a_broken_file_is_named_without_its_content() {
        let folder = Folder::new();
        for text in ["demo = \"sgw_live_secret", "demo = \"sgw_live_secret\"\n", "demo = \"secret\"\noperator = \"\"\n"]
        {
            fs::write(folder.0.join("keys.toml"), text).unwrap();
            let error = first_start_keys(&folder.0, &mut rng()).unwrap_err().to_string();
            assert!(error.contains("keys.toml") && !error.contains("secret"), "{error}");
        }
    }
}
