//! What is registered at Huawei, read and changed over HTTP, with the simulator's management side behind it; and values of
//! templates that are held against what is registered.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use sms_gateway::simulator::{Behaviour, Ending};

use crate::support::{
    Answer, TestGateway,
    carriers::HUAWEI,
    gateway::{AUDIT, OPS, SHOP, string},
};

pub const MANAGEMENT: &str = r#"
[providers.hw.management]
endpoint = "SIMULATOR"
iam_endpoint = "SIMULATOR"
domain = "simulator"
username = "simulator"
password = "simulator-pass"
project = "ap-southeast-1"
project_id = "845ada5bc7444f1295cd517af0123da1"
"#;

pub async fn start() -> TestGateway {
    TestGateway::start(&format!("{HUAWEI}{MANAGEMENT}")).await
}

/// A gateway for the mainland.
async fn mainland() -> TestGateway {
    let config = HUAWEI.replace("callback_token", "region = \"cn\"\ncallback_token");
    TestGateway::start(&format!("{config}{MANAGEMENT}")).await
}

fn path(rest: &str) -> String {
    format!("/v1/providers/hw/{rest}")
}

async fn get(gateway: &TestGateway, rest: &str) -> Answer {
    gateway.client.get(OPS, &path(rest)).await
}

async fn post(gateway: &TestGateway, rest: &str, body: &Value) -> Answer {
    gateway.client.post(OPS, &path(rest), body).await
}

async fn put(gateway: &TestGateway, rest: &str, body: &Value) -> Answer {
    gateway.client.send(gateway.client.request(Method::PUT, &path(rest)).bearer_auth(OPS).json(body)).await
}

async fn delete(gateway: &TestGateway, rest: &str) -> Answer {
    gateway.client.send(gateway.client.request(Method::DELETE, &path(rest)).bearer_auth(OPS)).await
}

/// Makes what must be taken, and gives back the whole answer.
pub async fn made(gateway: &TestGateway, rest: &str, body: &Value) -> Value {
    let answer = post(gateway, rest, body).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    answer.json
}

pub async fn application(gateway: &TestGateway, region: &str) -> String {
    let made = made(gateway, "applications", &json!({ "name": format!("shop {region}"), "region": region })).await;
    string(&made["id"]).to_owned()
}

fn signature(application: &str) -> Value {
    json!({
        "name": "Shop", "application_id": application, "category": "otp", "source": "company", "third_party": false,
        "description": "for codes",
    })
}

pub fn intl_template(application: &str, name: &str, text: &str) -> Value {
    json!({ "name": name, "application_id": application, "region": "intl", "text": text, "country_ids": [98, 203] })
}

/// Paths of the management side that were called.
pub fn calls(gateway: &TestGateway) -> Vec<String> {
    let calls = gateway.simulator.management_calls().into_iter();
    let short = |target: String| target.replace("/v2/845ada5bc7444f1295cd517af0123da1/msgsms", "");
    calls.map(|call| format!("{} {}", call.method, short(call.target))).collect()
}

#[tokio::test]
async fn an_application_is_made_read_changed_and_listed() {
    let gateway = start().await;
    let input = json!({ "name": "shop", "region": "intl", "native": { "enterprise_project_id": "0" } });
    let made = made(&gateway, "applications", &input).await;
    assert!(string(&made["secret"]).len() > 8, "{made}");
    assert_eq!((&made["name"], &made["region"], &made["status"]), (&json!("shop"), &json!("intl"), &json!("pending")));
    assert_eq!(made["sender"], "isms100000001");
    assert!(string(&made["created_at"]).ends_with('Z'), "{made}");
    let id = string(&made["id"]);

    gateway.simulator.review(id, "LAUNCHED", "").unwrap();
    let read = get(&gateway, &format!("applications/{id}")).await.json;
    assert_eq!((&read["status"], read.get("secret")), (&json!("active"), None));
    assert_eq!((&read["native"]["platform"], read["native"].get("app_name")), (&json!("NFV"), None));
    let changed = put(&gateway, &format!("applications/{id}"), &json!({ "name": "store", "region": "intl" })).await;
    assert_eq!((changed.status, &changed.json["name"]), (200, &json!("store")), "{}", changed.text);

    let listed = get(&gateway, "applications?region=intl&status=active&name=store").await.json;
    assert_eq!((&listed["data"][0]["id"], &listed["next_cursor"]), (&json!(id), &Value::Null));
    assert_eq!(listed["quota"], json!({ "total": 395, "used": 1 }));
    let none = get(&gateway, "applications?name=shop").await.json;
    assert_eq!((&none["data"], none.get("quota")), (&json!([]), None));
}

