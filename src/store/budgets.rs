//! A provider's rate and daily limit, held over all processes: a bucket in a row that every claim takes from.
//!
//! The row is locked for as long as a claim's transaction, which is short, and claims take many messages at once. The bucket
//! fills in database time, so that processes with different clocks do not fill it twice; days are those of business time.

use sqlx::PgConnection;

use super::StoreError;
use crate::domain::Timestamp;

/// The limits of one provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Messages a second.
    pub rate_per_second: Option<u32>,
    /// Messages a day (UTC).
    pub daily_limit: Option<u64>,
}

/// What a claim may take now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Budget {
    /// At most so many messages.
    Messages(usize),
    /// Nothing more today.
    DayIsUsedUp,
}

impl Limits {
    /// Is there anything to hold to?
    pub fn is_empty(self) -> bool {
        self.rate_per_second.is_none() && self.daily_limit.is_none()
    }
}

/// Locks a provider's budget and says what may be taken of it.
pub async fn lock(
    connection: &mut PgConnection,
    provider: &str,
    limits: Limits,
    now: Timestamp,
) -> Result<Budget, StoreError> {
    // A second's worth is the most that can be saved up.
    let capacity = limits.rate_per_second.map_or(0.0, f64::from);
    let day = now.date_naive();
    let row = sqlx::query!(
        r#"insert into provider_budgets as b (provider, tokens, refilled_at, day, sent_today)
           values ($1, $2, clock_timestamp(), $3, 0)
           on conflict (provider) do update
           set tokens = least($2, b.tokens + $2 * greatest(extract(epoch from clock_timestamp() - b.refilled_at), 0)),
               refilled_at = clock_timestamp(),
               day = $3, sent_today = case when b.day = $3 then b.sent_today else 0 end
           returning tokens, sent_today"#,
        provider,
        capacity,
        day,
    )
    .fetch_one(connection)
    .await?;
    let today = limits.daily_limit.map(|limit| limit.saturating_sub(u64::try_from(row.sent_today).unwrap_or(0)));
    if today == Some(0) {
        return Ok(Budget::DayIsUsedUp);
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "never negative, and small")]
    let by_rate = limits.rate_per_second.map(|_| row.tokens.floor() as usize);
    let by_day = today.map(|left| usize::try_from(left).unwrap_or(usize::MAX));
    Ok(Budget::Messages(by_rate.unwrap_or(usize::MAX).min(by_day.unwrap_or(usize::MAX))))
}

/// Takes from a budget that is locked.
pub async fn take(connection: &mut PgConnection, provider: &str, messages: usize) -> Result<(), StoreError> {
    let messages = i64::try_from(messages).unwrap_or(i64::MAX);
    sqlx::query!(
        "update provider_budgets set tokens = tokens - $2::bigint::double precision, sent_today = sent_today + $2::bigint
         where provider = $1",
        provider,
        messages,
    )
    .execute(connection)
    .await?;
    Ok(())
}
