-- Layout a: the whole life of 100 messages in four commits.
\set p random(0, 1)
\set n random(1, 99900)
begin;
with new as (
  insert into a.messages (app, recipient, sender, channel, category, country, provider, route, steps, failover, on_unknown, body, metadata, client_reference, encoding, segments, sensitive, status)
  select app, recipient, sender, channel, category, country, provider, route, steps, failover, on_unknown, body, metadata, client_reference, encoding, segments, sensitive, status
  from sample where n between :n and :n + 99 returning id, app, provider, created_at)
insert into a.queue (message_id, class, app, provider, due) select id, 1, app, provider, created_at from new;
commit;
begin;
with due as (
  select message_id from a.queue where provider = concat('p', :p::int) and class = 1 and state = 0 and due <= now()
  order by due limit 100 for update skip locked),
claimed as (
  update a.queue q set state = 1, due = now() + interval '30 s', lease_token = gen_random_uuid(), attempt = q.attempt + 1
  where q.message_id = any (array(select message_id from due)) returning q.message_id, q.attempt, q.provider, q.lease_token),
opened as (
  insert into a.attempts (id, message_id, number, provider, state, lease_token, started_at)
  select uuid7(now()), message_id, attempt, provider, 'open', lease_token, now() from claimed returning id, message_id)
select coalesce(array_agg(id), '{}')::text as attempts, coalesce(array_agg(message_id), '{}')::text as ids from opened \gset
select sum(length(body)) as length from a.messages where id = any (:ids::uuid[]) \gset
commit;
begin;
update a.attempts t set state = 'taken', provider_message_id = t.id::text, answered_at = now()
where t.id = any (:attempts::uuid[]) and t.state = 'open';
update a.messages m set status = 'sent', sent_at = now(), sequence = sequence + 1
where m.id = any (:ids::uuid[]);
update a.queue q set state = 2, due = now() + interval '76 h', lease_token = null
where q.message_id = any (:ids::uuid[]);
commit;
begin;
update a.attempts t set state = 'delivered', reported_at = now()
where t.id = any (:attempts::uuid[]);
update a.messages m set status = 'delivered', final_at = now(), sequence = sequence + 1
where m.id = any (:ids::uuid[]);
delete from a.queue q where q.message_id = any (:ids::uuid[]);
commit;
