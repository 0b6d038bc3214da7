//! Tests of what Huawei pushes: documented examples, odd forms of them, signatures, and bytes of any kind.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;
use crate::domain::{error_code::ErrorCode, verdict::NeutralStatus};

static CODES: LazyLock<CodeTable> = LazyLock::new(|| CodeTable::embedded(include_str!("../codes.csv")));

const REFERENCE: &str = "call_01h455vb4pex5vsknk084sn02q";

/// The body of a fixture, which the conformance suite reads with its headers.
fn body_of(fixture: &str) -> &str {
    fixture.split_once("\n\n").unwrap().1.trim_end()
}

fn push(body: impl Into<Vec<u8>>) -> Callback {
    Callback {
        headers: vec![],
        path_and_query: "/callbacks/huawei/token".into(),
        body: body.into().into(),
        call_reference: None,
        received_at: Timestamp::default(),
    }
}

fn events(body: &str) -> Vec<CallbackEvent> {
    parse(&push(body), &CODES, Region::International).unwrap()
}

fn reports(body: &str) -> Vec<Report> {
    events(body)
        .into_iter()
        .filter_map(|event| match event {
            CallbackEvent::Report(report) => Some(report),
            CallbackEvent::Inbound(_) | CallbackEvent::ReportOrInbound(..) | CallbackEvent::Unreadable { .. } => None,
        })
        .collect()
}

fn report(body: &str) -> Report {
    reports(body).pop().unwrap_or_else(|| panic!("no report in {body}"))
}

fn inbound(body: &str, region: Region) -> Inbound {
    match parse(&push(body), &CODES, region).unwrap().pop() {
        Some(CallbackEvent::Inbound(message)) => message,
        other => panic!("{other:?}"),
    }
}

