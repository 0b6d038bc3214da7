//! The API as apps, operators and machines meet it: what is refused and how, repeats, lists, and who may see what.

use std::{collections::BTreeSet, time::Duration};

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    Answer, TestGateway,
    gateway::{AUDIT, BANK, OPS, SHOP, SHOP_TEST, string},
};

const SANDBOX: &str = r#"
[templates.parcel]
text = "Your parcel waits at {{place}}."
category = "transactional"
params = [{ name = "place", pattern = "[A-Za-z ]{1,20}" }]
[routes.all]
steps = [{ provider = "sandbox" }]
[apps.shop]
callback_hosts = ["shop.internal"]
[apps.bank]
countries = ["VN"]
senders = ["BANK"]
max_segments = 1
"#;

async fn start() -> TestGateway {
    TestGateway::start(SANDBOX).await
}

async fn post_raw(gateway: &TestGateway, content_type: &str, body: impl Into<reqwest::Body>) -> Answer {
    let request = gateway.client.request(Method::POST, "/v1/messages").bearer_auth(SHOP);
    gateway.client.send(request.header("content-type", content_type).body(body)).await
}

/// Every problem has this form.
fn check_problem(answer: &Answer) {
    assert_eq!(answer.header("content-type"), "application/problem+json", "{}", answer.text);
    let problem = &answer.json;
    assert_eq!(problem["status"], answer.status);
    assert_eq!(string(&problem["type"]), format!("urn:sms-gateway:problem:{}", string(&problem["code"])));
    assert!(!string(&problem["title"]).is_empty());
    assert_eq!(string(&problem["request_id"]), answer.header("x-request-id"));
    assert!(string(&problem["request_id"]).starts_with("req_"));
    let errors = problem["errors"].as_array().cloned().unwrap_or_default();
    assert!(errors.iter().all(|error| error["code"].is_string() && error["detail"].is_string()), "{}", answer.text);
    if let [only] = errors.as_slice() {
        assert_eq!(only["code"], problem["code"], "a single error has the code of its problem");
    }
}

#[tokio::test]
async fn a_body_that_is_no_json_is_malformed() {
    let gateway = start().await;
    let deep = format!("{{\"to\":{}1{}}}", "[".repeat(40), "]".repeat(40));
    for body in [
        b"".as_slice(),
        b"{",
        b"{} {}",
        b"{\"to\": \"+99900000001\", \"to\": \"+99900000002\", \"text\": \"a\"}",
        b"\xff",
        b"{\"to\": \"+99900000001\", \"text\": \"\\ud800\"}",
        b"{'to': 1}",
        deep.as_bytes(),
    ] {
        let answer = post_raw(&gateway, "application/json", body.to_vec()).await;
        assert_eq!(answer.problem(), (400, "malformed_request"), "{body:?}: {}", answer.text);
        check_problem(&answer);
    }
}

#[tokio::test]
async fn other_media_types_and_bodies_that_are_too_large_are_refused() {
    let gateway = start().await;
    for content_type in ["text/plain", "application/x-www-form-urlencoded", ""] {
        let answer = post_raw(&gateway, content_type, "{}").await;
        assert_eq!(answer.problem(), (415, "unsupported_media_type"), "{content_type}");
        check_problem(&answer);
    }
    let answer = post_raw(&gateway, "application/json", format!("\"{}\"", "x".repeat(64 * 1024))).await;
    assert_eq!(answer.problem(), (413, "payload_too_large"));
    check_problem(&answer);
    let fine = json!({ "to": "+99900000001", "text": "hello" }).to_string();
    assert_eq!(post_raw(&gateway, "application/json; charset=utf-8", fine).await.status, 202);
}

