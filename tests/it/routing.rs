//! Which provider gets a message, and when the next one does.

use std::time::Duration;

use serde_json::{Value, json};
use sms_gateway::{
    simulator::{Behaviour, Ending, Match, Protocol, Script, ScriptedReport},
    store::{Db, switches},
};

use crate::support::{
    Setup, TestGateway,
    carriers::{VOICE, attempts, error, nx_receipt},
    gateway::string,
};

const TO: &str = "+84361234567";

/// Two ways over `NxCloud` and one by voice; `ROUTE` is what a test says about the route.
const PROVIDERS: &str = r#"
[providers.first]
driver = "nxcloud_did"
base_url = "SIMULATOR"
access_key = "simulator-key"
access_secret = "simulator-secret"
from = "8615088888888"
callback_token = "token"
[providers.second]
driver = "nxcloud_did"
base_url = "SIMULATOR"
access_key = "simulator-key"
access_secret = "simulator-secret"
from = "8615099999999"
callback_token = "token"
"#;

/// Starts with a route `sms` that says this.
async fn start(route: &str) -> TestGateway {
    let voice = VOICE.split("[routes").next().unwrap();
    Setup::new(&format!("{PROVIDERS}{voice}[routes.sms]\n{route}"))
        .simulator(|options| options.nxcloud.numbers.push("8615099999999".to_owned()))
        .pushes(|settings, base| {
            // Both ways report to one address, which finds its messages by their ids.
            settings.nxcloud_callback_url = Some(format!("{base}/callbacks/first/token").parse().unwrap());
        })
        .start()
        .await
}

const BOTH: &str = r#"steps = [{ provider = "first" }, { provider = "second" }]"#;

fn next(gateway: &TestGateway, times: u32, behaviour: Behaviour) {
    let matching = Match { provider: Some(Protocol::Nxcloud), to: Some(TO.to_owned()) };
    gateway.simulator.script(Script { matching, times, behaviour });
}

fn calls(gateway: &TestGateway, protocol: Protocol) -> u64 {
    gateway.simulator.counts().providers[&protocol].calls
}

#[tokio::test]
async fn a_definite_refusal_goes_on_to_the_next_step() {
    let gateway = start(BOTH).await;
    next(&gateway, 1, Behaviour::code("1102"));
    next(&gateway, 1, Behaviour::reports(Vec::new()));
    let id = gateway.text(TO, "123456").await;
    let message = gateway.wait_for_status(&id, "sent").await;
    assert_eq!(attempts(&message), ["first failed", "second sent"]);
    assert_eq!(string(&message["from"]), "8615099999999");
}

#[tokio::test]
async fn a_refusal_by_every_step_fails_with_the_last_error() {
    let gateway = start(BOTH).await;
    next(&gateway, 1, Behaviour::code("1102"));
    next(&gateway, 1, Behaviour::code("12008"));
    let id = gateway.text(TO, "123456").await;
    let message = gateway.wait_for_end(&id, "failed").await;
    assert_eq!((attempts(&message).len(), error(&message)), (2, ("sender_not_allowed", "12008")));
}

#[tokio::test]
async fn failover_never_stays_with_the_first_step() {
    let gateway = start(&format!("failover = \"never\"\n{BOTH}")).await;
    next(&gateway, 1, Behaviour::code("1102"));
    let id = gateway.text(TO, "123456").await;
    assert_eq!(attempts(&gateway.wait_for_end(&id, "failed").await), ["first failed"]);
}

#[tokio::test]
async fn a_negative_report_goes_on_only_where_the_route_says_so() {
    for (failover, status, tried) in [
        ("on_rejection", "undelivered", vec!["first undelivered"]),
        ("on_undelivered", "undelivered", vec!["first undelivered", "second undelivered"]),
    ] {
        let gateway = start(&format!("failover = \"{failover}\"\n{BOTH}")).await;
        next(&gateway, 2, Behaviour::reports(Vec::new()));
        let id = gateway.text(TO, "123456").await;
        for provider in ["first", "second"].into_iter().take(tried.len()) {
            let sent = |message: &Value| string(&message["provider"]) == provider && message["status"] == "sent";
            let message = gateway.wait_for(&id, sent).await;
            push(&gateway, provider, &message, "UNDELIVR").await;
        }
        let message = gateway.wait_for_end(&id, status).await;
        assert_eq!(attempts(&message), tried, "{failover}");
    }
}

