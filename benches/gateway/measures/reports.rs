//! Reports alone: messages that are sent already, and a storm of signed pushes about them.

use std::{sync::Arc, time::Duration};

use anyhow::{Result, ensure};

use super::{
    Bench, CALLBACK_TOKEN, Driver, Pace, Site, Target, gateway, http, load, micros_each, own_cost::nxcloud_signature,
};

const SECTION: &str = "Reports: signed pushes, kept and applied before they are answered";
/// As many as the simulator makes at once.
const CONNECTIONS: usize = 64;

/// Copies of one message that the gateway itself has sent, with ids of their own.
const COPIES: &str = "
create temp table copy as
select n, md5('report' || n) as native, '+8490' || lpad(n::text, 7, '0') as recipient,
       (prefix || substr(md5('message' || n), 16))::uuid as message, (prefix || substr(md5('attempt' || n), 16))::uuid as attempt
from generate_series(1, COUNT) n,
     lateral (select lpad(to_hex((extract(epoch from now()) * 1000)::bigint), 12, '0') || '700' as prefix) as p;
insert into messages select (jsonb_populate_record(m, jsonb_build_object('id', copy.message, 'recipient', copy.recipient,
    'provider_message_id', copy.native))).* from messages m, copy where m.id = 'SAMPLE';
insert into attempts select (jsonb_populate_record(a, jsonb_build_object('id', copy.attempt, 'message_id', copy.message,
    'recipient', copy.recipient, 'provider_message_id', copy.native))).* from attempts a, copy where a.message_id = 'SAMPLE';
insert into queue select (jsonb_populate_record(q, jsonb_build_object('message_id', copy.message))).*
    from queue q, copy where q.message_id = 'SAMPLE';
analyze messages, attempts, queue";

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

async fn prepare(bench: &Bench, site: &Site, count: u64) -> Result<()> {
    let late = http::request(
        "POST",
        "/_control/settings",
        "content-type: application/json\r\n",
        r#"{"report_delay_ms":3600000}"#,
    );
    http::once(site.carrier.address, &late).await?;
    load::run(site.gateway.address, 1, Pace::Count(1), Driver::Nxcloud.messages()).await?;
    let sent = "select id from messages where status = 'sent'";
    gateway::until("a message is sent", Duration::from_secs(10), async || {
        Ok(!bench.postgres.sql(&site.database, sent)?.is_empty())
    })
    .await?;
    let sample = bench.postgres.sql(&site.database, sent)?;
    let copies = COPIES.replace("COUNT", &count.to_string()).replace("SAMPLE", &sample);
    bench.postgres.sql(&site.database, &copies)?;
    bench.postgres.sql(&site.database, "checkpoint")?;
    Ok(())
}

/// All pushes, written and signed beforehand.
fn pushes(count: u64) -> load::Write {
    let push = |n: u64| {
        let native = md5_hex(&format!("report{n}"));
        let body = format!(
            r#"{{"messageId":"{native}","toPhone":"8490{n:07}","fromPhone":"8615088888888","content":"Your parcel waits at the main gate","size":"1","price":"0.0360","receiveTime":"2026-01-31 12:00:00","smsStatus":"DELIVRD","type":"1"}}"#
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

fn md5_hex(text: &str) -> String {
    use md5::Digest as _;
    hex::encode(md5::Md5::digest(text))
}
