//! What is registered with a provider, under `/v1/providers/{provider}/…`: read by operators and auditors, changed by
//! operators.
//!
//! Every handler finds the provider, asks its driver and says what came back. The neutral shapes are
//! [`crate::domain::registration`]'s, the calls are [`crate::providers::registrations`]'s; here is what HTTP adds: bodies,
//! filters, pages, and what a provider's refusal is to whoever asked.

pub mod applications;
pub mod countries;
pub mod files;
mod multipart;
pub mod signatures;
pub mod templates;

use std::{fmt, str::FromStr, sync::Arc, time::Duration};

use axum::{
    extract::{FromRequestParts, Path},
    http::request::Parts,
};

use super::{
    error::{ApiError, SOON},
    field_reader::FieldReader,
    page::{Cursor, Page},
    problem::ProblemCode,
    query::Query,
    state::ApiState,
};
use crate::{
    domain::registration::Native,
    error_chain::chain,
    providers::{
        Registrations,
        registrations::{Listed, Order, RegistrationError, RegistrationErrorKind, Slice},
    },
};

/// Characters of a name.
const NAME_LENGTH: usize = 255;
/// Characters of a provider's id.
const ID_LENGTH: usize = 128;
/// Characters of an address or of a description.
const LINE_LENGTH: usize = 1024;
/// A change is a login, the change, and a look at what came of it; each of them has the provider's own timeout.
const LONGEST: Duration = Duration::from_mins(1);

const NO_PROVIDER: ApiError = ApiError::NotFound("There is no provider of this name.");
const NOT_MANAGED: ApiError =
    ApiError::CapabilityUnsupported("The provider has no such registrations, or no `management` is configured for it.");

/// The provider and the id in a path.
#[derive(Debug)]
pub struct Place {
    /// The provider's name.
    provider: String,
    /// The provider's own id of the thing.
    id: String,
}

impl<S: Send + Sync> FromRequestParts<S> for Place {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let nothing = ApiError::NotFound("There is nothing of this name or id.");
        let Ok(Path((provider, id))) = Path::<(String, String)>::from_request_parts(parts, state).await else {
            return Err(nothing);
        };
        let possible = !id.is_empty() && id.chars().count() <= ID_LENGTH && !id.contains(char::is_control);
        if possible { Ok(Self { provider, id }) } else { Err(nothing) }
    }
}

/// The registrations of a provider, where it has any that can be managed.
fn managed(state: &ApiState, provider: &str) -> Result<Arc<dyn Registrations>, ApiError> {
    let loaded = state.loaded.load();
    loaded.providers.get(provider).ok_or(NO_PROVIDER)?.registrations().ok_or(NOT_MANAGED)
}

/// Asks, and says what a failure means to whoever asked.
async fn ask<T>(provider: &str, call: impl Future<Output = Result<T, RegistrationError>>) -> Result<T, ApiError> {
    match tokio::time::timeout(LONGEST, call).await {
        Ok(answer) => answer.map_err(|error| problem_of(provider, &error)),
        Err(_) => Err(ApiError::ProviderTimeout),
    }
}

fn problem_of(provider: &str, error: &RegistrationError) -> ApiError {
    let refused = |code: ProblemCode, detail: &'static str| ApiError::ByProvider {
        code,
        detail,
        provider_code: error.code.clone(),
        provider_message: error.message.clone(),
    };
    let problem = match error.kind {
        RegistrationErrorKind::Invalid => {
            refused(ProblemCode::ValidationFailed, "The provider does not take the request as it is.")
        }
        RegistrationErrorKind::NotFound => refused(ProblemCode::NotFound, "The provider has nothing of this id."),
        RegistrationErrorKind::Conflict => refused(
            ProblemCode::Conflict,
            "The provider has the same already, or the present state does not allow it: only what was rejected can be \
             changed, and only a signature that waits for it activated.",
        ),
        RegistrationErrorKind::AccessDenied => refused(
            ProblemCode::ProviderError,
            "The provider refuses the account of its `management` section: check the credentials, the project and the \
             permissions that this operation needs.",
        ),
        RegistrationErrorKind::Failed => {
            refused(ProblemCode::ProviderError, "The provider failed, or gave an answer that cannot be read.")
        }
        RegistrationErrorKind::NotConnected => {
            refused(ProblemCode::ProviderError, "The provider's management address cannot be reached.")
        }
        RegistrationErrorKind::Busy => ApiError::Unavailable {
            retry_after: error.retry_after.unwrap_or(SOON),
            detail: "The provider takes no more calls at the moment.",
        },
        RegistrationErrorKind::TimedOut => ApiError::ProviderTimeout,
    };
    if problem.status().is_server_error() {
        tracing::warn!(provider, error = chain(error), "a call about registrations failed");
    }
    problem
}