#[tokio::test]
async fn an_application_of_the_mainland_pushes_to_the_gateway_unless_it_is_told_otherwise() {
    let gateway = mainland().await;
    let base = gateway.gateway.address();
    let own = format!("http://{base}/callbacks/hw/hw-token");
    for (inbound_url, expected) in [
        (None, json!(own)),
        (Some(Value::Null), Value::Null),
        (Some(json!("https://a.example/in")), json!("https://a.example/in")),
    ] {
        let mut input = json!({ "name": format!("{inbound_url:?}"), "region": "cn" });
        if let Some(inbound_url) = inbound_url {
            input["inbound_url"] = inbound_url;
        }
        let made = made(&gateway, "applications", &input).await;
        assert_eq!(made["inbound_url"], expected);
        let read = get(&gateway, &format!("applications/{}", string(&made["id"]))).await.json;
        assert_eq!(read["inbound_url"], expected);
    }
    let elsewhere = made(&gateway, "applications", &json!({ "name": "x", "region": "intl" })).await;
    assert_eq!(elsewhere["inbound_url"], Value::Null);
}

#[tokio::test]
async fn a_provider_that_is_not_for_the_mainland_gets_no_address_by_itself() {
    let gateway = start().await;
    let made = made(&gateway, "applications", &json!({ "name": "x", "region": "cn" })).await;
    assert_eq!(made["inbound_url"], Value::Null);
}

#[tokio::test]
async fn a_signature_goes_through_its_states() {
    let gateway = mainland().await;
    let application = application(&gateway, "cn").await;
    let made = made(&gateway, "signatures", &signature(&application)).await;
    let id = string(&made["id"]).to_owned();
    let place = format!("signatures/{id}");
    assert_eq!(
        (&made["status"], &made["category"], &made["third_party"]),
        (&json!("in_review"), &json!("otp"), &json!(false))
    );
    assert_eq!((&made["source"], &made["application_id"]), (&json!("company"), &json!(application)));
    assert!(made["native"]["signature_id"].is_string(), "{made}");

    let early = put(&gateway, &place, &signature(&application)).await;
    assert_eq!(early.problem(), (409, "conflict"), "{}", early.text);
    assert_eq!(
        (&early.json["provider_code"], early.json["provider_message"].is_string()),
        (&json!("MSGSMS.0007"), true)
    );
    let inactive = post(&gateway, &format!("{place}/activate"), &json!({})).await;
    assert_eq!((inactive.problem(), &inactive.json["provider_code"]), ((409, "conflict"), &json!("MSGSMS.0130")));

    gateway.simulator.review(&id, "REVIEW_NOT_PASS", "").unwrap();
    assert_eq!(get(&gateway, &place).await.json["status"], "rejected");
    let mut better = signature(&application);
    better["name"] = json!("Store");
    let changed = put(&gateway, &place, &better).await;
    assert_eq!(
        (changed.status, &changed.json["name"], &changed.json["status"]),
        (200, &json!("Store"), &json!("in_review"))
    );

    gateway.simulator.review(&id, "TO_BE_ACTIVATED", "").unwrap();
    let activated = post(&gateway, &format!("{place}/activate"), &json!({})).await;
    assert_eq!((activated.status, &activated.json["status"]), (202, &json!("in_review")), "{}", activated.text);
    gateway.simulator.review(&id, "REVIEW_PASSED", "").unwrap();
    let listed = get(&gateway, "signatures?status=approved&category=otp").await.json;
    assert_eq!(
        (&listed["data"][0]["sender"], &listed["data"][0]["application_id"]),
        (&json!("csms100000001"), &json!(application))
    );

    assert_eq!(delete(&gateway, &place).await.status, 204);
    for answer in [get(&gateway, &place).await, delete(&gateway, &place).await, put(&gateway, &place, &better).await] {
        assert_eq!((answer.problem(), &answer.json["provider_code"]), ((404, "not_found"), &json!("MSGSMS.0005")));
    }
}

