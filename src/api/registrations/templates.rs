//! Templates as they are registered with a provider. The gateway's own are in [`crate::api::templates`].

use axum::{Json, extract::State, http::StatusCode};
use serde_json::Value;

use super::{ID_LENGTH, LINE_LENGTH, NAME_LENGTH, Place, ask, managed, native, optional_text, page_of, read_slice};
use crate::{
    api::{
        auth::{OperatorMayRead, OperatorMayWrite},
        error::ApiError,
        field_reader::{FieldReader, Problems, whole_number},
        json_body::JsonBody,
        openapi::{ChangeProblems, ConflictProblem, PartProblems, ProviderProblems, ReadProblems},
        page::Page,
        path::Name,
        problem::ProblemCode,
        query::Query,
        state::ApiState,
    },
    domain::{
        content::Category,
        registration::{ProviderTemplate, ProviderTemplateInput, Region},
    },
    providers::registrations::TemplateQuery,
};

/// Characters of a template's text.
const TEXT_LENGTH: usize = 2000;
/// There are fewer countries.
const MOST_COUNTRIES: usize = 300;

/// List the provider's templates
///
/// Without their variables, which are shown where a single one is read.
#[utoipa::path(
    get, path = "/v1/providers/{provider}/templates", operation_id = "listProviderTemplates", tag = "Provider registrations",
    params(
        ("provider" = String, Path, pattern = "^[a-z][a-z0-9_]{0,62}$"),
        ("region" = Option<Region>, Query),
        ("name" = Option<String>, Query, max_length = 255),
        ("category" = Option<Category>, Query),
        ("status" = Option<crate::domain::registration::ReviewStatus>, Query),
        ("application_name" = Option<String>, Query, max_length = 255),
        ("application_key" = Option<String>, Query, max_length = 128),
        ("signature_name" = Option<String>, Query, max_length = 255),
        ("provider_template_id" = Option<String>, Query, max_length = 128),
        ("has_variables" = Option<bool>, Query),
        ("created_after" = Option<chrono::DateTime<chrono::Utc>>, Query, description = "Created at this time or later."),
        ("created_before" = Option<chrono::DateTime<chrono::Utc>>, Query, description = "Created before this time."),
        ("order" = Option<String>, Query, description = "`asc` or `desc`, by the time of creation."),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 200),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before.", max_length = 512),
    ),
    responses((status = 200, description = "One page.", body = Page<ProviderTemplate>), PartProblems, ProviderProblems),
    extensions(("x-role" = json!("operator"))),
)]
pub async fn list(
    State(state): State<ApiState>,
    _: OperatorMayRead,
    Name(provider): Name,
    mut query: Query,
) -> Result<Json<Page<ProviderTemplate>>, ApiError> {
    let wanted = TemplateQuery {
        slice: read_slice(&mut query),
        region: query.parsed("region", "cn or intl"),
        name: query.text("name", NAME_LENGTH),
        category: query.parsed("category", "otp, transactional or marketing"),
        status: query.parsed("status", "in_review, processing, approved, rejected or inactive"),
        application_name: query.text("application_name", NAME_LENGTH),
        application_key: query.text("application_key", ID_LENGTH),
        signature_name: query.text("signature_name", NAME_LENGTH),
        provider_template_id: query.text("provider_template_id", ID_LENGTH),
        has_variables: query.parsed("has_variables", "true or false"),
    };
    query.finish()?;
    let listed = ask(&provider, managed(&state, &provider)?.templates(&wanted)).await?;
    Ok(Json(page_of(listed, &wanted.slice)))
}

/// Read a template with its variables
#[utoipa::path(
    get, path = "/v1/providers/{provider}/templates/{provider_template_id}", operation_id = "getProviderTemplate",
    tag = "Provider registrations",
    params(
        ("provider" = String, Path, pattern = "^[a-z][a-z0-9_]{0,62}$"),
        ("provider_template_id" = String, Path, min_length = 1, max_length = 128,
            description = "The record's `id`, not the `provider_template_id` to send with."),
    ),
    responses((status = 200, description = "The template.", body = ProviderTemplate), ReadProblems, ProviderProblems),
    extensions(("x-role" = json!("operator"))),
)]
pub async fn get(
    State(state): State<ApiState>,
    _: OperatorMayRead,
    Place { provider, id }: Place,
) -> Result<Json<ProviderTemplate>, ApiError> {
    ask(&provider, managed(&state, &provider)?.template(&id)).await.map(Json)
}

