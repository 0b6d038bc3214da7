-- Layout b: the whole life of 100 messages in four commits.
\set p random(0, 1)
\set n random(1, 99900)
begin;
insert into b.messages (app, recipient, sender, channel, category, country, provider, route, steps, failover, on_unknown, body, metadata, client_reference, encoding, segments, sensitive, status, class, due)
select app, recipient, sender, channel, category, country, provider, route, steps, failover, on_unknown, body, metadata, client_reference, encoding, segments, sensitive, status, 1, now()
from sample where n between :n and :n + 99;
commit;
begin;
select coalesce(array_agg(id), '{}')::text as ids from (
  select id from b.messages where provider = concat('p', :p::int) and class = 1 and status = 'queued' and due <= now()
  and id >= uuid7_floor(now() - interval '3 days') order by due limit 100 for update skip locked) due \gset
with claimed as (
  update b.messages m set status = 'sending', due = now() + interval '30 s', lease_token = gen_random_uuid(), attempt = m.attempt + 1
  where m.id = any (:ids::uuid[]) returning m.id, m.attempt, m.provider, m.lease_token, m.body),
opened as (
  insert into b.attempts (id, message_id, number, provider, state, lease_token, started_at)
  select uuid7(now()), id, attempt, provider, 'open', lease_token, now() from claimed returning id)
select coalesce((select array_agg(id) from opened), '{}')::text as attempts, (select sum(length(body)) from claimed) as length \gset
commit;
begin;
update b.attempts t set state = 'taken', provider_message_id = t.id::text, answered_at = now()
where t.id = any (:attempts::uuid[]) and t.state = 'open';
update b.messages m set status = 'sent', sent_at = now(), sequence = sequence + 1, due = now() + interval '76 h', lease_token = null
where m.id = any (:ids::uuid[]);
commit;
begin;
update b.attempts t set state = 'delivered', reported_at = now()
where t.id = any (:attempts::uuid[]);
update b.messages m set status = 'delivered', final_at = now(), sequence = sequence + 1
where m.id = any (:ids::uuid[]);
commit;
