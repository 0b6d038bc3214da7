//! Recipients who want to hear no more: by a word, by their carrier, or through the API. What they opted out of is refused, and
//! what already waits for them is never handed over.

use std::time::Duration;

use chrono::TimeDelta;
use reqwest::Method;
use serde_json::{Value, json};
use sms_gateway::simulator::{Behaviour, InboundPush, Protocol, ScriptedReport};

use crate::support::{
    Answer, Setup, TestGateway,
    carriers::{HUAWEI, NXCLOUD, VOICE, attempts, error},
    gateway::{AUDIT, BANK, OPS, SHOP, string},
};

const TO: &str = "+8618637616887";
const OTHER: &str = "+8618637616888";
const NUMBER: &str = "8615088888888";

async fn start() -> TestGateway {
    started("").await
}

async fn started(more: &str) -> TestGateway {
    Setup::new(&format!("{NXCLOUD}{more}"))
        .pushes(|settings, base| {
            settings.nxcloud_callback_url = Some(format!("{base}/callbacks/nx/nx-token").parse().unwrap());
        })
        .start()
        .await
}

/// A word comes in and is taken.
async fn write(gateway: &TestGateway, text: &str, id: &str) {
    let push = InboundPush {
        provider: Protocol::Nxcloud,
        from: TO.to_owned(),
        to: NUMBER.to_owned(),
        text: text.to_owned(),
        message_id: Some(id.to_owned()),
    };
    gateway.simulator.push_inbound(push).unwrap();
    gateway.simulator.idle().await;
}

async fn post(gateway: &TestGateway, key: &str, to: &str, provider: &str) -> Answer {
    gateway.client.post(key, "/v1/messages", &json!({ "to": to, "text": "hello", "provider": provider })).await
}

async fn change(gateway: &TestGateway, method: Method, key: &str, path: &str) -> Answer {
    gateway.client.send(gateway.client.request(method, path).bearer_auth(key)).await
}

async fn opt_out(gateway: &TestGateway, to: &str) {
    let answer = change(gateway, Method::PUT, SHOP, &format!("/v1/suppressions/{to}")).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
}

/// App and sender of each suppression that a key sees, the newest first.
async fn listed(gateway: &TestGateway, key: &str, query: &str) -> Vec<(String, String, String)> {
    let answer = gateway.client.get(key, &format!("/v1/suppressions{query}")).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let texts = |entry: &Value| ["app", "sender", "source"].map(|key| string(&entry[key]).to_owned());
    let mut found: Vec<_> = answer.json["data"].as_array().unwrap().iter().map(|entry| texts(entry).into()).collect();
    found.sort();
    found
}

fn entry(app: &str, sender: &str, source: &str) -> (String, String, String) {
    (app.to_owned(), sender.to_owned(), source.to_owned())
}

async fn pause(gateway: &TestGateway, provider: &str, enabled: bool) {
    let path = format!("/v1/providers/{provider}");
    let request = gateway.client.request(Method::PATCH, &path).bearer_auth(OPS).json(&json!({ "enabled": enabled }));
    assert_eq!(gateway.client.send(request).await.status, 200);
}

#[tokio::test]
async fn a_stop_is_for_the_app_from_any_sender_and_for_the_number_by_any_app() {
    let gateway = start().await;
    write(&gateway, " Stop! ", "mo-1").await;
    let refused = post(&gateway, SHOP, TO, "nx").await;
    assert_eq!(refused.problem(), (422, "recipient_opted_out"));
    assert_eq!(refused.errors(), [("/to".to_owned(), "recipient_opted_out".to_owned())]);
    assert_eq!(post(&gateway, SHOP, TO, "sandbox").await.problem(), (422, "recipient_opted_out"), "any sender");
    assert_eq!(post(&gateway, BANK, TO, "nx").await.problem(), (422, "recipient_opted_out"), "any app");
    assert_eq!(gateway.database.count("select 1 from messages").await, 0);
    assert_eq!(post(&gateway, BANK, TO, "sandbox").await.status, 202, "another app from elsewhere");
    assert_eq!(post(&gateway, SHOP, OTHER, "nx").await.status, 202, "another recipient");
    let both = [entry("", NUMBER, "keyword"), entry("shop", "", "keyword")];
    assert_eq!(listed(&gateway, OPS, "").await, both);
    assert_eq!(listed(&gateway, SHOP, "").await, both, "the number is the shop's");
    assert_eq!(listed(&gateway, BANK, "").await, []);
    write(&gateway, "start", "mo-2").await;
    assert_eq!(listed(&gateway, OPS, "").await, []);
    for key in [SHOP, BANK] {
        assert_eq!(post(&gateway, key, TO, "nx").await.status, 202);
    }
}

