-- :finished messages of the last 29 days and :waiting ones of the last hour, the same number in both layouts.
create temp table finished as select * from new_rows(:finished, '29 days');
update finished set status = 'delivered', final_at = created_at, sent_at = created_at;
insert into a.messages select * from finished;
insert into b.messages select f.*, 1, f.created_at, null, 1 from finished f;
create temp table waiting as select * from new_rows(:waiting, '1 hour');
insert into a.messages select * from waiting;
insert into a.queue (message_id, class, app, provider, due) select id, 1, app, provider, created_at from waiting;
insert into b.messages select w.*, 1, w.created_at, null, 0 from waiting w;
vacuum analyze;
checkpoint;
