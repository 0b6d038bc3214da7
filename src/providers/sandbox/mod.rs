//! A provider that exists only inside the process: it sends nothing, and what it answers and reports is scripted by the
//! recipient's number (see `README.md`).
//!
//! Reports come as a carrier's pushes do, through [`Feed`], a moment after the answer or, for one number, before it. A report
//! that is lost with the process is found again by asking: the provider message id says which report belongs to it.

use std::{sync::Arc, sync::LazyLock, time::Duration};

use async_trait::async_trait;

use self::script::{Reply, Scenario};
use super::{
    Call, Callback, CallbackAnswers, CallbackEvent, CallbackRejected, Feed, Outcome, Provider, ProviderError,
    SettingsProblem, Setup, Submission,
    codes::{CodeTable, Stage, shared},
    settings::SettingsReader,
};
use crate::{
    clock::Clock,
    domain::{
        Timestamp,
        capabilities::{Capabilities, ContentRule, Reports},
        content::Channel,
        ids::new_uuid,
        report::{Report, ReportTarget},
    },
};

mod script;

static CODES: LazyLock<CodeTable> = LazyLock::new(|| CodeTable::embedded(include_str!("codes.csv")));

/// Long enough that the answer is usually recorded first, short enough that nobody waits for it.
const REPORT_DELAY: Duration = Duration::from_millis(20);
const RATE_LIMIT_WAIT: Duration = Duration::from_secs(1);

/// Builds the driver.
pub fn build(setup: Setup) -> Result<Arc<dyn Provider>, Vec<SettingsProblem>> {
    SettingsReader::new(setup.settings).finish()?;
    Ok(Arc::new(Sandbox { name: setup.name, clock: setup.clock, feed: setup.feed, capabilities: capabilities() }))
}

fn capabilities() -> Capabilities {
    Capabilities {
        channel: Channel::Sms,
        content: ContentRule::Text,
        max_text_characters: None,
        max_recipients_per_call: 100,
        max_call_bytes: 64 * 1024,
        // The feed is the usual way; asking finds what was lost with a process.
        reports: Reports::Poll { first: Duration::from_secs(2), window: Duration::from_mins(1) },
        inbound: false,
        balance: false,
        echoes_reference: false,
        report_url_per_call: false,
        heuristic_match: false,
        countries: None,
        test_numbers: true,
        breaker_exempt: true,
        registrations: vec![],
        clock_tolerance: None,
    }
}

#[derive(Debug)]
struct Sandbox {
    name: String,
    clock: Clock,
    feed: Option<Feed>,
    capabilities: Capabilities,
}

/// The reports of one call.
#[derive(Default)]
struct CallReports {
    before_answer: Vec<CallbackEvent>,
    after_answer: Vec<CallbackEvent>,
}

#[async_trait]
impl Provider for Sandbox {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn submit(&self, call: &Call) -> Result<Vec<Outcome>, ProviderError> {
        let now = self.clock.now();
        let mut reports = CallReports::default();
        let outcomes = call.submissions.iter().map(|submission| take(submission, now, &mut reports)).collect();
        if let Some(feed) = &self.feed {
            push(feed, &self.name, reports.before_answer).await;
            if !reports.after_answer.is_empty() {
                let (feed, name) = (feed.clone(), self.name.clone());
                tokio::spawn(async move {
                    tokio::time::sleep(REPORT_DELAY).await;
                    push(&feed, &name, reports.after_answer).await;
                });
            }
        }
        Ok(outcomes)
    }

    fn verify_callback(&self, _: &Callback) -> Result<(), CallbackRejected> {
        Err(CallbackRejected::Signature("the sandbox pushes inside the process only"))
    }

    fn parse_callback(&self, _: &Callback) -> Result<Vec<CallbackEvent>, CallbackRejected> {
        Err(CallbackRejected::Malformed("the sandbox pushes inside the process only".into()))
    }

    fn callback_answers(&self) -> CallbackAnswers {
        CallbackAnswers { content_type: "text/plain", success: "success", failure: "error" }
    }

    async fn fetch_status(&self, provider_message_id: &str) -> Result<Report, ProviderError> {
        let scenario = Scenario::of_id(provider_message_id).ok_or_else(|| {
            ProviderError::refused(shared(Stage::SendResponse, "unmapped_code"), "not an id of the sandbox")
        })?;
        Ok(report(scenario.report(), provider_message_id.to_owned(), None, self.clock.now()))
    }
}

fn take(submission: &Submission, now: Timestamp, reports: &mut CallReports) -> Outcome {
    let to = submission.to.as_str();
    let scenario = Scenario::of_number(to);
    let (code, id) = match scenario.reply(submission.attempt_number) {
        Reply::Refused(code) => (code, None),
        Reply::Taken { report: report_code, report_first } => {
            let id = scenario.id(new_uuid(now));
            let event = CallbackEvent::Report(report(report_code, id.clone(), Some(to.to_owned()), now));
            if report_first {
                reports.before_answer.push(event);
            } else {
                reports.after_answer.push(event);
            }
            ("accepted", Some(id))
        }
    };
    let verdict = CODES.lookup(Stage::SendResponse, code).verdict;
    Outcome {
        verdict,
        provider_code: Some(code.to_owned()),
        provider_message_id: id,
        segments: None,
        retry_after: verdict.retry_here.then_some(RATE_LIMIT_WAIT),
    }
}

