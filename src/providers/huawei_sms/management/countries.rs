//! `country`: where templates may be sent. <https://support.huaweicloud.com/intl/en-us/api-msgsms/sms_05_0034.html>
//!
//! The one list that is a bare array and has no pages.

use serde_json::Value;

use super::{Management, Request, Subject, fault, fields::Fields};
use crate::{domain::registration::ProviderCountry, providers::registrations::RegistrationError};

pub(super) async fn list(
    management: &Management,
    name: Option<&str>,
) -> Result<Vec<ProviderCountry>, RegistrationError> {
    let filter = name.map(|name| {
        let key = if name.contains(is_chinese) { "country_name_zh" } else { "country_name_en" };
        (key, name.to_owned())
    });
    let request = Request::get(Subject::Country, ["country"]).query(filter.into_iter().collect());
    let Value::Array(entries) = management.call(request).await? else { return Err(fault::unreadable()) };
    entries.into_iter().map(|entry| read(Fields::of(entry)?)).collect()
}

fn is_chinese(letter: char) -> bool {
    ('\u{3400}'..='\u{9fff}').contains(&letter)
}

fn read(mut fields: Fields) -> Result<ProviderCountry, RegistrationError> {
    let id = fields.text("country_id");
    let english = fields.text("country_name_en");
    let name = english.or_else(|| fields.peek("country_name_zh")).ok_or_else(fault::unreadable)?;
    Ok(ProviderCountry { id, name, native: fields.rest() })
}
