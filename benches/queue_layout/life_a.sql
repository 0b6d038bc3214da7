-- Layout a: the whole life of 100 messages in four commits.
\set p random(0, 1)
begin;
with new as (insert into a.messages select * from new_rows(100, '0') returning id, app, provider, created_at)
insert into a.queue (message_id, class, app, provider, due) select id, 1, app, provider, created_at from new;
commit;
begin;
with due as (
  select message_id from a.queue where provider = 'p' || :p and class = 1 and state = 0 and due <= now()
  order by due limit 100 for update skip locked),
claimed as (
  update a.queue q set state = 1, due = now() + interval '30 s', lease_token = gen_random_uuid(), attempt = q.attempt + 1
  where q.message_id = any (array(select message_id from due)) returning q.message_id, q.attempt, q.provider, q.lease_token),
opened as (
  insert into a.attempts (id, message_id, number, provider, state, lease_token, started_at)
  select uuid7(now()), message_id, attempt, provider, 'open', lease_token, now() from claimed returning id, message_id)
select coalesce(array_agg(o.id), '{}')::text as attempts, coalesce(array_agg(m.id), '{}')::text as ids, max(length(m.body)) as longest
from opened o join a.messages m on m.id = o.message_id \gset
commit;
begin;
update a.attempts t set state = 'taken', provider_message_id = t.id::text, answered_at = now()
from unnest(:attempts::uuid[]) u(id) where t.id = u.id and t.state = 'open';
update a.messages m set status = 'sent', sent_at = now(), sequence = sequence + 1 from unnest(:ids::uuid[]) u(id) where m.id = u.id;
update a.queue q set state = 2, due = now() + interval '76 h', lease_token = null from unnest(:ids::uuid[]) u(id) where q.message_id = u.id;
commit;
begin;
update a.attempts t set state = 'delivered', reported_at = now() from unnest(:attempts::uuid[]) u(id) where t.id = u.id;
update a.messages m set status = 'delivered', final_at = now(), sequence = sequence + 1 from unnest(:ids::uuid[]) u(id) where m.id = u.id;
delete from a.queue q using unnest(:ids::uuid[]) u(id) where q.message_id = u.id;
commit;
