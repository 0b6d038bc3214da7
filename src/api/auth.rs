//! Who calls, and whether they may: `Authorization: Bearer` becomes an [`Identity`], and each handler names in its arguments
//! what role it asks for.
//!
//! The app comes from the key and from nowhere else.

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, header, request::Parts},
};

use super::{error::ApiError, query::Query, state::ApiState};
use crate::{config::Role, keys::Identity};

/// Any key: apps see what is theirs, operators and auditors everything.
#[derive(Debug)]
pub struct MayRead(pub Identity);

/// Keys that may act: apps on what is theirs, operators on everything.
#[derive(Debug)]
pub struct MayWrite(pub Identity);

/// Keys that may see what belongs to no app: operators and auditors.
#[derive(Debug)]
pub struct OperatorMayRead(pub Identity);

/// Operators' keys.
#[derive(Debug)]
pub struct OperatorMayWrite(pub Identity);

/// Keys that may act, within the rate at which their app may send: what [`super::sending`] admitted.
#[derive(Debug, Clone)]
pub struct MaySend(pub Identity);

const READ_ONLY: &str = "An auditor's key reads everything and changes nothing.";
const OPERATORS_ONLY: &str = "This is for operators.";

impl FromRequestParts<ApiState> for MayRead {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        identify(&parts.headers, state).map(Self)
    }
}

impl FromRequestParts<ApiState> for MayWrite {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        may_write(&parts.headers, state).map(Self)
    }
}

impl FromRequestParts<ApiState> for MaySend {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &ApiState) -> Result<Self, ApiError> {
        let admitted = parts.extensions.remove::<MaySend>();
        admitted.ok_or_else(|| ApiError::internal("a path that sends is not admitted as one"))
    }
}

impl FromRequestParts<ApiState> for OperatorMayRead {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        let identity = identify(&parts.headers, state)?;
        match identity.role {
            Role::Operator | Role::Auditor => Ok(Self(identity)),
            Role::App => Err(ApiError::Forbidden(OPERATORS_ONLY)),
        }
    }
}

impl FromRequestParts<ApiState> for OperatorMayWrite {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        let identity = identify(&parts.headers, state)?;
        match identity.role {
            Role::Operator => Ok(Self(identity)),
            Role::Auditor => Err(ApiError::Forbidden(READ_ONLY)),
            Role::App => Err(ApiError::Forbidden(OPERATORS_ONLY)),
        }
    }
}

/// Whose key it is, if that may act.
pub(super) fn may_write(headers: &HeaderMap, state: &ApiState) -> Result<Identity, ApiError> {
    let identity = identify(headers, state)?;
    match identity.role {
        Role::App | Role::Operator => Ok(identity),
        Role::Auditor => Err(ApiError::Forbidden(READ_ONLY)),
    }
}

fn identify(headers: &HeaderMap, state: &ApiState) -> Result<Identity, ApiError> {
    let header = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let (scheme, key) = header.and_then(|value| value.split_once(' ')).ok_or(ApiError::Unauthenticated)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(ApiError::Unauthenticated);
    }
    state.loaded.load().keys.lookup(key.trim()).cloned().ok_or(ApiError::Unauthenticated)
}

/// The app whose rows a key may see; none: all of them.
pub fn visible_app(identity: &Identity) -> Option<&str> {
    match identity.role {
        Role::App => Some(&identity.app),
        Role::Operator | Role::Auditor => None,
    }
}

/// The parameter `app`, held against what the key may see: an app's key may only name its own.
pub fn app_filter(query: &mut Query, identity: &Identity) -> Result<Option<String>, ApiError> {
    let named = query.slug("app");
    match (visible_app(identity), named) {
        (None, named) => Ok(named),
        (Some(own), Some(other)) if own != other => Err(ApiError::Forbidden("An app's key sees its own app only.")),
        (Some(own), _) => Ok(Some(own.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use axum::{
        body::Body,
        http::{HeaderValue, Request},
    };

    use super::*;
    use crate::api::testing;

    async fn refused<E: FromRequestParts<ApiState, Rejection = ApiError>>(authorization: &str) -> Option<u16> {
        let mut request = Request::new(Body::empty());
        if !authorization.is_empty() {
            request.headers_mut().insert(header::AUTHORIZATION, HeaderValue::from_str(authorization).unwrap());
        }
        let (mut parts, _) = request.into_parts();
        E::from_request_parts(&mut parts, &testing::state()).await.err().map(|error| error.status().as_u16())
    }

    #[tokio::test]
    async fn without_a_known_key_nothing_is_open() {
        for header in
            ["", "Bearer", "Bearer ", "Bearer sgw_live_wrong", "Basic shop-key", "shop-key", "Bearer shop-key x"]
        {
            assert_eq!(refused::<MayRead>(header).await, Some(401), "{header:?}");
        }
        assert_eq!(refused::<MayRead>("bearer  shop-key").await, None);
    }

    #[tokio::test]
    async fn each_role_may_do_what_is_its_own() {
        for (key, read, write, operator_reads, operator_writes) in [
            ("Bearer shop-key", None, None, Some(403), Some(403)),
            ("Bearer audit-key", None, Some(403), None, Some(403)),
            ("Bearer ops-key", None, None, None, None),
        ] {
            assert_eq!(refused::<MayRead>(key).await, read, "{key}");
            assert_eq!(refused::<MayWrite>(key).await, write, "{key}");
            assert_eq!(refused::<OperatorMayRead>(key).await, operator_reads, "{key}");
            assert_eq!(refused::<OperatorMayWrite>(key).await, operator_writes, "{key}");
        }
    }

    #[test]
    fn an_app_may_not_ask_for_another() {
        let identity = |role| Identity { app: "shop".into(), role, test: false };
        let ask = |query, role| app_filter(&mut Query::parse(query), &identity(role));
        assert_eq!(ask("", Role::App).unwrap().as_deref(), Some("shop"));
        assert_eq!(ask("app=shop", Role::App).unwrap().as_deref(), Some("shop"));
        assert_eq!(ask("app=bank", Role::App).unwrap_err().status(), 403);
        assert_eq!(ask("app=bank", Role::Auditor).unwrap().as_deref(), Some("bank"));
        assert_eq!(ask("", Role::Operator).unwrap(), None);
    }
}
