//! How many one-time codes a number got lately, over all apps and processes.

use sqlx::PgConnection;
use uuid::Uuid;

use super::StoreError;
use crate::domain::{
    Timestamp,
    ids::{first_uuid_at, time_of},
};

/// Stands for the turn of those who lock very many numbers.
const TURN_OF_MANY: i64 = i64::MIN;

/// Lets those who are about to lock very many numbers take turns, over all processes, until the end of the transaction: the server
/// has room for so many locks only. To be called before [`lock`], so that nobody who waits here holds a number.
pub async fn take_turn(connection: &mut PgConnection) -> Result<(), StoreError> {
    sqlx::query!("select pg_advisory_xact_lock($1)", TURN_OF_MANY).fetch_all(connection).await?;
    Ok(())
}

/// Keeps others who are about to count the same numbers waiting until the end of the transaction. `keys` stand for the numbers and
/// come sorted, so that two units of work never wait for each other in a circle.
pub async fn lock(connection: &mut PgConnection, keys: &[i64]) -> Result<(), StoreError> {
    sqlx::query!("select pg_advisory_xact_lock(key) from unnest($1::bigint[]) as n (key)", keys)
        .fetch_all(connection)
        .await?;
    Ok(())
}

/// The newest one-time codes to each of these numbers since then, at most so many of each, newest first. Those that never left
/// the gateway do not count.
pub async fn recent(
    connection: &mut PgConnection,
    recipients: &[&str],
    since: Timestamp,
    most: i64,
) -> Result<Vec<(String, Timestamp)>, StoreError> {
    let rows = sqlx::query!(
        r#"select n.recipient as "recipient!", m.id as "id!: Uuid"
           from unnest($1::text[]) as n (recipient),
                lateral (select id from messages
                         where recipient = n.recipient and id >= $2 and category = 'otp' and not test
                               and (provider is not null or status not in ('failed', 'canceled', 'expired'))
                         order by id desc limit $3) as m
           order by n.recipient, m.id desc"#,
        recipients as &[&str],
        first_uuid_at(since),
        most,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (row.recipient, time_of(row.id))).collect())
}
