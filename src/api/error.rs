//! Everything that an HTTP call can end in besides its answer: one enum, one way to write it.
//!
//! An [`ApiError`] becomes a status, headers and a [`Problem`] in the response's extensions; [`super::frame`] adds the
//! request's id and writes the body. An internal error is logged by the frame, once, and its cause never leaves the process.

use std::{sync::Arc, time::Duration};

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use super::problem::{FieldError, Problem, ProblemCode};
use crate::store::StoreError;

/// Why a call was not answered with what it asked for.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// 400: not HTTP, not JSON, or a broken header.
    #[error("the request cannot be read: {0}")]
    Malformed(String),
    /// 401: no key, or an unknown one.
    #[error("no valid key")]
    Unauthenticated,
    /// 403: the key's role or app may not do this.
    #[error("forbidden: {0}")]
    Forbidden(&'static str),
    /// 404: no such thing, or another app's.
    #[error("not found: {0}")]
    NotFound(&'static str),
    /// 404: the provider cannot do it.
    #[error("the provider has no such capability: {0}")]
    CapabilityUnsupported(&'static str),
    /// 405: the path does not take this method.
    #[error("method not allowed")]
    MethodNotAllowed,
    /// 408: the body did not arrive in time.
    #[error("the body took too long to arrive")]
    BodyTimeout,
    /// 413: the body is larger than the limit in bytes.
    #[error("the body is larger than {0} bytes")]
    PayloadTooLarge(usize),
    /// 414: the address is longer than the limit in bytes.
    #[error("the address is longer than {0} bytes")]
    UriTooLong(usize),
    /// 415: not the media type that the path takes.
    #[error("unsupported media type: {0}")]
    UnsupportedMediaType(&'static str),
    /// 431: the head is larger than the limit in bytes.
    #[error("the head is larger than {0} bytes")]
    HeadTooLarge(usize),
    /// 409: the present state does not allow it.
    #[error("conflict ({}): {detail}", code.as_str())]
    Conflict {
        /// `conflict`, `not_cancelable` or `idempotency_key_in_progress`.
        code: ProblemCode,
        /// What is in the way.
        detail: String,
    },
    /// 422: the idempotency key belongs to another request.
    #[error("the idempotency key belongs to another request")]
    IdempotencyKeyReused,
    /// 422: everything that is wrong with the request.
    #[error("{} errors in the request", .0.len())]
    Invalid(Vec<FieldError>),
    /// 429: nothing was done; it may be repeated later.
    #[error("limited ({})", code.as_str())]
    Limited {
        /// `rate_limited`, `quota_exceeded` or `recipient_rate_limited`.
        code: ProblemCode,
        /// When a repeat may succeed.
        retry_after: Duration,
        /// Which limit.
        detail: String,
        /// What in the body it is about; none: the app as a whole.
        pointer: Option<String>,
    },
    /// 502: the provider answered with an error.
    #[error("the provider answered with an error")]
    Provider {
        /// Its code, verbatim.
        code: Option<String>,
        /// Its words.
        message: Option<String>,
    },
    /// What a provider says to something that it was asked on behalf of the caller.
    #[error("the provider refused ({})", code.as_str())]
    ByProvider {
        /// `validation_failed` (422), `not_found` (404), `conflict` (409) or `provider_error` (502).
        code: ProblemCode,
        /// What that means for the caller.
        detail: &'static str,
        /// The provider's code, verbatim.
        provider_code: Option<String>,
        /// The provider's words.
        provider_message: Option<String>,
    },
    /// 504: the provider did not answer in time.
    #[error("the provider did not answer in time")]
    ProviderTimeout,
    /// 503: nothing was done; it may be repeated later.
    #[error("unavailable: {detail}")]
    Unavailable {
        /// When a repeat may succeed.
        retry_after: Duration,
        /// What is missing.
        detail: &'static str,
    },
    /// 500: a fault of the gateway. The cause is logged and never shown.
    #[error("the gateway failed")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The cause of an internal error, on its way to the log in the response's extensions.
#[derive(Debug, Clone)]
pub struct InternalCause(pub Arc<dyn std::error::Error + Send + Sync>);

impl ApiError {
    /// A request with a single fault.
    pub fn invalid(error: FieldError) -> Self {
        Self::Invalid(vec![error])
    }

    /// A fault of the gateway itself.
    pub fn internal(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Internal(cause.into())
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::NotFound(_) | Self::CapabilityUnsupported(_) => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::PayloadTooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UriTooLong(_) => StatusCode::URI_TOO_LONG,
            Self::UnsupportedMediaType(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::HeadTooLarge(_) => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Conflict { .. } => StatusCode::CONFLICT,
            Self::IdempotencyKeyReused | Self::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Limited { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Provider { .. } => StatusCode::BAD_GATEWAY,
            Self::ByProvider { code: ProblemCode::ValidationFailed, .. } => StatusCode::UNPROCESSABLE_ENTITY,
            Self::ByProvider { code: ProblemCode::NotFound, .. } => StatusCode::NOT_FOUND,
            Self::ByProvider { code: ProblemCode::Conflict, .. } => StatusCode::CONFLICT,
            Self::ByProvider { .. } => StatusCode::BAD_GATEWAY,
            Self::ProviderTimeout => StatusCode::GATEWAY_TIMEOUT,
            Self::Unavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The stable code: a single error's own, `validation_failed` for several.
    pub fn code(&self) -> ProblemCode {
        match self {
            Self::Malformed(_) => ProblemCode::MalformedRequest,
            Self::Unauthenticated => ProblemCode::Unauthenticated,
            Self::Forbidden(_) => ProblemCode::Forbidden,
            Self::NotFound(_) => ProblemCode::NotFound,
            Self::CapabilityUnsupported(_) => ProblemCode::CapabilityUnsupported,
            Self::MethodNotAllowed => ProblemCode::MethodNotAllowed,
            Self::BodyTimeout => ProblemCode::RequestTimeout,
            Self::PayloadTooLarge(_) => ProblemCode::PayloadTooLarge,
            Self::UriTooLong(_) => ProblemCode::UriTooLong,
            Self::UnsupportedMediaType(_) => ProblemCode::UnsupportedMediaType,
            Self::HeadTooLarge(_) => ProblemCode::HeadTooLarge,
            Self::Conflict { code, .. } | Self::Limited { code, .. } | Self::ByProvider { code, .. } => *code,
            Self::IdempotencyKeyReused => ProblemCode::IdempotencyKeyReused,
            Self::Invalid(errors) => match errors.as_slice() {
                [only] => only.code,
                [] | [_, _, ..] => ProblemCode::ValidationFailed,
            },
            Self::Provider { .. } => ProblemCode::ProviderError,
            Self::ProviderTimeout => ProblemCode::ProviderTimeout,
            Self::Unavailable { .. } => ProblemCode::Unavailable,
            Self::Internal(_) => ProblemCode::InternalError,
        }
    }

    fn detail(&self) -> Option<String> {
        match self {
            Self::Malformed(detail) | Self::Conflict { detail, .. } | Self::Limited { detail, .. } => {
                Some(detail.clone())
            }
            Self::Unauthenticated => Some("Send `Authorization: Bearer` with a key of the gateway.".into()),
            Self::Forbidden(detail)
            | Self::NotFound(detail)
            | Self::CapabilityUnsupported(detail)
            | Self::UnsupportedMediaType(detail)
            | Self::ByProvider { detail, .. }
            | Self::Unavailable { detail, .. } => Some((*detail).into()),
            Self::PayloadTooLarge(limit) | Self::UriTooLong(limit) | Self::HeadTooLarge(limit) => {
                Some(format!("At most {limit} bytes."))
            }
            Self::IdempotencyKeyReused => Some("Repeat the very same request, or take a new key.".into()),
            Self::Invalid(errors) => match errors.as_slice() {
                [only] => Some(only.detail.clone()),
                [] | [_, _, ..] => Some(format!("{} errors; see `errors`.", errors.len())),
            },
            Self::MethodNotAllowed
            | Self::BodyTimeout
            | Self::Provider { .. }
            | Self::ProviderTimeout
            | Self::Internal(_) => None,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        if let Self::Limited { retry_after, .. } | Self::Unavailable { retry_after, .. } = self {
            Some(*retry_after)
        } else {
            None
        }
    }
}

/// A client that is told to come back later shall not come back at once.
pub(super) const SOON: Duration = Duration::from_secs(1);

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Database(_)
            | StoreError::Overtaken
            | StoreError::KeyHeld
            | StoreError::Undone
            | StoreError::CutOff
            | StoreError::Silent => {
                tracing::warn!(error = crate::error_chain::chain(&error), "the database could not be asked");
                Self::Unavailable { retry_after: SOON, detail: "The database cannot be reached." }
            }
            StoreError::Corrupt { .. }
            | StoreError::Panicked
            | StoreError::Migration(_)
            | StoreError::UnsafeDurability(_) => Self::internal(error),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = self.status();
        let retry_after = self.retry_after();
        let mut problem = Problem::new(status.as_u16(), self.code(), self.detail());
        let mut response = status.into_response();
        if let Some(wait) = retry_after {
            // Whole seconds, rounded up, and never zero: a client must not come back too early.
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        match self {
            Self::Unauthenticated => {
                response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            Self::BodyTimeout | Self::PayloadTooLarge(_) => {
                // What is left of the body is not read, so the connection cannot be used again.
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Self::Invalid(errors) => problem.errors = errors,
            Self::Limited { code, detail, pointer: Some(pointer), retry_after: _ } => {
                problem.errors = vec![FieldError::at(pointer, code, detail)];
            }
            Self::Provider { code, message } => (problem.provider_code, problem.provider_message) = (code, message),
            Self::ByProvider { code: _, detail: _, provider_code, provider_message } => {
                (problem.provider_code, problem.provider_message) = (provider_code, provider_message);
            }
            Self::Internal(cause) => {
                response.extensions_mut().insert(InternalCause(cause.into()));
            }
            Self::Malformed(_)
            | Self::Forbidden(_)
            | Self::NotFound(_)
            | Self::CapabilityUnsupported(_)
            | Self::MethodNotAllowed
            | Self::UriTooLong(_)
            | Self::UnsupportedMediaType(_)
            | Self::HeadTooLarge(_)
            | Self::Conflict { .. }
            | Self::IdempotencyKeyReused
            | Self::Limited { pointer: None, .. }
            | Self::ProviderTimeout
            | Self::Unavailable { .. } => {}
        }
        response.extensions_mut().insert(problem);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem_of(error: ApiError) -> (Response, Problem) {
        let response = error.into_response();
        let problem = response.extensions().get::<Problem>().cloned().unwrap();
        (response, problem)
    }

    #[test]
    fn a_single_error_has_the_same_code_on_the_problem_and_in_the_list() {
        let (_, problem) = problem_of(ApiError::invalid(FieldError::at("/x", ProblemCode::UnknownField, "Not known.")));
        assert_eq!(problem.code, ProblemCode::UnknownField);
        assert_eq!(problem.errors[0].code, ProblemCode::UnknownField);
    }

    #[test]
    fn several_errors_are_a_failed_validation() {
        let error = |pointer| FieldError::at(pointer, ProblemCode::Required, "Missing.");
        let (response, problem) = problem_of(ApiError::Invalid(vec![error("/to"), error("/text")]));
        assert_eq!((response.status().as_u16(), problem.code), (422, ProblemCode::ValidationFailed));
        assert_eq!(problem.errors.len(), 2);
    }

    #[test]
    fn a_wait_is_rounded_up_to_whole_seconds() {
        for (millis, seconds) in [(0, "1"), (1, "1"), (1000, "1"), (1001, "2")] {
            let retry_after = Duration::from_millis(millis);
            let (response, _) = problem_of(ApiError::Unavailable { retry_after, detail: "Busy." });
            assert_eq!(response.headers()[header::RETRY_AFTER], seconds, "{millis} ms");
        }
    }

    #[test]
    fn the_cause_of_an_internal_error_is_not_shown() {
        let (_, problem) = problem_of(ApiError::internal("password=hunter2"));
        assert!(!serde_json::to_string(&problem).unwrap().contains("hunter2"));
    }
}