#[tokio::test]
async fn everything_that_is_wrong_with_a_message_is_told_with_its_place() {
    let gateway = start().await;
    let (to, text) = ("+99900000001", "hello");
    let long = |length: usize| "x".repeat(length);
    let many: Value = (0..21).map(|index| (format!("k{index}"), json!("v"))).collect::<serde_json::Map<_, _>>().into();
    let at = |hours: i64| json!(gateway.clock.now() + chrono::TimeDelta::hours(hours));
    let parcel = json!({ "name": "parcel", "params": { "place": "Gate" } });
    let cases = [
        (json!([]), "", "invalid"),
        (json!("text"), "", "invalid"),
        (json!({ "text": text }), "/to", "required"),
        (json!({ "to": to }), "/text", "required"),
        (json!({ "to": 7, "text": text }), "/to", "invalid"),
        (json!({ "to": null, "text": text }), "/to", "invalid"),
        (json!({ "to": "0361234567", "text": text }), "/to", "recipient_invalid"),
        (json!({ "to": "+1", "text": text }), "/to", "recipient_invalid"),
        (json!({ "to": "+84 36 123", "text": text }), "/to", "recipient_invalid"),
        (json!({ "to": format!("+{}", "9".repeat(40)), "text": text }), "/to", "recipient_invalid"),
        (json!({ "to": to, "text": "" }), "/text", "invalid"),
        (json!({ "to": to, "text": 7 }), "/text", "invalid"),
        (json!({ "to": to, "text": long(1601) }), "/text", "too_long"),
        (json!({ "to": to, "text": "é…".repeat(400) }), "/text", "content_too_long"),
        (json!({ "to": to, "text": "a\u{0}b" }), "/text", "invalid"),
        (json!({ "to": to, "text": text, "metadata": { "a": "\u{0}" } }), "/metadata/a", "invalid"),
        (json!({ "to": to, "text": text, "txt": 1 }), "/txt", "unknown_field"),
        (json!({ "to": to, "text": text, "a/b~c": 1 }), "/a~1b~0c", "unknown_field"),
        (json!({ "to": to, "text": text, "template": parcel }), "/template", "mutually_exclusive"),
        (json!({ "to": to, "template": parcel, "category": "otp" }), "/category", "mutually_exclusive"),
        (json!({ "to": to, "text": text, "route": "all", "provider": "sandbox" }), "/provider", "mutually_exclusive"),
        (json!({ "to": to, "template": "parcel" }), "/template", "invalid"),
        (json!({ "to": to, "template": {} }), "/template/name", "required"),
        (json!({ "to": to, "template": { "name": "no_such" } }), "/template/name", "not_found"),
        (json!({ "to": to, "template": { "name": "parcel" } }), "/template/params/place", "template_params_invalid"),
        (
            json!({ "to": to, "template": { "name": "parcel", "params": { "place": "7" } } }),
            "/template/params/place",
            "template_params_invalid",
        ),
        (
            json!({ "to": to, "template": { "name": "parcel", "params": { "place": "Gate", "x": "y" } } }),
            "/template/params/x",
            "template_params_invalid",
        ),
        (json!({ "to": to, "template": { "name": "parcel", "params": [] } }), "/template/params", "invalid"),
        (
            json!({ "to": to, "template": { "name": "parcel", "params": { "place": "Gate" }, "x": 1 } }),
            "/template/x",
            "unknown_field",
        ),
        (json!({ "to": to, "text": text, "category": "spam" }), "/category", "invalid"),
        (json!({ "to": to, "text": text, "channel": "fax" }), "/channel", "invalid"),
        (json!({ "to": to, "text": text, "from": long(22) }), "/from", "too_long"),
        (json!({ "to": to, "text": text, "route": "no_such" }), "/route", "not_found"),
        (json!({ "to": to, "text": text, "provider": "no_such" }), "/provider", "not_found"),
        (json!({ "to": to, "text": text, "send_at": "tomorrow" }), "/send_at", "invalid"),
        (json!({ "to": to, "text": text, "send_at": 1_700_000_000 }), "/send_at", "invalid"),
        (json!({ "to": to, "text": text, "send_at": at(-1) }), "/send_at", "out_of_range"),
        (json!({ "to": to, "text": text, "send_at": at(31 * 24) }), "/send_at", "out_of_range"),
        (json!({ "to": to, "text": text, "validity_period": 9 }), "/validity_period", "out_of_range"),
        (json!({ "to": to, "text": text, "validity_period": 259_201 }), "/validity_period", "out_of_range"),
        (json!({ "to": to, "text": text, "validity_period": "600" }), "/validity_period", "invalid"),
        (json!({ "to": to, "text": text, "callback_url": "ftp://shop.internal/" }), "/callback_url", "invalid"),
        (
            json!({ "to": to, "text": text, "callback_url": "https://evil.example/" }),
            "/callback_url",
            "host_not_allowed",
        ),
        (json!({ "to": to, "text": text, "client_reference": long(129) }), "/client_reference", "too_long"),
        (json!({ "to": to, "text": text, "metadata": [] }), "/metadata", "invalid"),
        (json!({ "to": to, "text": text, "metadata": { "a": 1 } }), "/metadata/a", "invalid"),
        (json!({ "to": to, "text": text, "metadata": { "a": long(501) } }), "/metadata/a", "too_long"),
        (json!({ "to": to, "text": text, "metadata": many }), "/metadata", "too_many"),
        (json!({ "to": to, "text": text, "sensitive": "yes" }), "/sensitive", "invalid"),
    ];
    for (body, pointer, code) in cases {
        let answer = gateway.post_message(body.clone()).await;
        assert_eq!(answer.status, 422, "{body}: {}", answer.text);
        check_problem(&answer);
        assert_eq!(answer.errors(), [(pointer.to_owned(), code.to_owned())], "{body}: {}", answer.text);
    }
    assert_eq!(gateway.database.count("select 1 from messages").await, 0);
}

