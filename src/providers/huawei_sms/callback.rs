//! What Huawei pushes: single reports (a form), batches of reports (JSON) and uplink messages (a form), all to one address.
//!
//! The body says which it is, not the content type: Huawei writes that with odd capitals, and proxies lose it. Fields come in
//! any order, as texts or numbers. One report that cannot be read spoils nothing beside it. Matching a report with an attempt,
//! dropping repeats and putting parts together is the engine's work.
//!
//! Reports: <https://support.huaweicloud.com/intl/en-us/api-msgsms/sms_05_0003.html> and `sms_05_0063.html`; uplink messages:
//! <https://support.huaweicloud.com/api-msgsms/sms_05_0004.html>; signed pushes:
//! <https://support.huaweicloud.com/api-msgsms/sms_05_0064.html>.

use std::collections::HashMap;

use serde_json::Value;
use url::form_urlencoded;

use super::{
    sign::{Authorization, KeyPair, Signable},
    wire::{self, Region},
};
use crate::{
    domain::{
        Timestamp,
        phone_number::PhoneNumber,
        report::{Inbound, Report, ReportTarget},
        verdict::Verdict,
    },
    providers::{
        Callback, CallbackAnswers, CallbackEvent, CallbackRejected,
        codes::{CodeTable, Stage},
    },
};

/// The platform does not read it; this is what its documents show.
pub const ANSWERS: CallbackAnswers = CallbackAnswers {
    content_type: "application/json;charset=UTF-8",
    success: r#"{"returnCode":0,"returnCodeDesc":"Success"}"#,
    failure: r#"{"returnCode":1,"returnCodeDesc":"Failure"}"#,
};

/// Statuses that the platform also makes up itself when no carrier ever answered; then they say nothing about the phone.
const MADE_UP: [&str; 4] = ["EXPIRED", "UNDELIV", "UNKNOWN", "DELETED"];
/// The row of the code table that stands for all of them.
const MADE_UP_ROW: &str = "EXPIRED (no updateTime)";

/// Checks the signature of a push over what arrived. Without keys nothing is asked for.
///
/// The date is covered by the signature but may be old: a push that waited is still true, and a replay changes nothing.
pub fn verify(callback: &Callback, keys: &[KeyPair]) -> Result<(), CallbackRejected> {
    if keys.is_empty() {
        return Ok(());
    }
    let header = callback.header("authorization").ok_or(CallbackRejected::Signature("no Authorization header"))?;
    let date = callback.header("x-sdk-date").ok_or(CallbackRejected::Signature("no X-Sdk-Date header"))?;
    let authorization =
        Authorization::parse(header).ok_or(CallbackRejected::Signature("Authorization is not SDK-HMAC-SHA256"))?;
    if !keys.iter().any(|key| key.access_key == authorization.access_key) {
        return Err(CallbackRejected::Signature("the access key is not one of push_keys"));
    }
    let mut headers = Vec::with_capacity(authorization.signed_headers.len());
    for name in &authorization.signed_headers {
        let value = callback.header(name).ok_or(CallbackRejected::Signature("a signed header did not arrive"))?;
        headers.push((*name, value));
    }
    let (path, query) = callback.path_and_query.split_once('?').unwrap_or((&callback.path_and_query, ""));
    let request = Signable { method: "POST", path, query, headers: &headers, body: &callback.body };
    if authorization.verify(&request, date, keys) {
        Ok(())
    } else {
        Err(CallbackRejected::Signature("it was made with another secret or over another request"))
    }
}

/// Reads a push.
pub fn parse(callback: &Callback, codes: &CodeTable, region: Region) -> Result<Vec<CallbackEvent>, CallbackRejected> {
    let reader = Reader { codes, region, call_reference: callback.call_reference.as_deref() };
    let body = callback.body.trim_ascii();
    if body.is_empty() {
        return Err(CallbackRejected::Malformed("it is empty".into()));
    }
    if !matches!(body[0], b'{' | b'[') {
        return Ok(vec![reader.event(&Fields::of_form(body))]);
    }
    let json: Value = serde_json::from_slice(body)
        .map_err(|error| CallbackRejected::Malformed(format!("it is not JSON (line {})", error.line())))?;
    let entries = match (json.get("statusReportList"), &json) {
        (Some(Value::Array(entries)), _) | (None, Value::Array(entries)) => entries.as_slice(),
        (None, single @ Value::Object(_)) => std::slice::from_ref(single),
        (Some(_) | None, _) => return Err(CallbackRejected::Malformed("statusReportList is not a list".into())),
    };
    Ok(entries.iter().map(|entry| reader.event(&Fields::of_json(entry))).collect())
}

/// The fields of one report or message; blank ones count as absent.
struct Fields(HashMap<String, String>);

impl Fields {
    fn of_form(body: &[u8]) -> Self {
        let pairs = form_urlencoded::parse(body).map(|(name, value)| (name.into_owned(), value.replace('\0', "")));
        Self(pairs.filter(|(_, value)| !value.trim().is_empty()).collect())
    }