/// Pushes a receipt of the last attempt as its provider would.
async fn push(gateway: &TestGateway, provider: &str, message: &Value, status: &str) {
    let body = nx_receipt(string(&message["provider_message_id"]), TO, status);
    assert_eq!(gateway.push(provider, "token", &[], body).await.status, 200);
}

#[tokio::test]
async fn a_report_of_an_earlier_attempt_delivers_a_message_that_has_gone_on() {
    let gateway = start(
        r#"steps = [{ provider = "first" }, { provider = "second", after_seconds = 45 }]
        failover = "on_undelivered""#,
    )
    .await;
    next(&gateway, 2, Behaviour::reports(Vec::new()));
    let id = gateway.text(TO, "123456").await;
    let first = gateway.wait_for_status(&id, "sent").await;
    gateway.advance(Duration::from_secs(46));
    let second = gateway.wait_for(&id, |message| attempts(message) == ["first sent", "second sent"]).await;
    push(&gateway, "second", &second, "UNDELIVR").await;
    assert_eq!(string(&gateway.message(&id).await["status"]), "sent", "the first attempt is still open");
    push(&gateway, "first", &first, "DELIVRD").await;
    let message = gateway.wait_for_end(&id, "delivered").await;
    assert_eq!(attempts(&message), ["first delivered", "second undelivered"]);
}

#[tokio::test]
async fn what_may_succeed_later_is_tried_again_so_often_and_then_goes_on() {
    let gateway = start(BOTH).await;
    next(&gateway, 4, Behaviour::http(429));
    next(&gateway, 1, Behaviour::reports(Vec::new()));
    let id = gateway.text(TO, "123456").await;
    for tried in 1..=3 {
        gateway.wait_for(&id, |message| attempts(message).len() >= tried && message["status"] != "sending").await;
        gateway.advance(Duration::from_secs(80));
    }
    let message = gateway.wait_for_status(&id, "sent").await;
    let expected = ["first failed", "first failed", "first failed", "first failed", "second sent"];
    assert_eq!(attempts(&message), expected);
}

#[tokio::test]
async fn what_may_succeed_later_is_tried_again_without_failover_too() {
    let gateway = start(&format!("failover = \"never\"\n{BOTH}")).await;
    next(&gateway, 4, Behaviour::http(429));
    let id = gateway.text(TO, "123456").await;
    for tried in 1..=3 {
        gateway.wait_for(&id, |message| attempts(message).len() >= tried && message["status"] != "sending").await;
        gateway.advance(Duration::from_secs(80));
    }
    let message = gateway.wait_for_end(&id, "failed").await;
    assert_eq!((attempts(&message).len(), error(&message).0), (4, "provider_rate_limited"));
}

#[tokio::test]
async fn a_wait_of_more_than_a_minute_is_not_waited_for_where_there_is_a_next_step() {
    let gateway = start(BOTH).await;
    next(&gateway, 1, Behaviour { retry_after: Some(61), ..Behaviour::http(429) });
    next(&gateway, 1, Behaviour::reports(Vec::new()));
    let id = gateway.text(TO, "123456").await;
    let message = gateway.wait_for_status(&id, "sent").await;
    assert_eq!(attempts(&message), ["first failed", "second sent"]);
}

const SMS_THEN_CALL: &str = r#"steps = [{ provider = "first" }, { provider = "call", after_seconds = 45 }]"#;

#[tokio::test]
async fn an_sms_without_a_final_report_in_time_becomes_a_call() {
    let gateway = start(SMS_THEN_CALL).await;
    next(&gateway, 1, Behaviour::reports(Vec::new()));
    let id = gateway.text(TO, "123456").await;
    gateway.wait_for_status(&id, "sent").await;
    gateway.advance(Duration::from_secs(40));
    let other = gateway.text("+84361234568", "654321").await;
    gateway.wait_for_end(&other, "delivered").await;
    assert_eq!(calls(&gateway, Protocol::Voice), 0);
    gateway.advance(Duration::from_secs(6));
    gateway.wait_for(&id, |message| attempts(message) == ["first sent", "call sent"]).await;
    gateway.advance(Duration::from_secs(6));
    let message = gateway.wait_for_end(&id, "delivered").await;
    assert_eq!(
        (attempts(&message), string(&message["channel"])),
        (vec!["first sent".into(), "call delivered".into()], "voice")
    );
}

