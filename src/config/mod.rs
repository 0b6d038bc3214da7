//! The configuration: one file per section, each a struct that mirrors the TOML.
//!
//! Loading (`load`) lays the environment over the file, refuses unknown keys, and reports every problem at once with its key.
//! A [`Config`] that exists has been validated; nobody checks it again.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, time::Duration};

use ipnet::IpNet;
use secrecy::SecretString;
use serde::Deserialize;
use url::Url;

use crate::domain::{
    content::{Category, Channel},
    life::{Failover, OnUnknown},
    template::Template,
};

/// Everything that can be configured.
#[derive(Debug, Clone)]
pub struct Config {
    /// Listeners and the root secret.
    pub server: Server,
    /// Where the data lies.
    pub database: Database,
    /// The engine.
    pub dispatch: Dispatch,
    /// How long history is kept.
    pub retention: Retention,
    /// Words that opt a recipient out and in.
    pub opt_out: OptOut,
    /// Limits that hold over all apps.
    pub limits: Limits,
    /// Logs and traces.
    pub telemetry: Telemetry,
    /// The providers by name. Always holds `sandbox`.
    pub providers: BTreeMap<String, ProviderSection>,
    /// The gateway's own templates by name.
    pub templates: BTreeMap<String, Template>,
    /// The routes in matching order: by priority, then name.
    pub routes: Vec<Route>,
    /// The apps by name.
    pub apps: BTreeMap<String, App>,
}

/// `[server]`
#[derive(Debug, Clone)]
pub struct Server {
    /// API, console, health, metrics.
    pub listen: SocketAddr,
    /// A listener that serves only `/callbacks` and `/healthz`.
    pub callback_listen: Option<SocketAddr>,
    /// How carriers reach `/callbacks`. No trailing slash.
    pub public_url: Option<Url>,
    /// Whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// 32 bytes in base64 each; the first one is used, all are accepted. Empty: `data/secret.key`.
    pub secret_key: Vec<SecretString>,
}

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

/// `[dispatch]`
#[derive(Debug, Clone)]
pub struct Dispatch {
    /// How long a claim holds.
    pub lease: Duration,
    /// Tries per step, of answers marked `retry_here`.
    pub max_attempts: u32,
    /// Accept, but send nothing until an operator releases.
    pub hold_on_start: bool,
}

/// `[retention]`
#[derive(Debug, Clone)]
pub struct Retention {
    /// Days that messages are kept; at least 35.
    pub messages_days: u32,
}

/// `[opt_out]`
#[derive(Debug, Clone)]
pub struct OptOut {
    /// Words that opt out.
    pub stop: Vec<String>,
    /// Words that opt in again.
    pub start: Vec<String>,
}

/// `[limits]`
#[derive(Debug, Clone)]
pub struct Limits {
    /// One-time codes to one number, over all apps.
    pub otp_per_number: RateRule,
    /// Watch prefixes against their own past?
    pub prefix_velocity: PrefixVelocity,
    /// Segments of one message.
    pub max_segments: u16,
}

/// So many in so long, written `5/10m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateRule {
    /// How many.
    pub count: u32,
    /// In how long.
    pub per: Duration,
}

/// What to do when a prefix suddenly gets many messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PrefixVelocity {
    /// Nothing.
    Off,
    /// Say so.
    Monitor,
    /// Refuse.
    Block,
}

/// `[telemetry]`
#[derive(Debug, Clone)]
pub struct Telemetry {
    /// How log lines look.
    pub log_format: LogFormat,
    /// None: no traces.
    pub otlp_endpoint: Option<Url>,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Pretty,
}

/// `[providers.NAME]`: the keys common to all providers. The rest is the driver's own.
#[derive(Debug, Clone)]
pub struct ProviderSection {
    /// Which driver.
    pub driver: String,
    /// The default sender.
    pub from: Option<String>,
    /// Other senders that a message, a step or a binding may name.
    pub senders: Vec<String>,
    /// Countries it may carry to; none: any.
    pub countries: Option<Vec<String>>,
    /// Messages a day (UTC).
    pub daily_limit: Option<u64>,
    /// Warn when the balance falls below it.
    pub balance_alarm: Option<f64>,
    /// Tokens that its callback address may carry; several while rotating.
    pub callback_token: Vec<SecretString>,
    /// From where its callbacks may come; empty: anywhere.
    pub callback_allow: Vec<IpNet>,
    /// Messages a second, over all processes.
    pub rate_per_second: Option<u32>,
    /// Calls at once, of this process.
    pub max_in_flight: usize,
    /// For one call.
    pub timeout: Duration,
    /// How long a report may take to come; none: the driver's own (voice: its poll window), else 76 h.
    pub report_window: Option<Duration>,
    /// The driver's own keys.
    pub settings: toml::Table,
}

/// `[routes.NAME]`
#[derive(Debug, Clone)]
pub struct Route {
    /// Its name.
    pub name: String,
    /// Lower matches first.
    pub priority: i32,
    /// All given conditions must hold.
    pub matches: RouteMatch,
    /// Providers in order; none twice.
    pub steps: Vec<RouteStep>,
    /// When to go on to the next step.
    pub failover: Failover,
    /// What to do after an unclear outcome.
    pub on_unknown: OnUnknown,
}

/// The conditions of a route; an empty list is no condition.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RouteMatch {
    /// Any of these apps.
    pub apps: Vec<String>,
    /// Any of these countries (ISO 3166-1 alpha-2).
    pub countries: Vec<String>,
    /// Any of these prefixes, with `+`.
    pub prefixes: Vec<String>,
    /// Any of these categories.
    pub categories: Vec<Category>,
    /// Any of these channels, where the request names one.
    pub channels: Vec<Channel>,
}

/// One step of a route.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteStep {
    /// Which provider.
    pub provider: String,
    /// Its sender, instead of the provider's default.
    #[serde(default)]
    pub from: Option<String>,
    /// Go on to this step if the one before has no final report by then.
    #[serde(default)]
    pub after_seconds: Option<u32>,
}

/// `[apps.NAME]`
#[derive(Debug, Clone)]
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
    pub webhook_events: Vec<String>,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Its own messages only.
    App,
    /// Everything.
    Operator,
    /// Reads everything, changes nothing.
    Auditor,
}

/// `sha256:` and the lower-case hex SHA-256 of a whole key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyHash(pub [u8; 32]);