    fn of_json(entry: &Value) -> Self {
        let fields = entry.as_object().into_iter().flatten();
        Self(fields.filter_map(|(name, value)| Some((name.clone(), wire::text(value)?))).collect())
    }

    /// As it came.
    fn raw(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Without blanks around it.
    fn get(&self, name: &str) -> Option<&str> {
        self.raw(name).map(str::trim)
    }

    fn number(&self, name: &str) -> Option<u16> {
        self.get(name)?.parse().ok().filter(|number| *number > 0)
    }
}

struct Reader<'a> {
    codes: &'a CodeTable,
    region: Region,
    call_reference: Option<&'a str>,
}

impl Reader<'_> {
    fn event(&self, fields: &Fields) -> CallbackEvent {
        let read = match fields.get("status") {
            Some(status) => self.report(fields, status).map(CallbackEvent::Report),
            None if fields.raw("body").is_some() => self.inbound(fields).map(CallbackEvent::Inbound),
            None => Err("it has neither a status nor a body"),
        };
        read.unwrap_or_else(|problem| CallbackEvent::Unreadable { problem: problem.into() })
    }

    fn report(&self, fields: &Fields, status: &str) -> Result<Report, &'static str> {
        let total = fields.number("total");
        let parts = total.unwrap_or(1);
        let part = if parts == 1 { 1 } else { fields.number("sequence").unwrap_or(1) };
        if part > parts {
            return Err("its sequence is above its total");
        }
        Ok(Report {
            target: self.target(fields)?,
            provider_code: status.to_owned(),
            verdict: self.verdict(fields, status),
            part,
            parts,
            occurred_at: fields.get("updateTime").and_then(time),
            description: fields.get("statusDesc").map(Into::into),
            price: None,
            segments: total,
        })
    }

    fn target(&self, fields: &Fields) -> Result<ReportTarget, &'static str> {
        let extend = fields.get("extend");
        if let (Some(extend), Some(reference)) = (extend, self.call_reference)
            && extend != reference
        {
            return Err("its extend is not the reference of the address it came to");
        }
        let target = ReportTarget {
            provider_message_id: fields.get("smsMsgId").map(Into::into),
            call_reference: extend.or(self.call_reference).map(Into::into),
            recipient: fields.raw("to").and_then(|to| wire::number(to, self.region)).map(|to| to.as_str().to_owned()),
            sender: None,
            text: None,
        };
        let named_by_call = target.call_reference.is_some() && target.recipient.is_some();
        if target.provider_message_id.is_some() || named_by_call {
            Ok(target)
        } else {
            Err("it names no message: neither smsMsgId, nor extend with to")
        }
    }

    fn verdict(&self, fields: &Fields, status: &str) -> Verdict {
        let code = status.to_ascii_uppercase();
        let made_up =
            MADE_UP.contains(&code.as_str()) && fields.get("source") == Some("1") && fields.get("updateTime").is_none();
        self.codes.lookup(Stage::Report, if made_up { MADE_UP_ROW } else { &code }).verdict
    }

    fn inbound(&self, fields: &Fields) -> Result<Inbound, &'static str> {
        let from = fields.raw("from").ok_or("it has a body but no from")?;
        Ok(Inbound {
            provider_message_id: fields.get("smsMsgId").ok_or("it has a body but no smsMsgId")?.to_owned(),
            from: self.subscriber(from),
            to: fields.get("to").ok_or("it has a body but no to")?.to_owned(),
            text: fields.raw("body").unwrap_or_default().to_owned(),
            segments: None,
            price: None,
            received_at: fields.get("createTime").and_then(time),
        })
    }

    /// The mainland's default must not turn a short code such as 10086 into a telephone number.
    fn subscriber(&self, text: &str) -> String {
        let given = text.trim();
        let mobile = (given.len() == 11 && given.starts_with('1')) || (given.len() == 13 && given.starts_with("861"));
        let plain = self.region == Region::Mainland && !text.starts_with(['+', ' ']) && !mobile;
        let number = if plain { None } else { wire::number(text, self.region) };
        number.as_ref().map_or(given, PhoneNumber::as_str).to_owned()
    }
}

/// `2018-04-13T06:31:46Z`, sometimes still encoded or with a space; UTC where it does not say otherwise.
fn time(text: &str) -> Option<Timestamp> {
    let text = text.replace("%3a", ":").replace("%3A", ":").replacen(' ', "T", 1);
    if let Ok(time) = chrono::DateTime::parse_from_rfc3339(&text) {
        return Some(time.to_utc());
    }
    let naive = chrono::NaiveDateTime::parse_from_str(&text, "%Y-%m-%dT%H:%M:%S%.f").ok()?;
    Some(naive.and_utc())
}

#[cfg(test)]
mod tests;
