//! Screening: what is well-formed and routed and may not be sent all the same, because its recipient opted out or a limit is used up.
//!
//! It is done in the transaction that stores the messages, for a whole group at once, so that it holds over all processes. What is
//! screened out leaves nothing behind. One statement asks for opt-outs; codes need two more, apps with a daily limit one. Messages
//! of test keys are not screened and not counted: they never leave.
//!
//! The count of an app's day is locked until the commit. A batch takes long to be stored, so it is screened by recipient first and
//! counted at its very end, with all of it undone where the day has no room: its app's other messages hardly wait for it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use sha2::{Digest, Sha256};

use super::{Engine, Live};
use crate::{
    config::{Config, PrefixVelocity, RateRule},
    domain::{Timestamp, content::Category, error_code::ErrorCode, life::Plan, message::NewMessage},
    routing,
    store::{
        StoreError, app_days,
        messages::Insert,
        suppressions::{self, Party, bare},
        velocity,
    },
};

/// Why a message may not be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScreenedOut {
    /// The recipient opted out of the app, or of a sender that the plan would use.
    OptedOut,
    /// The recipient got too many one-time codes lately.
    TooManyCodes {
        /// When the oldest of them no longer counts.
        retry_after: Duration,
    },
    /// The recipient's prefix suddenly gets many one-time codes.
    TooManyCodesToPrefix {
        /// When to try again.
        retry_after: Duration,
    },
    /// The app has sent all that it may on this day.
    DayIsUsedUp {
        /// When the next day begins.
        retry_after: Duration,
    },
}

impl ScreenedOut {
    /// The day that it is now has no room.
    pub fn day_is_used_up(now: Timestamp) -> Self {
        Self::DayIsUsedUp { retry_after: until_next_day(now) }
    }

    /// The error of a message that is born failed for this.
    pub const fn error(self) -> ErrorCode {
        match self {
            Self::OptedOut => ErrorCode::RecipientOptedOut,
            Self::TooManyCodes { .. } | Self::TooManyCodesToPrefix { .. } => ErrorCode::RecipientRateLimited,
            Self::DayIsUsedUp { .. } => ErrorCode::QuotaExceeded,
        }
    }
}

/// What became of each message of a group, in their order; none: it may be stored, and is counted. To be called in the transaction
/// that stores them, after the idempotency keys were taken.
pub async fn screen(
    connection: &mut sqlx::PgConnection,
    engine: &Engine,
    inserts: &[&Insert],
    now: Timestamp,
) -> Result<Vec<Option<ScreenedOut>>, StoreError> {
    judge(connection, engine, inserts, Of::Group, now).await
}

/// The same for the messages of a batch, without the app's day: [`count_day`] is for that.
pub async fn screen_batch(
    connection: &mut sqlx::PgConnection,
    engine: &Engine,
    inserts: &[&Insert],
    now: Timestamp,
) -> Result<Vec<Option<ScreenedOut>>, StoreError> {
    judge(connection, engine, inserts, Of::Batch, now).await
}

/// What is screened together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    Group,
    Batch,
}

async fn judge(
    connection: &mut sqlx::PgConnection,
    engine: &Engine,
    inserts: &[&Insert],
    of: Of,
    now: Timestamp,
) -> Result<Vec<Option<ScreenedOut>>, StoreError> {
    let live = engine.live();
    let mut verdicts: Vec<Option<ScreenedOut>> = vec![None; inserts.len()];
    // Places of those that are left.
    let mut rest: Vec<usize> = (0..inserts.len()).filter(|place| !inserts[*place].message.test).collect();
    if rest.is_empty() {
        return Ok(verdicts);
    }
    let message = |place: usize| &inserts[place].message;
    let silenced = opted_out(&mut *connection, &live.config, &rest, message).await?;
    rest.retain(|place| !silenced.contains(place));
    for place in silenced {
        verdicts[place] = Some(ScreenedOut::OptedOut);
    }
    let mut codes = Codes::read(&mut *connection, live.config.limits.otp_per_number, &rest, message, of, now).await?;
    let counted = if of == Of::Group { rest.as_slice() } else { &[] };
    let mut days = Days::count(&mut *connection, &live, counted, message, now).await?;
    for place in rest {
        let message = message(place);
        // Asked in this order and taken only from both: what one refuses does not count for the other.
        let for_codes = || codes.refuses(message, now).or_else(|| prefix_refuses(engine, &live, message));
        verdicts[place] = for_codes().or_else(|| days.refuses(message));
        match verdicts[place] {
            None => codes.take(message, now),
            Some(_) => days.give_back(message),
        }
    }
    days.settle(connection, engine, now).await?;
    Ok(verdicts)
}

