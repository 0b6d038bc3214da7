//! Configured providers whose carriers the simulator plays, and pushes as carriers make them by hand.

use md5::{Digest, Md5};
use serde_json::Value;
use sms_gateway::simulator::Settings;
use url::form_urlencoded;

use super::{Setup, TestGateway, gateway::string};

/// `NxCloud` as `nx`, its number owned by the shop.
pub const NXCLOUD: &str = r#"
[providers.nx]
driver = "nxcloud_did"
base_url = "SIMULATOR"
access_key = "simulator-key"
access_secret = "simulator-secret"
from = "8615088888888"
callback_token = "nx-token"
[routes.sms]
steps = [{ provider = "nx" }]
[apps.shop]
inbound_numbers = ["+8615088888888"]
"#;

/// Huawei as `hw`, with a template of one variable.
pub const HUAWEI: &str = r#"
[providers.hw]
driver = "huawei_sms"
base_url = "SIMULATOR"
app_key = "simulator-key"
app_secret = "simulator-secret"
from = "isms100000001"
callback_token = "hw-token"
[templates.parcel]
text = "Your parcel waits at {{place}}."
category = "transactional"
params = [{ name = "place" }]
[templates.parcel.bindings.hw]
template_id = "8ff55eac1d0b478ab3c06c3c6a492300"
params = ["place"]
[routes.sms]
steps = [{ provider = "hw" }]
"#;

/// Voice calls as `call`.
pub const VOICE: &str = r#"
[providers.call]
driver = "onsms_voice"
base_url = "SIMULATOR"
username = "simulator"
password = "simulator-pass"
key = "simulator-key"
from = "DAUSO1"
[routes.calls]
steps = [{ provider = "call" }]
"#;

/// Starts a gateway whose `NxCloud` reports to `nx`.
pub async fn with_receipts(config: &str) -> TestGateway {
    let reports_to_nx = |settings: &mut Settings, base: &str| {
        settings.nxcloud_callback_url = Some(format!("{base}/callbacks/nx/nx-token").parse().unwrap());
    };
    Setup::new(config).pushes(reports_to_nx).start().await
}

/// A form that `NxCloud` pushes about a message.
pub fn nx_receipt(id: &str, to: &str, status: &str) -> String {
    form(&[
        ("messageId", id),
        ("toPhone", to),
        ("fromPhone", "+8615088888888"),
        ("content", "hello"),
        ("size", "1"),
        ("smsStatus", status),
        ("type", "1"),
    ])
}

/// The headers of a JSON push that `NxCloud` signs.
pub fn nx_signed(action: &str, ts: &str, body: &Value) -> Vec<(&'static str, String)> {
    let raw =
        format!("accessKey=simulator-key&action={action}&bizType=4&ts={ts}&body={body}&accessSecret=simulator-secret");
    vec![
        ("accessKey", "simulator-key".to_owned()),
        ("action", action.to_owned()),
        ("bizType", "4".to_owned()),
        ("ts", ts.to_owned()),
        ("sign", hex::encode(Md5::digest(raw))),
        ("content-type", "application/json".to_owned()),
    ]
}

/// A form of these fields.
pub fn form(fields: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
}

/// The neutral and the raw code of a message's error.
pub fn error(message: &Value) -> (&str, &str) {
    (string(&message["error"]["code"]), string(&message["error"]["provider_code"]))
}

/// The providers of a message's attempts with the status of each.
pub fn attempts(message: &Value) -> Vec<String> {
    let attempts = message["attempts"].as_array().cloned().unwrap_or_default();
    attempts.iter().map(|attempt| format!("{} {}", string(&attempt["provider"]), string(&attempt["status"]))).collect()
}
