//! SMS through Huawei Cloud Message & SMS: calls for many, reports in every form, inbound messages, over its wire protocol.

use std::{collections::BTreeSet, time::Duration};

use serde_json::{Value, json};
use sms_gateway::simulator::{
    Behaviour, Ending, InboundPush, Match, Protocol, ProtocolCounts, Region, Script, ScriptedReport,
};

use crate::support::{
    Answer, Setup, TestGateway,
    carriers::{HUAWEI, attempts, error, form},
    gateway::{SHOP, string},
};

const TO: &str = "+85260123456";
const SUCCESS: &str = r#"{"returnCode":0,"returnCodeDesc":"Success"}"#;

async fn start() -> TestGateway {
    TestGateway::start(HUAWEI).await
}

/// Keys added to the provider.
fn with(keys: &str) -> String {
    HUAWEI.replace("callback_token", &format!("{keys}\ncallback_token"))
}

fn parcel(to: &str, place: &str) -> Value {
    json!({ "to": to, "template": { "name": "parcel", "params": { "place": place } } })
}

fn counts(gateway: &TestGateway) -> ProtocolCounts {
    gateway.simulator.counts().providers[&Protocol::Huawei].clone()
}

/// Sends messages that all become due at one moment, so that they leave together.
async fn send_together(gateway: &TestGateway, bodies: Vec<Value>) -> Vec<String> {
    let send_at = gateway.clock.now() + chrono::TimeDelta::hours(1);
    let mut ids = Vec::new();
    for mut body in bodies {
        body["send_at"] = json!(send_at);
        ids.push(gateway.send(body).await);
    }
    gateway.advance(Duration::from_mins(61));
    ids
}

#[tokio::test]
async fn a_message_is_sent_with_its_template_and_its_report_delivers_it() {
    let gateway = start().await;
    let id = gateway.send(parcel(TO, "Main gate")).await;
    let message = gateway.wait_for_end(&id, "delivered").await;
    assert_eq!((attempts(&message), string(&message["from"])), (vec!["hw delivered".to_owned()], "isms100000001"));
    assert_eq!(string(&message["text"]), "Your parcel waits at Main gate.");
    let taken = gateway.simulator.accepted();
    assert_eq!(taken[0].content(), "8ff55eac1d0b478ab3c06c3c6a492300(Main gate)");
    assert_eq!(string(&message["provider_message_id"]), taken[0].message_id);
    gateway.simulator.idle().await;
    assert_eq!(gateway.simulator.pushes()[0].answer.as_deref(), Some(SUCCESS));
}

#[tokio::test]
async fn free_text_without_a_binding_is_refused_at_once() {
    let gateway = start().await;
    let answer = gateway.post_message(json!({ "to": TO, "text": "hello" })).await;
    assert_eq!(answer.problem(), (422, "content_unsupported"), "{}", answer.text);
}

#[tokio::test]
async fn both_ways_of_signing_are_taken() {
    for keys in ["auth = \"aksk\"", "auth = \"wsse\"", "auth = \"wsse\"\nwsse_digest = \"raw\""] {
        let gateway = TestGateway::start(&with(keys)).await;
        let id = gateway.send(parcel(TO, "Main gate")).await;
        gateway.wait_for_end(&id, "delivered").await;
    }
}

#[tokio::test]
async fn a_wrong_secret_fails_the_message_and_blames_the_account() {
    let gateway = TestGateway::start(&HUAWEI.replace("simulator-secret", "another")).await;
    let id = gateway.send(parcel(TO, "Main gate")).await;
    let message = gateway.wait_for_end(&id, "failed").await;
    assert_eq!(error(&message), ("provider_auth_failed", "E000101"));
    assert_eq!(string(&message["error"]["category"]), "account");
}

