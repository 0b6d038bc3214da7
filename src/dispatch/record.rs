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
        ids::{CallId, MessageId},
        life::{Answer, RetryRule},
    },
    fail_points::{Step, reach},
    store::{
        Db, StoreError,
        life::{self, Locked},
        reports,
    },
};

/// How often a group is tried while the engine stops: the database may only be restarting, but the end must come.
const TRIES_AT_THE_END: u32 = 5;

/// What came of one hand-over.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// Which message.
    pub message: MessageId,
    /// Which of its attempts.
    pub attempt: u16,
    /// What the provider said.
    pub answer: Answer,
}

pub(super) fn spawn(engine: &Engine, queue: mpsc::Receiver<Entry>) {
    writers::spawn(engine, queue, &engine.shared.ended, |engine, group| async move {
        record(&engine, Arc::new(group)).await;
    });
}

/// Writes one group down, however often that takes: an answer that is lost makes its message `unknown`.
async fn record(engine: &Engine, group: Arc<Vec<Entry>>) {
    let mut tries_at_the_end = 0;
    loop {
        let (live, now, entries) = (engine.live(), engine.clock().now(), group.clone());
        let done = Db::unit(&engine.db().work, move |connection| {
            Box::pin(async move { apply(connection, &live, &entries, now).await })
        })
        .await;
        let done = match done {
            Ok(next) => reach(Step::RecordCommitted).await.map(|()| next).map_err(StoreError::from),
            Err(error) => Err(error),
        };
        let error = match done {
            Ok(next) => {
                engine.live().wake_all(&next);
                return;
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
    now: Timestamp,
) -> Result<HashSet<String>, StoreError> {
    let ids: Vec<MessageId> = entries.iter().map(|entry| entry.message).collect();
    let mut locked = life::lock(&mut *connection, &ids).await?;
    let places: HashMap<MessageId, usize> =
        locked.iter().enumerate().map(|(place, locked)| (locked.life.id, place)).collect();
    let retry = RetryRule { max_attempts: u16::try_from(live.config.dispatch.max_attempts).unwrap_or(u16::MAX) };
    for entry in entries {
        let Some(locked) = places.get(&entry.message).and_then(|place| locked.get_mut(*place)) else { continue };
        let Some(provider) = provider_of(locked, entry.attempt) else { continue };
        let evidence = live.evidence(&provider);
        locked.life.answered(entry.attempt, &entry.answer, locked.came_from, evidence, retry, now);
    }
    let mut waiting = early_reports(&mut *connection, live, entries, &locked).await?;
    settle::absorb(&mut waiting, &mut locked, now);
    life::save(&mut *connection, &locked.iter().collect::<Vec<_>>(), None, now).await?;
    reports::update(connection, &waiting).await?;
    reach(Step::RecordWritten).await?;
    Ok(life::next_providers(&locked))
}

fn provider_of(locked: &Locked, number: u16) -> Option<String> {
    locked.life.attempts.iter().find(|attempt| attempt.number == number).map(|attempt| attempt.provider.clone())
}

/// Reports that came before the answers to their calls, matched to the attempts in hand.
async fn early_reports(
    connection: &mut sqlx::PgConnection,
    live: &Live,
    entries: &[Entry],
    locked: &[Locked],
) -> Result<Vec<reports::StoredReport>, StoreError> {
    let meant: HashSet<(MessageId, u16)> = entries.iter().map(|entry| (entry.message, entry.attempt)).collect();
    let answered: Vec<_> = locked
        .iter()
        .flat_map(|locked| locked.life.attempts.iter().map(move |attempt| (locked, attempt)))
        .filter(|(locked, attempt)| meant.contains(&(locked.life.id, attempt.number)))
        .collect();
    let ids: Vec<(&str, &str)> = answered
        .iter()
        .filter_map(|(_, attempt)| Some((attempt.provider.as_str(), attempt.provider_message_id.as_deref()?)))
        .collect();
    let echoes = |provider: &str| live.capabilities(provider).is_some_and(|it| it.echoes_reference);
    let calls: Vec<CallId> =
        answered.iter().filter(|(_, attempt)| echoes(&attempt.provider)).map(|(_, attempt)| attempt.call_id).collect();
    let mut waiting = reports::lock_waiting_for(connection, &ids, &calls).await?;
    for report in &mut waiting {
        let target = &report.report.target;
        let is_meant = |(locked, attempt): &&(&Locked, &crate::domain::life::Attempt)| {
            let by_id = attempt.provider == report.provider
                && target.provider_message_id.is_some()
                && attempt.provider_message_id == target.provider_message_id;
            let by_call = report.call_id == Some(attempt.call_id)
                && target.recipient.as_deref().is_some_and(|recipient| recipient == locked.to.as_str());
            by_id || by_call
        };
        report.matched = answered.iter().find(is_meant).map(|(locked, attempt)| reports::Match {
            message: locked.life.id,
            attempt: attempt.number,
            heuristic: false,
        });
    }
    waiting.retain(|report| report.matched.is_some());
    Ok(waiting)
}
