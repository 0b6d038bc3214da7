//! Pushes of carriers as they came in. Committed before they are answered, read afterwards or in the same commit.

use sqlx::{PgConnection, types::Json};
use uuid::Uuid;

use super::StoreError;

/// A push as it came in.
#[derive(Debug, Clone)]
pub struct StoredCallback {
    /// Its id; also when it came in.
    pub id: Uuid,
    /// Whose address it came to.
    pub provider: String,
    /// Header names in lower case, values as text.
    pub headers: Vec<(String, String)>,
    /// Path and query.
    pub path: String,
    /// The very bytes.
    pub body: Vec<u8>,
    /// The call's reference, when the address named and authenticated one.
    pub call_reference: Option<String>,
}

/// What is known about a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallbackState {
    /// Kept, not read yet.
    Waiting,
    /// Read.
    Done,
    /// It could not be read.
    Unreadable,
}

impl CallbackState {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Done => "done",
            Self::Unreadable => "unreadable",
        }
    }
}

/// Keeps pushes.
pub async fn insert(
    connection: &mut PgConnection,
    callbacks: &[(&StoredCallback, CallbackState)],
) -> Result<(), StoreError> {
    if callbacks.is_empty() {
        return Ok(());
    }
    let each = || callbacks.iter().map(|(callback, _)| *callback);
    let ids: Vec<Uuid> = each().map(|callback| callback.id).collect();
    let providers: Vec<&str> = each().map(|callback| callback.provider.as_str()).collect();
    let headers: Vec<serde_json::Value> = each().map(|callback| serde_json::json!(callback.headers)).collect();
    let paths: Vec<&str> = each().map(|callback| callback.path.as_str()).collect();
    let bodies: Vec<&[u8]> = each().map(|callback| callback.body.as_slice()).collect();
    let references: Vec<Option<&str>> = each().map(|callback| callback.call_reference.as_deref()).collect();
    let states: Vec<&str> = callbacks.iter().map(|(_, state)| state.as_str()).collect();
    sqlx::query!(
        "insert into callbacks (id, provider, headers, path, body, call_reference, state)
         select * from unnest($1::uuid[], $2::text[], $3::jsonb[], $4::text[], $5::bytea[], $6::text[], $7::text[])
         on conflict (id) do nothing",
        &ids,
        &providers as &[&str],
        &headers,
        &paths as &[&str],
        &bodies as &[&[u8]],
        &references as &[Option<&str>],
        &states as &[&str],
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Locks some pushes that were kept but not read yet, oldest first.
pub async fn lock_waiting(
    connection: &mut PgConnection,
    providers: &[String],
    limit: i64,
) -> Result<Vec<StoredCallback>, StoreError> {
    let rows = sqlx::query!(
        r#"select id, provider, headers as "headers: Json<Vec<(String, String)>>", path, body, call_reference
           from callbacks where state = 'waiting' and provider = any($2) order by id limit $1 for update skip locked"#,
        limit,
        providers,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| StoredCallback {
            id: row.id,
            provider: row.provider,
            headers: row.headers.0,
            path: row.path,
            body: row.body,
            call_reference: row.call_reference,
        })
        .collect())
}

/// Notes that pushes were read.
pub async fn mark_done(connection: &mut PgConnection, ids: &[Uuid]) -> Result<(), StoreError> {
    sqlx::query!("update callbacks set state = 'done', problem = null where id = any ($1)", ids)
        .execute(connection)
        .await?;
    Ok(())
}

/// Notes that a push was read, or why it could not be.
pub async fn mark(
    connection: &mut PgConnection,
    id: Uuid,
    state: CallbackState,
    problem: Option<&str>,
) -> Result<(), StoreError> {
    sqlx::query!("update callbacks set state = $2, problem = $3 where id = $1", id, state.as_str(), problem)
        .execute(connection)
        .await?;
    Ok(())
}
