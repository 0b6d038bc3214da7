-- Who opted out, and what apps have sent.

-- A recipient that is not to be written to: by an app, from any sender; or from one of our senders, by any app.
create table suppressions (
    id         uuid        not null,
    recipient  text        not null,
    -- One of the two is empty.
    app        text        not null,
    -- Without `+`: providers write numbers either way.
    sender     text        not null,
    source     text        not null check (source in ('keyword', 'carrier', 'api')),
    created_at timestamptz not null,
    -- False until what waited for the recipient has been stopped.
    applied    boolean     not null default false,
    primary key (recipient, app, sender),
    constraint suppressions_of_app_or_sender check ((app = '') <> (sender = ''))
);

create unique index suppressions_id on suppressions (id);
create index suppressions_app on suppressions (app, id) where app <> '';
create index suppressions_sender on suppressions (sender, id) where sender <> '';
create index suppressions_new on suppressions (id) where not applied;

-- Messages that were accepted from an app on a day (UTC), over all processes. Apps without a daily limit have no rows.
create table app_days (
    app      text   not null,
    day      date   not null,
    accepted bigint not null,
    primary key (app, day)
) with (fillfactor = 50);

-- Messages that were accepted for a prefix of numbers in a quarter of an hour, over all processes: the past that the present is
-- held against. Written now and then, many at once.
create table prefix_counts (
    quarter  timestamptz not null,
    prefix   text        not null,
    accepted bigint      not null,
    primary key (quarter, prefix)
);

create index prefix_counts_prefix on prefix_counts (prefix, quarter);