#[tokio::test]
async fn a_document_is_passed_on_to_the_byte_and_named_by_a_signature() {
    let gateway = mainland().await;
    let application = application(&gateway, "cn").await;
    let body = "--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"licence.png\"\r\nContent-Type: image/png\r\n\r\n\
                \u{0}\r\n--C\r\n--B\r\nContent-Disposition: form-data; name=\"description\"\r\n\r\nour licence\r\n--B--\r\n";
    let request = gateway.client.request(Method::POST, &path("files")).bearer_auth(OPS);
    let request = request.header("content-type", "multipart/form-data; boundary=B").body(body);
    let uploaded = gateway.client.send(request).await;
    assert_eq!(uploaded.status, 201, "{}", uploaded.text);
    let id = string(&uploaded.json["id"]);
    let read = get(&gateway, &format!("files/{id}")).await.json;
    assert_eq!(
        (&read["name"], &read["size"], &read["description"]),
        (&json!("licence.png"), &json!(6), &json!("our licence"))
    );
    assert!(read["updated_at"].is_string() && read["native"]["file_type"] == 1, "{read}");

    let mut input = signature(&application);
    input["licence_file_id"] = json!(id);
    assert_eq!(made(&gateway, "signatures", &input).await["licence_file_id"], id);
    input["licence_file_id"] = json!("not-there");
    let answer = post(&gateway, "signatures", &input).await;
    assert_eq!((answer.problem(), &answer.json["provider_code"]), ((422, "validation_failed"), &json!("MSGSMS.0011")));
    assert_eq!(get(&gateway, "files/not-there").await.problem(), (404, "not_found"));
}

#[tokio::test]
async fn a_form_that_is_none_or_too_large_is_refused() {
    let gateway = start().await;
    let send = async |content_type: &str, body: Vec<u8>| {
        let request = gateway.client.request(Method::POST, &path("files")).bearer_auth(OPS);
        gateway.client.send(request.header("content-type", content_type).body(body)).await
    };
    let form = "multipart/form-data; boundary=B";
    assert_eq!(send("application/json", b"{}".to_vec()).await.problem(), (415, "unsupported_media_type"));
    assert_eq!(send(form, b"--B--".to_vec()).await.errors(), [("/file".to_owned(), "required".to_owned())]);
    assert_eq!(send(form, b"nothing".to_vec()).await.problem(), (400, "malformed_request"));
    assert_eq!(send(form, vec![b'x'; 9 * 1024 * 1024]).await.problem(), (413, "payload_too_large"));
    assert_eq!(gateway.simulator.logins(), 0, "nobody was asked");
}

