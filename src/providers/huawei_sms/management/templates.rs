//! `templates`: what messages may say. <https://support.huaweicloud.com/intl/en-us/api-msgsms/sms_05_0027.html>
//!
//! Their variables have a call of their own, whose path is spelled in three ways: the documents' table, the documents' example
//! and every client library differ. All three are tried, the one that was understood last first.

use std::sync::atomic::Ordering;

use reqwest::Method;
use serde_json::{Value, json};

use super::{
    Management, Request, Subject,
    fields::{Fields, body, category_of, category_word, page, region_of},
    push, slice_query,
};
use crate::{
    domain::{
        content::Category,
        registration::{ProviderTemplate, ProviderTemplateInput, Region, ReviewStatus, TemplateVariable},
    },
    providers::registrations::{Listed, RegistrationError, RegistrationErrorKind, TemplateQuery},
};

const SPELLINGS: [&str; 3] = ["varilable", "variable", "varible"];

/// What Huawei says of a template that is not there, whatever the spelling.
const NO_TEMPLATE: &str = "MSGSMS.0009";

/// Every state of theirs; the last two are newer than most of the documents. A filter takes the first that fits.
const STATUSES: &[(&str, ReviewStatus)] = &[
    ("Reviewing", ReviewStatus::InReview),
    ("Adopted", ReviewStatus::Approved),
    ("Reject", ReviewStatus::Rejected),
    ("Disable", ReviewStatus::Inactive),
    ("Pending", ReviewStatus::InReview),
];

pub(super) async fn list(
    management: &Management,
    query: &TemplateQuery,
) -> Result<Listed<ProviderTemplate>, RegistrationError> {
    if query.status.is_some_and(|status| status_word(status).is_none()) {
        return Ok(Listed { entries: Vec::new(), total: 0 });
    }
    let mut listed = find(management, query).await?;
    for template in &mut listed.entries {
        name_application(management, template).await;
    }
    Ok(listed)
}

/// A page of templates as it comes, without the ids of their applications.
pub(super) async fn find(
    management: &Management,
    query: &TemplateQuery,
) -> Result<Listed<ProviderTemplate>, RegistrationError> {
    page(management.call(Request::get(Subject::Template, ["templates"]).query(pairs(query))).await?, read)
}

fn pairs(query: &TemplateQuery) -> Vec<(&'static str, String)> {
    let mut pairs = slice_query(&query.slice);
    push(&mut pairs, "template_name", query.name.as_ref());
    push(&mut pairs, "template_type", query.category.map(category_word));
    push(&mut pairs, "flow_status", query.status.and_then(status_word));
    push(&mut pairs, "region", query.region);
    push(&mut pairs, "app_name", query.application_name.as_ref());
    push(&mut pairs, "app_key", query.application_key.as_ref());
    push(&mut pairs, "sign_name", query.signature_name.as_ref());
    push(&mut pairs, "template_id", query.provider_template_id.as_ref());
    push(&mut pairs, "has_variable", query.has_variables.map(|has| if has { "Yes" } else { "No" }));
    pairs
}

pub(super) async fn get(management: &Management, id: &str) -> Result<ProviderTemplate, RegistrationError> {
    let request = Request::get(Subject::Template, ["templates", id]);
    let mut template = read(Fields::of(management.call(request).await?)?)?;
    name_application(management, &mut template).await;
    let none =
        template.native.get("has_variable").and_then(Value::as_str).is_some_and(|has| has.eq_ignore_ascii_case("no"));
    template.variables = if none { Some(Vec::new()) } else { variables(management, id).await? };
    Ok(template)
}

