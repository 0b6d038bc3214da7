//! Accept alone: `POST /v1/messages` until 202, with a gateway that holds what it takes.

use anyhow::{Result, ensure};

use super::{Bench, Driver, Pace, Target, load, micros_each};

const SECTION: &str = "Accept: POST to durable 202, nothing sent meanwhile";

/// One round at 64 and at 256 connections, each with the yardstick before it.
pub async fn measure(bench: &mut Bench) -> Result<()> {
    for (connections, target) in [(64, Target::None), (256, Target::AtLeast(2.5))] {
        let yardstick = bench.yardstick()?;
        let site = bench.site(true).await?;
        load::run(site.gateway.address, connections, Pace::Count(2000), Driver::Nxcloud.messages()).await?;
        let before = (site.gateway.process.cpu()?, bench.postgres.process().cpu_with_children()?);
        let time = bench.seconds(5, 2);
        let load = load::run(site.gateway.address, connections, Pace::For(time), Driver::Nxcloud.messages()).await?;
        ensure!(load.failed == 0, "{} of {} requests failed", load.failed, load.done);
        let cpu = site.gateway.process.cpu()? - before.0;
        let postgres = bench.postgres.process().cpu_with_children()? - before.1;
        let add = &mut bench.report;
        let name = |what: &str| format!("{connections} connections: {what}");
        add.add(SECTION, name("accepted"), "messages/s", Target::None, load.rate());
        add.add(SECTION, name("against pgbench"), "×", target, load.rate() / yardstick);
        add.add(SECTION, name("p50"), "ms", Target::None, load.percentile(50.0));
        add.add(SECTION, name("p99"), "ms", Target::None, load.percentile(99.0));
        add.add(SECTION, name("CPU of the gateway"), "µs/message", Target::None, micros_each(cpu, load.done));
        add.add(SECTION, name("CPU of PostgreSQL"), "µs/message", Target::None, micros_each(postgres, load.done));
        bench.end(site)?;
    }
    Ok(())
}
