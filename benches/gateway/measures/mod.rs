//! The measures, in the order in which a run takes them.

mod accept;
mod copies;
mod flood;
mod history;
mod kannel;
mod latency;
mod life;
mod memory;
mod own_cost;
mod reports;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Result;

use super::{
    gateway::{self, CALLBACK_TOKEN, Carrier, Driver, Gateway, Setup},
    http,
    load::{self, Pace},
    machine,
    pgbench::Pgbench,
    postgres::Postgres,
    report::{Report, Target},
    stats,
};

/// What `--only` understands.
pub const NAMES: &[&str] =
    &["own-cost", "accept", "life", "kannel", "reports", "latency", "flood", "memory", "history"];

/// A run.
#[derive(Debug)]
pub struct Bench {
    postgres: Postgres,
    pgbench: Pgbench,
    directory: PathBuf,
    null: SocketAddr,
    report: Report,
    quick: bool,
    databases: u32,
    /// Whole lives a second in this round.
    lives: Option<f64>,
}

/// A gateway with its carrier and a database of its own.
#[derive(Debug)]
struct Site {
    gateway: Gateway,
    carrier: Carrier,
    database: String,
}

impl Bench {
    /// Starts what all measures share.
    pub async fn start(directory: &Path, quick: bool) -> Result<Self> {
        let postgres = Postgres::start(directory)?;
        let pgbench = Pgbench::prepare(&postgres, directory)?;
        let (null, report) = (http::null_responder().await?, Report::default());
        Ok(Self { postgres, pgbench, directory: directory.to_owned(), null, report, quick, databases: 0, lives: None })
    }

    /// Takes the measures; all when none is named.
    pub async fn run(&mut self, only: &[String]) -> Result<()> {
        let wanted = |name: &str| only.is_empty() || only.iter().any(|one| one == name);
        if wanted("own-cost") {
            own_cost::measure(self).await?;
        }
        for round in 1..=self.choose(3, 1) {
            eprintln!("round {round}");
            if wanted("accept") {
                accept::measure(self).await?;
            }
            if wanted("life") {
                life::measure(self, Driver::Nxcloud).await?;
                life::measure(self, Driver::Huawei).await?;
            }
            if wanted("kannel") {
                kannel::measure(self).await?;
            }
            if wanted("reports") {
                reports::measure(self).await?;
            }
            if wanted("latency") {
                latency::measure(self).await?;
            }
            if wanted("flood") {
                flood::measure(self).await?;
            }
        }
        if wanted("memory") {
            memory::measure(self).await?;
        }
        if wanted("history") {
            history::measure(self).await?;
        }
        Ok(())
    }

    /// The document of what was measured.
    pub fn report(&self, command: &str) -> String {
        self.report.text(&machine::head(&self.postgres, &self.directory, command))
    }

    /// Shows the last lines that the programs wrote.
    pub fn tell_logs(&self) {
        for name in ["gateway.log", "simulator.log", "postgres.log"] {
            let text = std::fs::read_to_string(self.directory.join(name)).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            eprintln!("--- {name}\n{}", lines[lines.len().saturating_sub(8)..].join("\n"));
        }
    }

    fn choose<T>(&self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }

    fn seconds(&self, full: u64, quick: u64) -> Duration {
        Duration::from_secs(self.choose(full, quick))
    }

    /// One run of the yardstick: rows a second.
    fn yardstick(&mut self) -> Result<f64> {
        let rate = self.pgbench.rows_per_second(&self.postgres, 64, self.choose(4, 2))?;
        self.report.add("Yardstick", "pgbench, one row per commit, 64 clients", "rows/s", Target::None, rate);
        Ok(rate)
    }

    /// A gateway on a new database, with a carrier that pushes to it.
    async fn site(&mut self, hold: bool) -> Result<Site> {
        self.databases += 1;
        let database = format!("gateway_{}", self.databases);
        self.postgres.sql("postgres", &format!("create database {database}"))?;
        let address = gateway::free_address()?;
        let pushes_to = format!("http://{address}/callbacks/{}/{CALLBACK_TOKEN}", Driver::Nxcloud.provider());
        let carrier = Carrier::start(&self.directory, &pushes_to).await?;
        let url = self.postgres.url(&database);
        let setup = Setup { below: &self.directory, database: &url, address, carrier: carrier.address, hold };
        let gateway = setup.start().await?;
        Ok(Site { gateway, carrier, database })
    }

    /// Ends a site and drops its database.
    fn end(&self, site: Site) -> Result<()> {
        let Site { gateway, carrier, database } = site;
        gateway.process.stop();
        carrier.process.stop();
        self.postgres.sql("postgres", &format!("drop database {database} with (force)"))?;
        // What the run before has written is not written out during the next one.
        self.postgres.sql("postgres", "checkpoint")?;
        Ok(())
    }
}

impl Site {
    /// Some messages through all of it, so that connections and caches are there.
    async fn warm_up(&self, driver: Driver) -> Result<()> {
        let load = load::run(self.gateway.address, 32, Pace::Count(1000), driver.messages()).await?;
        self.reports_come(driver, load.done, Duration::from_secs(20)).await
    }

    /// Waits until so many reports have been settled.
    async fn reports_come(&self, driver: Driver, count: u64, patience: Duration) -> Result<()> {
        let what = format!("{count} reports are settled");
        gateway::until(&what, patience, async || Ok(self.reports(driver).await? >= count as f64)).await
    }

    async fn reports(&self, driver: Driver) -> Result<f64> {
        self.gateway.counter("sms_gateway_reports_total", &[driver.provider()]).await
    }
}

/// Microseconds of CPU for each of so many.
fn micros_each(cpu_seconds: f64, count: u64) -> f64 {
    cpu_seconds * 1e6 / count as f64
}
