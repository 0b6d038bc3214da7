//! On what, of what and when: figures mean nothing without it.

use std::{fs, path::Path, process::Command};

use sms_gateway::clock::Clock;

use super::{postgres::Postgres, process::output_of};

/// The head of the report.
pub fn head(postgres: &Postgres, below: &Path, command: &str) -> String {
    let told = |program: &str, arguments: &[&str]| {
        let told = output_of(Command::new(program).args(arguments)).unwrap_or_default();
        told.lines().last().unwrap_or_default().trim().to_owned()
    };
    let first = |path: &str, name: &str| {
        let text = fs::read_to_string(path).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_once(':').map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
    };
    let memory = first("/proc/meminfo", "MemTotal").trim_end_matches(" kB").parse::<f64>().unwrap_or(0.0) / 1_048_576.0;
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let changed = told("git", &["status", "--porcelain", "--", "src", "migrations", "Cargo.toml", "Cargo.lock"]);
    format!(
        "# What the gateway does on one machine\n\n\
         Written by `{command}`; do not edit. Load, carrier, gateway and PostgreSQL share the cores, so absolute figures mean\n\
         little elsewhere; ratios and CPU for each message hold. A ratio is against pgbench right before it in the same round:\n\
         64 clients, one row of a message's width with two indexes and one durable commit each, on the same server.\n\n\
         | | |\n| --- | --- |\n\
         | date | {} |\n| commit | {}{} |\n| cores | {cores} × {} |\n| memory | {memory:.0} GiB |\n\
         | kernel | {} |\n| database | {} |\n| filesystem | {} |\n",
        Clock::system().now().format("%Y-%m-%d %H:%M UTC"),
        told("git", &["rev-parse", "--short=12", "HEAD"]),
        if changed.is_empty() { "" } else { " with changes" },
        first("/proc/cpuinfo", "model name"),
        kernel.trim(),
        postgres.version().unwrap_or_default(),
        told("stat", &["-f", "-c", "%T", &below.display().to_string()]),
    )
}
