//! Chaos: the gateway's processes are killed, frozen and ended again and again under load, and nothing is lost or doubled.
//!
//! `crash` meets each step on purpose and once. Here many things happen at once and by chance: requests at a steady rate, carriers
//! that spoil one call in ten, reports that come early, doubled and out of order, one or two processes that die at random and at
//! named steps (`src/fail_points.rs`). At the end what the apps were told, what the carrier took and was told, and what the
//! gateway says are compared.
//!
//! `./dev test` runs the short form. `./dev chaos` runs the long one, over all providers, on a PostgreSQL with durable settings,
//! and prints a table. `SMS_GATEWAY_CHAOS_SEED` repeats the chance of a short form; what the machine does meanwhile is not
//! repeated by it.

mod carrier;
mod lives;
mod load;
mod table;
mod verdict;

use std::{env, path::Path, sync::Arc, time::Duration};

use sms_gateway::fail_points::{Step, VARIABLE};
use sqlx::{Connection, PgConnection, Row, postgres::PgConnectOptions};

use self::{
    carrier::{Carrier, simulator},
    lives::{Lives, Tally},
    load::Apps,
    verdict::{Verdict, judge},
};
use crate::support::{Client, gateway::free_address, process::Site};

/// One run.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    carrier: Carrier,
    processes: usize,
    seed: u64,
    kills: u32,
    freezes: u32,
    /// Requests a second.
    rate: u32,
    /// The long form: leases run out by themselves, where otherwise time is put forward for them once the load has ended.
    long: bool,
}

/// A run, and what came of it.
#[derive(Debug)]
pub struct Ran {
    run: Run,
    tally: Tally,
    verdict: Verdict,
}

impl Ran {
    fn problems(&self) -> impl Iterator<Item = &String> {
        self.tally.problems.iter().chain(&self.verdict.problems)
    }

    /// `passed`, `failed`, or `inconclusive` when no kill hit anything.
    fn judgement(&self) -> &'static str {
        let verdict = &self.verdict;
        let faults = verdict.lost + verdict.wrong + verdict.reports_lost;
        if faults > 0 || verdict.doubled > 0 || self.problems().next().is_some() {
            "failed"
        } else if self.tally.in_flight == 0 || verdict.at_carrier == 0 {
            "inconclusive"
        } else {
            "passed"
        }
    }
}

impl Run {
    async fn run(self) -> Ran {
        let site = Site::with_simulator(&self.carrier.config(), simulator(self.seed)).await;
        let mut addresses = vec![site.address];
        addresses.resize_with(self.processes, free_address);
        let pushes = format!("http://{}/callbacks/nx/nx-token", site.address);
        site.simulator.change(|settings| settings.nxcloud_callback_url = pushes.parse().ok());
        let gateways: Vec<Client> = addresses.iter().map(|address| Client::new(format!("http://{address}"))).collect();
        let apps = Apps::new(self.carrier, format!("{}-{}", self.carrier.name(), self.seed), gateways.clone());
        let load = apps.start(self.rate);
        let lives = Lives::new(site, self, Arc::clone(&apps), addresses);
        let living = (0..self.processes).map(|process| lives.live(process, self.seed));
        let last = futures_util::future::join_all(living).await;
        // The last ones show that they work.
        let before = apps.count();
        let enough = async {
            while apps.count() < before + 20 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        drop(tokio::time::timeout(Duration::from_secs(10), enough).await);
        apps.stop();
        load.await.unwrap();
        let verdict = judge(&lives.site, self, &apps, &gateways[0]).await;
        let ran = Ran { run: self, tally: lives.tally(), verdict };
        drop(last);
        ran
    }
}

/// Prints what came of the runs, and fails if one of them did not pass.
#[expect(clippy::print_stdout, reason = "the table is what a person asked for")]
fn conclude(runs: &[Ran]) {
    println!("{}", table::rows(runs));
    let mut passed = true;
    for ran in runs {
        passed &= ran.judgement() == "passed";
        for problem in ran.problems() {
            println!("{} {} {}: {problem}", ran.run.carrier.name(), ran.run.processes, ran.run.seed);
        }
    }
    assert!(passed, "not every run passed");
}

fn number(name: &str, otherwise: u32) -> u32 {
    env::var(name).ok().map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name} must be a number")))
}

