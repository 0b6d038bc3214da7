//! What time brings. Every process does all of it; whoever locks a row first does that row.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use super::{AFTER_FAILURE, Engine, log_failure, opt_out, settle};
use crate::{
    domain::{
        capabilities::Reports,
        error_code::ErrorCode,
        ids::MessageId,
        life::{Attempt, Cause, Life},
        verdict::NeutralStatus,
    },
    error_chain::chain,
    fail_points::{Step, reach},
    store::{
        Db, StoreError, app_days, idempotency,
        life::{self, StoredMessage},
        maintenance, prefix_counts,
        reports::Match,
    },
};

/// How often it is looked for what is due.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How often partitions and old keys are looked after.
const HOUSEKEEPING_EVERY: Duration = Duration::from_mins(10);
/// When a provider cannot be asked, so long until the next look.
const NOT_ASKED_FOR: Duration = Duration::from_mins(1);
/// As the queue has them, the first one first.
const CLASSES: std::ops::RangeInclusive<i16> = 0..=2;
/// Messages in one sweep.
const LIMIT: i64 = 500;

pub(super) fn spawn(engine: &Engine) {
    let of_task = engine.clone();
    engine.spawn(async move {
        while !of_task.stopping() {
            let full = match look(&of_task).await {
                Ok(full) => full,
                Err(error) => {
                    log_failure("sweep", &error);
                    of_task.pause(AFTER_FAILURE).await;
                    false
                }
            };
            if !full {
                of_task.pause(LOOK_EVERY.mul_f64(rand::random_range(0.8..1.2))).await;
            }
        }
    });
    let of_task = engine.clone();
    engine.spawn(async move {
        while !of_task.stopping() {
            if let Err(error) = keep_house(&of_task).await {
                log_failure("housekeeping", &error);
            }
            of_task.pause(HOUSEKEEPING_EVERY).await;
        }
    });
}

/// Looks for everything that is due. True when there may be more at once.
async fn look(engine: &Engine) -> Result<bool, StoreError> {
    let mut most = 0;
    most = most.max(spoils_only_itself(leases(engine).await)?);
    most = most.max(spoils_only_itself(validity(engine).await)?);
    most = most.max(spoils_only_itself(timers(engine).await)?);
    most = most.max(spoils_only_itself(orphans(engine).await)?);
    most = most.max(spoils_only_itself(release(engine).await)?);
    most = most.max(spoils_only_itself(settle::apply_waiting(engine).await)?);
    spoils_only_itself(settle::rematch(engine).await)?;
    spoils_only_itself(opt_out::apply_new(engine).await)?;
    Ok(most >= usize::try_from(LIMIT).unwrap_or(usize::MAX))
}

/// A row that one part cannot handle must not keep the other parts from their work; a database that is away concerns all.
fn spoils_only_itself<T: Default>(part: Result<T, StoreError>) -> Result<T, StoreError> {
    part.or_else(|error| {
        if !error.lies_with_the_data() {
            return Err(error);
        }
        log_failure("sweep", &error);
        Ok(T::default())
    })
}

/// A lease that ran out says: a call may have been made. The attempt is `unknown` until evidence comes.
async fn leases(engine: &Engine) -> Result<usize, StoreError> {
    let live = engine.live();
    let cause = Cause::own(ErrorCode::SubmissionUnconfirmed, false);
    sweep(
        engine,
        |c, _| Box::pin(maintenance::lease_ran_out(c, LIMIT)),
        move |life, now| {
            tracing::warn!(message = %life.id, "a lease ran out: a call may have been made");
            life.lease_ran_out(&cause, |attempt: &Attempt| live.evidence(&attempt.provider), now);
        },
    )
    .await
}

async fn validity(engine: &Engine) -> Result<usize, StoreError> {
    sweep(engine, |c, now| Box::pin(maintenance::validity_over(c, now, LIMIT)), Life::validity_over).await
}

