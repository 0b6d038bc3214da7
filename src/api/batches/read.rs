//! Reading a batch, and canceling what no provider has of it yet.

use axum::{Json, extract::State};

use crate::{
    api::{
        auth::{MayRead, MayWrite, visible_app},
        error::ApiError,
        openapi::ReadProblems,
        path::Id,
        state::ApiState,
    },
    domain::{
        batch::{Batch, BatchRecord},
        ids::BatchId,
    },
    keys::Identity,
    store::batches,
};

const NO_BATCH: ApiError = ApiError::NotFound("There is no batch of this id.");

/// Read a batch and its counts
///
/// Its messages are `GET /v1/messages?batch_id=`.
#[utoipa::path(
    get, path = "/v1/batches/{batch_id}", operation_id = "getBatch", tag = "Batches",
    params(("batch_id" = String, Path, pattern = "^bat_[0-7][0-9a-hjkmnp-tv-z]{25}$")),
    responses((status = 200, description = "The batch.", body = Batch), ReadProblems),
    extensions(("x-role" = json!("app"))),
)]
pub async fn get(
    State(state): State<ApiState>,
    MayRead(identity): MayRead,
    Id(id): Id<BatchId>,
) -> Result<Json<Batch>, ApiError> {
    Ok(Json(find(&state, &identity, id).await?.into()))
}

/// Cancel those messages of a batch that no provider has yet
///
/// The others go on. Repeating it is harmless.
#[utoipa::path(
    post, path = "/v1/batches/{batch_id}/cancel", operation_id = "cancelBatch", tag = "Batches",
    params(("batch_id" = String, Path, pattern = "^bat_[0-7][0-9a-hjkmnp-tv-z]{25}$")),
    responses((status = 200, description = "The batch, with its counts after canceling.", body = Batch), ReadProblems),
    extensions(("x-role" = json!("app"))),
)]
pub async fn cancel(
    State(state): State<ApiState>,
    MayWrite(identity): MayWrite,
    Id(id): Id<BatchId>,
) -> Result<Json<Batch>, ApiError> {
    let app = visible_app(&identity).map(str::to_owned);
    let canceled = state.engine.cancel_batch(app, id).await?;
    Ok(Json(canceled.ok_or(NO_BATCH)?.into()))
}

/// A batch that the key may see.
pub(super) async fn find(state: &ApiState, identity: &Identity, id: BatchId) -> Result<BatchRecord, ApiError> {
    let app = visible_app(identity).map(str::to_owned);
    let db = state.engine.db();
    let found =
        db.read(move |connection| Box::pin(async move { batches::find(connection, app.as_deref(), id).await })).await?;
    found.ok_or(NO_BATCH)
}
