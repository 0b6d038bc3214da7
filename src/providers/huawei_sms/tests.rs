//! Tests of the driver as a whole against a bare socket, so that what is checked is what really went over the wire.

use super::*;
use crate::{
    domain::{Timestamp, ids::AttemptId},
    providers::{
        BoundTemplate, ProviderErrorKind,
        codes::Stage,
        conformance::{Case, HttpCase, callback},
        huawei_sms::sign::Authorization,
        scripted_server::{Request, Server},
    },
};

/// What the conformance suite must know. The pushes of the fixtures are all signed, so that one set of keys reads them.
pub fn case() -> Case {
    Case {
        settings: "base_url = 'BASE_URL'\napp_key = 'key'\napp_secret = 'q4Ii87BhExampleSecret80SfD7Al'\n\
                   region = 'cn'\npush_keys = [\n\
                   { access_key = 'PushKeyOld', secret = 'push-secret-of-yesterday' },\n\
                   { access_key = 'PushKeyNew', secret = 'push-secret-of-today' }]\n",
        from: "isms100000001",
        to: "+8615512345678",
        text: None,
        binding: submission("+8615512345678", &["123456"]).binding,
        http: Some(HttpCase {
            codes: &CODES,
            answer: answer_with,
            accepted: (Stage::PerNumber, "000000"),
            undocumented: (Stage::PerNumber, "E299999"),
            unreadable: &["", "<html>", "{}", "[]", r#"{"code":null}"#, r#"{"code":"000000","result":[]}"#],
        }),
        report: Some(signed_report),
        secrets: &[SECRET, "push-secret-of-yesterday", "push-secret-of-today"],
        ..Case::of("huawei_sms")
    }
}

fn answer_with(stage: Stage, code: &str) -> Option<(&'static str, String)> {
    let about_the_number = serde_json::json!([{"originTo": "+8615512345678", "status": code, "smsMsgId": "a_1"}]);
    match stage {
        Stage::PerNumber if code == "000000" => {
            Some(("200 OK", serde_json::json!({"code": code, "result": about_the_number}).to_string()))
        }
        Stage::PerNumber => {
            Some(("400 Bad Request", serde_json::json!({"code": "E000510", "result": about_the_number}).to_string()))
        }
        Stage::SendResponse if code == "000000" => None,
        Stage::SendResponse => Some(("400 Bad Request", serde_json::json!({"code": code}).to_string())),
        Stage::Report | Stage::Poll => None,
    }
}

fn signed_report(status: &str) -> Callback {
    let body = format!("smsMsgId=a_1&status={status}");
    let unsigned = callback(&[], body.as_bytes());
    let key = sign::KeyPair { access_key: "PushKeyNew".into(), secret: "push-secret-of-today".into() };
    let date = "20241220T010203Z";
    let headers = [("x-sdk-date", date)];
    let path = &unsigned.path_and_query;
    let request = Signable { method: "POST", path, query: "", headers: &headers, body: body.as_bytes() };
    callback(&[headers[0], ("authorization", &request.authorization(&key, date))], body.as_bytes())
}

const SECRET: &str = "q4Ii87BhExampleSecret80SfD7Al";
const REPORT_URL: &str = "https://sms.example.com/callbacks/huawei/call_x.mac";

fn driver(base_url: &str, more: &str) -> Arc<dyn Provider> {
    let settings = format!("base_url = '{base_url}'\napp_key = 'key'\napp_secret = '{SECRET}'\n{more}");
    build(Setup {
        name: "huawei".into(),
        from: None,
        senders: vec![],
        timeout: Duration::from_secs(5),
        settings: settings.parse().unwrap(),
        clock: Clock::system(),
        feed: None,
    })
    .unwrap()
}

fn submission(to: &str, params: &[&str]) -> Submission {
    Submission {
        attempt_id: AttemptId::new(Timestamp::default()),
        attempt_number: 1,
        to: PhoneNumber::parse(to).unwrap(),
        text: None,
        binding: Some(BoundTemplate {
            template_id: Some("8ff55eac1d0b478ab3c06c3c6a492300".into()),
            params: params.iter().map(|&param| param.to_owned()).collect(),
            signature: None,
        }),
    }
}

fn call(submissions: Vec<Submission>) -> Call {
    Call {
        reference: "call_01h455vb4pex5vsknk084sn02q".into(),
        from: "isms100000001".into(),
        report_url: Some(REPORT_URL.into()),
        submissions,
    }
}

/// Makes one call against a socket.
async fn exchange(
    more: &str,
    call: &Call,
    status: u16,
    answer: &str,
) -> (Request, Result<Vec<Outcome>, ProviderError>) {
    let server = Server::answering(&format!("{status} X"), answer).await;
    let result = driver(&server.url(), more).submit(call).await;
    (server.requests().remove(0), result)
}

fn header<'a>(request: &'a Request, name: &str) -> &'a str {
    request.header(name).unwrap_or_else(|| panic!("no {name} in {}", request.head))
}