#[tokio::test]
async fn fifty_waiting_messages_leave_in_few_calls_whether_their_content_is_one_or_many() {
    let places: [fn(usize) -> String; 2] = [|_| "Main gate".to_owned(), |index| format!("Gate {index}")];
    for place in places {
        let gateway = start().await;
        let bodies = (0..50).map(|index| parcel(&format!("+852601234{index:02}"), &place(index))).collect();
        let ids = send_together(&gateway, bodies).await;
        for id in &ids {
            gateway.wait_for_end(id, "delivered").await;
        }
        assert_eq!((counts(&gateway).calls, counts(&gateway).accepted), (1, 50));
        assert_eq!(gateway.simulator.doubles(), []);
    }
}

#[tokio::test]
async fn no_number_stands_twice_in_a_call() {
    let gateway = start().await;
    let bodies = vec![parcel(TO, "Main gate"), parcel(TO, "North gate"), parcel("+85260123457", "Main gate")];
    let ids = send_together(&gateway, bodies).await;
    for id in &ids {
        gateway.wait_for_end(id, "delivered").await;
    }
    let counts = counts(&gateway);
    assert_eq!((counts.calls, counts.accepted, counts.refused.len()), (2, 3, 0), "{counts:?}");
}

#[tokio::test]
async fn a_number_that_the_platform_calls_repeated_may_have_been_sent_to() {
    let gateway = start().await;
    gateway.simulator.next_for(TO, Behaviour::code("E200041"));
    let id = gateway.send(parcel(TO, "Main gate")).await;
    let message = gateway.wait_for_status(&id, "unknown").await;
    assert_eq!(error(&message), ("submission_unconfirmed", "E200041"));
    push_part(&gateway, string(&message["provider_message_id"]), "1", "1", "DELIVRD").await;
    assert_eq!(string(&gateway.message(&id).await["status"]), "delivered");
}

#[tokio::test]
async fn refusals_of_single_numbers_count_for_these_alone_also_beside_http_400() {
    for mixed_is_error in [false, true] {
        let gateway = start().await;
        gateway.simulator.change(|settings| settings.huawei_mixed_is_error = mixed_is_error);
        let (good, bad) = ("+85260123456", "+85260980028");
        let ids = send_together(&gateway, vec![parcel(good, "Main gate"), parcel(bad, "Main gate")]).await;
        gateway.wait_for_end(&ids[0], "delivered").await;
        let message = gateway.wait_for_end(&ids[1], "failed").await;
        assert_eq!(error(&message), ("template_params_invalid", "E200028"));
        assert_eq!((counts(&gateway).calls, counts(&gateway).accepted), (1, 1));
    }
}

#[tokio::test]
async fn a_refusal_of_a_whole_call_that_names_no_recipient_condemns_only_the_one_it_is_about() {
    let gateway = start().await;
    let bad = "+85260980503";
    let mut bodies: Vec<Value> = (0..9).map(|index| parcel(&format!("+8526012345{index}"), "Main gate")).collect();
    bodies.insert(4, parcel(bad, "Main gate"));
    let ids = send_together(&gateway, bodies).await;
    for (index, id) in ids.iter().enumerate() {
        if index == 4 {
            let message = gateway.wait_for_end(id, "failed").await;
            assert_eq!(error(&message), ("request_invalid", "E000503"));
        } else {
            gateway.wait_for_end(id, "delivered").await;
        }
    }
    assert_eq!(counts(&gateway).accepted, 9);
    assert_eq!(gateway.simulator.doubles(), []);
    let story = gateway.story(&ids[0]).await;
    assert!(story.contains(&"retry.scheduled queued".to_owned()), "{story:?}");
}

#[tokio::test]
async fn flow_control_is_waited_for_where_there_is_no_other_provider() {
    let gateway = start().await;
    let id = gateway.send(parcel("+85260970040", "Main gate")).await;
    let message = gateway.wait_for(&id, |message| attempts(message) == ["hw failed"]).await;
    assert_eq!(string(&message["attempts"][0]["error"]["provider_code"]), "E200015");
    gateway.advance(Duration::from_mins(9));
    let other = gateway.send(parcel(TO, "Main gate")).await;
    gateway.advance(Duration::from_secs(30));
    assert_eq!((string(&gateway.message(&id).await["status"]), counts(&gateway).calls), ("queued", 1));
    gateway.advance(Duration::from_mins(4));
    for id in [id, other] {
        gateway.wait_for_end(&id, "delivered").await;
    }
}

