//! What is the same for all protocols: broken answers, order, scripts, chance, the control calls, start and stop.

use serde_json::{Value, json};

use super::{
    testing::{Answer, Bench, Receiver, bench},
    *,
};

async fn send(bench: &Bench, protocol: Protocol, tail: &str) -> Result<Answer, reqwest::Error> {
    match protocol {
        Protocol::Huawei => bench.form(&[("to", &format!("+85260{tail}"))]).await,
        Protocol::Nxcloud => bench.nxcloud(&format!("85260{tail}"), "a text").await,
        Protocol::Voice => bench.call(&format!("0360{tail}"), "123456").await,
    }
}

fn control(bench: &Bench, path: &str) -> String {
    format!("{}/_control/{path}", bench.simulator.base_url())
}

async fn get(bench: &Bench, path: &str) -> Value {
    bench.http.get(control(bench, path)).send().await.unwrap().json().await.unwrap()
}

async fn post(bench: &Bench, path: &str, body: Value) -> (u16, String) {
    let answer = bench.http.post(control(bench, path)).json(&body).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

#[tokio::test]
async fn answers_are_lost_with_and_without_the_message() {
    let bench = bench(|_| {}).await;
    for protocol in Protocol::ALL {
        assert!(send(&bench, protocol, "970021").await.is_err(), "{protocol:?}");
        assert_eq!(bench.simulator.counts().providers[&protocol].accepted, 0, "{protocol:?}");
        assert!(send(&bench, protocol, "970020").await.is_err(), "{protocol:?}");
        assert_eq!(bench.simulator.counts().providers[&protocol].accepted, 1, "{protocol:?}");
    }
}

#[tokio::test]
async fn a_truncated_answer_has_its_head_and_no_end() {
    let bench = bench(|_| {}).await;
    for protocol in Protocol::ALL {
        let error = send(&bench, protocol, "970025").await.unwrap_err();
        assert!(error.is_decode() || error.is_body(), "{protocol:?}: {error:?}");
        assert_eq!(bench.simulator.counts().providers[&protocol].accepted, 1, "{protocol:?}");
    }
}

#[tokio::test]
async fn unreadable_answers_come_with_200_and_the_message_is_taken() {
    let bench = bench(|_| {}).await;
    for (tail, body) in [("970024", "<html>\u{0}{\"code\": what?"), ("970026", "")] {
        for protocol in Protocol::ALL {
            let answer = send(&bench, protocol, tail).await.unwrap();
            assert_eq!((answer.status, answer.body.as_str()), (200, body), "{protocol:?}");
        }
    }
    assert_eq!(bench.simulator.accepted().len(), 6);
}

#[tokio::test]
async fn http_refusals_are_the_same_for_all_and_only_gateway_errors_take_the_message() {
    let bench = bench(|_| {}).await;
    let cases = [
        ("970030", 429, Some("1"), 0),
        ("970031", 429, None, 0),
        ("970032", 503, Some("1"), 0),
        ("970033", 503, None, 0),
        ("970034", 500, None, 0),
        ("970035", 502, None, 1),
        ("970036", 504, None, 1),
        ("970037", 302, None, 0),
        ("970038", 404, None, 0),
    ];
    for (tail, status, retry_after, taken) in cases {
        for protocol in Protocol::ALL {
            bench.simulator.reset();
            let answer = send(&bench, protocol, tail).await.unwrap();
            let header = answer.headers.get("retry-after").map(|value| value.to_str().unwrap());
            assert_eq!((answer.status, header), (status, retry_after), "{protocol:?} {tail}");
            assert_eq!(bench.simulator.accepted().len(), taken, "{protocol:?} {tail}");
        }
    }
}

#[tokio::test]
async fn a_throttled_number_is_taken_the_second_time() {
    let bench = bench(|_| {}).await;
    assert_eq!(send(&bench, Protocol::Huawei, "970040").await.unwrap().statuses(), ["E200015"]);
    assert_eq!(send(&bench, Protocol::Huawei, "970040").await.unwrap().statuses(), ["000000"]);
    for protocol in [Protocol::Nxcloud, Protocol::Voice] {
        assert_eq!(send(&bench, protocol, "970040").await.unwrap().status, 429);
        assert_eq!(send(&bench, protocol, "970040").await.unwrap().status, 200);
    }
}

#[tokio::test]
async fn a_report_can_come_before_the_answer() {
    let mut gateway = Receiver::start().await;
    let bench = bench(|options| options.settings.nxcloud_callback_url = Some(gateway.url.clone())).await;
    let answer = send(&bench, Protocol::Nxcloud, "970005").await.unwrap();
    let before = gateway.rest();
    assert_eq!(before.len(), 1, "it was there when the answer was");
    assert_eq!(before[0].field("messageId"), answer.json()["data"]["messageId"]);
}

#[tokio::test]
async fn reports_can_be_doubled_and_out_of_order() {
    let mut gateway = Receiver::start().await;
    let bench = bench(|options| options.settings.huawei_report_url = Some(gateway.url.clone())).await;
    send(&bench, Protocol::Huawei, "970006").await.unwrap();
    bench.simulator.idle().await;
    let statuses: Vec<String> = gateway
        .rest()
        .iter()
        .flat_map(|push| push.json()["statusReportList"].as_array().unwrap().clone())
        .map(|report| report["status"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(statuses, ["DELIVRD", "DELIVRD", "ACCEPTD", "ACCEPTD", "DELIVRD"]);
}

#[tokio::test]
async fn numbers_choose_nothing_when_they_are_plain() {
    let bench = bench(|options| options.settings.special_numbers = false).await;
    assert_eq!(send(&bench, Protocol::Huawei, "980503").await.unwrap().code(), "000000");
    assert_eq!(send(&bench, Protocol::Nxcloud, "970034").await.unwrap().status, 200);
}

#[tokio::test]
async fn faults_by_chance_strike_about_as_often_as_asked() {
    let bench = bench(|options| {
        options.settings.faults = FaultRates { busy: 0.3, ..FaultRates::default() };
        options.seed = 3;
    })
    .await;
    let mut refused = 0;
    for number in 0..100 {
        let answer = bench.nxcloud(&format!("8526{number:07}"), "a").await.unwrap();
        refused += usize::from(answer.status == 503);
    }
    assert!((15..=45).contains(&refused), "{refused}");
    assert_eq!(bench.simulator.accepted().len(), 100 - refused);
}

#[tokio::test]
async fn pushes_keep_how_they_were_answered() {
    let gateway = Receiver::start().await;
    let bench = bench(|options| options.settings.nxcloud_callback_url = Some(gateway.url.clone())).await;
    send(&bench, Protocol::Nxcloud, "123456").await.unwrap();
    bench.simulator.idle().await;
    let push = &bench.simulator.pushes()[0];
    assert_eq!((push.status, push.answer.as_deref()), (Some(200), Some("success")));
    assert_eq!(push.message_ids[0], bench.simulator.accepted()[0].message_id);

    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let nobody = format!("http://{closed}/").parse().unwrap();
    bench.simulator.change(|settings| settings.nxcloud_callback_url = Some(nobody));
    send(&bench, Protocol::Nxcloud, "123457").await.unwrap();
    bench.simulator.idle().await;
    assert!(bench.simulator.pushes()[1].error.is_some());
    let counts = bench.simulator.counts().pushes;
    assert_eq!((counts.made, counts.taken, counts.failed, counts.waiting), (2, 1, 1, 0));
}

#[tokio::test]
async fn a_push_that_is_not_taken_is_made_again_where_the_settings_say_so() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url: url::Url = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
    let bench = bench(|options| {
        options.settings = Settings {
            nxcloud_callback_url: Some(url),
            push_tries: 100,
            push_retry_ms: 10,
            faults: FaultRates { report_early: 0.5, ..FaultRates::default() },
            ..Settings::default()
        };
    })
    .await;
    let address = listener.local_addr().unwrap();
    drop(listener);
    for tail in ["123456", "123457", "123458", "123459"] {
        send(&bench, Protocol::Nxcloud, tail).await.unwrap();
    }
    while bench.simulator.counts().pushes.failed < 4 {
        tokio::task::yield_now().await;
    }
    let router = axum::Router::new().fallback(axum::routing::any(async || "success"));
    let listener = TcpListener::bind(address).await.unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    bench.simulator.idle().await;
    let counts = bench.simulator.counts().pushes;
    assert_eq!((counts.taken, counts.waiting, counts.in_flight), (4, 0, 0));
}

#[tokio::test]
async fn counting_only_keeps_no_lists_but_still_pushes() {
    let mut gateway = Receiver::start().await;
    let bench = bench(|options| {
        options.settings.nxcloud_callback_url = Some(gateway.url.clone());
        options.keep = Keep::CountsOnly;
    })
    .await;
    send(&bench, Protocol::Nxcloud, "123456").await.unwrap();
    gateway.next().await;
    bench.simulator.idle().await;
    assert!(bench.simulator.accepted().is_empty() && bench.simulator.pushes().is_empty());
    assert_eq!(bench.simulator.counts().pushes.taken, 1);
}

#[tokio::test]
async fn doubles_are_found() {
    let bench = bench(|_| {}).await;
    for content in ["a", "b", "a"] {
        bench.nxcloud("85260123456", content).await.unwrap();
    }
    assert_eq!(bench.simulator.times_accepted(Protocol::Nxcloud, "85260123456", "a"), 2);
    let doubles = get(&bench, "doubles").await;
    assert_eq!(doubles, json!([{"provider": "nxcloud", "to": "85260123456", "content": "a"}]));
    assert_eq!(get(&bench, "counts").await["doubled"], 1);
}

#[tokio::test]
async fn the_control_calls_script_look_change_and_reset() {
    let mut gateway = Receiver::start().await;
    let bench = bench(|_| {}).await;
    let script = json!({"match": {"provider": "nxcloud", "to": "+85260123456"}, "behaviour": {"code": "9005"}});
    assert_eq!(post(&bench, "script", script).await.0, 204);
    assert_eq!(get(&bench, "counts").await["scripts_waiting"], 1);
    assert_eq!(bench.nxcloud("85260123456", "a").await.unwrap().code(), "9005");
    assert_eq!(bench.nxcloud("85260123456", "a").await.unwrap().code(), "0");
    send(&bench, Protocol::Voice, "123456").await.unwrap();

    assert_eq!(get(&bench, "calls?provider=voice").await[0]["text"], "123456");
    assert_eq!(get(&bench, "calls?to=%2B84360123456").await.as_array().unwrap().len(), 1);
    assert_eq!(get(&bench, "calls?limit=1").await[0]["provider"], "voice");
    assert_eq!(get(&bench, "counts").await["providers"]["nxcloud"]["refused"]["9005"], 1);

    assert_eq!(post(&bench, "settings", json!({"nxcloud_callback_url": gateway.url})).await.0, 200);
    let inbound = json!({"provider": "nxcloud", "from": "8613800000001", "to": "8615088888888", "text": "hi"});
    let (status, answer) = post(&bench, "inbound", inbound).await;
    assert_eq!(status, 202, "{answer}");
    assert_eq!(gateway.next().await.field("content"), "hi");
    bench.simulator.idle().await;
    assert_eq!(get(&bench, "pushes").await[0]["kind"], "inbound");

    assert_eq!(post(&bench, "reset", json!({})).await.0, 204);
    assert_eq!(get(&bench, "calls").await, json!([]));
    assert_eq!(get(&bench, "settings").await["nxcloud_callback_url"], Value::Null);
}

#[tokio::test]
async fn wrong_control_calls_are_refused() {
    let bench = bench(|_| {}).await;
    let cases = [
        ("settings", json!({"unknown": 1})),
        ("script", json!({"behaviour": {"unknown": 1}})),
        ("inbound", json!({"provider": "nxcloud", "from": "1", "to": "2", "text": "hi"})),
        ("inbound", json!({"provider": "voice", "from": "1", "to": "2", "text": "hi"})),
    ];
    for (path, body) in cases {
        assert_eq!(post(&bench, path, body.clone()).await.0, 422, "{path} {body}");
    }
}

#[tokio::test]
async fn the_clock_offset_moves_the_date_and_the_signatures() {
    let bench = bench(|options| options.settings.clock_offset_ms = 3_600_000).await;
    let answer = bench.nxcloud("85260123456", "a").await.unwrap();
    assert_eq!(answer.code(), "1004");
    let date = answer.headers.get("date").unwrap().to_str().unwrap();
    let date = chrono::DateTime::parse_from_rfc2822(date).unwrap();
    assert!((date.to_utc() - bench.clock.now()).num_minutes() >= 59);
}

#[tokio::test]
async fn stopping_closes_open_calls_and_the_port() {
    let bench = bench(|_| {}).await;
    let addr = bench.simulator.addr();
    let Bench { simulator, http, .. } = bench;
    simulator.next_for("0361234567", Behaviour { answer_delay_ms: 600_000, ..Behaviour::default() });
    let body = json!({
        "username": "simulator", "pass": "simulator-pass", "key": "simulator-key",
        "sender": "DAUSO1", "phonesend": "0361234567", "message": "1",
    });
    let call = http.post(format!("http://{addr}/onsmsapivoice/postSMS")).json(&body).send();
    let call = tokio::spawn(call);
    while simulator.accepted().is_empty() {
        tokio::task::yield_now().await;
    }
    simulator.stop().await;
    assert!(call.await.unwrap().is_ok_and(|answer| answer.status().is_success()), "answered at once");
    assert!(std::net::TcpListener::bind(addr).is_ok(), "the port is free");
}