fn statuses(outcomes: &[Outcome]) -> Vec<(NeutralStatus, Option<&str>)> {
    outcomes.iter().map(|outcome| (outcome.verdict.status, outcome.provider_code.as_deref())).collect()
}

#[tokio::test]
async fn both_apis_sign_the_very_bytes_and_headers_that_go_out() {
    let same = call(vec![submission("+8615512345678", &["12 +&"])]);
    let different = call(vec![submission("+8615512345678", &["1"]), submission("+8615512345679", &["2"])]);
    for (call, path, content_type) in [
        (same, "/sms/batchSendSms/v1", "application/x-www-form-urlencoded"),
        (different, "/sms/batchSendDiffSms/v1", "application/json"),
    ] {
        let (sent, _) = exchange("", &call, 200, include_str!("fixtures/answer_accepted.json")).await;
        assert_eq!(sent.line(), format!("POST {path}"));
        assert_eq!(header(&sent, "content-type"), content_type);
        let authorization = Authorization::parse(header(&sent, "authorization")).unwrap();
        assert_eq!(authorization.signed_headers, ["content-type", "host", "x-sdk-date"]);
        let headers: Vec<(&str, &str)> =
            authorization.signed_headers.iter().map(|name| (*name, header(&sent, name))).collect();
        let request = Signable { method: "POST", path, query: "", headers: &headers, body: &sent.body };
        let key = sign::KeyPair { access_key: "key".into(), secret: SECRET.into() };
        assert!(authorization.verify(&request, header(&sent, "x-sdk-date"), &[key]), "{sent:?}");
    }
}

#[test]
fn the_host_that_is_signed_leaves_the_schemes_own_port_out_like_the_one_that_is_sent() {
    for (base_url, host, url) in [
        ("https://sms.example.com:443", "sms.example.com", "https://sms.example.com/sms/batchSendSms/v1"),
        ("https://sms.example.com:8443/", "sms.example.com:8443", "https://sms.example.com:8443/sms/batchSendSms/v1"),
        ("http://[::1]:80/cn", "[::1]", "http://[::1]/cn/sms/batchSendSms/v1"),
    ] {
        let settings = format!("base_url = '{base_url}'\napp_key = 'key'\napp_secret = 'x'");
        let settings = Settings::read(settings.parse().unwrap()).unwrap();
        let http = Http::new(Duration::from_secs(1), Clock::system()).unwrap();
        let driver =
            HuaweiSms { capabilities: capabilities(&settings), settings, http, clock: Clock::system(), managed: None };
        let call = call(vec![]);
        let content = Content { template_id: "t", params: &[], signature: None };
        let request = wire::encode(&call, None, &[Item { to: "+8615512345678", content }]);
        let body = request.body.clone();
        let built = driver.signed(request).build().unwrap();
        assert_eq!(built.url().as_str(), url);
        let header = |name: &str| built.headers()[name].to_str().unwrap();
        assert_eq!(header("host"), host);
        let headers = ["content-type", "host", "x-sdk-date"].map(|name| (name, header(name)));
        let signable =
            Signable { method: "POST", path: built.url().path(), query: "", headers: &headers, body: body.as_bytes() };
        assert_eq!(header("authorization"), signable.authorization(&driver.settings.app, header("x-sdk-date")));
    }
}

#[tokio::test]
async fn wsse_carries_a_fresh_nonce_of_letters_and_digits_and_the_digest_in_the_form_that_is_set() {
    for (more, digest) in
        [("auth = 'wsse'", sign::WsseDigest::Hex), ("auth = 'wsse'\nwsse_digest = 'raw'", sign::WsseDigest::Raw)]
    {
        let call = call(vec![submission("+8615512345678", &["1"])]);
        let (sent, _) = exchange(more, &call, 200, include_str!("fixtures/answer_accepted.json")).await;
        assert_eq!(header(&sent, "authorization"), sign::WSSE_AUTHORIZATION);
        assert_eq!(sent.header("x-sdk-date"), None);
        let token = header(&sent, "x-wsse");
        let attribute = |name: &str| token.split(&format!("{name}=\"")).nth(1).unwrap().split('"').next().unwrap();
        let (nonce, created) = (attribute("Nonce"), attribute("Created"));
        assert!(nonce.len() == 32 && nonce.chars().all(|c| c.is_ascii_alphanumeric()), "{nonce}");
        let key = sign::KeyPair { access_key: "key".into(), secret: SECRET.into() };
        assert_eq!(token, sign::wsse(&key, nonce, created, digest));
    }
}

