//! What is `NxCloud`'s alone; the rest is the conformance suite's.

use super::*;
use crate::{
    domain::{Timestamp, verdict::FailoverAllowed},
    providers::{
        codes,
        conformance::{Case, HttpCase, callback},
        scripted_server::Server,
    },
};

/// What the conformance suite needs to know.
pub(crate) fn case() -> Case {
    Case {
        settings: r#"
            base_url = "BASE_URL"
            access_key = "fme2na3kdi3ki"
            access_secret = "abciiiko2k3"
        "#,
        from: "8615088888888",
        to: "+84361234567",
        http: Some(HttpCase {
            codes: &CODES,
            answer: |stage, code| {
                let data = if code == "0" { r#"{"messageId":"fdgrth"}"# } else { "null" };
                (stage == Stage::SendResponse)
                    .then(|| ("200 OK", format!(r#"{{"code":{code},"message":"x","data":{data}}}"#)))
            },
            accepted: (Stage::SendResponse, "0"),
            undocumented: (Stage::SendResponse, "4711"),
            unreadable: &["", "success", "<html>", "{}", r#"{"code":0"#, r#"{"message":"Success"}"#],
        }),
        report: Some(|status| {
            let body = format!("messageId=1&toPhone=84361234567&fromPhone=8615088888888&smsStatus={status}");
            callback(&[("content-type", "application/x-www-form-urlencoded")], body.as_bytes())
        }),
        secrets: &["fme2na3kdi3ki", "abciiiko2k3"],
        ..Case::of("nxcloud_did")
    }
}

fn with(settings: &str) -> Arc<dyn Provider> {
    let mut setup = case().setup("http://127.0.0.1:9");
    setup.settings.extend(settings.parse::<toml::Table>().unwrap());
    build(setup).unwrap()
}

const TAKEN: &str = r#"{"code":"0","data":{"messageId":"fdgrth"}}"#;

#[tokio::test]
async fn the_call_is_signed_over_the_very_bytes_that_are_sent() {
    for (algorithm, header) in [("md5", None), ("sha256", Some("sha256"))] {
        let server = Server::answering("200 OK", TAKEN).await;
        let mut setup = case().setup(&server.url());
        setup.settings.insert("algorithm".into(), algorithm.into());
        build(setup).unwrap().submit(&case().call()).await.unwrap();
        let request = server.requests().remove(0);
        assert_eq!(request.line(), "POST /didsms/mtsend");
        let header_of = |name| request.header(name).unwrap();
        assert_eq!(
            (header_of("accessKey"), header_of("bizType"), header_of("action"), header_of("content-type")),
            ("fme2na3kdi3ki", "4", "mtsend", "application/json")
        );
        assert_eq!(request.header("algorithm"), header);
        assert_eq!(
            request.json(),
            serde_json::json!({"sender": "8615088888888", "phone": "84361234567", "content": "Your code is 123456"})
        );
        let headers = Headers { access_key: "fme2na3kdi3ki", action: "mtsend", biz_type: "4", ts: header_of("ts") };
        assert!(sign::verify(header_of("sign"), headers, &request.body, &"abciiiko2k3".into()));
        assert_eq!(header_of("sign").len(), if algorithm == "md5" { 32 } else { 64 });
    }
}

#[tokio::test]
async fn each_call_has_its_own_time() {
    let server = Server::answering("200 OK", TAKEN).await;
    let setup = case().setup(&server.url());
    let clock = setup.clock.clone();
    let driver = build(setup).unwrap();
    let before = clock.now().timestamp_millis();
    driver.submit(&case().call()).await.unwrap();
    clock.advance(Duration::from_secs(90));
    driver.submit(&case().call()).await.unwrap();
    let times: Vec<i64> =
        server.requests().iter().map(|request| request.header("ts").unwrap().parse().unwrap()).collect();
    assert!((before..before + 60_000).contains(&times[0]), "13-digit milliseconds");
    assert!(times[1] - times[0] >= 90_000);
}

#[tokio::test]
async fn a_plus_in_the_configured_sender_is_not_sent() {
    let server = Server::answering("200 OK", TAKEN).await;
    let call = Call { from: "+8615088888888".into(), ..case().call() };
    case().build(&server.url()).submit(&call).await.unwrap();
    assert_eq!(server.requests()[0].json()["sender"], "8615088888888");
}

#[tokio::test]
async fn a_message_that_is_taken_without_an_id_is_taken() {
    let server = Server::answering("200 OK", r#"{"code":0,"message":"Success"}"#).await;
    let outcome = case().submit_to(&server.url()).await.unwrap();
    assert_eq!((outcome.verdict.status, outcome.provider_message_id), (NeutralStatus::Sent, None));
}

#[tokio::test]
async fn a_refusal_by_status_is_read_and_a_success_in_it_is_doubted() {
    for (head, body, expected) in [
        ("401 Who", r#"{"code":1102}"#, "1102"),
        ("400 Bad", r#"{"code":"12001"}"#, "12001"),
        ("400 Bad", r#"{"code":4711}"#, "http_400"),
        ("429 Slow", r#"{"code":-1}"#, "http_429"),
        ("500 Ouch", r#"{"code":-1}"#, "http_500"),
        ("400 Bad", r#"{"code":0}"#, "unparseable_2xx"),
    ] {
        let server = Server::answering(head, body).await;
        let code = match case().submit_to(&server.url()).await {
            Ok(outcome) => outcome.provider_code,
            Err(error) => error.provider_code,
        };
        assert_eq!(code.as_deref(), Some(expected), "{head} {body}");
    }
}

#[tokio::test]
async fn a_message_without_a_text_is_left_to_the_next_step() {
    let mut call = case().call();
    call.submissions[0].text = None;
    let error = case().build("http://127.0.0.1:9").submit(&call).await.unwrap_err();
    assert_eq!(error.verdict.failover, FailoverAllowed::Yes);
}

#[test]
fn unsigned_pushes_are_taken_unless_all_must_be_signed() {
    let unsigned = (case().report.unwrap())("DELIVRD");
    assert!(with("").verify_callback(&unsigned).is_ok());
    assert!(with(r#"verify_callbacks = "monitor""#).verify_callback(&unsigned).is_ok());
    assert!(with(r#"verify_callbacks = "always""#).verify_callback(&unsigned).is_err());
}

#[test]
fn a_bad_signature_passes_only_where_it_is_merely_watched() {
    let key = ("accesskey", "fme2na3kdi3ki");
    let sign = ("sign", "00000000000000000000000000000000");
    let whole = [key, ("ts", "1655710885431"), ("biztype", "4"), ("action", "dr"), sign];
    for headers in [&whole[..], &[key, sign], &[sign], &[("sign", "")]] {
        let forged = callback(headers, br#"{"messageId":"1","smsStatus":"DELIVRD"}"#);
        assert!(with("").verify_callback(&forged).is_err(), "{headers:?}");
        assert!(with(r#"verify_callbacks = "always""#).verify_callback(&forged).is_err(), "{headers:?}");
        assert!(with(r#"verify_callbacks = "monitor""#).verify_callback(&forged).is_ok(), "{headers:?}");
    }
}

#[test]
fn the_zone_of_the_time_is_a_setting() {
    let push =
        callback(&[], b"messageId=1&fromPhone=8615088888888&smsStatus=DELIVRD&receiveTime=2021-02-07+14%3A54%3A00");
    for (settings, utc) in [("", "06:54"), ("utc_offset_hours = 0", "14:54"), ("utc_offset_hours = -5", "19:54")] {
        let events = with(settings).parse_callback(&push).unwrap();
        let [CallbackEvent::Report(report)] = events.as_slice() else { panic!("{events:?}") };
        let expected: Timestamp = format!("2021-02-07T{utc}:00Z").parse().unwrap();
        assert_eq!(report.occurred_at, Some(expected), "{settings}");
    }
}

#[test]
fn a_further_sender_is_a_number_of_ours_too() {
    let mut setup = case().setup("http://127.0.0.1:9");
    setup.senders = vec!["+12347200160".into()];
    let driver = build(setup).unwrap();
    let push = callback(&[], b"messageId=1&fromPhone=12347200160&toPhone=18184505018&smsStatus=DELIVRD");
    assert!(matches!(driver.parse_callback(&push).unwrap().as_slice(), [CallbackEvent::Report(_)]));
}

#[test]
fn the_table_is_complete() {
    assert_eq!(
        codes::listing(&CODES),
        "Report DELIVRD\nReport UNDELIVR\n\
         SendResponse -1\nSendResponse 0\nSendResponse 1001\nSendResponse 1002\nSendResponse 1003\nSendResponse 1004\n\
         SendResponse 1005\nSendResponse 1100\nSendResponse 1102\nSendResponse 12001\nSendResponse 12002\n\
         SendResponse 12004\nSendResponse 12005\nSendResponse 12007\nSendResponse 12008\nSendResponse 9000\n\
         SendResponse 9001\nSendResponse 9002\nSendResponse 9003\nSendResponse 9004\nSendResponse 9005\n\
         SendResponse 9006\nSendResponse 9007\nSendResponse 9999"
    );
}