fn time_of(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[test]
fn the_documented_single_report_is_read() {
    let report = report(body_of(include_str!("../fixtures/signed_report_single.txt")));
    assert_eq!(report.target.provider_message_id.as_deref(), Some("b9d9b4fe-ad0e-4a2a-a2c7-445505b674ac_6"));
    assert_eq!((report.provider_code.as_str(), report.verdict.status), ("DELIVRD", NeutralStatus::Delivered));
    assert_eq!((report.part, report.parts, report.segments), (1, 1, Some(1)));
    assert_eq!(report.occurred_at, Some(time_of("2018-04-13T06:31:46Z")));
    assert_eq!((report.description, report.price), (None, None));
}

#[test]
fn extend_and_to_name_the_message_and_status_desc_describes_it() {
    let report = report(body_of(include_str!("../fixtures/signed_report_extend.txt")));
    assert_eq!(report.target.call_reference.as_deref(), Some(REFERENCE));
    assert_eq!(report.target.recipient.as_deref(), Some("+8615512345678"));
    assert_eq!((report.part, report.parts), (2, 2));
    assert_eq!(report.description.as_deref(), Some("Phone is off"));
    assert_eq!(report.verdict.error, Some(ErrorCode::RecipientUnreachable));
}

#[test]
fn a_batch_is_read_with_texts_and_numbers_and_one_bad_entry_spoils_no_other() {
    let events = events(body_of(include_str!("../fixtures/signed_report_batch.txt")));
    assert_eq!(events.len(), 5);
    assert!(matches!(events[3], CallbackEvent::Unreadable { .. }), "{:?}", events[3]);
    let reports = reports(body_of(include_str!("../fixtures/signed_report_batch.txt")));
    let brief: Vec<_> = reports.iter().map(|r| (r.provider_code.as_str(), r.verdict.status, r.part, r.parts)).collect();
    assert_eq!(
        brief,
        [
            ("DELIVRD", NeutralStatus::Delivered, 1, 2),
            ("DELIVRD", NeutralStatus::Delivered, 2, 2),
            ("24", NeutralStatus::Undelivered, 1, 1),
            ("MK:0012", NeutralStatus::Undelivered, 1, 1),
        ]
    );
    assert!(reports.iter().all(|report| report.occurred_at.is_some()));
    assert_eq!(reports[2].target.call_reference.as_deref(), Some(REFERENCE));
}

#[test]
fn the_content_type_decides_nothing() {
    for content_type in
        [None, Some("application/JSON;charset=UTF-8"), Some("APPLICATION/X-WWW-FORM-URLENCODED"), Some("text/plain")]
    {
        let json = format!("\r\n {}", body_of(include_str!("../fixtures/signed_report_batch.txt")));
        for (body, expected) in [(json.as_str(), 5), (body_of(include_str!("../fixtures/signed_report_single.txt")), 1)]
        {
            let mut callback = push(body);
            callback.headers.extend(content_type.map(|value| ("content-type".to_owned(), value.to_owned())));
            let read = parse(&callback, &CODES, Region::International).unwrap();
            assert_eq!(read.len(), expected, "{content_type:?}");
        }
    }
}

#[test]
fn success_is_recognised_in_any_capitals_and_kept_as_it_came() {
    let report = report("smsMsgId=a&status=delivrd");
    assert_eq!((report.provider_code.as_str(), report.verdict.status), ("delivrd", NeutralStatus::Delivered));
}

#[test]
fn a_status_that_nobody_documented_is_kept_and_settles_nothing() {
    let report = report("smsMsgId=a&status=NEW%3A1");
    assert_eq!(report.provider_code, "NEW:1");
    assert_eq!(
        (report.verdict.status, report.verdict.error),
        (NeutralStatus::Unknown, Some(ErrorCode::DeliveryUnconfirmed))
    );
}

#[test]
fn what_the_platform_makes_up_itself_leaves_the_delivery_unconfirmed() {
    for status in ["EXPIRED", "UNDELIV", "UNKNOWN", "DELETED"] {
        for (rest, made_up) in [
            ("&source=1", true),
            ("&source=1&updateTime=", true),
            ("&source=1&updateTime=2018-04-13T06%3A31%3A46Z", false),
            ("&source=2", false),
            ("&source=3", false),
            ("", false),
        ] {
            let report = report(&format!("smsMsgId=a&status={status}{rest}"));
            assert_eq!(report.verdict.error == Some(ErrorCode::DeliveryUnconfirmed), made_up, "{status}{rest}");
        }
    }
    // Anything else that comes so is still what it says.
    assert_eq!(report("smsMsgId=a&status=DELIVRD&source=1").verdict.status, NeutralStatus::Delivered);
    assert_eq!(report("smsMsgId=a&status=REJECTD&source=1").verdict.error, Some(ErrorCode::CarrierRejected));
    assert_eq!(
        report(body_of(include_str!("../fixtures/signed_report_made_up.txt"))).verdict.error,
        Some(ErrorCode::DeliveryUnconfirmed)
    );
}

#[test]
fn parts_count_only_when_there_are_several() {
    for (fields, expected) in [
        ("", (1, 1)),
        ("&total=&sequence=", (1, 1)),
        ("&total=1&sequence=1", (1, 1)),
        ("&total=1&sequence=7", (1, 1)),
        ("&total=0&sequence=0", (1, 1)),
        ("&total=x&sequence=2", (1, 1)),
        ("&total=3", (1, 3)),
        ("&total=3&sequence=3", (3, 3)),
    ] {
        let report = report(&format!("smsMsgId=a&status=DELIVRD{fields}"));
        assert_eq!((report.part, report.parts), expected, "{fields}");
    }
    let above = events("smsMsgId=a&status=DELIVRD&total=2&sequence=3");
    assert!(matches!(&above[..], [CallbackEvent::Unreadable { .. }]), "{above:?}");
}

#[test]
fn times_are_read_in_every_form_that_was_seen() {
    for (text, expected) in [
        ("2018-04-13T06:31:46Z", Some("2018-04-13T06:31:46Z")),
        ("2018-04-13T06%253a31%253A46Z", Some("2018-04-13T06:31:46Z")),
        ("2018-04-13+06:31:46", Some("2018-04-13T06:31:46Z")),
        ("2018-04-13T06:31:46.123Z", Some("2018-04-13T06:31:46.123Z")),
        ("2018-04-13T14:31:46%2B08:00", Some("2018-04-13T06:31:46Z")),
        ("yesterday", None),
    ] {
        let report = report(&format!("smsMsgId=a&status=DELIVRD&updateTime={text}"));
        assert_eq!(report.occurred_at, expected.map(time_of), "{text}");
    }
}

#[test]
fn the_signed_address_names_the_call_and_a_differing_extend_is_refused_alone() {
    let mut callback = push("to=%2B8615512345678&status=DELIVRD");
    callback.call_reference = Some(REFERENCE.into());
    let read = parse(&callback, &CODES, Region::International).unwrap();
    assert!(
        matches!(&read[..], [CallbackEvent::Report(report)] if report.target.call_reference.as_deref() == Some(REFERENCE)),
        "{read:?}"
    );
    let other = REFERENCE.replace('q', "r");
    callback.body = format!(
        r#"{{"statusReportList":[{{"smsMsgId":"a","status":"DELIVRD","extend":"{other}","to":"+8615512345678"}},
           {{"smsMsgId":"b","status":"DELIVRD","extend":"{REFERENCE}","to":"+8615512345679"}}]}}"#
    )
    .into();
    let read = parse(&callback, &CODES, Region::International).unwrap();
    assert!(matches!(&read[..], [CallbackEvent::Unreadable { .. }, CallbackEvent::Report(_)]), "{read:?}");
}