#[tokio::test]
async fn a_report_names_its_message_even_before_the_answer_or_without_one() {
    let gateway = start().await;
    // Before the answer; connection closed; unreadable; broken off; empty; 502 and 504 though taken; number left out.
    for tail in ["05", "20", "24", "25", "26", "35", "36", "41"] {
        let id = gateway.send(parcel(&format!("+852609700{tail}"), "Main gate")).await;
        let message = gateway.wait_for_end(&id, "delivered").await;
        assert_eq!(attempts(&message), ["hw delivered"], "{tail}");
    }
    assert_eq!(gateway.simulator.doubles(), []);
}

#[tokio::test]
async fn an_unclear_call_is_never_made_again() {
    let gateway = start().await;
    let lost = Behaviour { ending: Ending::Close, reports: Some(Vec::new()), ..Behaviour::default() };
    gateway.simulator.next_for(TO, lost);
    let id = gateway.send(parcel(TO, "Main gate")).await;
    gateway.wait_for_status(&id, "unknown").await;
    gateway.advance(Duration::from_hours(1));
    let other = gateway.send(parcel("+85260123457", "Main gate")).await;
    gateway.wait_for_end(&other, "delivered").await;
    let taken: Vec<String> = gateway.simulator.accepted().iter().map(|taken| taken.to.clone()).collect();
    assert_eq!(taken, [TO, "+85260123457"]);
    gateway.advance(Duration::from_hours(76));
    assert_eq!(error(&gateway.wait_for_end(&id, "unknown").await).0, "submission_unconfirmed");
}

#[tokio::test]
async fn reports_come_in_batches_to_the_address_of_the_application() {
    let gateway = Setup::new(&with("reports = \"application\""))
        .pushes(|settings, base| {
            settings.huawei_report_url = Some(format!("{base}/callbacks/hw/hw-token").parse().unwrap());
            settings.report_delay_ms = 100;
            settings.push_tick_ms = 100;
        })
        .start()
        .await;
    let bodies = (0..20).map(|index| parcel(&format!("+852601234{index:02}"), "Main gate")).collect();
    let ids = send_together(&gateway, bodies).await;
    for id in &ids {
        gateway.wait_for_end(id, "delivered").await;
    }
    gateway.simulator.idle().await;
    let pushes = gateway.simulator.pushes();
    assert!(pushes.iter().all(|push| push.kind == "reports" && push.answer.as_deref() == Some(SUCCESS)));
    assert!(pushes.iter().any(|push| push.message_ids.len() == 20), "{pushes:?}");
    assert!(gateway.simulator.accepted().iter().all(|taken| taken.status_callback.is_none()));
}

#[tokio::test]
async fn one_bad_report_in_a_batch_spoils_no_other() {
    let gateway = start().await;
    let id = gateway.send(parcel("+85260970004", "Main gate")).await;
    let message = gateway.wait_for_status(&id, "sent").await;
    let good =
        json!({ "smsMsgId": message["provider_message_id"], "status": "DELIVRD", "sequence": "1", "total": "1" });
    let batch = json!({ "statusReportList": [7, {}, { "status": "DELIVRD" }, { "smsMsgId": "x", "status": 9 }, good] });
    let answer = gateway.push("hw", "hw-token", &[], batch.to_string()).await;
    assert_eq!((answer.status, answer.text.as_str()), (200, SUCCESS));
    gateway.wait_for_end(&id, "delivered").await;
}

/// A message that waits for its reports, and a way to push one part of them.
async fn waiting(gateway: &TestGateway) -> (String, String) {
    let id = gateway.send(parcel("+85260970004", "Main gate")).await;
    let message = gateway.wait_for_status(&id, "sent").await;
    (id, string(&message["provider_message_id"]).to_owned())
}

