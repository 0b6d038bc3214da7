//! What the harness itself costs, and whether the carrier could be the bottleneck.

use std::sync::Arc;

use anyhow::Result;
use md5::{Digest, Md5};
use sms_gateway::clock::Clock;

use super::{Bench, Carrier, Driver, Pace, Target, http, load, micros_each};

const SECTION: &str = "The harness itself";

/// The load against nobody, and against the carrier without a gateway.
pub async fn measure(bench: &mut Bench) -> Result<()> {
    let time = bench.seconds(4, 2);
    let idle = load::run(bench.null, 256, Pace::For(time), Driver::Nxcloud.messages()).await?;
    let add = &mut bench.report;
    add.add(SECTION, "load against a null responder, 256 connections", "requests/s", Target::None, idle.rate());
    add.add(SECTION, "the load's own CPU", "µs/request", Target::None, micros_each(idle.cpu, idle.done));

    let pushes_to = format!("http://{}/", bench.null);
    let carrier = Carrier::start(&bench.directory, &pushes_to).await?;
    let request = signed_send();
    let write: load::Write = Arc::new(move |_, buffer| buffer.extend_from_slice(&request));
    let before = carrier.process.cpu()?;
    let busy = load::run(carrier.address, 64, Pace::For(time), write).await?;
    http::once(carrier.address, &http::request("GET", "/_control/idle", "", "")).await?;
    let cpu = carrier.process.cpu()? - before;
    let add = &mut bench.report;
    add.add(
        SECTION,
        "simulator: signed sends taken while it pushes their reports",
        "messages/s",
        Target::None,
        busy.rate(),
    );
    add.add(
        SECTION,
        "simulator: CPU for a send and its report",
        "µs/message",
        Target::None,
        micros_each(cpu, busy.done),
    );
    carrier.process.stop();
    Ok(())
}

/// A send as `NxCloud` wants it signed; good for a minute.
fn signed_send() -> Vec<u8> {
    let body = r#"{"sender":"8615088888888","phone":"84901234567","content":"Your parcel waits at the main gate"}"#;
    http::request("POST", "/didsms/mtsend", &nxcloud_signature("mtsend", body), body)
}

/// The headers that sign a body, in both directions.
pub fn nxcloud_signature(action: &str, body: &str) -> String {
    let ts = Clock::system().now().timestamp_millis();
    let raw =
        format!("accessKey=simulator-key&action={action}&bizType=4&ts={ts}&body={body}&accessSecret=simulator-secret");
    let sign = hex::encode(Md5::digest(raw));
    format!(
        "content-type: application/json\r\naccessKey: simulator-key\r\nts: {ts}\r\nbizType: 4\r\naction: {action}\r\n\
         algorithm: md5\r\nsign: {sign}\r\n"
    )
}
