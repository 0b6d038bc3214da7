//! Messages that arrive on our numbers: whose they are, and that each is kept once.

use serde_json::Value;
use sms_gateway::simulator::{InboundPush, Protocol, Region};

use crate::crash::NX;
use crate::support::{
    Setup, TestGateway,
    carriers::{HUAWEI, NXCLOUD, form},
    gateway::{AUDIT, BANK, OPS, SHOP, string},
    process::{Site, eventually},
};

const FROM: &str = "+8615512345678";

/// Both carriers; the number and the channel are the shop's, `csms2` and another number nobody's.
async fn start() -> TestGateway {
    let huawei = HUAWEI.replace("isms100000001\"", "csms100000001\"\nsenders = [\"csms2\"]\nregion = \"cn\"");
    let huawei = huawei.split("[templates").next().unwrap().to_owned();
    let nxcloud = NXCLOUD.replace("callback_token", "senders = [\"8615099999999\"]\ncallback_token");
    let config = format!("{huawei}{nxcloud}").replace("\"+8615088888888\"]", "\"+8615088888888\", \"csms100000001\"]");
    Setup::new(&config)
        .simulator(|options| options.huawei.region = Region::Cn)
        .pushes(|settings, base| {
            settings.nxcloud_callback_url = Some(format!("{base}/callbacks/nx/nx-token").parse().unwrap());
            settings.huawei_uplink_url = Some(format!("{base}/callbacks/hw/hw-token").parse().unwrap());
        })
        .start()
        .await
}

fn push(gateway: &TestGateway, provider: Protocol, to: &str, text: &str, id: &str) {
    let inbound = InboundPush {
        provider,
        from: FROM.to_owned(),
        to: to.to_owned(),
        text: text.to_owned(),
        message_id: Some(id.to_owned()),
    };
    gateway.simulator.push_inbound(inbound).unwrap();
}

async fn listed(gateway: &TestGateway, key: &str, query: &str) -> Vec<Value> {
    let answer = gateway.client.get(key, &format!("/v1/inbound_messages{query}")).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json["data"].as_array().unwrap().clone()
}

#[tokio::test]
async fn two_messages_with_the_same_text_are_two_and_one_that_is_pushed_twice_is_one() {
    let gateway = start().await;
    for (provider, to) in [(Protocol::Nxcloud, "8615088888888"), (Protocol::Huawei, "csms100000001")] {
        for id in ["mo-1", "mo-2", "mo-1", "mo-2", "mo-1"] {
            push(&gateway, provider, to, "yes", id);
        }
    }
    gateway.simulator.idle().await;
    let mut found: Vec<String> = listed(&gateway, SHOP, "")
        .await
        .iter()
        .map(|one| {
            format!("{} {} {}", string(&one["provider"]), string(&one["provider_message_id"]), string(&one["text"]))
        })
        .collect();
    found.sort();
    assert_eq!(found, ["hw mo-1 yes", "hw mo-2 yes", "nx mo-1 yes", "nx mo-2 yes"]);
    let events = "select from events where type = 'inbound_message.received' and app = 'shop'";
    assert_eq!(gateway.database.count(events).await, 4, "the app is told of each once");
}

#[tokio::test]
async fn what_comes_to_a_number_of_nobody_is_kept_for_operators() {
    let gateway = start().await;
    push(&gateway, Protocol::Huawei, "csms2", "whose am I?", "mo-1");
    push(&gateway, Protocol::Nxcloud, "8615099999999", "and I?", "mo-2");
    gateway.simulator.idle().await;
    for key in [SHOP, BANK] {
        assert_eq!(listed(&gateway, key, "").await, Vec::<Value>::new());
    }
    for key in [OPS, AUDIT] {
        let found = listed(&gateway, key, "").await;
        assert_eq!(found.len(), 2);
        assert!(found.iter().all(|one| one["app"].is_null()), "{found:?}");
        let path = format!("/v1/inbound_messages/{}", string(&found[0]["id"]));
        assert_eq!(gateway.client.get(key, &path).await.status, 200);
        assert_eq!(gateway.client.get(SHOP, &path).await.status, 404);
    }
    assert_eq!(listed(&gateway, OPS, "?to=csms2").await.len(), 1);
    let metrics = gateway.client.get("", "/metrics").await.text;
    assert!(metrics.contains("sms_gateway_inbound_unowned_total{provider=\"hw\"}"), "{metrics}");
    assert_eq!(gateway.database.count("select from events where type = 'inbound_message.received'").await, 0);
}

#[tokio::test]
async fn an_app_that_a_reload_gives_a_number_to_gets_what_comes_from_then_on() {
    let site = Site::new(&format!("{NX}[routes.sms]\nsteps = [{{ provider = \"nx\" }}]")).await;
    let process = site.start().await;
    let inbound = |id: &str| {
        form(&[("messageId", id), ("toPhone", "8615088888888"), ("fromPhone", &FROM[1..]), ("content", "hello")])
    };
    assert_eq!(process.push_receipt(inbound("mo-1")).await, Some(200));
    let of =
        async |key: &str| process.client.get(key, "/v1/inbound_messages").await.json["data"].as_array().unwrap().len();
    assert_eq!((of(SHOP).await, of(OPS).await), (0, 1));
    site.replace_in_config("[apps.shop]", "[apps.shop]\ninbound_numbers = [\"+8615088888888\"]");
    eventually("the file is read again", async || process.logged().contains("was read again").then_some(())).await;
    assert_eq!(process.push_receipt(inbound("mo-2")).await, Some(200));
    assert_eq!((of(SHOP).await, of(OPS).await), (1, 2), "what came before stays nobody's");
}
