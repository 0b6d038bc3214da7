//! What is this provider's alone; the rest is the conformance suite's.

use super::*;
use crate::{
    domain::{error_code::ErrorCode, phone_number::PhoneNumber, verdict::NeutralStatus},
    providers::{
        BoundTemplate, ProviderErrorKind, codes,
        conformance::{Case, HttpCase},
        scripted_server::Server,
    },
};

const ID: &str = "1dc7b7eb-a9e7-4162-91cd-6027d95b290c";

/// What the conformance suite needs to know.
pub(crate) fn case() -> Case {
    Case {
        settings: r#"
            base_url = "BASE_URL"
            username = "user-of-ours"
            password = "pass-of-ours"
            key = "key-of-ours"
        "#,
        from: "DAUSO1",
        to: "+84361234567",
        text: Some("123456"),
        http: Some(HttpCase {
            codes: &CODES,
            answer: |stage, code| {
                let body = match code {
                    "1" => format!("1,,,{ID}"),
                    TAKEN_WITHOUT_ID => "1".to_owned(),
                    other => other.to_owned(),
                };
                (stage == Stage::SendResponse).then_some(("200 OK", body))
            },
            accepted: (Stage::SendResponse, "1"),
            undocumented: (Stage::SendResponse, "77"),
            unreadable: &["", "<html>1</html>", "502 Bad Gateway", "{}", "OK,,,x"],
        }),
        secrets: &["user-of-ours", "pass-of-ours", "key-of-ours"],
        ..Case::of("onsms_voice")
    }
}

#[tokio::test]
async fn the_body_is_what_the_reference_shows_with_the_number_as_dialled_at_home() {
    let server = Server::answering("200 OK", "1,,,x").await;
    case().submit_to(&server.url()).await.unwrap();
    let request = server.requests().remove(0);
    assert_eq!(request.line(), "POST /onsmsapivoice/postSMS");
    assert_eq!(request.header("content-type"), Some("application/json"));
    assert_eq!(
        request.json(),
        serde_json::json!({
            "username": "user-of-ours", "pass": "pass-of-ours", "sender": "DAUSO1", "key": "key-of-ours",
            "phonesend": "0361234567", "message": "123456",
        })
    );
}

#[tokio::test]
async fn the_digits_are_the_first_value_of_a_binding_before_the_text() {
    let bound = |params: &[&str]| BoundTemplate {
        template_id: None,
        params: params.iter().map(|param| (*param).to_owned()).collect(),
        signature: None,
    };
    for (text, binding, sent) in [
        (Some("123456"), None, Some("123456")),
        (Some("0"), None, Some("0")),
        (Some("Your code is 9911"), Some(bound(&["9911", "x"])), Some("9911")),
        (Some("12"), Some(bound(&[])), Some("12")),
        (None, Some(bound(&["007"])), Some("007")),
        (Some("1234567"), None, None),
        (Some(""), None, None),
        (Some("12 34"), None, None),
        (Some("١٢٣"), None, None),
        (Some("1234"), Some(bound(&["secret"])), None),
        (None, None, None),
    ] {
        let server = Server::answering("200 OK", "1,,,x").await;
        let mut call = case().call();
        call.submissions[0].text = text.map(str::to_owned);
        call.submissions[0].binding = binding.clone();
        let result = case().build(&server.url()).submit(&call).await;
        let request = server.requests().pop();
        assert_eq!(
            request.map(|request| request.json()["message"].clone()),
            sent.map(Into::into),
            "{text:?} {binding:?}"
        );
        if sent.is_none() {
            assert_eq!(result.unwrap_err().verdict.error, Some(ErrorCode::ContentUnsupported));
        }
    }
}