/// Counts messages of one app that are being stored for its day: the last that their transaction does, since the count stays locked
/// until its end. [`StoreError::Undone`]: the day has no room for all of them.
pub async fn count_day(
    connection: &mut sqlx::PgConnection,
    engine: &Engine,
    app: &str,
    messages: usize,
    now: Timestamp,
) -> Result<(), StoreError> {
    let live = engine.live();
    let Some(limit) = daily_limit(&live, app).filter(|_| messages > 0) else { return Ok(()) };
    let count = i64::try_from(messages).unwrap_or(i64::MAX);
    let counted = app_days::add(connection, &[(app, count)], now).await?;
    let used = counted.first().map_or(0, |(_, used)| *used);
    let is_over = used > limit;
    engine.shared.days.note(app, if is_over { used - count } else { used }, now);
    if is_over { Err(StoreError::Undone) } else { Ok(()) }
}

/// How many messages an app may send on a day; none: as many as it likes.
fn daily_limit(live: &Live, app: &str) -> Option<i64> {
    Some(i64::try_from(live.config.apps.get(app)?.daily_limit?).unwrap_or(i64::MAX))
}

/// Does one of these opt-outs concern a message of this app? Any sender that the plan may use counts, whichever step it is.
pub(super) fn concerns(config: &Config, app: &str, plan: &Plan, template: Option<&str>, parties: &[Party]) -> bool {
    let template = template.and_then(|name| config.templates.get(name));
    let senders = || {
        plan.steps.iter().filter_map(|step| {
            let binding = template.and_then(|template| template.bindings.get(&step.provider));
            routing::sender_for(step, binding, config.providers.get(&step.provider)?)
        })
    };
    parties.iter().any(|party| match party {
        Party::App(name) => name == app,
        Party::Sender(sender) => senders().any(|own| bare(&own) == sender),
    })
}

impl Engine {
    /// Would a message of this app be refused because its recipient opted out? For previews; what counts is asked again when it is
    /// accepted.
    pub async fn has_opted_out(
        &self,
        app: &str,
        to: &str,
        plan: &Plan,
        template: Option<&str>,
    ) -> Result<bool, StoreError> {
        let recipient = to.to_owned();
        let found = self
            .db()
            .read(move |connection| {
                Box::pin(async move { suppressions::of_recipients(connection, &[recipient.as_str()]).await })
            })
            .await?;
        let parties = found.get(to).map(Vec::as_slice).unwrap_or_default();
        Ok(concerns(&self.live().config, app, plan, template, parties))
    }
}

async fn opted_out<'m>(
    connection: &mut sqlx::PgConnection,
    config: &Config,
    places: &[usize],
    message: impl Fn(usize) -> &'m NewMessage,
) -> Result<BTreeSet<usize>, StoreError> {
    let recipients: Vec<&str> = places.iter().map(|place| message(*place).to.as_str()).collect();
    let found = suppressions::of_recipients(connection, &recipients).await?;
    let concerned = |place: &usize| {
        let message = message(*place);
        let template = message.content.template.as_ref().map(|used| used.name.as_str());
        found
            .get(message.to.as_str())
            .is_some_and(|parties| concerns(config, &message.app, &message.plan, template, parties))
    };
    Ok(places.iter().copied().filter(concerned).collect())
}

/// Refused only where the operator wants it; where it is only watched, a warning tells.
fn prefix_refuses(engine: &Engine, live: &Live, message: &NewMessage) -> Option<ScreenedOut> {
    let block = live.config.limits.prefix_velocity == PrefixVelocity::Block;
    if !block || message.category != Category::Otp {
        return None;
    }
    let retry_after = engine.shared.prefixes.is_over(&message.to)?;
    Some(ScreenedOut::TooManyCodesToPrefix { retry_after })
}

/// A batch of codes to more numbers waits for its turn among such batches, over all processes: the server has room for so many
/// locks only. Groups of single messages take no turn, or they would wait for batches.
const MANY: usize = 64;

/// One-time codes that numbers got within the window, newest first.
struct Codes<'m> {
    rule: RateRule,
    recent: HashMap<&'m str, Vec<Timestamp>>,
}

impl<'m> Codes<'m> {
    async fn read(
        connection: &mut sqlx::PgConnection,
        rule: RateRule,
        places: &[usize],
        message: impl Fn(usize) -> &'m NewMessage,
        of: Of,
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        let codes = places.iter().map(|place| message(*place)).filter(|message| message.category == Category::Otp);
        let mut recent: HashMap<&str, Vec<Timestamp>> =
            codes.map(|message| (message.to.as_str(), Vec::new())).collect();
        if recent.is_empty() {
            return Ok(Self { rule, recent });
        }
        let recipients: Vec<&str> = recent.keys().copied().collect();
        let keys: BTreeSet<i64> = recipients.iter().map(|recipient| lock_key(recipient)).collect();
        if of == Of::Batch && keys.len() > MANY {
            velocity::take_turn(&mut *connection).await?;
        }
        velocity::lock(&mut *connection, &keys.into_iter().collect::<Vec<_>>()).await?;
        let since = now - rule.per;
        for (recipient, at) in velocity::recent(connection, &recipients, since, i64::from(rule.count)).await? {
            // An id knows its time to the millisecond only.
            if at > since
                && let Some(times) = recent.get_mut(recipient.as_str())
            {
                times.push(at);
            }
        }
        Ok(Self { rule, recent })
    }

