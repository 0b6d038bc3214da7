//! Templates that are registered at Huawei: values that are held against them before a message is stored, and configuration that
//! is made from them.

use serde_json::{Value, json};

use crate::{
    registrations::{MANAGEMENT, application, calls, intl_template, made, start},
    support::{
        Answer, TestGateway,
        carriers::HUAWEI,
        gateway::{SHOP, string},
    },
};

/// A gateway whose template `parcel` is bound to one that is registered and approved with this text.
async fn with_registered(text: &str) -> TestGateway {
    let gateway = start().await;
    let application = application(&gateway, "intl").await;
    let made = made(&gateway, "templates", &intl_template(&application, "parcel", text)).await;
    gateway.simulator.review(string(&made["id"]), "Adopted", "").unwrap();
    let id = string(&made["provider_template_id"]);
    gateway.restart(&format!("[templates.parcel.bindings.hw]\ntemplate_id = \"{id}\"")).await
}

fn parcel(place: &str) -> Value {
    json!({ "to": "+85260123456", "template": { "name": "parcel", "params": { "place": place } } })
}

/// Sends something good until a bad one is found fault with, since nobody waits for what is not known yet.
async fn known(gateway: &TestGateway, bad: &str) -> Answer {
    let gateway_ref = gateway;
    gateway
        .until("the template is known", async || {
            let answer = gateway_ref.post_message(parcel(bad)).await;
            (answer.status == 422).then_some(answer)
        })
        .await
}

#[tokio::test]
async fn values_that_a_registered_template_would_not_take_are_refused_before_anything_is_sent() {
    let gateway = with_registered("Your parcel ${NUM_4} waits").await;
    let answer = known(&gateway, "gate").await;
    assert_eq!(answer.problem(), (422, "template_params_invalid"), "{}", answer.text);
    assert_eq!(answer.errors(), [("/template/params/place".to_owned(), "template_params_invalid".to_owned())]);
    assert_eq!(gateway.post_message(parcel("12345")).await.problem(), (422, "template_params_invalid"));
    let batch = json!({
        "template": { "name": "parcel" },
        "recipients": [
            { "to": "+85260123457", "params": { "place": "gate" } },
            { "to": "+85260123458", "params": { "place": "1234" } },
        ],
    });
    let batch = gateway.client.post(SHOP, "/v1/batches", &batch).await;
    assert_eq!(batch.status, 202, "{}", batch.text);
    let failed = gateway.client.get(SHOP, "/v1/messages?status=failed").await.json;
    assert_eq!(failed["data"][0]["error"]["code"], "template_params_invalid", "{failed}");
    let preview = gateway.client.post(SHOP, "/v1/preview", &parcel("gate")).await;
    assert!(preview.json["warnings"].to_string().contains("digits only"), "{}", preview.text);
    let id = gateway.send(parcel("1234")).await;
    gateway.wait_for_end(&id, "delivered").await;
}

#[tokio::test]
async fn a_number_of_values_that_does_not_fit_is_refused() {
    let gateway = with_registered("Your parcel ${NUM_4} waits at ${TXT_9}").await;
    let answer = known(&gateway, "1234").await;
    assert_eq!(answer.errors(), [("/template".to_owned(), "template_params_invalid".to_owned())]);
}

#[tokio::test]
async fn a_management_side_that_is_down_stops_no_message() {
    let config = format!("{HUAWEI}{MANAGEMENT}")
        .replace("iam_endpoint = \"SIMULATOR\"", "iam_endpoint = \"http://127.0.0.1:9\"");
    let gateway = TestGateway::start(&config).await;
    for _ in 0..3 {
        let id = gateway.send(parcel("Main gate")).await;
        gateway.wait_for_end(&id, "delivered").await;
    }
}

#[tokio::test]
async fn a_template_that_is_unknown_at_huawei_is_not_found_fault_with() {
    let gateway = start().await;
    for _ in 0..3 {
        let id = gateway.send(parcel("Main gate")).await;
        gateway.wait_for_end(&id, "delivered").await;
    }
    let asked = calls(&gateway).into_iter().filter(|call| call.contains("template_id=")).count();
    assert_eq!(asked, 1, "and asked for once");
}