/// The variables of a template; none where no spelling of the path is understood.
async fn variables(management: &Management, id: &str) -> Result<Option<Vec<TemplateVariable>>, RegistrationError> {
    let first = management.spelling.load(Ordering::Relaxed);
    for turn in 0..SPELLINGS.len() {
        let spelling = (first + turn) % SPELLINGS.len();
        let path = ["templates", id, SPELLINGS[spelling]];
        match management.call(Request::get(Subject::Template, path)).await {
            Ok(value) => {
                management.spelling.store(spelling, Ordering::Relaxed);
                return Ok(Some(read_variables(value)?));
            }
            Err(error)
                if error.kind == RegistrationErrorKind::NotFound && error.code.as_deref() != Some(NO_TEMPLATE) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

pub(super) fn read_variables(value: Value) -> Result<Vec<TemplateVariable>, RegistrationError> {
    let listed = page(value, |mut fields| {
        Ok(TemplateVariable {
            index: fields.number("variable_index").unwrap_or_default(),
            kind: fields.text("variable_type").unwrap_or_default(),
            length: fields.number("variable_length"),
            description: fields.text("variable_desc"),
        })
    })?;
    let mut variables = listed.entries;
    variables.sort_by_key(|variable| variable.index);
    Ok(variables)
}

pub(super) async fn create(
    management: &Management,
    input: &ProviderTemplateInput,
) -> Result<ProviderTemplate, RegistrationError> {
    let request = Request::new(Subject::Template, Method::POST, ["templates"]).json(&write(input));
    let id = Fields::of(management.call(request).await?)?.required("id")?;
    Ok(after_change(management, id, input).await)
}

pub(super) async fn update(
    management: &Management,
    id: &str,
    input: &ProviderTemplateInput,
) -> Result<ProviderTemplate, RegistrationError> {
    let request = Request::new(Subject::Template, Method::PUT, ["templates", id]).json(&write(input));
    management.call(request).await?;
    Ok(after_change(management, id.to_owned(), input).await)
}

/// What was applied for, as the provider shows it, or else as it was sent: it is done either way.
async fn after_change(management: &Management, id: String, input: &ProviderTemplateInput) -> ProviderTemplate {
    let shown = get(management, &id).await.unwrap_or_else(|_| as_sent(id, input));
    let country_ids = shown.country_ids.or_else(|| Some(input.country_ids.clone()).filter(|ids| !ids.is_empty()));
    let description = shown.description.or_else(|| input.description.clone());
    ProviderTemplate { application_id: Some(input.application_id.clone()), country_ids, description, ..shown }
}

async fn name_application(management: &Management, template: &mut ProviderTemplate) {
    if template.application_id.is_none() {
        let of = |name: &str| template.native.get(name).and_then(Value::as_str);
        template.application_id = management.application_id(of("app_key"), of("app_name")).await;
    }
}

fn write(input: &ProviderTemplateInput) -> Value {
    let mainland = input.region == Region::Cn;
    // Elsewhere there is one kind, and countries where the mainland has signatures.
    let category = if mainland { input.category } else { Category::Transactional };
    let countries = (!mainland && !input.country_ids.is_empty()).then(|| json!(input.country_ids));
    let neutral = vec![
        ("app_id", Some(json!(input.application_id))),
        ("template_name", Some(json!(input.name))),
        ("template_type", Some(json!(category_word(category)))),
        ("template_content", Some(json!(input.text))),
        ("template_desc", input.description.clone().map(Value::from)),
        ("region", Some(json!(input.region.as_str()))),
        ("sign_id", input.signature_id.clone().filter(|_| mainland).map(Value::from)),
        ("send_country", countries),
        ("universal_template", Some(json!(u8::from(input.universal)))),
    ];
    body(&input.native, neutral)
}

fn read(mut fields: Fields) -> Result<ProviderTemplate, RegistrationError> {
    Ok(ProviderTemplate {
        id: fields.required("id")?,
        name: fields.text("template_name").unwrap_or_default(),
        application_id: fields.text("app_id"),
        region: fields.word("region", region_of),
        text: fields.text("template_content").unwrap_or_default(),
        category: fields.word("template_type", category_of),
        signature_id: fields.text("sign_id"),
        country_ids: fields.numbers("send_country"),
        universal: fields.flag("universal_template").unwrap_or_default(),
        description: fields.text("template_desc"),
        provider_template_id: fields.text("template_id"),
        status: fields.word("flow_status", status_of).unwrap_or(ReviewStatus::Processing),
        review_note: fields.text("review_desc"),
        variables: None,
        created_at: fields.time("create_time"),
        native: fields.rest(),
    })
}

fn as_sent(id: String, input: &ProviderTemplateInput) -> ProviderTemplate {
    ProviderTemplate {
        id,
        name: input.name.clone(),
        application_id: Some(input.application_id.clone()),
        region: Some(input.region),
        text: input.text.clone(),
        category: Some(input.category),
        signature_id: input.signature_id.clone(),
        country_ids: None,
        universal: input.universal,
        description: input.description.clone(),
        provider_template_id: None,
        status: ReviewStatus::InReview,
        review_note: None,
        variables: None,
        created_at: None,
        native: serde_json::Map::new(),
    }
}

/// None for what no template of theirs can be.
fn status_word(status: ReviewStatus) -> Option<&'static str> {
    STATUSES.iter().find(|(_, known)| *known == status).map(|(word, _)| *word)
}

fn status_of(word: &str) -> Option<ReviewStatus> {
    STATUSES.iter().find(|(known, _)| known.eq_ignore_ascii_case(word)).map(|(_, status)| *status)
}

#[cfg(test)]
pub(super) fn of(value: Value) -> Result<ProviderTemplate, RegistrationError> {
    read(Fields::of(value)?)
}
