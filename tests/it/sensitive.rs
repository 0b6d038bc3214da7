//! Sensitive content: codes and what their senders call sensitive. It reaches the carrier and nobody else: it is in no answer, and
//! in the database only sealed, and not at all once nothing more can be done with it.

use std::time::Duration;

use serde_json::{Value, json};
use sms_gateway::simulator::{Behaviour, Ending, Protocol};
use sqlx::{AssertSqlSafe, Row};

use crate::support::{
    Setup, TestGateway,
    carriers::NXCLOUD,
    database::connect,
    gateway::{OPS, SHOP, string},
};

/// The value of a param, and a text; both come to the carrier.
const CODE: &str = "canary7xk";
const TEXT: &str = "the canary9zq text";
const CANARIES: [&str; 2] = [CODE, "canary9zq"];

const TEMPLATE: &str = r#"
[templates.login]
text = "Your code is {{code}}"
category = "otp"
params = [{ name = "code" }]
[limits]
otp_per_number = "100/1d"
"#;

async fn start() -> TestGateway {
    Setup::new(&format!("{NXCLOUD}{TEMPLATE}"))
        .pushes(|settings, base| {
            settings.nxcloud_callback_url = Some(format!("{base}/callbacks/nx/nx-token").parse().unwrap());
        })
        .start()
        .await
}

fn bodies(to: &str) -> [Value; 2] {
    [
        json!({ "to": to, "template": { "name": "login", "params": { "code": CODE } } }),
        json!({ "to": to, "text": TEXT, "sensitive": true }),
    ]
}

fn assert_clean(place: &str, text: &str) {
    for canary in CANARIES {
        for written in [canary.to_owned(), hex::encode(canary), hex::encode_upper(canary)] {
            assert!(!text.contains(&written), "{place} holds {canary}: {text}");
        }
    }
}

/// Everything in every table, bytes in hexadecimal.
async fn tables(gateway: &TestGateway) -> Vec<(String, String)> {
    let mut connection = connect(&gateway.database.url().parse().unwrap()).await;
    let names = sqlx::raw_sql("select tablename::text from pg_tables where schemaname = 'public'");
    let names: Vec<String> = names.fetch_all(&mut connection).await.unwrap().iter().map(|row| row.get(0)).collect();
    let mut found = Vec::new();
    for name in names {
        let sql = AssertSqlSafe(format!("select coalesce(string_agg(t::text, ' '), '') from \"{name}\" t"));
        found.push((name, sqlx::raw_sql(sql).fetch_one(&mut connection).await.unwrap().get::<String, _>(0)));
    }
    found
}

async fn assert_database_is_clean(gateway: &TestGateway) {
    let tables = tables(gateway).await;
    assert!(tables.iter().any(|(name, rows)| name.starts_with("messages_") && !rows.is_empty()), "it looks at nothing");
    for (name, rows) in tables {
        assert_clean(&name, &rows);
    }
}

/// Sends both kinds to a number. No answer says what is in them.
async fn send(gateway: &TestGateway, to: &str) -> Vec<String> {
    let mut ids = Vec::new();
    for body in bodies(to) {
        let answer = gateway.post_message(body).await;
        assert_eq!(answer.status, 202, "{}", answer.text);
        assert_clean("the answer", &answer.text);
        ids.push(string(&answer.json["id"]).to_owned());
    }
    ids
}

/// What can be read about messages, by those who may read it.
async fn assert_answers_are_clean(gateway: &TestGateway, ids: &[String]) {
    for key in [SHOP, OPS] {
        for id in ids {
            for path in [format!("/v1/messages/{id}"), format!("/v1/messages/{id}/events")] {
                let answer = gateway.client.get(key, &path).await;
                assert_eq!(answer.status, 200, "{}", answer.text);
                assert_clean(&path, &answer.text);
            }
        }
        for path in ["/v1/messages", "/v1/events"] {
            assert_clean(path, &gateway.client.get(key, path).await.text);
        }
    }
}

