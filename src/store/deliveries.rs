//! Delivering events: which receivers have something waiting, taking it under a lease, and what came of the tries.
//!
//! A receiver is an app's webhook or a host that a `callback_url` names. What waits for one never stands before what waits for
//! another.

use std::collections::HashMap;

use chrono::TimeDelta;
use sqlx::{PgConnection, Postgres, QueryBuilder};
use uuid::Uuid;

use super::{
    StoreError,
    events::{self, EventFilter, StoredEvent},
    life::Lease,
    small, unsmall,
};
use crate::domain::{Timestamp, event::DeliveryStatus, ids::EventId};

/// A receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Whose it is.
    pub app: String,
    /// Empty for the app's webhook, else the origin of `callback_url`s.
    pub receiver: String,
}

/// What waits for a receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// For which one.
    pub line: Line,
    /// When the first of it is due that nobody has taken.
    pub due: Option<Timestamp>,
    /// When the oldest happened that was tried and not taken, those left out that somebody asked for.
    pub oldest_failed: Option<Timestamp>,
    /// It asked for a pause that is not over.
    pub is_paused: bool,
}

/// The receivers for whom something waits.
pub async fn lines(connection: &mut PgConnection, now: Timestamp) -> Result<Vec<Waiting>, StoreError> {
    // From one receiver to the next along the index: a long queue has as few of them as a short one.
    let rows = sqlx::query!(
        r#"with recursive line (app, receiver) as (
               (select app, receiver from webhook_queue order by app, receiver limit 1)
               union all
               select next.app, next.receiver
               from line cross join lateral (
                   select q.app, q.receiver from webhook_queue q where (q.app, q.receiver) > (line.app, line.receiver)
                   order by q.app, q.receiver limit 1
               ) as next
           )
           select line.app as "app!", line.receiver as "receiver!",
                  (select q.due from webhook_queue q
                   where q.app = line.app and q.receiver = line.receiver and (q.lease_until is null or q.lease_until < now())
                   order by q.due limit 1) as due,
                  (select q.event_id from webhook_queue q
                   where q.app = line.app and q.receiver = line.receiver and q.tries > 0 and not q.asked_for
                   order by q.event_id limit 1) as oldest_failed,
                  exists (select from webhook_pauses p
                          where p.app = line.app and p.receiver = line.receiver and p.until > $1) as "is_paused!"
           from line"#,
        now,
    )
    .fetch_all(connection)
    .await?;
    let rows = rows.into_iter().map(|row| Waiting {
        line: Line { app: row.app, receiver: row.receiver },
        due: row.due,
        oldest_failed: row.oldest_failed.map(|id| EventId(id).time()),
        is_paused: row.is_paused,
    });
    Ok(rows.collect())
}

/// A place among what waits for a receiver: by when it is due, then by its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// When it is due.
    pub due: Timestamp,
    /// Which event it is.
    pub event: Uuid,
}

impl Place {
    /// Before everything.
    pub const FIRST: Self = Self { due: Timestamp::UNIX_EPOCH, event: Uuid::nil() };
}

/// What was claimed.
#[derive(Debug, Clone, Default)]
pub struct Claims {
    /// To be delivered, in the order in which it was due.
    pub events: Vec<Claimed>,
    /// How far it goes; none: there was nothing.
    pub last: Option<Place>,
    /// What cannot be read, and is failed by that.
    pub unreadable: Vec<Uuid>,
}

/// An event that this process is about to deliver.
#[derive(Debug, Clone)]
pub struct Claimed {
    /// The event.
    pub event: StoredEvent,
    /// When it was due.
    pub due: Timestamp,
    /// Tries since it was queued.
    pub tries: u16,
    /// Its address answered 410, and nobody has asked for it since.
    pub is_off: bool,
    /// Somebody asked for it.
    pub asked_for: bool,
    /// Who has it.
    pub lease: Uuid,
}

