//! Reading messages: one by its id, or a page of many.

use axum::{Json, extract::State};

use super::{answer::Message, filter};
use crate::{
    api::{
        auth::{MayRead, visible_app},
        error::ApiError,
        openapi::{ListProblems, ReadProblems},
        page::{Cursor, Page},
        path::Id,
        query::Query,
        state::ApiState,
    },
    domain::{content::Channel, error_code::ErrorCode, ids::MessageId, message::MessageRecord, status::MessageStatus},
    keys::Identity,
    store::history,
};

pub(super) const NO_MESSAGE: ApiError = ApiError::NotFound("There is no message of this id.");

/// List messages, newest first
#[utoipa::path(
    get, path = "/v1/messages", operation_id = "listMessages", tag = "Messages",
    params(
        ("status" = Option<Vec<MessageStatus>>, Query, description = "Any of these statuses.", style = Form, explode),
        ("channel" = Option<Channel>, Query),
        ("to" = Option<String>, Query, pattern = r"^\+[1-9][0-9]{6,14}$"),
        ("from" = Option<String>, Query, max_length = 21),
        ("provider" = Option<String>, Query, pattern = "^[a-z][a-z0-9_]{0,62}$"),
        ("app" = Option<String>, Query, pattern = "^[a-z][a-z0-9_]{0,62}$",
            description = "For operators; an app's key sees its own app."),
        ("batch_id" = Option<String>, Query, pattern = "^bat_[0-7][0-9a-hjkmnp-tv-z]{25}$"),
        ("client_reference" = Option<String>, Query, max_length = 128),
        ("provider_message_id" = Option<String>, Query, max_length = 128,
            description = "The provider's own id; finds the message that a carrier asks about."),
        ("error_code" = Option<ErrorCode>, Query),
        ("created_after" = Option<String>, Query, format = DateTime, description = "Created at this time or later."),
        ("created_before" = Option<String>, Query, format = DateTime, description = "Created before this time."),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 200),
        ("cursor" = Option<String>, Query, max_length = 512,
            description = "`next_cursor` of the page before, with the same filters."),
    ),
    responses(
        (status = 200, body = Page<Message>,
            description = "One page. When few of many messages fit the filters it may hold fewer than `limit`, or none, although \
                           there are more: `next_cursor` says so."),
        ListProblems,
    ),
    extensions(("x-role" = json!("app"))),
)]
pub async fn list(
    State(state): State<ApiState>,
    MayRead(identity): MayRead,
    query: Query,
) -> Result<Json<Page<Message>>, ApiError> {
    let (filter, limit) = filter::messages(query, &identity, &state.loaded.load().config)?;
    let (db, now) = (state.engine.db(), state.engine.clock().now());
    let found =
        db.read(move |connection| Box::pin(async move { history::list(connection, &filter, now).await })).await?;
    let data = found.records.into_iter().map(Message::from).collect();
    let mut page = Page::cut(data, limit, |last: &Message| last.id);
    page.next_cursor = page.next_cursor.or(found.searched_down_to.map(Cursor::write));
    Ok(Json(page))
}

/// Read a message
#[utoipa::path(
    get, path = "/v1/messages/{message_id}", operation_id = "getMessage", tag = "Messages",
    params(("message_id" = String, Path, pattern = "^msg_[0-7][0-9a-hjkmnp-tv-z]{25}$")),
    responses((status = 200, description = "The message.", body = Message), ReadProblems),
    extensions(("x-role" = json!("app"))),
)]
pub async fn get(
    State(state): State<ApiState>,
    MayRead(identity): MayRead,
    Id(id): Id<MessageId>,
) -> Result<Json<Message>, ApiError> {
    Ok(Json(find(&state, &identity, id).await?.into()))
}

/// A message that the key may see.
pub(super) async fn find(state: &ApiState, identity: &Identity, id: MessageId) -> Result<MessageRecord, ApiError> {
    let app = visible_app(identity).map(str::to_owned);
    let db = state.engine.db();
    let found =
        db.read(move |connection| Box::pin(async move { history::find(connection, app.as_deref(), id).await })).await?;
    found.ok_or(NO_MESSAGE)
}
