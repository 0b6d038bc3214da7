//! What goes wrong on the way to a provider and back: what the message becomes, and that an unclear one is never sent twice.

use std::{
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use sms_gateway::simulator::{Behaviour, Ending, Protocol};
use tokio::net::TcpListener;

use crate::support::{
    Setup, TestGateway,
    carriers::{HUAWEI, VOICE, attempts, error},
    gateway::string,
};

const TO: &str = "+84361234567";

/// Two ways over `NxCloud`, of which the first gives up after a second.
pub const TWO: &str = r#"
[providers.first]
driver = "nxcloud_did"
base_url = "SIMULATOR"
access_key = "simulator-key"
access_secret = "simulator-secret"
from = "8615088888888"
callback_token = "token"
timeout_seconds = 1
[providers.second]
driver = "nxcloud_did"
base_url = "SIMULATOR"
access_key = "simulator-key"
access_secret = "simulator-secret"
from = "8615099999999"
callback_token = "token"
"#;

/// A route over both, or over what a test names.
pub async fn start(config: &str, steps: &[&str], more: &str) -> TestGateway {
    let steps: Vec<String> = steps.iter().map(|name| format!("{{ provider = \"{name}\" }}")).collect();
    Setup::new(&format!("{config}[routes.sms]\nsteps = [{}]\nfailover = \"on_undelivered\"\n{more}", steps.join(", ")))
        .simulator(|options| options.nxcloud.numbers.push("8615099999999".to_owned()))
        .start()
        .await
}

fn taken_by_nxcloud(gateway: &TestGateway, to: &str, text: &str) -> u32 {
    gateway.simulator.times_accepted(Protocol::Nxcloud, to.trim_start_matches('+'), text)
}

/// Nothing follows what the simulator takes.
fn silent(behaviour: Behaviour) -> Behaviour {
    Behaviour { reports: Some(Vec::new()), ..behaviour }
}

#[tokio::test]
async fn whatever_leaves_it_open_whether_it_was_taken_makes_it_unknown_and_it_goes_out_once_at_most() {
    let gateway = start(TWO, &["first", "second"], "").await;
    let body = |text: &str| Behaviour { body: Some(text.to_owned()), ..Behaviour::default() };
    let ending = |ending, accepted| Behaviour { ending, accepted, ..Behaviour::default() };
    let faults = [
        ("slow", 1, Behaviour { answer_delay_ms: 20_000, ..Behaviour::default() }),
        ("closed, taken", 1, ending(Ending::Close, None)),
        ("closed, not taken", 0, ending(Ending::Close, Some(false))),
        ("cut short", 1, ending(Ending::Truncate, None)),
        ("garbage", 1, body("<html>\u{0}{\"code\": what?")),
        ("nothing", 1, body("")),
        ("500", 0, Behaviour::http(500)),
        ("502, taken", 1, Behaviour { accepted: Some(true), ..Behaviour::http(502) }),
        ("503 without a time", 0, Behaviour::http(503)),
        ("504, taken", 1, Behaviour { accepted: Some(true), ..Behaviour::http(504) }),
    ];
    let mut ids = Vec::new();
    for (index, (name, taken, fault)) in faults.into_iter().enumerate() {
        let to = format!("+8436123450{index}");
        gateway.simulator.next_for(&to, silent(fault));
        let id = gateway.text(&to, name).await;
        let message = gateway.wait_for_status(&id, "unknown").await;
        assert_eq!((error(&message).0, &message["final"]), ("submission_unconfirmed", &json!(false)), "{name}");
        ids.push((id, to, name, taken));
        // Calls that go well between them, so that the breaker has no reason to open.
        for good in 0..2 {
            let id = gateway.text(&format!("+843612346{index}{good}"), "good").await;
            gateway.wait_for_status(&id, "sent").await;
        }
    }
    gateway.advance(Duration::from_hours(1));
    // What is due goes out in its turn: had one of them been due again, it would be there when this one is.
    let last = gateway.text(TO, "last").await;
    gateway.wait_for_status(&last, "sent").await;
    for (id, to, name, taken) in ids {
        let message = gateway.message(&id).await;
        assert_eq!(
            (attempts(&message), &message["status"]),
            (vec!["first unknown".to_owned()], &json!("unknown")),
            "{name}"
        );
        assert_eq!(taken_by_nxcloud(&gateway, &to, name), taken, "{name}");
    }
    assert_eq!(gateway.simulator.doubles(), []);
}

/// Takes connections and drops them before anything is read. Says how many.
async fn slams_the_door() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let (address, count) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&count);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::Relaxed);
            drop(stream);
        }
    });
    (format!("http://{address}"), count)
}

