//! `apps`: applications. <https://support.huaweicloud.com/intl/en-us/api-msgsms/sms_05_0012.html>

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use super::{
    Management, Request, Subject, fault,
    fields::{Fields, body, page, region_of},
    push, slice_query,
};
use crate::{
    domain::registration::{Application, ApplicationInput, ApplicationQuota, ApplicationStatus, Region, ShownOnce},
    providers::registrations::{ApplicationQuery, Listed, RegistrationError},
};

/// For so long an application that was just made is looked at: whoever waits for its secret has a timeout too.
const LOOK: Duration = Duration::from_secs(5);

pub(super) async fn list(
    management: &Management,
    query: &ApplicationQuery,
) -> Result<Listed<Application>, RegistrationError> {
    let mut pairs = slice_query(&query.slice);
    push(&mut pairs, "app_name", query.name.as_ref());
    push(&mut pairs, "region", query.region);
    push(&mut pairs, "status", query.status.map(status_word));
    page(management.call(Request::get(Subject::Application, ["apps"]).query(pairs)).await?, read)
}

pub(super) async fn count(management: &Management, region: Region) -> Result<ApplicationQuota, RegistrationError> {
    let request = Request::get(Subject::Application, ["apps-count"]).query(vec![("region", region.to_string())]);
    let mut fields = Fields::of(management.call(request).await?)?;
    let (total, used) = (fields.number("total"), fields.number("used"));
    Ok(ApplicationQuota { total: total.ok_or_else(fault::unreadable)?, used: used.ok_or_else(fault::unreadable)? })
}

pub(super) async fn get(management: &Management, id: &str) -> Result<Application, RegistrationError> {
    read(Fields::of(management.call(Request::get(Subject::Application, ["apps", id])).await?)?)
}

pub(super) async fn create(
    management: &Management,
    input: &ApplicationInput,
) -> Result<Application, RegistrationError> {
    let mut body = write(input);
    body["show_secret"] = json!(true);
    let request = Request::new(Subject::Application, Method::POST, ["apps"]).json(&body);
    let mut fields = Fields::of(management.call(request).await?)?;
    let (id, secret) = (fields.required("id")?, fields.text("app_secret").map(ShownOnce));
    // It is made by now, and its secret is told only here: an answer about the rest that fails must not lose it.
    let known = Application { key: fields.text("app_key"), ..as_sent(id, input) };
    let read = match tokio::time::timeout(LOOK, get(management, &known.id)).await {
        Ok(Ok(read)) => read,
        Ok(Err(_)) | Err(_) => known,
    };
    Ok(Application { secret, inbound_url: read.inbound_url.or_else(|| sent_inbound_url(input)), ..read })
}

pub(super) async fn update(
    management: &Management,
    id: &str,
    input: &ApplicationInput,
) -> Result<Application, RegistrationError> {
    let request = Request::new(Subject::Application, Method::PUT, ["apps", id]).json(&write(input));
    management.call(request).await?;
    let read = get(management, id).await.unwrap_or_else(|_| as_sent(id.to_owned(), input));
    Ok(Application { inbound_url: read.inbound_url.or_else(|| sent_inbound_url(input)), ..read })
}

fn write(input: &ApplicationInput) -> Value {
    let neutral = vec![
        ("app_name", Some(json!(input.name))),
        ("region", Some(json!(input.region.as_str()))),
        ("up_link_addr", sent_inbound_url(input).map(Value::from)),
    ];
    body(&input.native, neutral)
}

/// Valid for the mainland only.
fn sent_inbound_url(input: &ApplicationInput) -> Option<String> {
    input.inbound_url.clone().filter(|_| input.region == Region::Cn)
}

/// What is known of an application without asking.
fn as_sent(id: String, input: &ApplicationInput) -> Application {
    Application {
        id,
        name: input.name.clone(),
        region: Some(input.region),
        inbound_url: sent_inbound_url(input),
        key: None,
        secret: None,
        status: None,
        sender: None,
        created_at: None,
        updated_at: None,
        native: serde_json::Map::new(),
    }
}

fn read(mut fields: Fields) -> Result<Application, RegistrationError> {
    // Told to whoever makes it and to nobody else, should they ever repeat it.
    fields.forget("app_secret");
    Ok(Application {
        id: fields.required("id")?,
        name: fields.text("app_name").unwrap_or_default(),
        region: fields.word("region", region_of),
        inbound_url: fields.text("up_link_addr"),
        key: fields.text("app_key"),
        secret: None,
        status: fields.word("status", status_of),
        sender: fields.text("intl_channel_num"),
        created_at: fields.time("create_time"),
        updated_at: fields.time("update_time"),
        native: fields.rest(),
    })
}

const fn status_word(status: ApplicationStatus) -> &'static str {
    match status {
        ApplicationStatus::Pending => "CREATED",
        ApplicationStatus::Processing => "PROCESSING",
        ApplicationStatus::Active => "LAUNCHED",
        ApplicationStatus::Suspended => "SUSPENDED",
    }
}

fn status_of(word: &str) -> Option<ApplicationStatus> {
    ApplicationStatus::ALL.iter().copied().find(|status| status_word(*status) == word)
}
