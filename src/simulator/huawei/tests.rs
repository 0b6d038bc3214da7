//! Both send calls and every push, over the wire.

use serde_json::json;

use super::super::{
    Behaviour, Protocol, Region, ScriptedReport, Simulator,
    push::InboundPush,
    sdk_hmac,
    testing::{FORM, JSON, Receiver, TEMPLATE, bench, form_body, wsse_headers},
};
use secrecy::SecretString;

const NUMBER: &str = "+85260123456";

#[tokio::test]
async fn a_form_call_is_answered_number_by_number() {
    let bench = bench(|_| {}).await;
    let answer = bench.form(&[("to", "+85260123456,+8613800000001"), ("extend", "ref_1")]).await.unwrap();
    assert_eq!((answer.status, answer.code().as_str()), (200, "000000"));
    let json = answer.json();
    let first = &json["result"][0];
    assert_eq!(first["originTo"], NUMBER);
    assert_eq!(first["countryId"], "HK");
    assert_eq!(json["result"][1]["countryId"], "CN");
    assert_eq!(first["total"], 1);
    assert_eq!(first["from"], "isms100000001");
    assert_eq!(first["createTime"].as_str().unwrap().len(), 20);
    let (id, suffix) = first["smsMsgId"].as_str().unwrap().split_once('_').unwrap();
    assert!(uuid::Uuid::parse_str(id).is_ok() && suffix.parse::<u64>().is_ok());
    let accepted = bench.simulator.accepted();
    assert_eq!(accepted[0].message_id, first["smsMsgId"]);
    assert_eq!((accepted[0].reference.as_deref(), accepted[0].call), (Some("ref_1"), accepted[1].call));
    assert_eq!(accepted[0].params, ["123456"]);
}

#[tokio::test]
async fn a_json_call_holds_items_of_their_own() {
    let bench = bench(|_| {}).await;
    let item = |to: &str, code: &str| json!({"to": [to], "templateId": TEMPLATE, "templateParas": [code]});
    let content = json!([item(NUMBER, "111111"), item("+85260123457", "222222")]);
    let answer = bench.diff(&json!({"from": "isms1", "smsContent": content})).await.unwrap();
    assert_eq!(answer.statuses(), ["000000", "000000"]);
    let params: Vec<_> = bench.simulator.accepted().iter().map(|accepted| accepted.params.join("")).collect();
    assert_eq!(params, ["111111", "222222"]);
}

#[tokio::test]
async fn x_wsse_is_taken_once_for_each_nonce() {
    let bench = bench(|_| {}).await;
    let body = form_body(&[("to", NUMBER)]);
    let mut codes = Vec::new();
    for nonce in ["abc1", "abc1", "abc2"] {
        let [authorization, token] = wsse_headers(bench.clock.now(), nonce);
        let headers = [("content-type", FORM), (authorization.0, &authorization.1), (token.0, &token.1)];
        codes.push(bench.post("/sms/batchSendSms/v1", &headers, &body).await.unwrap().code());
    }
    assert_eq!(codes, ["000000", "E000101", "000000"]);
}

#[tokio::test]
async fn calls_that_are_not_signed_well_are_refused_with_their_code_and_status() {
    let bench = bench(|_| {}).await;
    let body = form_body(&[("to", NUMBER)]);
    let host = bench.simulator.addr().to_string();
    let sign = |key: &str, secret: &str, minutes: i64| {
        let signed = [("content-type", FORM), ("host", host.as_str())];
        let at = bench.clock.now() + chrono::TimeDelta::minutes(minutes);
        sdk_hmac::sign(key, secret, at, "/sms/batchSendSms/v1", "", &signed, body.as_bytes())
    };
    let cases = [
        (sign("simulator-key", "wrong", 0), 401, "E000101"),
        (sign("wrong", "simulator-secret", 0), 401, "E000102"),
        (sign("simulator-key", "simulator-secret", 16), 401, "E000110"),
        (sign("simulator-key", "simulator-secret", -16), 401, "E000110"),
        (("SDK-HMAC-SHA256 nonsense".to_owned(), String::new()), 401, "E000101"),
        (("Bearer x".to_owned(), String::new()), 400, "E000008"),
    ];
    for ((authorization, date), status, code) in cases {
        let headers = [("content-type", FORM), ("x-sdk-date", &date), ("authorization", &authorization)];
        let answer = bench.post("/sms/batchSendSms/v1", &headers, &body).await.unwrap();
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{authorization}");
    }
    let bare = bench.post("/sms/batchSendSms/v1", &[("content-type", FORM)], &body).await.unwrap();
    assert_eq!((bare.status, bare.code().as_str()), (400, "E000001"));
    assert!(bench.simulator.accepted().is_empty());
}