#[tokio::test]
async fn a_template_is_applied_for_rejected_changed_and_deleted() {
    let gateway = start().await;
    let application = application(&gateway, "intl").await;
    let made =
        made(&gateway, "templates", &intl_template(&application, "parcel", "You have ${NUM_5} parcels at ${TXT_6}"))
            .await;
    let id = string(&made["id"]).to_owned();
    let place = format!("templates/{id}");
    assert_eq!((&made["status"], &made["application_id"]), (&json!("in_review"), &json!(application)));
    assert_eq!((&made["country_ids"], &made["category"]), (&json!([98, 203]), &json!("transactional")));
    assert_eq!(string(&made["provider_template_id"]).len(), 32);
    let variables = json!([
        { "index": 1, "type": "NUM", "length": 5, "description": null },
        { "index": 2, "type": "TXT", "length": 6, "description": null },
    ]);
    assert_eq!(made["variables"], variables);

    let early = put(&gateway, &place, &intl_template(&application, "parcel", "Other")).await;
    assert_eq!((early.problem(), &early.json["provider_code"]), ((409, "conflict"), &json!("MSGSMS.0010")));
    gateway.simulator.review(&id, "Reject", "too vague").unwrap();
    let read = get(&gateway, &place).await.json;
    assert_eq!((&read["status"], &read["review_note"]), (&json!("rejected"), &json!("too vague")));
    let changed = put(&gateway, &place, &intl_template(&application, "parcel", "It is there.")).await;
    assert_eq!((changed.status, &changed.json["text"]), (200, &json!("It is there.")), "{}", changed.text);
    assert_eq!(changed.json["variables"], json!([]));
    let again = post(&gateway, "templates", &intl_template(&application, "parcel", "x")).await;
    assert_eq!((again.problem(), &again.json["provider_code"]), ((409, "conflict"), &json!("MSGSMS.0008")));
    assert_eq!(delete(&gateway, &place).await.status, 204);
    assert_eq!(get(&gateway, &place).await.problem(), (404, "not_found"));
}

#[tokio::test]
async fn a_template_of_the_mainland_has_a_signature_and_passes_native_fields_on() {
    let gateway = mainland().await;
    let application = application(&gateway, "cn").await;
    let signature = made(&gateway, "signatures", &signature(&application)).await;
    let mut input = json!({
        "name": "code", "application_id": application, "region": "cn", "text": "Your code is ${1}", "category": "otp",
        "signature_id": signature["id"], "universal": true, "native": { "brackets": "GB" },
    });
    let made = made(&gateway, "templates", &input).await;
    assert_eq!((&made["category"], &made["universal"]), (&json!("otp"), &json!(true)));
    assert_eq!((&made["signature_id"], &made["native"]["brackets"]), (&signature["id"], &json!("GB")));
    let by_signature = get(&gateway, "templates?signature_name=Shop&has_variables=true&region=cn").await.json;
    assert_eq!(by_signature["data"][0]["id"], made["id"]);
    input["name"] = json!("other");
    input["signature_id"] = json!("not-there");
    let answer = post(&gateway, "templates", &input).await;
    assert_eq!((answer.problem(), &answer.json["provider_code"]), ((422, "validation_failed"), &json!("MSGSMS.0012")));
}

#[tokio::test]
async fn every_spelling_of_the_path_of_variables_is_understood() {
    for spelling in ["varilable", "variable", "varible"] {
        let gateway = start().await;
        gateway.simulator.change(|settings| settings.huawei_variables_path = spelling.to_owned());
        let application = application(&gateway, "intl").await;
        let made = made(&gateway, "templates", &intl_template(&application, "code", "Code ${NUM_6}")).await;
        assert_eq!(made["variables"][0]["length"], 6, "{spelling}");
        let before = calls(&gateway).len();
        get(&gateway, &format!("templates/{}", string(&made["id"]))).await;
        let after = calls(&gateway)[before..].to_vec();
        assert!(after.len() == 2 && after[1].ends_with(spelling), "it is remembered: {after:?}");
    }
    let gateway = start().await;
    gateway.simulator.change(|settings| settings.huawei_variables_path = "none".to_owned());
    let application = application(&gateway, "intl").await;
    let made = made(&gateway, "templates", &intl_template(&application, "code", "Code ${NUM_6}")).await;
    assert_eq!(made.get("variables"), None, "not known is not none");
}

