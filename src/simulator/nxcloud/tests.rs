//! The send call and both kinds of pushes, over the wire.

use serde_json::json;
use sha2::{Digest, Sha256};

use super::super::{
    Behaviour, Protocol, ScriptedReport,
    push::InboundPush,
    testing::{Bench, JSON, Receiver, bench},
};

const PHONE: &str = "8618637616887";

fn body(sender: &str, phone: &str, content: &str) -> String {
    json!({"sender": sender, "phone": phone, "content": content}).to_string()
}

#[tokio::test]
async fn a_message_is_taken_and_gets_an_id() {
    let bench = bench(|_| {}).await;
    let answer = bench.nxcloud(PHONE, "This is a test SMS").await.unwrap();
    let json = answer.json();
    assert_eq!((answer.status, &json["code"], &json["message"]), (200, &json!(0), &json!("Success")));
    let accepted = &bench.simulator.accepted()[0];
    assert_eq!(json["data"]["messageId"], accepted.message_id);
    assert_eq!((accepted.to.as_str(), accepted.text.as_deref()), (PHONE, Some("This is a test SMS")));
}

#[tokio::test]
async fn codes_may_be_strings() {
    let bench = bench(|options| options.settings.nxcloud_code_as_string = true).await;
    assert_eq!(bench.nxcloud(PHONE, "a").await.unwrap().json()["code"], "0");
    assert_eq!(bench.nxcloud("+8618637616887", "a").await.unwrap().json()["code"], "9006");
}

#[tokio::test]
async fn each_fault_of_the_headers_has_its_code() {
    let bench = bench(|_| {}).await;
    let good = body("8615088888888", PHONE, "a");
    let seconds = bench.clock.now().timestamp().to_string();
    let old = (bench.clock.now().timestamp_millis() - 61_000).to_string();
    let cases = [
        ("accesskey", None, "1001"),
        ("ts", None, "1001"),
        ("biztype", None, "1001"),
        ("action", None, "1001"),
        ("sign", None, "1001"),
        ("biztype", Some("3"), "1002"),
        ("action", Some("send"), "1002"),
        ("accesskey", Some("nobody"), "1005"),
        ("content-type", Some("text/plain"), "1003"),
        ("sign", Some("6e9506557d1f289501d333ee2c365826"), "1003"),
        ("algorithm", Some("sha512"), "1003"),
        ("algorithm", Some("sha256"), "1003"),
        ("ts", Some(seconds.as_str()), "1004"),
        ("ts", Some(old.as_str()), "1004"),
    ];
    for (name, value, code) in cases {
        let answer = bench.nxcloud_body(&good, &[(name, value)]).await.unwrap();
        assert_eq!((answer.status, answer.code().as_str()), (200, code), "{name} = {value:?}");
    }
    assert!(bench.simulator.accepted().is_empty());
}

async fn signed_by_sha256(bench: &Bench) -> String {
    let (ts, body) = (bench.clock.now().timestamp_millis().to_string(), body("8615088888888", PHONE, "a"));
    let raw =
        format!("accessKey=simulator-key&action=mtsend&bizType=4&ts={ts}&body={body}&accessSecret=simulator-secret");
    let sign = hex::encode(Sha256::digest(raw));
    let changes = [("ts", Some(ts.as_str())), ("sign", Some(sign.as_str())), ("algorithm", Some("sha256"))];
    bench.nxcloud_body(&body, &changes).await.unwrap().code()
}

#[tokio::test]
async fn sha256_is_taken_where_the_header_is_known() {
    let newer = bench(|_| {}).await;
    assert_eq!(signed_by_sha256(&newer).await, "0");
    let older = bench(|options| options.nxcloud.knows_algorithm = false).await;
    assert_eq!(signed_by_sha256(&older).await, "1003");
}

#[tokio::test]
async fn each_fault_of_the_body_has_its_code() {
    let bench = bench(|options| options.nxcloud.suspended_numbers.push("8615099999999".to_owned())).await;
    let long = "x".repeat(1001);
    let cases = [
        ("{".to_owned(), "1002"),
        (json!({"sender": "8615088888888", "phone": PHONE}).to_string(), "1002"),
        (json!({"sender": "8615088888888", "phone": 8_618_637_616_887_u64, "content": "a"}).to_string(), "1002"),
        (body("8615088888888", PHONE, ""), "1002"),
        (body("8615000000000", PHONE, "a"), "12002"),
        (body("+8615088888888", PHONE, "a"), "12007"),
        (body("SENDER", PHONE, "a"), "12007"),
        (body("8615099999999", PHONE, "a"), "12008"),
        (body("8615088888888", PHONE, &long), "12001"),
        (body("8615088888888", "+8618637616887", "a"), "9006"),
        (body("8615088888888", "018637616887", "a"), "9006"),
        (body("8615088888888", "8618637616887,8618637616888", "a"), "9006"),
        (body("8615088888888", "99912345678", "a"), "9007"),
        (body("8615088888888", PHONE, &long[..1000]), "0"),
    ];
    for (body, code) in cases {
        let answer = bench.nxcloud_body(&body, &[]).await.unwrap();
        assert_eq!(answer.code(), code, "{body:.120}");
    }
}

