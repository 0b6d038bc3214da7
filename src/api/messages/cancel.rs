//! Canceling a message that no provider has yet.

use axum::{Json, extract::State};

use super::{answer::Message, read::NO_MESSAGE};
use crate::{
    api::{
        auth::{MayWrite, visible_app},
        error::ApiError,
        openapi::CancelProblems,
        path::Id,
        problem::ProblemCode,
        state::ApiState,
    },
    dispatch::cancel::Canceled,
    domain::ids::MessageId,
};

/// Cancel a message that no provider has yet
///
/// Works in `scheduled` and `queued`, as long as no provider may have the message; repeating it is harmless. Later it is `409
/// not_cancelable`.
#[utoipa::path(
    post, path = "/v1/messages/{message_id}/cancel", operation_id = "cancelMessage", tag = "Messages",
    params(("message_id" = String, Path, pattern = "^msg_[0-7][0-9a-hjkmnp-tv-z]{25}$")),
    responses((status = 200, description = "Canceled.", body = Message), CancelProblems),
    extensions(("x-role" = json!("app"))),
)]
pub async fn cancel(
    State(state): State<ApiState>,
    MayWrite(identity): MayWrite,
    Id(id): Id<MessageId>,
) -> Result<Json<Message>, ApiError> {
    let app = visible_app(&identity).map(str::to_owned);
    match state.engine.cancel(app, id).await? {
        Canceled::Done(record) => Ok(Json((*record).into())),
        Canceled::TooLate => Err(ApiError::Conflict {
            code: ProblemCode::NotCancelable,
            detail: "A provider has the message or may have it, or it has ended otherwise.".into(),
        }),
        Canceled::NotThere => Err(NO_MESSAGE),
    }
}
