//! What apps with a daily limit have sent today (UTC), counted over all processes in the transaction that stores it.

use sqlx::PgConnection;

use super::StoreError;
use crate::domain::Timestamp;

/// Counts messages for apps and says how many each has then. Sorted inside, so that two units of work wait for each other; the rows
/// stay locked until the end of the transaction.
pub async fn add(
    connection: &mut PgConnection,
    counts: &[(&str, i64)],
    now: Timestamp,
) -> Result<Vec<(String, i64)>, StoreError> {
    if counts.is_empty() {
        return Ok(Vec::new());
    }
    let mut sorted = counts.to_vec();
    sorted.sort_unstable();
    let apps: Vec<&str> = sorted.iter().map(|(app, _)| *app).collect();
    let wanted: Vec<i64> = sorted.iter().map(|(_, count)| *count).collect();
    let rows = sqlx::query!(
        "insert into app_days as d (app, day, accepted)
         select app, $3, wanted from unnest($1::text[], $2::bigint[]) as n (app, wanted)
         on conflict (app, day) do update set accepted = d.accepted + excluded.accepted
         returning app, accepted",
        &apps as &[&str],
        &wanted,
        now.date_naive(),
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (row.app, row.accepted)).collect())
}

/// Forgets days that are over.
pub async fn forget(connection: &mut PgConnection, now: Timestamp) -> Result<(), StoreError> {
    let oldest = (now - chrono::TimeDelta::days(2)).date_naive();
    sqlx::query!("delete from app_days where day < $1", oldest).execute(connection).await?;
    Ok(())
}