/// Where a page of theirs begins: a number of entries, since their lists know nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Offset(u32);

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "offset {}", self.0)
    }
}

impl FromStr for Offset {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let offset = text.strip_prefix("offset ").and_then(|number| number.parse().ok());
        // Theirs are signed numbers of 32 bits.
        offset.filter(|offset| i32::try_from(*offset).is_ok()).map(Self).ok_or(())
    }
}

/// The parameters that every list has.
fn read_slice(query: &mut Query) -> Slice {
    Slice {
        created_after: query.timestamp("created_after"),
        created_before: query.timestamp("created_before"),
        order: query.parsed::<OrderWord>("order", "asc or desc").map(|OrderWord(order)| order),
        offset: query.cursor::<Offset>().map_or(0, |offset| offset.0),
        limit: query.limit(),
    }
}

struct OrderWord(Order);

impl FromStr for OrderWord {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "asc" => Ok(Self(Order::Ascending)),
            "desc" => Ok(Self(Order::Descending)),
            _ => Err(()),
        }
    }
}

/// A page, and where the next one begins. An empty one is the last, whatever the provider counts.
fn page_of<T>(listed: Listed<T>, slice: &Slice) -> Page<T> {
    let seen = u32::try_from(listed.entries.len()).unwrap_or(u32::MAX);
    let next = slice.offset.saturating_add(seen);
    let more = seen > 0 && u64::from(next) < listed.total;
    Page { data: listed.entries, next_cursor: more.then(|| Cursor::write(Offset(next))) }
}

/// A text that may be left out or be null.
fn optional_text(reader: &mut FieldReader<'_, '_>, name: &'static str, max: usize) -> Option<String> {
    if reader.is_null(name) { None } else { reader.text(name, max) }
}

/// The provider's other fields.
fn native(reader: &mut FieldReader<'_, '_>) -> Native {
    reader.free_object("native").cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(entries: usize, total: u64) -> Listed<usize> {
        Listed { entries: (0..entries).collect(), total }
    }

    fn next(entries: usize, total: u64, offset: u32) -> Option<u32> {
        let slice = Slice { offset, limit: 50, ..Slice::default() };
        let cursor = page_of(listed(entries, total), &slice).next_cursor?;
        Cursor::read::<Offset>(&cursor).map(|offset| offset.0)
    }

    #[test]
    fn a_page_goes_on_where_it_ended_while_there_is_more() {
        assert_eq!(next(50, 120, 0), Some(50));
        assert_eq!(next(10, 120, 50), Some(60), "the provider may give less than asked for");
        assert_eq!(next(20, 120, 100), None);
        assert_eq!(next(0, 120, 50), None, "or nothing at all, and then it ends");
    }

    #[test]
    fn a_cursor_of_another_list_or_beyond_all_lists_is_refused() {
        for text in ["12", "offset", "offset -1", "offset 2147483648", "offset 4294967296", "msg_1"] {
            assert_eq!(text.parse::<Offset>(), Err(()), "{text}");
        }
    }

    #[test]
    fn no_failure_of_a_provider_is_ours() {
        use RegistrationErrorKind as Kind;
        for (kind, status, code) in [
            (Kind::Invalid, 422, "validation_failed"),
            (Kind::NotFound, 404, "not_found"),
            (Kind::Conflict, 409, "conflict"),
            (Kind::AccessDenied, 502, "provider_error"),
            (Kind::Busy, 503, "unavailable"),
            (Kind::Failed, 502, "provider_error"),
            (Kind::NotConnected, 502, "provider_error"),
            (Kind::TimedOut, 504, "provider_timeout"),
        ] {
            let problem = problem_of("hw", &RegistrationError::new(kind));
            assert_eq!((problem.status().as_u16(), problem.code().as_str()), (status, code), "{kind:?}");
        }
    }
}
