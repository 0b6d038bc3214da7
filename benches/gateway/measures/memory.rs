//! Memory with a backlog: messages that wait for a paused provider must cost the process nothing.

use std::time::Duration;

use anyhow::Result;

use super::{Bench, Driver, Pace, Target, copies, load, stats::number};

const SECTION: &str = "Memory with a backlog";

/// Before and after the backlog is there.
pub async fn measure(bench: &mut Bench) -> Result<()> {
    let site = bench.site(false).await?;
    site.gateway.pause(Driver::Nxcloud.provider()).await?;
    let time = bench.seconds(30, 8);
    tokio::time::sleep(Duration::from_secs(3)).await;
    let (idle, _) = site.gateway.process.memory()?;
    // What the first messages bring along (tables of numbers, connections) is not the backlog's.
    load::run(site.gateway.address, 8, Pace::Count(500), Driver::Nxcloud.messages()).await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let (warm, _) = site.gateway.process.memory()?;
    let count = bench.choose(1_000_000, 50_000);
    copies::make(bench, &site, "queued", count).await?;
    let before = site.gateway.process.cpu()?;
    tokio::time::sleep(time).await;
    let cpu = site.gateway.process.cpu()? - before;
    let (loaded, _) = site.gateway.process.memory()?;
    let waiting = bench.postgres.sql(&site.database, "select count(*) from queue where send_due is not null")?;
    bench.report.note(format!("Backlog: {waiting} messages waited for a paused provider for {time:?}."));
    let name = format!("with {} messages queued", number(count as f64));
    let add = &mut bench.report;
    add.add(SECTION, "idle", "MB", Target::AtMost(25.0), idle);
    add.add(SECTION, "after 500 messages", "MB", Target::None, warm);
    add.add(SECTION, name.clone(), "MB", Target::AtMost(96.0), loaded);
    add.add(SECTION, format!("{name}, against the 500"), "×", Target::AtMost(1.2), loaded / warm);
    add.add(SECTION, "CPU of the gateway meanwhile", "% of a core", Target::None, cpu / time.as_secs_f64() * 100.0);
    bench.end(site)
}
