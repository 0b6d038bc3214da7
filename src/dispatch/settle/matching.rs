//! Which attempt a report is about, and what a push is that does not say whether it is a report.

use super::{Sorted, time_of};
use crate::{
    dispatch::Live,
    domain::{Timestamp, ids::CallId},
    store::{
        StoreError,
        inbound::InboundRecord,
        reports::{self, Candidate, Match, StoredReport},
    },
};

/// A report that has waited so long is looked for among the attempts of all messages there are, not only those of the last days.
const LATE: chrono::TimeDelta = chrono::TimeDelta::seconds(3);

/// Finds the attempts: by the call's reference and the recipient, by the provider's id, and where a provider gives neither
/// before its answer, by being the only unclear attempt that fits.
pub(super) async fn find_attempts(
    connection: &mut sqlx::PgConnection,
    live: &Live,
    reports: &mut [Sorted],
    now: Timestamp,
) -> Result<(), StoreError> {
    find_named(&mut *connection, reports, |_| true, now - reports::KEPT_FOR).await?;
    // Most reports without an attempt came before the answer to their call, and that is found in a moment: only what has
    // waited is worth a look at every day there is.
    let late = |report: &StoredReport| now - time_of(report.id) > LATE;
    let all = chrono::TimeDelta::days(i64::from(live.config.retention.messages_days) + 1);
    find_named(&mut *connection, reports, late, now - all).await?;
    for sorted in reports.iter_mut().filter(|sorted| sorted.report.matched.is_none()) {
        sorted.report.matched = only_unclear(&mut *connection, live, &mut sorted.report, now).await?;
    }
    Ok(())
}

/// Finds the attempts of reports that name one, among those of messages made since then.
async fn find_named(
    connection: &mut sqlx::PgConnection,
    reports: &mut [Sorted],
    wanted: impl Fn(&StoredReport) -> bool,
    since: Timestamp,
) -> Result<(), StoreError> {
    let open = |reports: &[Sorted]| -> Vec<usize> {
        let is_open = |place: &usize| reports[*place].report.matched.is_none() && wanted(&reports[*place].report);
        (0..reports.len()).filter(is_open).collect()
    };
    let calls: Vec<(usize, CallId, String)> = open(reports)
        .into_iter()
        .filter_map(|place| {
            let report = &reports[place].report;
            Some((place, report.call_id?, report.report.target.recipient.clone().unwrap_or_default()))
        })
        .collect();
    if !calls.is_empty() {
        let questions: Vec<(CallId, &str)> = calls.iter().map(|(_, call, to)| (*call, to.as_str())).collect();
        let found = reports::by_call(&mut *connection, &questions, since).await?;
        calls.iter().zip(found).for_each(|((place, _, _), found)| reports[*place].report.matched = found);
    }
    let ids: Vec<(usize, String, String)> = open(reports)
        .into_iter()
        .filter_map(|place| {
            let report = &reports[place].report;
            Some((place, report.provider.clone(), report.report.target.provider_message_id.clone()?))
        })
        .collect();
    if !ids.is_empty() {
        let questions: Vec<(&str, &str)> =
            ids.iter().map(|(_, provider, id)| (provider.as_str(), id.as_str())).collect();
        let found = reports::by_provider_message_id(&mut *connection, &questions, since).await?;
        ids.iter().zip(found).for_each(|((place, _, _), found)| reports[*place].report.matched = found);
    }
    Ok(())
}

async fn only_unclear(
    connection: &mut sqlx::PgConnection,
    live: &Live,
    report: &mut StoredReport,
    now: Timestamp,
) -> Result<Option<Match>, StoreError> {
    if !live.capabilities(&report.provider).is_some_and(|it| it.heuristic_match) {
        return Ok(None);
    }
    let target = &report.report.target;
    let (Some(recipient), Some(sender)) = (&target.recipient, &target.sender) else { return Ok(None) };
    let fits = reports::candidates(connection, report, recipient, sender, now).await?;
    Ok(match fits.as_slice() {
        [Candidate::Unclear(only)] => Some(*only),
        [] => {
            // Later looks no longer have the text, and must not take what it ruled out.
            report.report.target.sender = None;
            None
        }
        // Two candidates: neither. One that is in flight will have an id, or be unclear, at the next look.
        [Candidate::InFlight | Candidate::Unclear(_), ..] => None,
    })
}

/// Where a provider does not say which it is: a known id makes it a report; else our own number as the receiver makes it an
/// inbound message.
pub(super) fn decide_doubtful(live: &Live, reports: &mut Vec<Sorted>, arrived: &mut Vec<InboundRecord>) {
    let ours = |provider: &str, number: &str| {
        let bare = number.trim_start_matches('+');
        let same = |own: &String| own.trim_start_matches('+') == bare;
        let section = live.providers.get(provider).map(|provider| &provider.section);
        section.is_some_and(|section| section.from.iter().chain(&section.senders).any(same))
            || live.owner_of(number).is_some()
    };
    let mut sure = Vec::with_capacity(reports.len());
    for sorted in reports.drain(..) {
        let inbound = sorted.or_inbound.as_ref().is_some_and(|inbound| {
            sorted.report.matched.is_none()
                && ours(&inbound.provider, &inbound.to)
                && !ours(&inbound.provider, &inbound.from)
        });
        match sorted.or_inbound {
            Some(message) if inbound => arrived.push(message),
            _ => sure.push(Sorted { or_inbound: None, ..sorted }),
        }
    }
    *reports = sure;
}
