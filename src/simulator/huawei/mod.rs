//! Huawei Cloud Message & SMS: the two send calls, and beside them the management side.
//!
//! Where the documents are silent: a clean but impossible number gets the status `E000503`; a nonce that comes twice is
//! `E000101`; a wrong AK/SK signature is `E000101` with the canonical request as the platform sees it; numbers repeated
//! anywhere in a call get `E200041`; a sender that is not in the options' list is `E200029`; templates are checked only as
//! far as the options describe them.

use std::{collections::HashSet, sync::Arc};

use axum::{
    body::Body,
    extract::{OriginalUri, State},
    http::{HeaderMap, Response, Uri},
};
use bytes::Bytes;
use secrecy::ExposeSecret;
use serde::Serialize;

use self::request::{Api, Item, Refusal, SendCall};
use super::{
    answer::{self, Reply},
    behaviour::{Behaviour, Protocol, ScriptedReport},
    ledger::Accepted,
    options::Region,
    sdk_hmac,
    world::World,
    wsse,
};

pub(super) mod codes;
pub(super) mod management;
pub(super) mod push;
mod request;

const SUCCESS: &str = "000000";
const REPEATED_NUMBER: &str = "E200041";

/// `POST /sms/batchSendSms/v1`
pub(super) async fn send_same(
    state: State<Arc<World>>,
    uri: OriginalUri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    send(&state, Api::Same, &uri, &headers, &body).await
}

/// `POST /sms/batchSendDiffSms/v1`
pub(super) async fn send_different(
    state: State<Arc<World>>,
    uri: OriginalUri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    send(&state, Api::Different, &uri, &headers, &body).await
}

