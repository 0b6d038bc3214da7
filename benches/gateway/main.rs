//! `./dev bench`: the gateway against its targets, on this machine, in one run.
//!
//! A run starts all it needs (PostgreSQL with durable settings, the simulator as carrier, the gateway), alternates each measure
//! with pgbench on the same server so that what else the machine does falls on both, writes `benches/REPORT.md`, and ends and
//! removes everything. `--quick` takes shorter and fewer rounds; `--only NAME` takes one measure. Neither overwrites the
//! report; they print it. `SMS_GATEWAY_BINARY` names another program to measure.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for the terminal")]
#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts of a run are far below where it would matter"
)]

mod gateway;
mod http;
mod load;
mod machine;
mod measures;
mod pgbench;
mod postgres;
mod process;
mod report;
mod stats;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result, bail};
use tokio::signal::unix::{SignalKind, signal};

use measures::Bench;

/// What the command line asks for.
#[derive(Debug, Default)]
struct Options {
    quick: bool,
    only: Vec<String>,
}

impl Options {
    fn read() -> Result<Self> {
        let (mut options, mut words) = (Self::default(), std::env::args().skip(1));
        while let Some(word) = words.next() {
            match word.as_str() {
                // Cargo says so to every bench.
                "--bench" => {}
                "--quick" => options.quick = true,
                "--only" => {
                    let name = words.next().context("--only needs a name")?;
                    if !measures::NAMES.contains(&name.as_str()) {
                        bail!("{name} is none of {}", measures::NAMES.join(", "));
                    }
                    options.only.push(name);
                }
                _ => bail!("usage: [--quick] [--only NAME]; names: {}", measures::NAMES.join(", ")),
            }
        }
        Ok(options)
    }

    fn is_whole(&self) -> bool {
        !self.quick && self.only.is_empty()
    }
}

fn main() -> ExitCode {
    match start() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start() -> Result<()> {
    let options = Options::read()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(async {
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        // What is dropped half-way ends its processes and removes its files.
        tokio::select! {
            done = run(&options) => done,
            _ = interrupt.recv() => bail!("interrupted"),
            _ = terminate.recv() => bail!("terminated"),
        }
    })
}

async fn run(options: &Options) -> Result<()> {
    let directory = Directory::new()?;
    let mut bench = Bench::start(&directory.0, options.quick).await?;
    let done = bench.run(&options.only).await;
    if done.is_err() {
        bench.tell_logs();
    }
    done?;
    let text = bench.report(if options.is_whole() { "./dev bench" } else { "./dev bench, a part of it" });
    if options.is_whole() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/REPORT.md");
        std::fs::write(&path, &text)?;
    }
    println!("{text}");
    Ok(())
}

/// A directory that goes with the run.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Result<Self> {
        // Not the system's directory for temporary files where that is a tmpfs: commits must reach a disk.
        let place = std::env::var_os("SMS_GATEWAY_BENCH_DIR").map_or_else(|| "/var/tmp".into(), PathBuf::from);
        let path = place.join(format!("sms-gateway-bench-{}", std::process::id()));
        std::fs::create_dir(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}
