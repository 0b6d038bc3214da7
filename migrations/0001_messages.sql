-- The store: facts are rows, the timeline is a view over them.
--
-- Big tables are partitioned by the range of their own id. Ids are UUIDv7, so a range of ids is a range of time: a lookup by id
-- touches one partition, and retention drops whole days.

create table messages (
    id                 uuid        not null,
    app                text        not null,
    batch_id           uuid,
    test               boolean     not null default false,

    status             text        not null check (status in ('scheduled', 'queued', 'sending', 'sent', 'delivered',
                                                  'undelivered', 'failed', 'expired', 'unknown', 'canceled')),
    -- When it became final; null while it is not. `unknown` may be either.
    completed_at       timestamptz,

    recipient          text        not null,
    country            text,
    channel            text        not null check (channel in ('sms', 'voice')),
    sender             text,
    category           text        not null check (category in ('otp', 'transactional', 'marketing')),

    -- The content, or its sealed form when it is sensitive; neither once a sensitive message is over.
    sensitive          boolean     not null,
    body               text,
    template           text,
    params             jsonb,
    sealed             bytea,
    encoding           text        check (encoding in ('gsm7', 'ucs2')),
    segments           smallint,

    -- What was decided at accept: route, steps, failover, on_unknown.
    plan               jsonb       not null,
    provider           text,
    provider_message_id text,
    error_code         text,
    error_category     text,
    error_retryable    boolean,
    provider_code      text,
    price              text,
    possible_duplicate boolean     not null default false,

    client_reference   text,
    metadata           jsonb,
    callback_url       text,
    send_at            timestamptz,
    expires_at         timestamptz not null,
    created_at         timestamptz not null,
    sent_at            timestamptz,

    primary key (id),
    constraint messages_sensitive_is_sealed check (not sensitive or (body is null and params is null)),
    constraint messages_open_is_not_completed
        check (completed_at is null or status not in ('scheduled', 'queued', 'sending', 'sent')),
    constraint messages_end_is_completed
        check (completed_at is not null or status not in ('delivered', 'undelivered', 'failed', 'expired', 'canceled'))
) partition by range (id);

-- The history. Only columns that never change are indexed, so that a change of status stays a HOT update.
create index messages_app on messages (app, id);
create index messages_recipient on messages (recipient, id);
create index messages_client_reference on messages (client_reference, id) where client_reference is not null;
create index messages_batch on messages (batch_id, id) where batch_id is not null;

-- One hand-over to one provider. The row is committed before the call is made.
create table attempts (
    id                  uuid        not null,
    message_id          uuid        not null,
    number              smallint    not null check (number > 0),
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
    primary key (id)
) partition by range (id);

create index attempts_message on attempts (message_id);
create index attempts_provider_message on attempts (provider, provider_message_id) where provider_message_id is not null;
create index attempts_call on attempts (call_id);
-- Unclear attempts that a report without a known id may be evidence for.
create index attempts_unclear on attempts (provider, recipient) where status = 'unknown' and provider_message_id is null;

-- What is not final: small, unpartitioned, the only table that is claimed from.
create table queue (
    message_id  uuid        primary key,
    app         text        not null,
    -- 0 otp, 1 transactional, 2 marketing
    class       smallint    not null,
    -- The hand-over that waits; send_due is null when none does.
    provider    text        not null,
    step        smallint    not null,
    tries       smallint    not null default 0,
    group_limit smallint,
    has_next    boolean     not null,
    attempts    smallint    not null default 0,
    send_due    timestamptz,
    -- Its message is `scheduled` until send_due.
    scheduled   boolean     not null default false,
    -- Report windows, polls, steps that wait.
    timer_due   timestamptz,
    expires_at  timestamptz not null,
    -- In database time, not business time.
    lease       uuid,
    lease_until timestamptz,
    constraint queue_lease_is_whole check ((lease is null) = (lease_until is null))
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);

create index queue_send on queue (provider, class, send_due) where send_due is not null and lease is null;
create index queue_expiry on queue (expires_at) where send_due is not null and lease is null;
create index queue_timer on queue (timer_due) where timer_due is not null;
create index queue_scheduled on queue (send_due) where scheduled;
create index queue_lease on queue (lease_until) where lease is not null;

-- What was decided and leaves no other row. Not written on the happy path.
create table decisions (
    id         uuid        not null,
    message_id uuid        not null,
    kind       text        not null,
    attempt    smallint,
    provider   text,
    provider_code text,
    detail     text        not null,
    primary key (id)
) partition by range (id);

create index decisions_message on decisions (message_id);

