//! Signatures: the names that stand before messages, applied for and reviewed by people.

use axum::{Json, extract::State, http::StatusCode};
use serde_json::Value;

use super::{ID_LENGTH, LINE_LENGTH, NAME_LENGTH, Place, ask, managed, native, optional_text, page_of, read_slice};
use crate::{
    api::{
        auth::{OperatorMayRead, OperatorMayWrite},
        error::ApiError,
        field_reader::{FieldReader, Problems},
        json_body::JsonBody,
        openapi::{ChangeProblems, ConflictProblem, PartProblems, ProviderProblems, ReadProblems},
        page::Page,
        path::Name,
        problem::ProblemCode,
        query::Query,
        state::ApiState,
    },
    domain::registration::{Signature, SignatureInput},
    providers::registrations::SignatureQuery,
};

/// List the provider's signatures
#[utoipa::path(
    get, path = "/v1/providers/{provider}/signatures", operation_id = "listSignatures", tag = "Provider registrations",
    params(
        ("provider" = String, Path, pattern = "^[a-z][a-z0-9_]{0,62}$"),
        ("name" = Option<String>, Query, max_length = 255),
        ("category" = Option<crate::domain::content::Category>, Query),
        ("status" = Option<crate::domain::registration::ReviewStatus>, Query),
        ("application_name" = Option<String>, Query, max_length = 255),
        ("signature_id" = Option<String>, Query, max_length = 128,
            description = "The provider's other id of a signature (Huawei `signature_id`)."),
        ("created_after" = Option<chrono::DateTime<chrono::Utc>>, Query, description = "Created at this time or later."),
        ("created_before" = Option<chrono::DateTime<chrono::Utc>>, Query, description = "Created before this time."),
        ("order" = Option<String>, Query, description = "`asc` or `desc`, by the time of creation."),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 200),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before.", max_length = 512),
    ),
    responses((status = 200, description = "One page.", body = Page<Signature>), PartProblems, ProviderProblems),
    extensions(("x-role" = json!("operator"))),
)]
pub async fn list(
    State(state): State<ApiState>,
    _: OperatorMayRead,
    Name(provider): Name,
    mut query: Query,
) -> Result<Json<Page<Signature>>, ApiError> {
    let wanted = SignatureQuery {
        slice: read_slice(&mut query),
        name: query.text("name", NAME_LENGTH),
        category: query.parsed("category", "otp, transactional or marketing"),
        status: query.parsed("status", "in_review, processing, approved, rejected or inactive"),
        application_name: query.text("application_name", NAME_LENGTH),
        signature_id: query.text("signature_id", ID_LENGTH),
    };
    query.finish()?;
    let listed = ask(&provider, managed(&state, &provider)?.signatures(&wanted)).await?;
    Ok(Json(page_of(listed, &wanted.slice)))
}

/// Read a signature
#[utoipa::path(
    get, path = "/v1/providers/{provider}/signatures/{signature_id}", operation_id = "getSignature",
    tag = "Provider registrations",
    params(
        ("provider" = String, Path, pattern = "^[a-z][a-z0-9_]{0,62}$"),
        ("signature_id" = String, Path, min_length = 1, max_length = 128),
    ),
    responses((status = 200, description = "The signature.", body = Signature), ReadProblems, ProviderProblems),
    extensions(("x-role" = json!("operator"))),
)]
pub async fn get(
    State(state): State<ApiState>,
    _: OperatorMayRead,
    Place { provider, id }: Place,
) -> Result<Json<Signature>, ApiError> {
    ask(&provider, managed(&state, &provider)?.signature(&id)).await.map(Json)
}

/// Apply for a signature
#[utoipa::path(
    post, path = "/v1/providers/{provider}/signatures", operation_id = "createSignature", tag = "Provider registrations",
    params(("provider" = String, Path, pattern = "^[a-z][a-z0-9_]{0,62}$")),
    request_body = SignatureInput,
    responses(
        (status = 201, description = "Applied for.", body = Signature), ChangeProblems, ConflictProblem, ProviderProblems,
    ),
    extensions(("x-role" = json!("operator"))),
)]
pub async fn create(
    State(state): State<ApiState>,
    _: OperatorMayWrite,
    Name(provider): Name,
    JsonBody(body): JsonBody,
) -> Result<(StatusCode, Json<Signature>), ApiError> {
    let registrations = managed(&state, &provider)?;
    let input = read(&body)?;
    let made = ask(&provider, registrations.create_signature(&input)).await?;
    Ok((StatusCode::CREATED, Json(made)))
}

