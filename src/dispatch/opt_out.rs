//! Recipients opt out by a word, or a carrier says that they did; what waits for them ends before its next hand-over.
//!
//! Two things see to the end. A claim reads, with the messages it locks, what their recipients opted out of: so nothing is claimed
//! after the opt-out was committed, and only what is being claimed in that very moment still goes out. And a sweep looks for what waits for recipients of new opt-outs,
//! so that it ends at once and not only when its provider has room. What is scheduled is stopped when it is due.

use super::{Engine, line::plan, screen};
use crate::{
    config::{Meaning, OptOut},
    domain::{
        Timestamp,
        error_code::ErrorCode,
        ids::MessageId,
        life::{Attempt, Changed},
        phone_number::PhoneNumber,
    },
    store::{
        Db, StoreError,
        inbound::InboundRecord,
        life::{self, StoredMessage},
        suppressions::{self, New, Party, Source},
    },
};

/// Suppressions in one sweep.
const LIMIT: i64 = 50;
/// Messages that are ended in one transaction.
const MESSAGES: i64 = 500;

/// Ends those of the locked messages whose recipients opted out, and gives back the others.
pub(super) async fn stop(
    connection: &mut sqlx::PgConnection,
    engine: &Engine,
    messages: Vec<StoredMessage>,
    now: Timestamp,
) -> Result<Vec<StoredMessage>, StoreError> {
    let live = engine.live();
    let concerned = |message: &StoredMessage| {
        if message.opted_out_of.is_empty() {
            return false;
        }
        // Sealed with the rest of the content.
        let used = plan::open(engine.secrets(), message).and_then(|content| content.template);
        let template = used.as_ref().map(|used| used.name.as_str());
        screen::concerns(&live.config, &message.app, &message.life.plan, template, &message.opted_out_of)
    };
    let (mut stopped, left): (Vec<_>, Vec<_>) = messages.into_iter().partition(concerned);
    if stopped.is_empty() {
        return Ok(left);
    }
    for message in &mut stopped {
        message.life.opted_out(now);
    }
    life::save(&mut *connection, &stopped.iter().collect::<Vec<_>>(), None, &live.receivers, now).await?;
    let ids: Vec<MessageId> = stopped.iter().map(|message| message.life.id).collect();
    suppressions::end_validity(connection, &ids, now).await?;
    metrics::counter!("sms_gateway_opted_out_stopped_total").increment(ids.len() as u64);
    Ok(left)
}

/// Ends what waits for recipients of new suppressions. For the sweep.
pub(super) async fn apply_new(engine: &Engine) -> Result<usize, StoreError> {
    let pool = &engine.db().work;
    let new = Db::unit(pool, |connection| Box::pin(suppressions::new(connection, LIMIT))).await?;
    match apply(engine, &new).await {
        Err(error) if error.lies_with_the_data() => {}
        done => return done.map(|()| new.len()),
    }
    // One by one, so that a message that cannot be handled keeps only itself from its end.
    for one in &new {
        match apply(engine, std::slice::from_ref(one)).await {
            Err(error) if error.lies_with_the_data() => {
                super::log_failure("opt_out", &error);
                // It would fail again each time; a claim stops what waits for the recipient all the same.
                let given_up = vec![one.clone()];
                Db::unit(pool, move |connection| {
                    Box::pin(async move { suppressions::mark_applied(connection, &given_up).await })
                })
                .await?;
            }
            done => done?,
        }
    }
    Ok(new.len())
}

/// Ends what waits for their recipients, some at a time. Where somebody else has a message, its suppression stays new.
async fn apply(engine: &Engine, new: &[New]) -> Result<(), StoreError> {
    let (mut after, mut all_free, mut more) = (None, true, !new.is_empty());
    while more {
        let (of_task, of_unit, now) = (engine.clone(), new.to_vec(), engine.clock().now());
        (after, all_free, more) = Db::unit(&engine.db().work, move |connection| {
            Box::pin(async move {
                let waiting = suppressions::waiting(&mut *connection, &of_unit, after, now, MESSAGES).await?;
                let free = suppressions::lock_free(&mut *connection, &waiting).await?;
                stop_new(&mut *connection, &of_task, &free, now).await?;
                let all_free = all_free && free.len() == waiting.len();
                let more = i64::try_from(waiting.len()).is_ok_and(|found| found >= MESSAGES);
                if all_free && !more {
                    suppressions::mark_applied(connection, &of_unit).await?;
                }
                Ok((waiting.last().copied(), all_free, more))
            })
        })
        .await?;
    }
    Ok(())
}

/// Ends those of these messages, which are locked, that still wait and that their recipients' suppressions concern.
async fn stop_new(
    connection: &mut sqlx::PgConnection,
    engine: &Engine,
    messages: &[MessageId],
    now: Timestamp,
) -> Result<(), StoreError> {
    let mut locked = life::read(&mut *connection, messages).await?;
    locked.retain(|message| message.life.send.is_some());
    let recipients: Vec<&str> = locked.iter().map(|message| message.to.as_str()).collect();
    let found = suppressions::of_recipients(&mut *connection, &recipients).await?;
    for message in &mut locked {
        message.opted_out_of = found.get(message.to.as_str()).cloned().unwrap_or_default();
    }
    stop(connection, engine, locked, now).await?;
    Ok(())
}

/// Does what a new inbound message asks for, if it is one of the words: it is about the app that owns the number, whatever its
/// sender, and about the number, whatever the app.
pub(super) async fn by_word(
    connection: &mut sqlx::PgConnection,
    words: &OptOut,
    inbound: &InboundRecord,
    now: Timestamp,
) -> Result<(), StoreError> {
    // What is no number, nobody can send to.
    let Some(meaning) = words.meaning(&inbound.text).filter(|_| PhoneNumber::parse(&inbound.from).is_ok()) else {
        return Ok(());
    };
    let parties = inbound.app.iter().cloned().map(Party::App).chain([Party::sender(&inbound.to)]);
    let meant: Vec<(&str, Party)> = parties.map(|party| (inbound.from.as_str(), party)).collect();
    let word = match meaning {
        Meaning::Stop => "stop",
        Meaning::Start => "start",
    };
    metrics::counter!("sms_gateway_opt_out_words_total", "word" => word).increment(1);
    match meaning {
        Meaning::Stop => suppressions::add(connection, &meant, Source::Keyword, now).await,
        Meaning::Start => suppressions::remove(connection, &meant).await,
    }
}

/// Notes what carriers just said about messages in hand: a recipient opted out of the sender that was used. Nothing is asked of
/// the database where none did.
pub(super) async fn by_carriers(
    connection: &mut sqlx::PgConnection,
    messages: &[StoredMessage],
    now: Timestamp,
) -> Result<(), StoreError> {
    let says_so = |attempt: &&Attempt| {
        attempt.changed != Changed::No
            && !attempt.sender.is_empty()
            && attempt.error.as_ref().is_some_and(|cause| cause.code == ErrorCode::RecipientOptedOut)
    };
    let said: Vec<(&str, Party)> = messages
        .iter()
        .flat_map(|message| message.life.attempts.iter().filter(says_so).map(move |attempt| (message, attempt)))
        .map(|(message, attempt)| (message.to.as_str(), Party::sender(&attempt.sender)))
        .collect();
    suppressions::add(connection, &said, Source::Carrier, now).await
}
