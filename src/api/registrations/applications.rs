//! Applications: what has a key, a secret and, for the mainland, an address for inbound messages.

use axum::{Json, extract::State, http::StatusCode};
use secrecy::ExposeSecret;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{LINE_LENGTH, NAME_LENGTH, Place, ask, managed, native, optional_text, page_of, read_slice};
use crate::{
    api::{
        auth::{OperatorMayRead, OperatorMayWrite},
        error::ApiError,
        field_reader::{FieldReader, Problems},
        json_body::JsonBody,
        openapi::{ChangeProblems, ConflictProblem, PartProblems, ProviderProblems, ReadProblems},
        path::Name,
        problem::ProblemCode,
        query::Query,
        state::{ApiState, Loaded},
    },
    config::Role,
    domain::registration::{Application, ApplicationInput, ApplicationQuota, Region},
    keys::Identity,
    providers::registrations::ApplicationQuery,
};

/// Applications, and how many there may be.
#[derive(Debug, Serialize, ToSchema)]
pub struct Applications {
    /// The entries.
    pub data: Vec<Application>,
    /// For the next page; null on the last one.
    #[schema(required = true, max_length = 512)]
    pub next_cursor: Option<String>,
    /// How many there may be in the region; only with `region`, and only where the account may ask for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub quota: Option<ApplicationQuota>,
}

/// List the provider's SMS applications
#[utoipa::path(
    get, path = "/v1/providers/{provider}/applications", operation_id = "listApplications", tag = "Provider registrations",
    params(
        ("provider" = String, Path, pattern = "^[a-z][a-z0-9_]{0,62}$"),
        ("region" = Option<Region>, Query),
        ("name" = Option<String>, Query, max_length = 255),
        ("status" = Option<crate::domain::registration::ApplicationStatus>, Query),
        ("created_after" = Option<chrono::DateTime<chrono::Utc>>, Query, description = "Created at this time or later."),
        ("created_before" = Option<chrono::DateTime<chrono::Utc>>, Query, description = "Created before this time."),
        ("order" = Option<String>, Query, description = "`asc` or `desc`, by the time of creation."),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 200),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before.", max_length = 512),
    ),
    responses((status = 200, description = "One page.", body = Applications), PartProblems, ProviderProblems),
    extensions(("x-role" = json!("operator"))),
)]
pub async fn list(
    State(state): State<ApiState>,
    OperatorMayRead(Identity { role, .. }): OperatorMayRead,
    Name(provider): Name,
    mut query: Query,
) -> Result<Json<Applications>, ApiError> {
    let wanted = ApplicationQuery {
        slice: read_slice(&mut query),
        region: query.parsed("region", "cn or intl"),
        name: query.text("name", NAME_LENGTH),
        status: query.parsed("status", "pending, processing, active or suspended"),
    };
    query.finish()?;
    let registrations = managed(&state, &provider)?;
    let page = page_of(ask(&provider, registrations.applications(&wanted)).await?, &wanted.slice);
    let quota = match wanted.region {
        // The list is what was asked for; an account that may not ask for the number still gets it.
        Some(region) => ask(&provider, registrations.application_quota(region)).await.ok(),
        None => None,
    };
    let loaded = state.loaded.load();
    let data = page.data.into_iter().map(|application| shown(application, role, &loaded)).collect();
    Ok(Json(Applications { data, next_cursor: page.next_cursor, quota }))
}

/// Read an SMS application
#[utoipa::path(
    get, path = "/v1/providers/{provider}/applications/{application_id}", operation_id = "getApplication",
    tag = "Provider registrations",
    params(
        ("provider" = String, Path, pattern = "^[a-z][a-z0-9_]{0,62}$"),
        ("application_id" = String, Path, min_length = 1, max_length = 128),
    ),
    responses((status = 200, description = "The application.", body = Application), ReadProblems, ProviderProblems),
    extensions(("x-role" = json!("operator"))),
)]
pub async fn get(
    State(state): State<ApiState>,
    OperatorMayRead(Identity { role, .. }): OperatorMayRead,
    Place { provider, id }: Place,
) -> Result<Json<Application>, ApiError> {
    let application = ask(&provider, managed(&state, &provider)?.application(&id)).await?;
    Ok(Json(shown(application, role, &state.loaded.load())))
}

/// What of an application may be read: never its secret, and as an auditor not the token in an address of ours, with which
/// anybody could push messages to us.
fn shown(application: Application, role: Role, loaded: &Loaded) -> Application {
    let inbound_url = match role {
        Role::Operator | Role::App => application.inbound_url,
        Role::Auditor => application.inbound_url.map(|address| without_token(&address, loaded)),
    };
    Application { inbound_url, secret: None, ..application }
}

