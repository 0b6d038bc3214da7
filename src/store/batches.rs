//! Batches: what they are, how many of their messages are open, and how many have which status.

use std::collections::BTreeMap;

use sqlx::{PgConnection, types::Json};
use uuid::Uuid;

use super::{
    StoreError,
    events::{self, CompletedBatch, Receivers},
    small, unsmall, word,
};
use crate::domain::{
    Timestamp,
    batch::{Batch, BatchRecord, NewBatch},
    ids::{BatchId, MessageId, first_uuid_at},
};

/// A batch and its messages have ids of one moment; this only keeps other days out.
const AROUND: chrono::TimeDelta = chrono::TimeDelta::hours(1);

/// Stores a batch of which so many messages are open. One with none is completed at once, and [`announce`] tells so once its
/// messages are stored.
pub async fn insert(connection: &mut PgConnection, batch: &NewBatch, open: u16) -> Result<(), StoreError> {
    let metadata = (!batch.metadata.is_empty()).then_some(Json(&batch.metadata));
    sqlx::query!(
        "insert into batches (id, app, test, client_reference, metadata, send_at, total, open, created_at, completed_at,
                              callback_url)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, case when $8 = 0 then $9::timestamptz end, $10)",
        batch.id.0,
        batch.app,
        batch.test,
        batch.client_reference,
        metadata as Option<Json<&BTreeMap<String, String>>>,
        batch.send_at,
        small(batch.total),
        i32::from(open),
        batch.created_at,
        batch.callback_url,
    )
    .execute(&mut *connection)
    .await?;
    Ok(())
}

/// One batch with its counts. With an app: only if it is that app's.
pub async fn find(
    connection: &mut PgConnection,
    app: Option<&str>,
    id: BatchId,
) -> Result<Option<BatchRecord>, StoreError> {
    let row = sqlx::query!(
        r#"select app, test, client_reference, metadata as "metadata: Json<BTreeMap<String, String>>", send_at, total, open,
                  created_at, completed_at, callback_url
           from batches where id = $1 and ($2::text is null or app = $2)"#,
        id.0,
        app,
    )
    .fetch_optional(&mut *connection)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let counted = sqlx::query!(
        r#"select status, count(*) as "count!" from messages where batch_id = $1 and id between $2 and $3 group by status"#,
        id.0,
        first_uuid_at(id.time() - AROUND),
        first_uuid_at(id.time() + AROUND),
    )
    .fetch_all(connection)
    .await?;
    let counts = counted
        .into_iter()
        .map(|row| Ok((word("messages", "status", &row.status)?, u64::try_from(row.count).unwrap_or(0))))
        .collect::<Result<_, StoreError>>()?;
    let batch = NewBatch {
        id,
        app: row.app,
        test: row.test,
        client_reference: row.client_reference,
        metadata: row.metadata.unwrap_or_default().0,
        callback_url: row.callback_url,
        send_at: row.send_at,
        total: unsmall(row.total),
        created_at: row.created_at,
    };
    let open = u64::try_from(row.open).unwrap_or(0);
    Ok(Some(BatchRecord { batch, counts, open, completed_at: row.completed_at }))
}

/// The messages of a batch that no provider has yet, as far as one can tell without a lock.
pub async fn waiting(connection: &mut PgConnection, id: BatchId) -> Result<Vec<MessageId>, StoreError> {
    let rows = sqlx::query_scalar!(
        "select id from messages where batch_id = $1 and id between $2 and $3 and status in ('scheduled', 'queued') order by id",
        id.0,
        first_uuid_at(id.time() - AROUND),
        first_uuid_at(id.time() + AROUND),
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(MessageId).collect())
}

/// Notes by how many the open messages of some batches changed. Always the last thing that a transaction locks; in the order of
/// their ids, so that two that touch the same batches wait for each other and never dead-lock.
pub(super) async fn note_open(
    connection: &mut PgConnection,
    changes: &BTreeMap<BatchId, i32>,
    receivers: &Receivers,
    now: Timestamp,
) -> Result<(), StoreError> {
    let (ids, by): (Vec<Uuid>, Vec<i32>) =
        changes.iter().filter(|(_, by)| **by != 0).map(|(id, by)| (id.0, *by)).unzip();
    if ids.is_empty() {
        return Ok(());
    }
    // Locked first: one statement for both would take the rows in the order in which it meets them.
    sqlx::query_scalar!("select id from batches where id = any($1) order by id for update", &ids)
        .fetch_all(&mut *connection)
        .await?;
    let completed = sqlx::query_scalar!(
        "update batches b
         set open = greatest(b.open + n.by, 0),
             completed_at = case when b.open + n.by <= 0 then coalesce(b.completed_at, $3) end
         from unnest($1::uuid[], $2::integer[]) as n (id, by)
         where b.id = n.id
         returning case when b.completed_at is not null and not b.announced then b.id end",
        &ids,
        &by,
        now,
    )
    .fetch_all(&mut *connection)
    .await?;
    let completed: Vec<BatchId> = completed.into_iter().flatten().map(BatchId).collect();
    announce(connection, &completed, receivers, now).await
}

/// Tells apps that batches are completed, in the transaction that completes them. Nobody does so twice: it is noted.
pub async fn announce(
    connection: &mut PgConnection,
    completed: &[BatchId],
    receivers: &Receivers,
    now: Timestamp,
) -> Result<(), StoreError> {
    let mut told = Vec::with_capacity(completed.len());
    for id in completed {
        let Some(record) = find(&mut *connection, None, *id).await? else { continue };
        let (app, callback_url) = (record.batch.app.clone(), record.batch.callback_url.clone());
        let shown = serde_json::to_value(Batch::from(record)).unwrap_or_default();
        told.push(CompletedBatch { id: *id, app, callback_url, shown });
    }
    if told.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = told.iter().map(|batch| batch.id.0).collect();
    sqlx::query!("update batches set announced = true where id = any($1)", &ids).execute(&mut *connection).await?;
    events::of_batches(connection, &told, receivers, now).await
}

/// Forgets batches from before an id whose messages are gone.
pub(super) async fn forget(connection: &mut PgConnection, oldest: &str) -> Result<(), StoreError> {
    sqlx::query!(
        "delete from batches b
         where b.id < first_uuid_of_day($1::text::date)
           and not exists (select from messages m
                           where m.batch_id = b.id and m.id < first_uuid_of_day($1::text::date + 1))",
        oldest,
    )
    .execute(connection)
    .await?;
    Ok(())
}