fn report(code: &str, id: String, recipient: Option<String>, now: Timestamp) -> Report {
    Report {
        target: ReportTarget { provider_message_id: Some(id), recipient, ..ReportTarget::default() },
        provider_code: code.to_owned(),
        verdict: CODES.lookup(Stage::Report, code).verdict,
        part: 1,
        parts: 1,
        occurred_at: Some(now),
        description: None,
        price: None,
        segments: None,
    }
}

async fn push(feed: &Feed, name: &str, events: Vec<CallbackEvent>) {
    if !events.is_empty() {
        // An error says that nobody settles reports any more: the process is ending, and the next one asks.
        let _ = feed.send((name.to_owned(), events)).await;
    }
}

#[cfg(test)]
pub(super) mod tests {
    use tokio::sync::mpsc;

    use super::*;
    use crate::{
        domain::{ids::AttemptId, phone_number::PhoneNumber},
        providers::{codes, conformance::Case},
    };

    /// What the conformance suite needs to know.
    pub(crate) fn case() -> Case {
        Case { to: "+99900000001", from: "SANDBOX", ..Case::of("sandbox") }
    }

    fn sandbox(feed: Option<Feed>) -> Arc<dyn Provider> {
        build(Setup { feed, ..case().setup("") }).unwrap()
    }

    fn call(numbers: &[&str], attempt_number: u16) -> Call {
        let submissions = numbers.iter().map(|to| Submission {
            attempt_id: AttemptId(uuid::Uuid::nil()),
            attempt_number,
            to: PhoneNumber::parse(to).unwrap(),
            text: Some("hello".into()),
            binding: None,
        });
        Call {
            reference: "call_1".into(),
            from: "SANDBOX".into(),
            report_url: None,
            submissions: submissions.collect(),
        }
    }

    fn ids_and_codes(events: &[CallbackEvent]) -> Vec<(String, String)> {
        let read = events.iter().map(|event| {
            let CallbackEvent::Report(report) = event else { panic!("{event:?}") };
            (report.target.provider_message_id.clone().unwrap(), report.provider_code.clone())
        });
        read.collect()
    }

    #[tokio::test]
    async fn reports_follow_the_answer() {
        let (feed, mut reports) = mpsc::channel(8);
        let outcomes = sandbox(Some(feed)).submit(&call(&["+99900000001", "+99900000002"], 1)).await.unwrap();
        assert!(reports.try_recv().is_err(), "not before the answer");
        let (provider, events) = reports.recv().await.unwrap();
        assert_eq!(provider, "sandbox");
        let ids: Vec<String> = outcomes.into_iter().map(|outcome| outcome.provider_message_id.unwrap()).collect();
        let codes = ["delivered".to_owned(), "unreachable".to_owned()];
        assert_eq!(ids_and_codes(&events), ids.into_iter().zip(codes).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn one_number_is_reported_before_the_answer() {
        let (feed, mut reports) = mpsc::channel(8);
        let outcomes = sandbox(Some(feed)).submit(&call(&["+99900000008"], 1)).await.unwrap();
        let (_, events) = reports.try_recv().unwrap();
        let id = outcomes[0].provider_message_id.clone().unwrap();
        assert_eq!(ids_and_codes(&events), [(id, "delivered".to_owned())]);
    }

    #[tokio::test]
    async fn a_refused_number_is_never_reported() {
        let (feed, mut reports) = mpsc::channel(8);
        let outcomes = sandbox(Some(feed)).submit(&call(&["+99900000003", "+99900000009"], 1)).await.unwrap();
        assert!(outcomes.iter().all(|outcome| outcome.provider_message_id.is_none()));
        assert!(reports.recv().await.is_none(), "the last sender is gone, and nothing was sent");
    }

    #[tokio::test]
    async fn a_lost_report_is_found_by_asking() {
        let sandbox = sandbox(None);
        for (to, code) in [
            ("+99900000001", "delivered"),
            ("+99900000002", "unreachable"),
            ("+99900000004", "unconfirmed"),
            ("+99900000005", "expired"),
            ("+99900000008", "delivered"),
        ] {
            let outcomes = sandbox.submit(&call(&[to], 1)).await.unwrap();
            let id = outcomes[0].provider_message_id.clone().unwrap();
            let report = sandbox.fetch_status(&id).await.unwrap();
            assert_eq!((report.provider_code.as_str(), report.target.provider_message_id), (code, Some(id)), "{to}");
        }
        assert!(sandbox.fetch_status("1dc7b7eb").await.is_err());
    }

    #[tokio::test]
    async fn a_number_is_rate_limited_once_and_told_for_how_long() {
        let sandbox = sandbox(None);
        let first = sandbox.submit(&call(&["+99900000006"], 1)).await.unwrap().remove(0);
        assert!(first.verdict.retry_here);
        assert_eq!(first.retry_after, Some(Duration::from_secs(1)));
        let second = sandbox.submit(&call(&["+99900000006"], 2)).await.unwrap().remove(0);
        assert!(second.provider_message_id.is_some());
        assert_eq!(second.retry_after, None);
    }

    #[test]
    fn the_table_is_complete() {
        assert_eq!(
            codes::listing(&CODES),
            "Report delivered\nReport expired\nReport unconfirmed\nReport unreachable\nSendResponse accepted\n\
             SendResponse no_money\nSendResponse number_invalid\nSendResponse refused\nSendResponse too_fast"
        );
    }
}
