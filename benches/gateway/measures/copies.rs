//! Many messages like one that the gateway itself has made, in the state that it is in.
//!
//! The rows are copied by name, whatever columns the tables have, so that they are always what the product writes.

use std::time::Duration;

use anyhow::Result;

use super::{Bench, Driver, Pace, Site, gateway, load};

const COPIES: &str = "
create temp table copy as
select n, md5('native' || n) as native, '+8490' || lpad(n::text, 7, '0') as recipient,
       (prefix || substr(md5('message' || n), 16))::uuid as message, (prefix || substr(md5('attempt' || n), 16))::uuid as attempt
from generate_series(1, COUNT) n,
     lateral (select lpad(to_hex((extract(epoch from now()) * 1000)::bigint), 12, '0') || '700' as prefix) as p;
insert into messages select (jsonb_populate_record(m, jsonb_build_object('id', copy.message, 'recipient', copy.recipient,
    'provider_message_id', case when m.provider_message_id is not null then copy.native end))).*
    from messages m, copy where m.id = 'SAMPLE';
insert into attempts select (jsonb_populate_record(a, jsonb_build_object('id', copy.attempt, 'message_id', copy.message,
    'recipient', copy.recipient, 'provider_message_id', copy.native))).* from attempts a, copy where a.message_id = 'SAMPLE';
insert into queue select (jsonb_populate_record(q, jsonb_build_object('message_id', copy.message))).*
    from queue q, copy where q.message_id = 'SAMPLE';
analyze messages, attempts, queue";

/// Sends one message, waits until it has the status, and makes so many copies of it.
pub async fn make(bench: &Bench, site: &Site, status: &str, count: u64) -> Result<()> {
    load::run(site.gateway.address, 1, Pace::Count(1), Driver::Nxcloud.messages()).await?;
    let find = format!("select id from messages where status = '{status}' order by id limit 1");
    gateway::until("the message is as wanted", Duration::from_secs(10), async || {
        Ok(!bench.postgres.sql(&site.database, &find)?.is_empty())
    })
    .await?;
    let sample = bench.postgres.sql(&site.database, &find)?;
    let copies = COPIES.replace("COUNT", &count.to_string()).replace("SAMPLE", &sample);
    bench.postgres.sql(&site.database, &copies)?;
    // A checkpoint is not allowed among other statements.
    bench.postgres.sql(&site.database, "checkpoint")?;
    Ok(())
}

/// The provider's id in the copy with this number.
pub fn native(number: u64) -> String {
    use md5::Digest as _;
    hex::encode(md5::Md5::digest(format!("native{number}")))
}

/// The recipient of the copy with this number, in digits.
pub fn recipient(number: u64) -> String {
    format!("8490{number:07}")
}
