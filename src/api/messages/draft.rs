//! From the body of a request to a message that can be routed and stored: everything that a client can get wrong and that
//! needs no database to be seen.
//!
//! Which providers carry it is routing's; whether the recipient has opted out or a limit is used up is found when the message
//! is accepted.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use serde_json::Value;
use url::Url;

use super::content_fields::ContentFields;
use crate::{
    api::{
        error::ApiError,
        field_reader::{FieldReader, Problems},
        problem::{FieldError, ProblemCode},
    },
    config::{App, Config},
    domain::{
        Timestamp,
        content::{Category, Channel, Content, TemplateUse},
        phone_number::PhoneNumber,
        segments::{Measure, measure},
        template::{Template, default_validity},
    },
};

/// How far ahead a message may be scheduled.
const MAX_AHEAD: TimeDelta = TimeDelta::days(30);
/// How long ago `send_at` may be and still mean now.
const MAX_BEHIND: TimeDelta = TimeDelta::minutes(5);

/// What content a request has to have.
pub const ONE_CONTENT: &str = "Exactly one of `text` and `template`.";

/// What a request is held against.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'a> {
    /// The configuration in force.
    pub config: &'a Config,
    /// The app whose key was used.
    pub app: &'a App,
    /// When the request came in.
    pub now: Timestamp,
}

/// A message that was understood and allowed.
#[derive(Debug, Clone)]
pub struct MessageDraft {
    /// For whom.
    pub to: PhoneNumber,
    /// The recipient's country.
    pub country: Option<String>,
    /// What it says, as rendered.
    pub content: Content,
    /// The size of the text; none when only providers know it.
    pub measure: Option<Measure>,
    /// What holds for every message of the request.
    pub terms: Terms,
    /// The app's own id for it.
    pub client_reference: Option<String>,
    /// The app's own data.
    pub metadata: BTreeMap<String, String>,
}

/// What a request says about all of its messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// The template's, or the one given for the text.
    pub category: Category,
    /// Only on this channel.
    pub channel: Option<Channel>,
    /// From this sender.
    pub from: Option<String>,
    /// By this route; it exists and the app may name it.
    pub route: Option<String>,
    /// By this provider alone; it exists and the app may name it.
    pub provider: Option<String>,
    /// Not before this time; none: now.
    pub send_at: Option<Timestamp>,
    /// Seconds in which it may be handed to a provider.
    pub validity_period: u32,
    /// Where its events go instead of the app's webhook.
    pub callback_url: Option<Url>,
    /// Is its content never shown and erased at the end?
    pub sensitive: bool,
}

impl MessageDraft {
    /// Reads the body of `POST /v1/messages`.
    pub fn read(body: &Value, rules: Rules<'_>) -> Result<Self, ApiError> {
        let mut problems = Problems::default();
        let mut to = None;
        let mut fields = ContentFields::default();
        if let Some(mut reader) = FieldReader::new(body, String::new(), &mut problems) {
            to = read_recipient(&mut reader);
            fields = ContentFields::read(&mut reader);
            require_content(&mut reader);
            check_exclusions(&mut reader);
            reader.finish();
        }
        let template = find_template(&fields, rules, &mut problems);
        let terms = Terms::of(&fields, template, rules, &mut problems);
        let country = to.as_ref().and_then(PhoneNumber::country);
        if let Some(to) = &to {
            check_destination(to, country.as_deref(), rules, &mut problems);
        }
        let (content, measure) = compose(fields.text, fields.template, template, "", rules, &mut problems);
        problems.check()?;
        let to = to.ok_or_else(|| ApiError::internal("a recipient that is missing was not noted"))?;
        let (client_reference, metadata) = (fields.client_reference, fields.metadata);
        Ok(Self { to, country, content, measure, terms, client_reference, metadata })
    }
}

/// Reads `to`. Whatever is no number at all is the recipient's fault and not the form's.
pub fn read_recipient(reader: &mut FieldReader<'_, '_>) -> Option<PhoneNumber> {
    reader.require("to");
    match PhoneNumber::parse(reader.string("to")?) {
        Ok(number) => Some(number),
        Err(error) => {
            reader.fault("to", ProblemCode::RecipientInvalid, sentence(&error.to_string()));
            None
        }
    }
}

/// Notes that there is nothing to say.
fn require_content(reader: &mut FieldReader<'_, '_>) {
    if !reader.has("text") && !reader.has("template") {
        reader.fault("text", ProblemCode::Required, ONE_CONTENT);
    }
}

/// Notes fields that exclude each other, whatever they hold.
pub fn check_exclusions(reader: &mut FieldReader<'_, '_>) {
    let exclusive = ProblemCode::MutuallyExclusive;
    if reader.has("text") && reader.has("template") {
        reader.fault("template", exclusive, ONE_CONTENT);
    }
    if reader.has("template") && reader.has("category") {
        reader.fault("category", exclusive, "A template has a category of its own.");
    }
    if reader.has("route") && reader.has("provider") {
        reader.fault("provider", exclusive, "At most one of `route` and `provider`.");
    }
}

