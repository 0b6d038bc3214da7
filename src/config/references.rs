//! What must hold between sections: names that point to something, times that fit each other.

use std::{collections::BTreeMap, time::Duration};

use super::{App, Config, ConfigProblem, KeyHash, Route};

/// How much longer than any call a claim must hold, for what happens around the call.
const LEASE_MARGIN: Duration = Duration::from_secs(5);

#[derive(Default)]
struct Problems(Vec<ConfigProblem>);

impl Problems {
    fn note(&mut self, key: String, problem: impl Into<String>) {
        self.0.push(ConfigProblem { key, problem: problem.into() });
    }

    /// Notes every name of a list that `exists` does not know.
    fn dangling(&mut self, key: &str, names: &[String], kind: &str, exists: impl Fn(&str) -> bool) {
        for (index, name) in names.iter().enumerate() {
            if !exists(name) {
                self.note(format!("{key}[{index}]"), format!("there is no {kind} {name}"));
            }
        }
    }
}

impl Config {
    /// Every problem that no section can see alone.
    pub(super) fn check_references(&self) -> Vec<ConfigProblem> {
        let mut problems = Problems::default();
        self.check_lease(&mut problems);
        for route in &self.routes {
            self.check_route(route, &mut problems);
        }
        for (name, template) in &self.templates {
            for provider in template.bindings.keys().filter(|provider| !self.providers.contains_key(*provider)) {
                problems
                    .note(format!("templates.{name}.bindings.{provider}"), format!("there is no provider {provider}"));
            }
        }
        for (name, app) in &self.apps {
            self.check_app(name, app, &mut problems);
        }
        self.check_keys(&mut problems);
        self.check_inbound_numbers(&mut problems);
        self.check_public_url(&mut problems);
        problems.0
    }

    fn check_lease(&self, problems: &mut Problems) {
        let slowest = self.providers.iter().max_by_key(|(_, provider)| provider.timeout);
        if let Some((name, provider)) =
            slowest.filter(|(_, slowest)| self.dispatch.lease <= slowest.timeout + LEASE_MARGIN)
        {
            let least = (provider.timeout + LEASE_MARGIN).as_secs();
            let problem =
                format!("must be above {least}: providers.{name} has a timeout of {} s", provider.timeout.as_secs());
            problems.note("dispatch.lease_seconds".to_owned(), problem);
        }
    }

    fn check_route(&self, route: &Route, problems: &mut Problems) {
        let key = format!("routes.{}", route.name);
        problems.dangling(&format!("{key}.match.apps"), &route.matches.apps, "app", |app| self.apps.contains_key(app));
        for (index, step) in route.steps.iter().enumerate().filter(|(_, step)| !step.provider.is_empty()) {
            let key = format!("{key}.steps[{index}]");
            let Some(provider) = self.providers.get(&step.provider) else {
                problems.note(format!("{key}.provider"), format!("there is no provider {}", step.provider));
                continue;
            };
            if step.from.as_ref().is_some_and(|from| !provider.knows_sender(from)) {
                let problem = format!("is neither from nor among the senders of providers.{}", step.provider);
                problems.note(format!("{key}.from"), problem);
            }
        }
    }

    fn check_app(&self, name: &str, app: &App, problems: &mut Problems) {
        let key = format!("apps.{name}");
        let is_route = |route: &str| self.routes.iter().any(|known| known.name == route);
        if let Some(route) = app.default_route.as_deref().filter(|route| !is_route(route)) {
            problems.note(format!("{key}.default_route"), format!("there is no route {route}"));
        }
        let names = |list: &Option<Vec<String>>| list.clone().unwrap_or_default();
        problems.dangling(&format!("{key}.routes"), &names(&app.routes), "route", is_route);
        problems.dangling(&format!("{key}.providers"), &names(&app.providers), "provider", |provider| {
            self.providers.contains_key(provider)
        });
        problems.dangling(&format!("{key}.templates"), &names(&app.templates), "template", |template| {
            self.templates.contains_key(template)
        });
    }

    /// A key must lead to one app, and must not be a live key and a test key at once.
    fn check_keys(&self, problems: &mut Problems) {
        let mut owners: BTreeMap<KeyHash, String> = BTreeMap::new();
        for (name, app) in &self.apps {
            for (list, hashes) in [("keys", &app.keys), ("test_keys", &app.test_keys)] {
                for (index, hash) in hashes.iter().enumerate() {
                    let key = format!("apps.{name}.{list}[{index}]");
                    match owners.get(hash) {
                        Some(owner) => problems.note(key, format!("is the same key as {owner}")),
                        None => {
                            owners.insert(*hash, key);
                        }
                    }
                }
            }
        }
    }

    fn check_inbound_numbers(&self, problems: &mut Problems) {
        let mut owners: BTreeMap<&str, &str> = BTreeMap::new();
        for (name, app) in &self.apps {
            for (index, number) in app.inbound_numbers.iter().enumerate() {
                // With and without + it is the same number; providers write it either way.
                let owner = owners.entry(number.trim_start_matches('+')).or_insert(name);
                if owner != name {
                    problems
                        .note(format!("apps.{name}.inbound_numbers[{index}]"), format!("belongs to apps.{owner} too"));
                }
            }
        }
    }

    fn check_public_url(&self, problems: &mut Problems) {
        let calls_back =
            |settings: &toml::Table| settings.get("reports").and_then(toml::Value::as_str) == Some("callback");
        let in_need = self.providers.iter().find(|(_, provider)| calls_back(&provider.settings));
        if let (Some((name, _)), None) = (in_need, &self.server.public_url) {
            let problem = format!("is missing, but providers.{name} sends its reports there (reports = \"callback\")");
            problems.note("server.public_url".to_owned(), problem);
        }
    }
}
