//! The gateway's own templates: what they take, what they say, and how each provider gets them.
//!
//! A template is checked when it is configured ([`Template::problems`]) and its values when a message is accepted
//! ([`Template::render`]). Whether a provider has registered what a binding names, only the provider knows.

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;

use super::content::Category;

mod text;

pub use text::TextProblem;

use text::Piece;

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
    /// What the whole value must look like. Anchored; build it with [`Param::new`].
    pub pattern: Option<Regex>,
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

/// A gateway template as one provider knows it, with the values of one message.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BoundTemplate {
    /// The provider's id of it; none for a provider that takes the values alone (voice digits).
    pub template_id: Option<String>,
    /// The values in the provider's order.
    pub params: Vec<String>,
    /// The signature that goes with it (Huawei general templates, mainland).
    pub signature: Option<String>,
}

/// A key of a template's configuration that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateProblem {
    /// Below the template's section: `bindings.voice.params`.
    pub key: String,
    /// What is wrong with it.
    pub problem: String,
}

/// A value that does not fit its template. Never holds the value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParamProblem {
    /// The param's name, as the template or the request has it.
    pub param: String,
    /// As the API writes it: `required`, `unknown_field`, `too_long` or `invalid`.
    pub code: &'static str,
    /// For people.
    pub detail: String,
}

const PATTERN_START: &str = r"\A(?:";
const PATTERN_END: &str = r")\z";

/// For how many seconds a message of this category may be handed to a provider, where nobody says otherwise.
pub const fn default_validity(category: Category) -> u32 {
    match category {
        Category::Otp => 600,
        Category::Transactional | Category::Marketing => 14_400,
    }
}

impl Param {
    /// Builds a param; the pattern holds for the whole value, however it was written.
    pub fn new(name: String, max_length: Option<usize>, pattern: Option<&str>) -> Result<Self, regex::Error> {
        let pattern = pattern.map(anchored).transpose()?;
        Ok(Self { name, max_length, pattern })
    }

    /// The pattern as it was configured.
    pub fn pattern_as_configured(&self) -> Option<&str> {
        self.pattern.as_ref().map(as_configured)
    }

    fn check(&self, value: &str) -> Option<ParamProblem> {
        let (code, detail) = if value.contains('\0') {
            ("invalid", "must not hold a NUL character".to_owned())
        } else if let Some(max) = self.max_length.filter(|max| value.chars().count() > *max) {
            ("too_long", format!("has more than {max} characters"))
        } else if let Some(pattern) = self.pattern.as_ref().filter(|pattern| !pattern.is_match(value)) {
            ("invalid", format!("must match {}", as_configured(pattern)))
        } else {
            return None;
        };
        Some(ParamProblem { param: self.name.clone(), code, detail })
    }
}

/// Compiled alone first: `a)|(b` is no pattern, but would become one between our brackets, and an open one.
fn anchored(pattern: &str) -> Result<Regex, regex::Error> {
    Regex::new(pattern)?;
    Regex::new(&format!("{PATTERN_START}{pattern}{PATTERN_END}"))
}

fn as_configured(pattern: &Regex) -> &str {
    let text = pattern.as_str();
    text.strip_prefix(PATTERN_START).and_then(|text| text.strip_suffix(PATTERN_END)).unwrap_or(text)
}

impl Template {
    /// Must its content never be shown, and be erased when the message is final?
    pub fn sensitive(&self) -> bool {
        self.category == Category::Otp
    }

    /// For how many seconds its messages may be handed to a provider.
    pub fn validity(&self) -> u32 {
        self.validity_period.unwrap_or(default_validity(self.category))
    }

