//! The routes, as configured, in matching order.

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    auth::OperatorMayRead,
    error::ApiError,
    openapi::{ListProblems, ReadProblems},
    page::Page,
    path::Name,
    query::Query,
    state::ApiState,
};
use crate::{
    config,
    domain::{
        content::{Category, Channel},
        life::{Failover, OnUnknown},
    },
};

/// Which providers carry which messages, in what order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Route {
    /// Its name.
    pub name: String,
    /// Lower matches first.
    pub priority: i32,
    /// All given conditions must hold; an empty one takes everything.
    #[serde(rename = "match")]
    pub matches: RouteMatch,
    /// Providers in order.
    #[schema(min_items = 1)]
    pub steps: Vec<RouteStep>,
    /// When to go on to the next step.
    pub failover: Failover,
    /// What to do after an unclear outcome.
    pub on_unknown: OnUnknown,
}

/// The conditions of a route. An empty list is no condition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct RouteMatch {
    /// Any of these apps.
    pub apps: Vec<String>,
    /// Any of these channels, where the request names one.
    pub channels: Vec<Channel>,
    /// Any of these countries (ISO 3166-1 alpha-2).
    pub countries: Vec<String>,
    /// Any of these prefixes, with `+`.
    pub prefixes: Vec<String>,
    /// Any of these categories.
    pub categories: Vec<Category>,
}

/// One step of a route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct RouteStep {
    /// Which provider.
    pub provider: String,
    /// Its sender, instead of the provider's default.
    pub from: Option<String>,
    /// Go on to this step if the one before has no final report by then.
    pub after_seconds: Option<u32>,
}

impl From<&config::Route> for Route {
    fn from(route: &config::Route) -> Self {
        let matches = &route.matches;
        let step = |step: &config::RouteStep| RouteStep {
            provider: step.provider.clone(),
            from: step.from.clone(),
            after_seconds: step.after_seconds,
        };
        Self {
            name: route.name.clone(),
            priority: route.priority,
            matches: RouteMatch {
                apps: matches.apps.clone(),
                channels: matches.channels.clone(),
                countries: matches.countries.clone(),
                prefixes: matches.prefixes.clone(),
                categories: matches.categories.clone(),
            },
            steps: route.steps.iter().map(step).collect(),
            failover: route.failover,
            on_unknown: route.on_unknown,
        }
    }
}

/// List routes, in matching order
#[utoipa::path(
    get, path = "/v1/routes", operation_id = "listRoutes", tag = "Routes",
    responses((status = 200, description = "All routes.", body = Page<Route>), ListProblems),
    extensions(("x-role" = json!("operator"))),
)]
pub async fn list(
    State(state): State<ApiState>,
    _: OperatorMayRead,
    query: Query,
) -> Result<Json<Page<Route>>, ApiError> {
    query.finish()?;
    Ok(Json(Page::whole(state.loaded.load().config.routes.iter().map(Route::from).collect())))
}

/// Read a route
#[utoipa::path(
    get, path = "/v1/routes/{route_name}", operation_id = "getRoute", tag = "Routes",
    params(("route_name" = String, Path, pattern = "^[a-z][a-z0-9_]{0,62}$")),
    responses((status = 200, description = "The route.", body = Route), ReadProblems),
    extensions(("x-role" = json!("operator"))),
)]
pub async fn get(State(state): State<ApiState>, _: OperatorMayRead, Name(name): Name) -> Result<Json<Route>, ApiError> {
    let loaded = state.loaded.load();
    let route = loaded.config.routes.iter().find(|route| route.name == name);
    route.map(|route| Json(route.into())).ok_or(ApiError::NotFound("There is no route of this name."))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::api::testing::{get, state};

    #[tokio::test]
    async fn routes_stand_in_matching_order() {
        let (status, body) = get(&state(), "audit-key", "/v1/routes").await;
        let names: Vec<_> = body["data"].as_array().unwrap().iter().map(|route| &route["name"]).collect();
        assert_eq!((status, names), (200, vec![&json!("otp_vn"), &json!("everything")]));
    }

    #[tokio::test]
    async fn a_route_is_shown_as_configured() {
        let (status, body) = get(&state(), "ops-key", "/v1/routes/otp_vn").await;
        let expected = json!({
            "name": "otp_vn", "priority": 10,
            "match": {
                "apps": ["shop"], "channels": [], "countries": ["VN"], "prefixes": ["+8436"], "categories": ["otp"],
            },
            "steps": [
                { "provider": "nxcloud", "from": "8615088888888", "after_seconds": null },
                { "provider": "sandbox", "from": null, "after_seconds": 45 },
            ],
            "failover": "on_undelivered", "on_unknown": "hold",
        });
        assert_eq!((status, body), (200, expected));
    }

    #[tokio::test]
    async fn routes_are_for_operators() {
        let (status, problem) = get(&state(), "shop-key", "/v1/routes/otp_vn").await;
        assert_eq!((status, &problem["code"]), (403, &json!("forbidden")));
    }
}
