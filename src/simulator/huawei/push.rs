//! What the platform pushes: a report as a form, reports in batches as JSON, inbound messages as a form; signed where the
//! application has push keys.

use std::sync::Arc;

use secrecy::ExposeSecret;
use serde_json::{Map, Value, json};
use url::{Url, form_urlencoded};

use super::super::{
    behaviour::{Protocol, ScriptedReport},
    ledger::Accepted,
    options::Region,
    push::{InboundPush, Outgoing},
    sdk_hmac,
    world::World,
};

/// The most reports in a batch.
const BATCH: usize = 50;
const FORM: &str = "application/x-www-form-urlencoded";
/// As the reference's example writes it.
const JSON: &str = "application/JSON;charset=UTF-8";

/// One report to the address that the call named.
pub(in crate::simulator) fn report(world: &World, message: &Accepted, report: &ScriptedReport) -> Option<Outgoing> {
    let url = Url::parse(message.status_callback.as_deref()?).ok()?;
    let mut fields = fields(world, message, report);
    // The order of the fields varies, so nobody may count on one.
    let turn = usize::try_from(world.next_number()).unwrap_or(0) % fields.len();
    fields.rotate_left(turn);
    let body = form(&fields);
    Some(outgoing(world, "report", url, FORM, body, vec![message.message_id.clone()]))
}

/// The reports of calls that named no address, to the address of the application.
pub(in crate::simulator) fn batches(world: &World, reports: &[(Arc<Accepted>, ScriptedReport)]) -> Vec<Outgoing> {
    let Some(url) = world.settings.load().huawei_report_url.clone() else { return Vec::new() };
    let batch = |reports: &[(Arc<Accepted>, ScriptedReport)]| {
        let list: Vec<Value> = reports
            .iter()
            .map(|(message, report)| {
                let pairs = fields(world, message, report).into_iter();
                Value::Object(pairs.map(|(name, value)| (name.to_owned(), Value::String(value))).collect::<Map<_, _>>())
            })
            .collect();
        let ids = reports.iter().map(|(message, _)| message.message_id.clone()).collect();
        outgoing(world, "reports", url.clone(), JSON, json!({ "statusReportList": list }).to_string(), ids)
    };
    reports.chunks(BATCH).map(batch).collect()
}

/// An inbound message to the uplink address of the application.
pub(in crate::simulator) fn uplink(world: &World, inbound: &InboundPush) -> Option<Outgoing> {
    let settings = world.settings.load();
    let url = settings.huawei_uplink_url.clone()?;
    let id = inbound.message_id.clone().unwrap_or_default();
    let mut fields = vec![
        ("from", inbound.from.clone()),
        ("to", inbound.to.clone()),
        ("body", inbound.text.clone()),
        ("smsMsgId", id.clone()),
    ];
    if settings.huawei_uplink_time {
        fields.push(("createTime", utc(world)));
    }
    Some(outgoing(world, "inbound", url, FORM, form(&fields), vec![id]))
}

fn fields(world: &World, message: &Accepted, report: &ScriptedReport) -> Vec<(&'static str, String)> {
    let id = report.message_id.clone().unwrap_or_else(|| message.message_id.clone());
    let status = report.wire_status(Protocol::Huawei).unwrap_or_default().to_owned();
    let mut fields = vec![
        ("sequence", report.part.to_string()),
        ("total", report.parts.to_string()),
        ("source", if report.by_platform { "1" } else { "2" }.to_owned()),
        ("smsMsgId", id),
        ("status", status),
    ];
    if !report.by_platform {
        fields.push(("updateTime", utc(world)));
    }
    if world.huawei.region == Region::Intl && !report.by_platform {
        fields.push(("orgCode", report.org_code.clone().unwrap_or_else(|| "000".to_owned())));
    }
    if let Some(description) = &report.description {
        fields.push(("statusDesc", description.clone()));
    }
    // The recipient is only named together with the reference of the call.
    if let Some(extend) = &message.reference {
        fields.push(("extend", extend.clone()));
        fields.push(("to", message.to.clone()));
    }
    fields
}

fn utc(world: &World) -> String {
    world.now().format("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn form(fields: &[(&str, String)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
}

fn outgoing(
    world: &World,
    kind: &'static str,
    url: Url,
    content_type: &'static str,
    body: String,
    message_ids: Vec<String>,
) -> Outgoing {
    let headers = signature(world, &url, content_type, &body);
    Outgoing { provider: Protocol::Huawei, kind, url, content_type, headers, body, message_ids }
}

/// The headers of a signed push; none where the application has no push keys.
fn signature(world: &World, url: &Url, content_type: &str, body: &str) -> Vec<(&'static str, String)> {
    let Some((access, secret)) = &world.huawei.push_key else { return Vec::new() };
    let host = match (url.host_str().unwrap_or_default(), url.port()) {
        (host, Some(port)) => format!("{host}:{port}"),
        (host, None) => host.to_owned(),
    };
    let length = body.len().to_string();
    let signed =
        [("connection", "close"), ("content-length", &length), ("content-type", content_type), ("host", &host)];
    let query = url.query().unwrap_or_default();
    let (authorization, date) =
        sdk_hmac::sign(access, secret.expose_secret(), world.now(), url.path(), query, &signed, body.as_bytes());
    vec![("connection", "close".to_owned()), ("x-sdk-date", date), ("authorization", authorization)]
}