async fn push_part(gateway: &TestGateway, native: &str, part: &str, total: &str, status: &str) -> Answer {
    let fields = [
        ("smsMsgId", native),
        ("status", status),
        ("sequence", part),
        ("total", total),
        ("source", "2"),
        ("updateTime", "2026-01-01T00:00:00Z"),
    ];
    gateway.push("hw", "hw-token", &[("content-type", "application/x-www-form-urlencoded")], form(&fields)).await
}

#[tokio::test]
async fn a_long_message_is_delivered_when_every_part_is() {
    let gateway = start().await;
    let (id, native) = waiting(&gateway).await;
    for (part, status) in [("3", "sent"), ("1", "sent"), ("1", "sent"), ("2", "delivered")] {
        assert_eq!(push_part(&gateway, &native, part, "3", "DELIVRD").await.status, 200);
        assert_eq!(string(&gateway.message(&id).await["status"]), status, "after part {part}");
    }
    assert_eq!(gateway.message(&id).await["segments"], 3);
    let id = gateway.send(parcel("+85260970008", "Main gate")).await;
    gateway.wait_for_end(&id, "delivered").await;
}

#[tokio::test]
async fn the_first_negative_part_decides() {
    let gateway = start().await;
    let (id, native) = waiting(&gateway).await;
    push_part(&gateway, &native, "1", "3", "DELIVRD").await;
    push_part(&gateway, &native, "2", "3", "UNDELIV").await;
    let message = gateway.message(&id).await;
    assert_eq!((string(&message["status"]), error(&message).1), ("undelivered", "UNDELIV"));
    push_part(&gateway, &native, "2", "3", "DELIVRD").await;
    push_part(&gateway, &native, "3", "3", "DELIVRD").await;
    assert_eq!(string(&gateway.message(&id).await["status"]), "undelivered");
    let id = gateway.send(parcel("+85260970007", "Main gate")).await;
    gateway.wait_for_end(&id, "undelivered").await;
}

#[tokio::test]
async fn an_intermediate_report_changes_nothing() {
    let gateway = start().await;
    let (id, native) = waiting(&gateway).await;
    push_part(&gateway, &native, "1", "1", "ACCEPTD").await;
    assert_eq!(string(&gateway.message(&id).await["status"]), "sent");
    push_part(&gateway, &native, "1", "1", "DELIVRD").await;
    assert_eq!(string(&gateway.message(&id).await["status"]), "delivered");
    push_part(&gateway, &native, "1", "1", "ACCEPTD").await;
    assert_eq!(string(&gateway.message(&id).await["status"]), "delivered");
}

#[tokio::test]
async fn each_final_report_brings_its_status() {
    let gateway = start().await;
    for (tail, status, neutral, raw) in [
        ("02", "undelivered", "recipient_unreachable", "UNDELIV"),
        ("03", "expired", "expired", "EXPIRED"),
        ("06", "delivered", "", ""),
        ("12", "delivered", "", ""),
    ] {
        let id = gateway.send(parcel(&format!("+852609700{tail}"), "Main gate")).await;
        let message = gateway.wait_for_end(&id, status).await;
        gateway.simulator.idle().await;
        assert_eq!(error(&message), (neutral, raw), "{tail}");
        assert_eq!(string(&gateway.message(&id).await["status"]), status, "nothing later changes it");
    }
}

#[tokio::test]
async fn what_the_platform_makes_up_and_what_nobody_documented_leave_it_unknown_with_the_raw_code() {
    let gateway = start().await;
    for (tail, raw) in [("10", "EXPIRED"), ("09", "ZZ:9999")] {
        let id = gateway.send(parcel(&format!("+852609700{tail}"), "Main gate")).await;
        let message = gateway.wait_for_status(&id, "unknown").await;
        assert_eq!(
            (error(&message), message["final"].as_bool()),
            (("delivery_unconfirmed", raw), Some(false)),
            "{tail}"
        );
        push_part(&gateway, string(&message["provider_message_id"]), "1", "1", "DELIVRD").await;
        assert_eq!(string(&gateway.message(&id).await["status"]), "delivered", "a later report settles it");
    }
}

