//! One-time codes by the prefix of their numbers, in quarters of an hour, over all processes.

use sqlx::PgConnection;

use super::StoreError;
use crate::domain::Timestamp;

/// The past that the last hour is held against.
pub const PAST: chrono::TimeDelta = chrono::TimeDelta::days(7);

/// A prefix that got many lately.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Busy {
    /// Its digits.
    pub prefix: String,
    /// In the last hour.
    pub last_hour: i64,
    /// In the whole of [`PAST`] before that hour.
    pub past: i64,
}

/// Adds to the counts of this quarter. Sorted inside, so that two processes wait for each other.
pub async fn add(connection: &mut PgConnection, counts: &[(&str, i64)], now: Timestamp) -> Result<(), StoreError> {
    if counts.is_empty() {
        return Ok(());
    }
    let mut sorted = counts.to_vec();
    sorted.sort_unstable();
    let prefixes: Vec<&str> = sorted.iter().map(|(prefix, _)| *prefix).collect();
    let counts: Vec<i64> = sorted.iter().map(|(_, count)| *count).collect();
    sqlx::query!(
        "insert into prefix_counts as c (quarter, prefix, accepted)
         select date_bin('15 minutes', $3::timestamptz, 'epoch'), prefix, accepted
         from unnest($1::text[], $2::bigint[]) as n (prefix, accepted)
         on conflict (quarter, prefix) do update set accepted = c.accepted + excluded.accepted",
        &prefixes as &[&str],
        &counts,
        now,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Prefixes that got more than `least` in the last hour.
pub async fn busy(connection: &mut PgConnection, least: i64, now: Timestamp) -> Result<Vec<Busy>, StoreError> {
    let hour = now - chrono::TimeDelta::hours(1);
    let rows = sqlx::query!(
        r#"select l.prefix, l.accepted::bigint as "last_hour!",
                  coalesce((select sum(p.accepted) from prefix_counts p
                            where p.prefix = l.prefix and p.quarter > $3 and p.quarter <= $1), 0)::bigint as "past!"
           from (select prefix, sum(accepted) as accepted from prefix_counts where quarter > $1 group by prefix) as l
           where l.accepted > $2::bigint"#,
        hour,
        least,
        hour - PAST,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| Busy { prefix: row.prefix, last_hour: row.last_hour, past: row.past }).collect())
}

/// When counting began, as far back as it is kept.
pub async fn began(connection: &mut PgConnection) -> Result<Option<Timestamp>, StoreError> {
    let first = sqlx::query_scalar!("select quarter from prefix_counts order by quarter limit 1");
    Ok(first.fetch_optional(connection).await?)
}

/// Forgets what is no longer looked at.
pub async fn forget(connection: &mut PgConnection, now: Timestamp) -> Result<(), StoreError> {
    let oldest = now - PAST - chrono::TimeDelta::days(1);
    sqlx::query!("delete from prefix_counts where quarter < $1", oldest).execute(connection).await?;
    Ok(())
}