/// Runs the program with a configuration and gives back whether it went well and what it printed.
async fn run(config: &std::path::Path, arguments: &[&str]) -> (bool, String, String) {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_sms-gateway"));
    let output = command.arg("--config").arg(config).args(arguments).env_remove("DATABASE_URL").output().await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.success(), text(output.stdout), text(output.stderr))
}

#[tokio::test]
async fn approved_templates_are_printed_as_configuration_that_holds() {
    let gateway = start().await;
    let application = application(&gateway, "intl").await;
    for (name, text, status) in [
        ("Login code", "Your \"code\" is ${NUM_6}.", "Adopted"),
        ("login-code", "You have ${NUM_5} parcels at ${TXT_6}", "Adopted"),
        ("验证码", "{{ ${DATE} }}", "Adopted"),
        ("parcel", "Plain", "Adopted"),
        ("Rejected", "No", "Reject"),
    ] {
        let made = made(&gateway, "templates", &intl_template(&application, name, text)).await;
        gateway.simulator.review(string(&made["id"]), status, "").unwrap();
    }
    let folder = crate::support::gateway::Folder::new();
    let file = folder.0.join("gateway.toml");
    let config = format!("{HUAWEI}{MANAGEMENT}").replace("SIMULATOR", &gateway.simulator.base_url());
    std::fs::write(&file, &config).unwrap();
    let (good, printed, told) = run(&file, &["templates", "import", "hw"]).await;
    assert!(good, "{told}");
    std::fs::write(&file, format!("{config}{printed}")).unwrap();
    let (good, checked, _) = run(&file, &["check"]).await;
    assert!(good, "{checked}\n{printed}");

    let table: toml::Table = printed.parse().unwrap();
    let templates = table["templates"].as_table().unwrap();
    let names: Vec<&str> = templates.keys().map(String::as_str).collect();
    assert_eq!(names.len(), 4, "{names:?}");
    let code = &templates["login_code"];
    assert_eq!(code["text"].as_str(), Some("Your \"code\" is {{number}}."));
    assert_eq!(code["params"][0]["pattern"].as_str(), Some("[0-9]{1,6}"));
    let binding = &code["bindings"]["hw"];
    assert_eq!((binding["template_id"].as_str().unwrap().len(), binding["params"][0].as_str()), (32, Some("number")));
    assert_eq!(templates["login_code_2"]["bindings"]["hw"]["params"].as_array().unwrap().len(), 2);
    assert!(templates.contains_key("parcel_2"), "the name was taken: {names:?}");
    assert!(!printed.contains("Rejected") && !printed.contains("[templates.rejected"));

    let (_, again, _) = run(&file, &["templates", "import", "hw"]).await;
    assert!(again.lines().all(|line| line.starts_with("# ") && line.contains("is bound already")), "{again}");
}

#[tokio::test]
async fn an_import_that_cannot_be_says_why() {
    let gateway = TestGateway::start(HUAWEI).await;
    let folder = crate::support::gateway::Folder::new();
    let file = folder.0.join("gateway.toml");
    let config = format!("{HUAWEI}{MANAGEMENT}").replace("SIMULATOR", &gateway.simulator.base_url());
    for (config, provider, why) in [
        (config.replace("simulator-pass", "very-secret-wrong"), "hw", "The username or password is wrong."),
        (HUAWEI.replace("SIMULATOR", "http://127.0.0.1:9"), "hw", "management"),
        (config.clone(), "nobody", "there is no provider nobody"),
    ] {
        std::fs::write(&file, config).unwrap();
        let (good, printed, told) = run(&file, &["templates", "import", provider]).await;
        assert!(!good && printed.is_empty() && told.contains(why), "{told}");
        assert!(!told.contains("very-secret-wrong"));
    }
}
