//! The line to one provider: claims what is due, opens attempts, and makes the calls.
//!
//! Attempts are committed before a call is made, so after a crash an open attempt says that a call may have been made. Only what
//! a free slot will send now is claimed.

pub(super) mod plan;

use std::{
    collections::HashSet,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    time::Duration,
};

use futures_util::FutureExt as _;
use nix::time::{ClockId, clock_gettime};
use tokio::sync::OwnedSemaphorePermit;
use uuid::Uuid;

use plan::Planner;

use super::{AFTER_FAILURE, Engine, LiveProvider, availability::Pass, log_failure, opt_out, record, writers::GROUP};
use crate::{
    domain::{
        ids::{AttemptId, MessageId},
        life::{Answer, Cause},
        report::{is_code, storable, storable_id},
    },
    error_chain::chain,
    fail_points::{Step, reach},
    providers::{Call, Outcome, ProviderError, codes, http},
    store::{
        Db, StoreError,
        budgets::{self, Budget},
        life::{self, Lease, Served, StoredMessage},
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
    let now = engine.clock().now();
    match provider.availability.pass(provider.calls_in_flight(), now) {
        Pass::Open(room) => {
            let Some(slots) = provider.try_slots(room.min(GROUP)) else {
                // Much may have changed by the time that one is free, so all is asked again.
                drop(provider.in_flight.acquire().await);
                return Ok(Found::Some);
            };
            hand_over(engine, provider, slots, usize::MAX).await
        }
        Pass::Probe(why) => {
            // The probe goes first: what is passed over cannot show that the provider is back.
            if let Some(slot) = provider.try_slots(1)
                && hand_over(engine, provider, slot, 1).await? == Found::Some
            {
                provider.availability.probed(now);
            }
            pass_over(engine, provider, why.told()).await
        }
        Pass::Over(why) => pass_over(engine, provider, why.told()).await,
        Pass::Wait => {
            provider.backlog.store(true, Ordering::Relaxed);
            Ok(Found::Nothing)
        }
    }
}

async fn hand_over(
    engine: &Engine,
    provider: &Arc<LiveProvider>,
    mut slots: OwnedSemaphorePermit,
    messages: usize,
) -> Result<Found, StoreError> {
    let per_call = provider.capabilities().max_recipients_per_call.max(1);
    let is_probe = messages == 1;
    let messages = slots.num_permits().saturating_mul(per_call).min(GROUP).min(messages);
    let (prepared, due) = match claim(engine, provider, slots.num_permits(), messages).await? {
        Claimed::Calls { prepared, due } => (prepared, due),
        Claimed::RateIsUsedUp => return Ok(Found::RateIsUsedUp),
        Claimed::DayIsUsedUp => {
            drop(slots);
            return pass_over(engine, provider, "the provider's daily limit is used up").await;
        }
    };
    provider.backlog.store(due >= messages, Ordering::Relaxed);
    // Where all of a full claim was stopped there is more behind it. A probe is none that did not go out.
    let more = !is_probe && messages > 0 && due >= messages;
    let found = if prepared.is_empty() && !more { Found::Nothing } else { Found::Some };
    make_calls(engine, provider, prepared, &mut slots);
    Ok(found)
}

/// The provider is not there: what has somewhere else to go, goes.
async fn pass_over(engine: &Engine, provider: &LiveProvider, why: &'static str) -> Result<Found, StoreError> {
    let (name, live, now) = (provider.name.clone(), engine.live(), engine.clock().now());
    let next = Db::unit(&engine.db().work, move |connection| {
        Box::pin(async move {
            let ids = maintenance::stranded(&mut *connection, &name, now, 500).await?;
            let mut locked = life::lock(&mut *connection, &ids).await?;
            locked.retain_mut(|locked| locked.life.step_unavailable(why, now));
            life::save(connection, &locked.iter().collect::<Vec<_>>(), None, &live.receivers, now).await?;
            Ok(life::next_providers(&locked))
        })
    })
    .await?;
    engine.live().wake_all(&next);
    Ok(if next.is_empty() { Found::Nothing } else { Found::Some })
}

/// A message in a call, as the claim left it.
struct HandedOver {
    message: Box<StoredMessage>,
    attempt: AttemptId,
}

/// A call that is about to be made, and for which messages.
pub(super) struct Prepared {
    call: Call,
    sent_for: Vec<HandedOver>,
    /// Not after this, by a clock that also counts while the machine is suspended.
    not_after: Duration,
}

/// Time since boot, suspension included: a lease ages while the machine sleeps.
fn since_boot() -> Duration {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from)
}

/// What a claim brought.
enum Claimed {
    Calls {
        prepared: Vec<Prepared>,
        /// How many messages were found, whether or not they found a place in a call.
        due: usize,
    },
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
    let lease = new_lease(engine);
    let planner = Planner::new(engine, provider, lease, calls);
    let opened = Opened::default();
    let (of_unit, live) = (opened.clone(), engine.live());
    let claimed = Db::unit(&engine.db().work, move |connection| {
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
            let turns = planner.provider.turns().clone();
            let found = life::lock_due(&mut *connection, name, &turns, planner.now, limit).await?;
            let (due, of_apps) = (found.len(), Served::of(&found));
            let found = opt_out::stop(&mut *connection, &planner.engine, found, planner.now).await?;
            let (mut prepared, left) = planner.plan(found);
            let no_room = left.iter().find(|message| !message.life.has_new_attempt());
            planner.provider.turns().serve(of_apps, no_room.map(|message| message.life.id));
            let spoiled = left.iter().filter(|message| message.life.has_new_attempt());
            let started: Vec<&StoredMessage> = started(&prepared).chain(spoiled).collect();
            if !limits.is_empty() {
                budgets::take(&mut *connection, name, started.len()).await?;
            }
            life::save(connection, &started, Some(lease), &live.receivers, planner.now).await?;
            of_unit.note(&prepared);
            handed_over(&mut prepared).for_each(StoredMessage::is_claimed);
            reach(Step::ClaimWritten).await?;
            Ok(Claimed::Calls { prepared, due })
        })
    })
    .await;
    let claimed = match claimed {
        Ok(claimed) => reach(Step::ClaimCommitted).await.map(|()| claimed).map_err(StoreError::from),
        Err(error) => Err(error),
    };
    claimed.inspect_err(|_| opened.take_back(engine))
}

