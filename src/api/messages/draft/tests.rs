use serde_json::json;

use super::*;
use crate::api::testing;

fn now() -> Timestamp {
    "2026-03-01T09:00:00Z".parse().unwrap()
}

fn read_as(app: &str, body: &Value) -> Result<MessageDraft, ApiError> {
    let config = testing::config();
    MessageDraft::read(body, Rules { config: &config, app: &config.apps[app], now: now() })
}

/// The faults of a body as pointer and code, sorted.
fn faults_as(app: &str, body: &Value) -> Vec<(String, &'static str)> {
    let mut faults: Vec<_> = match read_as(app, body) {
        Ok(_) => Vec::new(),
        Err(ApiError::Invalid(errors)) => {
            errors.into_iter().map(|error| (error.pointer.unwrap(), error.code.as_str())).collect()
        }
        Err(other) => panic!("{other}"),
    };
    faults.sort();
    faults
}

/// A good message with these fields over it; null takes a field out.
fn message(over: &Value) -> Value {
    let mut body = json!({ "to": "+84361234567", "text": "Hello" });
    for (name, value) in over.as_object().unwrap().clone() {
        if value.is_null() {
            body.as_object_mut().unwrap().remove(&name);
        } else {
            body[name] = value;
        }
    }
    body
}

#[test]
fn each_fault_has_its_own_pointer_and_code() {
    let long = |length: usize| "x".repeat(length);
    let many: Value = (0..21).map(|index| (format!("k{index}"), json!("v"))).collect::<serde_json::Map<_, _>>().into();
    for (over, pointer, code) in [
        (json!({ "to": null }), "/to", "required"),
        (json!({ "to": 84 }), "/to", "invalid"),
        (json!({ "to": "" }), "/to", "recipient_invalid"),
        (json!({ "to": "0361234567" }), "/to", "recipient_invalid"),
        (json!({ "to": "+2101234567" }), "/to", "recipient_invalid"),
        (json!({ "text": null }), "/text", "required"),
        (json!({ "text": "" }), "/text", "invalid"),
        (json!({ "text": ["Hello"] }), "/text", "invalid"),
        (json!({ "text": long(1601) }), "/text", "too_long"),
        (json!({ "text": "ж".repeat(1600) }), "/text", "content_too_long"),
        (json!({ "template": { "name": "parcel", "params": { "place": "x" } } }), "/template", "mutually_exclusive"),
        (json!({ "text": null, "template": {} }), "/template/name", "required"),
        (json!({ "text": null, "template": { "name": "no_such" } }), "/template/name", "not_found"),
        (
            json!({ "text": null, "template": { "name": "parcel" } }),
            "/template/params/place",
            "template_params_invalid",
        ),
        (
            json!({ "text": null, "template": { "name": "parcel", "params": { "place": "x", "a/b": "y" } } }),
            "/template/params/a~1b",
            "template_params_invalid",
        ),
        (
            json!({ "text": null, "template": { "name": "parcel", "params": { "place": 5 } } }),
            "/template/params/place",
            "invalid",
        ),
        (json!({ "text": null, "template": { "name": "parcel", "params": many } }), "/template/params", "too_many"),
        (
            json!({ "text": null, "template": { "name": "parcel", "params": { "place": "x" }, "locale": "vi" } }),
            "/template/locale",
            "unknown_field",
        ),
        (
            json!({ "text": null, "template": { "name": "parcel", "params": { "place": "x" } }, "category": "otp" }),
            "/category",
            "mutually_exclusive",
        ),
        (json!({ "category": "spam" }), "/category", "invalid"),
        (json!({ "channel": "fax" }), "/channel", "invalid"),
        (json!({ "from": long(22) }), "/from", "too_long"),
        (json!({ "from": "" }), "/from", "invalid"),
        (json!({ "route": "no_such" }), "/route", "not_found"),
        (json!({ "provider": "no_such" }), "/provider", "not_found"),
        (json!({ "route": "everything", "provider": "sandbox" }), "/provider", "mutually_exclusive"),
        (json!({ "send_at": "tomorrow" }), "/send_at", "invalid"),
        (json!({ "send_at": "2026-03-01T08:54:59Z" }), "/send_at", "out_of_range"),
        (json!({ "send_at": "2026-03-31T09:00:01Z" }), "/send_at", "out_of_range"),
        (json!({ "validity_period": 9 }), "/validity_period", "out_of_range"),
        (json!({ "validity_period": 259_201 }), "/validity_period", "out_of_range"),
        (json!({ "validity_period": "300" }), "/validity_period", "invalid"),
        (json!({ "callback_url": "shop.internal/x" }), "/callback_url", "invalid"),
        (json!({ "callback_url": "ftp://shop.internal/x" }), "/callback_url", "invalid"),
        (json!({ "callback_url": "http://me:pw@shop.internal/x" }), "/callback_url", "invalid"),
        (json!({ "callback_url": "http://169.254.169.254/x" }), "/callback_url", "host_not_allowed"),
        (json!({ "callback_url": format!("http://shop.internal/{}", long(1024)) }), "/callback_url", "too_long"),
        (json!({ "client_reference": long(129) }), "/client_reference", "too_long"),
        (json!({ "metadata": many }), "/metadata", "too_many"),
        (json!({ "metadata": { "k": long(501) } }), "/metadata/k", "too_long"),
        (json!({ "metadata": { long(41): "v" } }), &format!("/metadata/{}", long(41)), "too_long"),
        (json!({ "metadata": { "k": null } }), "/metadata/k", "invalid"),
        (json!({ "sensitive": "yes" }), "/sensitive", "invalid"),
        (json!({ "sms": true }), "/sms", "unknown_field"),
    ] {
        assert_eq!(faults_as("shop", &message(&over)), [(pointer.to_owned(), code)], "{over}");
    }
}

