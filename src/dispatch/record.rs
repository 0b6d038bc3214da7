//! Writing down what came of the calls, many in one commit, together with the reports that overtook the answers.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use tokio::sync::mpsc;

use super::{AFTER_FAILURE, Engine, Live, log_failure, settle, writers};
use crate::{
    domain::{
        Timestamp,
        ids::{AttemptId, CallId, MessageId},
        life::{Answer, RetryRule},
    },
    fail_points::{Step, reach},
    store::{
        Db, StoreError,
        life::{self, StoredMessage},
        reports,
    },
};

/// How often a group is tried while the engine stops: the database may only be restarting, but the end must come.
const TRIES_AT_THE_END: u32 = 5;

/// What came of one hand-over.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// Of which message.
    pub message: MessageId,
    /// Of which of its attempts.
    pub attempt: AttemptId,
    /// The message as the claim left it; none when nobody knows whether the claim was committed.
    pub claimed: Option<Box<StoredMessage>>,
    /// What the provider said.
    pub answer: Answer,
}

pub(super) fn spawn(engine: &Engine, queue: mpsc::Receiver<Entry>) {
    let tracker = &engine.shared.writers;
    writers::spawn(engine, queue, &engine.shared.ended, tracker, |engine, group| async move {
        record(&engine, Arc::new(group)).await;
    });
}

/// Writes one group down, however often that takes: an answer that is lost makes its message `unknown`.
async fn record(engine: &Engine, group: Arc<Vec<Entry>>) {
    let mut tries_at_the_end = 0;
    let mut known = true;
    loop {
        let (live, now, entries) = (engine.live(), engine.clock().now(), group.clone());
        let done = Db::unit(&engine.db().work, move |connection| {
            Box::pin(async move { apply(connection, &live, &entries, known, now).await })
        })
        .await;
        let done = match done {
            Ok(next) => reach(Step::RecordCommitted).await.map(|()| next).map_err(StoreError::from),
            Err(error) => Err(error),
        };
        let error = match done {
            Ok(next) => {
                engine.live().wake_all(&next);
                engine.tell();
                return;
            }
            // Somebody else had to do with one of the messages since the claim: they are read again, under lock.
            Err(StoreError::Overtaken) if known => {
                known = false;
                continue;
            }
            Err(error) => error,
        };
        log_failure("record", &error);
        tries_at_the_end += u32::from(engine.stopping());
        if error.lies_with_the_data() && group.len() > 1 {
            // One answer that no row can hold must not keep the others back.
            for entry in group.iter() {
                Box::pin(record(engine, Arc::new(vec![entry.clone()]))).await;
            }
            return;
        }
        if error.lies_with_the_data() || tries_at_the_end >= TRIES_AT_THE_END {
            // The lease makes them `unknown`; nothing is claimed about them.
            return;
        }
        tokio::time::sleep(AFTER_FAILURE).await;
    }
}

async fn apply(
    connection: &mut sqlx::PgConnection,
    live: &Live,
    entries: &[Entry],
    known: bool,
    now: Timestamp,
) -> Result<HashSet<String>, StoreError> {
    let mut messages = if let Some(messages) = as_claimed(entries).filter(|_| known) {
        messages
    } else {
        let ids: Vec<MessageId> = entries.iter().map(|entry| entry.message).collect();
        life::lock(&mut *connection, &ids).await?
    };
    let places: HashMap<MessageId, usize> =
        messages.iter().enumerate().map(|(place, message)| (message.life.id, place)).collect();
    let retry = RetryRule { max_attempts: u16::try_from(live.config.dispatch.max_attempts).unwrap_or(u16::MAX) };
    for entry in entries {
        let place = places.get(&entry.message);
        let Some(message) = place.and_then(|place| messages.get_mut(*place)) else { continue };
        // By its id: after an unsure claim, the attempt with the same number may be another process's.
        let attempt = message.life.attempts.iter().find(|attempt| attempt.id == entry.attempt);
        let Some(attempt) = attempt else { continue };
        let (number, evidence) = (attempt.number, live.evidence(&attempt.provider));
        message.life.answered(number, &entry.answer, message.came_from, evidence, retry, now);
    }
    let mut waiting = early_reports(&mut *connection, live, entries, &messages, now).await?;
    settle::absorb(&mut waiting, &mut messages, now);
    life::save(&mut *connection, &messages.iter().collect::<Vec<_>>(), None, &live.receivers, now).await?;
    reports::update(connection, &waiting).await?;
    reach(Step::RecordWritten).await?;
    Ok(life::next_providers(&messages))
}

/// The messages as their claims left them, where that is enough to go by.
fn as_claimed(entries: &[Entry]) -> Option<Vec<StoredMessage>> {
    let mut messages: Vec<StoredMessage> =
        entries.iter().map(|entry| entry.claimed.as_deref().cloned()).collect::<Option<_>>()?;
    messages.sort_unstable_by_key(|message| message.life.id);
    // Two answers about one message: the second claim knows more than the first.
    let twice = messages.windows(2).any(|two| two[0].life.id == two[1].life.id);
    (!twice).then_some(messages)
}

/// Reports that came before the answers to their calls, matched to the attempts in hand.
async fn early_reports(
    connection: &mut sqlx::PgConnection,
    live: &Live,
    entries: &[Entry],
    messages: &[StoredMessage],
    now: Timestamp,
) -> Result<Vec<reports::StoredReport>, StoreError> {
    let meant: HashSet<AttemptId> = entries.iter().map(|entry| entry.attempt).collect();
    let answered: Vec<_> = messages
        .iter()
        .flat_map(|message| message.life.attempts.iter().map(move |attempt| (message, attempt)))
        .filter(|(_, attempt)| meant.contains(&attempt.id))
        .collect();
    let ids: Vec<(&str, &str)> = answered
        .iter()
        .filter_map(|(_, attempt)| Some((attempt.provider.as_str(), attempt.provider_message_id.as_deref()?)))
        .collect();
    let echoes = |provider: &str| live.capabilities(provider).is_some_and(|it| it.echoes_reference);
    let calls: Vec<CallId> =
        answered.iter().filter(|(_, attempt)| echoes(&attempt.provider)).map(|(_, attempt)| attempt.call_id).collect();
    let mut waiting = reports::lock_waiting_for(connection, &ids, &calls, now).await?;
    for report in &mut waiting {
        let target = &report.report.target;
        let is_meant = |(message, attempt): &&(&StoredMessage, &crate::domain::life::Attempt)| {
            let by_id = attempt.provider == report.provider
                && target.provider_message_id.is_some()
                && attempt.provider_message_id == target.provider_message_id;
            let by_call = report.call_id == Some(attempt.call_id)
                && target.recipient.as_deref().is_some_and(|recipient| recipient == message.to.as_str());
            by_id || by_call
        };
        report.matched = answered.iter().find(is_meant).map(|(message, attempt)| reports::Match {
            message: message.life.id,
            attempt: attempt.number,
            heuristic: false,
        });
    }
    waiting.retain(|report| report.matched.is_some());
    Ok(waiting)
}