#[tokio::test]
async fn a_report_in_time_spares_the_call() {
    let gateway = start(SMS_THEN_CALL).await;
    let id = gateway.text(TO, "123456").await;
    gateway.wait_for_end(&id, "delivered").await;
    gateway.advance(Duration::from_mins(1));
    let other = gateway.text("+84361234568", "654321").await;
    gateway.wait_for_end(&other, "delivered").await;
    assert_eq!(calls(&gateway, Protocol::Voice), 0);
}

#[tokio::test]
async fn an_unclear_sms_becomes_a_call_too_since_the_route_asks_for_it() {
    let gateway = start(SMS_THEN_CALL).await;
    next(&gateway, 1, Behaviour { ending: Ending::Close, reports: Some(Vec::new()), ..Behaviour::default() });
    let id = gateway.text(TO, "123456").await;
    gateway.wait_for_status(&id, "unknown").await;
    gateway.advance(Duration::from_secs(46));
    gateway.wait_for(&id, |message| attempts(message) == ["first unknown", "call sent"]).await;
    gateway.advance(Duration::from_secs(6));
    gateway.wait_for_end(&id, "delivered").await;
}

#[tokio::test]
async fn a_refusal_of_the_call_does_not_end_a_message_whose_sms_is_unclear() {
    let gateway = start(SMS_THEN_CALL).await;
    next(&gateway, 1, Behaviour { ending: Ending::Close, reports: Some(Vec::new()), ..Behaviour::default() });
    let matching = Match { provider: Some(Protocol::Voice), to: None };
    gateway.simulator.script(Script { matching, times: 1, behaviour: Behaviour::code("7") });
    let id = gateway.text(TO, "123456").await;
    gateway.wait_for_status(&id, "unknown").await;
    gateway.advance(Duration::from_secs(46));
    let message = gateway.wait_for(&id, |message| attempts(message) == ["first unknown", "call failed"]).await;
    assert_eq!((string(&message["status"]), message["final"].as_bool()), ("unknown", Some(false)));
}

#[tokio::test]
async fn after_seconds_does_not_count_where_failover_is_never() {
    let gateway = start(&format!("failover = \"never\"\n{SMS_THEN_CALL}")).await;
    next(&gateway, 1, Behaviour::reports(Vec::new()));
    let id = gateway.text(TO, "123456").await;
    gateway.wait_for_status(&id, "sent").await;
    gateway.advance(Duration::from_mins(1));
    let other = gateway.text("+84361234568", "654321").await;
    gateway.wait_for_end(&other, "delivered").await;
    assert_eq!(attempts(&gateway.message(&id).await), ["first sent"]);
}

