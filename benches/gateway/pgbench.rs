//! The yardstick: pgbench, which stores one realistic row in each transaction of its own, on the same server.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result};

use super::{postgres::Postgres, process::output_of, stats};

const DATABASE: &str = "yardstick";

/// As wide as a message, with the two indexes of the history that every message is in, and ids that follow the time.
const TABLE: &str = "
create table messages (
    id uuid primary key, app text not null, status text not null, recipient text not null, country text, channel text not null,
    sender text, category text not null, sensitive boolean not null, body text, encoding text, segments smallint,
    plan jsonb not null, expires_at timestamptz not null, created_at timestamptz not null
) with (fillfactor = 70);
create index on messages (app, id);
create index on messages (recipient, id);";

const INSERT: &str = r#"\set number random(0, 9999999)
insert into messages values (
    (lpad(to_hex((extract(epoch from clock_timestamp()) * 1000)::bigint), 12, '0') || '7' || substr(gen_random_uuid()::text, 16))::uuid,
    'demo', 'queued', '+8490' || lpad(:number::text, 7, '0'), 'VN', 'sms', '8615088888888', 'transactional', false,
    'Your parcel waits at the main gate, number ' || :number::text, 'gsm7', 1::smallint,
    '{"route": "all", "steps": [{"channel": "sms", "provider": "nxcloud"}], "failover": "on_rejection", "on_unknown": "hold"}',
    now() + interval '4 hours', now());
"#;

/// pgbench with its database.
#[derive(Debug)]
pub struct Pgbench {
    script: PathBuf,
    logs: PathBuf,
}

impl Pgbench {
    /// Makes the table.
    pub fn prepare(postgres: &Postgres, below: &std::path::Path) -> Result<Self> {
        postgres.sql("postgres", &format!("create database {DATABASE}"))?;
        postgres.sql(DATABASE, TABLE)?;
        let (script, logs) = (below.join("insert.sql"), below.join("pgbench"));
        fs::write(&script, INSERT)?;
        fs::create_dir(&logs)?;
        Ok(Self { script, logs })
    }

    /// Rows a second with so many clients, each row in a commit of its own.
    pub fn rows_per_second(&self, postgres: &Postgres, clients: u32, seconds: u64) -> Result<f64> {
        let told = self.run(postgres, &["-c", &clients.to_string(), "-j", "2", "-T", &seconds.to_string()])?;
        let tps = told.lines().find_map(|line| line.strip_prefix("tps = ")).context("pgbench tells no rate")?;
        Ok(tps.split_whitespace().next().unwrap_or_default().parse()?)
    }

    /// The latencies of single rows at a rate, in microseconds, sorted; from the moment when each was due.
    pub fn latencies(&self, postgres: &Postgres, rate: u32, seconds: u64) -> Result<Vec<u32>> {
        let prefix = self.logs.join("log");
        let prefix = format!("--log-prefix={}", prefix.display());
        self.run(
            postgres,
            &["-c", "16", "-j", "1", "-T", &seconds.to_string(), "-R", &rate.to_string(), "-l", &prefix],
        )?;
        let mut latencies = Vec::new();
        for entry in fs::read_dir(&self.logs)? {
            let path = entry?.path();
            let text = fs::read_to_string(&path)?;
            latencies.extend(text.lines().filter_map(|line| line.split(' ').nth(2)?.parse::<u32>().ok()));
            fs::remove_file(path)?;
        }
        latencies.sort_unstable();
        Ok(latencies)
    }

    fn run(&self, postgres: &Postgres, arguments: &[&str]) -> Result<String> {
        postgres.sql(DATABASE, "truncate messages")?;
        let mut command = postgres.client("pgbench", DATABASE);
        output_of(command.args(["-n", "-M", "prepared", "-f"]).arg(&self.script).args(arguments))
    }
}

/// What the yardstick is called in the report.
pub fn latency_at(sorted: &[u32], percent: f64) -> f64 {
    stats::percentile(sorted, percent) / 1000.0
}
