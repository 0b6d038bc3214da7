//! The whole life: from the first POST to the last report applied, over HTTP to a carrier and back.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::{Bench, Driver, Pace, Site, Target, load, micros_each};

const SECTION: &str = "Whole life: accepted, sent over HTTP, report applied";

/// One round with one driver, with the yardstick before it.
pub async fn measure(bench: &mut Bench, driver: Driver) -> Result<()> {
    let yardstick = bench.yardstick()?;
    let site = bench.site(false).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (idle, _) = site.gateway.process.memory()?;
    site.warm_up(driver).await?;
    let round = round(bench, &site, driver).await?;
    let (_, peak) = site.gateway.process.memory()?;

    if driver == Driver::Nxcloud {
        bench.lives = Some(round.rate);
    }
    let name = |what: &str| format!("{}: {what}", driver.provider());
    let add = &mut bench.report;
    add.add(SECTION, name("lives"), "messages/s", Target::None, round.rate);
    add.add(SECTION, name("against pgbench"), "×", Target::AtLeast(0.6), round.rate / yardstick);
    add.add(SECTION, name("accepted meanwhile"), "messages/s", Target::None, round.accepted);
    add.add(SECTION, name("CPU of the gateway"), "µs/message", Target::AtMost(150.0), round.gateway);
    add.add(SECTION, name("CPU of PostgreSQL"), "µs/message", Target::None, round.postgres);
    add.add(SECTION, name("CPU of the simulator"), "µs/message", Target::None, round.simulator);
    add.add(SECTION, name("CPU of the load"), "µs/message", Target::None, round.load);
    add.add(SECTION, name("memory idle"), "MB", Target::AtMost(25.0), idle);
    add.add(SECTION, name("memory at most"), "MB", Target::AtMost(96.0), peak);
    bench.end(site)
}

struct Round {
    rate: f64,
    accepted: f64,
    gateway: f64,
    postgres: f64,
    simulator: f64,
    load: f64,
}

async fn round(bench: &Bench, site: &Site, driver: Driver) -> Result<Round> {
    let cpu = || -> Result<[f64; 3]> {
        let postgres = bench.postgres.process().cpu_with_children()?;
        Ok([site.gateway.process.cpu()?, postgres, site.carrier.process.cpu()?])
    };
    let (reports, before, started) = (site.reports(driver).await?, cpu()?, Instant::now());
    let time = bench.seconds(8, 3);
    let load = load::run(site.gateway.address, 256, Pace::For(time), driver.messages()).await?;
    ensure!(load.failed == 0, "{} of {} requests failed", load.failed, load.done);
    site.reports_come(driver, reports as u64 + load.done, Duration::from_mins(2)).await?;
    let (seconds, after) = (started.elapsed().as_secs_f64(), cpu()?);
    let question = "select count(*) from messages where status <> 'delivered'";
    let mut open = bench.postgres.sql(&site.database, question)?;
    // The reports are counted when they are read; the last commits may be on their way.
    for _ in 0..50 {
        if open == "0" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        open = bench.postgres.sql(&site.database, question)?;
    }
    ensure!(open == "0", "{open} messages are not delivered");
    let each = |index: usize| micros_each(after[index] - before[index], load.done);
    Ok(Round {
        rate: load.done as f64 / seconds,
        accepted: load.rate(),
        gateway: each(0),
        postgres: each(1),
        simulator: each(2),
        load: micros_each(load.cpu, load.done),
    })
}
