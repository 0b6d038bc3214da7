//! For how long what waits for a provider has waited already.
//!
//! The oldest of each class is the first entry of its part of the index that claims use, however many wait behind it.

use sqlx::PgConnection;

use super::{StoreError, life};
use crate::domain::{Timestamp, content::Category};

const CLASSES: [Category; 3] = [Category::Otp, Category::Transactional, Category::Marketing];

/// The message that waits longest for a provider in one class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Oldest {
    /// For which provider.
    pub provider: String,
    /// In which class.
    pub category: Category,
    /// When it could have been sent first.
    pub due: Timestamp,
}

/// The oldest of each class that is due for these providers and that no process has claimed. What has expired meanwhile is not
/// going to be sent, so nobody waits behind it.
pub async fn oldest(
    connection: &mut PgConnection,
    providers: &[String],
    now: Timestamp,
) -> Result<Vec<Oldest>, StoreError> {
    let classes = CLASSES.map(life::class);
    let rows = sqlx::query!(
        r#"select p.provider as "provider!", c.class as "class!", first.send_due as "send_due!"
           from unnest($1::text[]) p (provider)
           cross join unnest($2::smallint[]) c (class)
           cross join lateral (
               select send_due from queue q
               where q.provider = p.provider and q.class = c.class and q.send_due is not null and q.lease is null
                 and q.expires_at > $3
               order by send_due limit 1
           ) first
           where first.send_due < $3"#,
        providers,
        classes.as_slice(),
        now,
    )
    .fetch_all(connection)
    .await?;
    let category = |class: i16| CLASSES.into_iter().find(|category| life::class(*category) == class);
    let found = rows
        .into_iter()
        .filter_map(|row| Some(Oldest { provider: row.provider, category: category(row.class)?, due: row.send_due }));
    Ok(found.collect())
}
