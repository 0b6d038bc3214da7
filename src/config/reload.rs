//! Reading the configuration again while the gateway runs.
//!
//! Apps, routes, templates and providers may change. Everything else is built into listeners, pools and keys that are already in
//! use: it keeps its old value until a restart, and a warning names each such key. When to reload is decided elsewhere.

use std::path::Path;

use secrecy::{ExposeSecret, SecretString};

use super::{
    Config, ConfigErrors, ConfigProblem, Database, Dispatch, Limits, OptOut, Retention, Server, Telemetry, load,
};

/// A configuration read again.
#[derive(Debug, Clone)]
pub struct Reloaded {
    /// The new apps, routes, templates and providers, with everything else as it was.
    pub config: Config,
    /// The keys whose change needs a restart.
    pub warnings: Vec<ConfigProblem>,
}

/// Reads and validates the configuration again. On a problem nothing changes.
pub fn reload(
    running: &Config,
    path: Option<&Path>,
    environment: impl Iterator<Item = (String, String)>,
) -> Result<Reloaded, ConfigErrors> {
    let mut config = load(path, environment)?;
    let warnings = changed_keys(running, &config)
        .into_iter()
        .map(|key| ConfigProblem {
            key: key.to_owned(),
            problem: "has changed; it takes effect at the next start".to_owned(),
        })
        .collect();
    config.server = running.server.clone();
    config.database = running.database.clone();
    config.dispatch = running.dispatch.clone();
    config.retention = running.retention.clone();
    config.opt_out = running.opt_out.clone();
    config.limits = running.limits.clone();
    config.telemetry = running.telemetry.clone();
    // What is new must also fit what stays: a longer timeout, for example, the lease that is in force.
    let problems = config.check_references();
    if problems.is_empty() {
        Ok(Reloaded { config, warnings })
    } else {
        Err(ConfigErrors::new(problems, config.providers))
    }
}

fn changed_keys(old: &Config, new: &Config) -> Vec<&'static str> {
    let sections = [
        server(&old.server, &new.server),
        database(&old.database, &new.database),
        dispatch(&old.dispatch, &new.dispatch),
        retention(&old.retention, &new.retention),
        opt_out(&old.opt_out, &new.opt_out),
        limits(&old.limits, &new.limits),
        telemetry(&old.telemetry, &new.telemetry),
    ];
    let fields = sections.into_iter().flatten();
    fields.filter(|(_, same)| !same).map(|(key, _)| key).collect()
}

/// Each key of a section, and whether it is the same on both sides. Taking the struct apart makes sure that none is forgotten.
type Compared = Vec<(&'static str, bool)>;

fn server(old: &Server, new: &Server) -> Compared {
    let Server { listen, callback_listen, public_url, trusted_proxies, secret_key, spool_dir, spool_max_bytes } = old;
    vec![
        ("server.listen", *listen == new.listen),
        ("server.callback_listen", *callback_listen == new.callback_listen),
        ("server.public_url", *public_url == new.public_url),
        ("server.trusted_proxies", *trusted_proxies == new.trusted_proxies),
        ("server.secret_key", same_secrets(secret_key, &new.secret_key)),
        ("server.spool_dir", *spool_dir == new.spool_dir),
        ("server.spool_max_mib", *spool_max_bytes == new.spool_max_bytes),
    ]
}

fn database(old: &Database, new: &Database) -> Compared {
    let Database { url, data_dir, max_connections, allow_unsafe_durability } = old;
    vec![
        ("database.url", same_secrets(url.as_slice(), new.url.as_slice())),
        ("database.data_dir", *data_dir == new.data_dir),
        ("database.max_connections", *max_connections == new.max_connections),
        ("database.allow_unsafe_durability", *allow_unsafe_durability == new.allow_unsafe_durability),
    ]
}

fn dispatch(old: &Dispatch, new: &Dispatch) -> Compared {
    let Dispatch { lease, max_attempts, hold_on_start } = old;
    vec![
        ("dispatch.lease_seconds", *lease == new.lease),
        ("dispatch.max_attempts", *max_attempts == new.max_attempts),
        ("dispatch.hold_on_start", *hold_on_start == new.hold_on_start),
    ]
}

fn retention(old: &Retention, new: &Retention) -> Compared {
    let Retention { messages_days } = old;
    vec![("retention.messages_days", *messages_days == new.messages_days)]
}

fn opt_out(old: &OptOut, new: &OptOut) -> Compared {
    let OptOut { stop, start } = old;
    vec![("opt_out.stop", *stop == new.stop), ("opt_out.start", *start == new.start)]
}

fn limits(old: &Limits, new: &Limits) -> Compared {
    let Limits { otp_per_number, prefix_velocity, max_segments } = old;
    vec![
        ("limits.otp_per_number", *otp_per_number == new.otp_per_number),
        ("limits.prefix_velocity", *prefix_velocity == new.prefix_velocity),
        ("limits.max_segments", *max_segments == new.max_segments),
    ]
}

fn telemetry(old: &Telemetry, new: &Telemetry) -> Compared {
    let Telemetry { log_format, otlp_endpoint } = old;
    vec![
        ("telemetry.log_format", *log_format == new.log_format),
        ("telemetry.otlp_endpoint", *otlp_endpoint == new.otlp_endpoint),
    ]
}

fn same_secrets(old: &[SecretString], new: &[SecretString]) -> bool {
    old.iter().map(ExposeSecret::expose_secret).eq(new.iter().map(ExposeSecret::expose_secret))
}
