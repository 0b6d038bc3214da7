//! Voice OTP: `postSMS`, `checkVoice`, `checkBalance`.
//!
//! Where the document is silent: wrong credentials of any kind are -1; a request that cannot be read, lacks a parameter or
//! has other than 1 to 6 digits is 11; a number with anything but digits is -4, one of another length 10, an old one of
//! eleven digits 31; no money left is -8; a poll for an unknown id is 11.

use std::sync::{Arc, atomic::Ordering};

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, Response},
};
use bytes::Bytes;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use super::{
    answer::{self, Reply},
    behaviour::{Behaviour, Protocol, ScriptedReport},
    ledger::Accepted,
    options::VoiceAnswer,
    world::World,
};

/// The documented codes of `postSMS`.
pub(super) const CODES: &[(&str, &str)] = &[
    ("1", "Message received"),
    ("-1", "User not found"),
    ("-2", "Address not allowed"),
    ("-4", "Wrong phone format"),
    ("-5", "System error"),
    ("-6", "System error"),
    ("-8", "Balance not enough"),
    ("5", "Brand name not declared"),
    ("6", "Repeated content"),
    ("7", "The subscriber refuses messages"),
    ("9", "Template not declared"),
    ("10", "Wrong subscriber format"),
    ("11", "Invalid parameters"),
    ("14", "The account has not enough money"),
    ("15", "The account has expired"),
    ("16", "The service has expired"),
    ("20", "No Unicode"),
    ("22", "The account is not activated"),
    ("23", "Wrong message syntax"),
    ("27", "The gateway returned an error"),
    ("31", "Numbers of eleven digits were converted"),
];

#[derive(Deserialize)]
struct Credentials {
    username: String,
    pass: SecretString,
    key: SecretString,
}

#[derive(Deserialize)]
struct PostSms {
    sender: String,
    phonesend: String,
    message: String,
}

#[derive(Deserialize)]
struct CheckVoice {
    request_id: String,
}

/// `POST /onsmsapivoice/postSMS`
pub(super) async fn post_sms(State(world): State<Arc<World>>, headers: HeaderMap, body: Bytes) -> Response<Body> {
    let world = &*world;
    let (number, _in_flight) = world.ledger.begin(Protocol::Voice);
    let read = read::<PostSms>(world, &headers, &body).and_then(|post| check(world, &post).map(|()| post));
    let post = match read {
        Ok(post) => post,
        Err(code) => return refuse(world, code, &Behaviour::default()).await,
    };
    let behaviour = world.decide(Protocol::Voice, &post.phonesend);
    if behaviour.touches_call() || behaviour.code.is_some() {
        world.ledger.spoiled(Protocol::Voice);
    }
    if !behaviour.is_accepted() {
        return refuse(world, behaviour.code.as_deref().unwrap_or("-5"), &behaviour).await;
    }
    let id = uuid::Builder::from_random_bytes(rand::random()).into_uuid();
    take(world, post, id, number, &behaviour).await;
    let code = behaviour.code.as_deref().unwrap_or("1");
    answer::send(world, reply(world, code, (!behaviour.omit_id).then_some(id)), &behaviour).await
}

/// `POST /onsmsapivoice/checkVoice`
pub(super) async fn check_voice(State(world): State<Arc<World>>, headers: HeaderMap, body: Bytes) -> Response<Body> {
    world.ledger.question(Protocol::Voice);
    let answer = read::<CheckVoice>(&world, &headers, &body)
        .and_then(|check| world.polls.next(&check.request_id).ok_or("11"))
        .unwrap_or_else(str::to_owned);
    let reply = Reply { status: 200, content_type: "text/plain;charset=UTF-8", body: answer };
    answer::send(&world, reply, &Behaviour::default()).await
}

/// `POST /onsmsapivoice/checkBalance`
pub(super) async fn check_balance(State(world): State<Arc<World>>, headers: HeaderMap, body: Bytes) -> Response<Body> {
    world.ledger.question(Protocol::Voice);
    let answer = match read::<serde::de::IgnoredAny>(&world, &headers, &body) {
        Ok(_) => json!({ "errorcode": "1", "balance": world.voice_balance.load(Ordering::Relaxed) }),
        Err(_) => json!({ "errorcode": "0", "balance": 0 }),
    };
    let reply = Reply { status: 200, content_type: "text/plain;charset=UTF-8", body: answer.to_string() };
    answer::send(&world, reply, &Behaviour::default()).await
}

