//! Receipts and inbound messages, all to the customer's one address: unsigned forms, or signed JSON.
//!
//! Forms write numbers with `+`, JSON without, as the published examples do. Times are Beijing's.

use chrono::TimeDelta;
use secrecy::ExposeSecret;
use serde_json::{Map, Value};
use url::form_urlencoded;

use super::{
    super::{
        behaviour::{Protocol, ScriptedReport},
        ledger::Accepted,
        push::{InboundPush, Outgoing},
        world::World,
    },
    sign::{Algorithm, Signed, compute},
};

const PRICE: &str = "0.0360";

/// A delivery receipt.
pub(in crate::simulator) fn report(world: &World, message: &Accepted, report: &ScriptedReport) -> Option<Outgoing> {
    let id = report.message_id.clone().unwrap_or_else(|| message.message_id.clone());
    let status = report.wire_status(Protocol::Nxcloud)?.to_owned();
    let pushed = Pushed {
        action: "dr",
        kind: "1",
        id,
        to: &message.to,
        from: &message.from,
        content: message.text.as_deref().unwrap_or_default(),
        size: report.parts,
        status,
    };
    outgoing(world, "report", &pushed, message.message_id.clone())
}

/// An inbound message.
pub(in crate::simulator) fn inbound(world: &World, inbound: &InboundPush) -> Option<Outgoing> {
    let id = inbound.message_id.clone().unwrap_or_default();
    let pushed = Pushed {
        action: "mo",
        kind: "0",
        id: id.clone(),
        to: &inbound.to,
        from: &inbound.from,
        content: &inbound.text,
        size: 1,
        status: "DELIVRD".to_owned(),
    };
    outgoing(world, "inbound", &pushed, id)
}

struct Pushed<'a> {
    action: &'static str,
    kind: &'static str,
    id: String,
    to: &'a str,
    from: &'a str,
    content: &'a str,
    size: u16,
    status: String,
}

fn outgoing(world: &World, kind: &'static str, pushed: &Pushed<'_>, id: String) -> Option<Outgoing> {
    let settings = world.settings.load();
    let url = settings.nxcloud_callback_url.clone()?;
    let number = |number: &str| {
        let digits = number.trim_start_matches('+');
        if settings.nxcloud_signed { digits.to_owned() } else { format!("+{digits}") }
    };
    let local = world.now() + TimeDelta::hours(8);
    let mut fields = vec![
        ("messageId", pushed.id.clone()),
        ("toPhone", number(pushed.to)),
        ("fromPhone", number(pushed.from)),
        ("content", pushed.content.to_owned()),
        ("size", pushed.size.to_string()),
        ("price", PRICE.to_owned()),
        ("receiveTime", local.format("%Y-%m-%d %H:%M:%S").to_string()),
        ("smsStatus", pushed.status.clone()),
    ];
    if settings.nxcloud_type {
        fields.push(("type", pushed.kind.to_owned()));
    }
    let message_ids = vec![id];
    let provider = Protocol::Nxcloud;
    if !settings.nxcloud_signed {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(&fields).finish();
        let content_type = "application/x-www-form-urlencoded";
        return Some(Outgoing { provider, kind, url, content_type, headers: Vec::new(), body, message_ids });
    }
    let object: Map<String, Value> =
        fields.into_iter().map(|(name, value)| (name.to_owned(), Value::String(value))).collect();
    let body = Value::Object(object).to_string();
    let headers = signature(world, pushed.action, &body);
    Some(Outgoing { provider, kind, url, content_type: "application/json", headers, body, message_ids })
}

fn signature(world: &World, action: &'static str, body: &str) -> Vec<(&'static str, String)> {
    let ts = world.now().timestamp_millis().to_string();
    let access_key = &world.nxcloud.access_key;
    let signed = Signed { access_key, action, biz_type: "4", ts: &ts };
    let secret = world.nxcloud.access_secret.expose_secret();
    let sign = compute(signed, body.as_bytes(), secret, Algorithm::Md5);
    vec![
        ("accessKey", access_key.clone()),
        ("ts", ts),
        ("bizType", "4".to_owned()),
        ("action", action.to_owned()),
        ("sign", sign),
    ]
}
