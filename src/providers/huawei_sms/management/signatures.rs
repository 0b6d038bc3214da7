//! `signatures`: the names that stand before messages of the mainland.
//! <https://support.huaweicloud.com/intl/en-us/api-msgsms/sms_05_0018.html>

use reqwest::Method;
use serde_json::{Value, json};

use super::{
    Management, Request, Subject,
    fields::{Fields, body, category_of, category_word, page},
    push, slice_query,
};
use crate::{
    domain::registration::{ReviewStatus, Signature, SignatureInput, SignatureSource},
    providers::registrations::{Listed, RegistrationError, SignatureQuery},
};

/// Every state of theirs. Two are one to us, so a filter by `in_review` finds the first of them.
const STATUSES: &[(&str, ReviewStatus)] = &[
    ("PENDING_REVIEW", ReviewStatus::InReview),
    ("PENDING_ACTIVATE", ReviewStatus::InReview),
    ("PROCESSING", ReviewStatus::Processing),
    ("REVIEW_PASSED", ReviewStatus::Approved),
    ("REVIEW_NOT_PASS", ReviewStatus::Rejected),
    ("TO_BE_ACTIVATED", ReviewStatus::Inactive),
];

pub(super) async fn list(
    management: &Management,
    query: &SignatureQuery,
) -> Result<Listed<Signature>, RegistrationError> {
    let mut pairs = slice_query(&query.slice);
    push(&mut pairs, "signature_name", query.name.as_ref());
    push(&mut pairs, "signature_type", query.category.map(category_word));
    push(&mut pairs, "status", query.status.and_then(status_word));
    push(&mut pairs, "app_name", query.application_name.as_ref());
    push(&mut pairs, "signature_id", query.signature_id.as_ref());
    let mut listed = page(management.call(Request::get(Subject::Signature, ["signatures"]).query(pairs)).await?, read)?;
    for signature in &mut listed.entries {
        name_application(management, signature).await;
    }
    Ok(listed)
}

pub(super) async fn get(management: &Management, id: &str) -> Result<Signature, RegistrationError> {
    let request = Request::get(Subject::Signature, ["signatures", id]);
    let mut signature = read(Fields::of(management.call(request).await?)?)?;
    name_application(management, &mut signature).await;
    Ok(signature)
}

pub(super) async fn create(management: &Management, input: &SignatureInput) -> Result<Signature, RegistrationError> {
    let request = Request::new(Subject::Signature, Method::POST, ["signatures"]).json(&write(input));
    let id = Fields::of(management.call(request).await?)?.required("id")?;
    Ok(after_change(management, id, input).await)
}

pub(super) async fn update(
    management: &Management,
    id: &str,
    input: &SignatureInput,
) -> Result<Signature, RegistrationError> {
    let request = Request::new(Subject::Signature, Method::PUT, ["signatures", id]).json(&write(input));
    management.call(request).await?;
    Ok(after_change(management, id.to_owned(), input).await)
}

/// What was applied for, as the provider shows it, or else as it was sent: it is done either way.
async fn after_change(management: &Management, id: String, input: &SignatureInput) -> Signature {
    let shown = get(management, &id).await.unwrap_or_else(|_| as_sent(id, input));
    Signature {
        application_id: Some(input.application_id.clone()),
        source_detail: shown.source_detail.or_else(|| input.source_detail.clone()),
        ..shown
    }
}

async fn name_application(management: &Management, signature: &mut Signature) {
    if signature.application_id.is_none() {
        let of = |name: &str| signature.native.get(name).and_then(Value::as_str);
        signature.application_id = management.application_id(of("app_key"), of("app_name")).await;
    }
}

fn write(input: &SignatureInput) -> Value {
    let neutral = vec![
        ("app_id", Some(json!(input.application_id))),
        ("signature_name", Some(json!(input.name))),
        ("signature_type", Some(json!(category_word(input.category)))),
        ("signature_source", Some(json!(source_number(input.source)))),
        ("source_title_content", input.source_detail.clone().map(Value::from)),
        ("is_involved_third", Some(json!(if input.third_party { "Yes" } else { "No" }))),
        ("apply_desc", input.description.clone().map(Value::from)),
        ("file_id", input.licence_file_id.clone().map(Value::from)),
        ("power_attorney_fileid", input.power_of_attorney_file_id.clone().map(Value::from)),
    ];
    body(&input.native, neutral)
}

fn read(mut fields: Fields) -> Result<Signature, RegistrationError> {
    // Requests and answers spell this one differently.
    let power_of_attorney = fields.text("power_attorney_file_id");
    Ok(Signature {
        id: fields.required("id")?,
        name: fields.text("signature_name").unwrap_or_default(),
        application_id: fields.text("app_id"),
        category: fields.word("signature_type", category_of),
        source: fields.number("signature_source").and_then(source_of),
        source_detail: fields.text("source_title_content"),
        third_party: fields.flag("is_involved_third"),
        description: fields.text("apply_desc"),
        licence_file_id: fields.text("file_id"),
        power_of_attorney_file_id: power_of_attorney.or_else(|| fields.text("power_attorney_fileid")),
        status: fields.word("status", status_of).unwrap_or(ReviewStatus::Processing),
        sender: fields.text("channel_num"),
        created_at: fields.time("create_time"),
        native: fields.rest(),
    })
}

fn as_sent(id: String, input: &SignatureInput) -> Signature {
    Signature {
        id,
        name: input.name.clone(),
        application_id: Some(input.application_id.clone()),
        category: Some(input.category),
        source: Some(input.source),
        source_detail: input.source_detail.clone(),
        third_party: Some(input.third_party),
        description: input.description.clone(),
        licence_file_id: input.licence_file_id.clone(),
        power_of_attorney_file_id: input.power_of_attorney_file_id.clone(),
        status: ReviewStatus::InReview,
        sender: None,
        created_at: None,
        native: serde_json::Map::new(),
    }
}

fn source_number(source: SignatureSource) -> usize {
    SignatureSource::ALL.iter().position(|known| *known == source).unwrap_or_default()
}

fn source_of(number: usize) -> Option<SignatureSource> {
    SignatureSource::ALL.get(number).copied()
}

fn status_word(status: ReviewStatus) -> Option<&'static str> {
    STATUSES.iter().find(|(_, known)| *known == status).map(|(word, _)| *word)
}

fn status_of(word: &str) -> Option<ReviewStatus> {
    STATUSES.iter().find(|(known, _)| *known == word).map(|(_, status)| *status)
}