#[tokio::test]
async fn a_report_that_nothing_is_known_counts_also_when_it_comes_before_the_answer() {
    let gateway = start().await;
    for (status, by_platform) in [("expired", true), ("ZZ:9999", false)] {
        let report = ScriptedReport { before_answer: true, by_platform, ..ScriptedReport::new(status) };
        gateway.simulator.next_for(TO, Behaviour::reports(vec![report]));
        let id = gateway.send(parcel(TO, status)).await;
        let message = gateway.wait_for_status(&id, "unknown").await;
        assert_eq!((error(&message).0, message["final"].as_bool()), ("delivery_unconfirmed", Some(false)), "{status}");
        let story = gateway.story(&id).await;
        assert!(story.iter().any(|entry| entry.starts_with("report.applied")), "{story:?}");
        assert!(story.last().unwrap().ends_with(" unknown"), "{story:?}");
    }
}

#[tokio::test]
async fn doubled_and_shuffled_reports_are_shown_as_ignored() {
    let gateway = start().await;
    let id = gateway.send(parcel("+85260970006", "Main gate")).await;
    gateway.wait_for_end(&id, "delivered").await;
    gateway.simulator.idle().await;
    let story = gateway.story(&id).await;
    let count = |kind: &str| story.iter().filter(|entry| entry.starts_with(kind)).count();
    assert_eq!((count("report.applied"), count("report.ignored")), (1, 4), "{story:?}");
}

async fn with_push_key(secret: &'static str) -> TestGateway {
    let keys =
        "push_keys = [{ access_key = \"old\", secret = \"x\" }, { access_key = \"push-key\", secret = \"right\" }]";
    Setup::new(&with(keys))
        .simulator(|options| options.huawei.push_key = Some(("push-key".to_owned(), secret.into())))
        .start()
        .await
}

#[tokio::test]
async fn signed_reports_are_taken() {
    let gateway = with_push_key("right").await;
    let id = gateway.send(parcel(TO, "Main gate")).await;
    gateway.wait_for_end(&id, "delivered").await;
}

#[tokio::test]
async fn reports_under_a_wrong_or_no_signature_change_nothing_where_keys_are_configured() {
    let gateway = with_push_key("wrong").await;
    let id = gateway.send(parcel(TO, "Main gate")).await;
    let message = gateway.wait_for_status(&id, "sent").await;
    gateway.until("the report was pushed", async || gateway.simulator.pushes().pop()).await;
    assert_eq!(gateway.simulator.pushes()[0].status, Some(401));
    let native = string(&message["provider_message_id"]);
    assert_eq!(push_part(&gateway, native, "1", "1", "DELIVRD").await.status, 401);
    assert_eq!(string(&gateway.message(&id).await["status"]), "sent");
}

#[tokio::test]
async fn a_forged_address_finds_nothing_and_one_of_another_call_names_only_its_own() {
    let gateway = start().await;
    let (id, native) = waiting(&gateway).await;
    let other = gateway.send(parcel("+85260970004", "North gate")).await;
    gateway.wait_for_status(&other, "sent").await;
    let taken = gateway.simulator.accepted();
    let callback = taken[0].status_callback.clone().unwrap();
    let last_part = callback.rsplit('/').next().unwrap();
    let (reference, mac) = last_part.split_once('.').unwrap();
    let other_reference = taken[1].reference.clone().unwrap();
    let flipped = format!("{}{}", if mac.starts_with('0') { '1' } else { '0' }, &mac[1..]);
    let body = form(&[("smsMsgId", &native), ("status", "DELIVRD"), ("extend", reference), ("to", "+85260970004")]);
    let forged = [
        format!("{reference}.{flipped}"),
        format!("{other_reference}.{mac}"),
        format!("{reference}."),
        reference.to_owned(),
        format!("{reference}.{}", &mac[..30]),
    ];
    for forged_part in forged {
        assert_eq!(gateway.push("hw", &forged_part, &[], body.clone()).await.status, 404, "{forged_part}");
    }
    let of_other = form(&[("smsMsgId", &native), ("status", "DELIVRD"), ("extend", &other_reference), ("to", TO)]);
    gateway.push("hw", last_part, &[], of_other).await;
    assert_eq!(string(&gateway.message(&id).await["status"]), "sent");
    assert_eq!(gateway.push("hw", last_part, &[], body).await.status, 200);
    assert_eq!(string(&gateway.message(&id).await["status"]), "delivered");
    assert_eq!(string(&gateway.message(&other).await["status"]), "sent");
}

