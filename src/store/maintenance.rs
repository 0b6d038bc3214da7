//! Partitions ahead of time, the end of old days, and what the sweeps look for.

use sqlx::PgConnection;
use uuid::Uuid;

use super::{StoreError, batches};
use crate::domain::{Timestamp, ids::MessageId};

/// Making a day's tables takes a tenth of a second on an idle disk and many on a busy one, and another process may be at it.
const MAY_TAKE_LONG: &str = "set local statement_timeout = '2min'; set local lock_timeout = '2min'";
/// Whoever waits for a table keeps everybody else off it, so that this stays short.
const TABLES_ARE_IN_USE: &str = "set local lock_timeout = '2s'";

/// Days for which partitions are made ahead.
const DAYS_AHEAD: i64 = 7;

/// Makes the partitions around today. Harmless to repeat, by any number of processes at once.
pub async fn ensure_partitions(connection: &mut PgConnection, now: Timestamp) -> Result<i32, StoreError> {
    let first = (now - chrono::TimeDelta::days(1)).date_naive();
    let last = (now + chrono::TimeDelta::days(DAYS_AHEAD)).date_naive();
    // One process at a time, so that two do not make the same table.
    take_turn(&mut *connection).await?;
    let made = sqlx::query_scalar!(
        r#"select ensure_partitions($1::text::date, $2::text::date) as "made!""#,
        first.to_string(),
        last.to_string()
    )
    .fetch_one(connection)
    .await?;
    Ok(made)
}

/// Drops one table of a day that is older than days are kept; none when there are no more. A day with a message that is not final
/// stays. Attempts go with their message; decisions, pushes and reports may be younger than it, and go with their own day.
pub async fn drop_old_day(connection: &mut PgConnection, keep_days: u32, now: Timestamp) -> Result<i32, StoreError> {
    take_turn(&mut *connection).await?;
    let dropped = sqlx::query_scalar!(
        r#"select drop_partitions($1::text::date) as "dropped!""#,
        oldest_day(keep_days, now).to_string()
    )
    .fetch_one(&mut *connection)
    .await?;
    Ok(dropped)
}

/// Deletes what is as old as the days that were dropped and does not lie in tables of days.
pub async fn forget_old(connection: &mut PgConnection, keep_days: u32, now: Timestamp) -> Result<(), StoreError> {
    let oldest = oldest_day(keep_days, now).to_string();
    sqlx::raw_sql(MAY_TAKE_LONG).execute(&mut *connection).await?;
    sqlx::query!("delete from inbound_messages where id < first_uuid_of_day($1::text::date)", oldest)
        .execute(&mut *connection)
        .await?;
    sqlx::query!("delete from webhook_pauses where until < $1", now).execute(&mut *connection).await?;
    // The addresses of single messages go with those.
    let since = now - chrono::TimeDelta::days(i64::from(keep_days));
    sqlx::query!("delete from webhook_switches where receiver <> '' and disabled_at < $1", since)
        .execute(&mut *connection)
        .await?;
    batches::forget(connection, &oldest).await
}

fn oldest_day(keep_days: u32, now: Timestamp) -> chrono::NaiveDate {
    (now - chrono::TimeDelta::days(i64::from(keep_days))).date_naive()
}

async fn take_turn(connection: &mut PgConnection) -> Result<(), StoreError> {
    sqlx::raw_sql(MAY_TAKE_LONG).execute(&mut *connection).await?;
    sqlx::query!("select pg_advisory_xact_lock(7305813)").execute(&mut *connection).await?;
    sqlx::raw_sql(TABLES_ARE_IN_USE).execute(connection).await?;
    Ok(())
}

// What is looked for below is locked at once, queue and message together and without waiting for anybody: whoever holds a row is
// about to change it, and the next sweep sees what came of that.

/// Messages whose lease ran out: a call may have been made, and nobody wrote down what came of it.
pub async fn lease_ran_out(connection: &mut PgConnection, limit: i64) -> Result<Vec<MessageId>, StoreError> {
    let rows = sqlx::query_scalar!(
        "select q.message_id from queue q join messages m on m.id = q.message_id
         where q.lease is not null and q.lease_until < now()
         order by q.lease_until limit $1 for update of q, m skip locked",
        limit,
    )
    .fetch_all(connection)
    .await?;
    Ok(ids(rows))
}

