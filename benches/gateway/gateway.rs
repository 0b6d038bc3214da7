//! The gateway and the carriers' side as processes, set up as an operator would.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Result, bail, ensure};
use nix::sys::signal::Signal;
use sms_gateway::config::KeyHash;

use super::{http, load, process::Process};

/// The key of the app that sends.
pub const APP_KEY: &str = "sgw_live_bench_app";
/// A second app's.
pub const OTHER_KEY: &str = "sgw_live_bench_other";
/// The operator's.
pub const OPERATOR_KEY: &str = "sgw_live_bench_operator";
/// Of the addresses that carriers push to.
pub const CALLBACK_TOKEN: &str = "bench-callback-token";

/// The program that is measured.
pub fn program() -> PathBuf {
    std::env::var_os("SMS_GATEWAY_BINARY").map_or_else(|| env!("CARGO_BIN_EXE_sms-gateway").into(), PathBuf::from)
}

/// An address that is free now.
pub fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// The simulator.
#[derive(Debug)]
pub struct Carrier {
    /// Its process.
    pub process: Process,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Carrier {
    /// Starts it; it only counts, and numbers choose nothing.
    pub async fn start(below: &Path, pushes_to: &str) -> Result<Self> {
        let address = free_address()?;
        let mut command = Command::new(program());
        command.args(["simulator", "--counts-only", "--plain-numbers", "--nxcloud-signed"]);
        command.args(["--listen", &address.to_string(), "--nxcloud-callback-url", pushes_to]);
        let mut process = Process::start(&mut command, &below.join("simulator.log"), Signal::SIGTERM)?;
        answers(address, "/_control/counts", &mut process).await?;
        Ok(Self { process, address })
    }
}

/// A running gateway.
#[derive(Debug)]
pub struct Gateway {
    /// Its process.
    pub process: Process,
    /// Where it listens.
    pub address: SocketAddr,
    /// From the start of the program to the first good answer of `/readyz`.
    pub ready_after: Duration,
}

/// What a gateway is started with.
#[derive(Debug, Clone, Copy)]
pub struct Setup<'a> {
    /// Files go here.
    pub below: &'a Path,
    /// `database.url`
    pub database: &'a str,
    /// Where it listens.
    pub address: SocketAddr,
    /// Where the carriers listen.
    pub carrier: SocketAddr,
    /// Take messages and send none.
    pub hold: bool,
}

impl Setup<'_> {
    /// Starts it and waits until it is ready.
    pub async fn start(self) -> Result<Gateway> {
        let config = self.below.join("gateway.toml");
        fs::write(&config, self.config())?;
        let mut command = Command::new(program());
        command.arg("--config").arg(config).arg("serve").args(self.hold.then_some("--hold"));
        command.env_remove("DATABASE_URL").current_dir(self.below);
        let began = Instant::now();
        let mut process = Process::start(&mut command, &self.below.join("gateway.log"), Signal::SIGTERM)?;
        answers(self.address, "/readyz", &mut process).await?;
        Ok(Gateway { process, address: self.address, ready_after: began.elapsed() })
    }

    fn config(&self) -> String {
        let Self { database, address, carrier, below, .. } = self;
        let hash = |key: &str| KeyHash::of(key).to_string();
        let (app, other, operator) = (hash(APP_KEY), hash(OTHER_KEY), hash(OPERATOR_KEY));
        let data = below.join("data");
        let data = data.display();
        format!(
            r#"
[server]
listen = "{address}"
public_url = "http://{address}"
secret_key = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
[database]
url = "{database}"
data_dir = "{data}"
[limits]
otp_per_number = "100000/10m"
[providers.nxcloud]
driver = "nxcloud_did"
base_url = "http://{carrier}"
access_key = "simulator-key"
access_secret = "simulator-secret"
from = "8615088888888"
callback_token = "{CALLBACK_TOKEN}"
max_in_flight = 64
[providers.huawei]
driver = "huawei_sms"
base_url = "http://{carrier}"
app_key = "simulator-key"
app_secret = "simulator-secret"
from = "isms100000001"
[templates.parcel]
text = "Your parcel waits at {{{{place}}}}."
category = "transactional"
params = [{{ name = "place" }}]
[templates.parcel.bindings.huawei]
template_id = "8ff55eac1d0b478ab3c06c3c6a492300"
params = ["place"]
[routes.all]
steps = [{{ provider = "nxcloud" }}]
[apps.bench]
keys = ["{app}"]
[apps.other]
keys = ["{other}"]
[apps.operator]
role = "operator"
keys = ["{operator}"]
"#
        )
    }
}

impl Gateway {
    /// The sum of a counter over its labels, of those lines that have all these words.
    pub async fn counter(&self, name: &str, words: &[&str]) -> Result<f64> {
        let text = http::once(self.address, &http::request("GET", "/metrics", "", "")).await?;
        let lines = text.lines().filter(|line| line.starts_with(name) && words.iter().all(|word| line.contains(word)));
        Ok(lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
    }

    /// Has an operator pause a provider.
    pub async fn pause(&self, provider: &str) -> Result<()> {
        let headers = format!("content-type: application/json\r\n{}", bearer(OPERATOR_KEY));
        let request = http::request("PATCH", &format!("/v1/providers/{provider}"), &headers, r#"{"enabled":false}"#);
        http::once(self.address, &request).await.map(drop)
    }
}

async fn answers(address: SocketAddr, path: &str, process: &mut Process) -> Result<()> {
    let (request, until) = (http::request("GET", path, "", ""), Instant::now() + Duration::from_mins(1));
    while http::once(address, &request).await.is_err() {
        process.check()?;
        ensure!(Instant::now() < until, "{path} was not answered within a minute");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(())
}

/// The header that carries a key.
pub fn bearer(key: &str) -> String {
    format!("authorization: Bearer {key}\r\n")
}

/// The driver that carries a load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Driver {
    /// One call for each message; the reports are signed JSON.
    Nxcloud,
    /// Many messages in a call; a report each, to an address of the call's own.
    Huawei,
}

impl Driver {
    /// The provider's name in the configuration.
    pub const fn provider(self) -> &'static str {
        match self {
            Self::Nxcloud => "nxcloud",
            Self::Huawei => "huawei",
        }
    }

    /// Writes requests that send a message through this driver, each to a number of its own.
    pub fn messages(self) -> load::Write {
        let numbered = |number: u64| (number.wrapping_mul(7_368_787) + 1_234_567) % 10_000_000;
        Arc::new(move |number, buffer| {
            let to = numbered(number);
            let body = match self {
                Self::Nxcloud => {
                    format!(r#"{{"to":"+8490{to:07}","text":"Your parcel waits at the main gate, number {number}"}}"#)
                }
                Self::Huawei => format!(
                    r#"{{"to":"+852{:08}","provider":"huawei","template":{{"name":"parcel","params":{{"place":"Main gate"}}}}}}"#,
                    60_000_000 + to
                ),
            };
            post(buffer, APP_KEY, &body);
        })
    }
}

/// Writes a request for a new message.
pub fn post(buffer: &mut Vec<u8>, key: &str, body: &str) {
    let headers = format!("content-type: application/json\r\n{}", bearer(key));
    buffer.extend_from_slice(&http::request("POST", "/v1/messages", &headers, body));
}

/// Waits until something comes true; an error when it does not in time.
pub async fn until(what: &str, patience: Duration, mut holds: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
    let end = Instant::now() + patience;
    while !holds().await? {
        if Instant::now() > end {
            bail!("it did not come true in {patience:?} that {what}");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}