fn mainland() -> Setup {
    let config = with("region = \"cn\"").replace("isms100000001", "csms100000001");
    let signature = "params = [\"place\"]\nsignature = \"Parcels\"\n[routes.sms]";
    let config = config.replace("params = [\"place\"]\n[routes.sms]", signature);
    Setup::new(&format!("{config}\n[apps.shop]\ninbound_numbers = [\"csms100000001\"]"))
        .simulator(|options| options.huawei.region = Region::Cn)
        .pushes(|settings, base| {
            settings.huawei_uplink_url = Some(format!("{base}/callbacks/hw/hw-token").parse().unwrap());
        })
}

#[tokio::test]
async fn mainland_numbers_are_recognised_and_the_signature_goes_along() {
    let gateway = mainland().start().await;
    for number in ["+8615512345678", "+8615512970006", "+8615512970020"] {
        let id = gateway.send(parcel(number, "Main gate")).await;
        gateway.wait_for_end(&id, "delivered").await;
    }
    let signatures: BTreeSet<Option<String>> =
        gateway.simulator.accepted().iter().map(|taken| taken.signature.clone()).collect();
    assert_eq!(signatures, BTreeSet::from([Some("Parcels".to_owned())]));
}

#[tokio::test]
async fn an_uplink_message_reaches_the_app_that_owns_the_channel_once() {
    let gateway = mainland().start().await;
    for _ in 0..2 {
        let inbound = InboundPush {
            provider: Protocol::Huawei,
            from: "+8615512345678".to_owned(),
            to: "csms100000001".to_owned(),
            text: "退订".to_owned(),
            message_id: Some("up-1".to_owned()),
        };
        gateway.simulator.push_inbound(inbound).unwrap();
    }
    gateway.simulator.idle().await;
    assert!(gateway.simulator.pushes().iter().all(|push| push.answer.as_deref() == Some(SUCCESS)));
    let answer = gateway.client.get(SHOP, "/v1/inbound_messages").await;
    let found = answer.json["data"].as_array().unwrap();
    assert_eq!(found.len(), 1, "{}", answer.text);
    let texts = ["from", "to", "text", "provider", "app"].map(|key| string(&found[0][key]));
    assert_eq!(texts, ["+8615512345678", "csms100000001", "退订", "hw", "shop"]);
}

#[tokio::test]
async fn a_report_of_an_earlier_attempt_delivers_a_message_that_waits_for_its_next() {
    let gateway = start().await;
    let matching = Match { provider: Some(Protocol::Huawei), to: Some(TO.to_owned()) };
    // Refused, says the answer; delivered, says the carrier.
    let report = ScriptedReport { delay_ms: Some(300), ..ScriptedReport::default() };
    let behaviour = Behaviour { accepted: Some(true), reports: Some(vec![report]), ..Behaviour::http(429) };
    gateway.simulator.script(Script { matching, times: 1, behaviour });
    let id = gateway.send(parcel(TO, "Main gate")).await;
    let message = gateway.wait_for_end(&id, "delivered").await;
    assert_eq!(attempts(&message), ["hw delivered"]);
}