#[tokio::test]
async fn a_wrong_signature_is_answered_with_the_canonical_request() {
    let bench = bench(|options| options.huawei.app_secret = SecretString::from("another")).await;
    let answer = bench.form(&[("to", NUMBER)]).await.unwrap();
    let description = answer.json()["description"].as_str().unwrap().to_owned();
    assert!(description.contains("canonicalRequest:POST|/sms/batchSendSms/v1/||content-type:"), "{description}");
    assert!(!description.contains("another"));
}

#[tokio::test]
async fn the_content_type_and_the_format_are_checked_after_the_signature() {
    let bench = bench(|_| {}).await;
    let body = form_body(&[("to", NUMBER)]);
    assert_eq!(bench.huawei("/sms/batchSendSms/v1", JSON, &body).await.unwrap().code(), "E000040");
    assert_eq!(bench.huawei("/sms/batchSendDiffSms/v1", FORM, "{}").await.unwrap().code(), "E000040");
    let answer = bench.form(&[("to", "+852 6012 3456")]).await.unwrap();
    assert_eq!((answer.status, answer.code().as_str()), (400, "E000503"));
    assert!(answer.json().get("result").is_none());
}

#[tokio::test]
async fn five_hundred_numbers_are_taken_in_one_call() {
    let bench = bench(|_| {}).await;
    let numbers: Vec<String> = (0..500).map(|number| format!("+8526{number:07}")).collect();
    let answer = bench.form(&[("to", &numbers.join(","))]).await.unwrap();
    assert_eq!(answer.statuses().len(), 500);
}

#[tokio::test]
async fn clean_but_wrong_and_repeated_numbers_fail_alone() {
    let bench = bench(|_| {}).await;
    let answer = bench.form(&[("to", &format!("{NUMBER},{NUMBER},123,85260123457,+85260123458"))]).await.unwrap();
    assert_eq!((answer.status, answer.code().as_str()), (200, "000000"));
    assert_eq!(answer.statuses(), ["000000", "E200041", "E000503", "E000503", "000000"]);
    assert_eq!(bench.simulator.accepted().len(), 2);
    assert_eq!(bench.simulator.counts().providers[&Protocol::Huawei].refused["E000503"], 2);
}

#[tokio::test]
async fn mainland_numbers_without_a_plus_are_chinese() {
    let bench = bench(|options| options.huawei.region = Region::Cn).await;
    let answer = bench.form(&[("to", "13800000001,+8613800000001")]).await.unwrap();
    assert_eq!(answer.statuses(), ["000000", "E200041"]);
    assert_eq!(answer.json()["result"][0]["originTo"], "13800000001");
}

#[tokio::test]
async fn when_every_number_fails_the_call_fails_and_still_says_why() {
    let bench = bench(|_| {}).await;
    let answer = bench.form(&[("to", "+85260980015,+85260980033")]).await.unwrap();
    assert_eq!((answer.status, answer.code().as_str()), (400, "E000510"));
    assert_eq!(answer.statuses(), ["E200015", "E200033"]);
    assert!(answer.json()["result"][0].get("total").is_none());
}

