//! `[server]`: where the gateway listens, how it is reached, and its root secret.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use ipnet::IpNet;
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::words;
use crate::{secrets::is_root_secret, settings::SettingsReader};

/// Some hundred thousand pushes.
const SPOOL_MAX_MIB: u64 = 256;

/// `[server]`
#[derive(Debug, Clone)]
pub struct Server {
    /// The API and its documentation, health, metrics.
    pub listen: SocketAddr,
    /// A listener that serves only `/callbacks` and `/healthz`.
    pub callback_listen: Option<SocketAddr>,
    /// How carriers reach `/callbacks`. Its path has no trailing slash, save for the lone one that every URL has.
    pub public_url: Option<Url>,
    /// Whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// 32 bytes in base64 each; the first one is used, all are accepted. Empty: `data/secret.key`.
    pub secret_key: Vec<SecretString>,
    /// Where pushes of carriers are kept while the database does not take them. None: `spool` under `database.data_dir`.
    pub spool_dir: Option<PathBuf>,
    /// How many bytes of them.
    pub spool_max_bytes: u64,
}

impl Server {
    pub(super) fn read(reader: &mut SettingsReader) -> Self {
        let address = "an address and a port, such as 127.0.0.1:8080";
        let listen = reader.optional_parsed("listen", address);
        let callback_listen = reader.optional_parsed("callback_listen", address);
        let mut public_url = reader.optional_url("public_url");
        if let Some(url) = &mut public_url {
            let path = url.path().trim_end_matches('/').to_owned();
            url.set_path(&path);
        }
        let secret_key = reader.secrets("secret_key");
        if !secret_key.iter().all(|key| is_root_secret(key.expose_secret())) {
            reader.problem("secret_key", "must be 32 bytes in base64 (openssl rand -base64 32), or a list of such");
        }
        let server = Self {
            listen: listen.unwrap_or(SocketAddr::from((Ipv4Addr::LOCALHOST, 8080))),
            callback_listen,
            public_url,
            trusted_proxies: words::networks(reader, "trusted_proxies"),
            secret_key,
            spool_dir: reader.optional_string("spool_dir").map(PathBuf::from),
            spool_max_bytes: reader.integer_or("spool_max_mib", SPOOL_MAX_MIB, 1..=1024 * 1024) * 1024 * 1024,
        };
        if server.callback_listen == Some(server.listen) && server.listen.port() != 0 {
            reader.problem("callback_listen", "must differ from listen; leave it out to serve /callbacks there too");
        }
        server
    }
}