#[tokio::test]
async fn only_the_words_opt_out_and_a_stop_that_is_pushed_again_does_not_undo_a_start() {
    let gateway = start().await;
    for (index, text) in ["please stop", "stopp", "I will call you at the end", "?", ""].into_iter().enumerate() {
        write(&gateway, text, &format!("mo-{index}")).await;
    }
    assert_eq!(listed(&gateway, OPS, "").await, []);
    for (index, text) in ["退订", "【退订】", "T", "t.", "ＱＵＩＴ", "\n\"unsubscribe\"\n"].into_iter().enumerate()
    {
        write(&gateway, text, &format!("stop-{index}")).await;
        assert_eq!(listed(&gateway, OPS, "").await.len(), 2, "{text}");
        write(&gateway, "UNSTOP", &format!("start-{index}")).await;
        assert_eq!(listed(&gateway, OPS, "").await, [], "{text}");
    }
    write(&gateway, "退订", "stop-0").await;
    assert_eq!(listed(&gateway, OPS, "").await, []);
}

#[tokio::test]
async fn a_replay_is_answered_although_the_recipient_has_opted_out_since() {
    let gateway = start().await;
    let send = || {
        let request = gateway.client.request(Method::POST, "/v1/messages").bearer_auth(SHOP);
        gateway.client.send(request.header("idempotency-key", "k").json(&json!({ "to": TO, "text": "hello" })))
    };
    let first = send().await;
    opt_out(&gateway, TO).await;
    let again = send().await;
    assert_eq!((again.status, again.header("idempotent-replayed")), (202, "true"));
    assert_eq!(again.json["id"], first.json["id"]);
}

#[tokio::test]
async fn what_waits_is_stopped_at_once_and_what_was_sent_stays() {
    let gateway = start().await;
    gateway.simulator.next_for(TO, Behaviour::reports(Vec::new()));
    let sent = gateway.text(TO, "before").await;
    let native = string(&gateway.wait_for_status(&sent, "sent").await["provider_message_id"]).to_owned();
    pause(&gateway, "nx", false).await;
    let (waiting, other) = (gateway.text(TO, "waits").await, gateway.text(OTHER, "waits too").await);
    write(&gateway, "STOP", "mo-1").await;
    let stopped = gateway.wait_for_end(&waiting, "failed").await;
    assert_eq!((error(&stopped).0, attempts(&stopped)), ("recipient_opted_out", Vec::<String>::new()));
    let story = gateway.story(&waiting).await;
    assert_eq!(story, ["created queued", "opted_out failed"]);
    assert_eq!(string(&gateway.message(&sent).await["status"]), "sent");
    pause(&gateway, "nx", true).await;
    gateway.wait_for_end(&other, "delivered").await;
    let receipt = crate::support::carriers::nx_receipt(&native, TO, "DELIVRD");
    assert_eq!(gateway.push("nx", "nx-token", &[], receipt).await.status, 200);
    gateway.wait_for_end(&sent, "delivered").await;
    assert_eq!(gateway.simulator.times_accepted(Protocol::Nxcloud, &TO[1..], "waits"), 0);
}

#[tokio::test]
async fn a_claim_stops_what_the_sweep_did_not_see() {
    let gateway = start().await;
    pause(&gateway, "nx", false).await;
    let (one, other) = (gateway.text(TO, "slipped through").await, gateway.text(OTHER, "goes").await);
    // As if it had been accepted in the very moment: the sweep believes that it has looked.
    let mut connection = crate::support::database::connect(&gateway.database.url().parse().unwrap()).await;
    sqlx::raw_sql(
        "insert into suppressions (id, recipient, app, sender, source, created_at, applied)
         values (gen_random_uuid(), '+8618637616887', '', '8615088888888', 'api', now(), true)",
    )
    .execute(&mut connection)
    .await
    .unwrap();
    pause(&gateway, "nx", true).await;
    let stopped = gateway.wait_for_end(&one, "failed").await;
    assert_eq!((error(&stopped).0, attempts(&stopped)), ("recipient_opted_out", Vec::<String>::new()));
    gateway.wait_for_end(&other, "delivered").await;
    assert_eq!(gateway.simulator.times_accepted(Protocol::Nxcloud, &TO[1..], "slipped through"), 0);
}