#[tokio::test]
async fn the_address_for_reports_is_named_only_when_reports_go_to_the_call() {
    for (more, named) in [("", true), ("reports = 'application'", false)] {
        for params in ["1", "2"] {
            let call = call(vec![submission("+8615512345678", &["1"]), submission("+8615512345679", &[params])]);
            let (sent, _) = exchange(more, &call, 200, include_str!("fixtures/answer_accepted.json")).await;
            let body = String::from_utf8(sent.body).unwrap();
            assert_eq!(body.contains("statusCallback"), named, "{body}");
            assert!(body.contains("extend"), "{body}");
        }
    }
}

#[tokio::test]
async fn results_beside_http_400_are_each_numbers_own() {
    let call = call(vec![submission("+8615512345679", &["1"]), submission("+8615512345678", &["2"])]);
    let (_, outcomes) = exchange("", &call, 400, include_str!("fixtures/answer_mixed.json")).await;
    assert_eq!(
        statuses(&outcomes.unwrap()),
        [(NeutralStatus::Failed, Some("E200028")), (NeutralStatus::Sent, Some("000000"))]
    );
}

#[tokio::test]
async fn a_refusal_of_the_call_and_an_unreadable_success_are_errors_of_the_whole_call() {
    let call = call(vec![submission("+8615512345678", &["1"])]);
    let (_, refused) = exchange("", &call, 401, include_str!("fixtures/answer_refused.json")).await;
    let refused = refused.unwrap_err();
    assert_eq!((refused.kind, refused.provider_code.as_deref()), (ProviderErrorKind::Refused, Some("E000101")));
    let (_, unreadable) = exchange("", &call, 200, "<html>").await;
    assert_eq!(unreadable.unwrap_err().kind, ProviderErrorKind::OutcomeUnknown);
}

#[tokio::test]
async fn what_has_no_template_is_refused_here_and_the_rest_goes_out() {
    let mut bare = submission("+8615512345679", &[]);
    bare.binding = None;
    let call_of_two = call(vec![bare.clone(), submission("+8615512345678", &["1"])]);
    let (sent, outcomes) = exchange("", &call_of_two, 200, include_str!("fixtures/answer_accepted.json")).await;
    assert!(!String::from_utf8(sent.body).unwrap().contains("15512345679"));
    let outcomes = outcomes.unwrap();
    assert_eq!(statuses(&outcomes), [(NeutralStatus::Failed, None), (NeutralStatus::Sent, Some("000000"))]);
    assert_eq!(outcomes[0].verdict.error, Some(ErrorCode::ContentUnsupported));
    // Nobody listens there: alone it makes no call at all.
    let outcomes = driver("http://127.0.0.1:9", "").submit(&call(vec![bare])).await.unwrap();
    assert_eq!(outcomes[0].verdict.error, Some(ErrorCode::ContentUnsupported));
}

#[test]
fn capabilities_follow_the_settings() {
    let plain = driver("https://sms.example.com", "");
    let capabilities = plain.capabilities();
    assert_eq!((capabilities.max_recipients_per_call, capabilities.report_url_per_call), (500, true));
    assert_eq!((capabilities.inbound, capabilities.clock_tolerance), (false, Some(Duration::from_mins(10))));
    assert!(capabilities.registrations.is_empty());
    let other = driver(
        "https://sms.example.com",
        "region = 'cn'\nreports = 'application'\nauth = 'wsse'\n[management]\nendpoint = 'https://m.example.com'\n\
         iam_endpoint = 'https://i.example.com'\ndomain = 'd'\nusername = 'u'\npassword = 'p'\nproject = 'p'\n\
         project_id = 'i'",
    );
    let capabilities = other.capabilities();
    assert_eq!((capabilities.inbound, capabilities.report_url_per_call), (true, false));
    assert_eq!(capabilities.registrations, REGISTRATIONS);
    assert!(capabilities.clock_tolerance > Some(Duration::from_hours(1)));
}

#[test]
fn five_hundred_short_messages_fit_into_one_call_and_its_content_into_64_kilobytes() {
    let submissions: Vec<Submission> = (0..500)
        .map(|n| {
            let mut submission = submission(&format!("+86155123{n:05}"), &[&format!("{n:06}")]);
            submission.text = Some(format!("Your code is {n:06}. It holds for ten minutes. Tell it to nobody."));
            submission
        })
        .collect();
    let weight: usize = submissions.iter().map(Submission::weight).sum();
    assert!(weight <= MAX_CONTENT_BYTES, "{weight}");
    let items: Vec<Item<'_>> = submissions.iter().filter_map(item).collect();
    let body = wire::encode(&call(vec![]), Some(REPORT_URL), &items).body;
    assert!(body.len() <= weight.min(64_000), "{}", body.len());
}

#[test]
fn no_secret_shows_in_debug_output() {
    let driver = driver("https://sms.example.com", "push_keys = [{ access_key = 'p', secret = 'tell-nobody' }]");
    let shown = format!("{driver:?}");
    assert!(!shown.contains(SECRET) && !shown.contains("tell-nobody"), "{shown}");
}
