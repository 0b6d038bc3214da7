//! `[routes.NAME]`: which messages go to which providers, in which order.

use serde::Deserialize;

use super::words;
use crate::{
    domain::{
        content::{Category, Channel},
        life::{Failover, OnUnknown},
    },
    settings::SettingsReader,
};

/// `[routes.NAME]`
#[derive(Debug, Clone)]
pub struct Route {
    /// Its name.
    pub name: String,
    /// Lower matches first.
    pub priority: i32,
    /// All given conditions must hold.
    pub matches: RouteMatch,
    /// Providers in order; none twice.
    pub steps: Vec<RouteStep>,
    /// When to go on to the next step.
    pub failover: Failover,
    /// What to do after an unclear outcome.
    pub on_unknown: OnUnknown,
}

/// The conditions of a route; an empty list is no condition.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RouteMatch {
    /// Any of these apps.
    pub apps: Vec<String>,
    /// Any of these countries (ISO 3166-1 alpha-2).
    pub countries: Vec<String>,
    /// Any of these prefixes, with `+`.
    pub prefixes: Vec<String>,
    /// Any of these categories.
    pub categories: Vec<Category>,
    /// Any of these channels, where the request names one.
    pub channels: Vec<Channel>,
}

/// One step of a route.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteStep {
    /// Which provider.
    pub provider: String,
    /// Its sender, instead of the provider's default.
    #[serde(default)]
    pub from: Option<String>,
    /// Go on to this step if the one before has no final report by then.
    #[serde(default)]
    pub after_seconds: Option<u32>,
}

const DEFAULT_PRIORITY: i32 = 100;

impl Route {
    /// The route of a gateway that nobody has configured yet.
    pub(super) fn everything_to(providers: &[&str]) -> Self {
        let step = |provider: &&str| RouteStep { provider: (*provider).to_owned(), from: None, after_seconds: None };
        Self {
            name: "default".to_owned(),
            priority: DEFAULT_PRIORITY,
            matches: RouteMatch::default(),
            steps: providers.iter().map(step).collect(),
            failover: Failover::default(),
            on_unknown: OnUnknown::default(),
        }
    }

    pub(super) fn read(name: &str, reader: &mut SettingsReader) -> Self {
        if !reader.has("steps") {
            reader.problem("steps", "is missing");
        }
        let empty = reader.is_empty_list("steps");
        let route = Self {
            name: name.to_owned(),
            priority: reader.integer_or("priority", DEFAULT_PRIORITY, i32::MIN..=i32::MAX),
            matches: reader.section("match", RouteMatch::read),
            steps: reader.tables("steps", RouteStep::read),
            failover: reader.word_or("failover", Failover::default(), Failover::ALL, Failover::as_str),
            on_unknown: reader.word_or("on_unknown", OnUnknown::default(), OnUnknown::ALL, OnUnknown::as_str),
        };
        if empty {
            reader.problem("steps", "must name at least one provider");
        }
        for (index, step) in route.steps.iter().enumerate() {
            if !step.provider.is_empty() && route.steps[..index].iter().any(|earlier| earlier.provider == step.provider)
            {
                reader.problem(&format!("steps[{index}].provider"), format!("{} stands there twice", step.provider));
            }
        }
        route
    }
}

impl RouteMatch {
    fn read(reader: &mut SettingsReader) -> Self {
        let prefixes = reader.list("prefixes");
        for (index, prefix) in prefixes.iter().enumerate() {
            if !is_prefix(prefix) {
                reader.problem(&format!("prefixes[{index}]"), "must be + and up to 15 digits, such as +8436");
            }
        }
        Self {
            apps: reader.list("apps"),
            countries: words::countries(reader, "countries").unwrap_or_default(),
            prefixes,
            categories: reader
                .optional_parsed_list("categories", "one of otp, transactional, marketing")
                .unwrap_or_default(),
            channels: reader.optional_parsed_list("channels", "one of sms, voice").unwrap_or_default(),
        }
    }
}

impl RouteStep {
    fn read(reader: &mut SettingsReader) -> Self {
        Self {
            provider: reader.required_string("provider"),
            from: reader.optional_string("from"),
            after_seconds: reader.optional_integer("after_seconds", 1..=259_200),
        }
    }
}

fn is_prefix(text: &str) -> bool {
    text.strip_prefix('+').is_some_and(|digits| {
        (1..=15).contains(&digits.len()) && !digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit())
    })
}
