//! The timeline of a message: a view over its attempts, the decisions about it, the reports of carriers and what its app was
//! told, put in order, with the message's status after each entry.
//!
//! Nothing is stored for it. An entry whose fact is a row has that row's id; for the others the id is made from the message's
//! and so stays the same.

use std::collections::BTreeMap;

use axum::{Json, extract::State};
use uuid::Uuid;

use super::{answer::TimelineEntry, read::NO_MESSAGE};
use crate::{
    api::{
        auth::{MayRead, visible_app},
        error::ApiError,
        openapi::PartProblems,
        page::Page,
        path::Id,
        query::Query,
        state::ApiState,
    },
    config::Role,
    domain::{
        Timestamp,
        error_code::ErrorCode,
        event::DeliveryStatus,
        ids::{EventId, MessageId, first_uuid_at, time_of},
        life::{Attempt, DecisionKind},
        message::MessageRecord,
        status::{AttemptStatus, MessageStatus},
        verdict::NeutralStatus,
    },
    secrets::Secrets,
    store::{
        self,
        events::StoredEvent,
        history,
        timeline::{self, KeptDecision, KeptReport},
    },
};

/// Read a message's timeline, oldest first
///
/// Everything that happened: decisions, attempts, reports, also those that changed nothing, and for each event the last try to
/// tell the app.
#[utoipa::path(
    get, path = "/v1/messages/{message_id}/events", operation_id = "listMessageEvents", tag = "Messages",
    params(
        ("message_id" = String, Path, pattern = "^msg_[0-7][0-9a-hjkmnp-tv-z]{25}$"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 200),
        ("cursor" = Option<String>, Query, max_length = 512, description = "`next_cursor` of the page before."),
    ),
    responses((status = 200, description = "One page.", body = Page<TimelineEntry>), PartProblems),
    extensions(("x-role" = json!("app"))),
)]
pub async fn events(
    State(state): State<ApiState>,
    MayRead(identity): MayRead,
    Id(id): Id<MessageId>,
    mut query: Query,
) -> Result<Json<Page<TimelineEntry>>, ApiError> {
    let (after, limit) = (query.cursor::<EventId>(), query.limit());
    query.finish()?;
    let app = visible_app(&identity).map(str::to_owned);
    let facts = state.engine.db().read(move |connection| {
        Box::pin(async move {
            let Some(record) = history::find(&mut *connection, app.as_deref(), id).await? else { return Ok(None) };
            let decisions = timeline::decisions(&mut *connection, id).await?;
            let told = store::events::of_message(&mut *connection, id).await?;
            Ok(Some((record, decisions, timeline::reports(connection, id).await?, told)))
        })
    });
    let (record, decisions, reports, told) = facts.await?.ok_or(NO_MESSAGE)?;
    let mut entries = entries(&record, &decisions, &reports, &told);
    // A push may repeat the text, so that of a sensitive message is shown to nobody.
    if identity.role != Role::App && !record.message.sensitive {
        show_raw(&mut entries, &reports, state.engine.secrets());
    }
    let start = after.and_then(|after| entries.iter().position(|entry| entry.id == after)).map_or(0, |at| at + 1);
    let data = entries.into_iter().skip(start).take(limit as usize + 1).collect();
    Ok(Json(Page::cut(data, limit, |last: &TimelineEntry| last.id)))
}

/// The provider's own words, for those who run the gateway.
fn show_raw(entries: &mut [TimelineEntry], reports: &[KeptReport], secrets: &Secrets) {
    for kept in reports {
        let Some((callback, sealed)) = &kept.raw else { continue };
        let Some(entry) = entries.iter_mut().find(|entry| entry.id == EventId(kept.id)) else { continue };
        let opened = secrets.open(sealed, callback.as_bytes()).ok();
        entry.raw = opened.map(|body| String::from_utf8_lossy(&body).into_owned());
    }
}

/// What happened, as far as it matters for the status.
enum Fact {
    Created,
    Attempt(u16, AttemptStatus),
    Waiting,
    Ended(MessageStatus),
    Other,
}

struct Draft {
    entry: TimelineEntry,
    fact: Fact,
    /// Orders what happened in the same millisecond.
    rank: (u16, u8),
}

impl Draft {
    /// Is this the decision to go on that came with another entry?
    fn goes_on_from(&self, entry: &TimelineEntry) -> bool {
        let (own, other) = (self.entry.timestamp, entry.timestamp);
        matches!(self.fact, Fact::Waiting)
            && self.entry.attempt == entry.attempt
            && own.timestamp_millis() == other.timestamp_millis()
    }
}

