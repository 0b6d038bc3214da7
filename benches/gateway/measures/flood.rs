//! One-time codes of one app while another app floods: how long until each is on its way to the carrier.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};

use super::{
    Bench, Driver, Pace, Target,
    gateway::{OTHER_KEY, post},
    load,
};

const SECTION: &str = "One-time codes while another app floods";

/// Milliseconds from the moment of acceptance to the attempt's, in the middle and at 99 of 100.
const WAITED: &str =
    "select string_agg((extract(epoch from waited) * 1000)::numeric(12, 3)::text, ' ' order by waited) from (
    select unnest(percentile_disc(array[0.5, 0.99]) within group (order by a.started_at - m.created_at)) as waited
    from messages m join attempts a on a.message_id = m.id where m.app = 'other') as both_of_them";

/// One round.
pub async fn measure(bench: &mut Bench) -> Result<()> {
    let site = bench.site(false).await?;
    site.warm_up(Driver::Nxcloud).await?;
    let (time, address) = (bench.seconds(6, 3), site.gateway.address);
    let before = site.reports(Driver::Nxcloud).await?;
    let flood = load::run(address, 128, Pace::For(time), Driver::Nxcloud.messages());
    let (flood, codes) = tokio::join!(flood, load::run(address, 4, Pace::Rate(25, time), codes()));
    let (flood, codes) = (flood?, codes?);
    ensure!(flood.failed + codes.failed == 0, "{} and {} requests failed", flood.failed, codes.failed);
    let all = before as u64 + flood.done + codes.done;
    site.reports_come(Driver::Nxcloud, all, Duration::from_mins(2)).await?;
    let waited = bench.postgres.sql(&site.database, WAITED)?;
    let (p50, p99) = waited.split_once(' ').context("no code was sent")?;
    let add = &mut bench.report;
    add.add(SECTION, "the flood", "messages/s", Target::None, flood.rate());
    add.add(SECTION, "a code: accept p99", "ms", Target::None, codes.percentile(99.0));
    add.add(SECTION, "a code: accepted to handed over, p50", "ms", Target::None, p50.parse()?);
    add.add(SECTION, "a code: accepted to handed over, p99", "ms", Target::AtMost(1000.0), p99.parse()?);
    bench.end(site)
}

fn codes() -> load::Write {
    Arc::new(|number, buffer| {
        let body = format!(r#"{{"to":"+8491{number:07}","text":"Your code is 482913","category":"otp"}}"#);
        post(buffer, OTHER_KEY, &body);
    })
}
