//! What waits for a recipient who opted out: it ends before its next hand-over.
//!
//! Two things see to that. A claim reads, with the messages it locks, what their recipients opted out of: so nothing goes out
//! that was not in flight already when the opt-out was committed. And a sweep looks for what waits for recipients of new opt-outs,
//! so that it ends at once and not only when its provider has room. What is scheduled is stopped when it is due.

use super::{Engine, line::plan, screen};
use crate::{
    domain::{Timestamp, ids::MessageId},
    store::{
        Db, StoreError,
        life::{self, StoredMessage},
        suppressions,
    },
};

/// Suppressions in one sweep.
const LIMIT: i64 = 50;

/// Ends those of the locked messages whose recipients opted out, and gives back the others.
pub(super) async fn stop(
    connection: &mut sqlx::PgConnection,
    engine: &Engine,
    messages: Vec<StoredMessage>,
    now: Timestamp,
) -> Result<Vec<StoredMessage>, StoreError> {
    let config = engine.live().config.clone();
    let concerned = |message: &StoredMessage| {
        if message.opted_out_of.is_empty() {
            return false;
        }
        // Sealed with the rest of the content.
        let used = plan::open(engine.secrets(), message).and_then(|content| content.template);
        let template = used.as_ref().map(|used| used.name.as_str());
        screen::concerns(&config, &message.app, &message.life.plan, template, &message.opted_out_of)
    };
    let (mut stopped, left): (Vec<_>, Vec<_>) = messages.into_iter().partition(concerned);
    if stopped.is_empty() {
        return Ok(left);
    }
    for message in &mut stopped {
        message.life.opted_out(now);
    }
    life::save(&mut *connection, &stopped.iter().collect::<Vec<_>>(), None, now).await?;
    let ids: Vec<MessageId> = stopped.iter().map(|message| message.life.id).collect();
    suppressions::end_validity(connection, &ids, now).await?;
    metrics::counter!("sms_gateway_opted_out_stopped_total").increment(ids.len() as u64);
    Ok(left)
}

/// Ends what waits for recipients of new suppressions. For the sweep.
pub(super) async fn apply_new(engine: &Engine) -> Result<usize, StoreError> {
    let (of_task, now) = (engine.clone(), engine.clock().now());
    Db::unit(&engine.db().work, move |connection| {
        Box::pin(async move {
            let (new, waiting) = suppressions::waiting_for_new(&mut *connection, now, LIMIT).await?;
            let mut locked = life::lock(&mut *connection, &waiting).await?;
            locked.retain(|message| message.life.send.is_some());
            let recipients: Vec<&str> = locked.iter().map(|message| message.to.as_str()).collect();
            let found = suppressions::of_recipients(&mut *connection, &recipients).await?;
            for message in &mut locked {
                message.opted_out_of = found.get(message.to.as_str()).cloned().unwrap_or_default();
            }
            stop(&mut *connection, &of_task, locked, now).await?;
            suppressions::mark_applied(connection, &new).await?;
            Ok(new.len())
        })
    })
    .await
}
