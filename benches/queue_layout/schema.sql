-- The two layouts under test, in schemas `a` and `b`, with the same wide message row, history indexes and daily partitions.
--   a: a slim, unpartitioned queue beside messages      b: the work is claimed on messages itself
-- psql variable: fillfactor (of messages and attempts, the same in both).

create function uuid7(at timestamptz) returns uuid language sql volatile parallel safe as $$
  select (lpad(to_hex((extract(epoch from at) * 1000)::bigint), 12, '0') || '7' || substr(gen_random_uuid()::text, 16))::uuid
$$;
create function uuid7_floor(at timestamptz) returns uuid language sql immutable as $$
  select (lpad(to_hex((extract(epoch from at) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid
$$;

create schema a;
create schema b;

create table a.messages (
  id uuid not null default uuid7(clock_timestamp()), app text not null, batch_id uuid, recipient text not null, sender text, channel text not null,
  category text not null, country text not null, provider text not null, route text not null, steps jsonb not null,
  step smallint not null default 0, failover text not null, on_unknown text not null, body text, template text,
  params jsonb, metadata jsonb, client_reference text, callback_url text, encoding text not null, segments smallint not null,
  sensitive boolean not null, test boolean not null default false, status text not null, error_code text,
  provider_code text, possible_duplicate boolean not null default false, sequence integer not null default 0,
  created_at timestamptz not null default now(), send_at timestamptz,
  valid_until timestamptz not null default now() + interval '4 hours',
  sent_at timestamptz, final_at timestamptz,
  primary key (id)
) partition by range (id);
create index on a.messages (app, id);
create index on a.messages (recipient, id);
create index on a.messages (app, client_reference) where client_reference is not null;

create table b.messages (
  like a.messages including defaults including indexes,
  class smallint not null, due timestamptz not null, lease_token uuid, attempt smallint not null default 0
) partition by range (id);
create index on b.messages (provider, class, due) where status = 'queued';
create index on b.messages (due) where status in ('sending', 'sent', 'unknown');

create table a.queue (
  message_id uuid primary key, class smallint not null, app text not null, provider text not null,
  state smallint not null default 0,  -- 0 waiting, 1 leased, 2 waits for its report
  due timestamptz not null,           -- when it may be sent, when the lease ends, when the report window ends
  lease_token uuid, attempt smallint not null default 0
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
create index on a.queue (provider, class, due) where state = 0;
create index on a.queue (due) where state <> 0;

create table a.attempts (
  id uuid not null, message_id uuid not null, number smallint not null, provider text not null, state text not null,
  lease_token uuid not null, provider_message_id text, provider_code text, started_at timestamptz not null,
  answered_at timestamptz, reported_at timestamptz, primary key (id)
) partition by range (id);
create index on a.attempts (message_id);
create index on a.attempts (provider, provider_message_id) where provider_message_id is not null;
create table b.attempts (like a.attempts including defaults including indexes) partition by range (id);

-- 30 days back, two ahead.
select format('create table %1$s.%2$s_%3$s partition of %1$s.%2$s for values from (%4$L) to (%5$L) with (fillfactor = %6$s)',
              s, t, to_char(d, 'YYYYMMDD'), uuid7_floor(d), uuid7_floor(d + interval '1 day'), :fillfactor)
from unnest('{a,b}'::text[]) s, unnest('{messages,attempts}'::text[]) t,
     generate_series(date_trunc('day', now()) - interval '30 days', date_trunc('day', now()) + interval '1 day', '1 day') d
\gexec

-- What is sent, made beforehand so that the rounds measure storing it; n runs from 1 to 100,000.
create unlogged table sample as
select i as n, 'app' || (i % 5) as app, '+8490' || lpad((random() * 9999999)::int::text, 7, '0') as recipient, 'SHOP' as sender,
       'sms' as channel, 'transactional' as category, 'VN' as country, 'p' || (i % 2) as provider, 'default' as route,
       '[{"provider": "p0", "from": "SHOP"}, {"provider": "p1", "from": "SHOP", "after_seconds": 45}]'::jsonb as steps,
       'on_rejection' as failover, 'hold' as on_unknown,
       'Your parcel ' || i || ' leaves the warehouse today and will reach you tomorrow between nine and noon.' as body,
       jsonb_build_object('order', i, 'campaign', 'autumn', 'shard', i % 16) as metadata,
       'ref-' || gen_random_uuid() as client_reference, 'gsm7' as encoding, 1::smallint as segments, false as sensitive, 'queued' as status
from generate_series(1, 100000) i;
alter table sample add primary key (n);
vacuum analyze sample;