#[tokio::test]
async fn a_mixed_result_may_be_an_error_as_well() {
    let bench = bench(|options| options.settings.huawei_mixed_is_error = true).await;
    let answer = bench.form(&[("to", &format!("{NUMBER},+85260980015"))]).await.unwrap();
    assert_eq!((answer.status, answer.code().as_str()), (400, "E000510"));
    assert_eq!(answer.statuses(), ["000000", "E200015"]);
}

#[tokio::test]
async fn every_documented_status_can_be_forced_for_a_number_or_a_template() {
    let bench = bench(|_| {}).await;
    for tail in ["0015", "0028", "0029", "0030", "0031", "0033", "0041"] {
        let by_number = bench.form(&[("to", &format!("+8526098{tail}"))]).await.unwrap();
        assert_eq!(by_number.statuses(), [format!("E20{tail}")]);
        let template = format!("8ff55eac1d0b478ab3c06c3c6a20{tail}");
        let by_template = bench.form(&[("to", NUMBER), ("templateId", &template)]).await.unwrap();
        assert_eq!(by_template.statuses(), [format!("E20{tail}")]);
    }
    assert!(bench.simulator.accepted().is_empty());
}

#[tokio::test]
async fn a_code_of_the_whole_call_takes_the_other_numbers_with_it() {
    let bench = bench(|_| {}).await;
    for (tail, status, code) in
        [("0503", 400, "E000503"), ("0112", 401, "E000112"), ("0623", 403, "E000623"), ("0510", 400, "E000510")]
    {
        let answer = bench.form(&[("to", &format!("{NUMBER},+8526098{tail}"))]).await.unwrap();
        assert_eq!((answer.status, answer.code().as_str()), (status, code));
        assert!(answer.json().get("result").is_none());
    }
    assert!(bench.simulator.accepted().is_empty());
}