/// Apply for a template
#[utoipa::path(
    post, path = "/v1/providers/{provider}/templates", operation_id = "createProviderTemplate",
    tag = "Provider registrations",
    params(("provider" = String, Path, pattern = "^[a-z][a-z0-9_]{0,62}$")),
    request_body = ProviderTemplateInput,
    responses(
        (status = 201, description = "Applied for.", body = ProviderTemplate), ChangeProblems, ConflictProblem,
        ProviderProblems,
    ),
    extensions(("x-role" = json!("operator"))),
)]
pub async fn create(
    State(state): State<ApiState>,
    _: OperatorMayWrite,
    Name(provider): Name,
    JsonBody(body): JsonBody,
) -> Result<(StatusCode, Json<ProviderTemplate>), ApiError> {
    let registrations = managed(&state, &provider)?;
    let input = read(&body)?;
    if input.region == Region::Intl && input.country_ids.is_empty() {
        let detail = "Needed for `intl`.";
        return Err(ApiError::invalid(crate::api::problem::FieldError::at(
            "/country_ids",
            ProblemCode::Required,
            detail,
        )));
    }
    let made = ask(&provider, registrations.create_template(&input)).await?;
    Ok((StatusCode::CREATED, Json(made)))
}

/// Change a rejected template
///
/// And apply for it again. One that was not rejected cannot be changed: `409`.
#[utoipa::path(
    put, path = "/v1/providers/{provider}/templates/{provider_template_id}", operation_id = "updateProviderTemplate",
    tag = "Provider registrations",
    params(
        ("provider" = String, Path, pattern = "^[a-z][a-z0-9_]{0,62}$"),
        ("provider_template_id" = String, Path, min_length = 1, max_length = 128),
    ),
    request_body = ProviderTemplateInput,
    responses(
        (status = 200, description = "The template.", body = ProviderTemplate), ChangeProblems, ConflictProblem,
        ProviderProblems,
    ),
    extensions(("x-role" = json!("operator"))),
)]
pub async fn update(
    State(state): State<ApiState>,
    _: OperatorMayWrite,
    Place { provider, id }: Place,
    JsonBody(body): JsonBody,
) -> Result<Json<ProviderTemplate>, ApiError> {
    let registrations = managed(&state, &provider)?;
    let input = read(&body)?;
    ask(&provider, registrations.update_template(&id, &input)).await.map(Json)
}

/// Delete a template at the provider
#[utoipa::path(
    delete, path = "/v1/providers/{provider}/templates/{provider_template_id}", operation_id = "deleteProviderTemplate",
    tag = "Provider registrations",
    params(
        ("provider" = String, Path, pattern = "^[a-z][a-z0-9_]{0,62}$"),
        ("provider_template_id" = String, Path, min_length = 1, max_length = 128),
    ),
    responses((status = 204, description = "Gone."), ReadProblems, ConflictProblem, ProviderProblems),
    extensions(("x-role" = json!("operator"))),
)]
pub async fn delete(
    State(state): State<ApiState>,
    _: OperatorMayWrite,
    Place { provider, id }: Place,
) -> Result<StatusCode, ApiError> {
    ask(&provider, managed(&state, &provider)?.delete_template(&id)).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn read(body: &Value) -> Result<ProviderTemplateInput, ApiError> {
    let mut problems = Problems::default();
    let input = FieldReader::new(body, String::new(), &mut problems).and_then(|mut reader| {
        for name in ["name", "application_id", "region", "text"] {
            reader.require(name);
        }
        let input = read_fields(&mut reader);
        reader.finish();
        input
    });
    problems.check()?;
    input.ok_or_else(|| ApiError::internal("a required field was neither read nor missed"))
}

/// Everything is read before anything is missed, so that all faults are told at once.
fn read_fields(reader: &mut FieldReader<'_, '_>) -> Option<ProviderTemplateInput> {
    let name = reader.text("name", NAME_LENGTH);
    let application_id = reader.text("application_id", ID_LENGTH);
    let region = reader.parsed("region", "cn or intl");
    let text = reader.text("text", TEXT_LENGTH);
    let category = reader.parsed("category", "otp, transactional or marketing");
    let signature_id = optional_text(reader, "signature_id", ID_LENGTH);
    let country_ids = read_country_ids(reader);
    let universal = reader.boolean("universal");
    let description = optional_text(reader, "description", LINE_LENGTH);
    let native = native(reader);
    Some(ProviderTemplateInput {
        name: name?,
        application_id: application_id?,
        region: region?,
        text: text?,
        category: category.unwrap_or(Category::Transactional),
        signature_id,
        country_ids,
        universal: universal.unwrap_or_default(),
        description,
        native,
    })
}

fn read_country_ids(reader: &mut FieldReader<'_, '_>) -> Vec<u32> {
    let entries = reader.array("country_ids", MOST_COUNTRIES).unwrap_or_default();
    let mut ids = Vec::with_capacity(entries.len());
    for (index, (_, value)) in entries.into_iter().enumerate() {
        match whole_number(value).and_then(|number| u32::try_from(number).ok()) {
            Some(id) => ids.push(id),
            None => {
                reader.fault("country_ids", ProblemCode::Invalid, format!("Entry {index} is no whole number above 0."));
            }
        }
    }
    ids
}