async fn refuse(world: &World, code: &str, behaviour: &Behaviour) -> Response<Body> {
    world.ledger.refused(Protocol::Voice, code);
    answer::send(world, reply(world, code, None), behaviour).await
}

/// The parameters of a request whose credentials are right.
fn read<T: for<'a> Deserialize<'a>>(world: &World, headers: &HeaderMap, body: &[u8]) -> Result<T, &'static str> {
    let content_type = headers.get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !content_type.trim_start().to_ascii_lowercase().starts_with("application/json") {
        return Err("11");
    }
    let given: Credentials = serde_json::from_slice(body).map_err(|_| "11")?;
    let known = &world.voice;
    let same = |one: &SecretString, other: &SecretString| one.expose_secret() == other.expose_secret();
    let right = given.username == known.username && same(&given.pass, &known.pass) && same(&given.key, &known.key);
    if !right {
        return Err("-1");
    }
    serde_json::from_slice(body).map_err(|_| "11")
}

fn check(world: &World, post: &PostSms) -> Result<(), &'static str> {
    if !world.voice.senders.contains(&post.sender) {
        return Err("5");
    }
    check_phone(&post.phonesend)?;
    if !post.message.is_ascii() {
        return Err("20");
    }
    let is_code = (1..=6).contains(&post.message.len()) && post.message.bytes().all(|byte| byte.is_ascii_digit());
    if !is_code {
        return Err("11");
    }
    if world.voice_balance.load(Ordering::Relaxed) <= 0 {
        return Err("-8");
    }
    let repeated = world.repeats.knows((&post.phonesend, &post.message), world.now());
    if repeated { Err("6") } else { Ok(()) }
}

fn check_phone(phone: &str) -> Result<(), &'static str> {
    if phone.is_empty() || !phone.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("-4");
    }
    match (phone.starts_with('0') && !phone.starts_with("00"), phone.len()) {
        (true, 10) => Ok(()),
        (true, 11) if phone.starts_with("01") => Err("31"),
        _ => Err("10"),
    }
}

async fn take(world: &World, post: PostSms, id: Uuid, number: u64, behaviour: &Behaviour) {
    world.voice_balance.fetch_sub(1, Ordering::Relaxed);
    world.repeats.remember((&post.phonesend, &post.message), world.now());
    let reports = world.reports(Protocol::Voice, behaviour);
    world.polls.prepare(id.to_string(), polls(world, behaviour, &reports));
    let accepted = Accepted {
        provider: Protocol::Voice,
        call: number,
        to: post.phonesend,
        from: post.sender,
        text: Some(post.message),
        template_id: None,
        params: Vec::new(),
        signature: None,
        reference: None,
        status_callback: None,
        message_id: id.to_string(),
        parts: 1,
        received_at: world.now(),
    };
    world.take(accepted, reports).await;
}

/// The answers to the polls: as scripted, or "still checking" so often as the settings say and then what the reports say.
fn polls(world: &World, behaviour: &Behaviour, reports: &[ScriptedReport]) -> Vec<String> {
    if let Some(scripted) = behaviour.polls.clone().filter(|polls| !polls.is_empty()) {
        return scripted;
    }
    let pending = usize::from(world.settings.load().voice_pending_polls);
    let mut answers = vec!["27".to_owned(); pending];
    answers.extend(reports.iter().filter_map(|report| report.wire_status(Protocol::Voice)).map(str::to_owned));
    if answers.len() == pending {
        answers.push("27".to_owned());
    }
    answers
}

fn reply(world: &World, code: &str, id: Option<Uuid>) -> Reply {
    let text = |body| Reply { status: 200, content_type: "text/plain;charset=UTF-8", body };
    match (world.settings.load().voice_answer, id) {
        (VoiceAnswer::Commas, Some(id)) => text(format!("{code},,,{id}")),
        (VoiceAnswer::Semicolon, Some(id)) => text(format!("{code};{id}")),
        (VoiceAnswer::Commas | VoiceAnswer::Semicolon, None) => text(code.to_owned()),
        (VoiceAnswer::Json, id) => {
            let described = CODES.iter().find(|(known, _)| *known == code).map_or("", |(_, text)| text);
            let mut answer = json!({ "code": code, "des": described });
            if let Some(id) = id {
                answer["request_id"] = json!(id);
            }
            Reply { status: 200, content_type: "application/json", body: answer.to_string() }
        }
    }
}

#[cfg(test)]
mod tests;