#[tokio::test]
async fn several_errors_are_told_together() {
    let gateway = start().await;
    let answer = gateway.post_message(json!({ "to": "x", "text": 7, "channel": "fax", "nonsense": true })).await;
    assert_eq!(answer.problem(), (422, "validation_failed"));
    check_problem(&answer);
    let places: BTreeSet<String> = answer.errors().into_iter().map(|(place, _)| place).collect();
    assert_eq!(places, BTreeSet::from(["/to", "/text", "/channel", "/nonsense"].map(str::to_owned)));
}

#[tokio::test]
async fn what_an_app_may_not_do_is_refused() {
    let gateway = start().await;
    let cases = [
        (json!({ "to": "+85260123456", "text": "hello" }), "/to", "destination_not_allowed"),
        (json!({ "to": "+84361234567", "text": "hello", "from": "SHOP" }), "/from", "sender_not_allowed"),
        (json!({ "to": "+84361234567", "text": "x".repeat(161) }), "/text", "content_too_long"),
    ];
    for (body, pointer, code) in cases {
        let answer = gateway.client.post(BANK, "/v1/messages", &body).await;
        assert_eq!(answer.errors(), [(pointer.to_owned(), code.to_owned())], "{body}: {}", answer.text);
    }
    let answer = gateway.client.post(BANK, "/v1/messages", &json!({ "to": "+99900000001", "text": "hello" })).await;
    assert_eq!(answer.status, 202, "test numbers are open to every app: {}", answer.text);
}

#[tokio::test]
async fn what_is_right_comes_back_whole() {
    let gateway = start().await;
    let body = json!({
        "to": "+99900000001", "template": { "name": "parcel", "params": { "place": "Main gate" } },
        "client_reference": "order-8841", "metadata": { "basket": "7" }, "validity_period": 300,
        "callback_url": "https://shop.internal/hook", "from": "SHOP",
    });
    let answer = gateway.post_message(body).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    let message = &answer.json;
    assert_eq!(answer.header("location"), format!("/v1/messages/{}", string(&message["id"])));
    assert!(answer.header("x-request-id").starts_with("req_"));
    let texts =
        ["app", "status", "channel", "to", "from", "text", "route", "client_reference", "callback_url", "encoding"];
    assert_eq!(
        texts.map(|key| string(&message[key])),
        [
            "shop",
            "queued",
            "sms",
            "+99900000001",
            "SHOP",
            "Your parcel waits at Main gate.",
            "all",
            "order-8841",
            "https://shop.internal/hook",
            "gsm7"
        ]
    );
    assert_eq!((&message["final"], &message["test"], &message["segments"]), (&json!(false), &json!(false), &json!(1)));
    assert_eq!((&message["attempts"], &message["metadata"]), (&json!([]), &json!({ "basket": "7" })));
    assert!(message["error"].is_null() && message["completed_at"].is_null());
    let seen = gateway.wait_for_end(string(&message["id"]), "delivered").await;
    for key in
        ["id", "to", "text", "template", "client_reference", "metadata", "created_at", "expires_at", "callback_url"]
    {
        assert_eq!(seen[key], message[key], "{key}");
    }
}

