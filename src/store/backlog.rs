//! For how long what waits for a provider has waited already, app by app: they are served in turn, so one does not wait for
//! what another has waiting.
//!
//! The oldest of an app in a class is the first entry of its part of the index that claims use, however many wait behind it, and
//! the next app is found without reading those.

use sqlx::PgConnection;

use super::{StoreError, life};
use crate::domain::{Timestamp, content::Category};

const CLASSES: [Category; 3] = [Category::Otp, Category::Transactional, Category::Marketing];

/// The message of an app that waits longest for a provider in one class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Oldest {
    /// For which provider.
    pub provider: String,
    /// In which class.
    pub category: Category,
    /// Whose.
    pub app: String,
    /// When it could have been sent first.
    pub due: Timestamp,
}

/// The oldest of each class and app that is due for these providers and that no process has claimed. What has expired meanwhile is
/// not going to be sent, so nobody waits behind it.
pub async fn oldest(
    connection: &mut PgConnection,
    providers: &[String],
    now: Timestamp,
) -> Result<Vec<Oldest>, StoreError> {
    let rows = sqlx::query!(
        r#"with recursive waiting (provider, class, app, due) as (
               select p.provider, first.class, first.app, first.send_due
               from unnest($1::text[]) p (provider)
               cross join lateral (
                   select class, app, send_due from queue q
                   where q.provider = p.provider and send_due is not null and lease is null and not scheduled and expires_at > $2
                   order by class, app, send_due limit 1
               ) first
               union all
               select w.provider, next.class, next.app, next.send_due
               from waiting w
               cross join lateral (
                   select class, app, send_due from queue q
                   where q.provider = w.provider and (q.class, q.app) > (w.class, w.app)
                     and send_due is not null and lease is null and not scheduled and expires_at > $2
                   order by class, app, send_due limit 1
               ) next
           )
           select provider as "provider!", class as "class!", app as "app!", due as "due!" from waiting where due < $2"#,
        providers,
        now,
    )
    .fetch_all(connection)
    .await?;
    let category = |class: i16| CLASSES.into_iter().find(|category| life::class(*category) == class);
    let found = rows.into_iter().filter_map(|row| {
        Some(Oldest { provider: row.provider, category: category(row.class)?, app: row.app, due: row.due })
    });
    Ok(found.collect())
}
