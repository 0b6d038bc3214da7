//! The countries and regions that a provider sends to.

use axum::{Json, extract::State};

use super::{NAME_LENGTH, ask, managed};
use crate::{
    api::{
        auth::OperatorMayRead,
        error::ApiError,
        openapi::{PartProblems, ProviderProblems},
        page::Page,
        path::Name,
        query::Query,
        state::ApiState,
    },
    domain::registration::ProviderCountry,
};

/// List the countries and regions the provider sends to
///
/// By the whole name, English or Chinese, where one is given.
#[utoipa::path(
    get, path = "/v1/providers/{provider}/countries", operation_id = "listProviderCountries", tag = "Provider registrations",
    params(
        ("provider" = String, Path, pattern = "^[a-z][a-z0-9_]{0,62}$"),
        ("name" = Option<String>, Query, max_length = 255),
    ),
    responses((status = 200, description = "All of them.", body = Page<ProviderCountry>), PartProblems, ProviderProblems),
    extensions(("x-role" = json!("operator"))),
)]
pub async fn list(
    State(state): State<ApiState>,
    _: OperatorMayRead,
    Name(provider): Name,
    mut query: Query,
) -> Result<Json<Page<ProviderCountry>>, ApiError> {
    let name = query.text("name", NAME_LENGTH);
    query.finish()?;
    let countries = ask(&provider, managed(&state, &provider)?.countries(name.as_deref())).await?;
    Ok(Json(Page::whole(countries)))
}
