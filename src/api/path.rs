//! Parts of a path. What cannot be the name or the id of anything is simply not found.

use std::str::FromStr;

use axum::{
    extract::{FromRequestParts, Path},
    http::request::Parts,
};

use super::error::ApiError;

const NOTHING: &str = "There is nothing of this name or id.";

/// The one name in a path.
#[derive(Debug)]
pub struct Name(pub String);

/// The one id in a path.
#[derive(Debug)]
pub struct Id<T>(pub T);

impl<S: Send + Sync> FromRequestParts<S> for Name {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let part = Path::<String>::from_request_parts(parts, state).await;
        part.map(|Path(name)| Self(name)).map_err(|_| ApiError::NotFound(NOTHING))
    }
}

impl<S: Send + Sync, T: FromStr> FromRequestParts<S> for Id<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Name(text) = Name::from_request_parts(parts, state).await?;
        text.parse().map(Self).map_err(|_| ApiError::NotFound(NOTHING))
    }
}
