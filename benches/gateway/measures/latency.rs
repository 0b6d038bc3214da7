//! What the gateway adds to a commit while there is room: accept at a rate, beside pgbench at the same rate.

use anyhow::{Result, ensure};

use super::{super::pgbench::latency_at, Bench, Driver, Pace, Target, load};

const SECTION: &str = "Latency of accept at a rate, while messages are sent and reports applied";

/// One round at both rates.
pub async fn measure(bench: &mut Bench) -> Result<()> {
    for rate in [500, 2000] {
        let time = bench.seconds(6, 3);
        let commits = bench.pgbench.latencies(&bench.postgres, rate, time.as_secs())?;
        let site = bench.site(false).await?;
        site.warm_up(Driver::Nxcloud).await?;
        let load = load::run(site.gateway.address, 32, Pace::Rate(rate, time), Driver::Nxcloud.messages()).await?;
        ensure!(load.failed == 0, "{} of {} requests failed", load.failed, load.done);
        let (p50, p99) = (latency_at(&commits, 50.0), latency_at(&commits, 99.0));
        let name = |what: &str| format!("{rate}/s: {what}");
        let add = &mut bench.report;
        add.add(SECTION, name("commit p50 (pgbench)"), "ms", Target::None, p50);
        add.add(SECTION, name("commit p99 (pgbench)"), "ms", Target::None, p99);
        add.add(SECTION, name("accept p50"), "ms", Target::None, load.percentile(50.0));
        add.add(SECTION, name("accept p99"), "ms", Target::None, load.percentile(99.0));
        add.add(SECTION, name("accept p50 above the commit's"), "ms", Target::AtMost(0.5), load.percentile(50.0) - p50);
        add.add(
            SECTION,
            name("accept p99 against the commit's"),
            "×",
            Target::AtMost(2.0),
            load.percentile(99.0) / p99,
        );
        bench.end(site)?;
    }
    Ok(())
}
