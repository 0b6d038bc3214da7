//! What carriers may push and from where, whatever it says.

use serde_json::json;

use crate::support::{
    TestGateway,
    carriers::{HUAWEI, NXCLOUD, form, nx_receipt},
    gateway::string,
};

const UNREADABLE: &str = "select 1 from callbacks where state = 'unreadable'";
const KEPT: &str = "select 1 from callbacks";

#[tokio::test]
async fn what_cannot_be_read_is_kept_and_answered_like_anything_else() {
    let gateway = TestGateway::start(&format!("{NXCLOUD}{}", HUAWEI.split("[routes").next().unwrap())).await;
    let bodies: [&[u8]; 8] =
        [b"", b"\0\0\0", b"{", b"[1,2", b"<html>", b"\xff\xfe\xfd", b"a=b&c", b"{\"statusReportList\": \"none\"}"];
    for (count, body) in bodies.into_iter().enumerate() {
        for (provider, token, success) in
            [("nx", "nx-token", "success"), ("hw", "hw-token", r#"{"returnCode":0,"returnCodeDesc":"Success"}"#)]
        {
            let answer = gateway.push(provider, token, &[], body).await;
            assert_eq!((answer.status, answer.text.as_str()), (200, success), "{provider}: {body:?}");
        }
        let kept = i64::try_from(count + 1).unwrap() * 2;
        assert_eq!(gateway.database.count(KEPT).await, kept, "{body:?}");
    }
    assert!(gateway.database.count(UNREADABLE).await > 0);
}

#[tokio::test]
async fn a_push_that_is_too_large_is_refused_and_not_kept() {
    let gateway = TestGateway::start(NXCLOUD).await;
    let answer = gateway.push("nx", "nx-token", &[], vec![b'x'; 256 * 1024 + 1]).await;
    assert_eq!((answer.status, answer.text.as_str()), (413, "error"));
    assert_eq!(gateway.database.count(KEPT).await, 0);
    let largest = gateway.push("nx", "nx-token", &[], vec![b'x'; 256 * 1024]).await;
    assert_eq!((largest.status, largest.text.as_str()), (200, "success"));
    assert_eq!(gateway.database.count(KEPT).await, 1);
}

#[tokio::test]
async fn a_report_about_nothing_is_answered_and_waits() {
    let gateway = TestGateway::start(NXCLOUD).await;
    let answer = gateway.push("nx", "nx-token", &[], nx_receipt("nobody", "+8618637616887", "DELIVRD")).await;
    assert_eq!((answer.status, answer.text.as_str()), (200, "success"));
    assert_eq!(gateway.database.count("select 1 from reports where outcome = 'waiting'").await, 1);
}

#[tokio::test]
async fn text_that_the_database_cannot_hold_does_no_harm() {
    let gateway = TestGateway::start(NXCLOUD).await;
    let bodies = [
        form(&[
            ("messageId", "a\0b"),
            ("toPhone", "\0"),
            ("fromPhone", "+1\0"),
            ("content", "\0"),
            ("smsStatus", "D\0"),
        ]),
        form(&[
            ("messageId", "mo-\0"),
            ("toPhone", "+8615088888888"),
            ("fromPhone", "+12347200160"),
            ("content", "a\0b"),
        ]),
        json!({ "messageId": "x\0y", "toPhone": "8615088888888", "fromPhone": "1", "content": "\0", "type": "0",
            "smsStatus": "DELIVRD" })
        .to_string(),
    ];
    for body in bodies {
        let answer = gateway.push("nx", "nx-token", &[], body.clone()).await;
        assert_eq!((answer.status, answer.text.as_str()), (200, "success"), "{body}");
    }
}

#[tokio::test]
async fn only_listed_networks_may_push_and_only_trusted_proxies_may_speak_for_others() {
    let listed = |keys: &str| NXCLOUD.replace("callback_token", &format!("{keys}\ncallback_token"));
    let direct = listed("callback_allow = [\"192.0.2.0/24\"]");
    let behind_proxy = format!("[server]\ntrusted_proxies = [\"127.0.0.0/8\"]\n{direct}");
    let cases = [
        (&listed("callback_allow = [\"127.0.0.1\"]"), "", 200),
        (&direct, "", 404),
        (&direct, "192.0.2.7", 404),
        (&behind_proxy, "", 404),
        (&behind_proxy, "192.0.2.7", 200),
        (&behind_proxy, "192.0.2.7, 198.51.100.1", 404),
        (&behind_proxy, "198.51.100.1, 192.0.2.7", 200),
        (&behind_proxy, "192.0.2.7, somebody", 404),
    ];
    for (config, forwarded, status) in cases {
        let gateway = TestGateway::start(config).await;
        let header = [("x-forwarded-for", forwarded)];
        let headers = if forwarded.is_empty() { [].as_slice() } else { &header };
        let answer = gateway.push("nx", "nx-token", headers, nx_receipt("x", "+8618637616887", "DELIVRD")).await;
        assert_eq!(answer.status, status, "{forwarded:?}");
        let kept = i64::from(status == 200);
        gateway.until(forwarded, async || (gateway.database.count(KEPT).await == kept).then_some(())).await;
    }
}

#[tokio::test]
async fn every_token_of_a_list_is_good_while_rotating() {
    let config = NXCLOUD.replace("callback_token = \"nx-token\"", "callback_token = [\"new\", \"old\"]");
    let gateway = TestGateway::start(&config).await;
    for (token, status) in [("new", 200), ("old", 200), ("nx-token", 404)] {
        let answer = gateway.push("nx", token, &[], nx_receipt("x", "+8618637616887", "DELIVRD")).await;
        assert_eq!(answer.status, status, "{token}");
    }
}

#[tokio::test]
async fn a_provider_that_is_only_polled_takes_no_pushes() {
    let gateway = TestGateway::start(crate::support::carriers::VOICE).await;
    assert_eq!(gateway.push("call", "anything", &[], "1").await.status, 404);
}

#[tokio::test]
async fn a_listener_of_its_own_serves_callbacks_and_health_and_nothing_else() {
    let config = format!("[server]\ncallback_listen = \"127.0.0.1:0\"\n{NXCLOUD}");
    let gateway = TestGateway::start(&config).await;
    let own = crate::support::Client::new(format!("http://{}", gateway.gateway.callback_address().unwrap()));
    assert_eq!(own.get("", "/healthz").await.status, 200);
    assert_eq!(own.get(crate::support::gateway::OPS, "/v1/messages").await.status, 404);
    assert_eq!(own.get("", "/docs/").await.status, 404);
    let id = gateway.text("+85260970004", "hello").await;
    let message = gateway.wait_for_status(&id, "sent").await;
    let body = nx_receipt(string(&message["provider_message_id"]), "+85260970004", "DELIVRD");
    assert_eq!(gateway.push("nx", "nx-token", &[], body.clone()).await.status, 404, "not on the other one");
    let pushed = own.send(own.request(reqwest::Method::POST, "/callbacks/nx/nx-token").body(body)).await;
    assert_eq!((pushed.status, pushed.text.as_str()), (200, "success"));
    gateway.wait_for_end(&id, "delivered").await;
}

#[tokio::test]
async fn the_address_of_one_call_is_for_its_own_provider_and_for_reports_only() {
    let gateway = TestGateway::start(&format!("{HUAWEI}{}", NXCLOUD.split("[routes").next().unwrap())).await;
    let template = json!({ "name": "parcel", "params": { "place": "Main gate" } });
    let id = gateway.send(json!({ "to": "+85260000001", "template": template })).await;
    gateway.wait_for_end(&id, "delivered").await;
    let address = gateway.simulator.accepted()[0].status_callback.clone().unwrap();
    let of_call = address.rsplit('/').next().unwrap().to_owned();
    let elsewhere = gateway.push("nx", &of_call, &[], nx_receipt("any", "+8618637616887", "DELIVRD")).await;
    assert_eq!(elsewhere.status, 404);
    let uplink = form(&[("smsMsgId", "up-1"), ("from", "+85260000002"), ("to", "isms100000001"), ("body", "STOP")]);
    assert_eq!(gateway.push("hw", &of_call, &[], uplink.clone()).await.status, 401);
    assert_eq!(gateway.push("hw", "hw-token", &[], uplink).await.status, 200);
    assert_eq!(gateway.database.count("select 1 from inbound_messages").await, 1);
}
