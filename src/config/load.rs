//! From a path and the environment to a validated [`Config`], or to everything that is wrong.

use std::{
    collections::BTreeMap,
    fmt, fs, io,
    path::{Path, PathBuf},
    rc::Rc,
};

use toml::Table;

use super::{Config, ProviderSection, overlay};
use crate::settings::{SettingsProblem, SettingsReader, Texts};

const DEFAULT_FILE: &str = "gateway.toml";

/// One thing that is wrong, with its key as it would be written from the top: `routes.otp_vn.steps[1].provider`.
pub type ConfigProblem = SettingsProblem;

/// Everything that is wrong with a configuration, one line for each.
#[derive(Debug, Clone, thiserror::Error)]
pub struct ConfigErrors {
    /// Sorted by key.
    pub problems: Vec<ConfigProblem>,
    /// The providers as far as they could be read, so that their drivers can add what they think of their own keys.
    pub providers: BTreeMap<String, ProviderSection>,
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            let line_break = if index == 0 { "" } else { "\n" };
            write!(f, "{line_break}{}: {}", problem.key, problem.problem)?;
        }
        Ok(())
    }
}

impl ConfigErrors {
    pub(super) fn new(mut problems: Vec<ConfigProblem>, providers: BTreeMap<String, ProviderSection>) -> Self {
        problems.sort_by(|a, b| a.key.cmp(&b.key));
        Self { problems, providers }
    }

    /// Adds what a driver says about its part of `[providers.NAME]`.
    pub fn add_settings(&mut self, provider: &str, problems: Vec<SettingsProblem>) {
        self.problems.extend(problems.into_iter().map(|found| SettingsProblem {
            key: format!("providers.{provider}.{}", found.key),
            problem: found.problem,
        }));
        self.problems.sort_by(|a, b| a.key.cmp(&b.key));
    }
}

/// The variables of this process. One that is not Unicode cannot be ours and is left out.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// Reads and validates the configuration.
///
/// The file is `path`, else what `SMS_GATEWAY_CONFIG` names, else `gateway.toml` in the working directory if there is one. A
/// file that somebody named must be there.
pub fn load(path: Option<&Path>, environment: impl Iterator<Item = (String, String)>) -> Result<Config, ConfigErrors> {
    let (config, problems) = read(path, environment)?;
    if problems.is_empty() { Ok(config) } else { Err(ConfigErrors::new(problems, config.providers)) }
}

/// Like [`load`], and refuses besides what works on one machine but breaks with the second: processes that share a database
/// need one root secret, and a file on the disk of each is not one.
pub fn check(path: Option<&Path>, environment: impl Iterator<Item = (String, String)>) -> Result<Config, ConfigErrors> {
    let (config, mut problems) = read(path, environment)?;
    if config.database.url.is_some() && config.server.secret_key.is_empty() {
        let problem = "is missing, but needed together with database.url: whoever shares the database must share it";
        problems.push(ConfigProblem { key: "server.secret_key".to_owned(), problem: problem.to_owned() });
    }
    if problems.is_empty() { Ok(config) } else { Err(ConfigErrors::new(problems, config.providers)) }
}

/// What was read, with stand-ins where there is a problem.
fn read(
    path: Option<&Path>,
    environment: impl Iterator<Item = (String, String)>,
) -> Result<(Config, Vec<ConfigProblem>), ConfigErrors> {
    let environment: Vec<(String, String)> = environment.collect();
    let mut table =
        read_file(path, &environment).map_err(|problem| ConfigErrors::new(vec![problem], BTreeMap::new()))?;
    let (from_environment, mut problems) = overlay::lay_over(&mut table, environment.into_iter());
    let mut root = SettingsReader::at(table, String::new(), Texts::Only(Rc::new(from_environment)));
    let config = Config::read(&mut root);
    problems.extend(root.into_problems());
    problems.extend(config.check_references());
    Ok((config, problems))
}

/// The file that somebody named: `path`, else what `SMS_GATEWAY_CONFIG` names.
fn named_file(path: Option<&Path>, environment: &[(String, String)]) -> Option<PathBuf> {
    let from_environment = environment.iter().find(|(name, value)| name == "SMS_GATEWAY_CONFIG" && !value.is_empty());
    path.map(Path::to_owned).or_else(|| from_environment.map(|(_, value)| PathBuf::from(value)))
}

/// The file that [`load`] reads, whether it is there or not.
pub fn file(path: Option<&Path>, environment: impl Iterator<Item = (String, String)>) -> PathBuf {
    named_file(path, &environment.collect::<Vec<_>>()).unwrap_or_else(|| PathBuf::from(DEFAULT_FILE))
}

fn read_file(path: Option<&Path>, environment: &[(String, String)]) -> Result<Table, ConfigProblem> {
    let named = named_file(path, environment);
    let path = named.as_deref().unwrap_or(Path::new(DEFAULT_FILE));
    let problem = |problem: String| ConfigProblem { key: path.display().to_string(), problem };
    match fs::read_to_string(path) {
        Ok(text) => text.parse().map_err(|error| problem(where_and_what(&text, &error))),
        Err(error) if error.kind() == io::ErrorKind::NotFound && named.is_none() => Ok(Table::new()),
        Err(error) => Err(problem(format!("cannot be read: {error}"))),
    }
}

/// The place and the cause, without the line itself, which may hold a secret.
fn where_and_what(text: &str, error: &toml::de::Error) -> String {
    let start = error.span().map_or(0, |span| span.start);
    let before = text.get(..start).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    format!("line {line}, column {column}: {}", error.message())
}