#[tokio::test]
async fn templates_that_are_described_are_checked() {
    let kinds = ["NUM_6", "TXT_4", "DATE", "TIME"].map(str::to_owned);
    let bench = bench(|options| {
        options.huawei.templates.insert("described".to_owned(), kinds.to_vec());
    })
    .await;
    let cases = [
        (r#"["123456","Anna","2017/7/1","09:30"]"#, "000000"),
        (r#"["123456","Anna","2017/7/1"]"#, "E200028"),
        (r#"["1234567","Anna","2017/7/1","09:30"]"#, "E200028"),
        (r#"["1a2b3c","Anna","2017/7/1","09:30"]"#, "E200028"),
        (r#"["123456","Annas","2017/7/1","09:30"]"#, "E200028"),
        (r#"["123456","","2017/7/1","09:30"]"#, "E200028"),
        (r#"["123456","Anna","1 July","09:30"]"#, "E200028"),
        (r#"["123456","Anna","2017/7/1","late"]"#, "E200028"),
    ];
    for (params, status) in cases {
        let fields = [("to", NUMBER), ("templateId", "described"), ("templateParas", params)];
        assert_eq!(bench.form(&fields).await.unwrap().statuses(), [status], "{params}");
    }
    assert_eq!(bench.form(&[("to", NUMBER)]).await.unwrap().statuses(), ["E200030"]);
}

#[tokio::test]
async fn a_sender_outside_the_list_fails_the_numbers() {
    let bench = bench(|options| options.huawei.senders = vec!["isms100000001".to_owned()]).await;
    assert_eq!(bench.form(&[("to", NUMBER)]).await.unwrap().statuses(), ["000000"]);
    assert_eq!(bench.form(&[("to", NUMBER), ("from", "isms2")]).await.unwrap().statuses(), ["E200029"]);
}

#[tokio::test]
async fn a_report_goes_to_the_address_of_the_call_as_a_form() {
    let bench = bench(|_| {}).await;
    let mut gateway = Receiver::start().await;
    let callback = format!("{}/huawei/ref.mac", gateway.url);
    let answer = bench.form(&[("to", NUMBER), ("statusCallback", &callback), ("extend", "ref_1")]).await.unwrap();
    let pushed = gateway.next().await;
    assert_eq!(pushed.path, "/callbacks/huawei/ref.mac");
    assert_eq!(pushed.header("content-type"), FORM);
    assert_eq!(pushed.field("smsMsgId"), answer.json()["result"][0]["smsMsgId"]);
    let fields = ["status", "sequence", "total", "source", "orgCode", "extend", "to"].map(|name| pushed.field(name));
    assert_eq!(fields, ["DELIVRD", "1", "1", "2", "000", "ref_1", NUMBER]);
    assert!(pushed.field("updateTime").ends_with('Z'));
    assert!(pushed.headers.get("authorization").is_none());
}

#[tokio::test]
async fn without_extend_the_report_does_not_name_the_recipient() {
    let bench = bench(|_| {}).await;
    let mut gateway = Receiver::start().await;
    bench.form(&[("to", NUMBER), ("statusCallback", gateway.url.as_str())]).await.unwrap();
    let pushed = gateway.next().await;
    assert!(!pushed.has_field("to") && !pushed.has_field("extend"));
}

#[tokio::test]
async fn a_report_of_the_platform_itself_has_no_time() {
    let bench = bench(|_| {}).await;
    let mut gateway = Receiver::start().await;
    bench.form(&[("to", "+85260970010"), ("statusCallback", gateway.url.as_str())]).await.unwrap();
    let pushed = gateway.next().await;
    assert_eq!((pushed.field("status"), pushed.field("source")), ("EXPIRED".to_owned(), "1".to_owned()));
    assert!(!pushed.has_field("updateTime"));
}

#[tokio::test]
async fn reports_without_an_address_of_their_own_come_in_batches() {
    let bench = bench(|options| options.settings.report_delay_ms = 50).await;
    let mut gateway = Receiver::start().await;
    bench.simulator.change(|settings| settings.huawei_report_url = Some(gateway.url.clone()));
    let numbers: Vec<String> = (0..120).map(|number| format!("+8526{number:07}")).collect();
    bench.form(&[("to", &numbers.join(",")), ("extend", "ref_1")]).await.unwrap();
    bench.simulator.idle().await;
    let pushed = gateway.rest();
    assert!(pushed.iter().all(|push| push.header("content-type") == "application/JSON;charset=UTF-8"));
    // How many fall due together depends on the moment, so only the sum is certain.
    let reports = pushed.iter().map(|push| push.json()["statusReportList"].as_array().unwrap().len());
    assert_eq!(reports.sum::<usize>(), 120);
    let first = &pushed[0].json()["statusReportList"][0];
    assert_eq!((first["status"].as_str(), first["total"].as_str()), (Some("DELIVRD"), Some("1")));
    assert_eq!(first["extend"], "ref_1");
}

#[tokio::test]
async fn a_batch_holds_fifty_reports() {
    let bench = bench(|_| {}).await;
    let numbers: Vec<String> = (0..120).map(|number| format!("+8526{number:07}")).collect();
    bench.form(&[("to", &numbers.join(","))]).await.unwrap();
    bench.simulator.change(|settings| settings.huawei_report_url = Some("http://127.0.0.1:9/".parse().unwrap()));
    let due: Vec<_> =
        bench.simulator.accepted().into_iter().map(|message| (message, ScriptedReport::default())).collect();
    let batches = super::push::batches(&bench.simulator.world, &due);
    let sizes: Vec<usize> = batches.iter().map(|batch| batch.message_ids.len()).collect();
    assert_eq!(sizes, [50, 50, 20]);
}

#[tokio::test]
async fn without_any_address_reports_are_dropped() {
    let bench = bench(|_| {}).await;
    bench.form(&[("to", NUMBER)]).await.unwrap();
    bench.simulator.idle().await;
    let counts = bench.simulator.counts().pushes;
    assert_eq!((counts.made, counts.dropped, counts.waiting), (0, 1, 0));
}

#[tokio::test]
async fn applications_with_push_keys_get_signed_pushes() {
    let push_key = ("push-ak".to_owned(), SecretString::from("push-sk"));
    let bench = bench(|options| options.huawei.push_key = Some(push_key)).await;
    let mut gateway = Receiver::start().await;
    bench.form(&[("to", NUMBER), ("statusCallback", gateway.url.as_str())]).await.unwrap();
    let pushed = gateway.next().await;
    let authorization = pushed.header("authorization");
    let signed = "SDK-HMAC-SHA256 Access=push-ak,SignedHeaders=connection;content-length;content-type;host;x-sdk-date,";
    assert!(authorization.starts_with(signed), "{authorization}");
    let (headers, body) = (&pushed.headers, pushed.body.as_bytes());
    let request = sdk_hmac::Received { method: "POST", path: &pushed.path, query: "", headers, body };
    let checked = sdk_hmac::verify(request, bench.clock.now(), |key| (key == "push-ak").then_some("push-sk"));
    assert_eq!(checked, Ok(()));
}

#[tokio::test]
async fn long_messages_are_reported_part_by_part() {
    let bench = bench(|_| {}).await;
    let mut gateway = Receiver::start().await;
    let answer = bench.form(&[("to", "+85260970007"), ("statusCallback", gateway.url.as_str())]).await.unwrap();
    assert_eq!(answer.json()["result"][0]["total"], 3);
    bench.simulator.idle().await;
    let mut parts: Vec<_> = gateway.rest().iter().map(|push| (push.field("sequence"), push.field("status"))).collect();
    parts.sort();
    let expected = [("1", "DELIVRD"), ("2", "UNDELIV"), ("3", "DELIVRD")];
    assert_eq!(parts, expected.map(|(part, status)| (part.to_owned(), status.to_owned())));
}

#[tokio::test]
async fn a_scripted_report_says_what_it_is_told() {
    let bench = bench(|_| {}).await;
    let mut gateway = Receiver::start().await;
    let report = ScriptedReport {
        org_code: Some("0x45".to_owned()),
        description: Some("barred".to_owned()),
        message_id: Some("somebody-elses".to_owned()),
        ..ScriptedReport::new("SMECL:FAILED")
    };
    bench.simulator.next_for(NUMBER, Behaviour::reports(vec![report]));
    bench.form(&[("to", NUMBER), ("statusCallback", gateway.url.as_str())]).await.unwrap();
    let pushed = gateway.next().await;
    let fields = ["status", "orgCode", "statusDesc", "smsMsgId"].map(|name| pushed.field(name));
    assert_eq!(fields, ["SMECL:FAILED", "0x45", "barred", "somebody-elses"]);
}

#[tokio::test]
async fn the_answer_may_leave_a_number_out_that_was_taken() {
    let bench = bench(|_| {}).await;
    let answer = bench.form(&[("to", &format!("{NUMBER},+85260970041"))]).await.unwrap();
    assert_eq!(answer.statuses().len(), 1);
    assert_eq!(bench.simulator.accepted().len(), 2);
}

fn inbound(simulator: &Simulator) -> String {
    let (from, to) = ("+8615512345172".to_owned(), "1069031221280012".to_owned());
    let text = "退订 & more".to_owned();
    let inbound = InboundPush { provider: Protocol::Huawei, from, to, text, message_id: None };
    simulator.push_inbound(inbound).unwrap()
}

#[tokio::test]
async fn inbound_messages_go_to_the_uplink_address() {
    let mut gateway = Receiver::start().await;
    let bench = bench(|options| options.settings.huawei_uplink_url = Some(gateway.url.clone())).await;
    let id = inbound(&bench.simulator);
    let pushed = gateway.next().await;
    let fields = ["smsMsgId", "from", "to", "body"].map(|name| pushed.field(name));
    assert_eq!(fields, [id.as_str(), "+8615512345172", "1069031221280012", "退订 & more"]);
    assert!(!pushed.has_field("createTime"));
    bench.simulator.change(|settings| settings.huawei_uplink_time = true);
    inbound(&bench.simulator);
    assert!(gateway.next().await.has_field("createTime"));
}
