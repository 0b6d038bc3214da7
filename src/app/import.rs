//! `templates import`: what a provider has approved, as configuration that a person looks through and pastes.
//!
//! It asks the provider's management and writes nothing by itself: names, categories and who may use what are for people.

use std::{collections::BTreeMap, fmt::Write as _};

use anyhow::Context as _;

use super::build;
use crate::{
    clock::Clock,
    config::{Config, ProviderSection},
    domain::{
        content::Category,
        registration::{ProviderTemplate, ReviewStatus},
        template::{Binding, Param, Template},
    },
    error_chain::chain,
    providers::registrations::{RegistrationError, Registrations, Slice, TemplateQuery, TemplateShape},
};

const PAGE: u32 = 100;
/// More templates than any account has; a list that never ends ends here.
const MOST: u32 = 10_000;

/// The configuration for all approved templates of a provider that are not bound yet.
pub async fn import_templates(config: &Config, provider: &str, clock: &Clock) -> anyhow::Result<String> {
    let section = config.providers.get(provider).with_context(|| format!("there is no provider {provider}"))?;
    let driver = build::driver(provider, section, clock)?;
    let registrations = driver
        .registrations()
        .with_context(|| format!("providers.{provider} has no `management`, or no templates that can be managed"))?;
    let mut importer = Importer { config, provider, section, out: String::new(), names: Vec::new() };
    let told = |error: RegistrationError| {
        let said = error.message.as_deref().unwrap_or("no reason given");
        anyhow::anyhow!("{}: {said}", chain(&error))
    };
    for listed in approved(&*registrations).await.map_err(told)? {
        let template = registrations.template(&listed.id).await.map_err(told)?;
        let signature = match &template.signature_id {
            Some(id) => Some(registrations.signature(id).await.map_err(told)?),
            None => None,
        };
        let signature = signature.map(|signature| (signature.name, signature.sender));
        importer.add(&template, &registrations.shape(&template), signature);
    }
    Ok(importer.out)
}

async fn approved(registrations: &dyn Registrations) -> Result<Vec<ProviderTemplate>, RegistrationError> {
    let mut found: Vec<ProviderTemplate> = Vec::new();
    for page in 0..MOST / PAGE {
        let offset = u32::try_from(found.len()).unwrap_or(page * PAGE);
        let slice = Slice { offset, limit: PAGE, ..Slice::default() };
        let query = TemplateQuery { slice, status: Some(ReviewStatus::Approved), ..TemplateQuery::default() };
        let listed = registrations.templates(&query).await?;
        let (seen, total) = (listed.entries.len(), listed.total);
        found.extend(listed.entries);
        if seen == 0 || found.len() as u64 >= total {
            break;
        }
    }
    Ok(found)
}

struct Importer<'a> {
    config: &'a Config,
    provider: &'a str,
    section: &'a ProviderSection,
    out: String,
    names: Vec<String>,
}

