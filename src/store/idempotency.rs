//! Idempotency keys: one (app, key) makes at most one message or batch, for 24 hours, over all processes and restarts.
//!
//! A key is written in the transaction that stores what its request makes, so there is never one without the other. Which of the two
//! that is the fingerprint says: those of messages and of batches are never the same.

use sqlx::PgConnection;
use uuid::Uuid;

use super::StoreError;
use crate::domain::Timestamp;

/// How long a key is remembered.
pub const REMEMBERED_FOR: chrono::TimeDelta = chrono::TimeDelta::hours(24);

/// A key as a request gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// Whose request.
    pub app: String,
    /// As given.
    pub key: String,
    /// HMACs of the normalised request, by each root secret in use; the first one is written. A plain hash of a six-digit code
    /// could be guessed.
    pub fingerprints: Vec<[u8; 32]>,
}

impl IdempotencyKey {
    /// Was it used for the same request?
    pub fn is_repeated_by(&self, used: &Used) -> bool {
        self.fingerprints.iter().any(|own| own.as_slice() == used.fingerprint)
    }
}

/// A key that was used before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Used {
    /// Whose.
    pub app: String,
    /// Which.
    pub key: String,
    /// Of the request that used it.
    pub fingerprint: Vec<u8>,
    /// The id of what it made.
    pub made: Uuid,
}

/// Takes keys for what their requests make. Returns those whose keys were free; the others are in use. Sorted by key inside, so that two
/// processes with the same keys wait for each other instead of dead-locking; one that waits too long in vain gets
/// [`StoreError::KeyHeld`].
pub async fn take(
    connection: &mut PgConnection,
    keys: &[(&IdempotencyKey, Uuid)],
    now: Timestamp,
) -> Result<Vec<Uuid>, StoreError> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let mut sorted: Vec<&(&IdempotencyKey, Uuid)> = keys.iter().collect();
    sorted.sort_by(|a, b| (&a.0.app, &a.0.key).cmp(&(&b.0.app, &b.0.key)));
    let apps: Vec<&str> = sorted.iter().map(|(key, _)| key.app.as_str()).collect();
    let texts: Vec<&str> = sorted.iter().map(|(key, _)| key.key.as_str()).collect();
    let fingerprints: Vec<&[u8]> =
        sorted.iter().map(|(key, _)| key.fingerprints.first().map_or(&[][..], |own| own.as_slice())).collect();
    let made: Vec<Uuid> = sorted.iter().map(|(_, made)| *made).collect();
    let taken = sqlx::query_scalar!(
        "insert into idempotency_keys as k (app, key, fingerprint, message_id, created_at)
         select app, key, fingerprint, message, $5 from unnest($1::text[], $2::text[], $3::bytea[], $4::uuid[])
              as n (app, key, fingerprint, message)
         on conflict (app, key) do update
         set fingerprint = excluded.fingerprint, message_id = excluded.message_id, created_at = excluded.created_at
         where k.created_at <= $6
         returning message_id",
        &apps as &[&str],
        &texts as &[&str],
        &fingerprints as &[&[u8]],
        &made,
        now,
        now - REMEMBERED_FOR,
    )
    .fetch_all(connection)
    .await
    .map_err(StoreError::from);
    taken.map_err(|error| if error.is_lock_timeout() { StoreError::KeyHeld } else { error })
}

/// Gives keys back that this transaction took and stores nothing for.
pub async fn give_back(connection: &mut PgConnection, keys: &[&IdempotencyKey]) -> Result<(), StoreError> {
    if keys.is_empty() {
        return Ok(());
    }
    let apps: Vec<&str> = keys.iter().map(|key| key.app.as_str()).collect();
    let texts: Vec<&str> = keys.iter().map(|key| key.key.as_str()).collect();
    sqlx::query!(
        "delete from idempotency_keys k using unnest($1::text[], $2::text[]) as n (app, key)
         where k.app = n.app and k.key = n.key",
        &apps as &[&str],
        &texts as &[&str],
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// What is known about keys that are in use.
pub async fn find(connection: &mut PgConnection, keys: &[&IdempotencyKey]) -> Result<Vec<Used>, StoreError> {
    let apps: Vec<&str> = keys.iter().map(|key| key.app.as_str()).collect();
    let texts: Vec<&str> = keys.iter().map(|key| key.key.as_str()).collect();
    let rows = sqlx::query!(
        "select k.app, k.key, k.fingerprint, k.message_id
         from idempotency_keys k join unnest($1::text[], $2::text[]) as n (app, key) on n.app = k.app and n.key = k.key",
        &apps as &[&str],
        &texts as &[&str],
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Used { app: row.app, key: row.key, fingerprint: row.fingerprint, made: row.message_id })
        .collect())
}

/// Forgets keys that are old. One that is just being taken anew is passed over.
pub async fn forget(connection: &mut PgConnection, now: Timestamp) -> Result<u64, StoreError> {
    let gone = sqlx::query!(
        "delete from idempotency_keys where (app, key) in
             (select app, key from idempotency_keys where created_at <= $1 order by created_at limit 5000
              for update skip locked)",
        now - REMEMBERED_FOR,
    )
    .execute(connection)
    .await?;
    Ok(gone.rows_affected())
}
