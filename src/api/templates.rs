//! The gateway's own templates, as configured. An app sees those that it may use.

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    auth::MayRead,
    error::ApiError,
    openapi::{ListProblems, ReadProblems},
    page::Page,
    path::Name,
    query::Query,
    state::ApiState,
};
use crate::{
    config::{Config, Role},
    domain::{content::Category, template},
    keys::Identity,
};

/// A template.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Template {
    /// Its name.
    pub name: String,
    /// With `{{param}}`; null when only providers know the text.
    pub text: Option<String>,
    /// What kind of messages it makes.
    pub category: Category,
    /// Seconds in which its messages may be handed to a provider.
    pub validity_period: u32,
    /// The values it takes.
    pub params: Vec<Param>,
    /// How each provider gets it.
    pub bindings: Vec<Binding>,
}

/// A value that a template takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Param {
    /// Its name.
    pub name: String,
    /// At most so many characters.
    #[schema(minimum = 1)]
    pub max_length: Option<usize>,
    /// What the whole value must look like.
    pub pattern: Option<String>,
}

/// How one provider gets a template.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Binding {
    /// Which provider.
    pub provider: String,
    /// The provider's id of its registered template; null for a provider that takes the params alone.
    pub template_id: Option<String>,
    /// Names in the provider's order.
    pub params: Vec<String>,
    /// The signature that goes with it.
    pub signature: Option<String>,
    /// The channel number that belongs to the signature.
    pub from: Option<String>,
}

impl Template {
    fn new(name: &str, template: &template::Template) -> Self {
        let binding = |(provider, binding): (&String, &template::Binding)| Binding {
            provider: provider.clone(),
            template_id: binding.template_id.clone(),
            params: binding.params.clone(),
            signature: binding.signature.clone(),
            from: binding.from.clone(),
        };
        Self {
            name: name.into(),
            text: template.text.clone(),
            category: template.category,
            validity_period: template.validity(),
            params: template.params.iter().map(Param::new).collect(),
            bindings: template.bindings.iter().map(binding).collect(),
        }
    }
}

impl Param {
    fn new(param: &template::Param) -> Self {
        Self {
            name: param.name.clone(),
            max_length: param.max_length,
            pattern: param.pattern_as_configured().map(str::to_owned),
        }
    }
}

/// List templates
///
/// By name. An app sees those that it may use.
#[utoipa::path(
    get, path = "/v1/templates", operation_id = "listTemplates", tag = "Templates",
    params(
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 200),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before.", max_length = 512),
    ),
    responses((status = 200, description = "One page.", body = Page<Template>), ListProblems),
    extensions(("x-role" = json!("app"))),
)]
pub async fn list(
    State(state): State<ApiState>,
    MayRead(identity): MayRead,
    mut query: Query,
) -> Result<Json<Page<Template>>, ApiError> {
    let (after, limit) = (query.cursor::<String>(), query.limit());
    query.finish()?;
    let loaded = state.loaded.load();
    let data: Vec<Template> = loaded
        .config
        .templates
        .iter()
        .filter(|(name, _)| after.as_ref().is_none_or(|after| *name > after) && sees(&identity, &loaded.config, name))
        .take(limit as usize + 1)
        .map(|(name, template)| Template::new(name, template))
        .collect();
    Ok(Json(Page::cut(data, limit, |last| last.name.clone())))
}

/// Read a template
#[utoipa::path(
    get, path = "/v1/templates/{template_name}", operation_id = "getTemplate", tag = "Templates",
    params(("template_name" = String, Path, pattern = "^[a-z][a-z0-9_]{0,62}$")),
    responses((status = 200, description = "The template.", body = Template), ReadProblems),
    extensions(("x-role" = json!("app"))),
)]
pub async fn get(
    State(state): State<ApiState>,
    MayRead(identity): MayRead,
    Name(name): Name,
) -> Result<Json<Template>, ApiError> {
    let loaded = state.loaded.load();
    let template = loaded.config.templates.get(&name).filter(|_| sees(&identity, &loaded.config, &name));
    let template = template.ok_or(ApiError::NotFound("There is no template of this name."))?;
    Ok(Json(Template::new(&name, template)))
}

fn sees(identity: &Identity, config: &Config, template: &str) -> bool {
    match identity.role {
        Role::Operator | Role::Auditor => true,
        Role::App => {
            let allowed = config.apps.get(&identity.app).and_then(|app| app.templates.as_deref());
            allowed.is_none_or(|allowed| allowed.iter().any(|name| name == template))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::api::testing::{get, state};

    #[tokio::test]
    async fn a_template_is_shown_as_configured() {
        let (status, body) = get(&state(), "ops-key", "/v1/templates/login_code").await;
        let expected = json!({
            "name": "login_code", "text": "Your code is {{code}}", "category": "otp", "validity_period": 600,
            "params": [{ "name": "code", "max_length": null, "pattern": "[0-9]{4,6}" }],
            "bindings": [{
                "provider": "huawei", "template_id": "8ff55eac", "params": ["code"], "signature": null,
                "from": "csms100000001",
            }],
        });
        assert_eq!((status, body), (200, expected));
    }

    #[tokio::test]
    async fn pages_follow_one_another_by_name() {
        let state = state();
        let (_, first) = get(&state, "ops-key", "/v1/templates?limit=1").await;
        assert_eq!(first["data"][0]["name"], "login_code");
        let cursor = first["next_cursor"].as_str().unwrap();
        let (_, second) = get(&state, "ops-key", &format!("/v1/templates?limit=1&cursor={cursor}")).await;
        assert_eq!((&second["data"][0]["name"], &second["next_cursor"]), (&json!("parcel"), &json!(null)));
    }

    #[tokio::test]
    async fn an_app_sees_only_the_templates_that_it_may_use() {
        let state = state();
        let (_, list) = get(&state, "bank-key", "/v1/templates").await;
        assert_eq!(list["data"].as_array().unwrap().len(), 1);
        for path in ["/v1/templates/parcel", "/v1/templates/no_such", "/v1/templates/%ff"] {
            let (status, problem) = get(&state, "bank-key", path).await;
            assert_eq!((status, &problem["code"]), (404, &json!("not_found")), "{path}");
        }
    }
}