#[tokio::test]
async fn a_number_of_another_country_is_never_called() {
    let server = Server::answering("200 OK", "1,,,x").await;
    let mut call = case().call();
    call.submissions[0].to = PhoneNumber::parse("+85261234567").unwrap();
    let error = case().build(&server.url()).submit(&call).await.unwrap_err();
    assert_eq!(error.verdict.error, Some(ErrorCode::ContentUnsupported));
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn an_unclear_send_with_an_id_can_be_asked_about() {
    let server = Server::answering("200 OK", &format!("27,,,{ID}")).await;
    let outcome = case().submit_to(&server.url()).await.unwrap();
    assert_eq!(outcome.verdict.status, NeutralStatus::Unknown);
    assert_eq!(outcome.provider_message_id.as_deref(), Some(ID));
}

#[tokio::test]
async fn codes_mean_other_things_when_asked_than_when_sent() {
    for (body, status, error) in [
        ("1", NeutralStatus::Delivered, None),
        ("27", NeutralStatus::Sent, None),
        ("23", NeutralStatus::Undelivered, Some(ErrorCode::RecipientNoAnswer)),
        ("-1", NeutralStatus::Sent, None),
    ] {
        let server = Server::answering("200 OK", body).await;
        let report = case().build(&server.url()).fetch_status(ID).await.unwrap();
        assert_eq!((report.verdict.status, report.verdict.error), (status, error), "{body}");
        assert_eq!((report.provider_code.as_str(), report.target.provider_message_id.as_deref()), (body, Some(ID)));
        let request = server.requests().remove(0);
        assert_eq!(request.line(), "POST /onsmsapivoice/checkVoice");
        assert_eq!(
            request.json(),
            serde_json::json!({
                "username": "user-of-ours", "pass": "pass-of-ours", "key": "key-of-ours", "request_id": ID,
            })
        );
    }
}

#[tokio::test]
async fn a_poll_that_cannot_be_read_says_nothing_about_the_message() {
    for (head, body) in [("200 OK", "<html>"), ("500 Ouch", "23"), ("404 Where", "1")] {
        let server = Server::answering(head, body).await;
        assert!(case().build(&server.url()).fetch_status(ID).await.is_err(), "{head} {body}");
    }
}

#[tokio::test]
async fn the_balance_is_asked_without_a_message() {
    let server = Server::answering("200 OK", r#"{"errorcode":"1","balance":10}"#).await;
    let balance = case().build(&server.url()).balance().await.unwrap();
    assert_eq!(balance, Balance { amount: "10".into(), currency: None });
    let request = server.requests().remove(0);
    assert_eq!(request.line(), "POST /onsmsapivoice/checkBalance");
    assert_eq!(
        request.json(),
        serde_json::json!({"username": "user-of-ours", "pass": "pass-of-ours", "key": "key-of-ours"})
    );
}

#[tokio::test]
async fn a_refused_balance_is_a_matter_of_credentials() {
    for (body, kind, error) in [
        (r#"{"errorcode":"0"}"#, ProviderErrorKind::Refused, ErrorCode::ProviderAuthFailed),
        (r#"{"errorcode":"9"}"#, ProviderErrorKind::Refused, ErrorCode::ProviderRejected),
        (r#"{"errorcode":"1"}"#, ProviderErrorKind::OutcomeUnknown, ErrorCode::SubmissionUnconfirmed),
        ("1", ProviderErrorKind::OutcomeUnknown, ErrorCode::SubmissionUnconfirmed),
    ] {
        let server = Server::answering("200 OK", body).await;
        let failed = case().build(&server.url()).balance().await.unwrap_err();
        assert_eq!((failed.kind, failed.verdict.error), (kind, Some(error)), "{body}");
    }
}

#[test]
fn how_long_is_asked_is_a_setting() {
    let seconds = Duration::from_secs;
    for (settings, first, window) in
        [("", seconds(5), seconds(600)), ("poll_seconds = 2\npoll_window_minutes = 3", seconds(2), seconds(180))]
    {
        let mut setup = case().setup("http://127.0.0.1:9");
        setup.settings.extend(settings.parse::<toml::Table>().unwrap());
        let driver = build(setup).unwrap();
        assert_eq!(driver.capabilities().reports, Reports::Poll { first, window });
    }
}

#[test]
fn the_table_is_complete() {
    assert_eq!(
        codes::listing(&CODES),
        "Poll 1\nPoll 23\nPoll 27\nPoll balance:0\nPoll balance:1\n\
         SendResponse -1\nSendResponse -2\nSendResponse -4\nSendResponse -5\nSendResponse -6\nSendResponse -8\n\
         SendResponse 1\nSendResponse 1 (no request_id)\nSendResponse 10\nSendResponse 11\nSendResponse 14\n\
         SendResponse 15\nSendResponse 16\nSendResponse 20\nSendResponse 22\nSendResponse 23\nSendResponse 27\n\
         SendResponse 31\nSendResponse 5\nSendResponse 6\nSendResponse 7\nSendResponse 9"
    );
}