#[tokio::test]
async fn what_is_no_longer_valid_becomes_no_call() {
    let gateway = start(r#"steps = [{ provider = "first" }, { provider = "call", after_seconds = 90 }]"#).await;
    next(&gateway, 1, Behaviour::reports(Vec::new()));
    let id = gateway.send(json!({ "to": TO, "text": "123456", "validity_period": 60 })).await;
    gateway.wait_for_status(&id, "sent").await;
    gateway.advance(Duration::from_secs(91));
    let other = gateway.text("+84361234568", "654321").await;
    gateway.wait_for_end(&other, "delivered").await;
    let message = gateway.message(&id).await;
    assert_eq!((attempts(&message), string(&message["status"])), (vec!["first sent".to_owned()], "sent"));
    assert_eq!(calls(&gateway, Protocol::Voice), 0);
}

#[tokio::test]
async fn a_late_report_delivers_a_message_that_waits_for_its_call_already_and_spares_the_call() {
    let gateway = start(SMS_THEN_CALL).await;
    next(&gateway, 1, Behaviour::reports(Vec::new()));
    switch(&gateway, "call", false).await;
    let id = gateway.text(TO, "123456").await;
    let first = gateway.wait_for_status(&id, "sent").await;
    gateway.advance(Duration::from_secs(46));
    gateway.wait_for_status(&id, "queued").await;
    push(&gateway, "first", &first, "DELIVRD").await;
    let message = gateway.wait_for_end(&id, "delivered").await;
    assert_eq!(attempts(&message), ["first delivered"]);
    assert_eq!(gateway.database.count("select 1 from queue").await, 0, "it waits for nothing any more");
    switch(&gateway, "call", true).await;
    let other = gateway.send(json!({ "to": "+84361234568", "text": "654321", "provider": "call" })).await;
    gateway.wait_for_status(&other, "sent").await;
    assert_eq!(calls(&gateway, Protocol::Voice), 1);
}

#[tokio::test]
async fn a_report_that_comes_while_the_call_is_being_made_delivers_the_message_at_once_and_for_good() {
    let gateway = start(SMS_THEN_CALL).await;
    next(&gateway, 1, Behaviour::reports(Vec::new()));
    let matching = Match { provider: Some(Protocol::Voice), to: None };
    let slow = Behaviour { answer_delay_ms: 1000, ..Behaviour::code("7") };
    gateway.simulator.script(Script { matching, times: 1, behaviour: slow });
    let id = gateway.text(TO, "123456").await;
    let first = gateway.wait_for_status(&id, "sent").await;
    gateway.advance(Duration::from_secs(46));
    gateway.wait_for(&id, |message| attempts(message) == ["first sent", "call sending"]).await;
    push(&gateway, "first", &first, "DELIVRD").await;
    let message = gateway.message(&id).await;
    assert_eq!((string(&message["status"]), message["final"].as_bool()), ("delivered", Some(true)));
    assert_eq!(attempts(&message), ["first delivered", "call sending"], "before the call is answered");
    let message = gateway.wait_for(&id, |message| attempts(message) == ["first delivered", "call failed"]).await;
    assert_eq!((string(&message["status"]), message["final"].as_bool()), ("delivered", Some(true)));
    assert_eq!(gateway.database.count("select 1 from queue").await, 0, "nothing is left to be done");
}

const RESEND: &str = r#"
steps = [{ provider = "first" }]
on_unknown = "resend"
"#;

#[tokio::test]
async fn an_unclear_message_is_sent_once_more_where_the_route_says_so() {
    let gateway = start(RESEND).await;
    next(&gateway, 3, Behaviour { ending: Ending::Close, reports: Some(Vec::new()), ..Behaviour::default() });
    let id = gateway.text(TO, "123456").await;
    let message = gateway.wait_for_status(&id, "unknown").await;
    assert_eq!((message["possible_duplicate"].as_bool(), message["final"].as_bool()), (Some(false), Some(false)));
    gateway.advance(Duration::from_secs(16));
    let message = gateway.wait_for(&id, |message| attempts(message) == ["first unknown", "first unknown"]).await;
    assert_eq!(message["possible_duplicate"], true);
    let story = gateway.story(&id).await;
    assert!(story.contains(&"resend queued".to_owned()), "{story:?}");
    gateway.advance(Duration::from_hours(1));
    let other = gateway.text("+84361234568", "654321").await;
    gateway.wait_for_end(&other, "delivered").await;
    assert_eq!(attempts(&gateway.message(&id).await).len(), 2, "once and no more");
}

#[tokio::test]
async fn evidence_within_the_fifteen_seconds_spares_the_resend() {
    let gateway = start(RESEND).await;
    let report = ScriptedReport { delay_ms: Some(100), ..ScriptedReport::default() };
    next(&gateway, 1, Behaviour { ending: Ending::Close, reports: Some(vec![report]), ..Behaviour::default() });
    let id = gateway.text(TO, "123456").await;
    gateway.wait_for_end(&id, "delivered").await;
    gateway.advance(Duration::from_secs(16));
    let other = gateway.text("+84361234568", "654321").await;
    gateway.wait_for_end(&other, "delivered").await;
    let message = gateway.message(&id).await;
    assert_eq!((attempts(&message).len(), message["possible_duplicate"].as_bool()), (1, Some(false)));
}

async fn switch(gateway: &TestGateway, provider: &'static str, enabled: bool) {
    let now = gateway.clock.now();
    let db = gateway.gateway.engine().db();
    Db::unit(&db.work, move |connection| Box::pin(switches::set(connection, provider, enabled, now))).await.unwrap();
    let paused = async || {
        let live = gateway.gateway.engine().live();
        (live.providers[provider].availability.unavailable(gateway.clock.now()).is_none() == enabled).then_some(())
    };
    gateway.until("the switch is followed", paused).await;
}

#[tokio::test]
async fn a_paused_provider_is_passed_over_where_there_is_a_next_step() {
    let gateway = start(BOTH).await;
    next(&gateway, 1, Behaviour::reports(Vec::new()));
    switch(&gateway, "first", false).await;
    let id = gateway.text(TO, "123456").await;
    let message = gateway.wait_for_status(&id, "sent").await;
    assert_eq!(attempts(&message), ["second sent"]);
    let story = gateway.story(&id).await;
    assert!(story.iter().any(|entry| entry.starts_with("step.passed_over")), "{story:?}");
}

#[tokio::test]
async fn a_message_waits_for_a_paused_provider_where_there_is_no_other_and_expires_with_its_validity() {
    let gateway = start(r#"steps = [{ provider = "first" }]"#).await;
    switch(&gateway, "first", false).await;
    let waits = gateway.send(json!({ "to": TO, "text": "123456", "validity_period": 600 })).await;
    let lasts = gateway.send(json!({ "to": TO, "text": "654321", "validity_period": 6000 })).await;
    gateway.advance(Duration::from_secs(601));
    let message = gateway.wait_for_end(&waits, "expired").await;
    assert_eq!((error(&message).0, attempts(&message).len()), ("expired", 0));
    assert_eq!(string(&gateway.message(&lasts).await["status"]), "queued");
    switch(&gateway, "first", true).await;
    gateway.wait_for_end(&lasts, "delivered").await;
    assert_eq!(calls(&gateway, Protocol::Nxcloud), 1);
}

#[tokio::test]
async fn a_provider_that_fails_five_times_in_a_row_is_passed_over_until_it_answers_again() {
    let gateway = start(BOTH).await;
    next(&gateway, 5, Behaviour::code("-1"));
    for _ in 0..5 {
        let id = gateway.send(json!({ "to": TO, "text": "123456", "provider": "first" })).await;
        gateway.wait_for_end(&id, "failed").await;
    }
    next(&gateway, 1, Behaviour::reports(Vec::new()));
    let id = gateway.text(TO, "123456").await;
    let message = gateway.wait_for_status(&id, "sent").await;
    assert_eq!(attempts(&message), ["second sent"]);
    // With nowhere else to go it waits for a probe, which finds that the account is in order again.
    let probe = gateway.send(json!({ "to": TO, "text": "654321", "provider": "first" })).await;
    gateway.wait_for_end(&probe, "delivered").await;
    let id = gateway.text("+84361234568", "123456").await;
    assert_eq!(attempts(&gateway.wait_for_end(&id, "delivered").await), ["first delivered"]);
}

#[tokio::test]
async fn faults_of_recipients_never_count_against_a_provider() {
    let gateway = start(BOTH).await;
    for index in 0..8 {
        let to = format!("+8436123450{index}");
        gateway.simulator.next_for(&to, Behaviour::code("9006"));
        let id = gateway.send(json!({ "to": to, "text": "123456", "provider": "first" })).await;
        assert_eq!(error(&gateway.wait_for_end(&id, "failed").await).0, "recipient_invalid");
    }
    assert!(gateway.gateway.engine().live().providers["first"].availability.unavailable(gateway.clock.now()).is_none());
}

#[tokio::test]
async fn a_provider_that_cannot_be_reached_costs_no_attempt_that_counts_and_its_messages_go_on() {
    let dead = PROVIDERS.replacen("SIMULATOR", "http://127.0.0.1:9", 1);
    let gateway = Setup::new(&format!("{dead}[routes.sms]\n{BOTH}"))
        .simulator(|options| options.nxcloud.numbers.push("8615099999999".to_owned()))
        .start()
        .await;
    let id = gateway.text(TO, "123456").await;
    let mut message = gateway.message(&id).await;
    // Time goes on when something has come of it: far ahead of the gateway it would only end the validity.
    while message["status"] != "sent" {
        let before = attempts(&message).len();
        assert!(before < 20, "it is tried again and again: {message}");
        gateway.advance(Duration::from_secs(80));
        let tried_or_sent = async || {
            let message = gateway.message(&id).await;
            (attempts(&message).len() > before || message["status"] == "sent").then_some(message)
        };
        message = gateway.until("the message is tried again or went on", tried_or_sent).await;
    }
    let tried = attempts(&message);
    assert_eq!(tried.last().map(String::as_str), Some("second sent"), "{tried:?}");
    assert_eq!(string(&message["attempts"][0]["error"]["code"]), "provider_unavailable");
}

#[tokio::test]
async fn without_a_route_a_message_is_refused() {
    let gateway = start("match = { countries = [\"HK\"] }\nsteps = [{ provider = \"first\" }]").await;
    let answer = gateway.post_message(json!({ "to": TO, "text": "123456" })).await;
    assert_eq!(answer.problem(), (422, "no_route"), "{}", answer.text);
    let id = gateway.text("+85260123456", "hello").await;
    gateway.wait_for_end(&id, "delivered").await;
}

#[tokio::test]
async fn steps_that_cannot_carry_the_content_are_passed_over_and_none_left_is_refused() {
    let gateway = start(r#"steps = [{ provider = "call" }, { provider = "first" }]"#).await;
    let id = gateway.text(TO, "no digits").await;
    assert_eq!(attempts(&gateway.wait_for_end(&id, "delivered").await), ["first delivered"]);
    let only_voice = gateway.post_message(json!({ "to": TO, "text": "no digits", "channel": "voice" })).await;
    assert_eq!(only_voice.problem(), (422, "content_unsupported"), "{}", only_voice.text);
    let named = gateway.post_message(json!({ "to": TO, "text": "no digits", "provider": "call" })).await;
    assert_eq!(named.problem(), (422, "content_unsupported"), "{}", named.text);
}

#[tokio::test]
async fn the_request_may_name_a_route_or_a_provider() {
    let routes = r#"
    priority = 1
    steps = [{ provider = "first" }]
    [routes.other]
    priority = 2
    steps = [{ provider = "second" }]
    "#;
    let gateway = start(routes).await;
    for (body, route, provider) in [
        (json!({ "to": TO, "text": "a" }), json!("sms"), "first"),
        (json!({ "to": TO, "text": "b", "route": "other" }), json!("other"), "second"),
        (json!({ "to": TO, "text": "c", "provider": "second" }), Value::Null, "second"),
    ] {
        next(&gateway, 1, Behaviour::reports(Vec::new()));
        let id = gateway.send(body).await;
        let message = gateway.wait_for_status(&id, "sent").await;
        assert_eq!((&message["route"], string(&message["provider"])), (&route, provider));
    }
    next(&gateway, 1, Behaviour::code("1102"));
    let id = gateway.send(json!({ "to": TO, "text": "d", "provider": "first" })).await;
    assert_eq!(attempts(&gateway.wait_for_end(&id, "failed").await), ["first failed"], "a named provider has no next");
    for name in ["route", "provider"] {
        let mut body = json!({ "to": TO, "text": "e" });
        body[name] = json!("nowhere");
        let answer = gateway.post_message(body).await;
        assert_eq!(answer.errors(), [(format!("/{name}"), "not_found".to_owned())], "{}", answer.text);
    }
}

#[tokio::test]
async fn routes_match_by_priority_and_every_condition_and_the_apps_default_comes_last() {
    let routes = r#"
    priority = 20
    match = { countries = ["VN"] }
    steps = [{ provider = "first" }]
    [routes.mobile]
    priority = 10
    match = { countries = ["VN"], prefixes = ["+8436"], categories = ["otp"], apps = ["shop"] }
    steps = [{ provider = "second" }]
    [routes.rest]
    match = { apps = ["nobody_here"] }
    steps = [{ provider = "sandbox" }, { provider = "second" }]
    [apps.nobody_here]
    [apps.shop]
    default_route = "rest"
    "#;
    let gateway = start(routes).await;
    for (to, category, route) in [
        ("+84361234567", "otp", "mobile"),
        ("+84361234567", "transactional", "sms"),
        ("+84912345678", "otp", "sms"),
        ("+85260123456", "otp", "rest"),
    ] {
        let answer = gateway.post_message(json!({ "to": to, "text": "123456", "category": category })).await;
        assert_eq!((answer.status, string(&answer.json["route"])), (202, route), "{to} {category}: {}", answer.text);
    }
}
