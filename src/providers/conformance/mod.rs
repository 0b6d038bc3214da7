//! One suite for all drivers. It walks [`DRIVERS`], so a driver that is added without a [`Case`] fails it.
//!
//! A driver joins by giving a `case()` in the tests of its `mod.rs` and adding it to [`cases`]. What a case holds:
//!
//! - settings, a recipient and a content that make a call which the provider takes;
//! - for drivers that call over HTTP: how the provider writes an answer that carries a given code. The suite then goes through
//!   every row of the driver's `codes.csv` and expects each row's own verdict;
//! - for drivers that take pushes: `fixtures/*.txt`. Header lines, an empty line, the body; one newline at the end belongs to the
//!   file. A line `:reference X` says which call the address named, `:path X` which path was called. What the push becomes
//!   stands in a snapshot of the same name (`INSTA_UPDATE=always` writes it). A name that begins with `forged` must be refused,
//!   all others taken; one that begins with `signed` must be refused as soon as one byte of its body differs.
//!
//! What only one provider does (its contradictions, its signature vectors) is tested in its own folder.

use std::time::Duration;

use bytes::Bytes;

use self::case::fixtures;
pub use self::case::{Case, HttpCase, callback};
use super::{
    Callback, CallbackEvent, CallbackRejected, DRIVERS, Outcome, Provider, ProviderError, ProviderErrorKind, Setup,
    codes::{self, Stage},
    scripted_server::{Script, Server, refused_url},
};
use crate::domain::{
    capabilities::Reports,
    error_code::ErrorCode,
    verdict::{NeutralStatus, Verdict},
};

mod case;

/// Every driver's case, in the order of [`DRIVERS`].
fn cases() -> Vec<Case> {
    vec![
        super::huawei_sms::tests::case(),
        super::nxcloud_did::tests::case(),
        super::onsms_voice::tests::case(),
        super::sandbox::tests::case(),
    ]
}

fn http_cases() -> Vec<(Case, HttpCase)> {
    cases().into_iter().filter_map(|case| Some((case.clone(), case.http?))).collect()
}

/// The verdict and the code, whether they came for the recipient or for the whole call.
fn said(result: Result<Outcome, ProviderError>) -> (Verdict, Option<String>) {
    match result {
        Ok(outcome) => (outcome.verdict, outcome.provider_code),
        Err(error) => (error.verdict, error.provider_code),
    }
}

fn read(provider: &dyn Provider, callback: &Callback) -> Result<Vec<CallbackEvent>, CallbackRejected> {
    provider.verify_callback(callback)?;
    provider.parse_callback(callback)
}

#[test]
fn every_driver_has_a_case() {
    let drivers: Vec<&str> = DRIVERS.iter().map(|(name, _)| *name).collect();
    assert_eq!(cases().iter().map(|case| case.driver).collect::<Vec<_>>(), drivers);
}

#[tokio::test]
async fn a_message_that_is_taken_has_an_id() {
    for case in cases() {
        let server = match &case.http {
            Some(http) => {
                let (head, body) = (http.answer)(http.accepted.0, http.accepted.1).unwrap();
                Some(Server::answering(head, &body).await)
            }
            None => None,
        };
        let outcome = case.submit_to(&server.as_ref().map(Server::url).unwrap_or_default()).await.unwrap();
        assert_eq!(outcome.verdict.status, NeutralStatus::Sent, "{}", case.driver);
        assert!(outcome.provider_message_id.is_some(), "{}", case.driver);
        assert!(server.is_none_or(|server| server.requests().len() == 1), "{}: one request", case.driver);
    }
}

#[tokio::test]
async fn every_code_of_the_table_means_what_its_row_says() {
    for (case, http) in http_cases() {
        let stages = [Stage::SendResponse, Stage::PerNumber];
        let rows = stages
            .into_iter()
            .flat_map(|stage| codes::codes_of(http.codes, stage).into_iter().map(move |code| (stage, code)));
        let answers: Vec<_> =
            rows.filter_map(|(stage, code)| (http.answer)(stage, &code).map(|answer| (stage, code, answer))).collect();
        let server = Server::answering_in_turn(answers.iter().map(|(_, _, (head, body))| (*head, body.as_str()))).await;
        let driver = case.build(&server.url());
        for (stage, code, _) in &answers {
            let (verdict, provider_code) = said(case.submit(&*driver).await);
            assert_eq!(verdict, http.codes.lookup(*stage, code).verdict, "{} {code}", case.driver);
            assert_eq!(provider_code.as_deref(), Some(code.as_str()), "{}", case.driver);
        }
        assert!(answers.len() > 5, "{}", case.driver);
    }
}