#[tokio::test]
async fn the_balance_runs_out() {
    let bench = bench(|options| options.nxcloud.balance = 1).await;
    let mut codes = Vec::new();
    for content in ["a", "b"] {
        codes.push(bench.nxcloud(PHONE, content).await.unwrap().code());
    }
    assert_eq!(codes, ["0", "1102"]);
}

#[tokio::test]
async fn documented_codes_are_forced_by_numbers_and_scripts() {
    let bench = bench(|_| {}).await;
    for (phone, code) in [("85260982008", "12008"), ("85260989901", "-1"), ("85260981100", "1100")] {
        assert_eq!(bench.nxcloud(phone, "a").await.unwrap().code(), code);
    }
    bench.simulator.next_for(PHONE, Behaviour { accepted: Some(true), ..Behaviour::code("9001") });
    let answer = bench.nxcloud(PHONE, "a").await.unwrap();
    assert_eq!(answer.code(), "9001");
    assert!(answer.json().get("data").is_none());
    assert_eq!(bench.simulator.accepted().len(), 1);
}

#[tokio::test]
async fn receipts_are_unsigned_forms_by_default() {
    let mut gateway = Receiver::start().await;
    let bench = bench(|options| options.settings.nxcloud_callback_url = Some(gateway.url.clone())).await;
    bench.nxcloud(PHONE, "a text & more").await.unwrap();
    let pushed = gateway.next().await;
    let names = ["toPhone", "fromPhone", "content", "size", "smsStatus", "type", "messageId"];
    let id = bench.simulator.accepted()[0].message_id.clone();
    let fields = names.map(|name| pushed.field(name));
    assert_eq!(fields, ["+8618637616887", "+8615088888888", "a text & more", "1", "DELIVRD", "1", &id]);
    assert_eq!(pushed.field("receiveTime").len(), 19);
    assert!(pushed.headers.get("sign").is_none());
    bench.simulator.change(|settings| settings.nxcloud_type = false);
    bench.nxcloud(PHONE, "another").await.unwrap();
    assert!(!gateway.next().await.has_field("type"));
}

#[tokio::test]
async fn signed_receipts_are_json_under_the_same_signature_as_calls() {
    let mut gateway = Receiver::start().await;
    let bench = bench(|options| {
        options.settings.nxcloud_callback_url = Some(gateway.url.clone());
        options.settings.nxcloud_signed = true;
    })
    .await;
    bench.nxcloud("85260970002", "a").await.unwrap();
    let pushed = gateway.next().await;
    assert_eq!((pushed.header("content-type"), pushed.header("action")), (JSON, "dr"));
    let json = pushed.json();
    assert_eq!((json["smsStatus"].as_str(), json["toPhone"].as_str()), (Some("UNDELIVR"), Some("85260970002")));
    let raw = format!(
        "accessKey=simulator-key&action=dr&bizType=4&ts={}&body={}&accessSecret=simulator-secret",
        pushed.header("ts"),
        pushed.body
    );
    assert_eq!(pushed.header("sign"), hex::encode(md5::Md5::digest(raw)));
}

#[tokio::test]
async fn inbound_messages_go_to_the_same_address() {
    let mut gateway = Receiver::start().await;
    let bench = bench(|options| {
        options.settings.nxcloud_callback_url = Some(gateway.url.clone());
        options.settings.nxcloud_signed = true;
    })
    .await;
    let (from, to) = ("12347200160".to_owned(), "8615088888888".to_owned());
    let message_id = Some("mo-1".to_owned());
    let inbound = InboundPush { provider: Protocol::Nxcloud, from, to, text: "STOP".to_owned(), message_id };
    assert_eq!(bench.simulator.push_inbound(inbound).unwrap(), "mo-1");
    let pushed = gateway.next().await;
    assert_eq!(pushed.header("action"), "mo");
    let json = pushed.json();
    assert_eq!((json["type"].as_str(), json["content"].as_str()), (Some("0"), Some("STOP")));
    assert_eq!((json["toPhone"].as_str(), json["messageId"].as_str()), (Some("8615088888888"), Some("mo-1")));
}

#[tokio::test]
async fn parts_come_as_one_receipt_with_their_number() {
    let mut gateway = Receiver::start().await;
    let bench = bench(|options| options.settings.nxcloud_callback_url = Some(gateway.url.clone())).await;
    bench.nxcloud("85260970007", "a long text").await.unwrap();
    bench.simulator.idle().await;
    let pushed = gateway.rest();
    assert_eq!(pushed.len(), 1);
    assert_eq!((pushed[0].field("size"), pushed[0].field("smsStatus")), ("3".to_owned(), "UNDELIVR".to_owned()));
}

#[tokio::test]
async fn a_status_that_the_protocol_lacks_is_not_pushed() {
    let mut gateway = Receiver::start().await;
    let bench = bench(|options| options.settings.nxcloud_callback_url = Some(gateway.url.clone())).await;
    let reports = vec![ScriptedReport::new("accepted"), ScriptedReport::default()];
    bench.simulator.next_for(PHONE, Behaviour::reports(reports));
    bench.nxcloud(PHONE, "a").await.unwrap();
    bench.simulator.idle().await;
    let statuses: Vec<_> = gateway.rest().iter().map(|push| push.field("smsStatus")).collect();
    assert_eq!(statuses, ["DELIVRD"]);
}