/// All entries in order, each with the status after it.
pub fn entries(
    record: &MessageRecord,
    decisions: &[KeptDecision],
    reports: &[KeptReport],
    told: &[StoredEvent],
) -> Vec<TimelineEntry> {
    let message = &record.message;
    let mut drafts = vec![created(record, decisions)];
    for attempt in &record.attempts {
        drafts.extend(of_attempt(attempt, told_unclear(decisions, attempt.number)));
    }
    drafts.extend(decisions.iter().map(of_decision));
    drafts.extend(reports.iter().map(of_report));
    drafts.extend(told.iter().filter_map(of_webhook));
    drafts.sort_by_key(|draft| (draft.entry.timestamp.timestamp_millis(), draft.rank));
    let mut replay = Replay::default();
    let scheduled = message.send_at.is_some_and(|at| at > message.created_at);
    let mut entries: Vec<TimelineEntry> = Vec::with_capacity(drafts.len() + 1);
    let mut rest = drafts.into_iter().peekable();
    while let Some(Draft { mut entry, fact, rank: _ }) = rest.next() {
        entry.status = replay.after(&fact, scheduled);
        if rest.peek().is_some_and(|next| next.goes_on_from(&entry)) {
            // Decided in the same step: the message never was where this alone would have left it.
            entry.status = replay.after(&Fact::Waiting, scheduled);
        }
        entries.push(entry);
    }
    // What only time brings (a window that ended, a send_at that came) leaves no row.
    if let Some(last) = entries.last().filter(|last| last.status != record.status) {
        let at = record.completed_at.unwrap_or(last.timestamp).max(last.timestamp);
        let mut entry = draft(made_id(at, message.id.0), "status.changed", at, Fact::Other, (0, 0)).entry;
        entry.status = record.status;
        entry.detail = record.error.as_ref().map(|cause| cause.code.message().to_owned());
        entries.push(entry);
    }
    entries
}

/// The beginning; for a recipient of a batch that cannot be sent to it is the end as well.
fn created(record: &MessageRecord, decisions: &[KeptDecision]) -> Draft {
    let message = &record.message;
    let untouched = record.attempts.is_empty() && decisions.is_empty();
    let is_the_end = untouched && record.status == MessageStatus::Failed && message.plan.steps.is_empty();
    let fact = if is_the_end { Fact::Ended(MessageStatus::Failed) } else { Fact::Created };
    let mut created = draft(message.id.0, "created", message.created_at, fact, (0, 0));
    if is_the_end {
        created.entry.detail = record.error.as_ref().map(|cause| cause.code.message().to_owned());
    }
    created
}

fn draft(id: Uuid, kind: &str, timestamp: Timestamp, fact: Fact, rank: (u16, u8)) -> Draft {
    let entry = TimelineEntry {
        id: EventId(id),
        kind: kind.into(),
        timestamp,
        status: MessageStatus::Queued,
        attempt: None,
        provider: None,
        provider_code: None,
        detail: None,
        raw: None,
    };
    Draft { entry, fact, rank }
}

/// An id that is always the same for the same time and source.
fn made_id(at: Timestamp, source: Uuid) -> Uuid {
    let low = source.as_u128() & 0x3fff_ffff_ffff_ffff;
    Uuid::from_u128(first_uuid_at(at).as_u128() | (7 << 76) | (2 << 62) | low)
}

/// Was it told apart that the outcome of an attempt was unclear?
fn told_unclear(decisions: &[KeptDecision], attempt: u16) -> bool {
    decisions.iter().any(|kept| kept.kind == DecisionKind::AttemptUnknown && kept.attempt == Some(attempt))
}

fn of_attempt(attempt: &Attempt, told_unclear: bool) -> Vec<Draft> {
    let number = attempt.number;
    let place = |mut draft: Draft| {
        draft.entry.attempt = Some(number.into());
        draft.entry.provider = Some(attempt.provider.clone());
        draft
    };
    let started = Fact::Attempt(number, AttemptStatus::Sending);
    let mut drafts = vec![place(draft(attempt.id.0, "attempt.started", attempt.started_at, started, (number, 0)))];
    if let Some(at) = attempt.answered_at.filter(|_| !told_unclear) {
        let (kind, status) = answer_of(attempt);
        let mut answered =
            place(draft(made_id(at, attempt.id.0), kind, at, Fact::Attempt(number, status), (number, 1)));
        if status != AttemptStatus::Sent {
            answered.entry.provider_code = attempt.error.as_ref().and_then(|cause| cause.provider_code.clone());
            answered.entry.detail = attempt.error.as_ref().map(|cause| cause.code.message().to_owned());
        }
        drafts.push(answered);
    }
    drafts
}

/// What the answer to the call was; the attempt itself only keeps what came of it in the end.
fn answer_of(attempt: &Attempt) -> (&'static str, AttemptStatus) {
    let unconfirmed = attempt.error.as_ref().is_some_and(|cause| cause.code == ErrorCode::SubmissionUnconfirmed);
    match attempt.status {
        AttemptStatus::Failed => ("attempt.failed", AttemptStatus::Failed),
        AttemptStatus::Unknown if unconfirmed || attempt.provider_message_id.is_none() => {
            ("attempt.unknown", AttemptStatus::Unknown)
        }
        AttemptStatus::Sending
        | AttemptStatus::Sent
        | AttemptStatus::Delivered
        | AttemptStatus::Undelivered
        | AttemptStatus::Expired
        | AttemptStatus::Unknown => ("attempt.sent", AttemptStatus::Sent),
    }
}