/// Messages whose provider is no longer configured go on, where they have somewhere to go.
async fn orphans(engine: &Engine) -> Result<usize, StoreError> {
    let configured: Vec<String> = engine.live().providers.keys().cloned().collect();
    sweep(
        engine,
        move |c, now| Box::pin(async move { maintenance::orphaned(c, &configured, now, LIMIT).await }),
        |life, now| {
            life.step_unavailable("the provider is no longer configured", now);
        },
    )
    .await
}

/// Each class by itself, codes first: they do not wait for the others. The most that one class had.
async fn release(engine: &Engine) -> Result<usize, StoreError> {
    let (now, mut most) = (engine.clock().now(), 0);
    for class in CLASSES {
        let released =
            Db::unit(&engine.db().work, move |c| Box::pin(maintenance::release_scheduled(c, class, now, LIMIT)))
                .await?;
        most = most.max(usize::try_from(released).unwrap_or(usize::MAX));
    }
    if most > 0 {
        let live = engine.live();
        live.wake_all(live.providers.keys());
    }
    Ok(most)
}

type Now = crate::domain::Timestamp;

/// Locks what `find` finds, lets `act` act on each, and saves.
async fn sweep<F, A>(engine: &Engine, find: F, act: A) -> Result<usize, StoreError>
where
    F: for<'c> FnOnce(
            &'c mut sqlx::PgConnection,
            Now,
        ) -> futures_util::future::BoxFuture<'c, Result<Vec<MessageId>, StoreError>>
        + Send
        + 'static,
    A: Fn(&mut Life, Now) + Send + Sync + 'static,
{
    let (live, now) = (engine.live(), engine.clock().now());
    let (count, next) = Db::unit(&engine.db().work, move |connection| {
        Box::pin(async move {
            let ids = find(&mut *connection, now).await?;
            let mut locked = life::lock(&mut *connection, &ids).await?;
            act_on_each(&mut *connection, &mut locked, now, |locked| act(&mut locked.life, now)).await?;
            life::save(connection, &locked.iter().collect::<Vec<_>>(), None, &live.receivers, now).await?;
            if !locked.is_empty() {
                reach(Step::SweepWritten).await?;
            }
            Ok((locked.len(), life::next_providers(&locked)))
        })
    })
    .await?;
    if count > 0 {
        reach(Step::SweepCommitted).await?;
    }
    engine.live().wake_all(&next);
    Ok(count)
}

/// Lets `act` act on each message. One on which the gateway itself fails is given up, since it would keep all others back at
/// every look.
async fn act_on_each(
    connection: &mut sqlx::PgConnection,
    messages: &mut [StoredMessage],
    now: Now,
    mut act: impl FnMut(&mut StoredMessage),
) -> Result<(), StoreError> {
    for locked in messages {
        if catch_unwind(AssertUnwindSafe(|| act(&mut *locked))).is_ok() {
            continue;
        }
        tracing::error!(message = %locked.life.id, "the gateway failed on a message and gives it up");
        // As it is stored: what the panic left of it is not to be saved.
        if let Some(stored) = life::lock(&mut *connection, &[locked.life.id]).await?.pop() {
            *locked = stored;
        }
        locked.life.give_up(now);
    }
    Ok(())
}

/// A question to a provider about an attempt.
struct Question {
    provider: String,
    native: String,
    asked: Match,
}

/// Closes windows, goes on to steps that waited, and asks providers that can be asked.
async fn timers(engine: &Engine) -> Result<usize, StoreError> {
    let (live, now) = (engine.live(), engine.clock().now());
    let (count, next, questions) = Db::unit(&engine.db().work, move |connection| {
        Box::pin(async move {
            let ids = maintenance::timer_due(&mut *connection, now, LIMIT).await?;
            let mut locked = life::lock(&mut *connection, &ids).await?;
            let mut questions = Vec::new();
            let tick = |locked: &mut StoredMessage| {
                questions.extend(question(locked, &live, now));
                locked.life.tick(now);
            };
            act_on_each(&mut *connection, &mut locked, now, tick).await?;
            life::save(connection, &locked.iter().collect::<Vec<_>>(), None, &live.receivers, now).await?;
            Ok((locked.len(), life::next_providers(&locked), questions))
        })
    })
    .await?;
    engine.live().wake_all(&next);
    for question in questions {
        ask(engine, question);
    }
    Ok(count)
}

