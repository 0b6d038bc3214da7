//! `[apps.NAME]`: the clients of the API, what they may do, and the hashes of their keys.

use std::{fmt, str::FromStr};

use base64::{Engine, engine::general_purpose::STANDARD};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use url::Url;

use super::words;
use crate::{domain::event::EventType, settings::SettingsReader};

/// `[apps.NAME]`
#[derive(Debug, Clone, Default)]
pub struct App {
    /// What its keys may do.
    pub role: Role,
    /// SHA-256 of each key.
    pub keys: Vec<KeyHash>,
    /// SHA-256 of each test key.
    pub test_keys: Vec<KeyHash>,
    /// Where its events go.
    pub webhook_url: Option<Url>,
    /// Secrets that sign them; several while rotating.
    pub webhook_secret: Vec<SecretString>,
    /// Which events; empty: all.
    pub webhook_events: Vec<EventType>,
    /// Hosts that `webhook_url` and `callback_url` may name.
    pub callback_hosts: Vec<String>,
    /// Our numbers whose inbound messages are this app's.
    pub inbound_numbers: Vec<String>,
    /// When no route matches.
    pub default_route: Option<String>,
    /// Messages a second.
    pub rate_per_second: Option<u32>,
    /// Messages a day (UTC).
    pub daily_limit: Option<u64>,
    /// Countries it may send to; none: any.
    pub countries: Option<Vec<String>>,
    /// What a request may name; none: any.
    pub routes: Option<Vec<String>>,
    /// Likewise.
    pub providers: Option<Vec<String>>,
    /// Likewise.
    pub templates: Option<Vec<String>>,
    /// Likewise.
    pub senders: Option<Vec<String>>,
    /// Segments of one message; none: the general limit.
    pub max_segments: Option<u16>,
}

/// What a key may do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Its own messages only.
    #[default]
    App,
    /// Everything.
    Operator,
    /// Reads everything, changes nothing.
    Auditor,
}

/// `sha256:` and the lower-case hex SHA-256 of a whole key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyHash(pub [u8; 32]);

/// A text that is no hash of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected sha256: and 64 lower-case hex digits")]
pub struct InvalidKeyHash;

impl KeyHash {
    /// The hash of a key.
    pub fn of(key: &str) -> Self {
        Self(Sha256::digest(key).into())
    }
}

impl FromStr for KeyHash {
    type Err = InvalidKeyHash;

    fn from_str(text: &str) -> Result<Self, InvalidKeyHash> {
        let digits = text.strip_prefix("sha256:").ok_or(InvalidKeyHash)?;
        if digits.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(InvalidKeyHash);
        }
        let mut hash = [0_u8; 32];
        hex::decode_to_slice(digits, &mut hash).map_err(|_| InvalidKeyHash)?;
        Ok(Self(hash))
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", hex::encode(self.0))
    }
}

impl Role {
    /// As the configuration and the API write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::App => "app",
            Self::Operator => "operator",
            Self::Auditor => "auditor",
        }
    }
}

impl App {
    pub(super) fn read(reader: &mut SettingsReader) -> Self {
        let roles = [Role::App, Role::Operator, Role::Auditor];
        let hash = "sha256: and 64 lower-case hex digits, as `sms-gateway key` prints it";
        let app = Self {
            role: reader.word_or("role", Role::App, &roles, Role::as_str),
            keys: reader.optional_parsed_list("keys", hash).unwrap_or_default(),
            test_keys: reader.optional_parsed_list("test_keys", hash).unwrap_or_default(),
            webhook_url: reader.optional_parsed("webhook_url", "an address that begins with http:// or https://"),
            webhook_secret: reader.secrets("webhook_secret"),
            webhook_events: reader.optional_parsed_list("webhook_events", &event_words()).unwrap_or_default(),
            callback_hosts: reader.list("callback_hosts"),
            inbound_numbers: reader.list("inbound_numbers"),
            default_route: reader.optional_string("default_route"),
            rate_per_second: reader.optional_integer("rate_per_second", 1..=1_000_000),
            daily_limit: reader.optional_integer("daily_limit", 1..=1_000_000_000_000),
            countries: words::countries(reader, "countries"),
            routes: reader.optional_list("routes"),
            providers: reader.optional_list("providers"),
            templates: reader.optional_list("templates"),
            senders: reader.optional_list("senders"),
            max_segments: reader.optional_integer("max_segments", 1..=255),
        };
        app.check_webhook(reader);
        for key in ["senders", "inbound_numbers"] {
            let entries =
                if key == "senders" { app.senders.as_deref().unwrap_or_default() } else { &app.inbound_numbers };
            words::no_repeats(reader, key, entries);
        }
        app
    }