    fn refuses(&self, message: &NewMessage, now: Timestamp) -> Option<ScreenedOut> {
        let times = self.recent.get(message.to.as_str()).filter(|_| message.category == Category::Otp)?;
        let last = usize::try_from(self.rule.count).ok()?.checked_sub(1)?;
        let until = *times.get(last)? + self.rule.per;
        Some(ScreenedOut::TooManyCodes { retry_after: (until - now).to_std().unwrap_or_default() })
    }

    fn take(&mut self, message: &NewMessage, now: Timestamp) {
        if message.category == Category::Otp
            && let Some(times) = self.recent.get_mut(message.to.as_str())
        {
            times.insert(0, now);
        }
    }
}

/// Stands for a number among the advisory locks of the database.
fn lock_key(recipient: &str) -> i64 {
    let digest = Sha256::new().chain_update(b"otp velocity").chain_update(recipient).finalize();
    digest.first_chunk().map_or(0, |first| i64::from_be_bytes(*first))
}

/// What apps with a daily limit may still send today.
struct Days<'m> {
    until_next: Duration,
    apps: BTreeMap<&'m str, Day>,
}

struct Day {
    limit: i64,
    /// Before this group.
    used: i64,
    taken: i64,
    unused: i64,
}

impl<'m> Days<'m> {
    /// Counts all that may come to be stored; what is refused in the end is given back.
    async fn count(
        connection: &mut sqlx::PgConnection,
        live: &Live,
        places: &[usize],
        message: impl Fn(usize) -> &'m NewMessage,
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        let mut wanted: BTreeMap<&str, i64> = BTreeMap::new();
        for place in places {
            *wanted.entry(message(*place).app.as_str()).or_default() += 1;
        }
        let limit = |app: &str| daily_limit(live, app);
        wanted.retain(|app, _| limit(app).is_some());
        let counts: Vec<(&str, i64)> = wanted.iter().map(|(app, count)| (*app, *count)).collect();
        let after: HashMap<String, i64> = app_days::add(connection, &counts, now).await?.into_iter().collect();
        let apps = wanted.into_iter().filter_map(|(app, count)| {
            let used = after.get(app)? - count;
            Some((app, Day { limit: limit(app)?, used, taken: 0, unused: 0 }))
        });
        Ok(Self { until_next: until_next_day(now), apps: apps.collect() })
    }

    /// Takes one, if there is one left.
    fn refuses(&mut self, message: &NewMessage) -> Option<ScreenedOut> {
        let day = self.apps.get_mut(message.app.as_str())?;
        if day.used + day.taken < day.limit {
            day.taken += 1;
            return None;
        }
        Some(ScreenedOut::DayIsUsedUp { retry_after: self.until_next })
    }

    fn give_back(&mut self, message: &NewMessage) {
        if let Some(day) = self.apps.get_mut(message.app.as_str()) {
            day.unused += 1;
        }
    }

    async fn settle(
        self,
        connection: &mut sqlx::PgConnection,
        engine: &Engine,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        for (app, day) in &self.apps {
            engine.shared.days.note(app, day.used + day.taken, now);
        }
        let unused = self.apps.iter().filter(|(_, day)| day.unused > 0);
        let counts: Vec<(&str, i64)> = unused.map(|(app, day)| (*app, -day.unused)).collect();
        app_days::add(connection, &counts, now).await?;
        Ok(())
    }
}

/// Until days change, in UTC.
pub fn until_next_day(now: Timestamp) -> Duration {
    let next = now.date_naive().succ_opt().and_then(|day| day.and_hms_opt(0, 0, 0));
    next.and_then(|next| (next.and_utc() - now).to_std().ok()).unwrap_or(Duration::from_hours(24))
}

/// How much apps with a daily limit have sent, as the last of their messages in this process found it. For people only: what
/// decides is in the database.
#[derive(Debug, Default)]
pub(super) struct LastKnownDays(std::sync::Mutex<HashMap<String, (chrono::NaiveDate, u64)>>);

impl LastKnownDays {
    fn note(&self, app: &str, used: i64, now: Timestamp) {
        let known = (now.date_naive(), u64::try_from(used).unwrap_or(0));
        let mut days = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        days.insert(app.to_owned(), known);
    }

    fn used(&self, app: &str, now: Timestamp) -> Option<u64> {
        let days = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        days.get(app).filter(|(day, _)| *day == now.date_naive()).map(|(_, used)| *used)
    }
}

impl Engine {
    /// How much an app with a daily limit has sent today, as far as this process knows.
    pub fn sent_today(&self, app: &str) -> Option<u64> {
        self.shared.days.used(app, self.clock().now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_ends_at_midnight_utc() {
        for (now, seconds) in
            [("2026-03-01T00:00:00Z", 86_400), ("2026-03-01T23:59:59.5Z", 0), ("2026-12-31T12:00:00Z", 43_200)]
        {
            assert_eq!(until_next_day(now.parse().unwrap()).as_secs(), seconds, "{now}");
        }
    }

    #[test]
    fn numbers_have_locks_of_their_own() {
        assert_eq!(lock_key("+84901234567"), lock_key("+84901234567"));
        assert_ne!(lock_key("+84901234567"), lock_key("+84901234568"));
    }
}