#[tokio::test]
async fn a_connection_that_is_reset_before_the_request_was_read_leaves_it_open_too() {
    let (address, connections) = slams_the_door().await;
    let gateway = start(&TWO.replacen("SIMULATOR", &address, 1), &["first", "second"], "").await;
    let id = gateway.text(TO, "reset").await;
    let message = gateway.wait_for_status(&id, "unknown").await;
    assert_eq!(error(&message).0, "submission_unconfirmed");
    gateway.advance(Duration::from_hours(1));
    let other = gateway.send(json!({ "to": TO, "text": "other", "provider": "second" })).await;
    gateway.wait_for_status(&other, "sent").await;
    assert_eq!((attempts(&gateway.message(&id).await).len(), connections.load(Ordering::Relaxed)), (1, 1));
    assert_eq!(taken_by_nxcloud(&gateway, TO, "reset"), 0, "and the next step does not get it");
}

#[tokio::test]
async fn without_a_connection_a_message_waits_until_its_validity_ends_and_is_then_never_sent() {
    for address in ["http://127.0.0.1:9", "http://no-such-carrier.invalid"] {
        let gateway = start(&TWO.replacen("SIMULATOR", address, 1), &["first"], "").await;
        let id = gateway.send(json!({ "to": TO, "text": "waits", "validity_period": 60 })).await;
        let tried =
            gateway.wait_for(&id, |message| !attempts(message).is_empty() && message["status"] == "queued").await;
        assert_eq!(string(&tried["attempts"][0]["error"]["code"]), "provider_unavailable", "{address}");
        gateway.advance(Duration::from_secs(61));
        let message = gateway.wait_for_end(&id, "expired").await;
        assert!(attempts(&message).iter().all(|attempt| attempt == "first failed"), "{message}");
        let gateway = gateway.restart("[providers.first]\nbase_url = \"SIMULATOR\"").await;
        let other = gateway.text(TO, "later").await;
        gateway.wait_for_status(&other, "sent").await;
        assert_eq!(taken_by_nxcloud(&gateway, TO, "waits"), 0, "{address}");
    }
}

#[tokio::test]
async fn what_was_certainly_not_taken_goes_on_or_is_tried_again_and_arrives_once() {
    let gateway = start(TWO, &["first", "second"], "").await;
    let busy = |status| Behaviour { retry_after: Some(1), ..Behaviour::http(status) };
    for (index, (name, fault, tried)) in [
        ("404", Behaviour::http(404), vec!["first failed", "second sent"]),
        ("403", Behaviour::http(403), vec!["first failed", "second sent"]),
        ("302", Behaviour::http(302), vec!["first failed", "second sent"]),
        ("refused", Behaviour::code("-1"), vec!["first failed", "second sent"]),
        ("503 with a time", busy(503), vec!["first failed", "first sent"]),
        ("429", busy(429), vec!["first failed", "first sent"]),
    ]
    .into_iter()
    .enumerate()
    {
        let to = format!("+8436123450{index}");
        gateway.simulator.next_for(&to, fault);
        let id = gateway.text(&to, name).await;
        gateway.wait_for(&id, |message| attempts(message).first().is_some_and(|it| it == "first failed")).await;
        gateway.advance(Duration::from_secs(3));
        let message = gateway.wait_for_status(&id, "sent").await;
        assert_eq!(attempts(&message), tried, "{name}");
        assert_eq!(taken_by_nxcloud(&gateway, &to, name), 1, "{name}");
        // One that goes well, so that the breaker has no reason to open.
        let good = gateway.send(json!({ "to": TO, "text": name, "provider": "first" })).await;
        gateway.wait_for_status(&good, "sent").await;
    }
}