/// Takes what is due for a receiver after a place and until a time, without waiting for anybody. `webhook_url` is the app's as it is
/// configured now.
pub async fn claim(
    connection: &mut PgConnection,
    line: &Line,
    webhook_url: Option<&str>,
    (after, until): (Place, Timestamp),
    limit: i64,
    lease: Lease,
) -> Result<Claims, StoreError> {
    not_waiting_for_the_disk(&mut *connection).await?;
    let taken = sqlx::query!(
        r#"with due as (
               select event_id from webhook_queue
               where app = $1 and receiver = $2 and (due, event_id) > ($3, $4) and due <= $5
                 and (lease_until is null or lease_until < now())
               order by due, event_id limit $6
               for update skip locked
           )
           update webhook_queue q set lease = $7, lease_until = now() + make_interval(secs => $8)
           from due where q.event_id = due.event_id
           returning q.event_id, q.due, q.tries, q.asked_for"#,
        line.app,
        line.receiver,
        after.due,
        after.event,
        until,
        limit,
        lease.token,
        lease.length.as_secs_f64(),
    )
    .fetch_all(&mut *connection)
    .await?;
    let mut claims =
        Claims { last: taken.iter().map(|row| Place { due: row.due, event: row.event_id }).max(), ..Claims::default() };
    let ids: Vec<Uuid> = taken.iter().map(|row| row.event_id).collect();
    let mut found = readable(&mut *connection, &ids, &mut claims.unreadable).await?;
    let off = switched_off(&mut *connection, &line.app, webhook_url, &found).await?;
    let lost = |id: &Uuid| !found.contains_key(id) && !claims.unreadable.contains(id);
    let lost: Vec<Uuid> = ids.iter().copied().filter(lost).collect();
    if !lost.is_empty() {
        // Their day was dropped meanwhile.
        sqlx::query!("delete from webhook_queue where event_id = any($1)", &lost).execute(connection).await?;
    }
    let claimed = taken.into_iter().filter_map(|row| {
        let event = found.remove(&row.event_id)?;
        let address = event.callback_url.as_deref().or(webhook_url);
        let is_off = !row.asked_for && address.is_some_and(|address| off.iter().any(|url| url == address));
        Some(Claimed {
            event,
            due: row.due,
            tries: unsmall(row.tries),
            is_off,
            asked_for: row.asked_for,
            lease: lease.token,
        })
    });
    claims.events = claimed.collect();
    claims.events.sort_by_key(|claimed| (claimed.due, claimed.event.id));
    Ok(claims)
}

/// What a crash of the database takes back of this transaction is done once more, with the same ids: nobody waits for the disk.
async fn not_waiting_for_the_disk(connection: &mut PgConnection) -> Result<(), StoreError> {
    sqlx::raw_sql("set local synchronous_commit = off").execute(connection).await?;
    Ok(())
}

/// Events with what they are about. One that cannot be read is failed: the others do not wait for it.
async fn readable(
    connection: &mut PgConnection,
    ids: &[Uuid],
    unreadable: &mut Vec<Uuid>,
) -> Result<HashMap<Uuid, StoredEvent>, StoreError> {
    let mut events = Vec::new();
    match events::with_ids(&mut *connection, ids).await {
        Ok(all) => events = all,
        Err(error) if error.lies_with_the_data() => {
            for id in ids {
                match events::with_ids(&mut *connection, std::slice::from_ref(id)).await {
                    Ok(one) => events.extend(one),
                    Err(error) if error.lies_with_the_data() => unreadable.push(*id),
                    Err(error) => return Err(error),
                }
            }
            fail(connection, unreadable).await?;
        }
        Err(error) => return Err(error),
    }
    Ok(events.into_iter().map(|event| (event.id.0, event)).collect())
}

