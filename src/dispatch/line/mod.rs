//! The line to one provider: claims what is due, opens attempts, and makes the calls.
//!
//! Attempts are committed before a call is made, so after a crash an open attempt says that a call may have been made. Only what
//! a free slot will send now is claimed.

mod plan;

use std::{collections::HashSet, sync::Arc, time::Duration};

use nix::time::{ClockId, clock_gettime};
use uuid::Uuid;

use plan::Planner;

use super::{AFTER_FAILURE, Engine, LiveProvider, live::Unavailable, log_failure, record, writers::GROUP};
use crate::{
    domain::{
        Timestamp,
        ids::MessageId,
        life::{Answer, Cause},
        report::{storable, storable_id},
    },
    error_chain::chain,
    fail_points::{Step, reach},
    providers::{Call, Outcome, ProviderError, codes},
    store::{
        Db, StoreError,
        budgets::{self, Budget},
        life::{self, Lease, Locked},
        maintenance,
    },
};

/// Nothing is missed if a wake-up is lost: every line looks by itself, at about this pace.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// While a provider's rate is used up.
const RATE_PAUSE: Duration = Duration::from_millis(50);
/// What a provider calls a code is cut to this.
const LONGEST_CODE: usize = 64;
/// What is left of a lease for writing down the answer.
const LEASE_MARGIN: Duration = Duration::from_secs(2);

/// Keeps one line running for each provider that is configured.
pub(super) fn spawn(engine: &Engine) {
    let of_task = engine.clone();
    engine.spawn(async move {
        let mut running: HashSet<String> = HashSet::new();
        while !of_task.stopping() {
            for name in of_task.live().providers.keys() {
                if running.insert(name.clone()) {
                    let (of_line, name) = (of_task.clone(), name.clone());
                    of_task.spawn(async move { run(&of_line, &name).await });
                }
            }
            of_task.pause(Duration::from_secs(5)).await;
        }
    });
}

async fn run(engine: &Engine, name: &str) {
    while !engine.stopping() {
        let Some(provider) = engine.live().providers.get(name).cloned() else {
            // It may be configured again.
            engine.pause(Duration::from_secs(5)).await;
            continue;
        };
        if engine.is_held() {
            engine.pause(LOOK_EVERY).await;
            continue;
        }
        // In a task of its own, so that a panic ends this look and not the line.
        let (of_task, of_provider) = (engine.clone(), provider.clone());
        let look = tokio::spawn(async move { turn(&of_task, &of_provider).await });
        match look.await.unwrap_or(Err(StoreError::CutOff)) {
            Ok(Found::Some) => {}
            Ok(Found::RateIsUsedUp) => engine.pause(jittered(RATE_PAUSE)).await,
            Ok(Found::Nothing) => tokio::select! {
                () = provider.wake.notified() => {}
                () = engine.pause(jittered(LOOK_EVERY)) => {}
            },
            Err(error) => {
                log_failure("line", &error);
                engine.pause(AFTER_FAILURE).await;
            }
        }
    }
}

/// Between half and one and a half of a length, so that processes do not look in step.
fn jittered(length: Duration) -> Duration {
    length.mul_f64(rand::random_range(0.5..1.5))
}

/// What a look found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    /// Messages were moved; there may be more.
    Some,
    /// Nothing is due.
    Nothing,
    /// The provider's rate allows nothing more at the moment.
    RateIsUsedUp,
}

/// One look: hands over what is due, or passes the provider over.
async fn turn(engine: &Engine, provider: &Arc<LiveProvider>) -> Result<Found, StoreError> {
    match provider.unavailable() {
        None => {
            let slots = free_slots(provider).await;
            if engine.stopping() {
                return Ok(Found::Nothing);
            }
            hand_over(engine, provider, slots, usize::MAX).await
        }
        Some(Unavailable::Paused) => pass_over(engine, provider, "the provider is paused").await,
        Some(Unavailable::BreakerOpen) => {
            // The probe goes first: what is passed over cannot show that the provider is back.
            if provider.breaker.take_probe() {
                hand_over(engine, provider, 1, 1).await?;
            }
            pass_over(engine, provider, "the provider's breaker is open").await
        }
    }
}