#[tokio::test]
async fn a_code_that_nobody_documented_is_kept_verbatim() {
    for (case, http) in http_cases() {
        let (stage, code) = http.undocumented;
        let (head, body) = (http.answer)(stage, code).unwrap();
        let server = Server::answering(head, &body).await;
        let (verdict, provider_code) = said(case.submit_to(&server.url()).await);
        assert_eq!(verdict, codes::shared(stage, "unmapped_code").verdict, "{}", case.driver);
        assert_eq!(provider_code.as_deref(), Some(code), "{}", case.driver);
    }
}

#[tokio::test]
async fn a_hang_and_a_lost_connection_leave_the_outcome_unknown() {
    for (case, _) in http_cases() {
        let (_, build) = DRIVERS.iter().find(|(name, _)| *name == case.driver).unwrap();
        for (script, timeout) in [(Script::ReadThenHang, 1), (Script::ReadThenClose, 20)] {
            let server = Server::start(script).await;
            let setup = Setup { timeout: Duration::from_secs(timeout), ..case.setup(&server.url()) };
            let error = case.submit(&*build(setup).unwrap()).await.unwrap_err();
            assert_eq!(error.kind, ProviderErrorKind::OutcomeUnknown, "{}", case.driver);
            assert_eq!(server.connections(), 1, "{}: a driver never repeats", case.driver);
        }
    }
}

#[tokio::test]
async fn a_refused_connection_means_that_nothing_was_sent() {
    for (case, _) in http_cases() {
        let error = case.submit_to(&refused_url().await).await.unwrap_err();
        assert_eq!(error.kind, ProviderErrorKind::NotConnected, "{}", case.driver);
    }
}

#[tokio::test]
async fn an_http_status_without_a_readable_body_has_the_shared_row() {
    let rows = [
        ("302 Found\r\nLocation: /", "http_3xx"),
        ("401 Who", "http_401"),
        ("403 No", "http_403"),
        ("404 Where", "http_404"),
        ("418 Tea", "http_4xx_other"),
        ("429 Slow\r\nRetry-After: 3", "http_429"),
        ("500 Ouch", "http_5xx_other"),
        ("503 Busy", "http_5xx_other"),
        ("503 Busy\r\nRetry-After: 3", "http_503"),
    ];
    for (case, _) in http_cases() {
        let server = Server::answering_in_turn(rows.map(|(head, _)| (head, "<html>no</html>"))).await;
        let driver = case.build(&server.url());
        for (head, row) in rows {
            let error = case.submit(&*driver).await.unwrap_err();
            let expected = codes::shared(Stage::SendResponse, row).verdict;
            assert_eq!(error.verdict, expected, "{} {head}", case.driver);
            let wait = head.contains("Retry-After").then_some(Duration::from_secs(3));
            assert_eq!(error.retry_after, wait, "{} {head}", case.driver);
        }
    }
}

#[tokio::test]
async fn a_success_that_cannot_be_read_leaves_the_outcome_unknown() {
    for (case, http) in http_cases() {
        let server = Server::answering_in_turn(http.unreadable.iter().map(|body| ("200 OK", *body))).await;
        let driver = case.build(&server.url());
        for body in http.unreadable {
            let (verdict, _) = said(case.submit(&*driver).await);
            assert_eq!(verdict.status, NeutralStatus::Unknown, "{} {body:?}", case.driver);
            assert_eq!(verdict.error, Some(ErrorCode::SubmissionUnconfirmed), "{} {body:?}", case.driver);
        }
    }
}

#[tokio::test]
async fn a_question_without_an_answer_is_an_error() {
    for (case, _) in http_cases() {
        let refused = case.build(&refused_url().await);
        let polls = matches!(refused.capabilities().reports, Reports::Poll { .. });
        let expected = |can: bool| if can { ProviderErrorKind::NotConnected } else { ProviderErrorKind::Unsupported };
        assert_eq!(refused.fetch_status("x").await.unwrap_err().kind, expected(polls), "{}", case.driver);
        let balance = refused.capabilities().balance;
        assert_eq!(refused.balance().await.unwrap_err().kind, expected(balance), "{}", case.driver);
    }
}

#[tokio::test]
async fn secrets_are_shown_neither_by_the_driver_nor_by_its_errors() {
    for case in cases() {
        let driver = case.build("http://127.0.0.1:9");
        let mut shown = vec![format!("{driver:?} {:?}", case.setup("http://127.0.0.1:9"))];
        if case.http.is_some() {
            let server = Server::start(Script::ReadThenClose).await;
            for url in [server.url(), refused_url().await] {
                let error = case.submit_to(&url).await.unwrap_err();
                shown.push(format!("{error:?} {error}"));
            }
            assert!(!case.secrets.is_empty(), "{}", case.driver);
        }
        for secret in case.secrets.iter().chain(&[case.to, case.to.trim_start_matches('+')]) {
            assert!(!shown.concat().contains(secret), "{} shows {secret}: {shown:?}", case.driver);
        }
    }
}

