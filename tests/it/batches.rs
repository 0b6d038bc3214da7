//! Batches: one commit, each recipient for itself, counts, and as few calls as the provider takes.

use std::{collections::BTreeSet, time::Duration};

use reqwest::Method;
use serde_json::{Value, json};
use sms_gateway::simulator::Protocol;

use crate::support::{
    Answer, TestGateway,
    carriers::{HUAWEI, error},
    gateway::{AUDIT, BANK, OPS, SHOP, SHOP_TEST, string},
};

const SANDBOX: &str = "[routes.any]\nsteps = [{ provider = \"sandbox\" }]\n";

async fn start() -> TestGateway {
    TestGateway::start(SANDBOX).await
}

/// Posts a batch as the shop.
async fn post(gateway: &TestGateway, body: &Value) -> Answer {
    gateway.client.post(SHOP, "/v1/batches", body).await
}

/// Posts a batch that must be taken, and gives it back.
async fn taken(gateway: &TestGateway, body: &Value) -> Value {
    let answer = post(gateway, body).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    answer.json
}

async fn batch(gateway: &TestGateway, id: &str) -> Value {
    let answer = gateway.client.get(SHOP, &format!("/v1/batches/{id}")).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json
}

/// The messages of a batch in the order of its recipients.
async fn messages(gateway: &TestGateway, id: &str) -> Vec<Value> {
    let (mut found, mut cursor) = (Vec::new(), String::new());
    loop {
        let path = format!("/v1/messages?batch_id={id}&limit=200{cursor}");
        let answer = gateway.client.get(SHOP, &path).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        found.extend(answer.json["data"].as_array().unwrap().iter().cloned());
        match answer.json["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    found.reverse();
    found
}

async fn wait_for_batch(gateway: &TestGateway, id: &str, status: &str) -> Value {
    gateway
        .until(&format!("the batch is {status}"), async || {
            let batch = batch(gateway, id).await;
            (batch["status"] == status).then_some(batch)
        })
        .await
}

/// How often an app was told that a batch is complete.
async fn completions(gateway: &TestGateway) -> i64 {
    gateway.database.count("select from events where type = 'batch.completed'").await
}

/// The counts that are not zero.
fn counts(batch: &Value) -> Vec<(String, u64)> {
    let counts = batch["counts"].as_object().unwrap();
    let all = counts.iter().map(|(status, count)| (status.clone(), count.as_u64().unwrap()));
    all.filter(|(_, count)| *count > 0).collect()
}

fn counted<const N: usize>(expected: [(&str, u64); N]) -> Vec<(String, u64)> {
    expected.map(|(status, count)| (status.to_owned(), count)).to_vec()
}

fn to(numbers: impl IntoIterator<Item = &'static str>) -> Vec<Value> {
    numbers.into_iter().map(|number| json!({ "to": number })).collect()
}

#[tokio::test]
async fn a_batch_is_one_message_to_each_recipient_and_its_counts_follow_them() {
    let gateway = start().await;
    let body = json!({ "text": "We close at noon.", "client_reference": "notice-1", "metadata": { "team": "shop" },
        "recipients": to(["+99900000001", "+99900000002", "+99900000003"]) });
    let answer = post(&gateway, &body).await;
    assert_eq!((answer.status, answer.header("idempotent-replayed")), (202, ""), "{}", answer.text);
    let id = string(&answer.json["id"]).to_owned();
    assert_eq!(answer.header("location"), format!("/v1/batches/{id}"));
    assert!(id.starts_with("bat_"), "{id}");
    assert_eq!(string(&answer.json["status"]), "processing");
    assert_eq!(counts(&answer.json), counted([("queued", 3), ("total", 3)]));
    let done = wait_for_batch(&gateway, &id, "completed").await;
    let told = format!(
        "select from events where type = 'batch.completed' and state->>'id' = '{id}' and state->>'status' = 'completed'
         and (state->'counts'->>'delivered')::int = 1 and state->>'client_reference' = 'notice-1'"
    );
    assert_eq!((gateway.database.count(&told).await, completions(&gateway).await), (1, 1));
    let expected = counted([("delivered", 1), ("failed", 1), ("total", 3), ("undelivered", 1)]);
    assert_eq!(counts(&done), expected);
    assert_eq!((string(&done["client_reference"]), string(&done["metadata"]["team"])), ("notice-1", "shop"));
    assert!(done["completed_at"].is_string(), "{done}");
    let messages = messages(&gateway, &id).await;
    let numbers: Vec<&str> = messages.iter().map(|message| string(&message["to"])).collect();
    assert_eq!(numbers, ["+99900000001", "+99900000002", "+99900000003"]);
    assert!(messages.iter().all(|message| message["batch_id"] == id.as_str()
        && message["client_reference"] == "notice-1"
        && message["metadata"]["team"] == "shop"));
}

#[tokio::test]
async fn a_recipient_may_bring_its_own_text_reference_and_metadata() {
    let gateway = start().await;
    let body = json!({ "text": "For all.", "client_reference": "all", "recipients": [
        { "to": "+99900000001" },
        { "to": "+99900000011", "text": "For one.", "client_reference": "one", "metadata": { "n": "1" } },
    ] });
    let id = string(&taken(&gateway, &body).await["id"]).to_owned();
    let messages = messages(&gateway, &id).await;
    let texts: Vec<_> =
        messages.iter().map(|message| (string(&message["text"]), string(&message["client_reference"]))).collect();
    assert_eq!(texts, [("For all.", "all"), ("For one.", "one")]);
    assert_eq!(messages[1]["metadata"], json!({ "n": "1" }));
}

const TEMPLATE: &str = r#"
[templates.parcel]
text = "Parcel {{count}} waits at {{place}}."
category = "transactional"
params = [{ name = "count", pattern = "[0-9]+" }, { name = "place", max_length = 20 }]
"#;

#[tokio::test]
async fn params_of_a_recipient_go_before_those_of_the_batch_and_wrong_ones_fail_it_alone() {
    let gateway = TestGateway::start(&format!("{SANDBOX}{TEMPLATE}")).await;
    let body = json!({ "template": { "name": "parcel", "params": { "place": "the gate" } }, "recipients": [
        { "to": "+99900000001", "params": { "count": "1" } },
        { "to": "+99900000011", "params": { "count": "2", "place": "the door" } },
        { "to": "+99900000012", "params": { "count": "many" } },
        { "to": "+99900000013" },
    ] });
    let id = string(&taken(&gateway, &body).await["id"]).to_owned();
    let messages = messages(&gateway, &id).await;
    let told: Vec<_> = messages.iter().map(|message| (string(&message["text"]), error(message).0)).collect();
    let wrong = ("", "template_params_invalid");
    assert_eq!(told, [("Parcel 1 waits at the gate.", ""), ("Parcel 2 waits at the door.", ""), wrong, wrong]);
}

#[tokio::test]
async fn recipients_that_cannot_be_sent_to_fail_with_their_error_and_spoil_nothing() {
    let gateway = TestGateway::start(
        "[routes.vn]\nmatch = { countries = [\"VN\"] }\nsteps = [{ provider = \"sandbox\" }]
         [routes.test]\npriority = 900\nmatch = { prefixes = [\"+999\"] }\nsteps = [{ provider = \"sandbox\" }]
         [apps.shop]\ncountries = [\"VN\", \"HK\"]\nmax_segments = 1",
    )
    .await;
    let body = json!({ "text": "hello", "recipients": [
        { "to": "+99900000001" },
        { "to": "0361234567" },
        { "to": "+8436123" },
        { "to": "nobody" },
        { "to": "" },
        { "to": "9".repeat(33) },
        { "to": "+99900000001" },
        { "to": "+85260123456" },
        { "to": "+4930123456" },
        { "to": "+99900000011", "text": "x".repeat(161) },
        { "to": "+84361234567" },
    ] });
    let accepted = taken(&gateway, &body).await;
    assert_eq!(counts(&accepted), counted([("failed", 9), ("queued", 2), ("total", 11)]));
    let id = string(&accepted["id"]);
    let found = messages(&gateway, id).await;
    let told: Vec<_> = found.iter().map(|message| (string(&message["to"]), error(message).0)).collect();
    let expected = [
        ("+99900000001", ""),
        ("0361234567", "recipient_invalid"),
        ("+8436123", "recipient_invalid"),
        ("nobody", "recipient_invalid"),
        ("", "recipient_invalid"),
        ("99999999999999999999999999999999", "recipient_invalid"),
        ("+99900000001", "duplicate_message"),
        ("+85260123456", "no_route"),
        ("+4930123456", "destination_not_allowed"),
        ("+99900000011", "content_too_long"),
        ("+84361234567", ""),
    ];
    assert_eq!(told, expected);
    for message in found.iter().filter(|message| message["error"].is_object()) {
        assert_eq!((string(&message["status"]), message["final"].as_bool()), ("failed", Some(true)), "{message}");
        assert_eq!(message["completed_at"], message["created_at"]);
        assert_eq!(gateway.story(string(&message["id"])).await, ["created failed"]);
    }
    let done = wait_for_batch(&gateway, id, "completed").await;
    assert_eq!(counts(&done), counted([("delivered", 2), ("failed", 9), ("total", 11)]));
}

#[tokio::test]
async fn of_a_repeated_number_the_first_that_can_be_sent_is() {
    let gateway = TestGateway::start(&format!("{SANDBOX}{TEMPLATE}")).await;
    let body = json!({ "template": { "name": "parcel", "params": { "place": "the gate" } }, "recipients": [
        { "to": "+99900000001", "params": { "count": "many" } },
        { "to": "+99900000001", "params": { "count": "1" } },
        { "to": "+99900000001", "params": { "count": "2" } },
    ] });
    let id = string(&taken(&gateway, &body).await["id"]).to_owned();
    let messages = messages(&gateway, &id).await;
    let errors: Vec<&str> = messages.iter().map(|message| error(message).0).collect();
    assert_eq!(errors, ["template_params_invalid", "", "duplicate_message"]);
}

#[tokio::test]
async fn a_batch_of_which_nothing_can_be_sent_is_completed_at_once() {
    let gateway = start().await;
    let batch = taken(&gateway, &json!({ "text": "hello", "recipients": to(["1", "2"]) })).await;
    assert_eq!((string(&batch["status"]), counts(&batch)), ("completed", counted([("failed", 2), ("total", 2)])));
    assert_eq!(batch["completed_at"], batch["created_at"]);
    let read = self::batch(&gateway, string(&batch["id"])).await;
    assert_eq!(read, batch);
    let told = "select from events where app = 'shop' and (type, sequence) in (('message.failed', 1))";
    assert_eq!(gateway.database.count(told).await, 2);
    assert_eq!(completions(&gateway).await, 1);
}

#[tokio::test]
async fn what_is_wrong_with_the_request_is_told_with_its_place_and_nothing_is_stored() {
    let gateway = TestGateway::start(&format!("{SANDBOX}{TEMPLATE}")).await;
    let good = json!([{ "to": "+99900000001" }]);
    let many: Vec<Value> = (0..1001).map(|index| json!({ "to": format!("+9990{index:07}") })).collect();
    for (body, pointer, code) in [
        (json!({ "text": "x" }), "/recipients", "required"),
        (json!({ "text": "x", "recipients": [] }), "/recipients", "too_many"),
        (json!({ "text": "x", "recipients": many }), "/recipients", "too_many"),
        (json!({ "text": "x", "recipients": {} }), "/recipients", "invalid"),
        (json!({ "text": "x", "recipients": ["+99900000001"] }), "/recipients/0", "invalid"),
        (json!({ "text": "x", "recipients": [{}] }), "/recipients/0/to", "required"),
        (json!({ "text": "x", "recipients": [{ "to": 1 }] }), "/recipients/0/to", "invalid"),
        (json!({ "text": "x", "recipients": [{ "to": "+99900000001", "x": 1 }] }), "/recipients/0/x", "unknown_field"),
        (json!({ "text": "x", "to": "+99900000001", "recipients": good }), "/to", "unknown_field"),
        (json!({ "recipients": good }), "/text", "required"),
        (json!({ "text": "x".repeat(1601), "recipients": good }), "/text", "too_long"),
        (json!({ "text": "码".repeat(1600), "recipients": good }), "/text", "content_too_long"),
        (
            json!({ "text": "x", "template": { "name": "parcel" }, "recipients": good }),
            "/template",
            "mutually_exclusive",
        ),
        (json!({ "template": { "name": "none" }, "recipients": good }), "/template/name", "not_found"),
        (json!({ "text": "x", "route": "none", "recipients": good }), "/route", "not_found"),
        (json!({ "text": "x", "send_at": "2001-01-01T00:00:00Z", "recipients": good }), "/send_at", "out_of_range"),
    ] {
        let answer = post(&gateway, &body).await;
        assert_eq!(answer.status, 422, "{body}: {}", answer.text);
        assert_eq!(answer.errors(), [(pointer.to_owned(), code.to_owned())], "{}", answer.text);
        assert_eq!(answer.problem().1, code);
    }
    assert_eq!(gateway.database.count("select from messages").await, 0);
    assert_eq!(gateway.database.count("select from batches").await, 0);
}

#[tokio::test]
async fn a_batch_may_have_a_mebibyte_and_no_more() {
    let gateway = start().await;
    let with_padding = |length: usize| {
        let body = json!({ "text": "hello", "recipients": to(["+99900000001"]) }).to_string();
        format!("{body}{}", " ".repeat(length - body.len()))
    };
    for (length, status) in [(1024 * 1024, 202), (1024 * 1024 + 1, 413)] {
        let request = gateway.client.request(Method::POST, "/v1/batches").bearer_auth(SHOP);
        let request = request.header("content-type", "application/json").body(with_padding(length));
        assert_eq!(gateway.client.send(request).await.status, status, "{length}");
    }
}

#[tokio::test]
async fn a_batch_is_its_apps_alone_and_auditors_only_read() {
    let gateway = start().await;
    let body = json!({ "text": "hello", "recipients": to(["+99900000001"]) });
    let id = string(&taken(&gateway, &body).await["id"]).to_owned();
    let (path, cancel) = (format!("/v1/batches/{id}"), format!("/v1/batches/{id}/cancel"));
    assert_eq!(gateway.client.get(BANK, &path).await.problem(), (404, "not_found"));
    assert_eq!(gateway.client.post(BANK, &cancel, &json!({})).await.problem(), (404, "not_found"));
    let listed = gateway.client.get(BANK, &format!("/v1/messages?batch_id={id}")).await;
    assert_eq!(listed.json["data"], json!([]));
    for key in [SHOP, OPS, AUDIT] {
        assert_eq!(gateway.client.get(key, &path).await.json["id"], id.as_str());
    }
    assert_eq!(gateway.client.post(AUDIT, "/v1/batches", &body).await.problem(), (403, "forbidden"));
    assert_eq!(gateway.client.post(AUDIT, &cancel, &json!({})).await.problem(), (403, "forbidden"));
    for id in ["bat_00000000000000000000000000", "bat_x", "msg_00000000000000000000000000"] {
        assert_eq!(gateway.client.get(OPS, &format!("/v1/batches/{id}")).await.problem(), (404, "not_found"), "{id}");
    }
}

#[tokio::test]
async fn a_batch_of_a_test_key_never_leaves() {
    let gateway = TestGateway::start(HUAWEI).await;
    let body = json!({ "text": "hello", "recipients": to(["+85260123456", "+85260123457"]) });
    let answer = gateway.client.post(SHOP_TEST, "/v1/batches", &body).await;
    assert_eq!((answer.status, answer.json["test"].as_bool()), (202, Some(true)), "{}", answer.text);
    let done = wait_for_batch(&gateway, string(&answer.json["id"]), "completed").await;
    assert_eq!(counts(&done), counted([("delivered", 2), ("total", 2)]));
    assert_eq!(gateway.simulator.accepted().len(), 0);
}

#[tokio::test]
async fn nothing_of_a_sensitive_batch_is_shown_also_where_it_failed() {
    let config = format!(
        "{SANDBOX}[templates.code]\ntext = \"Code {{{{code}}}}\"\ncategory = \"otp\"\nparams = [{{ name = \"code\", pattern = \"[0-9]{{6}}\" }}]"
    );
    let gateway = TestGateway::start(&config).await;
    let body = json!({ "template": { "name": "code" }, "recipients": [
        { "to": "+99900000001", "params": { "code": "473829" } },
        { "to": "nobody", "params": { "code": "473829" } },
        { "to": "+99900000011", "params": { "code": "47382x" } },
    ] });
    let id = string(&taken(&gateway, &body).await["id"]).to_owned();
    let messages = messages(&gateway, &id).await;
    assert_eq!(messages.len(), 3);
    assert!(!json!(messages).to_string().contains("47382"), "{messages:?}");
    wait_for_batch(&gateway, &id, "completed").await;
    let kept = "select from messages where sealed is not null or body is not null or params is not null";
    assert_eq!(gateway.database.count(kept).await, 0);
}

#[tokio::test]
async fn a_scheduled_batch_waits_and_is_completed_by_cancel_or_by_its_time() {
    let gateway = start().await;
    let send_at = gateway.clock.now() + chrono::TimeDelta::hours(2);
    let body = json!({ "text": "hello", "send_at": send_at, "recipients": to(["+99900000001", "+99900000011", "no"]) });
    let (first, second) = (taken(&gateway, &body).await, taken(&gateway, &body).await);
    assert_eq!(string(&first["status"]), "scheduled");
    assert_eq!(counts(&first), counted([("failed", 1), ("scheduled", 2), ("total", 3)]));
    let path = format!("/v1/batches/{}/cancel", string(&first["id"]));
    for _ in 0..2 {
        let canceled = gateway.client.post(SHOP, &path, &json!({})).await;
        assert_eq!((canceled.status, string(&canceled.json["status"])), (200, "completed"), "{}", canceled.text);
        assert_eq!(counts(&canceled.json), counted([("canceled", 2), ("failed", 1), ("total", 3)]));
        assert!(canceled.json["completed_at"].is_string());
    }
    assert_eq!(string(&batch(&gateway, string(&second["id"])).await["status"]), "scheduled");
    gateway.advance(Duration::from_hours(2));
    let done = wait_for_batch(&gateway, string(&second["id"]), "completed").await;
    assert_eq!(counts(&done), counted([("delivered", 2), ("failed", 1), ("total", 3)]));
    assert_eq!(counts(&batch(&gateway, string(&first["id"])).await)[0], ("canceled".to_owned(), 2));
}

#[tokio::test]
async fn a_batch_whose_every_message_was_canceled_is_canceled() {
    let gateway = start().await;
    let send_at = gateway.clock.now() + chrono::TimeDelta::hours(2);
    let body = json!({ "text": "hello", "send_at": send_at, "recipients": to(["+99900000001", "+99900000011"]) });
    let id = string(&taken(&gateway, &body).await["id"]).to_owned();
    for message in messages(&gateway, &id).await {
        let path = format!("/v1/messages/{}/cancel", string(&message["id"]));
        assert_eq!(gateway.client.post(SHOP, &path, &json!({})).await.status, 200);
    }
    let batch = batch(&gateway, &id).await;
    assert_eq!((string(&batch["status"]), counts(&batch)), ("canceled", counted([("canceled", 2), ("total", 2)])));
}

#[tokio::test]
async fn cancel_takes_what_no_provider_has_and_leaves_the_rest() {
    let gateway = TestGateway::start(HUAWEI).await;
    let recipients: Vec<Value> = (0..20).map(|index| json!({ "to": format!("+852601234{index:02}") })).collect();
    let body = json!({ "template": { "name": "parcel", "params": { "place": "the gate" } }, "recipients": recipients });
    let batch = taken(&gateway, &body).await;
    let path = format!("/v1/batches/{}/cancel", string(&batch["id"]));
    let canceled = gateway.client.post(SHOP, &path, &json!({})).await;
    assert_eq!(canceled.status, 200, "{}", canceled.text);
    let taken_back = canceled.json["counts"]["canceled"].as_u64().unwrap();
    let done = gateway
        .until("it is over", async || {
            let batch = self::batch(&gateway, string(&batch["id"])).await;
            (batch["completed_at"].is_string()).then_some(batch)
        })
        .await;
    assert_eq!(done["counts"]["canceled"].as_u64(), Some(taken_back));
    assert_eq!(done["counts"]["delivered"].as_u64(), Some(20 - taken_back));
    assert_eq!(gateway.simulator.accepted().len() as u64, 20 - taken_back);
}

async fn calls_of(recipients: usize, place: fn(usize) -> String) -> (TestGateway, u64) {
    let gateway = TestGateway::start(HUAWEI).await;
    let entry =
        |index: usize| json!({ "to": format!("+8526{:07}", 100_000 + index), "params": { "place": place(index) } });
    let entries: Vec<Value> = (0..recipients).map(entry).collect();
    let batch = taken(&gateway, &json!({ "template": { "name": "parcel" }, "recipients": entries })).await;
    let expected = recipients as u64;
    gateway
        .until("all of it is delivered", async || {
            let batch = self::batch(&gateway, string(&batch["id"])).await;
            (batch["counts"]["delivered"].as_u64() == Some(expected)).then_some(())
        })
        .await;
    let done = self::batch(&gateway, string(&batch["id"])).await;
    assert_eq!(string(&done["status"]), "completed", "{done}");
    let numbers: BTreeSet<String> = gateway.simulator.accepted().iter().map(|taken| taken.to.clone()).collect();
    assert_eq!((numbers.len(), gateway.simulator.doubles().len()), (recipients, 0));
    let calls = gateway.simulator.counts().providers[&Protocol::Huawei].calls;
    (gateway, calls)
}

#[tokio::test]
async fn five_hundred_numbers_with_one_content_leave_in_one_call() {
    assert_eq!(calls_of(500, |_| "Main gate".to_owned()).await.1, 1);
}

#[tokio::test]
async fn five_hundred_numbers_with_as_many_contents_leave_in_one_call() {
    assert_eq!(calls_of(500, |index| format!("Gate {index}")).await.1, 1);
}

#[tokio::test]
async fn a_thousand_numbers_leave_in_two_or_three_calls() {
    let (gateway, calls) = calls_of(1000, |index| format!("Gate {index}")).await;
    assert!((2..=3).contains(&calls), "{calls}");
    assert_eq!(completions(&gateway).await, 1);
}

#[tokio::test]
async fn a_message_is_not_kept_waiting_by_batches_and_too_many_at_once_are_told_to_come_back() {
    let gateway = start().await;
    let recipients: Vec<Value> = (0..500).map(|index| json!({ "to": format!("+9991{index:07}") })).collect();
    let body = json!({ "text": "hello", "recipients": recipients });
    let batches = futures_util::future::join_all((0..40).map(async |_| post(&gateway, &body).await));
    let message = async { gateway.text("+99900000001", "hello").await };
    let (answers, id) = tokio::join!(batches, message);
    gateway.wait_for(&id, |message| message["status"] != "queued").await;
    for answer in &answers {
        assert!(matches!(answer.status, 202 | 503), "{}", answer.text);
        assert!(answer.status != 503 || answer.header("retry-after").parse::<u32>().is_ok_and(|seconds| seconds > 0));
    }
    assert!(answers.iter().any(|answer| answer.status == 202));
    // A commit that came too late for its client is a whole batch all the same.
    let halves = "select from batches b where total <> (select count(*) from messages m where m.batch_id = b.id)";
    assert_eq!(gateway.database.count(halves).await, 0);
}

#[tokio::test]
async fn old_batches_go_with_the_days_of_their_messages() {
    let gateway = start().await;
    let body = json!({ "text": "hello", "recipients": to(["+99900000001"]) });
    let id = string(&taken(&gateway, &body).await["id"]).to_owned();
    wait_for_batch(&gateway, &id, "completed").await;
    gateway.advance(Duration::from_hours(24 * 95));
    gateway
        .until("it is forgotten", async || (gateway.database.count("select from batches").await == 0).then_some(()))
        .await;
    assert_eq!(gateway.client.get(SHOP, &format!("/v1/batches/{id}")).await.problem(), (404, "not_found"));
}
