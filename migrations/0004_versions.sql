-- Fewer indexes and no locks on the way of most messages; measured in benches/REPORT.md.

-- Copying may take longer than an ordinary statement.
set local statement_timeout = 0;
set local lock_timeout = 0;

-- Goes up with every change of a message or of what belongs to it. Whoever saves says which version it knew, so that nothing has
-- to be locked between reading and saving.
alter table messages add column version integer not null default 0;

-- Attempts lie in the partition of their message's day and are found by it: one index instead of two, and a lookup by message
-- touches one partition. The status is in no index any more, so that a report's update stays a HOT update.
create table attempts_before as select * from attempts;
drop table attempts;

create table attempts (
    message_id          uuid        not null,
    number              smallint    not null check (number > 0),
    id                  uuid        not null,
    step                smallint    not null,
    provider            text        not null,
    channel             text        not null,
    sender              text        not null,
    recipient           text        not null,
    call_id             uuid        not null,
    status              text        not null check (status in ('sending', 'sent', 'delivered', 'undelivered', 'failed',
                                                   'expired', 'unknown')),
    provider_message_id text,
    error_code          text,
    error_category      text,
    error_retryable     boolean,
    provider_code       text,
    started_at          timestamptz not null,
    answered_at         timestamptz,
    completed_at        timestamptz,
    evidence_until      timestamptz,
    next_poll_at        timestamptz,
    polls               smallint    not null default 0,
    segments            smallint,
    price               text,
    parts_delivered     smallint[]  not null default '{}',
    resend_allowed      boolean     not null default true,
    primary key (message_id, number)
) partition by range (message_id);

create index attempts_provider_message on attempts (provider_message_id, provider) where provider_message_id is not null;
create index attempts_call on attempts (call_id, recipient);

-- As before, but a day's table is made by itself and attached then: that lets others read and write meanwhile, which
-- `create table … partition of` does not.
create or replace function ensure_partitions(first_day date, last_day date) returns integer
language plpgsql as $$
declare
    parent text;
    day date;
    name text;
    made integer := 0;
begin
    foreach parent in array array['messages', 'attempts', 'decisions', 'callbacks', 'reports'] loop
        for day in select generate_series(first_day, last_day, interval '1 day')::date loop
            name := parent || '_' || to_char(day, 'YYYYMMDD');
            if to_regclass(name) is null then
                execute format('create table %I (like %I including all) with (fillfactor = 70)', name, parent);
                execute format('alter table %I attach partition %I for values from (%L) to (%L)',
                    parent, name, first_uuid_of_day(day), first_uuid_of_day(day + 1));
                made := made + 1;
            end if;
        end loop;
    end loop;
    return made;
end
$$;

-- A message of any day that there is may be tried again.
do $$
declare
    first date;
    last date;
begin
    select min(to_date(right(c.relname, 8), 'YYYYMMDD')), max(to_date(right(c.relname, 8), 'YYYYMMDD')) into first, last
    from pg_inherits i join pg_class c on c.oid = i.inhrelid
    where i.inhparent = 'messages'::regclass;
    if first is not null then
        perform ensure_partitions(first, last);
    end if;
end
$$;

insert into attempts (message_id, number, id, step, provider, channel, sender, recipient, call_id, status, provider_message_id,
                      error_code, error_category, error_retryable, provider_code, started_at, answered_at, completed_at,
                      evidence_until, next_poll_at, polls, segments, price, parts_delivered, resend_allowed)
select message_id, number, id, step, provider, channel, sender, recipient, call_id, status, provider_message_id, error_code,
       error_category, error_retryable, provider_code, started_at, answered_at, completed_at, evidence_until, next_poll_at,
       polls, segments, price, parts_delivered, resend_allowed
from attempts_before;

drop table attempts_before;