/// The template that the request names, if it exists and the app may use it.
pub fn find_template<'a>(fields: &ContentFields, rules: Rules<'a>, problems: &mut Problems) -> Option<&'a Template> {
    let name = &fields.template.as_ref()?.name;
    let template = rules.config.templates.get(name).filter(|_| permits(rules.app.templates.as_deref(), name));
    if template.is_none() {
        problems.push(FieldError::at("/template/name", ProblemCode::NotFound, "There is no template of this name."));
    }
    template
}

impl Terms {
    /// What the fields mean for this app. What is wrong is noted; the terms are then not to be used.
    pub fn of(fields: &ContentFields, template: Option<&Template>, rules: Rules<'_>, problems: &mut Problems) -> Self {
        let category = match template {
            Some(template) => template.category,
            None => fields.category.unwrap_or(Category::Transactional),
        };
        let usual_validity = template.map_or(default_validity(category), Template::validity);
        check_names(fields, rules, problems);
        Self {
            category,
            channel: fields.channel,
            from: fields.from.clone(),
            route: fields.route.clone(),
            provider: fields.provider.clone(),
            send_at: fields.send_at.and_then(|send_at| check_send_at(send_at, rules.now, problems)),
            validity_period: fields.validity_period.unwrap_or(usual_validity),
            callback_url: fields.callback_url.clone(),
            sensitive: fields.sensitive.unwrap_or(false) || category == Category::Otp,
        }
    }
}

/// What the app may not name does not exist for it.
fn check_names(fields: &ContentFields, rules: Rules<'_>, problems: &mut Problems) {
    let Rules { config, app, now: _ } = rules;
    if let Some(name) = &fields.route {
        let exists = config.routes.iter().any(|route| route.name == *name);
        if !exists || !permits(app.routes.as_deref(), name) {
            problems.push(FieldError::at("/route", ProblemCode::NotFound, "There is no route of this name."));
        }
    }
    if let Some(name) = &fields.provider
        && !(config.providers.contains_key(name) && permits(app.providers.as_deref(), name))
    {
        problems.push(FieldError::at("/provider", ProblemCode::NotFound, "There is no provider of this name."));
    }
    if let Some(from) = &fields.from
        && !permits(app.senders.as_deref(), from)
    {
        problems.push(FieldError::at("/from", ProblemCode::SenderNotAllowed, "The app may not send from this sender."));
    }
    if let Some(url) = &fields.callback_url
        && !app.allows_host_of(url)
    {
        let detail = "The host is not among the app's callback_hosts.";
        problems.push(FieldError::at("/callback_url", ProblemCode::HostNotAllowed, detail));
    }
}

fn check_send_at(send_at: Timestamp, now: Timestamp, problems: &mut Problems) -> Option<Timestamp> {
    if send_at < now - MAX_BEHIND || send_at > now + MAX_AHEAD {
        let detail = "At most 30 days ahead and at most 5 minutes ago.";
        problems.push(FieldError::at("/send_at", ProblemCode::OutOfRange, detail));
    }
    (send_at > now).then_some(send_at)
}

/// Holds the recipient's country against the app's. The sandbox's test numbers belong to none and are open to every app.
pub fn check_destination(to: &PhoneNumber, country: Option<&str>, rules: Rules<'_>, problems: &mut Problems) {
    let Some(allowed) = &rules.app.countries else { return };
    if !to.is_test() && !country.is_some_and(|country| allowed.iter().any(|allowed| allowed == country)) {
        let detail = "The app may not send to this country.";
        problems.push(FieldError::at("/to", ProblemCode::DestinationNotAllowed, detail));
    }
}

/// Renders the content and counts its segments. `place` is the pointer of the object that text and template stand in.
pub fn compose(
    text: Option<String>,
    template_use: Option<TemplateUse>,
    template: Option<&Template>,
    place: &str,
    rules: Rules<'_>,
    problems: &mut Problems,
) -> (Content, Option<Measure>) {
    let rendered = match (&template_use, template) {
        (Some(used), Some(template)) => template.render(&used.params).unwrap_or_else(|found| {
            for problem in found {
                let mut pointer = format!("{place}/template/params");
                crate::api::json_body::push_token(&mut pointer, &problem.param);
                let detail = sentence(&format!("the value {}", problem.detail));
                problems.push(FieldError::at(pointer, ProblemCode::TemplateParamsInvalid, detail));
            }
            None
        }),
        (Some(_), None) | (None, _) => text,
    };
    let measure = rendered.as_deref().map(measure);
    let limit = rules.app.max_segments.unwrap_or(rules.config.limits.max_segments);
    if let Some(found) = measure.filter(|measure| measure.segments > limit) {
        let field = if template_use.is_some() { "template" } else { "text" };
        let detail = format!("{} segments; at most {limit}.", found.segments);
        problems.push(FieldError::at(format!("{place}/{field}"), ProblemCode::ContentTooLong, detail));
    }
    (Content { text: rendered, template: template_use }, measure)
}

fn permits(list: Option<&[String]>, name: &str) -> bool {
    list.is_none_or(|list| list.iter().any(|allowed| allowed == name))
}

fn sentence(text: &str) -> String {
    let mut characters = text.chars();
    let first: String = characters.next().map(|first| first.to_uppercase().collect()).unwrap_or_default();
    format!("{first}{}.", characters.as_str())
}

#[cfg(test)]
mod tests;
