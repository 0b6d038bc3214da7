//! The configuration: one file per section, each a struct that mirrors the TOML and knows how it is read.
//!
//! Loading lays the environment over the file, refuses unknown keys, and reports every problem at once with its key. A
//! [`Config`] that exists has been validated; nobody checks it again. The keys of a driver are the exception: only the driver
//! knows them, so they travel as [`ProviderSection::settings`] and are judged when the driver is built.

use std::collections::BTreeMap;

use crate::{domain::template::Template, settings::SettingsReader};

mod apps;
mod database;
mod dispatch;
mod limits;
mod load;
mod opt_out;
mod overlay;
mod providers;
mod references;
mod reload;
mod retention;
mod routes;
mod server;
mod telemetry;
mod templates;
mod warnings;
mod words;

pub use apps::{App, InvalidKeyHash, KeyHash, Role};
pub use database::Database;
pub use dispatch::Dispatch;
pub use limits::{InvalidRateRule, Limits, PrefixVelocity, RateRule};
pub use load::{ConfigErrors, ConfigProblem, check, environment, file, load};
pub use opt_out::OptOut;
pub use providers::{ProviderSection, SANDBOX};
pub use reload::{Reloaded, reload};
pub use retention::Retention;
pub use routes::{Route, RouteMatch, RouteStep};
pub use server::Server;
pub use telemetry::{LogFormat, Telemetry};
pub use words::is_slug;

/// Everything that can be configured.
#[derive(Debug, Clone)]
pub struct Config {
    /// Listeners and the root secret.
    pub server: Server,
    /// Where the data lies.
    pub database: Database,
    /// The engine.
    pub dispatch: Dispatch,
    /// How long history is kept.
    pub retention: Retention,
    /// Words that opt a recipient out and in.
    pub opt_out: OptOut,
    /// Limits that hold over all apps.
    pub limits: Limits,
    /// Logs and traces.
    pub telemetry: Telemetry,
    /// The providers by name. Always holds `sandbox`.
    pub providers: BTreeMap<String, ProviderSection>,
    /// The gateway's own templates by name.
    pub templates: BTreeMap<String, Template>,
    /// The routes in matching order: by priority, then name.
    pub routes: Vec<Route>,
    /// The apps by name.
    pub apps: BTreeMap<String, App>,
    /// No apps are configured: `demo` and `operator` stand in, without keys until the first start has made some.
    pub first_start: bool,
}

impl Config {
    fn read(root: &mut SettingsReader) -> Self {
        let mut config = Self {
            server: root.section("server", Server::read),
            database: root.section("database", Database::read),
            dispatch: root.section("dispatch", Dispatch::read),
            retention: root.section("retention", Retention::read),
            opt_out: root.section("opt_out", OptOut::read),
            limits: root.section("limits", Limits::read),
            telemetry: root.section("telemetry", Telemetry::read),
            providers: named(root, "providers", ProviderSection::read),
            templates: named(root, "templates", |_, reader| templates::read(reader)),
            routes: named(root, "routes", Route::read).into_values().collect(),
            apps: named(root, "apps", |_, reader| App::read(reader)),
            first_start: false,
        };
        config.stand_in();
        config.routes.sort_by(|a, b| (a.priority, &a.name).cmp(&(b.priority, &b.name)));
        config
    }

    /// Fills in what makes a gateway usable when a person has not said anything yet.
    fn stand_in(&mut self) {
        let only_sandbox = self.providers.keys().all(|name| name == SANDBOX);
        let nothing_said = only_sandbox && self.routes.is_empty() && self.apps.is_empty();
        self.providers.entry(SANDBOX.to_owned()).or_insert_with(ProviderSection::sandbox);
        if nothing_said {
            let backup = "sandbox_backup";
            self.providers.insert(backup.to_owned(), ProviderSection::sandbox());
            self.routes.push(Route::everything_to(&[SANDBOX, backup]));
        }
        if self.apps.is_empty() {
            self.first_start = true;
            self.apps.insert("demo".to_owned(), App::default());
            self.apps.insert("operator".to_owned(), App { role: Role::Operator, ..App::default() });
        }
    }
}

/// Reads the tables `[key.NAME]`.
fn named<T>(
    root: &mut SettingsReader,
    key: &str,
    mut read: impl FnMut(&str, &mut SettingsReader) -> T,
) -> BTreeMap<String, T> {
    let entries = root.table(key, |section| {
        section.each_table(|name, reader| {
            if !is_slug(name) {
                reader.problem_here("must be named with a-z, 0-9 and _, at most 63 of them, a letter first");
            }
            (name.to_owned(), read(name, reader))
        })
    });
    entries.unwrap_or_default().into_iter().collect()
}

#[cfg(test)]
mod tests;
