-- The reference: one wide row per commit.
\set n random(1, 100000)
insert into a.messages (app, recipient, sender, channel, category, country, provider, route, steps, failover, on_unknown, body, metadata, client_reference, encoding, segments, sensitive, status)
select app, recipient, sender, channel, category, country, provider, route, steps, failover, on_unknown, body, metadata, client_reference, encoding, segments, sensitive, status
from sample where n = :n;