/// Messages that wait for a provider and are no longer valid.
pub async fn validity_over(
    connection: &mut PgConnection,
    now: Timestamp,
    limit: i64,
) -> Result<Vec<MessageId>, StoreError> {
    let rows = sqlx::query_scalar!(
        "select q.message_id from queue q join messages m on m.id = q.message_id
         where q.send_due is not null and q.lease is null and q.expires_at <= $2
         order by q.expires_at limit $1 for update of q, m skip locked",
        limit,
        now,
    )
    .fetch_all(connection)
    .await?;
    Ok(ids(rows))
}

/// Messages whose timer is due: a window that closes, a poll, a step that waited.
pub async fn timer_due(
    connection: &mut PgConnection,
    now: Timestamp,
    limit: i64,
) -> Result<Vec<MessageId>, StoreError> {
    let rows = sqlx::query_scalar!(
        "select q.message_id from queue q join messages m on m.id = q.message_id
         where q.timer_due <= $2
         order by q.timer_due limit $1 for update of q, m skip locked",
        limit,
        now,
    )
    .fetch_all(connection)
    .await?;
    Ok(ids(rows))
}

/// Messages that wait for a provider that is not there, and have somewhere else to go.
pub async fn stranded(
    connection: &mut PgConnection,
    provider: &str,
    now: Timestamp,
    limit: i64,
) -> Result<Vec<MessageId>, StoreError> {
    let rows = sqlx::query_scalar!(
        "select q.message_id from queue q join messages m on m.id = q.message_id
         where q.provider = $3 and q.send_due <= $2 and q.lease is null and not q.scheduled and q.has_next and q.expires_at > $2
         order by q.class, q.send_due limit $1 for update of q, m skip locked",
        limit,
        now,
        provider,
    )
    .fetch_all(connection)
    .await?;
    Ok(ids(rows))
}

/// Messages that wait for a provider that is no longer configured, and have somewhere else to go.
pub async fn orphaned(
    connection: &mut PgConnection,
    configured: &[String],
    now: Timestamp,
    limit: i64,
) -> Result<Vec<MessageId>, StoreError> {
    // From one provider to the next along the index: a long queue has as few of them as a short one.
    let waited_for = sqlx::query_scalar!(
        r#"with recursive p (provider) as (
               (select provider from queue where send_due is not null and lease is null and not scheduled
                order by provider limit 1)
               union all
               select (select q.provider from queue q
                       where q.send_due is not null and q.lease is null and not q.scheduled and q.provider > p.provider
                       order by q.provider limit 1)
               from p where p.provider is not null
           )
           select provider as "provider!" from p where provider is not null"#
    )
    .fetch_all(&mut *connection)
    .await?;
    let gone: Vec<String> = waited_for.into_iter().filter(|provider| !configured.contains(provider)).collect();
    if gone.is_empty() {
        return Ok(Vec::new());
    }
    let rows = sqlx::query_scalar!(
        "select q.message_id from queue q join messages m on m.id = q.message_id
         where q.provider = any($3) and q.send_due <= $2 and q.lease is null and not q.scheduled and q.has_next and q.expires_at > $2
         order by q.send_due limit $1 for update of q, m skip locked",
        limit,
        now,
        &gone,
    )
    .fetch_all(connection)
    .await?;
    Ok(ids(rows))
}

/// Scheduled messages of a class that are due are `queued` from now on.
pub async fn release_scheduled(
    connection: &mut PgConnection,
    class: i16,
    now: Timestamp,
    limit: i64,
) -> Result<u64, StoreError> {
    let done = sqlx::query!(
        "with due as (
             select q.message_id from queue q join messages m on m.id = q.message_id
             where q.scheduled and q.class = $2 and q.send_due <= $1 order by q.send_due limit $3
             for update of q, m skip locked
         ), released as (
             update queue q set scheduled = false from due where q.message_id = due.message_id returning q.message_id
         )
         update messages m set status = 'queued' from released where m.id = released.message_id and m.status = 'scheduled'",
        now,
        class,
        limit,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

fn ids(rows: Vec<Uuid>) -> Vec<MessageId> {
    rows.into_iter().map(MessageId).collect()
}