async fn hand_over(
    engine: &Engine,
    provider: &Arc<LiveProvider>,
    calls: usize,
    messages: usize,
) -> Result<Found, StoreError> {
    let per_call = provider.capabilities().max_recipients_per_call.max(1);
    let messages = calls.saturating_mul(per_call).min(GROUP).min(messages);
    let prepared = match claim(engine, provider, calls, messages).await? {
        Claimed::Calls(prepared) => prepared,
        Claimed::RateIsUsedUp => return Ok(Found::RateIsUsedUp),
        Claimed::DayIsUsedUp => return pass_over(engine, provider, "the provider's daily limit is used up").await,
    };
    let found = if prepared.is_empty() { Found::Nothing } else { Found::Some };
    if found == Found::Some {
        reach(Step::ClaimCommitted).await?;
    }
    for call in prepared {
        make_call(engine, provider, call).await;
    }
    Ok(found)
}

/// Waits for a free slot and counts how many there are.
async fn free_slots(provider: &LiveProvider) -> usize {
    drop(provider.in_flight.acquire().await);
    provider.in_flight.available_permits().max(1)
}

/// The provider is not there: what has somewhere else to go, goes.
async fn pass_over(engine: &Engine, provider: &LiveProvider, why: &'static str) -> Result<Found, StoreError> {
    let (name, now) = (provider.name.clone(), engine.clock().now());
    let next = Db::unit(&engine.db().work, move |connection| {
        Box::pin(async move {
            let ids = maintenance::stranded(&mut *connection, &name, now, 500).await?;
            let mut locked = life::lock(&mut *connection, &ids).await?;
            locked.retain_mut(|locked| locked.life.step_unavailable(why, now));
            life::save(connection, &locked.iter().collect::<Vec<_>>(), None, now).await?;
            Ok(life::next_providers(&locked))
        })
    })
    .await?;
    engine.live().wake_all(&next);
    Ok(if next.is_empty() { Found::Nothing } else { Found::Some })
}

/// A call that is about to be made, and for which messages.
struct Prepared {
    call: Call,
    sent_for: Vec<Entry>,
    /// Not after this, by a clock that also counts while the machine is suspended.
    not_after: Duration,
}

#[derive(Clone, Copy)]
struct Entry {
    message: MessageId,
    attempt: u16,
}

/// Time since boot, suspension included: a lease ages while the machine sleeps.
fn since_boot() -> Duration {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from)
}

/// What a claim brought.
enum Claimed {
    Calls(Vec<Prepared>),
    RateIsUsedUp,
    DayIsUsedUp,
}

/// Claims what is due, in one commit with the attempts that say so.
async fn claim(
    engine: &Engine,
    provider: &Arc<LiveProvider>,
    calls: usize,
    messages: usize,
) -> Result<Claimed, StoreError> {
    let live = engine.live();
    let lease = Lease { token: Uuid::new_v4(), length: live.config.dispatch.lease };
    let not_after = (since_boot() + lease.length).saturating_sub(provider.section.timeout + LEASE_MARGIN);
    let planner = Planner {
        engine: engine.clone(),
        config: live.config.clone(),
        provider: provider.clone(),
        now: engine.clock().now(),
        not_after,
        calls,
    };
    Db::unit(&engine.db().work, move |connection| {
        Box::pin(async move {
            let (name, limits) = (&planner.provider.name, planner.provider.limits());
            let allowed = if limits.is_empty() {
                usize::MAX
            } else {
                match budgets::lock(&mut *connection, name, limits, planner.now).await? {
                    Budget::Messages(0) => return Ok(Claimed::RateIsUsedUp),
                    Budget::Messages(allowed) => allowed,
                    Budget::DayIsUsedUp => return Ok(Claimed::DayIsUsedUp),
                }
            };
            let limit = i64::try_from(messages.min(allowed)).unwrap_or(i64::MAX);
            let mut due = life::lock_due(&mut *connection, name, planner.now, limit).await?;
            let prepared = planner.plan(&mut due);
            let started: Vec<&Locked> = due.iter().filter(|locked| locked.life.send.is_none()).collect();
            if !limits.is_empty() {
                budgets::take(&mut *connection, name, started.len()).await?;
            }
            life::save(connection, &started, Some(lease), planner.now).await?;
            reach(Step::ClaimWritten).await?;
            Ok(Claimed::Calls(prepared))
        })
    })
    .await
}