    fn check_webhook(&self, reader: &mut SettingsReader) {
        if !self.webhook_secret.iter().all(|secret| is_webhook_secret(secret.expose_secret())) {
            reader.problem("webhook_secret", "must be whsec_ and base64, or a list of such");
        }
        for (index, host) in self.callback_hosts.iter().enumerate() {
            if host_and_port(host).is_none() {
                reader.problem(
                    &format!("callback_hosts[{index}]"),
                    "must be a host or an address, with or without :port",
                );
            }
        }
        match &self.webhook_url {
            Some(url) if !matches!(url.scheme(), "http" | "https") => {
                reader.problem("webhook_url", "must be an address that begins with http:// or https://");
            }
            Some(url) if !url.username().is_empty() || url.password().is_some() => {
                reader.problem("webhook_url", "must not carry a user");
            }
            Some(url) if !self.allows_host_of(url) => {
                reader.problem("webhook_url", "names a host that is not among callback_hosts");
            }
            Some(_) | None => {}
        }
    }

    /// May `webhook_url` or `callback_url` be this? Only the host and, where the list pins it, the port are looked at.
    pub fn allows_host_of(&self, url: &Url) -> bool {
        let (Some(host), port) = (url.host_str(), url.port_or_known_default()) else { return false };
        self.callback_hosts
            .iter()
            .filter_map(|allowed| host_and_port(allowed))
            .any(|(allowed, pinned)| allowed == host && (pinned.is_none() || pinned == port))
    }
}

/// Reads `host`, `host:port`, `1.2.3.4:port`, `[::1]:port` as an address on the web would be read.
fn host_and_port(text: &str) -> Option<(String, Option<u16>)> {
    let url = Url::parse(&format!("http://{text}")).ok()?;
    let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
    if !bare || text.contains(['/', '@', '?', '#']) {
        return None;
    }
    // The default port counts as pinned too when it is written out, which the parsed address no longer tells.
    let has_port = text.rsplit_once(':').is_some_and(|(_, port)| !port.contains(']'));
    let port = if has_port { url.port_or_known_default() } else { None };
    Some((url.host_str()?.to_owned(), port))
}

fn event_words() -> String {
    let words: Vec<&str> = EventType::ALL.iter().map(|event| event.as_str()).collect();
    format!("one of {}", words.join(", "))
}

fn is_webhook_secret(text: &str) -> bool {
    let bytes = text.strip_prefix("whsec_").and_then(|encoded| STANDARD.decode(encoded).ok());
    bytes.is_some_and(|bytes| !bytes.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_hash_reads_back_from_its_text() {
        let hash = KeyHash::of("abc");
        let text = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hash.to_string(), text);
        assert_eq!(text.parse(), Ok(hash));
        for wrong in
            ["", "sha256:", &text[7..], &text[..70], &text.to_uppercase(), &format!("{text}0"), &text.replace('b', "B")]
        {
            assert_eq!(wrong.parse::<KeyHash>(), Err(InvalidKeyHash), "{wrong}");
        }
    }

    #[test]
    fn only_listed_hosts_are_allowed_and_a_port_can_be_pinned() {
        let hosts = ["Shop.Internal", "10.0.0.1:8080", "[::1]", "web.example:80"];
        let app = App { callback_hosts: hosts.map(str::to_owned).to_vec(), ..App::default() };
        for (url, expected) in [
            ("https://shop.internal/hook", true),
            ("http://SHOP.internal:9999/hook?x=1", true),
            ("https://sub.shop.internal/", false),
            ("https://shop.internal.evil.example/", false),
            ("http://10.0.0.1:8080/", true),
            ("http://10.0.0.1/", false),
            ("http://[::1]:5000/", true),
            ("http://web.example/", true),
            ("https://web.example/", false),
        ] {
            assert_eq!(app.allows_host_of(&url.parse().unwrap()), expected, "{url}");
        }
    }

    #[test]
    fn what_is_no_host_is_told_apart() {
        for (text, expected) in [
            ("shop.internal", true),
            ("127.0.0.1:8080", true),
            ("", false),
            ("http://shop.internal", false),
            ("shop.internal/path", false),
            ("user@shop.internal", false),
            ("shop.internal:99999", false),
        ] {
            assert_eq!(host_and_port(text).is_some(), expected, "{text}");
        }
    }
}