fn of_decision(decision: &KeptDecision) -> Draft {
    let fact = match decision.kind {
        DecisionKind::AttemptUnknown => Fact::Attempt(decision.attempt.unwrap_or(0), AttemptStatus::Unknown),
        DecisionKind::RetryScheduled | DecisionKind::Failover | DecisionKind::Resend => Fact::Waiting,
        DecisionKind::Expired => Fact::Ended(MessageStatus::Expired),
        DecisionKind::Canceled => Fact::Ended(MessageStatus::Canceled),
        DecisionKind::StepPassedOver | DecisionKind::Settled => Fact::Other,
    };
    let place = if decision.kind == DecisionKind::AttemptUnknown { 1 } else { 3 };
    let rank = (decision.attempt.unwrap_or(u16::MAX), place);
    let mut draft = draft(decision.id, decision.kind.as_str(), time_of(decision.id), fact, rank);
    draft.entry.attempt = decision.attempt.map(u32::from);
    draft.entry.provider.clone_from(&decision.provider);
    draft.entry.provider_code.clone_from(&decision.provider_code);
    draft.entry.detail = Some(decision.detail.clone());
    draft
}

fn of_report(kept: &KeptReport) -> Draft {
    let kind = if kept.applied { "report.applied" } else { "report.ignored" };
    let fact = match kept.attempt.filter(|_| kept.applied) {
        Some(attempt) => Fact::Attempt(attempt, reported(kept.report.verdict.status)),
        None => Fact::Other,
    };
    let mut draft = draft(kept.id, kind, time_of(kept.id), fact, (kept.attempt.unwrap_or(u16::MAX), 2));
    draft.entry.attempt = kept.attempt.map(u32::from);
    draft.entry.provider = Some(kept.provider.clone());
    draft.entry.provider_code = Some(kept.report.provider_code.clone());
    draft.entry.detail.clone_from(&kept.report.description);
    draft
}

/// The last try to tell the app; none as long as none was made.
fn of_webhook(event: &StoredEvent) -> Option<Draft> {
    let at = event.tried_at?;
    let kind = if event.delivery == DeliveryStatus::Delivered { "webhook.delivered" } else { "webhook.failed" };
    let mut draft = draft(made_id(at, event.id.0), kind, at, Fact::Other, (u16::MAX, 4));
    let answered = event.last_status_code.map(|code| format!(", answered {code}")).unwrap_or_default();
    let tries = if event.tries == 1 { "1 try".to_owned() } else { format!("{} tries", event.tries) };
    draft.entry.detail = Some(format!("{}: {tries}{answered}", event.event));
    Some(draft)
}

fn reported(status: NeutralStatus) -> AttemptStatus {
    match status {
        NeutralStatus::Delivered => AttemptStatus::Delivered,
        NeutralStatus::Undelivered => AttemptStatus::Undelivered,
        NeutralStatus::Expired => AttemptStatus::Expired,
        NeutralStatus::Failed => AttemptStatus::Failed,
        NeutralStatus::Sent => AttemptStatus::Sent,
        NeutralStatus::Unknown => AttemptStatus::Unknown,
    }
}

/// The status as it was at the time: the same order of precedence as the engine's, over what had happened by then.
#[derive(Default)]
struct Replay {
    attempts: BTreeMap<u16, AttemptStatus>,
    waiting: bool,
    ended: Option<MessageStatus>,
}

impl Replay {
    fn after(&mut self, fact: &Fact, scheduled: bool) -> MessageStatus {
        match fact {
            Fact::Created | Fact::Waiting => self.waiting = true,
            Fact::Attempt(number, status) => {
                self.waiting &= *status != AttemptStatus::Sending;
                self.attempts.insert(*number, *status);
            }
            Fact::Ended(status) => (self.waiting, self.ended) = (false, Some(*status)),
            Fact::Other => {}
        }
        self.status(scheduled)
    }

    fn status(&self, scheduled: bool) -> MessageStatus {
        let has = |status| self.attempts.values().any(|attempt| *attempt == status);
        if has(AttemptStatus::Delivered) {
            MessageStatus::Delivered
        } else if has(AttemptStatus::Sending) {
            MessageStatus::Sending
        } else if self.waiting {
            if scheduled && self.attempts.is_empty() { MessageStatus::Scheduled } else { MessageStatus::Queued }
        } else if has(AttemptStatus::Sent) {
            MessageStatus::Sent
        } else if has(AttemptStatus::Unknown) {
            MessageStatus::Unknown
        } else {
            self.lost().or(self.ended).unwrap_or(MessageStatus::Failed)
        }
    }

    fn lost(&self) -> Option<MessageStatus> {
        self.attempts.values().rev().find_map(|attempt| match attempt {
            AttemptStatus::Expired => Some(MessageStatus::Expired),
            AttemptStatus::Undelivered => Some(MessageStatus::Undelivered),
            AttemptStatus::Sending
            | AttemptStatus::Sent
            | AttemptStatus::Delivered
            | AttemptStatus::Failed
            | AttemptStatus::Unknown => None,
        })
    }
}

#[cfg(test)]
mod tests;
