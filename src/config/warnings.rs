//! What is allowed and yet probably not meant: told at start, refused never.

use secrecy::{ExposeSecret, SecretString};

use super::{Config, ConfigProblem};

const SHORTEST_GOOD_TOKEN: usize = 16;

impl Config {
    /// What a person should look at, each with its key.
    pub fn warnings(&self) -> Vec<ConfigProblem> {
        let mut warnings = Vec::new();
        let mut warn = |key: String, problem: &str| warnings.push(ConfigProblem { key, problem: problem.to_owned() });
        if self.routes.is_empty() {
            warn("routes".to_owned(), "is empty: only requests that name a provider can be sent");
        }
        for (name, provider) in &self.providers {
            let weak = |token: &SecretString| token.expose_secret().len() < SHORTEST_GOOD_TOKEN;
            if provider.callback_token.iter().any(weak) {
                warn(format!("providers.{name}.callback_token"), "is short enough to be guessed");
            }
            let reports_by_call = provider.driver == "huawei_sms" && !provider.settings.contains_key("reports");
            if reports_by_call && self.server.public_url.is_none() {
                warn(
                    format!("providers.{name}.reports"),
                    "has nowhere to go: set server.public_url, or \"application\" here",
                );
            }
            let base_url = provider.settings.get("base_url").and_then(toml::Value::as_str).unwrap_or_default();
            if base_url.to_ascii_lowercase().starts_with("http://") {
                warn(format!("providers.{name}.base_url"), "is not https: credentials and numbers travel in the clear");
            }
        }
        for route in &self.routes {
            if route.steps.first().is_some_and(|step| step.after_seconds.is_some()) {
                warn(
                    format!("routes.{}.steps[0].after_seconds", route.name),
                    "has no effect: there is no step before it",
                );
            }
        }
        for (name, template) in &self.templates {
            for (provider, binding) in &template.bindings {
                let known =
                    |from: &String| self.providers.get(provider).is_none_or(|section| section.knows_sender(from));
                if binding.from.as_ref().is_some_and(|from| !known(from)) {
                    let key = format!("templates.{name}.bindings.{provider}.from");
                    warn(key, "is neither from nor among the senders of that provider");
                }
            }
        }
        for (name, app) in self.apps.iter().filter(|_| !self.first_start) {
            if app.keys.is_empty() && app.test_keys.is_empty() {
                warn(format!("apps.{name}.keys"), "is empty: nobody can use this app");
            }
            if app.webhook_url.is_some() && app.webhook_secret.is_empty() {
                warn(format!("apps.{name}.webhook_secret"), "is missing: its webhooks are sent without a signature");
            }
        }
        warnings
    }
}