async fn assert_erased(gateway: &TestGateway, ids: &[String], status: &str) {
    assert_answers_are_clean(gateway, ids).await;
    assert_database_is_clean(gateway).await;
    assert_eq!(gateway.database.count("select from messages where sealed is not null").await, 0, "{status}");
}

#[tokio::test]
async fn however_it_ends_nothing_is_left_of_it() {
    let gateway = start().await;
    for (to, code, status) in [
        ("+8618637616881", None, "delivered"),
        ("+8618637970002", None, "undelivered"),
        ("+8618637616883", Some("12001"), "failed"),
        ("+8618637616884", Some("9006"), "failed"),
    ] {
        if let Some(code) = code {
            gateway.simulator.next_for(to, Behaviour::code(code));
            gateway.simulator.next_for(to, Behaviour::code(code));
        }
        let ids = send(&gateway, to).await;
        for id in &ids {
            gateway.wait_for_end(id, status).await;
        }
        gateway.simulator.idle().await;
        assert_erased(&gateway, &ids, status).await;
    }
    for text in [TEXT, "Your code is canary7xk"] {
        let came = gateway.simulator.times_accepted(Protocol::Nxcloud, "8618637616881", text);
        assert_eq!(came, 1, "the carrier got it: {text}");
    }
    let receipts = gateway.database.count("select from callbacks").await;
    assert!(receipts >= 4, "receipts that repeat the text were among what was looked at: {receipts}");
}

#[tokio::test]
async fn while_it_waits_it_is_sealed_and_when_it_is_given_up_it_is_gone() {
    let gateway = start().await;
    let request = gateway.client.request(reqwest::Method::PATCH, "/v1/providers/nx").bearer_auth(OPS);
    assert_eq!(gateway.client.send(request.json(&json!({ "enabled": false }))).await.status, 200);
    let (late, stopped) = (send(&gateway, "+8618637616881").await, send(&gateway, "+8618637616882").await);
    assert_answers_are_clean(&gateway, &late).await;
    assert_database_is_clean(&gateway).await;
    assert_eq!(gateway.database.count("select from messages where sealed is not null").await, 4);
    let put = gateway.client.request(reqwest::Method::PUT, "/v1/suppressions/+8618637616882").bearer_auth(SHOP);
    assert_eq!(gateway.client.send(put).await.status, 200);
    for id in &stopped {
        gateway.wait_for_end(id, "failed").await;
    }
    assert_eq!(gateway.database.count("select from messages where sealed is not null").await, 2);
    gateway.advance(Duration::from_hours(5));
    for id in &late {
        gateway.wait_for_end(id, "expired").await;
    }
    assert_erased(&gateway, &late, "expired").await;
}

#[tokio::test]
async fn once_a_carrier_has_it_and_nothing_can_follow_it_is_gone_before_its_report() {
    let gateway = start().await;
    for _ in 0..2 {
        gateway.simulator.next_for("+8618637616881", Behaviour::reports(Vec::new()));
    }
    let ids = send(&gateway, "+8618637616881").await;
    for id in &ids {
        gateway.wait_for_status(id, "sent").await;
    }
    assert_erased(&gateway, &ids, "sent").await;
}

#[tokio::test]
async fn an_unclear_outcome_keeps_it_sealed_until_no_evidence_can_come() {
    let gateway = start().await;
    let lost = Behaviour { ending: Ending::Close, reports: Some(Vec::new()), ..Behaviour::default() };
    for _ in 0..2 {
        gateway.simulator.next_for("+8618637616881", lost.clone());
    }
    let ids = send(&gateway, "+8618637616881").await;
    for id in &ids {
        gateway.wait_for_status(id, "unknown").await;
    }
    assert_answers_are_clean(&gateway, &ids).await;
    assert_database_is_clean(&gateway).await;
    assert_eq!(gateway.database.count("select from messages where sealed is not null").await, 2);
    gateway.advance(Duration::from_hours(80));
    for id in &ids {
        gateway.wait_for_end(id, "unknown").await;
    }
    assert_erased(&gateway, &ids, "unknown").await;
}