#[test]
fn what_an_app_is_not_allowed_is_refused_with_its_own_code() {
    let bank = |over: &Value| {
        let mut body =
            message(&json!({ "text": null, "template": { "name": "login_code", "params": { "code": "1234" } } }));
        for (name, value) in over.as_object().unwrap() {
            body[name] = value.clone();
        }
        body
    };
    assert_eq!(faults_as("bank", &bank(&json!({ "from": "BANK", "route": "otp_vn" }))), []);
    assert_eq!(faults_as("bank", &bank(&json!({ "provider": "nxcloud" }))), []);
    for (over, pointer, code) in [
        (json!({ "to": "+85261234567" }), "/to", "destination_not_allowed"),
        (json!({ "from": "SHOP" }), "/from", "sender_not_allowed"),
        (json!({ "route": "everything" }), "/route", "not_found"),
        (json!({ "provider": "sandbox" }), "/provider", "not_found"),
        (json!({ "template": { "name": "parcel", "params": { "place": "x" } } }), "/template/name", "not_found"),
        (json!({ "callback_url": "http://shop.internal/" }), "/callback_url", "host_not_allowed"),
    ] {
        assert_eq!(faults_as("bank", &bank(&over)), [(pointer.to_owned(), code)], "{over}");
    }
    let two_segments = json!({ "to": "+84361234567", "text": "x".repeat(161) });
    assert_eq!(faults_as("bank", &two_segments), [("/text".to_owned(), "content_too_long")]);
}

#[test]
fn all_faults_are_told_at_once() {
    let body = json!({ "to": "036", "text": 5, "route": "no_such", "callback_url": "http://evil/", "extra": 1 });
    let expected = [
        ("/callback_url", "host_not_allowed"),
        ("/extra", "unknown_field"),
        ("/route", "not_found"),
        ("/text", "invalid"),
        ("/to", "recipient_invalid"),
    ];
    assert_eq!(faults_as("shop", &body), expected.map(|(pointer, code)| (pointer.to_owned(), code)));
}

#[test]
fn something_else_than_an_object_is_one_fault() {
    for body in [json!([]), json!("text"), json!(null)] {
        assert_eq!(faults_as("shop", &body), [(String::new(), "invalid")]);
    }
}

#[test]
fn a_plain_text_gets_the_usual_terms() {
    let draft = read_as("shop", &message(&json!({}))).unwrap();
    let terms = Terms {
        category: Category::Transactional,
        channel: None,
        from: None,
        route: None,
        provider: None,
        send_at: None,
        validity_period: 14_400,
        callback_url: None,
        sensitive: false,
    };
    assert_eq!((draft.terms, draft.country.as_deref()), (terms, Some("VN")));
    assert_eq!(draft.content.text.as_deref(), Some("Hello"));
    assert_eq!(draft.measure.unwrap().segments, 1);
}

#[test]
fn a_template_brings_its_category_validity_and_text() {
    let body = message(&json!({ "text": null, "template": { "name": "login_code", "params": { "code": "369751" } } }));
    let draft = read_as("shop", &body).unwrap();
    assert_eq!(draft.content.text.as_deref(), Some("Your code is 369751"));
    assert_eq!(draft.content.template.unwrap().params["code"], "369751");
    let Terms { category, validity_period, sensitive, .. } = draft.terms;
    assert_eq!((category, validity_period, sensitive), (Category::Otp, 600, true));
    let parcel =
        json!({ "text": null, "template": { "name": "parcel", "params": { "place": "x" } }, "validity_period": 60 });
    assert_eq!(read_as("shop", &message(&parcel)).unwrap().terms.validity_period, 60);
}

#[test]
fn one_time_codes_are_always_sensitive() {
    for (over, sensitive) in [
        (json!({ "category": "otp", "sensitive": false }), true),
        (json!({ "category": "marketing" }), false),
        (json!({ "sensitive": true }), true),
    ] {
        assert_eq!(read_as("shop", &message(&over)).unwrap().terms.sensitive, sensitive, "{over}");
    }
}

#[test]
fn a_time_shortly_past_means_now() {
    for (send_at, scheduled) in [
        ("2026-03-01T08:55:00Z", false),
        ("2026-03-01T09:00:00Z", false),
        ("2026-03-01T16:00:01+07:00", true),
        ("2026-03-31T09:00:00Z", true),
    ] {
        let draft = read_as("shop", &message(&json!({ "send_at": send_at }))).unwrap();
        assert_eq!(draft.terms.send_at.is_some(), scheduled, "{send_at}");
    }
}

#[test]
fn test_numbers_are_open_to_an_app_with_countries() {
    let body = json!({ "to": "+99900000001", "text": "Hello" });
    assert_eq!(faults_as("bank", &body), []);
}

#[test]
fn lengths_at_their_limit_are_taken() {
    let body = message(&json!({
        "text": "x".repeat(1530),
        "from": "x".repeat(21),
        "client_reference": "é".repeat(128),
        "metadata": { "k".repeat(40): "v".repeat(500) },
        "validity_period": 259_200,
        "callback_url": "https://shop.internal:8443/hooks?x=1",
    }));
    assert_eq!(faults_as("shop", &body), []);
}
