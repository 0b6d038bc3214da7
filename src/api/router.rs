//! Every path of the API on one screen.

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing,
};
use utoipa::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};
use utoipa_swagger_ui::{Config, SwaggerUi};

use super::{
    apps, batches,
    error::{ApiError, SOON},
    events,
    frame::framed,
    inbound_messages, messages, openapi, operations, providers, registrations, routes as routes_api, sending,
    state::ApiState,
    suppressions, templates,
};
use crate::server::ReservedConnection;

/// Everything that needs a key.
fn v1() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(messages::create::create, messages::read::list))
        .routes(routes!(messages::read::get))
        .routes(routes!(messages::timeline::events))
        .routes(routes!(messages::cancel::cancel))
        .routes(routes!(messages::preview::preview))
        .routes(routes!(batches::create::create))
        .routes(routes!(batches::read::get))
        .routes(routes!(batches::read::cancel))
        .routes(routes!(inbound_messages::list))
        .routes(routes!(inbound_messages::get))
        .routes(routes!(events::list))
        .routes(routes!(events::redeliver))
        .routes(routes!(events::redeliver_range))
        .routes(routes!(suppressions::list))
        .routes(routes!(suppressions::put, suppressions::delete))
        .routes(routes!(templates::list))
        .routes(routes!(templates::get))
        .routes(routes!(routes_api::list))
        .routes(routes!(routes_api::get))
        .routes(routes!(providers::list))
        .routes(routes!(providers::get, providers::update))
        .routes(routes!(providers::release))
        .routes(routes!(providers::balance))
        .routes(routes!(apps::list))
        .merge(provider_registrations())
}

/// What is registered with providers.
fn provider_registrations() -> OpenApiRouter<ApiState> {
    use registrations::{applications, countries, files, signatures, templates};
    OpenApiRouter::new()
        .routes(routes!(applications::list, applications::create))
        .routes(routes!(applications::get, applications::update))
        .routes(routes!(signatures::list, signatures::create))
        .routes(routes!(signatures::get, signatures::update, signatures::delete))
        .routes(routes!(signatures::activate))
        .routes(routes!(templates::list, templates::create))
        .routes(routes!(templates::get, templates::update, templates::delete))
        .routes(routes!(files::upload))
        .routes(routes!(files::get))
        .routes(routes!(countries::list))
}

/// What machines ask without a key.
fn operations() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(operations::healthz))
        .routes(routes!(operations::readyz))
        .routes(routes!(operations::metrics))
}

/// The whole API on one listener, with what carriers call beside it.
pub fn router(state: ApiState, callbacks: Router) -> Router {
    let limited = v1().route_layer(middleware::from_fn_with_state(state.clone(), admit));
    let (paths, _) = limited.merge(operations()).split_for_parts();
    let clock = state.clock.clone();
    framed(paths.with_state(state).merge(documentation()).merge(callbacks), clock)
}

/// Health and metrics alone, for a process that serves nothing else.
pub fn operations_router(state: ApiState) -> Router {
    let clock = state.clock.clone();
    framed(Router::from(operations()).with_state(state), clock)
}

/// What carriers call, and whether the process is alive; for a listener that faces them.
pub fn callbacks_router(state: ApiState, callbacks: Router) -> Router {
    let clock = state.clock.clone();
    let health = OpenApiRouter::new().routes(routes!(operations::healthz));
    framed(Router::from(health).with_state(state).merge(callbacks), clock)
}

/// The document of everything that [`router`] serves.
pub fn document() -> utoipa::openapi::OpenApi {
    let mut document =
        OpenApiRouter::with_openapi(openapi::Document::openapi()).merge(v1()).merge(operations()).into_openapi();
    openapi::name_entries(&mut document);
    document
}

fn documentation() -> Router {
    let yaml = openapi::yaml(&document()).map_err(|error| error.to_string());
    let serve = move || {
        let yaml = yaml.clone();
        async move {
            match yaml {
                Ok(yaml) => ([(header::CONTENT_TYPE, "application/yaml")], yaml).into_response(),
                Err(error) => ApiError::internal(error).into_response(),
            }
        }
    };
    let pages = SwaggerUi::new("/docs").config(Config::from("/openapi.yaml"));
    let pages = Router::from(pages).layer(middleware::map_response(not_found_as_problem));
    Router::new().route("/openapi.yaml", routing::get(serve)).merge(pages)
}

async fn not_found_as_problem(response: Response) -> Response {
    if response.status() == StatusCode::NOT_FOUND {
        return ApiError::NotFound("There is nothing at this path.").into_response();
    }
    response
}

/// Lets a call in while there is room. Health, metrics and callbacks do not pass here and so always have room left.
async fn admit(State(state): State<ApiState>, request: Request, next: Next) -> Response {
    let reserved = request.extensions().get::<ReservedConnection>().is_some();
    let permit = state.admission.try_acquire();
    if let (false, Ok(_permit)) = (reserved, &permit) {
        if sending::is_for(&request) {
            return sending::admit(&state, request, next).await;
        }
        return next.run(request).await;
    }
    let mut response = ApiError::Unavailable { retry_after: SOON, detail: "The gateway is busy." }.into_response();
    if reserved {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use serde_json::json;
    use tower::ServiceExt;

    use super::*;
    use crate::api::testing::{get, send, state};

    #[tokio::test]
    async fn a_full_house_refuses_v1_and_nothing_else() {
        let state = state();
        let permits = u32::try_from(state.admission.available_permits()).unwrap();
        let taken = state.admission.clone().acquire_many_owned(permits).await.unwrap();
        let (parts, problem) = send(&state, "ops-key", "/v1/providers").await;
        assert_eq!((parts.status.as_u16(), &problem["code"]), (503, &json!("unavailable")));
        assert_eq!(parts.headers[header::RETRY_AFTER], "1");
        assert_eq!(get(&state, "", "/healthz").await.0, 200);
        assert_eq!(get(&state, "", "/metrics").await.0, 200);
        drop(taken);
        assert_eq!(get(&state, "ops-key", "/v1/providers").await.0, 200);
    }

    #[tokio::test]
    async fn a_reserved_connection_is_not_for_v1() {
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = "/v1/providers".parse().unwrap();
        request.extensions_mut().insert(ReservedConnection);
        let response = router(state(), Router::new()).oneshot(request).await.unwrap();
        assert_eq!(
            (response.status().as_u16(), &response.headers()[header::CONNECTION]),
            (503, &"close".parse().unwrap())
        );
    }

    #[tokio::test]
    async fn the_document_and_its_pages_are_served_without_a_key() {
        let state = state();
        let (parts, _) = send(&state, "", "/openapi.yaml").await;
        assert_eq!(
            (parts.status.as_u16(), &parts.headers[header::CONTENT_TYPE]),
            (200, &"application/yaml".parse().unwrap())
        );
        assert_eq!(send(&state, "", "/docs/").await.0.status, 200);
        assert_eq!(send(&state, "", "/docs/swagger-initializer.js").await.0.status, 200);
        let (status, problem) = get(&state, "", "/docs/no_such.js").await;
        assert_eq!((status, &problem["code"]), (404, &json!("not_found")));
    }

    #[tokio::test]
    async fn an_unknown_parameter_is_named() {
        let (status, problem) = get(&state(), "ops-key", "/v1/routes?page=2").await;
        assert_eq!((status, &problem["code"]), (422, &json!("unknown_field")));
        assert_eq!(problem["errors"][0]["parameter"], "page");
    }
}
