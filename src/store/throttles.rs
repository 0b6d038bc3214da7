//! Pauses that providers asked for. Every process reads them, so that one process's answer spares all others a refusal.

use std::collections::HashMap;

use sqlx::PgConnection;

use super::{StoreError, attempts};
use crate::domain::{Timestamp, life::Cause};

/// A pause that a provider asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Throttle {
    /// Not before.
    pub until: Timestamp,
    /// What it said.
    pub cause: Option<Cause>,
}

/// All that are not over, by provider.
pub async fn all(connection: &mut PgConnection, now: Timestamp) -> Result<HashMap<String, Throttle>, StoreError> {
    let rows = sqlx::query!(
        "select provider, until, error_code, error_category, error_retryable, provider_code
         from provider_throttles where until > $1",
        now,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let cause = attempts::cause(
                "provider_throttles",
                row.error_code.as_deref(),
                row.error_category.as_deref(),
                row.error_retryable,
                row.provider_code,
            )?;
            Ok((row.provider, Throttle { until: row.until, cause }))
        })
        .collect()
}

/// Writes one down, unless a longer one is known.
pub async fn set(connection: &mut PgConnection, provider: &str, throttle: &Throttle) -> Result<(), StoreError> {
    let cause = throttle.cause.as_ref();
    sqlx::query!(
        "insert into provider_throttles as t
             (provider, until, error_code, error_category, error_retryable, provider_code)
         values ($1, $2, $3, $4, $5, $6)
         on conflict (provider) do update
         set until = excluded.until, error_code = excluded.error_code, error_category = excluded.error_category,
             error_retryable = excluded.error_retryable, provider_code = excluded.provider_code
         where t.until < excluded.until",
        provider,
        throttle.until,
        cause.map(|cause| cause.code.as_str()),
        cause.map(|cause| cause.category.as_str()),
        cause.map(|cause| cause.retryable),
        cause.and_then(|cause| cause.provider_code.as_deref()),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Lifts a provider's.
pub async fn lift(connection: &mut PgConnection, provider: &str) -> Result<(), StoreError> {
    sqlx::query!("delete from provider_throttles where provider = $1", provider).execute(connection).await?;
    Ok(())
}
