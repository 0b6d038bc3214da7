//! NxCloud: SMS from a DID number.
//!
//! Where the documents are silent: business errors come with HTTP 200; a wrong content type is 1003, a body that lacks a
//! parameter 1002; numbers are digits without `+` (sender: 12007, recipient: 9006); a DID of somebody else is 12002;
//! content is measured in UTF-16 units; the calling code 999 has no country (9007).

use std::sync::{Arc, atomic::Ordering};

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, Response},
};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    answer::{self, Reply},
    behaviour::{Behaviour, Protocol},
    ledger::Accepted,
    world::World,
};

pub(super) mod push;
mod sign;

/// The documented codes.
pub(super) const CODES: &[(&str, &str)] = &[
    ("0", "Success"),
    ("-1", "Failure"),
    ("1001", "Authentication failed: a public parameter is missing"),
    ("1002", "Authentication failed: parameter error"),
    ("1003", "Authentication failed: invalid signature"),
    ("1004", "Authentication failed: timestamp expired"),
    ("1005", "Authentication failed: insufficient authority"),
    ("9006", "The phone number cannot be parsed"),
    ("9007", "No country configuration"),
    ("1100", "The customer does not exist or is not available"),
    ("1102", "Insufficient balance"),
    ("12001", "The content is longer than 1000"),
    ("12002", "The number does not belong to you"),
    ("12004", "No quote for this number"),
    ("12005", "No quote for this vendor"),
    ("12007", "The number is not among the customer's numbers"),
    ("12008", "The status of the number is exceptional"),
];

const MAX_CONTENT: usize = 1000;

/// What the call asks for.
#[derive(Debug, Deserialize)]
struct Send {
    sender: String,
    phone: String,
    content: String,
}

/// `POST /didsms/mtsend`
pub(super) async fn mtsend(State(world): State<Arc<World>>, headers: HeaderMap, body: Bytes) -> Response<Body> {
    let world = &*world;
    let (number, _in_flight) = world.ledger.begin(Protocol::Nxcloud);
    let read = sign::verify(&world.nxcloud, &headers, &body, world.now())
        .and_then(|()| serde_json::from_slice::<Send>(&body).map_err(|_| "1002"))
        .and_then(|send| check(world, &send).map(|()| send));
    let send = match read {
        Ok(send) => send,
        Err(code) => return refuse(world, code, &Behaviour::default()).await,
    };
    let behaviour = world.decide(Protocol::Nxcloud, &send.phone);
    if behaviour.touches_call() || behaviour.code.is_some() {
        world.ledger.spoiled(Protocol::Nxcloud);
    }
    if !behaviour.is_accepted() {
        return refuse(world, behaviour.code.as_deref().unwrap_or("-1"), &behaviour).await;
    }
    let message_id = hex::encode(rand::random::<[u8; 16]>());
    take(world, send, &message_id, number, &behaviour).await;
    let data = (!behaviour.omit_id && behaviour.code.is_none()).then_some(message_id);
    let code = behaviour.code.as_deref().unwrap_or("0");
    answer::send(world, reply(world, code, data.as_deref()), &behaviour).await
}

async fn refuse(world: &World, code: &str, behaviour: &Behaviour) -> Response<Body> {
    world.ledger.refused(Protocol::Nxcloud, code);
    answer::send(world, reply(world, code, None), behaviour).await
}

async fn take(world: &World, send: Send, message_id: &str, number: u64, behaviour: &Behaviour) {
    world.nxcloud_balance.fetch_sub(1, Ordering::Relaxed);
    let reports = world.reports(Protocol::Nxcloud, behaviour);
    let accepted = Accepted {
        provider: Protocol::Nxcloud,
        call: number,
        to: send.phone,
        from: send.sender,
        text: Some(send.content),
        template_id: None,
        params: Vec::new(),
        signature: None,
        reference: None,
        status_callback: None,
        message_id: message_id.to_owned(),
        parts: reports.iter().map(|report| report.parts).max().unwrap_or(1),
        received_at: world.now(),
    };
    world.take(accepted, reports).await;
}

fn check(world: &World, send: &Send) -> Result<(), &'static str> {
    if send.sender.is_empty() || send.phone.is_empty() || send.content.is_empty() {
        return Err("1002");
    }
    check_sender(world, &send.sender)?;
    if send.content.encode_utf16().count() > MAX_CONTENT {
        return Err("12001");
    }
    let possible = (7..=15).contains(&send.phone.len()) && is_digits(&send.phone) && !send.phone.starts_with('0');
    if !possible {
        return Err("9006");
    }
    if send.phone.starts_with("999") {
        return Err("9007");
    }
    if world.nxcloud_balance.load(Ordering::Relaxed) <= 0 { Err("1102") } else { Ok(()) }
}

fn check_sender(world: &World, sender: &str) -> Result<(), &'static str> {
    let account = &world.nxcloud;
    if account.suspended_numbers.iter().any(|number| number == sender) {
        Err("12008")
    } else if account.numbers.iter().any(|number| number == sender) {
        Ok(())
    } else if is_digits(sender) {
        Err("12002")
    } else {
        Err("12007")
    }
}

fn is_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

fn reply(world: &World, code: &str, message_id: Option<&str>) -> Reply {
    let message = CODES.iter().find(|(known, _)| *known == code).map_or("Undocumented", |(_, message)| message);
    let as_number = code.parse::<i64>().ok().filter(|_| !world.settings.load().nxcloud_code_as_string);
    let mut answer = json!({ "code": as_number.map_or_else(|| Value::from(code), Value::from), "message": message });
    if let Some(id) = message_id {
        answer["data"] = json!({ "messageId": id });
    }
    Reply { status: 200, content_type: "application/json;charset=UTF-8", body: answer.to_string() }
}

#[cfg(test)]
mod tests;
