//! Reports alone: messages that are sent already, and a storm of signed pushes about them.

use std::sync::Arc;

use anyhow::{Result, ensure};

use super::{Bench, CALLBACK_TOKEN, Pace, Site, Target, copies, http, load, micros_each, own_cost::nxcloud_signature};

const SECTION: &str = "Reports: signed pushes, kept and applied before they are answered";
/// As many as the simulator makes at once.
const CONNECTIONS: usize = 64;

/// One round, with the yardstick before it.
pub async fn measure(bench: &mut Bench) -> Result<()> {
    let yardstick = bench.yardstick()?;
    let site = bench.site(false).await?;
    let count = bench.choose(60_000, 20_000);
    prepare(bench, &site, count).await?;
    let before = (site.gateway.process.cpu()?, bench.postgres.process().cpu_with_children()?);
    let load = load::run(site.gateway.address, CONNECTIONS, Pace::Count(count), pushes(count)).await?;
    ensure!(load.failed == 0, "{} of {} pushes failed", load.failed, load.done);
    let cpu = site.gateway.process.cpu()? - before.0;
    let postgres = bench.postgres.process().cpu_with_children()? - before.1;
    let applied = bench.postgres.sql(&site.database, "select count(*) from messages where status = 'delivered'")?;
    ensure!(applied == count.to_string(), "{applied} of {count} reports were applied");
    let add = &mut bench.report;
    add.add(SECTION, "applied", "reports/s", Target::None, load.rate());
    add.add(SECTION, "against pgbench", "×", Target::AtLeast(1.5), load.rate() / yardstick);
    add.add(SECTION, "p99 of the answer", "ms", Target::None, load.percentile(99.0));
    add.add(SECTION, "CPU of the gateway", "µs/report", Target::None, micros_each(cpu, load.done));
    add.add(SECTION, "CPU of PostgreSQL", "µs/report", Target::None, micros_each(postgres, load.done));
    bench.end(site)
}

/// Messages that are sent and wait for their reports.
async fn prepare(bench: &Bench, site: &Site, count: u64) -> Result<()> {
    let headers = "content-type: application/json\r\n";
    let late = http::request("POST", "/_control/settings", headers, r#"{"report_delay_ms":3600000}"#);
    http::once(site.carrier.address, &late).await?;
    copies::make(bench, site, "sent", count).await
}

/// All pushes, written and signed beforehand.
fn pushes(count: u64) -> load::Write {
    let push = |n: u64| {
        let (native, to) = (copies::native(n), copies::recipient(n));
        let body = format!(
            r#"{{"messageId":"{native}","toPhone":"{to}","fromPhone":"8615088888888","content":"Your parcel waits at the main gate","size":"1","price":"0.0360","receiveTime":"2026-01-31 12:00:00","smsStatus":"DELIVRD","type":"1"}}"#
        );
        http::request("POST", &format!("/callbacks/nxcloud/{CALLBACK_TOKEN}"), &nxcloud_signature("dr", &body), &body)
    };
    let all: Vec<Vec<u8>> = (1..=count).map(push).collect();
    Arc::new(move |number, buffer| {
        if let Some(push) = usize::try_from(number).ok().and_then(|index| all.get(index)) {
            buffer.extend_from_slice(push);
        }
    })
}
