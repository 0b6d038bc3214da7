-- What happened that apps are told of, and what is still to be delivered.

-- One row for each event, written in the transaction of the change that it tells of. Its id says when that was.
create table events (
    id                 uuid        not null,
    app                text        not null,
    type               text        not null,
    message_id         uuid,
    batch_id           uuid,
    inbound_message_id uuid,
    -- Of the events of one message: 1, 2, 3…
    sequence           smallint,
    -- Of a message: what about it changes, as it was then; the rest of it is constant and lies in its own row. Of a batch: the batch.
    state              jsonb,
    -- Where the message's own events go; null: to the app's webhook, whichever that is at the moment of a try.
    callback_url       text,
    -- Whom it goes to: empty for the app's webhook, else the origin of the callback_url.
    receiver           text        not null,
    -- skipped: there was nowhere to deliver it, or its app does not want to know.
    delivery           text        not null check (delivery in ('pending', 'delivered', 'failed', 'skipped')),
    tries              smallint    not null default 0,
    -- Of the last try.
    url                text,
    tried_at           timestamptz,
    last_status_code   smallint,
    last_error         text,
    primary key (id)
) partition by range (id);

create index events_app on events (app, id);
create index events_message on events (message_id) where message_id is not null;

-- Events that wait to be delivered: small, unpartitioned, the only table that is claimed from. An index of what is due would have
-- to be asked of every day that is kept, again and again.
create table webhook_queue (
    event_id    uuid        primary key,
    app         text        not null,
    -- As that of the event: a receiver that is away delays only itself.
    receiver    text        not null,
    due         timestamptz not null,
    -- Tries since it was queued; the event itself counts all.
    tries       smallint    not null default 0,
    -- Somebody asked for it: it is sent although its address is switched off.
    asked_for   boolean     not null default false,
    -- In database time, not business time.
    lease       uuid,
    lease_until timestamptz,
    constraint webhook_queue_lease_is_whole check ((lease is null) = (lease_until is null))
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);

create index webhook_queue_due on webhook_queue (app, receiver, due);
-- For how long the oldest has been waiting. What is taken at the first try is never in it.
create index webhook_queue_failed on webhook_queue (app, receiver, event_id) where tries > 0 and not asked_for;

-- Addresses that answered 410: nothing more is sent there.
create table webhook_switches (
    app         text        not null,
    url         text        not null,
    receiver    text        not null,
    disabled_at timestamptz not null,
    primary key (app, url)
);

-- Receivers that asked for a pause. A row that is over means nothing.
create table webhook_pauses (
    app      text        not null,
    receiver text        not null,
    until    timestamptz not null,
    primary key (app, receiver)
);

-- How many events there were of a message so far.
alter table messages add column events smallint not null default 0;

-- As before, but for every partitioned table that there is: each has its days by the range of its ids.
create or replace function ensure_partitions(first_day date, last_day date) returns integer
language plpgsql as $$
declare
    parent text;
    day date;
    name text;
    made integer := 0;
begin
    for parent in
        select relname from pg_class
        where relkind = 'p' and relnamespace = (select relnamespace from pg_class where oid = 'messages'::regclass)
        order by relname
    loop
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

-- Drops one day of one table and says how many there were to drop: none or one. Dropping keeps everybody else off the whole table
-- until the commit, so that two in one transaction would have to be taken in the order in which everybody else takes them.
create or replace function drop_partitions(oldest date) returns integer
language plpgsql as $$
declare
    part record;
    day date;
begin
    for part in
        select c.relname as name from pg_inherits i
        join pg_class c on c.oid = i.inhrelid
        join pg_class p on p.oid = i.inhparent
        where p.relkind = 'p' and c.relkind = 'r'
          and p.relnamespace = (select relnamespace from pg_class where oid = 'messages'::regclass)
        order by c.relname
    loop
        day := to_date(right(part.name, 8), 'YYYYMMDD');
        continue when day >= oldest;
        -- What belongs to a message may be younger than it, never older: the days before the oldest open message are free.
        continue when exists (select from queue where message_id < first_uuid_of_day(day + 1));
        execute format('drop table %I', part.name);
        return 1;
    end loop;
    return 0;
end
$$;