/// Change a rejected signature
///
/// And apply for it again. One that was not rejected cannot be changed: `409`.
#[utoipa::path(
    put, path = "/v1/providers/{provider}/signatures/{signature_id}", operation_id = "updateSignature",
    tag = "Provider registrations",
    params(
        ("provider" = String, Path, pattern = "^[a-z][a-z0-9_]{0,62}$"),
        ("signature_id" = String, Path, min_length = 1, max_length = 128),
    ),
    request_body = SignatureInput,
    responses(
        (status = 200, description = "The signature.", body = Signature), ChangeProblems, ConflictProblem, ProviderProblems,
    ),
    extensions(("x-role" = json!("operator"))),
)]
pub async fn update(
    State(state): State<ApiState>,
    _: OperatorMayWrite,
    Place { provider, id }: Place,
    JsonBody(body): JsonBody,
) -> Result<Json<Signature>, ApiError> {
    let registrations = managed(&state, &provider)?;
    let input = read(&body)?;
    ask(&provider, registrations.update_signature(&id, &input)).await.map(Json)
}

/// Delete a signature
#[utoipa::path(
    delete, path = "/v1/providers/{provider}/signatures/{signature_id}", operation_id = "deleteSignature",
    tag = "Provider registrations",
    params(
        ("provider" = String, Path, pattern = "^[a-z][a-z0-9_]{0,62}$"),
        ("signature_id" = String, Path, min_length = 1, max_length = 128),
    ),
    responses((status = 204, description = "Gone."), ReadProblems, ConflictProblem, ProviderProblems),
    extensions(("x-role" = json!("operator"))),
)]
pub async fn delete(
    State(state): State<ApiState>,
    _: OperatorMayWrite,
    Place { provider, id }: Place,
) -> Result<StatusCode, ApiError> {
    ask(&provider, managed(&state, &provider)?.delete_signature(&id)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Apply for activating a signature
///
/// One that is not `inactive` cannot be activated: `409`.
#[utoipa::path(
    post, path = "/v1/providers/{provider}/signatures/{signature_id}/activate", operation_id = "activateSignature",
    tag = "Provider registrations",
    params(
        ("provider" = String, Path, pattern = "^[a-z][a-z0-9_]{0,62}$"),
        ("signature_id" = String, Path, min_length = 1, max_length = 128),
    ),
    responses(
        (status = 202, description = "Applied for.", body = Signature), ReadProblems, ConflictProblem, ProviderProblems,
    ),
    extensions(("x-role" = json!("operator"))),
)]
pub async fn activate(
    State(state): State<ApiState>,
    _: OperatorMayWrite,
    Place { provider, id }: Place,
) -> Result<(StatusCode, Json<Signature>), ApiError> {
    let signature = ask(&provider, managed(&state, &provider)?.activate_signature(&id)).await?;
    Ok((StatusCode::ACCEPTED, Json(signature)))
}

fn read(body: &Value) -> Result<SignatureInput, ApiError> {
    let mut problems = Problems::default();
    let input = FieldReader::new(body, String::new(), &mut problems).and_then(|mut reader| {
        for name in ["name", "application_id", "category", "source", "third_party"] {
            reader.require(name);
        }
        let input = read_fields(&mut reader);
        if let Some(input) = &input
            && input.source.needs_detail()
            && input.source_detail.is_none()
        {
            let detail = "Needed for `website`, `app`, `mini_program` and `shop`.";
            reader.fault("source_detail", ProblemCode::Required, detail);
        }
        reader.finish();
        input
    });
    problems.check()?;
    input.ok_or_else(|| ApiError::internal("a required field was neither read nor missed"))
}

/// Everything is read before anything is missed, so that all faults are told at once.
fn read_fields(reader: &mut FieldReader<'_, '_>) -> Option<SignatureInput> {
    let name = reader.text("name", NAME_LENGTH);
    let application_id = reader.text("application_id", ID_LENGTH);
    let category = reader.parsed("category", "otp, transactional or marketing");
    let source = reader.parsed("source", "company, website, app, mini_program, shop or trademark");
    let source_detail = optional_text(reader, "source_detail", LINE_LENGTH);
    let third_party = reader.boolean("third_party");
    let description = optional_text(reader, "description", LINE_LENGTH);
    let licence_file_id = optional_text(reader, "licence_file_id", ID_LENGTH);
    let power_of_attorney_file_id = optional_text(reader, "power_of_attorney_file_id", ID_LENGTH);
    let native = native(reader);
    Some(SignatureInput {
        name: name?,
        application_id: application_id?,
        category: category?,
        source: source?,
        source_detail,
        third_party: third_party?,
        description,
        licence_file_id,
        power_of_attorney_file_id,
        native,
    })
}
