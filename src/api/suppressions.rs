//! Who is not to be written to: an app manages what is its own, operators everything.

use axum::{Json, extract::State, http::StatusCode};
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    auth::{MayRead, MayWrite, visible_app},
    error::ApiError,
    messages::content_fields::SENDER_LENGTH,
    openapi::{ListProblems, PartProblems},
    page::Page,
    path::Name,
    problem::{FieldError, ProblemCode},
    query::Query,
    state::ApiState,
};
use crate::{
    domain::{ids::SuppressionId, phone_number::PhoneNumber},
    keys::Identity,
    store::{
        Db, history,
        suppressions::{self, Filter, Party, Source, bare},
    },
};

/// A recipient that is not to be written to: by `app`, from any sender; or from `sender`, by any app. One of the two is null.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Suppression {
    /// Who is not to be written to.
    #[schema(examples("+84361234567"))]
    pub recipient: String,
    /// By this app, from any sender.
    #[schema(required = true)]
    pub app: Option<String>,
    /// From this sender, by any app; without `+`.
    #[schema(required = true)]
    pub sender: Option<String>,
    /// Who says so.
    pub source: SuppressionSource,
    /// Since when.
    pub created_at: DateTime<Utc>,
}

/// Who says that a recipient opted out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SuppressionSource {
    /// The recipient wrote one of the words of `[opt_out]`.
    Keyword,
    /// A carrier refused a message for it.
    Carrier,
    /// This API.
    Api,
}

impl From<suppressions::Suppression> for Suppression {
    fn from(found: suppressions::Suppression) -> Self {
        let (app, sender) = match found.party {
            Party::App(app) => (Some(app), None),
            Party::Sender(sender) => (None, Some(sender)),
        };
        let source = match found.source {
            Source::Keyword => SuppressionSource::Keyword,
            Source::Carrier => SuppressionSource::Carrier,
            Source::Api => SuppressionSource::Api,
        };
        Self { recipient: found.recipient, app, sender, source, created_at: found.created_at }
    }
}

/// List suppressions, newest first
///
/// An app's key sees those of its app and those of its `inbound_numbers`.
#[utoipa::path(
    get, path = "/v1/suppressions", operation_id = "listSuppressions", tag = "Suppressions",
    params(
        ("recipient" = Option<String>, Query, pattern = r"^\+[1-9][0-9]{6,14}$"),
        ("app" = Option<String>, Query, pattern = "^[a-z][a-z0-9_]{0,62}$"),
        ("sender" = Option<String>, Query, max_length = 21, description = "With or without `+`."),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 200),
        ("cursor" = Option<String>, Query, max_length = 512,
            description = "`next_cursor` of the page before, with the same filters."),
    ),
    responses((status = 200, description = "One page.", body = Page<Suppression>), ListProblems),
    extensions(("x-role" = json!("app"))),
)]
pub async fn list(
    State(state): State<ApiState>,
    MayRead(identity): MayRead,
    mut query: Query,
) -> Result<Json<Page<Suppression>>, ApiError> {
    let mut filter = Filter {
        visible_to: visible_app(&identity).map(|app| (app.to_owned(), own_senders(&state, app))),
        recipient: query.phone_number("recipient"),
        app: query.slug("app"),
        sender: query.text("sender", SENDER_LENGTH).map(|sender| bare(&sender).to_owned()),
        page: history::Page::default(),
    };
    let (before, limit) = (query.cursor::<SuppressionId>(), query.limit());
    query.finish()?;
    filter.page = history::Page { before: before.map(|id| id.0), limit: i64::from(limit) + 1 };
    let db = state.engine.db();
    let found =
        db.read(move |connection| Box::pin(async move { suppressions::list(connection, &filter).await })).await?;
    let page = Page::cut(found, limit, |last: &suppressions::Suppression| SuppressionId(last.id));
    let data = page.data.into_iter().map(Suppression::from).collect();
    Ok(Json(Page { data, next_cursor: page.next_cursor }))
}