#[tokio::test]
async fn lists_are_filtered_sorted_and_paged() {
    let gateway = start().await;
    let mut started = Vec::new();
    for number in 0..5 {
        started.push(gateway.clock.now());
        let input = json!({ "name": format!("a&b {number}"), "region": "intl" });
        made(&gateway, "applications", &input).await;
        gateway.advance(Duration::from_mins(1));
    }
    let names = async |query: String| {
        let answer = get(&gateway, &format!("applications?{query}")).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let name = |entry: &Value| string(&entry["name"]).trim_start_matches("a&b ").to_owned();
        let names: Vec<String> = answer.json["data"].as_array().unwrap().iter().map(name).collect();
        (names.concat(), answer.json["next_cursor"].as_str().map(str::to_owned))
    };
    assert_eq!(names("order=desc".into()).await.0, "43210");
    let (mut seen, mut next) = (String::new(), Some(String::new()));
    while let Some(cursor) = next {
        let cursor = if cursor.is_empty() { cursor } else { format!("&cursor={cursor}") };
        let (page, after) = names(format!("order=asc&limit=2{cursor}")).await;
        seen.push_str(&page);
        seen.push(' ');
        next = after;
    }
    assert_eq!(seen, "01 23 4 ");
    let time = |index: usize| started[index].format("%Y-%m-%dT%H:%M:%SZ").to_string();
    assert_eq!(names(format!("created_after={}&created_before={}", time(1), time(3))).await.0, "12");
    assert_eq!(names("name=a%26b+3".into()).await.0, "3");
    for (query, code) in [
        ("order=up", "invalid"),
        ("cursor=xyz", "invalid"),
        ("limit=201", "out_of_range"),
        ("status=LAUNCHED", "invalid"),
        ("app_name=x", "unknown_field"),
    ] {
        assert_eq!(get(&gateway, &format!("applications?{query}")).await.problem(), (422, code), "{query}");
    }
}

#[tokio::test]
async fn countries_are_listed_and_found_by_their_name_in_either_language() {
    let gateway = start().await;
    let all = get(&gateway, "countries").await.json;
    assert!(all["data"].as_array().unwrap().len() > 3, "{all}");
    for name in ["Vietnam", "%E8%B6%8A%E5%8D%97"] {
        let found = get(&gateway, &format!("countries?name={name}")).await.json;
        assert_eq!((&found["data"][0]["id"], &found["data"][0]["name"]), (&json!("203"), &json!("Vietnam")));
        assert_eq!(found["data"][0]["native"], json!({ "country_name_zh": "越南" }));
    }
}

#[tokio::test]
async fn one_login_serves_all_who_ask_at_once() {
    let gateway = start().await;
    gateway.simulator.next_login(Behaviour { answer_delay_ms: 200, ..Behaviour::default() });
    let asked = (0..8).map(|_| get(&gateway, "countries"));
    for answer in futures_util::future::join_all(asked).await {
        assert_eq!(answer.status, 200, "{}", answer.text);
    }
    assert_eq!(gateway.simulator.logins(), 1);
}

#[tokio::test]
async fn a_token_is_used_until_shortly_before_it_ends() {
    let gateway = start().await;
    get(&gateway, "countries").await;
    gateway.advance(Duration::from_hours(23));
    assert_eq!((get(&gateway, "countries").await.status, gateway.simulator.logins()), (200, 1));
    gateway.advance(Duration::from_mins(56));
    assert_eq!((get(&gateway, "countries").await.status, gateway.simulator.logins()), (200, 2));
    assert!(gateway.simulator.management_calls().iter().all(|call| call.status != 401), "none was refused");
}

#[tokio::test]
async fn a_token_that_is_refused_is_replaced_once() {
    let gateway = start().await;
    get(&gateway, "countries").await;
    gateway.simulator.revoke_tokens();
    assert_eq!((get(&gateway, "countries").await.status, gateway.simulator.logins()), (200, 2));
    gateway.simulator.revoke_tokens();
    let made = made(&gateway, "applications", &json!({ "name": "x", "region": "intl" })).await;
    assert!(made["id"].is_string());
    assert_eq!(
        get(&gateway, "applications").await.json["data"].as_array().unwrap().len(),
        1,
        "and nothing is done twice"
    );
    // Refused again with the new one, it is the account's fault.
    for _ in 0..2 {
        gateway.simulator.next_management(Behaviour { http_status: Some(401), ..Behaviour::default() });
    }
    let answer = get(&gateway, "countries").await;
    assert_eq!((answer.problem(), &answer.json["provider_code"]), ((502, "provider_error"), &json!("http_401")));
}