#[test]
fn a_report_must_name_a_message() {
    for body in [
        "status=DELIVRD",
        "status=DELIVRD&smsMsgId=+",
        "status=DELIVRD&to=%2B8615512345678",
        "status=DELIVRD&extend=call_x",
        "status=DELIVRD&extend=call_x&to=nobody",
    ] {
        let events = events(body);
        assert!(matches!(&events[..], [CallbackEvent::Unreadable { .. }]), "{body}: {events:?}");
    }
}

#[test]
fn the_recipient_of_a_mainland_report_needs_no_country_code() {
    let callback = push("status=DELIVRD&extend=call_x&to=15512345678");
    let read = parse(&callback, &CODES, Region::Mainland).unwrap();
    let [CallbackEvent::Report(report)] = &read[..] else { panic!("{read:?}") };
    assert_eq!(report.target.recipient.as_deref(), Some("+8615512345678"));
}

#[test]
fn an_uplink_message_is_read_as_utf_8() {
    let message = inbound(body_of(include_str!("../fixtures/signed_uplink.txt")), Region::Mainland);
    assert_eq!(
        message,
        Inbound {
            provider_message_id: "9692b5be-c427-4525-8e73-cf4a6ac5b3f7".into(),
            from: "+8615512345678".into(),
            to: "1069031221280012".into(),
            text: "退订 T+1".into(),
            segments: None,
            price: None,
            received_at: Some(time_of("2018-05-25T16:34:34Z")),
        }
    );
    assert_eq!(inbound("smsMsgId=a&from=1&to=2&body=T", Region::Mainland).received_at, None);
}

#[test]
fn the_sender_of_an_uplink_message_is_a_number_only_if_it_looks_like_one() {
    for (from, expected) in [
        ("15512345678", "+8615512345678"),
        ("8615512345678", "+8615512345678"),
        ("%2B8615512345678", "+8615512345678"),
        ("+8615512345678", "+8615512345678"),
        ("%2B85251234567", "+85251234567"),
        ("10086", "10086"),
        ("106900001234", "106900001234"),
        ("Bank", "Bank"),
    ] {
        let message = inbound(&format!("smsMsgId=a&from={from}&to=1069&body=T"), Region::Mainland);
        assert_eq!(message.from, expected, "{from}");
    }
}

#[test]
fn an_uplink_message_without_its_id_or_ends_is_not_read() {
    for body in ["from=1&to=2&body=T", "smsMsgId=a&to=2&body=T", "smsMsgId=a&from=1&body=T", "hello", "a=b"] {
        let events = events(body);
        assert!(matches!(&events[..], [CallbackEvent::Unreadable { .. }]), "{body}: {events:?}");
    }
}

#[test]
fn a_body_that_is_nothing_at_all_is_malformed() {
    for body in ["", " \r\n", "{", r#"{"statusReportList":"x"}"#, r#"{"statusReportList":null}"#, "[1"] {
        let read = parse(&push(body), &CODES, Region::International);
        assert!(matches!(read, Err(CallbackRejected::Malformed(_))), "{body}: {read:?}");
    }
}

