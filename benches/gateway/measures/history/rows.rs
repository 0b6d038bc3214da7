//! Rows of the past, written straight into the tables that the migrations made: thirty days, a daily partition each.
//!
//! Everything about a message follows from its number, so that a query can ask for what is certainly there.

use anyhow::Result;
use md5::{Digest, Md5};

use super::super::super::postgres::Postgres;

/// How far the rows reach back, to yesterday.
pub const DAYS: u64 = 30;
/// So many numbers are written to.
const RECIPIENTS: u64 = 200_003;

/// The provider's own id of a message.
pub fn native(number: u64) -> String {
    hex::encode(Md5::digest(format!("native{number}")))
}

/// The app's own id of a message.
pub fn reference(number: u64) -> String {
    format!("order-{number}")
}

/// Whom a message went to.
pub fn recipient(number: u64) -> String {
    format!("+8490{:07}", number * 104_729 % RECIPIENTS)
}

/// What a message is: by its number, so that both tables agree.
const NUMBERED: &str = "
    select n, (lpad(to_hex((extract(epoch from at) * 1000)::bigint), 12, '0') || '7' || substr(md5('message' || n), 14))::uuid as id,
           at, '+8490' || lpad((n * 104729 % 200003)::text, 7, '0') as recipient, md5('native' || n) as native,
           case when n % 10 < 6 then 'nxcloud' else 'huawei' end as provider,
           case when n % 10 < 6 then '8615088888888' else 'isms100000001' end as sender,
           (array['bench', 'bench', 'bench', 'bench', 'bench', 'bench', 'other', 'other', 'other', 'third'])[n * 31 % 10 + 1] as app,
           case when n * 7919 % 1000 < 930 then 'delivered' when n * 7919 % 1000 < 970 then 'undelivered'
                when n * 7919 % 1000 < 990 then 'failed' else 'expired' end as status,
           case when n * 7919 % 1000 < 930 then null when n * 7919 % 1000 < 970 then 'recipient_unreachable'
                when n * 7919 % 1000 < 990 then 'recipient_invalid' else 'expired' end as code
    from (select n, date_trunc('day', now(), 'UTC') - (TO - n) * interval 'DAYS days' / (TO - FROM) as at
          from generate_series(FROM::bigint, TO::bigint - 1) n) as numbered";

const MESSAGES: &str = "
insert into messages (id, app, batch_id, status, completed_at, recipient, country, channel, sender, category, sensitive, body,
    encoding, segments, plan, provider, provider_message_id, error_code, error_category, error_retryable, provider_code, price,
    client_reference, expires_at, created_at, sent_at)
select id, app, case when n / 500 % 10 = 0 then (left(id::text, 9) || '0000-7000-8000-' || lpad(to_hex(n / 500), 12, '0'))::uuid end, status, at + interval '3 s', recipient, 'VN', 'sms',
    sender, 'transactional', false, 'Your parcel waits at the main gate, number ' || n, 'gsm7', 1,
    jsonb_build_object('route', 'all', 'steps', jsonb_build_array(jsonb_build_object('channel', 'sms', 'provider', provider)),
                       'failover', 'on_rejection', 'on_unknown', 'hold'),
    provider, native, code, case when code is not null then 'recipient' end, case when code is not null then false end,
    case when code is not null then 'UNDELIV' end, '0.0360', 'order-' || n, at + interval '4 hours', at, at + interval '20 ms'
from (NUMBERED) as m";

const ATTEMPTS: &str = "
insert into attempts (id, message_id, number, step, provider, channel, sender, recipient, call_id, status, provider_message_id,
    error_code, error_category, error_retryable, provider_code, started_at, answered_at, completed_at, segments, price)
select (left(id::text, 14) || '7' || substr(md5('attempt' || n), 14))::uuid, id, 1, 0, provider, 'sms', sender, recipient,
    md5('call' || n)::uuid, status, native, code, case when code is not null then 'recipient' end,
    case when code is not null then false end, case when code is not null then 'UNDELIV' end, at, at + interval '20 ms',
    at + interval '3 s', 1, '0.0360'
from (NUMBERED) as m";

/// Writes the messages with these numbers, and their attempts. Indexes that are not unique are made anew afterwards, which is
/// much faster than to keep them current.
pub fn write(postgres: &Postgres, database: &str, from: u64, to: u64) -> Result<()> {
    let today = "date_trunc('day', now(), 'UTC')::date";
    postgres.sql(database, &format!("select ensure_partitions({today} - {DAYS}, {today})"))?;
    let indexes = "select indexdef, indexname from pg_indexes where tablename in ('messages', 'attempts') and indexdef !~ 'UNIQUE'";
    let indexes = postgres.sql(database, indexes)?;
    let indexes: Vec<(&str, &str)> = indexes.lines().filter_map(|line| line.rsplit_once('|')).collect();
    for (_, name) in &indexes {
        postgres.sql(database, &format!("drop index {name}"))?;
    }
    let fill = |statement: &str| {
        let numbered = NUMBERED.replace("FROM", &from.to_string()).replace("TO", &to.to_string());
        let statement = statement.replace("NUMBERED", &numbered.replace("DAYS", &DAYS.to_string()));
        postgres.sql(database, &statement)
    };
    let make = |table: &str| -> Result<()> {
        for (definition, _) in
            indexes.iter().filter(|(definition, _)| definition.contains(&format!(" public.{table} ")))
        {
            let whole = definition.replace(" ON ONLY ", " ON ");
            postgres.sql(database, &format!("set maintenance_work_mem = '256MB'; {whole}"))?;
        }
        postgres.sql(database, &format!("analyze {table}"))?;
        Ok(())
    };
    std::thread::scope(|scope| {
        let attempts = scope.spawn(|| fill(ATTEMPTS).and_then(|_| make("attempts")));
        fill(MESSAGES).and_then(|_| make("messages"))?;
        attempts.join().map_err(|_| anyhow::anyhow!("the rows were not written"))?
    })?;
    postgres.sql(database, "checkpoint")?;
    Ok(())
}
