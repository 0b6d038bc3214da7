//! The driver's own part of a provider's configuration, read once and checked.

use secrecy::SecretString;
use url::Url;

use super::{
    sign::{KeyPair, WsseDigest},
    wire::Region,
};
use crate::settings::{SettingsProblem, SettingsReader};

/// `[providers.NAME]` of this driver, without the keys common to all providers.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The application access address.
    pub base_url: Url,
    /// `app_key` and `app_secret`.
    pub app: KeyPair,
    /// How calls are signed.
    pub auth: Auth,
    /// Which rules for numbers hold.
    pub region: Region,
    /// Where reports are sent.
    pub reports: ReportAddress,
    /// Keys that sign pushes; empty: pushes are not signed.
    pub push_keys: Vec<KeyPair>,
    /// The management API, where it is configured.
    pub management: Option<Management>,
}

/// How a call proves who makes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Auth {
    /// `SDK-HMAC-SHA256` over the whole request.
    AkSk,
    /// X-WSSE: a digest of a nonce, the time and the secret.
    Wsse(WsseDigest),
}

/// Where reports are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReportAddress {
    /// To the `statusCallback` of each call, one by one.
    Call,
    /// To the address set for the application at Huawei, in batches.
    Application,
}

/// `[providers.NAME.management]`
#[derive(Debug, Clone)]
pub struct Management {
    /// Of the management API.
    pub endpoint: Url,
    /// Where tokens come from.
    pub iam_endpoint: Url,
    /// The account.
    pub domain: String,
    /// The user of that account.
    pub username: String,
    /// The user's password.
    pub password: SecretString,
    /// The project's name, which is the region's.
    pub project: String,
    /// The project's id, which is part of every path.
    pub project_id: String,
}

impl Settings {
    /// Reads and checks the table.
    pub fn read(table: toml::Table) -> Result<Self, Vec<SettingsProblem>> {
        let mut reader = SettingsReader::new(table);
        let settings = Self {
            base_url: reader.required_url("base_url"),
            app: key_pair(&mut reader, "app_key", "app_secret"),
            auth: auth(&mut reader),
            region: match reader.choice("region", &["intl", "cn"], "intl") {
                "cn" => Region::Mainland,
                _ => Region::International,
            },
            reports: match reader.choice("reports", &["callback", "application"], "callback") {
                "application" => ReportAddress::Application,
                _ => ReportAddress::Call,
            },
            push_keys: reader.tables("push_keys", |entry| key_pair(entry, "access_key", "secret")),
            management: reader.table("management", management),
        };
        reader.finish()?;
        Ok(settings)
    }
}

fn auth(reader: &mut SettingsReader) -> Auth {
    let digest = match reader.choice("wsse_digest", &["hex", "raw"], "hex") {
        "raw" => WsseDigest::Raw,
        _ => WsseDigest::Hex,
    };
    match reader.choice("auth", &["aksk", "wsse"], "aksk") {
        "wsse" => Auth::Wsse(digest),
        _ => Auth::AkSk,
    }
}

/// The public part stands in headers between commas and quotes, so it may hold neither.
fn key_pair(reader: &mut SettingsReader, access_key: &str, secret: &str) -> KeyPair {
    let pair = KeyPair { access_key: reader.required_string(access_key), secret: reader.required_secret(secret) };
    if pair.access_key.contains(|c: char| !c.is_ascii_graphic() || matches!(c, ',' | '"')) {
        reader.problem(access_key, "must be letters, digits and signs, without blanks, commas or quotes");
    }
    pair
}

fn management(reader: &mut SettingsReader) -> Management {
    Management {
        endpoint: reader.required_url("endpoint"),
        iam_endpoint: reader.required_url("iam_endpoint"),
        domain: reader.required_string("domain"),
        username: reader.required_string("username"),
        password: reader.required_secret("password"),
        project: reader.required_string("project"),
        project_id: reader.required_string("project_id"),
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    const LEAST: &str = "base_url = 'https://sms.example.com:443'\napp_key = 'key'\napp_secret = 'secret'\n";

    #[test]
    fn the_least_that_is_needed_has_sensible_defaults() {
        let settings = Settings::read(LEAST.parse().unwrap()).unwrap();
        assert_eq!((settings.auth, settings.region), (Auth::AkSk, Region::International));
        assert_eq!((settings.reports, settings.push_keys.len()), (ReportAddress::Call, 0));
        assert!(settings.management.is_none());
    }

    #[test]
    fn everything_that_can_be_set_is_read() {
        let text = format!(
            "{LEAST}auth = 'wsse'\nwsse_digest = 'raw'\nregion = 'cn'\nreports = 'application'\n\
             push_keys = [{{ access_key = 'old', secret = 'a' }}, {{ access_key = 'new', secret = 'b' }}]\n[management]\n\
             endpoint = 'https://m.example.com'\niam_endpoint = 'https://iam.example.com'\ndomain = 'd'\n\
             username = 'u'\npassword = 'p'\nproject = 'ap-southeast-1'\nproject_id = '845a'\n"
        );
        let settings = Settings::read(text.parse().unwrap()).unwrap();
        assert_eq!((settings.auth, settings.region), (Auth::Wsse(WsseDigest::Raw), Region::Mainland));
        assert_eq!(settings.reports, ReportAddress::Application);
        let keys: Vec<_> =
            settings.push_keys.iter().map(|key| (&*key.access_key, key.secret.expose_secret())).collect();
        assert_eq!(keys, [("old", "a"), ("new", "b")]);
        assert_eq!(settings.management.unwrap().project_id, "845a");
    }

    #[test]
    fn every_key_that_is_wrong_missing_or_unknown_is_named() {
        let text = "app_key = 'a,b'\napp_secrets = 'x'\nregion = 'eu'\npush_keys = [{ access_key = 'k' }]\n\
                    [management]\nendpoint = 'nowhere'\ntoken = 't'\n";
        let problems = Settings::read(text.parse().unwrap()).unwrap_err();
        let mut keys: Vec<_> = problems.iter().map(|problem| problem.key.as_str()).collect();
        keys.sort_unstable();
        assert_eq!(
            keys,
            [
                "app_key",
                "app_secret",
                "app_secrets",
                "base_url",
                "management.domain",
                "management.endpoint",
                "management.iam_endpoint",
                "management.password",
                "management.project",
                "management.project_id",
                "management.token",
                "management.username",
                "push_keys[0].secret",
                "region",
            ]
        );
    }
}