#[tokio::test]
async fn an_account_that_is_refused_is_told_with_a_hint_and_asked_once() {
    let config =
        format!("{HUAWEI}{MANAGEMENT}").replace("password = \"simulator-pass\"", "password = \"very-secret-wrong\"");
    let gateway = TestGateway::start(&config).await;
    for _ in 0..3 {
        let answer = get(&gateway, "countries").await;
        assert_eq!((answer.problem(), &answer.json["provider_code"]), ((502, "provider_error"), &json!("401")));
        assert!(string(&answer.json["detail"]).contains("credentials"), "{}", answer.text);
        assert!(!answer.text.contains("very-secret-wrong"));
    }
    assert_eq!(calls(&gateway), ["POST /v3/auth/tokens"], "an account with a wrong password gets locked");
    gateway.advance(Duration::from_secs(6));
    get(&gateway, "countries").await;
    assert_eq!(calls(&gateway).len(), 2, "but not for ever");
}

#[tokio::test]
async fn no_failure_of_huawei_is_one_of_ours() {
    let gateway = start().await;
    get(&gateway, "countries").await;
    for (status, expected) in [
        (400, (422, "validation_failed")),
        (403, (502, "provider_error")),
        (404, (404, "not_found")),
        (409, (409, "conflict")),
        (429, (503, "unavailable")),
        (500, (502, "provider_error")),
        (502, (502, "provider_error")),
        (503, (502, "provider_error")),
        (504, (504, "provider_timeout")),
        (302, (502, "provider_error")),
    ] {
        gateway.simulator.next_management(Behaviour {
            http_status: Some(status),
            retry_after: Some(7),
            ..Behaviour::default()
        });
        let answer = get(&gateway, "applications/some").await;
        assert_eq!(answer.problem(), expected, "{status}: {}", answer.text);
        if status == 429 {
            assert_eq!(answer.header("retry-after"), "7");
        }
    }
    for (behaviour, expected) in [
        (Behaviour { body: Some("<html>".into()), ..Behaviour::default() }, (502, "provider_error")),
        (Behaviour { body: Some("[]".into()), ..Behaviour::default() }, (502, "provider_error")),
        (Behaviour { body: Some("{\"results\":7}".into()), ..Behaviour::default() }, (502, "provider_error")),
        (Behaviour { ending: Ending::Close, ..Behaviour::default() }, (504, "provider_timeout")),
        (Behaviour { ending: Ending::Truncate, ..Behaviour::default() }, (504, "provider_timeout")),
    ] {
        gateway.simulator.next_management(behaviour.clone());
        let answer = get(&gateway, "applications").await;
        assert_eq!(answer.problem(), expected, "{behaviour:?}: {}", answer.text);
    }
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_a_timeout_and_an_address_without_anybody_is_told() {
    let config = format!("{HUAWEI}{MANAGEMENT}").replace("callback_token", "timeout_seconds = 1\ncallback_token");
    let gateway = TestGateway::start(&config).await;
    gateway.simulator.next_management(Behaviour { answer_delay_ms: 5_000, ..Behaviour::default() });
    assert_eq!(get(&gateway, "countries").await.problem(), (504, "provider_timeout"));
    let gateway = gateway.restart("[providers.hw.management]\niam_endpoint = \"http://127.0.0.1:9\"").await;
    let answer = get(&gateway, "countries").await;
    assert_eq!((answer.problem(), &answer.json["provider_code"]), ((502, "provider_error"), &json!("connect_error")));
}

#[tokio::test]
async fn only_operators_change_only_auditors_and_operators_read() {
    let gateway = start().await;
    let input = json!({ "name": "x", "region": "intl" });
    assert_eq!(gateway.client.get(AUDIT, &path("applications")).await.status, 200);
    assert_eq!(gateway.client.get(SHOP, &path("applications")).await.problem(), (403, "forbidden"));
    for key in [AUDIT, SHOP] {
        assert_eq!(gateway.client.post(key, &path("applications"), &input).await.problem(), (403, "forbidden"));
        for (method, rest) in [
            (Method::PUT, "applications/1"),
            (Method::PUT, "templates/1"),
            (Method::DELETE, "signatures/1"),
            (Method::DELETE, "templates/1"),
            (Method::POST, "signatures/1/activate"),
            (Method::POST, "files"),
        ] {
            let request = gateway.client.request(method, &path(rest)).bearer_auth(key);
            assert_eq!(gateway.client.send(request).await.problem(), (403, "forbidden"), "{rest}");
        }
    }
    assert_eq!(gateway.client.get("", &path("applications")).await.problem(), (401, "unauthenticated"));
    assert!(calls(&gateway).iter().all(|call| call.starts_with("GET") || call.ends_with("tokens")));
}

#[tokio::test]
async fn what_cannot_be_managed_says_so() {
    let gateway = TestGateway::start(HUAWEI).await;
    for provider in ["hw", "sandbox"] {
        for rest in ["applications", "signatures", "templates", "countries", "files/1", "templates/1"] {
            let answer = gateway.client.get(OPS, &format!("/v1/providers/{provider}/{rest}")).await;
            assert_eq!(answer.problem(), (404, "capability_unsupported"), "{provider} {rest}");
        }
        let answer = gateway.client.get(OPS, &format!("/v1/providers/{provider}")).await;
        assert_eq!(answer.json["capabilities"]["registrations"], json!([]));
    }
    assert_eq!(gateway.client.get(OPS, "/v1/providers/nobody/applications").await.problem(), (404, "not_found"));
}

#[tokio::test]
async fn no_id_leaves_its_place_in_the_path() {
    let gateway = start().await;
    for id in ["..%2Fapps", "%2e%2e", ".", "a%2Fb", "a%3Fx=1", "a%23b", "a%0D%0Ab", "%25%32%65", &"x".repeat(129)] {
        let answer = get(&gateway, &format!("templates/{id}")).await;
        assert_eq!(answer.problem(), (404, "not_found"), "{id}: {}", answer.text);
    }
    let asked = calls(&gateway);
    let below = |call: &String| {
        call.ends_with("tokens") || call.trim_start_matches("GET /templates/").find(['/', '?', '#']).is_none()
    };
    assert!(asked.iter().all(below), "{asked:?}");
}

#[tokio::test]
async fn every_fault_of_a_body_is_told_at_once() {
    let gateway = start().await;
    let signature =
        json!({ "name": "", "category": "x", "source": "shop", "third_party": "no", "extra": 1, "native": [] });
    let answer = post(&gateway, "signatures", &signature).await;
    let pointers: Vec<String> = answer.errors().into_iter().map(|(pointer, _)| pointer).collect();
    assert_eq!(pointers, ["/application_id", "/name", "/category", "/third_party", "/native", "/extra"]);
    let mut shop = self::signature("1");
    shop["source"] = json!("shop");
    assert_eq!(
        post(&gateway, "signatures", &shop).await.errors(),
        [("/source_detail".to_owned(), "required".to_owned())]
    );
    let template = json!({ "name": "x", "application_id": "1", "region": "intl", "text": "x" });
    assert_eq!(
        post(&gateway, "templates", &template).await.errors(),
        [("/country_ids".to_owned(), "required".to_owned())]
    );
    let application = json!({ "name": "x", "region": "eu", "inbound_url": "nowhere" });
    let answer = post(&gateway, "applications", &application).await;
    assert_eq!(answer.errors().len(), 2, "{}", answer.text);
    assert_eq!(gateway.simulator.logins(), 0, "nobody was asked");
}
