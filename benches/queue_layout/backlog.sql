-- :finished messages of the last 29 days and :waiting ones of the last hour, the same in both layouts.
create temp table finished as
select uuid7(at) as id, at, s.* from (select i, now() - interval '29 days' * random() as at from generate_series(1, :finished) i) r
join sample s on s.n = 1 + r.i % 100000;
update finished set status = 'delivered';
insert into a.messages (id, app, recipient, sender, channel, category, country, provider, route, steps, failover, on_unknown, body, metadata, client_reference, encoding, segments, sensitive, status, created_at, sent_at, final_at)
select id, app, recipient, sender, channel, category, country, provider, route, steps, failover, on_unknown, body, metadata, client_reference, encoding, segments, sensitive, status, at, at, at from finished;
insert into b.messages (id, app, recipient, sender, channel, category, country, provider, route, steps, failover, on_unknown, body, metadata, client_reference, encoding, segments, sensitive, status, created_at, sent_at, final_at, class, due)
select id, app, recipient, sender, channel, category, country, provider, route, steps, failover, on_unknown, body, metadata, client_reference, encoding, segments, sensitive, status, at, at, at, 1, at from finished;

create temp table waiting as
select uuid7(at) as id, at, s.* from (select i, now() - interval '1 hour' * random() as at from generate_series(1, :waiting) i) r
join sample s on s.n = 1 + r.i % 100000;
insert into a.messages (id, app, recipient, sender, channel, category, country, provider, route, steps, failover, on_unknown, body, metadata, client_reference, encoding, segments, sensitive, status, created_at)
select id, app, recipient, sender, channel, category, country, provider, route, steps, failover, on_unknown, body, metadata, client_reference, encoding, segments, sensitive, status, at from waiting;
insert into a.queue (message_id, class, app, provider, due) select id, 1, app, provider, at from waiting;
insert into b.messages (id, app, recipient, sender, channel, category, country, provider, route, steps, failover, on_unknown, body, metadata, client_reference, encoding, segments, sensitive, status, created_at, class, due)
select id, app, recipient, sender, channel, category, country, provider, route, steps, failover, on_unknown, body, metadata, client_reference, encoding, segments, sensitive, status, at, 1, at from waiting;
vacuum analyze;
checkpoint;