    /// Everything that is wrong with the template itself; empty for one that can be used.
    pub fn problems(&self) -> Vec<TemplateProblem> {
        let mut problems = self.param_problems();
        let declared: BTreeSet<&str> = self.params.iter().map(|param| param.name.as_str()).collect();
        match &self.text {
            Some(text) => {
                let (pieces, wrong) = text::scan(text);
                let undeclared = pieces.iter().filter_map(|piece| match piece {
                    Piece::Value(name) if !declared.contains(name) => Some(TextProblem::Undeclared((*name).to_owned())),
                    Piece::Value(_) | Piece::Plain(_) => None,
                });
                problems.extend(wrong.into_iter().chain(undeclared).map(|problem| found("text", problem.to_string())));
            }
            None if self.bindings.is_empty() => {
                problems.push(found("text", "a template without a text needs a binding".to_owned()));
            }
            None => {}
        }
        for (provider, binding) in &self.bindings {
            let numbered = binding.params.iter().enumerate();
            for (index, name) in numbered.filter(|(_, name)| !declared.contains(name.as_str())) {
                let key = format!("bindings.{provider}.params[{index}]");
                problems.push(found(&key, format!("{name} is not among the params")));
            }
        }
        problems
    }

    fn param_problems(&self) -> Vec<TemplateProblem> {
        let mut seen = BTreeSet::new();
        let mut problems = Vec::new();
        for (index, Param { name, max_length, pattern: _ }) in self.params.iter().enumerate() {
            let key = format!("params[{index}].name");
            if !text::is_name(name) {
                problems.push(found(&key, format!("{name:?} is not a name: lower-case letters, digits and `_`")));
            } else if !seen.insert(name) {
                problems.push(found(&key, format!("{name} stands twice")));
            }
            if *max_length == Some(0) {
                problems.push(found(&format!("params[{index}].max_length"), "must be at least 1".to_owned()));
            }
        }
        problems
    }

    /// Everything that is wrong with these values: missing, unknown, too long, of another form.
    pub fn check(&self, values: &BTreeMap<String, String>) -> Vec<ParamProblem> {
        let declared = self.params.iter().filter_map(|param| match values.get(&param.name) {
            Some(value) => param.check(value),
            None => Some(missing(&param.name)),
        });
        let unknown = values.keys().filter(|name| self.params.iter().all(|param| param.name != **name)).map(|name| {
            let detail = "is none that the template takes".to_owned();
            ParamProblem { param: name.clone(), code: "unknown_field", detail }
        });
        declared.chain(unknown).collect()
    }

    /// The text with its values, once they are checked; none when only providers know the text. Values are put in as they
    /// are: braces in them mean nothing.
    pub fn render(&self, values: &BTreeMap<String, String>) -> Result<Option<String>, Vec<ParamProblem>> {
        let mut problems = self.check(values);
        let rendered = self.text.as_ref().map(|text| {
            let mut rendered = String::with_capacity(text.len());
            for piece in text::scan(text).0 {
                match piece {
                    Piece::Plain(part) => rendered.push_str(part),
                    Piece::Value(name) => match values.get(name) {
                        Some(value) => rendered.push_str(value),
                        None if problems.iter().any(|problem| problem.param == name) => {}
                        None => problems.push(missing(name)),
                    },
                }
            }
            rendered
        });
        if problems.is_empty() { Ok(rendered) } else { Err(problems) }
    }
}

impl Binding {
    /// What the provider gets for these values; none when one that it wants is not there, as may happen to a message that
    /// was accepted before the binding changed.
    pub fn bind(&self, values: &BTreeMap<String, String>) -> Option<BoundTemplate> {
        let params = self.params.iter().map(|name| values.get(name).cloned()).collect::<Option<_>>()?;
        Some(BoundTemplate { template_id: self.template_id.clone(), params, signature: self.signature.clone() })
    }
}

/// The digits that a voice provider reads out: the one value of the binding, or the text where the binding names none.
/// None when that is anything but 1 to `max` digits.
pub fn digits_to_read<'a>(text: Option<&'a str>, bound: Option<&'a BoundTemplate>, max: usize) -> Option<&'a str> {
    let digits = match bound.map(|bound| bound.params.as_slice()) {
        None | Some([]) => text?,
        Some([value]) => value,
        Some([_, _, ..]) => return None,
    };
    let fits = (1..=max).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    fits.then_some(digits)
}

fn missing(name: &str) -> ParamProblem {
    ParamProblem {
        param: name.to_owned(),
        code: "required",
        detail: "is missing, and the template needs it".to_owned(),
    }
}

fn found(key: &str, problem: String) -> TemplateProblem {
    TemplateProblem { key: key.to_owned(), problem }
}

#[cfg(test)]
mod tests;