#[tokio::test]
async fn without_a_known_key_nothing_is_open() {
    let gateway = start().await;
    for authorization in ["", "Bearer", "Bearer ", "Bearer sgw_live_wrong", "Basic c2dwOg==", &SHOP[1..], SHOP] {
        let request = gateway.client.request(Method::GET, "/v1/messages");
        let request = if authorization.is_empty() { request } else { request.header("authorization", authorization) };
        let answer = gateway.client.send(request).await;
        assert_eq!(answer.problem(), (401, "unauthenticated"), "{authorization:?}");
        check_problem(&answer);
        assert!(answer.header("www-authenticate").starts_with("Bearer"), "{:?}", answer.headers);
    }
    let answer = gateway.client.get("", "/v1/no_such").await;
    assert_eq!(answer.problem(), (404, "not_found"));
    let answer = gateway.client.send(gateway.client.request(Method::DELETE, "/v1/messages").bearer_auth(SHOP)).await;
    assert_eq!(answer.problem(), (405, "method_not_allowed"));
    check_problem(&answer);
}

#[tokio::test]
async fn an_app_sees_its_own_messages_only_and_others_are_not_there() {
    let gateway = start().await;
    let id = gateway.text("+99900000001", "hello").await;
    gateway.wait_for_end(&id, "delivered").await;
    for (key, status) in [(SHOP, 200), (SHOP_TEST, 200), (OPS, 200), (AUDIT, 200), (BANK, 404)] {
        for path in [format!("/v1/messages/{id}"), format!("/v1/messages/{id}/events")] {
            assert_eq!(gateway.client.get(key, &path).await.status, status, "{key} {path}");
        }
        let list = gateway.client.get(key, "/v1/messages").await;
        assert_eq!(list.json["data"].as_array().unwrap().len(), usize::from(status == 200), "{key}");
    }
    assert_eq!(gateway.client.get(BANK, "/v1/messages?app=shop").await.problem(), (403, "forbidden"));
    for id in ["msg_00000000000000000000000000", "msg_x", "bat_00000000000000000000000000", "%00", "%ff"] {
        let answer = gateway.client.get(SHOP, &format!("/v1/messages/{id}")).await;
        assert_eq!(answer.problem(), (404, "not_found"), "{id}: {}", answer.text);
    }
}

#[tokio::test]
async fn an_auditor_reads_everything_and_writes_nothing() {
    let gateway = start().await;
    let body = json!({ "to": "+99900000001", "text": "hello" });
    assert_eq!(gateway.client.post(AUDIT, "/v1/messages", &body).await.problem(), (403, "forbidden"));
    for path in ["/v1/messages", "/v1/inbound_messages", "/v1/templates", "/v1/routes", "/v1/providers"] {
        assert_eq!(gateway.client.get(AUDIT, path).await.status, 200, "{path}");
    }
    for path in ["/v1/routes", "/v1/providers"] {
        assert_eq!(gateway.client.get(SHOP, path).await.problem(), (403, "forbidden"), "{path}");
    }
    let answer = gateway.client.post(OPS, "/v1/messages", &body).await;
    assert_eq!((answer.status, string(&answer.json["app"])), (202, "ops"));
}

async fn post_keyed(gateway: &TestGateway, app: &str, key: &str, body: &Value) -> Answer {
    let request = gateway.client.request(Method::POST, "/v1/messages").bearer_auth(app);
    gateway.client.send(request.header("idempotency-key", key).json(body)).await
}