#[expect(clippy::print_stdout, reason = "whoever wants to see it again needs the seed")]
fn short(carrier: Carrier, processes: usize, kills: u32, freezes: u32) -> Run {
    let seed = env::var("SMS_GATEWAY_CHAOS_SEED").ok().map_or_else(
        || rand::random_range(1..1_000_000),
        |text| text.parse().expect("SMS_GATEWAY_CHAOS_SEED must be a number"),
    );
    println!("SMS_GATEWAY_CHAOS_SEED={seed}");
    Run { carrier, processes, seed, kills, freezes, rate: 40, long: false }
}

#[tokio::test]
async fn a_process_that_dies_at_any_step_loses_nothing_and_doubles_nothing() {
    conclude(&[short(Carrier::Nxcloud, 1, 4, 0).run().await]);
}

#[tokio::test]
async fn two_processes_of_which_one_is_frozen_lose_nothing_and_double_nothing() {
    conclude(&[short(Carrier::Huawei, 2, 4, 1).run().await]);
}

#[tokio::test]
async fn calls_that_are_asked_about_are_neither_lost_nor_doubled() {
    conclude(&[short(Carrier::Voice, 2, 3, 0).run().await]);
}

#[tokio::test]
async fn a_process_with_a_step_that_is_not_known_does_not_start() {
    let site = Site::new(&Carrier::Nxcloud.config()).await;
    let mut process = site.launch(site.address, &[(VARIABLE, "accept.forgotten=abort")]);
    let status = process.become_ready().await.unwrap_err();
    assert!(!status.success() && process.logged().contains("there is no such step"), "{status} {}", process.logged());
}

/// A step whose line was lost when code moved would never be tried again, and nobody would notice.
#[test]
fn every_step_has_its_line_in_the_engine() {
    let mut text = String::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src/dispatch")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                text += &std::fs::read_to_string(path).unwrap();
            }
        }
    }
    for step in Step::ALL {
        assert!(text.contains(&format!("reach(Step::{step:?})")), "{step:?} has no line");
    }
}

/// All providers, one and two processes, several seeds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes and a durable PostgreSQL: ./dev chaos"]
#[expect(clippy::print_stdout, reason = "whoever waits for minutes sees how far it is")]
async fn the_long_form() {
    let seeds = env::var("SMS_GATEWAY_CHAOS_SEEDS").unwrap_or_else(|_| "1,2,3".to_owned());
    let seeds: Vec<u64> = seeds.split(',').map(|seed| seed.trim().parse().expect("seeds are numbers")).collect();
    let runs_of_seed = Carrier::ALL.len() * 2;
    let kills = number("SMS_GATEWAY_CHAOS_KILLS", 216).div_ceil(u32::try_from(runs_of_seed * seeds.len()).unwrap());
    let (rate, slowest) = (number("SMS_GATEWAY_CHAOS_RATE", 300), number("SMS_GATEWAY_CHAOS_READY_MS", u32::MAX));
    let mut runs = Vec::new();
    for seed in seeds {
        for carrier in Carrier::ALL {
            for processes in [1, 2] {
                let freezes = kills.div_ceil(12);
                let ran = Run { carrier, processes, seed, kills, freezes, rate, long: true }.run().await;
                println!("{} with {processes}, seed {seed}: {}", carrier.name(), ran.judgement());
                ran.problems().for_each(|problem| println!("  {problem}"));
                runs.push(ran);
            }
        }
    }
    if let Ok(path) = env::var("SMS_GATEWAY_CHAOS_REPORT") {
        std::fs::write(&path, table::report(&runs, rate, &database().await)).unwrap();
    }
    conclude(&runs);
    let start = runs.iter().map(|ran| ran.tally.slowest_start).max().unwrap_or_default();
    assert!(start.as_millis() <= slowest.into(), "a process took {start:?} to be ready");
}

/// What the server is and how it keeps what it confirms.
async fn database() -> String {
    let url: PgConnectOptions = env::var("DATABASE_URL").unwrap().parse().unwrap();
    let mut connection = PgConnection::connect_with(&url).await.unwrap();
    let asked = "select 'PostgreSQL ' || split_part(current_setting('server_version'), ' ', 1) || ', fsync '
                 || current_setting('fsync') || ', synchronous_commit ' || current_setting('synchronous_commit')
                 || ', full_page_writes ' || current_setting('full_page_writes')";
    sqlx::raw_sql(asked).fetch_one(&mut connection).await.unwrap().get(0)
}