#[tokio::test]
async fn neither_a_retry_nor_a_next_step_follows_an_opt_out() {
    let route = "[routes.both]\npriority = 1\nfailover = \"on_undelivered\"\n\
                 steps = [{ provider = \"nx\" }, { provider = \"sandbox\", after_seconds = 45 }]";
    let gateway = started(route).await;
    gateway.simulator.next_for(TO, Behaviour::reports(Vec::new()));
    let id = gateway.text(TO, "hello").await;
    gateway.wait_for_status(&id, "sent").await;
    gateway.simulator.next_for(OTHER, Behaviour { retry_after: Some(30), ..Behaviour::http(429) });
    let retried = gateway.text(OTHER, "again later").await;
    gateway.wait_for(&retried, |message| attempts(message) == ["nx failed"]).await;
    opt_out(&gateway, TO).await;
    opt_out(&gateway, OTHER).await;
    gateway.advance(Duration::from_mins(1));
    let stopped = gateway.wait_for_end(&retried, "failed").await;
    assert_eq!((error(&stopped).0, attempts(&stopped)), ("recipient_opted_out", vec!["nx failed".to_owned()]));
    let told = async || gateway.story(&id).await.iter().filter(|entry| entry.starts_with("opted_out")).count();
    gateway.until("the next step is stopped", async || (told().await == 1).then_some(())).await;
    gateway.advance(Duration::from_mins(10));
    let other = gateway.send(json!({ "to": "+99900000001", "text": "passes all sweeps" })).await;
    gateway.wait_for_end(&other, "delivered").await;
    assert_eq!((told().await, attempts(&gateway.message(&id).await)), (1, vec!["nx sent".to_owned()]));
}

#[tokio::test]
async fn what_is_scheduled_is_stopped_when_it_is_due_unless_the_recipient_is_back_by_then() {
    let gateway = start().await;
    let at = (gateway.clock.now() + TimeDelta::hours(1)).to_rfc3339();
    let later = |to: &str| json!({ "to": to, "text": "later", "send_at": at });
    let (stopped, back) = (gateway.send(later(TO)).await, gateway.send(later(OTHER)).await);
    for number in [TO, OTHER] {
        opt_out(&gateway, number).await;
    }
    let undone = change(&gateway, Method::DELETE, SHOP, &format!("/v1/suppressions/{OTHER}")).await;
    assert_eq!(undone.status, 204);
    gateway.advance(Duration::from_mins(59));
    assert_eq!(string(&gateway.message(&stopped).await["status"]), "scheduled");
    gateway.advance(Duration::from_mins(2));
    assert_eq!(error(&gateway.wait_for_end(&stopped, "failed").await).0, "recipient_opted_out");
    gateway.wait_for_end(&back, "delivered").await;
}

#[tokio::test]
async fn what_a_carrier_says_is_for_the_sender_that_was_used() {
    let more = format!(
        "{VOICE}\n[providers.call2]\ndriver = \"onsms_voice\"\nbase_url = \"SIMULATOR\"\nusername = \"simulator\"\n\
         password = \"simulator-pass\"\nkey = \"simulator-key\"\nfrom = \"DAUSO2\""
    );
    let gateway = started(&more).await;
    let number = "+84361234567";
    let call = |key: &'static str, provider: &str| {
        let body = json!({ "to": number, "text": "369751", "provider": provider });
        let client = gateway.client.clone();
        async move { client.post(key, "/v1/messages", &body).await }
    };
    gateway.simulator.next_for(number, Behaviour::code("7"));
    let answer = call(SHOP, "call").await;
    let message = gateway.wait_for_end(string(&answer.json["id"]), "failed").await;
    assert_eq!(error(&message), ("recipient_opted_out", "7"));
    assert_eq!(listed(&gateway, OPS, "").await, [entry("", "DAUSO1", "carrier")]);
    for key in [SHOP, BANK] {
        assert_eq!(call(key, "call").await.problem(), (422, "recipient_opted_out"));
    }
    assert_eq!(call(BANK, "call2").await.status, 202);
}