async fn send(world: &World, api: Api, uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Response<Body> {
    let (number, _in_flight) = world.ledger.begin(Protocol::Huawei);
    let content_type = headers.get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let read = authenticate(world, uri, headers, body)
        .and_then(|()| api.check_content_type(content_type))
        .and_then(|()| api.read(body));
    let call = match read {
        Ok(call) => call,
        Err(refusal) => return refuse(world, refusal.code, &refusal.detail, &Behaviour::default()).await,
    };
    let rules: Vec<Option<Behaviour>> = call.numbers().map(|(_, to)| world.rule(Protocol::Huawei, to)).collect();
    let spoiled = rules.iter().flatten().find(|rule| rule.touches_call()).cloned().or_else(|| {
        let by_chance = rules.iter().all(Option::is_none).then(|| world.call_fault(Protocol::Huawei));
        by_chance.flatten()
    });
    let whole = spoiled.inspect(|_| world.ledger.spoiled(Protocol::Huawei)).unwrap_or_default();
    if let Some(code) = whole.code.clone().filter(|code| !whole.is_accepted() && !codes::is_per_number(code)) {
        return refuse(world, &code, "", &whole).await;
    }
    if !whole.is_accepted() && whole.code.is_none() {
        return answer::send(world, reply("E000000", "", None), &whole).await;
    }
    let results = take_all(world, &call, &rules, number).await;
    answer::send(world, reply_results(world, &whole, &results), &whole).await
}

async fn refuse(world: &World, code: &str, detail: &str, behaviour: &Behaviour) -> Response<Body> {
    world.ledger.refused(Protocol::Huawei, code);
    answer::send(world, reply(code, detail, None), behaviour).await
}

fn authenticate(world: &World, uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Result<(), Refusal> {
    let authorization = headers.get("authorization").and_then(|value| value.to_str().ok());
    let authorization = authorization.ok_or_else(|| Refusal::new("E000001", ""))?;
    let secret_of = |key: &str| (key == world.huawei.app_key).then(|| world.huawei.app_secret.expose_secret());
    if !sdk_hmac::is_signed(authorization) {
        let token = wsse::verify(headers, world.now(), secret_of).map_err(|code| Refusal::new(code, ""))?;
        let fresh = world.nonces.remember(token.nonce, world.now());
        return if fresh { Ok(()) } else { Err(Refusal::new("E000101", "this Nonce was used before")) };
    }
    let (path, query) = (uri.path(), uri.query().unwrap_or_default());
    let request = sdk_hmac::Received { method: "POST", path, query, headers, body };
    sdk_hmac::verify(request, world.now(), secret_of).map_err(|refused| match refused {
        sdk_hmac::Refused::Malformed(what) => Refusal::new("E000101", what),
        sdk_hmac::Refused::UnknownKey => Refusal::new("E000102", ""),
        sdk_hmac::Refused::Expired => Refusal::new("E000110", ""),
        sdk_hmac::Refused::Mismatch(canonical) => {
            Refusal::new("E000101", format!("canonicalRequest:{}", canonical.replace('\n', "|")))
        }
    })
}

impl SendCall {
    fn numbers(&self) -> impl Iterator<Item = (&Item, &String)> {
        self.items.iter().flat_map(|item| item.to.iter().map(move |to| (item, to)))
    }
}

/// One entry of `result`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct SmsId {
    origin_to: String,
    create_time: String,
    from: String,
    sms_msg_id: String,
    status: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    country_id: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<u16>,
    #[serde(skip)]
    left_out: bool,
}

/// Decides every number of a call and takes those that are good.
async fn take_all(world: &World, call: &SendCall, rules: &[Option<Behaviour>], number: u64) -> Vec<SmsId> {
    let now = world.now();
    let call_id = uuid::Builder::from_random_bytes(rand::random()).into_uuid();
    let region = world.huawei.region;
    let mut seen = HashSet::new();
    let mut results = Vec::with_capacity(rules.len());
    for ((item, to), rule) in call.numbers().zip(rules) {
        let behaviour = rule.clone().unwrap_or_default();
        let full = full_number(to, region);
        let status = number_status(world, (&call.from, item), full.as_deref(), &behaviour, &mut seen);
        let message_id = format!("{call_id}_{}", world.next_number());
        let mut total = None;
        if status == SUCCESS {
            let reports = world.reports(Protocol::Huawei, &behaviour);
            let parts = reports.iter().map(|report| report.parts).max().unwrap_or(1);
            total = Some(parts);
            take(world, call, item, to, &message_id, number, reports).await;
        } else {
            world.ledger.refused(Protocol::Huawei, &status);
        }
        results.push(SmsId {
            origin_to: to.clone(),
            create_time: now.format("%Y-%m-%dT%H:%M:%SZ").to_string(),
            from: call.from.clone(),
            sms_msg_id: message_id,
            status,
            country_id: full.as_deref().and_then(country),
            total,
            left_out: behaviour.omit_id,
        });
    }
    results
}

async fn take(
    world: &World,
    call: &SendCall,
    item: &Item,
    to: &str,
    message_id: &str,
    number: u64,
    reports: Vec<ScriptedReport>,
) {
    let accepted = Accepted {
        provider: Protocol::Huawei,
        call: number,
        to: to.to_owned(),
        from: call.from.clone(),
        text: None,
        template_id: Some(item.template_id.clone()),
        params: item.params.clone(),
        signature: item.signature.clone(),
        reference: call.extend.clone(),
        status_callback: call.status_callback.clone(),
        message_id: message_id.to_owned(),
        parts: reports.iter().map(|report| report.parts).max().unwrap_or(1),
        received_at: world.now(),
    };
    world.take(accepted, reports).await;
}

fn number_status(
    world: &World,
    (from, item): (&String, &Item),
    full: Option<&str>,
    behaviour: &Behaviour,
    seen: &mut HashSet<String>,
) -> String {
    let Some(full) = full else { return "E000503".to_owned() };
    if !seen.insert(full.to_owned()) {
        return REPEATED_NUMBER.to_owned();
    }
    let senders = &world.huawei.senders;
    if !senders.is_empty() && !senders.contains(from) {
        return "E200029".to_owned();
    }
    let forced = behaviour.code.clone().filter(|code| codes::is_per_number(code));
    forced.or_else(|| template_status(world, item).map(str::to_owned)).unwrap_or_else(|| SUCCESS.to_owned())
}

fn template_status(world: &World, item: &Item) -> Option<&'static str> {
    let templates = &world.huawei.templates;
    let known = templates.get(&item.template_id).cloned().or_else(|| world.management.kinds(&item.template_id));
    if !templates.is_empty() || known.is_some() {
        return match known {
            None => Some("E200030"),
            Some(kinds) if kinds.len() != item.params.len() => Some("E200028"),
            Some(kinds) => {
                let fit = kinds.iter().zip(&item.params).all(|(kind, value)| fits_kind(kind, value));
                (!fit).then_some("E200028")
            }
        };
    }
    if item.template_id.chars().count() != 32 {
        return Some("E200030");
    }
    let empty = item.params.iter().any(String::is_empty);
    codes::of_template(&item.template_id).or(empty.then_some("E200028"))
}