/// Opt a recipient out
///
/// From then on messages to it are refused with `recipient_opted_out`, and what waits for it ends. An app opts out of itself, or of
/// one of its `inbound_numbers`; operators name `app` or `sender`. Harmless to repeat.
#[utoipa::path(
    put, path = "/v1/suppressions/{recipient}", operation_id = "putSuppression", tag = "Suppressions",
    params(
        ("recipient" = String, Path, pattern = r"^\+[1-9][0-9]{6,14}$", description = "E.164 with `+`, which may be written `%2B`."),
        ("app" = Option<String>, Query, pattern = "^[a-z][a-z0-9_]{0,62}$", description = "By this app, from any sender."),
        ("sender" = Option<String>, Query, max_length = 21, description = "From this sender, by any app."),
    ),
    responses((status = 200, description = "The suppression.", body = Suppression), PartProblems),
    extensions(("x-role" = json!("app"))),
)]
pub async fn put(
    State(state): State<ApiState>,
    MayWrite(identity): MayWrite,
    Name(recipient): Name,
    query: Query,
) -> Result<Json<Suppression>, ApiError> {
    let recipient = number(&recipient)?;
    let party = party(&state, &identity, query)?;
    if let Party::App(app) = &party
        && !state.loaded.load().config.apps.contains_key(app)
    {
        let detail = "There is no app of this name.";
        return Err(ApiError::invalid(FieldError::parameter("app", ProblemCode::NotFound, detail)));
    }
    let now = state.clock.now();
    let kept = Db::unit(&state.engine.db().api, move |connection| {
        Box::pin(async move {
            suppressions::add(&mut *connection, &[(recipient.as_str(), party.clone())], Source::Api, now).await?;
            suppressions::find(connection, &recipient, &party).await
        })
    })
    .await?;
    // Taken off again by somebody else in the same moment.
    let gone = || ApiError::NotFound("The suppression was just taken off.");
    kept.map(|kept| Json(kept.into())).ok_or_else(gone)
}

/// Opt a recipient in again
///
/// Takes off what `PUT` with the same parameters, a STOP or a carrier put there. Harmless to repeat.
#[utoipa::path(
    delete, path = "/v1/suppressions/{recipient}", operation_id = "deleteSuppression", tag = "Suppressions",
    params(
        ("recipient" = String, Path, pattern = r"^\+[1-9][0-9]{6,14}$", description = "E.164 with `+`, which may be written `%2B`."),
        ("app" = Option<String>, Query, pattern = "^[a-z][a-z0-9_]{0,62}$", description = "By this app, from any sender."),
        ("sender" = Option<String>, Query, max_length = 21, description = "From this sender, by any app."),
    ),
    responses((status = 204, description = "There is none any more."), PartProblems),
    extensions(("x-role" = json!("app"))),
)]
pub async fn delete(
    State(state): State<ApiState>,
    MayWrite(identity): MayWrite,
    Name(recipient): Name,
    query: Query,
) -> Result<StatusCode, ApiError> {
    let recipient = number(&recipient)?;
    let party = party(&state, &identity, query)?;
    Db::unit(&state.engine.db().api, move |connection| {
        Box::pin(async move { suppressions::remove(connection, &[(recipient.as_str(), party)]).await })
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

fn number(text: &str) -> Result<String, ApiError> {
    let parsed = PhoneNumber::parse(text).map(|number| number.as_str().to_owned());
    parsed.map_err(|error| {
        let detail = format!("The path names no number: {error}.");
        ApiError::invalid(FieldError::parameter("recipient", ProblemCode::RecipientInvalid, detail))
    })
}

/// Senders that an app may answer for, bare.
fn own_senders(state: &ApiState, app: &str) -> Vec<String> {
    let loaded = state.loaded.load();
    let numbers = loaded.config.apps.get(app).map(|app| app.inbound_numbers.as_slice()).unwrap_or_default();
    numbers.iter().map(|number| bare(number).to_owned()).collect()
}

/// What the recipient is to hear nothing from: as the parameters say, within what the key may manage.
fn party(state: &ApiState, identity: &Identity, mut query: Query) -> Result<Party, ApiError> {
    let (app, sender) = (query.slug("app"), query.text("sender", SENDER_LENGTH).filter(|sender| !sender.is_empty()));
    if app.is_some() && sender.is_some() {
        query.fault("sender", ProblemCode::MutuallyExclusive, "At most one of `app` and `sender`.");
    }
    let own = visible_app(identity);
    if app.is_none() && sender.is_none() && own.is_none() {
        query.fault("app", ProblemCode::Required, "Operators name `app` or `sender`.");
    }
    query.finish()?;
    let of_others = ApiError::Forbidden("An app's key manages its own app and its own numbers only.");
    match (own, app, sender) {
        (Some(own), Some(app), _) if app != own => Err(of_others),
        (Some(own), _, Some(sender)) if !own_senders(state, own).iter().any(|number| number == bare(&sender)) => {
            Err(of_others)
        }
        (_, _, Some(sender)) => Ok(Party::sender(&sender)),
        (_, Some(app), None) => Ok(Party::App(app)),
        (_, None, None) => Ok(Party::App(identity.app.clone())),
    }
}
