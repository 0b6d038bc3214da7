//! Every call against a bare socket: what goes over the wire, and how answers of the documented shapes read.

use std::time::Duration;

use serde_json::json;

use super::*;
use crate::{
    domain::{
        content::Category,
        registration::{ApplicationStatus, Native, ReviewStatus, SignatureSource},
    },
    providers::scripted_server::{Request as Seen, Server},
};

const PROJECT: &str = "/v2/845ada5bc7444f1295cd517af0123da1/msgsms";
const LOGIN: (&str, &str) =
    ("201 Created\r\nX-Subject-Token: MIIFtoken", r#"{"token":{"expires_at":"2126-02-13T06:52:13.855000Z"}}"#);

const SIGNATURE: &str = r#"{"create_time":"2022-08-12 07:14:18","customer_id":"c55c","tenant":{"customer_name":"05"},"id":"07cf",
    "signature_name":"auto_test789","signature_id":"d1-196f","signature_type":"NOTIFY_TYPE","app_name":"auto_test7890",
    "apply_desc":"test","channel_num":"csms1733968","file_id":"057a","status":"PENDING REVIEW","site":"cn","signature_source":0,
    "is_involved_third":"No","app_key":"3baZ","signature_usage":"COMMERCIAL"}"#;
const TEMPLATE: &str = r#"{"create_time":"2022-08-12 07:40:36","id":"460a","template_id":"8ff55eac","template_type":"NOTIFY_TYPE",
    "template_name":"auto_test789","app_name":"auto_test7890","app_key":"3baZ","sign_id":"b9-4141","template_content":"Test",
    "has_variable":"No","flow_status":"Reviewing","status":"Normal","universal_template":0,"region":"cn","brackets":"GB"}"#;
const APPLICATION: &str = r#"{"id":"9e61","create_time":"2022-08-12 06:51:17","update_time":"2022-08-12 06:51:18","customer_id":"c55c",
    "app_name":"auto_test7890","app_key":"3baZ","status":"LAUNCHED","industry":14,"region":"cn","intl_channel_num":"886739",
    "protocol":"HTTP","is_support_multiomp":false}"#;