/// Whether a value may stand for a variable of this kind: `NUM_n`, `TXT_n`, `DATE`, `TIME`; any text for other kinds.
fn fits_kind(kind: &str, value: &str) -> bool {
    let within = |most: &str| most.parse().is_ok_and(|most: usize| (1..=most).contains(&value.chars().count()));
    match kind.split_once('_') {
        Some(("NUM", most)) => within(most) && value.bytes().all(|byte| byte.is_ascii_digit()),
        Some(("TXT", most)) => within(most),
        _ if kind == "DATE" => chrono::NaiveDate::parse_from_str(value, "%Y/%m/%d").is_ok(),
        _ if kind == "TIME" => {
            ["%H:%M", "%H:%M:%S"].iter().any(|format| chrono::NaiveTime::parse_from_str(value, format).is_ok())
        }
        _ => !value.is_empty(),
    }
}

/// The number with `+` and country code; none if it cannot be one.
fn full_number(to: &str, region: Region) -> Option<String> {
    let digits = match (to.strip_prefix('+'), region) {
        (Some(digits), _) => digits.to_owned(),
        (None, Region::Cn) => format!("86{to}"),
        (None, Region::Intl) => return None,
    };
    let possible = (7..=15).contains(&digits.len())
        && !digits.starts_with('0')
        && digits.bytes().all(|byte| byte.is_ascii_digit());
    possible.then(|| format!("+{digits}"))
}

/// The country of some calling codes; `countryId` may be absent.
fn country(number: &str) -> Option<&'static str> {
    const COUNTRIES: &[(&str, &str)] = &[
        ("+86", "CN"),
        ("+852", "HK"),
        ("+853", "MO"),
        ("+886", "TW"),
        ("+84", "VN"),
        ("+65", "SG"),
        ("+60", "MY"),
        ("+62", "ID"),
        ("+63", "PH"),
        ("+66", "TH"),
        ("+91", "IN"),
        ("+81", "JP"),
        ("+82", "KR"),
        ("+241", "GA"),
    ];
    COUNTRIES.iter().find(|(prefix, _)| number.starts_with(prefix)).map(|(_, country)| *country)
}

#[derive(Serialize)]
struct Answer<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Vec<&'a SmsId>>,
    code: &'a str,
    description: String,
}

fn reply_results(world: &World, whole: &Behaviour, results: &[SmsId]) -> Reply {
    let taken = results.iter().filter(|result| result.status == SUCCESS).count();
    let mixed_is_error = world.settings.load().huawei_mixed_is_error;
    let failed = taken == 0 || (mixed_is_error && taken < results.len());
    let forced = whole.code.as_deref().filter(|code| !codes::is_per_number(code));
    let code = forced.unwrap_or(if failed { "E000510" } else { SUCCESS });
    reply(code, "", Some(results.iter().filter(|result| !result.left_out).collect()))
}

fn reply(code: &str, detail: &str, result: Option<Vec<&SmsId>>) -> Reply {
    let (status, message) = codes::describe(code);
    let described = if detail.is_empty() { message.to_owned() } else { format!("{message}: {detail}") };
    let answer = Answer { result, code, description: described.chars().take(512).collect() };
    let body = serde_json::to_string(&answer).unwrap_or_default();
    Reply { status, content_type: "application/json;charset=UTF-8", body }
}

#[cfg(test)]
mod tests;
