//! What operators switched off: single providers, or all sending. Every process reads it; what has no row is on.

use std::collections::HashMap;

use sqlx::PgConnection;

use super::StoreError;
use crate::domain::Timestamp;

/// Stands for all sending. No provider can have this name.
pub const ALL_SENDING: &str = "*";

/// Everything that was ever switched.
pub async fn all(connection: &mut PgConnection) -> Result<HashMap<String, bool>, StoreError> {
    let rows = sqlx::query!("select provider, enabled from provider_switches").fetch_all(connection).await?;
    Ok(rows.into_iter().map(|row| (row.provider, row.enabled)).collect())
}

/// Switches a provider, or all sending.
pub async fn set(
    connection: &mut PgConnection,
    provider: &str,
    enabled: bool,
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query!(
        "insert into provider_switches (provider, enabled, changed_at) values ($1, $2, $3)
         on conflict (provider) do update set enabled = excluded.enabled, changed_at = excluded.changed_at",
        provider,
        enabled,
        now,
    )
    .execute(connection)
    .await?;
    Ok(())
}