#[tokio::test]
async fn a_repeat_with_the_same_key_answers_the_message_as_it_is_now() {
    let gateway = start().await;
    let body = json!({ "to": "+99900000001", "text": "hello" });
    let first = post_keyed(&gateway, SHOP, "order-1", &body).await;
    assert_eq!((first.status, first.header("idempotent-replayed")), (202, ""));
    gateway.wait_for_end(string(&first.json["id"]), "delivered").await;
    let other_order = json!({ "text": "hello", "to": "+99900000001" });
    let repeat = post_keyed(&gateway, SHOP, "order-1", &other_order).await;
    assert_eq!((repeat.status, repeat.header("idempotent-replayed")), (202, "true"), "{}", repeat.text);
    assert_eq!((&repeat.json["id"], string(&repeat.json["status"])), (&first.json["id"], "delivered"));
    let changed = post_keyed(&gateway, SHOP, "order-1", &json!({ "to": "+99900000001", "text": "changed" })).await;
    assert_eq!(changed.problem(), (422, "idempotency_key_reused"));
    check_problem(&changed);
    let of_another_app = post_keyed(&gateway, BANK, "order-1", &body).await;
    assert_eq!((of_another_app.status, of_another_app.header("idempotent-replayed")), (202, ""));
    assert_eq!(gateway.database.count("select 1 from messages").await, 2);
}

#[tokio::test]
async fn a_key_is_remembered_for_a_day() {
    let gateway = start().await;
    let body = json!({ "to": "+99900000001", "text": "hello" });
    let first = post_keyed(&gateway, SHOP, "order-1", &body).await;
    gateway.advance(Duration::from_hours(23));
    let repeat = post_keyed(&gateway, SHOP, "order-1", &body).await;
    assert_eq!(repeat.json["id"], first.json["id"]);
    gateway.advance(Duration::from_hours(2));
    let later = post_keyed(&gateway, SHOP, "order-1", &body).await;
    assert_eq!((later.status, later.header("idempotent-replayed")), (202, ""));
    assert_ne!(later.json["id"], first.json["id"]);
}

#[tokio::test]
async fn a_repeat_is_recognised_although_it_would_be_refused_by_now() {
    let gateway = start().await;
    let send_at = gateway.clock.now() + chrono::TimeDelta::minutes(1);
    let body = json!({ "to": "+99900000001", "text": "hello", "send_at": send_at });
    let first = post_keyed(&gateway, SHOP, "order-1", &body).await;
    assert_eq!(first.status, 202);
    gateway.advance(Duration::from_hours(1));
    let repeat = post_keyed(&gateway, SHOP, "order-1", &body).await;
    assert_eq!((repeat.status, &repeat.json["id"]), (202, &first.json["id"]), "{}", repeat.text);
}

#[tokio::test]
async fn fifty_equal_requests_at_once_make_one_message() {
    let gateway = start().await;
    let body = json!({ "to": "+99900000001", "text": "hello" });
    let requests = (0..50).map(async |_| {
        loop {
            let answer = post_keyed(&gateway, SHOP, "order-1", &body).await;
            // A machine that is too busy to answer in time says so, and the key resolves it.
            if answer.status != 503 {
                return answer;
            }
        }
    });
    let answers = futures_util::future::join_all(requests).await;
    let ids: BTreeSet<&str> = answers.iter().map(|answer| string(&answer.json["id"])).collect();
    assert_eq!((ids.len(), gateway.database.count("select 1 from messages").await), (1, 1), "{ids:?}");
    assert!(answers.iter().all(|answer| answer.status == 202));
    let new = answers.iter().filter(|answer| answer.header("idempotent-replayed").is_empty()).count();
    assert!(new <= 1, "{new}");
}

#[tokio::test]
async fn a_key_that_is_no_key_is_refused() {
    let gateway = start().await;
    for key in ["", &"x".repeat(256)] {
        let answer = post_keyed(&gateway, SHOP, key, &json!({ "to": "+99900000001", "text": "hello" })).await;
        assert_eq!(answer.problem(), (400, "malformed_request"), "{key}: {}", answer.text);
        check_problem(&answer);
    }
}

/// The ids of a page.
fn ids(answer: &Answer) -> Vec<String> {
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json["data"].as_array().unwrap().iter().map(|message| string(&message["id"]).to_owned()).collect()
}