#[tokio::test]
async fn what_a_carriers_report_says_is_for_the_sender_that_was_used() {
    let gateway =
        TestGateway::start(&HUAWEI.replace("isms100000001\"", "isms100000001\"\nsenders = [\"isms2\"]")).await;
    gateway.simulator.next_for(TO, Behaviour::reports(vec![ScriptedReport::new("SC:0016")]));
    let parcel = |from: Option<&str>| {
        let mut body = json!({ "to": TO, "template": { "name": "parcel", "params": { "place": "the gate" } } });
        if let Some(from) = from {
            body["from"] = from.into();
        }
        body
    };
    let id = gateway.send(parcel(None)).await;
    assert_eq!(error(&gateway.wait_for_end(&id, "undelivered").await), ("recipient_opted_out", "SC:0016"));
    assert_eq!(listed(&gateway, OPS, "").await, [entry("", "isms100000001", "carrier")]);
    assert_eq!(gateway.post_message(parcel(None)).await.problem(), (422, "recipient_opted_out"));
    assert_eq!(gateway.post_message(parcel(Some("isms2"))).await.status, 202);
}

#[tokio::test]
async fn an_app_manages_its_own_suppressions_and_operators_all() {
    let gateway = start().await;
    let path = "/v1/suppressions/%2B8618637616887";
    let put = change(&gateway, Method::PUT, BANK, path).await;
    assert_eq!((put.status, string(&put.json["app"]), &put.json["sender"]), (200, "bank", &Value::Null));
    assert_eq!((string(&put.json["recipient"]), string(&put.json["source"])), (TO, "api"));
    let again = change(&gateway, Method::PUT, BANK, &format!("{path}?app=bank")).await;
    assert_eq!((again.status, &again.json), (200, &put.json), "it stays as it was");
    assert_eq!(post(&gateway, BANK, TO, "sandbox").await.status, 422);
    assert_eq!(post(&gateway, SHOP, TO, "nx").await.status, 202);
    let refused = [
        (BANK, Method::PUT, "?app=shop", (403, "forbidden")),
        (BANK, Method::DELETE, "?app=shop", (403, "forbidden")),
        (BANK, Method::PUT, "?sender=%2B8615088888888", (403, "forbidden")),
        (AUDIT, Method::PUT, "?app=shop", (403, "forbidden")),
        (OPS, Method::PUT, "", (422, "required")),
        (OPS, Method::DELETE, "", (422, "required")),
        (OPS, Method::PUT, "?app=shop&sender=x", (422, "mutually_exclusive")),
        (OPS, Method::PUT, "?app=nobody", (422, "not_found")),
        (OPS, Method::PUT, "?from=x&app=shop", (422, "unknown_field")),
    ];
    for (key, method, query, expected) in refused {
        let answer = change(&gateway, method.clone(), key, &format!("{path}{query}")).await;
        assert_eq!(answer.problem(), expected, "{method} {query}");
    }
    let wrong = change(&gateway, Method::PUT, SHOP, "/v1/suppressions/0361234567").await;
    assert_eq!(wrong.problem(), (422, "recipient_invalid"));
    assert_eq!(change(&gateway, Method::PUT, SHOP, &format!("{path}?sender=8615088888888")).await.status, 200);
    assert_eq!(change(&gateway, Method::PUT, OPS, &format!("{path}?app=ops")).await.status, 200);
    assert_eq!(listed(&gateway, BANK, "").await, [entry("bank", "", "api")]);
    assert_eq!(listed(&gateway, SHOP, "").await, [entry("", NUMBER, "api")]);
    assert_eq!(listed(&gateway, AUDIT, "?sender=%2B8615088888888").await, [entry("", NUMBER, "api")]);
    assert_eq!(listed(&gateway, OPS, "?app=bank&recipient=%2B8618637616887").await.len(), 1);
    assert_eq!(listed(&gateway, OPS, "?recipient=%2B8618637616888").await, []);
    let page = gateway.client.get(OPS, "/v1/suppressions?limit=2").await;
    let cursor = string(&page.json["next_cursor"]);
    let rest = gateway.client.get(OPS, &format!("/v1/suppressions?limit=2&cursor={cursor}")).await;
    assert_eq!((page.json["data"].as_array().unwrap().len(), rest.json["data"].as_array().unwrap().len()), (2, 1));
    assert!(rest.json["next_cursor"].is_null());
    for _ in 0..2 {
        assert_eq!(change(&gateway, Method::DELETE, BANK, path).await.status, 204);
    }
    assert_eq!(post(&gateway, BANK, OTHER, "nx").await.status, 202);
    assert_eq!(post(&gateway, BANK, TO, "sandbox").await.status, 202);
}
