use super::*;
use crate::domain::{
    content::{Category, Channel, Content},
    ids::{AttemptId, CallId},
    life::{Cause, Changed, Failover, OnUnknown, Plan, Step},
    message::{AppData, NewMessage},
    phone_number::PhoneNumber,
    report::{Report, ReportTarget},
    verdict::{FailoverAllowed, Scope, Verdict},
};

fn at(second: i64) -> Timestamp {
    Timestamp::from_timestamp(1_770_000_000 + second, 0).unwrap()
}

/// An id of exactly this second: the program's own ids never go back in time, and other tests are ahead of this one.
fn id_at(second: i64) -> Uuid {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
    let low = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    Uuid::from_u128(first_uuid_at(at(second)).as_u128() | u128::from(low))
}

fn record(status: MessageStatus, attempts: Vec<Attempt>) -> MessageRecord {
    let step = Step { provider: "first".into(), channel: Channel::Sms, from: None, after_seconds: None };
    let record = NewMessage {
        id: MessageId(id_at(0)),
        app: "shop".into(),
        batch_id: None,
        test: false,
        to: PhoneNumber::parse("+84361234567").unwrap(),
        country: None,
        category: Category::Transactional,
        sensitive: false,
        content: Content::default(),
        encoding: None,
        segments: None,
        plan: Plan { route: None, steps: vec![step], failover: Failover::OnUndelivered, on_unknown: OnUnknown::Hold },
        app_data: AppData::default(),
        send_at: None,
        expires_at: at(600),
        created_at: at(0),
    }
    .accepted();
    MessageRecord { status, attempts, ..record }
}

fn attempt(number: u16, started: i64, answered: i64, status: AttemptStatus) -> Attempt {
    Attempt {
        id: AttemptId(id_at(started)),
        number,
        step: 0,
        provider: "first".into(),
        channel: Channel::Sms,
        sender: "861".into(),
        call_id: CallId(id_at(started)),
        status,
        error: None,
        resend_allowed: true,
        provider_message_id: Some("p".into()),
        started_at: at(started),
        answered_at: Some(at(answered)),
        completed_at: None,
        evidence_until: None,
        next_poll_at: None,
        polls: 0,
        segments: None,
        price: None,
        parts_delivered: vec![],
        changed: Changed::No,
    }
}

fn decision(second: i64, kind: DecisionKind, attempt: Option<u16>) -> KeptDecision {
    KeptDecision { id: id_at(second), kind, attempt, provider: None, provider_code: None, detail: "why".into() }
}

fn report(second: i64, attempt: u16, status: NeutralStatus, applied: bool) -> KeptReport {
    let verdict = Verdict {
        status,
        error: None,
        category: None,
        retryable: false,
        failover: FailoverAllowed::Yes,
        retry_here: false,
        resend_allowed: true,
        scope: Scope::None,
    };
    let report = Report {
        target: ReportTarget::default(),
        provider_code: "UNDELIV".into(),
        verdict,
        part: 1,
        parts: 1,
        occurred_at: None,
        description: None,
        price: None,
        segments: None,
    };
    let id = id_at(second);
    KeptReport { id, provider: "first".into(), attempt: Some(attempt), applied, heuristic: false, report, raw: None }
}

fn told(record: &MessageRecord, decisions: &[KeptDecision], reports: &[KeptReport]) -> Vec<(String, &'static str)> {
    let entries = entries(record, decisions, reports, &[]);
    entries.into_iter().map(|entry| (entry.kind, entry.status.as_str())).collect()
}

fn expected(entries: &[(&str, &'static str)]) -> Vec<(String, &'static str)> {
    entries.iter().map(|(kind, status)| ((*kind).to_owned(), *status)).collect()
}

#[test]
fn a_message_that_went_to_its_second_step_is_told_in_order() {
    let record = record(
        MessageStatus::Delivered,
        vec![attempt(1, 1, 2, AttemptStatus::Undelivered), attempt(2, 5, 6, AttemptStatus::Delivered)],
    );
    let decisions = [decision(4, DecisionKind::Failover, Some(1))];
    let reports = [
        report(4, 1, NeutralStatus::Undelivered, true),
        report(9, 2, NeutralStatus::Delivered, true),
        report(10, 1, NeutralStatus::Undelivered, false),
    ];
    let story = [
        ("created", "queued"),
        ("attempt.started", "sending"),
        ("attempt.sent", "sent"),
        ("report.applied", "queued"),
        ("failover", "queued"),
        ("attempt.started", "sending"),
        ("attempt.sent", "sent"),
        ("report.applied", "delivered"),
        ("report.ignored", "delivered"),
    ];
    assert_eq!(told(&record, &decisions, &reports), expected(&story));
}

#[test]
fn a_refusal_and_the_decision_to_try_again_are_one_change() {
    let record = record(MessageStatus::Queued, vec![attempt(1, 0, 0, AttemptStatus::Failed)]);
    let decisions = [decision(0, DecisionKind::RetryScheduled, Some(1))];
    let story = [
        ("created", "queued"),
        ("attempt.started", "sending"),
        ("attempt.failed", "queued"),
        ("retry.scheduled", "queued"),
    ];
    assert_eq!(told(&record, &decisions, &[]), expected(&story));
}

#[test]
fn an_unclear_answer_is_told_as_unclear_even_after_a_report_settled_it() {
    let mut unclear = attempt(1, 1, 11, AttemptStatus::Unknown);
    unclear.provider_message_id = None;
    unclear.error = Some(Cause::own(ErrorCode::SubmissionUnconfirmed, false));
    let story = [("created", "queued"), ("attempt.started", "sending"), ("attempt.unknown", "unknown")];
    assert_eq!(told(&record(MessageStatus::Unknown, vec![unclear]), &[], &[]), expected(&story));
}

#[test]
fn what_only_time_brought_is_told_last() {
    let mut record = record(MessageStatus::Unknown, vec![attempt(1, 1, 2, AttemptStatus::Unknown)]);
    record.completed_at = Some(at(90));
    record.error = Some(Cause::own(ErrorCode::DeliveryUnconfirmed, false));
    let found = entries(&record, &[], &[], &[]);
    let last = found.last().unwrap();
    assert_eq!((last.kind.as_str(), last.status, last.timestamp), ("status.changed", MessageStatus::Unknown, at(90)));
    assert_eq!(found[2].kind, "attempt.sent");
}

#[test]
fn a_message_that_was_canceled_before_any_attempt_says_so() {
    let found = told(&record(MessageStatus::Canceled, vec![]), &[decision(3, DecisionKind::Canceled, None)], &[]);
    assert_eq!(found, expected(&[("created", "queued"), ("canceled", "canceled")]));
}

#[test]
fn ids_of_entries_are_different_and_stay_the_same() {
    let record = record(
        MessageStatus::Unknown,
        vec![attempt(1, 1, 2, AttemptStatus::Sent), attempt(2, 1, 2, AttemptStatus::Sent)],
    );
    let ids = |entries: Vec<TimelineEntry>| entries.into_iter().map(|entry| entry.id).collect::<Vec<_>>();
    let first = ids(entries(&record, &[], &[], &[]));
    assert_eq!(first, ids(entries(&record, &[], &[], &[])));
    let mut distinct = first.clone();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), first.len());
}
