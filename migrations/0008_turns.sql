-- Apps take turns. Inside a class a claim goes from app to app along the index, beginning behind the app that was served last,
-- and reads only what it takes; so an app stands before the time.

-- A long queue takes a moment to index.
set local statement_timeout = 0;

-- Nobody may take a row while the index is built, so that dropping the old one at the end need not wait for anybody who in
-- turn waits for us: that would throw the work away.
lock table queue in access exclusive mode;

-- What is scheduled is not in it before it is due: a claim would have to read past it.
create index queue_turns on queue (provider, class, app, send_due)
    where send_due is not null and lease is null and not scheduled;

-- What may go on to another provider while its own is not there, so that what may not need not be read to find it.
create index queue_stranded on queue (provider, class, send_due)
    where send_due is not null and lease is null and not scheduled and has_next;

drop index queue_send;

-- What is scheduled is released class by class: codes do not wait for marketing that was due before them.
drop index queue_scheduled;
create index queue_scheduled on queue (class, send_due) where scheduled;