fn page(entry: &str) -> String {
    format!(r#"{{"results":[{entry}],"total":1}}"#)
}

struct Bench {
    server: Server,
    management: Management,
}

/// A login, then these answers.
async fn bench(answers: &[(&str, &str)]) -> Bench {
    let server = Server::answering_in_turn([LOGIN].into_iter().chain(answers.iter().copied())).await;
    let settings = settings::Management {
        endpoint: server.url().parse().unwrap(),
        iam_endpoint: server.url().parse().unwrap(),
        domain: "account".into(),
        username: "user".into(),
        password: "its-password".into(),
        project: "ap-southeast-1".into(),
        project_id: "845ada5bc7444f1295cd517af0123da1".into(),
    };
    let http = Http::new(Duration::from_secs(2), Clock::system()).unwrap();
    Bench { management: Management::new(settings, http, Clock::system()), server }
}

impl Bench {
    /// Lines of the calls after the login, without the project's path.
    fn lines(&self) -> Vec<String> {
        self.server.requests()[1..].iter().map(|seen| seen.line().replace(PROJECT, "")).collect()
    }

    fn request(&self, index: usize) -> Seen {
        self.server.requests()[index + 1].clone()
    }
}

fn application_input() -> ApplicationInput {
    ApplicationInput {
        name: "auto_test789".into(),
        region: Region::Cn,
        inbound_url: Some("https://sms.example.com/callbacks/hw/token".into()),
        native: json!({ "enterprise_project_id": "0" }).as_object().unwrap().clone(),
    }
}

fn signature_input() -> SignatureInput {
    SignatureInput {
        name: "auto_test789".into(),
        application_id: "9e61".into(),
        category: Category::Transactional,
        source: SignatureSource::Shop,
        source_detail: Some("https://shop.example".into()),
        third_party: false,
        description: Some("test".into()),
        licence_file_id: Some("057a".into()),
        power_of_attorney_file_id: Some("158b".into()),
        native: Native::new(),
    }
}

fn template_input(region: Region) -> ProviderTemplateInput {
    ProviderTemplateInput {
        name: "auto_test789".into(),
        application_id: "9e61".into(),
        region,
        text: "Your code is ${NUM_6}".into(),
        category: Category::Otp,
        signature_id: Some("b9-4141".into()),
        country_ids: vec![98],
        universal: true,
        description: None,
        native: Native::new(),
    }
}

#[tokio::test]
async fn a_login_is_for_the_project_and_its_token_goes_with_every_call() {
    let bench = bench(&[("200 OK", "[]")]).await;
    bench.management.countries(None).await.unwrap();
    let login = &bench.server.requests()[0];
    assert_eq!((login.line(), login.header("content-type")), ("POST /v3/auth/tokens", Some("application/json")));
    let expected = json!({ "auth": {
        "identity": { "methods": ["password"], "password": {
            "user": { "name": "user", "password": "its-password", "domain": { "name": "account" } } } },
        "scope": { "project": { "name": "ap-southeast-1" } },
    }});
    assert_eq!(login.json(), expected);
    let call = bench.request(0);
    assert_eq!(
        (call.header("x-auth-token"), call.header("content-type")),
        (Some("MIIFtoken"), Some("application/json"))
    );
}

#[tokio::test]
async fn secrets_are_not_in_debug_output() {
    let bench = bench(&[("200 OK", "[]")]).await;
    bench.management.countries(None).await.unwrap();
    let shown = format!("{:?}", bench.management);
    assert!(!shown.contains("its-password") && !shown.contains("MIIFtoken"), "{shown}");
}

#[tokio::test]
async fn applications_are_listed_with_every_filter_encoded() {
    let bench = bench(&[("200 OK", &page(APPLICATION))]).await;
    let query = ApplicationQuery {
        slice: Slice {
            created_after: Some("2022-08-12T06:51:17Z".parse().unwrap()),
            created_before: Some("2022-08-13T00:00:00Z".parse().unwrap()),
            order: Some(Order::Descending),
            offset: 20,
            limit: 10,
        },
        region: Some(Region::Cn),
        name: Some("a&b=c d/é".into()),
        status: Some(ApplicationStatus::Active),
    };
    let listed = bench.management.applications(&query).await.unwrap();
    let expected = "GET /apps?limit=10&offset=20&sort_key=create_time&sort_dir=desc&start_time=2022-08-12%2006%3A51%3A17&\
                    end_time=2022-08-12%2023%3A59%3A59&app_name=a%26b%3Dc%20d%2F%C3%A9&region=cn&status=LAUNCHED";
    assert_eq!(bench.lines(), [expected]);
    let application = &listed.entries[0];
    assert_eq!((application.id.as_str(), application.key.as_deref(), listed.total), ("9e61", Some("3baZ"), 1));
    assert_eq!((application.status, application.region), (Some(ApplicationStatus::Active), Some(Region::Cn)));
    assert_eq!(application.created_at.unwrap().to_rfc3339(), "2022-08-12T06:51:17+00:00");
    let native = json!({ "customer_id": "c55c", "industry": 14, "protocol": "HTTP", "is_support_multiomp": false });
    assert_eq!(Value::Object(application.native.clone()), native);
}

#[tokio::test]
async fn applications_are_counted() {
    let bench = bench(&[("200 OK", r#"{"total":395,"used":"108"}"#)]).await;
    let quota = bench.management.application_quota(Region::Intl).await.unwrap();
    assert_eq!((quota.total, quota.used), (395, 108));
    assert_eq!(bench.lines(), ["GET /apps-count?region=intl"]);
}

#[tokio::test]
async fn an_application_that_is_made_tells_its_secret_even_if_it_cannot_be_read_after() {
    let made = r#"{"id":"9e61","app_key":"3baZ","app_name":"auto_test789","app_secret":"very-secret"}"#;
    for read in [("200 OK", APPLICATION), ("500 Error", "")] {
        let bench = bench(&[("200 OK", made), read]).await;
        let application = bench.management.create_application(&application_input()).await.unwrap();
        assert_eq!(application.secret.as_ref().map(|secret| secret.0.as_str()), Some("very-secret"));
        assert!(!format!("{application:?}").contains("very-secret"));
        assert_eq!((application.key.as_deref(), application.id.as_str()), (Some("3baZ"), "9e61"));
        let inbound_url = application_input().inbound_url;
        assert_eq!(application.inbound_url, inbound_url);
        assert_eq!(bench.lines(), ["POST /apps", "GET /apps/9e61"]);
        let body = json!({ "app_name": "auto_test789", "region": "cn", "up_link_addr": inbound_url, "show_secret": true,
            "enterprise_project_id": "0" });
        assert_eq!(bench.request(0).json(), body);
    }
}

#[tokio::test]
async fn an_application_is_changed_whole() {
    let bench = bench(&[("201 Created", r#"{"id":"9e61"}"#), ("200 OK", APPLICATION)]).await;
    let input = ApplicationInput { region: Region::Intl, ..application_input() };
    bench.management.update_application("9e61", &input).await.unwrap();
    assert_eq!(bench.lines()[0], "PUT /apps/9e61");
    let body = json!({ "app_name": "auto_test789", "region": "intl", "enterprise_project_id": "0" });
    assert_eq!(bench.request(0).json(), body, "an address for inbound messages is the mainland's");
}

#[tokio::test]
async fn signatures_read_in_neutral_words_and_name_their_application() {
    let bench =
        bench(&[("200 OK", &page(SIGNATURE)), ("200 OK", &page(APPLICATION)), ("200 OK", &page(SIGNATURE))]).await;
    let query = SignatureQuery {
        name: Some("auto_test789".into()),
        category: Some(Category::Otp),
        status: Some(ReviewStatus::Inactive),
        application_name: Some("a".into()),
        signature_id: Some("d1".into()),
        ..SignatureQuery::default()
    };
    let signature = bench.management.signatures(&query).await.unwrap().entries.remove(0);
    assert_eq!((signature.status, signature.category), (ReviewStatus::InReview, Some(Category::Transactional)));
    assert_eq!((signature.source, signature.third_party), (Some(SignatureSource::Company), Some(false)));
    assert_eq!(
        (signature.sender.as_deref(), signature.licence_file_id.as_deref()),
        (Some("csms1733968"), Some("057a"))
    );
    assert_eq!(
        (signature.application_id.as_deref(), &signature.native["signature_id"]),
        (Some("9e61"), &json!("d1-196f"))
    );
    bench.management.signatures(&SignatureQuery::default()).await.unwrap();
    let filter =
        "signature_name=auto_test789&signature_type=VERIFY_CODE_TYPE&status=TO_BE_ACTIVATED&app_name=a&signature_id=d1";
    let expected = [
        format!("GET /signatures?limit=0&offset=0&{filter}"),
        "GET /apps?limit=100&offset=0&app_name=auto_test7890".to_owned(),
        "GET /signatures?limit=0&offset=0".to_owned(),
    ];
    assert_eq!(bench.lines(), expected, "an application is asked for once");
}

#[tokio::test]
async fn a_signature_is_applied_for_changed_activated_and_deleted() {
    let bench = bench(&[
        ("201 Created", r#"{"id":"07cf","signature_id":"d1","signature_name":"auto_test789"}"#),
        ("200 OK", SIGNATURE),
        ("200 OK", &page(APPLICATION)),
        ("200 OK", r#"{"id":"07cf"}"#),
        ("500 Error", ""),
        ("200 OK", ""),
        ("200 OK", SIGNATURE),
        ("204 No Content", ""),
    ])
    .await;
    bench.management.create_signature(&signature_input()).await.unwrap();
    let changed = bench.management.update_signature("07cf", &signature_input()).await.unwrap();
    assert_eq!(changed.status, ReviewStatus::InReview, "it is done, whatever a look at it says");
    bench.management.activate_signature("07cf").await.unwrap();
    bench.management.delete_signature("07cf").await.unwrap();
    let expected = [
        "POST /signatures",
        "GET /signatures/07cf",
        "GET /apps?limit=100&offset=0&app_name=auto_test7890",
        "PUT /signatures/07cf",
        "GET /signatures/07cf",
        "PUT /signatures/07cf/active",
        "GET /signatures/07cf",
        "DELETE /signatures/07cf",
    ];
    assert_eq!(bench.lines(), expected);
    let body = json!({ "app_id": "9e61", "signature_name": "auto_test789", "signature_type": "NOTIFY_TYPE", "signature_source": 4,
        "source_title_content": "https://shop.example", "is_involved_third": "No", "apply_desc": "test", "file_id": "057a",
        "power_attorney_fileid": "158b" });
    assert_eq!((bench.request(0).json(), bench.request(3).json()), (body.clone(), body));
}

#[tokio::test]
async fn a_template_is_applied_for_by_the_rules_of_its_region() {
    for (region, body) in [
        (
            Region::Cn,
            json!({ "app_id": "9e61", "template_name": "auto_test789", "template_type": "VERIFY_CODE_TYPE", "region": "cn",
                "template_content": "Your code is ${NUM_6}", "sign_id": "b9-4141", "universal_template": 1 }),
        ),
        (
            Region::Intl,
            json!({ "app_id": "9e61", "template_name": "auto_test789", "template_type": "NOTIFY_TYPE", "region": "intl",
                "template_content": "Your code is ${NUM_6}", "send_country": [98], "universal_template": 1 }),
        ),
    ] {
        let answers = [("200 OK", r#"{"id":"460a"}"#), ("200 OK", TEMPLATE), ("200 OK", &page(APPLICATION))];
        let bench = bench(&answers).await;
        let template = bench.management.create_template(&template_input(region)).await.unwrap();
        assert_eq!(bench.request(0).json(), body);
        assert_eq!((template.id.as_str(), template.provider_template_id.as_deref()), ("460a", Some("8ff55eac")));
        assert_eq!((template.status, template.variables), (ReviewStatus::InReview, Some(Vec::new())));
        assert_eq!(template.native["status"], "Normal");
    }
}

#[tokio::test]
async fn templates_are_listed_with_every_filter() {
    let bench = bench(&[("200 OK", r#"{"results":[],"total":0}"#)]).await;
    let query = TemplateQuery {
        slice: Slice { limit: 5, ..Slice::default() },
        region: Some(Region::Intl),
        name: Some("n".into()),
        category: Some(Category::Transactional),
        status: Some(ReviewStatus::Approved),
        application_name: Some("a".into()),
        application_key: Some("k".into()),
        signature_name: Some("s".into()),
        provider_template_id: Some("t".into()),
        has_variables: Some(true),
    };
    assert_eq!(bench.management.templates(&query).await.unwrap().entries, []);
    let expected = "GET /templates?limit=5&offset=0&template_name=n&template_type=NOTIFY_TYPE&flow_status=Adopted&region=intl&\
                    app_name=a&app_key=k&sign_name=s&template_id=t&has_variable=Yes";
    assert_eq!(bench.lines(), [expected]);
}

#[tokio::test]
async fn variables_are_asked_for_by_each_spelling_until_one_is_understood() {
    let with_variables =
        TEMPLATE.replace(r#""has_variable":"No""#, r#""has_variable":"Yes""#).replace(r#""app_key":"3baZ","#, "");
    let missing = r#"{"error_code":"APIGW.0101","error_msg":"The API does not exist.","request_id":"1"}"#;
    let variables = page(
        r#"{"id":15003394,"user_name":null,"temp_name":"Test","variable_index":1,"variable_type":"URL","variable_length":99,"variable_desc":""}"#,
    );
    let answers = [
        ("200 OK", with_variables.as_str()),
        ("404 Not Found", missing),
        ("404 Not Found", ""),
        ("200 OK", variables.as_str()),
        ("200 OK", with_variables.as_str()),
        ("200 OK", variables.as_str()),
    ];
    let bench = bench(&answers).await;
    let template = bench.management.template("460a").await.unwrap();
    let variable = &template.variables.unwrap()[0];
    assert_eq!((variable.index, variable.kind.as_str(), variable.length), (1, "URL", Some(99)));
    bench.management.template("460a").await.unwrap();
    let expected =
        ["", "/varilable", "/variable", "/varible", "", "/varible"].map(|end| format!("GET /templates/460a{end}"));
    assert_eq!(bench.lines(), expected);
}

#[tokio::test]
async fn a_template_that_is_gone_is_not_asked_for_by_other_spellings() {
    let with_variables =
        TEMPLATE.replace(r#""has_variable":"No""#, r#""has_variable":"Yes""#).replace(r#""app_key":"3baZ","#, "");
    let gone = r#"{"error_code":"MSGSMS.0009","error_msg":"No such template."}"#;
    let bench = bench(&[("200 OK", &with_variables), ("404 Not Found", gone)]).await;
    let error = bench.management.template("460a").await.unwrap_err();
    assert_eq!((error.kind, bench.lines().len()), (RegistrationErrorKind::NotFound, 2));
}

#[tokio::test]
async fn a_document_goes_as_one_part_and_its_description_in_the_query() {
    let bench = bench(&[("200 OK", r#"{"file_id":"057a"}"#)]).await;
    let file = FileUpload {
        name: "test.png".into(),
        media_type: Some("image/png".into()),
        description: Some("our licence".into()),
        content: Bytes::from_static(b"\x89PNG"),
    };
    let uploaded = bench.management.upload_file(&file).await.unwrap();
    assert_eq!((uploaded.id.as_str(), uploaded.name.as_deref(), uploaded.size), ("057a", Some("test.png"), Some(4)));
    assert_eq!(bench.lines(), ["POST /upload-files?file_desc=our%20licence"]);
    let request = bench.request(0);
    let boundary =
        request.header("content-type").unwrap().strip_prefix("multipart/form-data; boundary=").unwrap().to_owned();
    let expected = [
        format!("--{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"test.png\"\r\n").as_bytes(),
        b"Content-Type: image/png\r\n\r\n\x89PNG\r\n",
        format!("--{boundary}--\r\n").as_bytes(),
    ]
    .concat();
    assert_eq!(request.body, expected);
}

#[tokio::test]
async fn a_document_is_asked_for_by_a_query() {
    let known = r#"{"file_id":"057a","module_type":2,"operator":"c55c","file_type":1,"file_name":"test.PNG","file_size":327,
                    "file_ref":1,"update_time":"2022-08-12 07:13:24"}"#;
    let bench = bench(&[("200 OK", known), ("200 OK", "{}")]).await;
    let file = bench.management.file("057a").await.unwrap();
    assert_eq!(
        (file.name.as_deref(), file.size, &file.native["module_type"]),
        (Some("test.PNG"), Some(327), &json!(2))
    );
    assert_eq!(bench.lines(), ["GET /upload-files?file_id=057a"]);
    assert_eq!(bench.management.file("gone").await.unwrap_err().kind, RegistrationErrorKind::NotFound);
}

#[tokio::test]
async fn countries_are_a_bare_array_that_may_leave_things_out() {
    let known = r#"[{"country_name_en":"Afghanistan"},{"country_id":203,"country_name_zh":"越南"}]"#;
    let bench = bench(&[("200 OK", known), ("200 OK", "[]"), ("200 OK", "[]")]).await;
    let countries = bench.management.countries(None).await.unwrap();
    assert_eq!((countries[0].id.as_deref(), countries[0].name.as_str()), (None, "Afghanistan"));
    assert_eq!((countries[1].id.as_deref(), countries[1].name.as_str()), (Some("203"), "越南"));
    bench.management.countries(Some("Côte d'Ivoire")).await.unwrap();
    bench.management.countries(Some("越南")).await.unwrap();
    let expected = [
        "GET /country",
        "GET /country?country_name_en=C%C3%B4te%20d%27Ivoire",
        "GET /country?country_name_zh=%E8%B6%8A%E5%8D%97",
    ];
    assert_eq!(bench.lines(), expected);
}

#[tokio::test]
async fn an_id_stays_one_segment_whatever_is_in_it() {
    let bench = bench(&[("404 Not Found", "")]).await;
    for id in ["", ".", "..", &"x".repeat(129)] {
        assert_eq!(bench.management.application(id).await.unwrap_err().kind, RegistrationErrorKind::NotFound, "{id}");
    }
    assert_eq!(bench.server.connections(), 0);
    bench.management.application("a/../b?c#d%2e").await.unwrap_err();
    assert_eq!(bench.lines(), ["GET /apps/a%2F..%2Fb%3Fc%23d%252e"]);
}

#[test]
fn a_template_is_shaped_into_one_of_the_gateways() {
    let listed = |text: &str| {
        let mut value: Value = serde_json::from_str(TEMPLATE).unwrap();
        value["template_content"] = json!(text);
        templates::of(value).unwrap()
    };
    let shape = shape::of(&listed("You have ${NUM_5} parcels at ${TXT_6} on ${DATE}, ${TXT_3}"));
    assert_eq!(shape.text, "You have {{number}} parcels at {{text_2}} on {{date}}, {{text_4}}");
    let params: Vec<_> = shape.params.iter().map(|param| (param.name.as_str(), param.pattern.as_deref())).collect();
    let expected = [
        ("number", Some("[0-9]{1,5}")),
        ("text_2", Some("[^{}]{1,6}")),
        ("date", Some("[0-9]{4}/[0-9]{1,2}/[0-9]{1,2}")),
        ("text_4", Some("[^{}]{1,3}")),
    ];
    assert_eq!(params, expected);
    let shape = shape::of(&listed("${2} then ${1} and ${2}"));
    assert_eq!((shape.text.as_str(), shape.params.len()), ("{{value_1}} then {{value_2}} and {{value_1}}", 2));
    assert_eq!(shape::of(&listed("plain ${ text")).text, "plain ${ text");
}
