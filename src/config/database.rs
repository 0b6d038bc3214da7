//! `[database]`: where the data lies.

use std::path::PathBuf;

use secrecy::{ExposeSecret, SecretString};
use url::Url;

use crate::settings::SettingsReader;

/// `[database]`
#[derive(Debug, Clone)]
pub struct Database {
    /// None: a private PostgreSQL under `data_dir`.
    pub url: Option<SecretString>,
    /// Where the private PostgreSQL, `secret.key` and `keys.toml` live.
    pub data_dir: PathBuf,
    /// Of all pools of one process together.
    pub max_connections: u32,
    /// Start although `fsync` or `synchronous_commit` is off.
    pub allow_unsafe_durability: bool,
}

impl Database {
    pub(super) fn read(reader: &mut SettingsReader) -> Self {
        let url = reader.optional_secret("url");
        if url.as_ref().is_some_and(|url| !is_postgres(url.expose_secret())) {
            reader.problem("url", "must be an address that begins with postgres://");
        }
        Self {
            url,
            data_dir: reader.string_or("data_dir", "data").into(),
            max_connections: reader.integer_or("max_connections", 16, 2..=10_000),
            allow_unsafe_durability: reader.boolean_or("allow_unsafe_durability", false),
        }
    }
}

fn is_postgres(text: &str) -> bool {
    Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "postgres" | "postgresql"))
}