async fn fail(connection: &mut PgConnection, ids: &[Uuid]) -> Result<(), StoreError> {
    sqlx::query!(
        "with over as (delete from webhook_queue where event_id = any($1) returning event_id)
         update events e set delivery = 'failed', last_error = 'it cannot be read' from over where e.id = over.event_id",
        ids,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Which of the addresses in hand answered 410.
async fn switched_off(
    connection: &mut PgConnection,
    app: &str,
    webhook_url: Option<&str>,
    events: &HashMap<Uuid, StoredEvent>,
) -> Result<Vec<String>, StoreError> {
    let own = events.values().filter_map(|event| event.callback_url.clone());
    let addresses: Vec<String> = own.chain(webhook_url.map(str::to_owned)).collect();
    let rows =
        sqlx::query_scalar!("select url from webhook_switches where app = $1 and url = any($2)", app, &addresses)
            .fetch_all(connection)
            .await?;
    Ok(rows)
}

/// What came of a try.
#[derive(Debug, Clone)]
pub struct Tried {
    /// Of which event.
    pub event: EventId,
    /// Who had it.
    pub lease: Uuid,
    /// How it stands now.
    pub delivery: DeliveryStatus,
    /// The next try; none: no more are made.
    pub next: Option<Timestamp>,
    /// Tries since it was queued.
    pub tries: u16,
    /// Where it went; none: nothing was sent.
    pub url: Option<String>,
    /// When.
    pub at: Timestamp,
    /// What was answered.
    pub status_code: Option<u16>,
    /// Why it was not taken.
    pub error: Option<String>,
}

/// Writes down what came of tries, which are sorted by their events. Whose lease is lost changes nothing any more: somebody else has
/// it, or has asked for it anew.
pub async fn record(connection: &mut PgConnection, results: &[Tried]) -> Result<(), StoreError> {
    not_waiting_for_the_disk(&mut *connection).await?;
    let ids: Vec<Uuid> = results.iter().map(|result| result.event.0).collect();
    let leases: Vec<Uuid> = results.iter().map(|result| result.lease).collect();
    let deliveries: Vec<&str> = results.iter().map(|result| result.delivery.as_str()).collect();
    let next: Vec<Option<Timestamp>> = results.iter().map(|result| result.next).collect();
    let tries: Vec<i16> = results.iter().map(|result| small(result.tries)).collect();
    let urls: Vec<Option<&str>> = results.iter().map(|result| result.url.as_deref()).collect();
    let times: Vec<Timestamp> = results.iter().map(|result| result.at).collect();
    let codes: Vec<Option<i16>> = results.iter().map(|result| result.status_code.map(small)).collect();
    let errors: Vec<Option<&str>> = results.iter().map(|result| result.error.as_deref()).collect();
    sqlx::query!(
        // The rows of the queue decide, once they are locked: until then it may be asked for anew. Whoever writes to both tables
        // locks those first, in the order of their ids.
        "with n as materialized (
             select *
             from unnest($1::uuid[], $2::uuid[], $3::text[], $4::timestamptz[], $5::smallint[], $6::text[],
                         $7::timestamptz[], $8::smallint[], $9::text[])
                  as u (id, lease, delivery, next, tries, url, at, code, error)
         ), held as materialized (
             select q.event_id from n join webhook_queue q on q.event_id = n.id and q.lease = n.lease
             order by q.event_id for update of q
         ), again as (
             update webhook_queue q set due = n.next, tries = n.tries, lease = null, lease_until = null
             from held join n on n.id = held.event_id where q.event_id = held.event_id and n.next is not null
         ), over as (
             delete from webhook_queue q using held join n on n.id = held.event_id
             where q.event_id = held.event_id and n.next is null
         )
         update events e
         set delivery = n.delivery, tries = e.tries + (n.url is not null)::int, url = coalesce(n.url, e.url),
             tried_at = case when n.url is null then e.tried_at else n.at end,
             last_status_code = case when n.url is null then e.last_status_code else n.code end, last_error = n.error
         from held join n on n.id = held.event_id where e.id = held.event_id",
        &ids,
        &leases,
        &deliveries as &[&str],
        &next as &[Option<Timestamp>],
        &tries,
        &urls as &[Option<&str>],
        &times,
        &codes as &[Option<i16>],
        &errors as &[Option<&str>],
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Sends nothing more to an address: it answered 410.
pub async fn switch_off(
    connection: &mut PgConnection,
    line: (&str, &str),
    url: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query!(
        "insert into webhook_switches (app, receiver, url, disabled_at) values ($1, $2, $3, $4)
         on conflict (app, url) do nothing",
        line.0,
        line.1,
        url,
        now,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The address took something again.
pub async fn switch_on(connection: &mut PgConnection, app: &str, url: &str) -> Result<(), StoreError> {
    sqlx::query!("delete from webhook_switches where app = $1 and url = $2", app, url).execute(connection).await?;
    Ok(())
}

/// Forgets the switches of webhooks that are no longer configured: whoever configures one again means it.
pub async fn forget_switches(connection: &mut PgConnection, configured: &[(String, String)]) -> Result<(), StoreError> {
    let (apps, urls): (Vec<String>, Vec<String>) = configured.iter().cloned().unzip();
    sqlx::query!(
        "delete from webhook_switches s
         where s.receiver = ''
           and not exists (select from unnest($1::text[], $2::text[]) as n (app, url) where n.app = s.app and n.url = s.url)",
        &apps,
        &urls,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The webhooks that answered 410, with their addresses and since when.
pub async fn switched_off_webhooks(
    connection: &mut PgConnection,
) -> Result<HashMap<(String, String), Timestamp>, StoreError> {
    let rows = sqlx::query!("select app, url, disabled_at from webhook_switches where receiver = ''")
        .fetch_all(connection)
        .await?;
    Ok(rows.into_iter().map(|row| ((row.app, row.url), row.disabled_at)).collect())
}

/// Sends nothing to a receiver until a time: it asked for that.
pub async fn pause(
    connection: &mut PgConnection,
    app: &str,
    receiver: &str,
    until: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query!(
        "insert into webhook_pauses (app, receiver, until) values ($1, $2, $3)
         on conflict (app, receiver) do update set until = greatest(webhook_pauses.until, excluded.until)",
        app,
        receiver,
        until,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The most events that are queued again in one statement.
const AT_ONCE: i64 = 5_000;

/// Queues one event once more, whatever became of it. False: there is no such event, or it is another app's.
pub async fn redeliver(
    connection: &mut PgConnection,
    app: Option<&str>,
    id: EventId,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let mut query =
        QueryBuilder::<Postgres>::new("with e as (select e.id, e.app, e.receiver from events e where e.id = ");
    query.push_bind(id.0);
    if let Some(app) = app {
        query.push(" and e.app = ").push_bind(app.to_owned());
    }
    queue_again(&mut query, now);
    Ok(query.build().execute(connection).await?.rows_affected() > 0)
}

/// From one event of many that are asked for at once to the next: what happens meanwhile goes between them.
const APART: TimeDelta = TimeDelta::milliseconds(10);

/// Queues events once more, from the oldest on: so many at once, but at most `limit`. `before` is how many were queued so already. Gives
/// back which those are.
pub async fn redeliver_some(
    connection: &mut PgConnection,
    filter: &EventFilter,
    after: Option<Uuid>,
    (before, limit): (i64, i64),
    now: Timestamp,
) -> Result<Vec<Uuid>, StoreError> {
    let ids = some(&mut *connection, filter, after, AT_ONCE.min(limit)).await?;
    let (Some(first), Some(last)) = (ids.first(), ids.last()) else { return Ok(ids) };
    let mut query =
        QueryBuilder::<Postgres>::new("with e as (select e.id, e.app, e.receiver from events e where e.id = any(");
    query.push_bind(ids.clone()).push(") and e.id between ").push_bind(*first).push(" and ").push_bind(*last);
    let before = i32::try_from(before).unwrap_or(i32::MAX);
    queue_again(&mut query, now + APART * before);
    query.build().execute(connection).await?;
    Ok(ids)
}

/// The ids of events that fit, oldest first.
pub async fn some(
    connection: &mut PgConnection,
    filter: &EventFilter,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Uuid>, StoreError> {
    let mut query = QueryBuilder::<Postgres>::new("select e.id from events e where true");
    filter.push_to(&mut query);
    if let Some(newest) = filter.newest() {
        query.push(" and e.id < ").push_bind(newest);
    }
    if let Some(oldest) = filter.oldest() {
        query.push(" and e.id >= ").push_bind(oldest);
    }
    if let Some(after) = after {
        query.push(" and e.id > ").push_bind(after);
    }
    query.push(format!(" order by e.id limit {limit}"));
    Ok(query.build_query_scalar().fetch_all(connection).await?)
}

fn queue_again(query: &mut QueryBuilder<Postgres>, now: Timestamp) {
    query.push(
        "), queued as (insert into webhook_queue (event_id, app, receiver, due, asked_for) select id, app, receiver, ",
    );
    query.push_bind(now);
    query.push(" + (row_number() over (order by id) - 1) * make_interval(secs => ");
    query.push_bind(APART.as_seconds_f64());
    // Who is delivering it just now loses it: what was asked for comes after that.
    query.push(
        "), true from e order by id on conflict (event_id) do update
         set due = excluded.due, tries = 0, asked_for = true, lease = null, lease_until = null returning event_id)
         update events set delivery = 'pending' from queued where events.id = queued.event_id",
    );
}