/// Makes the call in a task of its own and hands what came of it to the writers. Waits only for a free slot.
async fn make_call(engine: &Engine, provider: &Arc<LiveProvider>, prepared: Prepared) {
    let Ok(slot) = provider.in_flight.clone().acquire_owned().await else { return };
    let (of_call, provider) = (engine.clone(), provider.clone());
    engine.spawn(async move {
        let count_of_call = prepared.sent_for.len();
        let answers = if since_boot() > prepared.not_after {
            // The claim is too old to be sure that nobody else took over. Nothing was written, and the provider is not to blame.
            let late = ProviderError::not_connected("the lease was too old to begin a call");
            vec![answer_of_error(&late, count_of_call); count_of_call]
        } else {
            let started = std::time::Instant::now();
            let answers = call(&provider, &prepared).await;
            take_note(&provider, &answers, started.elapsed(), of_call.clock().now());
            answers
        };
        for (entry, answer) in prepared.sent_for.iter().zip(answers) {
            count(&provider.name, &answer);
            let entry = record::Entry { message: entry.message, attempt: entry.attempt, answer };
            // The writers end only after every call has ended.
            drop(of_call.shared.record.send(entry).await);
        }
        drop(slot);
        provider.wake.notify_one();
    });
}

async fn call(provider: &LiveProvider, prepared: &Prepared) -> Vec<Answer> {
    let count = prepared.sent_for.len();
    match submit(provider, &prepared.call).await {
        Ok(outcomes) => {
            let missing = codes::shared(codes::Stage::PerNumber, "missing_in_result");
            let mut answers: Vec<Answer> = outcomes.into_iter().map(answer_of_outcome).collect();
            answers.resize_with(count, || Answer { provider_code: None, ..answer_of_verdict(missing.verdict) });
            answers
        }
        Err(error) => {
            tracing::warn!(provider = provider.name, error = chain(&error), "a call did not go well");
            vec![answer_of_error(&error, count); count]
        }
    }
}

async fn submit(provider: &LiveProvider, call: &Call) -> Result<Vec<Outcome>, ProviderError> {
    reach(Step::CallBegins).await.map_err(ProviderError::not_connected)?;
    let answered = provider.driver.submit(call).await;
    reach(Step::CallAnswered).await.map_err(ProviderError::outcome_unknown)?;
    answered
}

/// A call went badly when each of its answers is a fault of the provider or of our account.
fn take_note(provider: &LiveProvider, answers: &[Answer], took: Duration, now: Timestamp) {
    let name = provider.name.clone();
    metrics::histogram!("sms_gateway_submit_duration_seconds", "provider" => name).record(took.as_secs_f64());
    let bad = answers.iter().all(|answer| answer.verdict.counts_for_breaker());
    provider.breaker.record(bad, now);
    let fault = answers.first().filter(|_| bad).and_then(|a| Cause::of(&a.verdict, a.provider_code.as_deref()));
    provider.calls.record(now, took, fault);
}

fn answer_of_verdict(verdict: crate::domain::verdict::Verdict) -> Answer {
    Answer {
        verdict,
        provider_code: None,
        provider_message_id: None,
        segments: None,
        retry_after: None,
        not_connected: false,
        split_to: None,
    }
}

fn answer_of_outcome(outcome: Outcome) -> Answer {
    Answer {
        provider_code: outcome.provider_code.map(|code| storable(&code, LONGEST_CODE)),
        provider_message_id: storable_id(outcome.provider_message_id),
        segments: outcome.segments,
        retry_after: outcome.retry_after,
        ..answer_of_verdict(outcome.verdict)
    }
}

/// An error of the whole call is the answer to each of its messages; unless it may lie with one of them, which condemns only
/// a call of one: the others are not made to pay for it.
fn answer_of_error(error: &ProviderError, recipients: usize) -> Answer {
    use crate::{
        domain::{error_code::ErrorCode, verdict::Scope},
        providers::ProviderErrorKind,
    };
    let may_lie_with_one = match error.verdict.scope {
        Scope::Message | Scope::Recipient | Scope::Sender | Scope::Template | Scope::Destination => true,
        Scope::Provider => error.verdict.error == Some(ErrorCode::ProviderRejected),
        Scope::Account | Scope::Network | Scope::None => false,
    };
    let split = error.kind == ProviderErrorKind::Refused && may_lie_with_one && recipients > 1;
    Answer {
        provider_code: error.provider_code.as_ref().map(|code| storable(code, LONGEST_CODE)),
        retry_after: error.retry_after,
        not_connected: error.kind == ProviderErrorKind::NotConnected,
        split_to: split.then(|| u16::try_from(recipients / 8).unwrap_or(u16::MAX).max(1)),
        ..answer_of_verdict(error.verdict)
    }
}

fn count(provider: &str, answer: &Answer) {
    let outcome = match answer.verdict.error {
        None => "sent",
        Some(code) => code.as_str(),
    };
    metrics::counter!("sms_gateway_attempts_total", "provider" => provider.to_owned(), "outcome" => outcome)
        .increment(1);
}