-- Every push as it came in. It is committed before it is answered.
create table callbacks (
    id             uuid        not null,
    provider       text        not null,
    headers        jsonb       not null,
    path           text        not null,
    -- Sealed: receipts may repeat the text of a sensitive message.
    body           bytea       not null,
    call_reference text,
    -- waiting: kept, not read yet. done: read. unreadable: could not be.
    state          text        not null check (state in ('waiting', 'done', 'unreadable')),
    problem        text,
    primary key (id)
) partition by range (id);

create index callbacks_waiting on callbacks (id) where state = 'waiting';

-- What a push or a poll said about one message.
create table reports (
    id                  uuid        not null,
    callback_id         uuid,
    provider            text        not null,
    message_id          uuid,
    attempt             smallint,
    -- applied: it changed something. ignored: too late, doubled, or nothing new. waiting: it fits no attempt yet.
    -- unmatched: it never did.
    outcome             text        not null check (outcome in ('applied', 'ignored', 'waiting', 'unmatched')),
    -- It was matched by sender and recipient, since it was the only evidence there could be.
    heuristic           boolean     not null default false,
    provider_message_id text,
    call_id             uuid,
    recipient           text,
    report              jsonb       not null,
    -- The next time to look for its attempt.
    rematch_at          timestamptz,
    primary key (id)
) partition by range (id);

create index reports_message on reports (message_id) where message_id is not null;
create index reports_waiting_id on reports (provider, provider_message_id) where outcome = 'waiting';
create index reports_waiting_call on reports (call_id, recipient) where outcome = 'waiting' and call_id is not null;
create index reports_rematch on reports (rematch_at) where outcome = 'waiting';

create table inbound_messages (
    id                  uuid        primary key,
    callback_id         uuid,
    app                 text,
    channel             text        not null,
    sender              text        not null,
    recipient           text        not null,
    body                text        not null,
    segments            smallint,
    provider            text        not null,
    provider_message_id text        not null,
    price               text,
    received_at         timestamptz not null,
    created_at          timestamptz not null,
    constraint inbound_messages_once unique (provider, provider_message_id)
);

create index inbound_messages_app on inbound_messages (app, id);
create index inbound_messages_sender on inbound_messages (sender, id);
create index inbound_messages_recipient on inbound_messages (recipient, id);

-- One (app, key) makes at most one message.
create table idempotency_keys (
    app         text        not null,
    key         text        not null,
    fingerprint bytea       not null,
    message_id  uuid        not null,
    created_at  timestamptz not null,
    primary key (app, key)
);

create index idempotency_keys_age on idempotency_keys (created_at);

-- What operators switched; a provider without a row is on.
create table provider_switches (
    provider   text        primary key,
    enabled    boolean     not null,
    changed_at timestamptz not null
);

-- Makes the partitions of the days from first to last (both included), where they are missing.
create function ensure_partitions(first_day date, last_day date) returns integer
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
                begin
                    -- Room in each page keeps updates within it (HOT); measured in docs/adr/0001-queue-table.md.
                    execute format('create table %I partition of %I for values from (%L) to (%L) with (fillfactor = 70)',
                        name, parent, first_uuid_of_day(day), first_uuid_of_day(day + 1));
                    made := made + 1;
                exception when duplicate_table or invalid_object_definition then
                    -- Another process was faster.
                    null;
                end;
            end if;
        end loop;
    end loop;
    return made;
end
$$;

-- The smallest UUIDv7 of a day (UTC): its first 48 bits are milliseconds since 1970.
create function first_uuid_of_day(day date) returns uuid
language sql immutable as $$
    select (lpad(to_hex((extract(epoch from day) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid
$$;

-- What is left of a provider's rate and daily limit, over all processes. Rows of providers without limits are never written.
create table provider_budgets (
    provider    text             primary key,
    tokens      double precision not null,
    refilled_at timestamptz      not null,
    day         date             not null,
    sent_today  bigint           not null
);

-- Drops the partitions of days before `oldest`, whole days only, and none that holds a message that is not final.
create function drop_partitions(oldest date) returns integer
language plpgsql as $$
declare
    parent text;
    part record;
    day date;
    dropped integer := 0;
begin
    foreach parent in array array['messages', 'attempts', 'decisions', 'callbacks', 'reports'] loop
        for part in
            select c.relname as name from pg_inherits i join pg_class c on c.oid = i.inhrelid
            where i.inhparent = parent::regclass
        loop
            day := to_date(right(part.name, 8), 'YYYYMMDD');
            continue when day >= oldest;
            -- What belongs to a message may be younger than it, never older: the days before the oldest open message are free.
            continue when exists (select from queue where message_id < first_uuid_of_day(day + 1));
            execute format('drop table %I', part.name);
            dropped := dropped + 1;
        end loop;
    end loop;
    return dropped;
end
$$;
