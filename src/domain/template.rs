//! The gateway's own templates.

use std::collections::BTreeMap;

use super::content::Category;

/// A template as configured.
#[derive(Debug, Clone)]
pub struct Template {
    /// With `{{param}}`; none when only providers know the text.
    pub text: Option<String>,
    /// `otp` is always sensitive.
    pub category: Category,
    /// Seconds; none: 14400, for otp 600.
    pub validity_period: Option<u32>,
    /// The values it takes.
    pub params: Vec<Param>,
    /// How each provider gets it, by the provider's name.
    pub bindings: BTreeMap<String, Binding>,
}

/// One value that a template takes.
#[derive(Debug, Clone)]
pub struct Param {
    /// Its name.
    pub name: String,
    /// At most so many characters.
    pub max_length: Option<usize>,
    /// What the whole value must look like.
    pub pattern: Option<regex::Regex>,
}

/// How one provider gets a template.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Binding {
    /// The provider's id of its registered template.
    #[serde(default)]
    pub template_id: Option<String>,
    /// Names in the provider's order.
    #[serde(default)]
    pub params: Vec<String>,
    /// The signature that goes with it.
    #[serde(default)]
    pub signature: Option<String>,
    /// The channel number that belongs to the signature.
    #[serde(default)]
    pub from: Option<String>,
}