impl Importer<'_> {
    fn add(&mut self, template: &ProviderTemplate, shape: &TemplateShape, signature: Option<(String, Option<String>)>) {
        let Some(id) = &template.provider_template_id else {
            self.line(&format!("# {}: has no id to send with", one_line(&template.name)));
            return;
        };
        if let Some(bound) = self.bound(id) {
            let comment = format!("# {}: is bound already, templates.{bound}", one_line(&template.name));
            self.line(&comment);
            return;
        }
        let name = self.name_for(template);
        let (signature_name, from) = signature.map_or((None, None), |(name, from)| (Some(name), from));
        let binding = Binding {
            template_id: Some(id.clone()),
            params: shape.params.iter().map(|param| param.name.clone()).collect(),
            signature: signature_name.filter(|_| template.universal),
            from,
        };
        self.write(&name, template, shape, &binding);
    }

    fn write(&mut self, name: &str, template: &ProviderTemplate, shape: &TemplateShape, binding: &Binding) {
        self.line(&format!("# {}", one_line(&template.name)));
        self.line(&format!("[templates.{name}]"));
        if readable(shape, binding, self.provider) {
            self.line(&format!("text = {}", quoted(&shape.text)));
        } else {
            self.line("# its text cannot be written here; only the provider knows it");
        }
        let category = template.category.unwrap_or(Category::Transactional);
        self.line(&format!("category = {}", quoted(category.as_str())));
        let params: Vec<String> = shape.params.iter().map(param).collect();
        self.line(&format!("params = [{}]", params.join(", ")));
        self.line(&format!("[templates.{name}.bindings.{}]", self.provider));
        self.line(&format!("template_id = {}", quoted(binding.template_id.as_deref().unwrap_or_default())));
        let names: Vec<String> = binding.params.iter().map(|name| quoted(name)).collect();
        self.line(&format!("params = [{}]", names.join(", ")));
        if let Some(signature) = &binding.signature {
            self.line(&format!("signature = {}", quoted(signature)));
        }
        if let Some(from) = &binding.from {
            if !self.section.knows_sender(from) {
                self.line(&format!("# add it to the senders of providers.{}:", self.provider));
            }
            self.line(&format!("from = {}", quoted(from)));
        }
        self.line("");
    }

    fn line(&mut self, line: &str) {
        let _ = writeln!(self.out, "{line}");
    }

    /// The template of the configuration that has this one already.
    fn bound(&self, id: &str) -> Option<&str> {
        let has = |template: &Template| {
            template.bindings.get(self.provider).and_then(|binding| binding.template_id.as_deref()) == Some(id)
        };
        self.config.templates.iter().find(|(_, template)| has(template)).map(|(name, _)| name.as_str())
    }

    /// A name that nothing else has.
    fn name_for(&mut self, template: &ProviderTemplate) -> String {
        let wished = slug(&template.name).unwrap_or_else(|| {
            let id: String = template.id.chars().filter(char::is_ascii_alphanumeric).take(8).collect();
            format!("template_{}", id.to_ascii_lowercase())
        });
        let taken = |name: &String| self.names.contains(name) || self.config.templates.contains_key(name);
        let mut name = wished.clone();
        for number in 2.. {
            if !taken(&name) {
                break;
            }
            name = format!("{wished}_{number}");
        }
        self.names.push(name.clone());
        name
    }
}

/// Would the configuration take the text? Two braces mean something in it, and cannot be written otherwise.
fn readable(shape: &TemplateShape, binding: &Binding, provider: &str) -> bool {
    let params = shape.params.iter().map(|param| Param { name: param.name.clone(), max_length: None, pattern: None });
    let template = Template {
        text: Some(shape.text.clone()),
        category: Category::Transactional,
        validity_period: None,
        params: params.collect(),
        bindings: BTreeMap::from([(provider.to_owned(), binding.clone())]),
    };
    !shape.text.is_empty() && template.problems().is_empty()
}

fn param(param: &crate::providers::registrations::ParamShape) -> String {
    let mut fields = format!("{{ name = {}", quoted(&param.name));
    if let Some(max) = param.max_length {
        let _ = write!(fields, ", max_length = {max}");
    }
    if let Some(pattern) = &param.pattern {
        let _ = write!(fields, ", pattern = {}", quoted(pattern));
    }
    fields + " }"
}

fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// A comment ends with its line.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Lower-case letters, digits and `_`, a letter first; none where nothing of the name can be kept.
fn slug(name: &str) -> Option<String> {
    let mut slug = String::new();
    for c in name.chars() {
        if c.is_ascii_alphanumeric() {
            slug.push(c.to_ascii_lowercase());
        } else if !slug.is_empty() && !slug.ends_with('_') {
            slug.push('_');
        }
    }
    let slug = slug.trim_matches('_').trim_start_matches(|c: char| !c.is_ascii_lowercase());
    let slug: String = slug.chars().take(50).collect();
    (!slug.is_empty()).then_some(slug)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_slugs() {
        for (name, expected) in [
            ("Login code", Some("login_code")),
            ("auto_test789", Some("auto_test789")),
            ("  2nd -- Parcel! ", Some("nd_parcel")),
            ("验证码", None),
            ("__", None),
            ("123", None),
        ] {
            assert_eq!(slug(name).as_deref(), expected, "{name}");
        }
        assert_eq!(slug(&"x".repeat(80)).map(|slug| slug.len()), Some(50));
    }

    #[test]
    fn what_toml_would_read_otherwise_is_quoted() {
        for text in ["a\"b", "\\S", "line\nbreak", "it's 'quoted'", "'''\"\"\"", "公园"] {
            let table: toml::Table = format!("x = {}", quoted(text)).parse().unwrap();
            assert_eq!(table["x"].as_str(), Some(text));
        }
    }
}