/// Whoever made the address, and with a token that holds no longer too.
fn without_token(address: &str, loaded: &Loaded) -> String {
    let tokens = loaded.config.providers.values().flat_map(|provider| &provider.callback_token);
    let address = tokens.fold(address.to_owned(), |address, token| address.replace(token.expose_secret(), "…"));
    let ours = loaded.config.server.public_url.as_ref().and_then(|base| {
        let below = address.strip_prefix(base.as_str().trim_end_matches('/'))?.strip_prefix("/callbacks/")?;
        Some(address.len() - below.len() + below.find('/')? + 1)
    });
    match ours {
        Some(end) => format!("{}…", &address[..end]),
        None => address,
    }
}

/// Create an SMS application
///
/// `secret` is shown in this answer only. Without `inbound_url` an application of the mainland gets the gateway's own callback
/// address, where the provider is configured for the mainland and `server.public_url` and a `callback_token` are there.
#[utoipa::path(
    post, path = "/v1/providers/{provider}/applications", operation_id = "createApplication", tag = "Provider registrations",
    params(("provider" = String, Path, pattern = "^[a-z][a-z0-9_]{0,62}$")),
    request_body = ApplicationInput,
    responses(
        (status = 201, description = "Created.", body = Application), ChangeProblems, ConflictProblem, ProviderProblems,
    ),
    extensions(("x-role" = json!("operator"))),
)]
pub async fn create(
    State(state): State<ApiState>,
    _: OperatorMayWrite,
    Name(provider): Name,
    JsonBody(body): JsonBody,
) -> Result<(StatusCode, Json<Application>), ApiError> {
    let registrations = managed(&state, &provider)?;
    let mut input = read(&body)?;
    if body.get("inbound_url").is_none() && input.region == Region::Cn {
        input.inbound_url = callback_address(&state.loaded.load(), &provider);
    }
    let made = ask(&provider, registrations.create_application(&input)).await?;
    Ok((StatusCode::CREATED, Json(made)))
}

/// Change an SMS application
#[utoipa::path(
    put, path = "/v1/providers/{provider}/applications/{application_id}", operation_id = "updateApplication",
    tag = "Provider registrations",
    params(
        ("provider" = String, Path, pattern = "^[a-z][a-z0-9_]{0,62}$"),
        ("application_id" = String, Path, min_length = 1, max_length = 128),
    ),
    request_body = ApplicationInput,
    responses(
        (status = 200, description = "The application.", body = Application), ChangeProblems, ConflictProblem,
        ProviderProblems,
    ),
    extensions(("x-role" = json!("operator"))),
)]
pub async fn update(
    State(state): State<ApiState>,
    _: OperatorMayWrite,
    Place { provider, id }: Place,
    JsonBody(body): JsonBody,
) -> Result<Json<Application>, ApiError> {
    let registrations = managed(&state, &provider)?;
    let input = read(&body)?;
    ask(&provider, registrations.update_application(&id, &input)).await.map(Json)
}

fn read(body: &Value) -> Result<ApplicationInput, ApiError> {
    let mut problems = Problems::default();
    let input = FieldReader::new(body, String::new(), &mut problems).and_then(|mut reader| {
        reader.require("name");
        reader.require("region");
        let name = reader.text("name", NAME_LENGTH);
        let region = reader.parsed("region", "cn or intl");
        let inbound_url = optional_text(&mut reader, "inbound_url", LINE_LENGTH);
        if inbound_url.as_deref().is_some_and(|url| !is_address(url)) {
            reader.fault("inbound_url", ProblemCode::Invalid, "An address that begins with http:// or https://.");
        }
        let native = native(&mut reader);
        reader.finish();
        Some(ApplicationInput { name: name?, region: region?, inbound_url, native })
    });
    problems.check()?;
    input.ok_or_else(|| ApiError::internal("a required field was neither read nor missed"))
}

fn is_address(text: &str) -> bool {
    url::Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
}

/// Where the provider may push to: the address of the whole provider, which its token makes. Only where the driver can read
/// what comes.
fn callback_address(loaded: &Loaded, provider: &str) -> Option<String> {
    if !loaded.capabilities(provider)?.inbound {
        return None;
    }
    let base = loaded.config.server.public_url.as_ref()?.as_str().trim_end_matches('/');
    let token = loaded.config.providers.get(provider)?.callback_token.first()?.expose_secret();
    let address = format!("{base}/callbacks/{provider}/{token}");
    Some(address)
}