#[test]
fn zero_bytes_never_reach_a_text() {
    let report = report("smsMsgId=a%00b&status=DELIV%00RD&statusDesc=%00");
    assert_eq!(report.target.provider_message_id.as_deref(), Some("ab"));
    assert_eq!((report.provider_code.as_str(), report.description), ("DELIVRD", None));
    let read = reports(r#"{"smsMsgId":"a\u0000b","status":"DELIVRD"}"#);
    assert_eq!(read[0].target.provider_message_id.as_deref(), Some("ab"));
}

fn keys() -> Vec<KeyPair> {
    [("old", "secret-1"), ("new", "secret-2"), ("new", "secret-3")]
        .map(|(access_key, secret)| KeyPair { access_key: access_key.into(), secret: secret.into() })
        .to_vec()
}

/// A push signed as the documents show it: commas without spaces, and headers that a proxy may touch.
fn signed(key: &KeyPair) -> Callback {
    let mut callback = push(body_of(include_str!("../fixtures/signed_report_single.txt")));
    callback.path_and_query = "/callbacks/huawei/token?b=2&a=%20".into();
    let length = callback.body.len().to_string();
    let headers = [
        ("connection", "close"),
        ("content-length", &*length),
        ("content-type", "application/x-www-form-urlencoded"),
        ("host", "sms.example.com:8081"),
        ("x-sdk-date", "20241220T010203Z"),
    ];
    let (path, query) = callback.path_and_query.split_once('?').unwrap();
    let request = Signable { method: "POST", path, query, headers: &headers, body: &callback.body };
    let authorization = request.authorization(key, "20241220T010203Z").replace(", ", ",");
    callback.headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    callback.headers.push(("authorization".into(), authorization));
    callback
}

#[test]
fn a_push_signed_with_any_of_the_keys_is_the_providers() {
    for key in keys() {
        assert_eq!(verify(&signed(&key), &keys()), Ok(()), "{key:?}");
    }
}

#[test]
fn without_keys_nothing_is_asked_for() {
    assert_eq!(verify(&push("x"), &[]), Ok(()));
}

#[test]
fn a_push_that_was_forged_or_touched_is_refused() {
    type Touch = fn(&mut Callback);
    let set = |callback: &mut Callback, name: &str, value: &str| {
        callback.headers.retain(|(key, _)| key != name);
        callback.headers.push((name.to_owned(), value.to_owned()));
    };
    let touches: [(&str, Touch); 5] = [
        ("body", |callback| callback.body = b"smsMsgId=a&status=DELIVRD".to_vec().into()),
        ("path", |callback| callback.path_and_query = "/callbacks/huawei/other?b=2&a=%20".into()),
        ("query", |callback| callback.path_and_query = "/callbacks/huawei/token?b=3&a=%20".into()),
        ("no headers", |callback| callback.headers.clear()),
        ("a signed header is gone", |callback| callback.headers.retain(|(name, _)| name != "host")),
    ];
    for (what, touch) in touches {
        let mut callback = signed(&keys()[0]);
        touch(&mut callback);
        assert!(matches!(verify(&callback, &keys()), Err(CallbackRejected::Signature(_))), "{what}");
    }
    for (name, value) in [
        ("x-sdk-date", "20241220T010204Z"),
        ("host", "sms.example.com"),
        ("authorization", "Bearer x"),
        ("authorization", "SDK-HMAC-SHA256 Access=other, SignedHeaders=host, Signature=00"),
        ("authorization", "SDK-HMAC-SHA256 Access=old, SignedHeaders=host, Signature="),
    ] {
        let mut callback = signed(&keys()[0]);
        set(&mut callback, name, value);
        assert!(matches!(verify(&callback, &keys()), Err(CallbackRejected::Signature(_))), "{name}: {value}");
    }
    let stranger = KeyPair { access_key: "old".into(), secret: "guessed".into() };
    assert!(verify(&signed(&stranger), &keys()).is_err(), "another secret");
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(body in prop::collection::vec(any::<u8>(), 0..512), json in any::<bool>()) {
        let body = if json { [b"{\"statusReportList\":[".as_slice(), &body].concat() } else { body };
        let _ = parse(&push(body), &CODES, Region::Mainland);
    }

    #[test]
    fn no_values_make_the_reader_panic(
        status in ".*", total in ".*", sequence in ".*", to in ".*", time in ".*", from in ".*", in_form in any::<bool>(),
    ) {
        let fields = [("smsMsgId", "a"), ("status", &status), ("total", &total), ("sequence", &sequence), ("to", &to),
            ("extend", "call_x"), ("updateTime", &time), ("from", &from), ("body", "x"), ("createTime", &time)];
        let body = if in_form {
            form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
        } else {
            let fields = fields.map(|(name, value)| (name.to_owned(), Value::from(value)));
            Value::Object(fields.into_iter().collect()).to_string()
        };
        let events = parse(&push(body), &CODES, Region::Mainland);
        prop_assert_eq!(events.map(|events| events.len()), Ok(1));
    }

    #[test]
    fn no_header_makes_the_check_panic_or_pass(header in ".*", date in ".*") {
        let mut callback = push("x");
        callback.headers = vec![("authorization".into(), header), ("x-sdk-date".into(), date)];
        prop_assert!(verify(&callback, &keys()).is_err());
    }
}