#[test]
fn every_key_that_is_missing_or_unknown_is_named() {
    for case in cases() {
        let (_, build) = DRIVERS.iter().find(|(name, _)| *name == case.driver).unwrap();
        let full = case.setup("http://127.0.0.1:9");
        let mut surprising = full.clone();
        surprising.settings.insert("surprise".into(), "!".into());
        let problems = build(surprising).map(|_| ()).unwrap_err();
        assert_eq!(problems.iter().map(|problem| &problem.key).collect::<Vec<_>>(), ["surprise"], "{}", case.driver);
        for secret in case.secrets {
            let Some((key, _)) = full.settings.iter().find(|(_, value)| value.as_str() == Some(secret)) else {
                continue;
            };
            let mut lacking = full.clone();
            lacking.settings.remove(key);
            let problems = build(lacking).map(|_| ()).unwrap_err();
            assert!(problems.iter().any(|problem| problem.key == *key), "{} {key}", case.driver);
        }
    }
}

#[test]
fn a_driver_without_pushes_takes_none() {
    for case in cases().into_iter().filter(|case| case.report.is_none()) {
        let driver = case.build("http://127.0.0.1:9");
        for body in ["", "{}", "messageId=1&smsStatus=DELIVRD", r#"{"messageId":"1","smsStatus":"DELIVRD"}"#] {
            let callback = callback(&[("content-type", "application/json")], body.as_bytes());
            assert!(driver.verify_callback(&callback).is_err(), "{}", case.driver);
            assert!(driver.parse_callback(&callback).is_err(), "{}", case.driver);
        }
        assert!(!driver.capabilities().inbound, "{}", case.driver);
        assert!(fixtures(case.driver).is_empty(), "{}", case.driver);
    }
}

#[test]
fn a_reported_status_that_nobody_documented_is_kept_verbatim() {
    for case in cases() {
        let Some(report) = case.report else { continue };
        let events = read(&*case.build("http://127.0.0.1:9"), &report("NEVER_HEARD_OF")).unwrap();
        let [CallbackEvent::Report(report) | CallbackEvent::ReportOrInbound(report, _)] = events.as_slice() else {
            panic!("{}: {events:?}", case.driver)
        };
        assert_eq!(report.provider_code, "NEVER_HEARD_OF", "{}", case.driver);
        assert_eq!(report.verdict, codes::shared(Stage::Report, "unmapped_code").verdict, "{}", case.driver);
    }
}

#[test]
fn every_push_becomes_the_events_of_its_snapshot() {
    for case in cases() {
        let driver = case.build("http://127.0.0.1:9");
        for fixture in fixtures(case.driver) {
            let events = read(&*driver, &fixture.callback);
            let forged = fixture.name.starts_with("forged");
            assert_eq!(
                matches!(events, Err(CallbackRejected::Signature(_))),
                forged,
                "{} {}: {events:?}",
                case.driver,
                fixture.name
            );
            insta::with_settings!({
                snapshot_path => fixture.folder,
                prepend_module_to_snapshot => false,
                omit_expression => true,
            }, {
                insta::assert_debug_snapshot!(fixture.name, events);
            });
        }
    }
}

#[test]
fn a_signed_push_is_refused_once_a_byte_differs() {
    for case in cases() {
        let driver = case.build("http://127.0.0.1:9");
        for fixture in fixtures(case.driver).into_iter().filter(|fixture| fixture.name.starts_with("signed")) {
            for at in 0..fixture.callback.body.len() {
                let mut body = fixture.callback.body.to_vec();
                body[at] ^= 1;
                let tampered = Callback { body: body.into(), ..fixture.callback.clone() };
                let refused = matches!(driver.verify_callback(&tampered), Err(CallbackRejected::Signature(_)));
                assert!(refused, "{} {} at {at}", case.driver, fixture.name);
            }
        }
    }
}

#[test]
fn a_push_that_is_cut_off_anywhere_is_never_a_panic() {
    for case in cases() {
        let driver = case.build("http://127.0.0.1:9");
        for fixture in fixtures(case.driver) {
            for length in 0..fixture.callback.body.len() {
                let cut = Callback { body: fixture.callback.body.slice(..length), ..fixture.callback.clone() };
                let _ = driver.parse_callback(&cut);
            }
            let noise = Callback { body: Bytes::from_static(b"\xff\xfe{\0%zz=&&="), ..fixture.callback };
            let _ = driver.parse_callback(&noise);
        }
    }
}
