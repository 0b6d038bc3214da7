-- Layout b: the whole life of 100 messages in four commits.
\set p random(0, 1)
begin;
insert into b.messages select n.*, 1, n.created_at, null, 0 from new_rows(100, '0') n;
commit;
begin;
with due as (
  select id from b.messages where provider = 'p' || :p and class = 1 and status = 'queued' and due <= now()
  order by due limit 100 for update skip locked),
claimed as (
  update b.messages m set status = 'sending', due = now() + interval '30 s', lease_token = gen_random_uuid(), attempt = m.attempt + 1
  from due where m.id = due.id returning m.id, m.attempt, m.provider, m.lease_token, m.body),
opened as (
  insert into b.attempts (id, message_id, number, provider, state, lease_token, started_at)
  select uuid7(now()), id, attempt, provider, 'open', lease_token, now() from claimed returning id, message_id)
select coalesce(array_agg(o.id), '{}')::text as attempts, coalesce(array_agg(c.id), '{}')::text as ids, max(length(c.body)) as longest
from opened o join claimed c on c.id = o.message_id \gset
commit;
begin;
update b.attempts t set state = 'taken', provider_message_id = t.id::text, answered_at = now()
from unnest(:attempts::uuid[]) u(id) where t.id = u.id and t.state = 'open';
update b.messages m set status = 'sent', sent_at = now(), sequence = sequence + 1, due = now() + interval '76 h', lease_token = null
from unnest(:ids::uuid[]) u(id) where m.id = u.id;
commit;
begin;
update b.attempts t set state = 'delivered', reported_at = now() from unnest(:attempts::uuid[]) u(id) where t.id = u.id;
update b.messages m set status = 'delivered', final_at = now(), sequence = sequence + 1 from unnest(:ids::uuid[]) u(id) where m.id = u.id;
commit;