/// A claim of this process that begins now.
pub(super) fn new_lease(engine: &Engine) -> Lease {
    Lease { token: Uuid::new_v4(), length: engine.live().config.dispatch.lease }
}

/// The messages for which attempts were opened.
pub(super) fn started(prepared: &[Prepared]) -> impl Iterator<Item = &StoredMessage> {
    prepared.iter().flat_map(|call| call.sent_for.iter().map(|handed_over| &*handed_over.message))
}

/// The same, to be told that they are stored.
pub(super) fn handed_over(prepared: &mut [Prepared]) -> impl Iterator<Item = &mut StoredMessage> {
    prepared.iter_mut().flat_map(|call| call.sent_for.iter_mut().map(|handed_over| &mut *handed_over.message))
}

/// Attempts that a unit of work opened whose commit may fail without anybody knowing whether it took place.
#[derive(Clone, Default)]
pub(super) struct Opened(Arc<Mutex<Vec<(MessageId, AttemptId)>>>);

/// A commit that was cut off may still take place, so the attempts are looked for more than once.
const TAKEN_BACK_AFTER: [Duration; 5] =
    [Duration::ZERO, Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(15), Duration::from_secs(30)];

impl Opened {
    /// All is written and only the commit is left.
    pub(super) fn note(&self, prepared: &[Prepared]) {
        let opened = prepared.iter().flat_map(|call| &call.sent_for).map(|it| (it.message.life.id, it.attempt));
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(opened);
    }

    /// The commit failed, as far as one can tell, and no call will be made: should the attempts be there, they never began.
    pub(super) fn take_back(self, engine: &Engine) {
        let opened = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        if opened.is_empty() {
            return;
        }
        let answer = answer_of_error(&ProviderError::not_connected("the claim could not be committed"), 1);
        let of_task = engine.clone();
        engine.spawn(async move {
            for wait in TAKEN_BACK_AFTER {
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    () = of_task.shared.stop.cancelled() => {}
                }
                for (message, attempt) in opened.iter().copied() {
                    let entry = record::Entry { message, attempt, claimed: None, answer: answer.clone() };
                    drop(of_task.shared.record.send(entry).await);
                }
            }
        });
    }
}

/// Makes the calls, each in a task of its own and in a slot of its own, and hands what comes of them to the writers.
pub(super) fn make_calls(
    engine: &Engine,
    provider: &Arc<LiveProvider>,
    prepared: Vec<Prepared>,
    slots: &mut OwnedSemaphorePermit,
) {
    for call in prepared {
        // There are never more calls than slots: they were planned for so many.
        let Some(slot) = slots.split(1) else { return };
        make_call(engine, provider, call, slot);
    }
}

fn make_call(engine: &Engine, provider: &Arc<LiveProvider>, prepared: Prepared, slot: OwnedSemaphorePermit) {
    let (of_call, provider) = (engine.clone(), provider.clone());
    engine.spawn(async move {
        let count_of_call = prepared.sent_for.len();
        let answers = if since_boot() > prepared.not_after {
            // The claim is too old to be sure that nobody else took over. Nothing was written, and the provider is not to blame.
            let late = ProviderError::not_connected("the lease was too old to begin a call");
            vec![answer_of_error(&late, count_of_call); count_of_call]
        } else {
            let started = std::time::Instant::now();
            let mut answers = call(&provider, &prepared).await;
            take_note(&of_call, &provider, &mut answers, started.elapsed());
            answers
        };
        for (handed_over, answer) in prepared.sent_for.into_iter().zip(answers) {
            count(&provider.name, &answer);
            let HandedOver { message, attempt } = handed_over;
            let entry = record::Entry { message: message.life.id, attempt, claimed: Some(message), answer };
            // The writers end only after every call has ended.
            drop(of_call.shared.record.send(entry).await);
        }
        drop(slot);
        if provider.backlog.load(Ordering::Relaxed) {
            provider.wake.notify_one();
        }
    });
}

async fn call(provider: &LiveProvider, prepared: &Prepared) -> Vec<Answer> {
    let count = prepared.sent_for.len();
    let submitted = AssertUnwindSafe(submit(provider, &prepared.call)).catch_unwind();
    let submitted = match http::watched(submitted).await {
        (Ok(submitted), _) => submitted,
        // The panic itself was logged where it happened.
        (Err(_), written) => Err(ProviderError::panicked(written)),
    };
    match submitted {
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
fn take_note(engine: &Engine, provider: &LiveProvider, answers: &mut [Answer], took: Duration) {
    let (name, now) = (provider.name.clone(), engine.clock().now());
    metrics::histogram!("sms_gateway_submit_duration_seconds", "provider" => name).record(took.as_secs_f64());
    let bad = answers.iter().all(|answer| answer.verdict.counts_for_breaker());
    if let Some(throttle) = provider.availability.note(answers, provider.driver.clock_skew(), now) {
        engine.share_throttle(&provider.name, throttle);
    }
    let fault = answers
        .first()
        .filter(|_| bad)
        .and_then(|a| Cause::of(&a.verdict, a.provider_code.as_deref().filter(|code| is_code(code))));
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
        found_again: false,
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