/// The question that is due about a message. The next one is noted at once, so that a crash asks again and two processes do not
/// ask together.
fn question(locked: &mut StoredMessage, live: &super::Live, now: Now) -> Option<Question> {
    let attempt = locked.life.due_poll(now)?;
    let (number, provider, native) = (attempt.number, attempt.provider.clone(), attempt.provider_message_id.clone());
    let first = match live.capabilities(&provider).map(|capabilities| capabilities.reports) {
        Some(Reports::Poll { first, window: _ }) => Some(first),
        Some(Reports::Push | Reports::None) | None => None,
    };
    // A provider that is gone, or cannot be asked any more, may be back by then.
    locked.life.polled(number, first.unwrap_or(NOT_ASKED_FOR), now);
    first?;
    let asked = Match { message: locked.life.id, attempt: number, heuristic: false };
    Some(Question { provider, native: native?, asked })
}

fn ask(engine: &Engine, question: Question) {
    let Some(provider) = engine.live().providers.get(&question.provider).cloned() else { return };
    let of_task = engine.clone();
    engine.spawn(async move {
        let Ok(_slot) = provider.polls.clone().acquire_owned().await else { return };
        if reach(Step::PollBegins).await.is_err() {
            return;
        }
        let answered = provider.driver.fetch_status(&question.native).await;
        if reach(Step::PollAnswered).await.is_err() {
            return;
        }
        match answered {
            // Still pending: nothing to write down.
            Ok(report) if report.verdict.status == NeutralStatus::Sent => {}
            Ok(report) => of_task.polled(&question.provider, question.asked, report).await,
            Err(error) => {
                tracing::warn!(provider = question.provider, error = chain(&error), "a poll did not go well");
            }
        }
    });
}

async fn keep_house(engine: &Engine) -> Result<(), StoreError> {
    let now = engine.clock().now();
    // The coming days first: without their tables nothing is taken any more.
    engine.db().long_unit(move |connection| Box::pin(maintenance::ensure_partitions(connection, now))).await?;
    // In small commits: whoever uses a key that is just being forgotten waits for it.
    while Db::unit(&engine.db().work, move |connection| Box::pin(idempotency::forget(connection, now))).await? > 0 {}
    Db::unit(&engine.db().work, move |connection| {
        Box::pin(async move {
            app_days::forget(&mut *connection, now).await?;
            prefix_counts::forget(connection, now).await
        })
    })
    .await?;
    let keep_days = engine.live().config.retention.messages_days;
    let mut dropped = 0;
    // One table in a commit: meanwhile nobody else has it.
    while engine
        .db()
        .long_unit(move |connection| Box::pin(maintenance::drop_old_day(connection, keep_days, now)))
        .await?
        > 0
    {
        dropped += 1;
    }
    engine.db().long_unit(move |connection| Box::pin(maintenance::forget_old(connection, keep_days, now))).await?;
    if dropped > 0 {
        tracing::info!(partitions = dropped, keep_days, "old days were dropped");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_that_one_part_cannot_read_does_not_end_the_sweep_and_a_lost_database_does() {
        let corrupt = StoreError::Corrupt { table: "messages", column: "plan" };
        assert!(matches!(spoils_only_itself::<usize>(Err(corrupt)), Ok(0)));
        assert!(matches!(spoils_only_itself::<usize>(Err(StoreError::CutOff)), Err(StoreError::CutOff)));
        assert!(matches!(spoils_only_itself(Ok(7_usize)), Ok(7)));
    }
}