#[tokio::test]
async fn each_filter_finds_what_it_names_and_nothing_else() {
    let gateway = start().await;
    let delivered =
        gateway.send(json!({ "to": "+99900000001", "text": "a", "from": "SHOP", "client_reference": "order 1" })).await;
    let message = gateway.wait_for_end(&delivered, "delivered").await;
    gateway.advance(Duration::from_hours(1));
    let middle = gateway.clock.now().format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string();
    gateway.advance(Duration::from_hours(1));
    let failed = gateway.text("+99900000003", "b").await;
    gateway.wait_for_end(&failed, "failed").await;
    let of_bank = gateway.client.post(BANK, "/v1/messages", &json!({ "to": "+99900000005", "text": "c" })).await;
    let expired = string(&of_bank.json["id"]).to_owned();
    gateway.wait_for_end(&expired, "expired").await;
    let native = string(&message["provider_message_id"]);
    let (all, no) = (vec![&expired, &failed, &delivered], Vec::new());
    for (query, found) in [
        (String::new(), all.clone()),
        ("status=delivered".into(), vec![&delivered]),
        ("status=delivered&status=failed".into(), vec![&failed, &delivered]),
        ("status=queued".into(), no.clone()),
        ("channel=sms".into(), all.clone()),
        ("channel=voice".into(), no.clone()),
        ("to=%2B99900000003".into(), vec![&failed]),
        ("from=SHOP".into(), vec![&delivered]),
        ("provider=sandbox".into(), all.clone()),
        ("provider=other".into(), no.clone()),
        ("app=bank".into(), vec![&expired]),
        ("app=shop&status=failed".into(), vec![&failed]),
        ("client_reference=order%201".into(), vec![&delivered]),
        (format!("provider_message_id={native}"), vec![&delivered]),
        ("error_code=recipient_invalid".into(), vec![&failed]),
        ("error_code=expired".into(), vec![&expired]),
        (format!("created_after={middle}"), vec![&expired, &failed]),
        (format!("created_before={middle}"), vec![&delivered]),
        ("batch_id=bat_00000000000000000000000000".into(), no.clone()),
    ] {
        let answer = gateway.client.get(OPS, &format!("/v1/messages?{query}")).await;
        assert_eq!(ids(&answer), found.into_iter().cloned().collect::<Vec<_>>(), "{query}");
    }
}

#[tokio::test]
async fn parameters_that_are_wrong_or_unknown_are_refused() {
    let gateway = start().await;
    for (query, name, code) in [
        ("page=2", "page", "unknown_field"),
        ("offset=10", "offset", "unknown_field"),
        ("status=lost", "status", "invalid"),
        ("channel=fax", "channel", "invalid"),
        ("to=0361234567", "to", "invalid"),
        ("limit=0", "limit", "out_of_range"),
        ("limit=201", "limit", "out_of_range"),
        ("limit=ten", "limit", "invalid"),
        ("cursor=nonsense", "cursor", "invalid"),
        ("created_after=yesterday", "created_after", "invalid"),
        ("error_code=nonsense", "error_code", "invalid"),
        ("batch_id=7", "batch_id", "invalid"),
        ("limit=1&limit=2", "limit", "duplicate"),
        ("client_reference=%00", "client_reference", "invalid"),
    ] {
        let answer = gateway.client.get(OPS, &format!("/v1/messages?{query}")).await;
        assert_eq!(answer.status, 422, "{query}: {}", answer.text);
        check_problem(&answer);
        assert_eq!(answer.errors(), [(name.to_owned(), code.to_owned())], "{query}: {}", answer.text);
    }
}