#[tokio::test]
async fn a_body_cut_short_of_a_call_for_many_leaves_all_of_them_open_and_none_is_sent_twice() {
    let gateway = TestGateway::start(HUAWEI).await;
    let send_at = gateway.clock.now() + chrono::TimeDelta::hours(1);
    gateway.simulator.next_for("+85260123450", silent(Behaviour { ending: Ending::Truncate, ..Behaviour::default() }));
    let mut ids = Vec::new();
    for index in 0..5 {
        let template = json!({ "name": "parcel", "params": { "place": "Main gate" } });
        ids.push(
            gateway
                .send(json!({ "to": format!("+8526012345{index}"), "template": template, "send_at": send_at }))
                .await,
        );
    }
    gateway.advance(Duration::from_mins(61));
    for id in &ids {
        // The reports of the others name their call, and settle them.
        gateway.wait_for(id, |message| message["status"] == "unknown" || message["status"] == "delivered").await;
    }
    gateway.advance(Duration::from_hours(1));
    let other = json!({ "to": TO, "template": { "name": "parcel", "params": { "place": "North gate" } } });
    let other = gateway.send(other).await;
    gateway.wait_for_end(&other, "delivered").await;
    assert_eq!(gateway.simulator.counts().providers[&Protocol::Huawei].accepted, 6);
    assert_eq!(gateway.simulator.doubles(), []);
}

#[tokio::test]
async fn code_27_of_voice_is_never_repeated_even_where_the_route_says_resend() {
    let route = "[routes.calls]\nsteps = [{ provider = \"call\" }]";
    let resend = format!("{route}\non_unknown = \"resend\"");
    let gateway = TestGateway::start(&VOICE.replace(route, &resend)).await;
    let call = async |text: &str| gateway.send(json!({ "to": TO, "text": text, "channel": "voice" })).await;
    gateway.simulator.next_for(TO, silent(Behaviour { accepted: Some(true), ..Behaviour::code("27") }));
    let id = call("369751").await;
    let message = gateway.wait_for_status(&id, "unknown").await;
    assert_eq!(error(&message), ("submission_unconfirmed", "27"));
    gateway.simulator.next_for(TO, silent(Behaviour { ending: Ending::Close, ..Behaviour::default() }));
    let lost = call("111111").await;
    gateway.wait_for_status(&lost, "unknown").await;
    gateway.advance(Duration::from_secs(20));
    let again = gateway.wait_for(&lost, |message| attempts(message).len() == 2).await;
    assert_eq!(again["possible_duplicate"], true, "an answer that was lost is another matter");
    let message = gateway.message(&id).await;
    assert_eq!((attempts(&message), &message["possible_duplicate"]), (vec!["call unknown".to_owned()], &json!(false)));
    let dialled = gateway.simulator.accepted().iter().filter(|call| call.text.as_deref() == Some("369751")).count();
    assert_eq!(dialled, 1);
}

#[tokio::test]
async fn what_was_queued_when_a_backup_was_made_is_not_sent_before_it_is_released() {
    let gateway = start(TWO, &["first"], "").await;
    let pause = json!({ "enabled": false });
    let ops = crate::support::gateway::OPS;
    let patch = gateway.client.request(reqwest::Method::PATCH, "/v1/providers/first").bearer_auth(ops).json(&pause);
    assert_eq!(gateway.client.send(patch).await.status, 200);
    let id = gateway.text(TO, "in the backup").await;
    let gateway = gateway.restart("dispatch.hold_on_start = true").await;
    let resume = json!({ "enabled": true });
    let patch = gateway.client.request(reqwest::Method::PATCH, "/v1/providers/first").bearer_auth(ops).json(&resume);
    assert_eq!(gateway.client.send(patch).await.status, 200);
    gateway.advance(Duration::from_mins(5));
    let held: Value = gateway.message(&id).await;
    assert_eq!((string(&held["status"]), attempts(&held).len()), ("queued", 0));
    assert_eq!(taken_by_nxcloud(&gateway, TO, "in the backup"), 0);
    let release = gateway.client.request(reqwest::Method::POST, "/v1/release").bearer_auth(ops);
    assert_eq!(gateway.client.send(release).await.status, 204);
    gateway.wait_for_status(&id, "sent").await;
    assert_eq!(taken_by_nxcloud(&gateway, TO, "in the backup"), 1);
}