#[tokio::test]
async fn pages_have_no_gaps_and_no_repeats_while_new_messages_come_in() {
    let gateway = start().await;
    let mut sent = Vec::new();
    for index in 0..23 {
        sent.push(gateway.text("+99900000001", &format!("{index}")).await);
    }
    let (mut seen, mut query) = (Vec::new(), "limit=5".to_owned());
    loop {
        let answer = gateway.client.get(SHOP, &format!("/v1/messages?{query}")).await;
        seen.extend(ids(&answer));
        gateway.text("+99900000001", "came in while pages were read").await;
        match answer.json["next_cursor"].as_str() {
            Some(cursor) => query = format!("limit=5&cursor={cursor}"),
            None => break,
        }
    }
    assert!(seen.is_sorted_by(|newer, older| newer > older), "newest first: {seen:?}");
    sent.sort_unstable_by(|a, b| b.cmp(a));
    assert_eq!(seen, sent);
}

#[tokio::test]
async fn a_message_and_its_attempts_are_of_one_moment() {
    let gateway = start().await;
    for _ in 0..10 {
        let id = gateway.text("+99900000001", "hello").await;
        loop {
            let message = gateway.message(&id).await;
            let last = string(&message["attempts"][0]["status"]);
            let expected = if last.is_empty() { "queued" } else { last };
            assert_eq!(string(&message["status"]), expected, "{message}");
            let story = gateway.story(&id).await;
            assert!(!story.iter().any(|entry| entry.starts_with("status.changed")), "{story:?}");
            if message["final"] == true {
                break;
            }
        }
    }
}

#[tokio::test]
async fn machines_need_no_key() {
    let gateway = start().await;
    let health = gateway.client.get("", "/healthz").await;
    assert_eq!((health.status, string(&health.json["status"])), (200, "ok"));
    let ready = async || Some(gateway.client.get("", "/readyz").await).filter(|answer| answer.status == 200);
    let ready = gateway.until("the gateway is ready", ready).await;
    assert_eq!(string(&ready.json["checks"]["database"]), "ok");
    let id = gateway.text("+99900000001", "hello").await;
    gateway.wait_for_end(&id, "delivered").await;
    let metrics = gateway.client.get("", "/metrics").await;
    assert!(metrics.header("content-type").starts_with("text/plain"));
    assert!(metrics.text.contains("sms_gateway_attempts_total"), "{}", metrics.text);
    let document = gateway.client.get("", "/openapi.yaml").await;
    assert!(document.status == 200 && document.text.contains("/v1/messages"));
}

#[tokio::test]
async fn the_pages_of_the_document_need_nothing_from_elsewhere() {
    let gateway = start().await;
    let moved = gateway.client.get("", "/docs").await;
    assert!(moved.status == 200 || (300..400).contains(&moved.status), "{}", moved.status);
    let page = gateway.client.get("", "/docs/").await;
    assert_eq!(page.status, 200);
    let is_source = |text: &&str| [".js", ".css"].iter().any(|ending| text.ends_with(ending));
    let sources = page.text.split(['"', '\'']).filter(is_source);
    let mut count = 0;
    for source in sources {
        assert!(!source.contains("//"), "{source} comes from elsewhere");
        let path = format!("/docs/{}", source.trim_start_matches("./"));
        assert_eq!(gateway.client.get("", &path).await.status, 200, "{path}");
        count += 1;
    }
    assert!(count > 2, "{}", page.text);
}

#[tokio::test]
async fn nothing_that_the_gateway_says_of_itself_tells_a_key_or_a_number() {
    let gateway = start().await;
    let id = gateway.text("+99900000009", "canary text").await;
    gateway.wait_for_end(&id, "failed").await;
    let metrics = gateway.client.get("", "/metrics").await.text;
    for secret in ["99900000009", "canary", SHOP] {
        assert!(!metrics.contains(secret), "{secret}");
    }
}

#[tokio::test]
async fn what_was_accepted_is_still_there_after_a_restart() {
    let gateway = start().await;
    let id = gateway.text("+99900000001", "hello").await;
    gateway.wait_for_end(&id, "delivered").await;
    let waits = gateway
        .send(json!({ "to": "+99900000001", "text": "later", "send_at": gateway.clock.now() + chrono::TimeDelta::hours(1) }))
        .await;
    let before = gateway.message(&id).await;
    let gateway = gateway.restart("").await;
    assert_eq!(gateway.message(&id).await, before);
    gateway.advance(Duration::from_mins(61));
    gateway.wait_for_end(&waits, "delivered").await;
}
