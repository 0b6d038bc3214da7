//! Who opted out: of an app, whatever its sender, or of one of our senders, whatever the app.

use std::collections::HashMap;

use sqlx::{PgConnection, Postgres, QueryBuilder, Row, postgres::PgRow};
use uuid::Uuid;

use super::{StoreError, history::Page, word};
use crate::domain::{
    Timestamp,
    content::text_enum,
    ids::{MessageId, first_uuid_at, new_uuid},
};

/// Nothing waits for longer: `send_at` may be 30 days ahead, and a validity has its bounds too.
const LONGEST_WAIT: chrono::TimeDelta = chrono::TimeDelta::days(40);

/// What a recipient is not to hear from.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Party {
    /// This app, from any sender.
    App(String),
    /// This sender, by any app; bare, see [`bare`].
    Sender(String),
}

/// A sender without the `+` that providers write or leave out.
pub fn bare(sender: &str) -> &str {
    sender.strip_prefix('+').filter(|rest| rest.bytes().all(|byte| byte.is_ascii_digit())).unwrap_or(sender)
}

impl Party {
    /// A sender, however it is written.
    pub fn sender(sender: &str) -> Self {
        Self::Sender(bare(sender).to_owned())
    }

    fn columns(&self) -> (&str, &str) {
        match self {
            Self::App(app) => (app, ""),
            Self::Sender(sender) => ("", sender),
        }
    }

    fn of_columns(app: String, sender: String) -> Self {
        if app.is_empty() { Self::Sender(sender) } else { Self::App(app) }
    }
}

/// Who says that a recipient opted out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// The recipient wrote one of the words.
    Keyword,
    /// A carrier refused a message for it.
    Carrier,
    /// An app or an operator.
    Api,
}

text_enum!(Source { Keyword = "keyword", Carrier = "carrier", Api = "api" });

/// One suppression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suppression {
    /// Where it stands in the list.
    pub id: Uuid,
    /// Who is not to be written to.
    pub recipient: String,
    /// By whom.
    pub party: Party,
    /// Who says so.
    pub source: Source,
    /// Since when.
    pub created_at: Timestamp,
}

/// Adds suppressions. One that is there stays as it is.
pub async fn add(
    connection: &mut PgConnection,
    suppressions: &[(&str, Party)],
    source: Source,
    now: Timestamp,
) -> Result<(), StoreError> {
    if suppressions.is_empty() {
        return Ok(());
    }
    let sorted = sorted(suppressions);
    let ids: Vec<Uuid> = sorted.iter().map(|_| new_uuid(now)).collect();
    let (recipients, apps, senders) = columns(&sorted);
    sqlx::query!(
        "insert into suppressions (id, recipient, app, sender, source, created_at)
         select id, recipient, app, sender, $5, $6 from unnest($1::uuid[], $2::text[], $3::text[], $4::text[])
              as n (id, recipient, app, sender)
         on conflict (recipient, app, sender) do nothing",
        &ids,
        &recipients as &[&str],
        &apps as &[&str],
        &senders as &[&str],
        source.as_str(),
        now,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Takes suppressions off, whoever made them. Harmless where there are none.
pub async fn remove(connection: &mut PgConnection, suppressions: &[(&str, Party)]) -> Result<(), StoreError> {
    if suppressions.is_empty() {
        return Ok(());
    }
    let sorted = sorted(suppressions);
    let (recipients, apps, senders) = columns(&sorted);
    sqlx::query!(
        "delete from suppressions s using unnest($1::text[], $2::text[], $3::text[]) as n (recipient, app, sender)
         where s.recipient = n.recipient and s.app = n.app and s.sender = n.sender",
        &recipients as &[&str],
        &apps as &[&str],
        &senders as &[&str],
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// In one order for all, so that two units of work with the same ones wait for each other; and each once.
fn sorted<'a>(suppressions: &'a [(&'a str, Party)]) -> Vec<&'a (&'a str, Party)> {
    let mut sorted: Vec<_> = suppressions.iter().collect();
    sorted.sort_unstable();
    sorted.dedup();
    sorted
}

fn columns<'a>(suppressions: &[&'a (&'a str, Party)]) -> (Vec<&'a str>, Vec<&'a str>, Vec<&'a str>) {
    let recipients = suppressions.iter().map(|(recipient, _)| *recipient).collect();
    let (apps, senders) = suppressions.iter().map(|(_, party)| party.columns()).unzip();
    (recipients, apps, senders)
}

/// What these recipients are not to hear from; those without a suppression are left out.
pub async fn of_recipients(
    connection: &mut PgConnection,
    recipients: &[&str],
) -> Result<HashMap<String, Vec<Party>>, StoreError> {
    let rows = sqlx::query!(
        "select s.recipient, s.app, s.sender from suppressions s where s.recipient = any($1)",
        recipients as &[&str],
    )
    .fetch_all(connection)
    .await?;
    let mut found: HashMap<String, Vec<Party>> = HashMap::new();
    for row in rows {
        found.entry(row.recipient).or_default().push(Party::of_columns(row.app, row.sender));
    }
    Ok(found)
}

/// A suppression that may concern messages which wait already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct New {
    /// Which one.
    pub id: Uuid,
    recipient: String,
    app: String,
}

/// Suppressions for which nothing was stopped yet, oldest first.
pub async fn new(connection: &mut PgConnection, limit: i64) -> Result<Vec<New>, StoreError> {
    Ok(sqlx::query_as!(
        New,
        "select id, recipient, app from suppressions where not applied order by id limit $1",
        limit,
    )
    .fetch_all(connection)
    .await?)
}

/// Messages that wait for a provider and whose recipient opted out, of their app or of any sender: those after that one, by id, at
/// most so many. Those that are scheduled are left until they are due.
pub async fn waiting(
    connection: &mut PgConnection,
    new: &[New],
    after: Option<MessageId>,
    now: Timestamp,
    limit: i64,
) -> Result<Vec<MessageId>, StoreError> {
    let recipients: Vec<&str> = new.iter().map(|new| new.recipient.as_str()).collect();
    let apps: Vec<&str> = new.iter().map(|new| new.app.as_str()).collect();
    let waiting = sqlx::query_scalar!(
        "select distinct m.id
         from unnest($1::text[], $2::text[]) as n (recipient, app)
         join messages m on m.recipient = n.recipient and m.id >= $3 and n.app in ('', m.app)
              and ($4::uuid is null or m.id > $4)
         join queue q on q.message_id = m.id and q.send_due is not null and q.lease is null and not q.scheduled
         order by m.id limit $5",
        &recipients as &[&str],
        &apps as &[&str],
        first_uuid_at(now - LONGEST_WAIT),
        after.map(|id| id.0),
        limit,
    )
    .fetch_all(connection)
    .await?;
    Ok(waiting.into_iter().map(MessageId).collect())
}

/// Locks those of these messages that nobody else has, without waiting.
pub async fn lock_free(connection: &mut PgConnection, messages: &[MessageId]) -> Result<Vec<MessageId>, StoreError> {
    let (Some(first), Some(last)) = (messages.first(), messages.last()) else { return Ok(Vec::new()) };
    let ids: Vec<Uuid> = messages.iter().map(|id| id.0).collect();
    let free = sqlx::query_scalar!(
        "select id from messages where id = any($1) and id between $2 and $3 order by id for update skip locked",
        &ids,
        first.0,
        last.0,
    )
    .fetch_all(connection)
    .await?;
    Ok(free.into_iter().map(MessageId).collect())
}

/// Notes that nothing waits any more that came before these suppressions.
pub async fn mark_applied(connection: &mut PgConnection, new: &[New]) -> Result<(), StoreError> {
    let ids: Vec<Uuid> = new.iter().map(|new| new.id).collect();
    sqlx::query!("update suppressions set applied = true where id = any($1)", &ids).execute(connection).await?;
    Ok(())
}

/// The validity of messages that were stopped is over: neither a timer nor a report makes them go on.
pub async fn end_validity(
    connection: &mut PgConnection,
    messages: &[MessageId],
    now: Timestamp,
) -> Result<(), StoreError> {
    if messages.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = messages.iter().map(|id| id.0).collect();
    sqlx::query!("update messages set expires_at = $2 where id = any($1)", &ids, now).execute(connection).await?;
    Ok(())
}

/// Which suppressions to show.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Those that an app's key may see: of the app itself, and of these senders (bare).
    pub visible_to: Option<(String, Vec<String>)>,
    /// Of this recipient.
    pub recipient: Option<String>,
    /// Of this app.
    pub app: Option<String>,
    /// Of this sender, bare.
    pub sender: Option<String>,
    /// Which part of it all.
    pub page: Page,
}

/// One page, newest first.
pub async fn list(connection: &mut PgConnection, filter: &Filter) -> Result<Vec<Suppression>, StoreError> {
    let mut query = QueryBuilder::<Postgres>::new(
        "select id, recipient, app, sender, source, created_at from suppressions where true",
    );
    for (column, value) in [("recipient", &filter.recipient), ("app", &filter.app), ("sender", &filter.sender)] {
        if let Some(value) = value {
            query.push(" and ").push(column).push(" = ").push_bind(value);
        }
    }
    if let Some((app, senders)) = &filter.visible_to {
        query.push(" and (app = ").push_bind(app).push(" or sender = any(").push_bind(senders).push("))");
    }
    if let Some(before) = filter.page.before {
        query.push(" and id < ").push_bind(before);
    }
    query.push(" order by id desc limit ").push_bind(filter.page.limit);
    query.build().fetch_all(connection).await?.iter().map(suppression).collect()
}

/// One suppression.
pub async fn find(
    connection: &mut PgConnection,
    recipient: &str,
    party: &Party,
) -> Result<Option<Suppression>, StoreError> {
    let (app, sender) = party.columns();
    let row = sqlx::query!(
        "select id, source, created_at from suppressions where recipient = $1 and app = $2 and sender = $3",
        recipient,
        app,
        sender,
    )
    .fetch_optional(connection)
    .await?;
    row.map(|row| {
        let source = word("suppressions", "source", &row.source)?;
        let (recipient, party) = (recipient.to_owned(), party.clone());
        Ok(Suppression { id: row.id, recipient, party, source, created_at: row.created_at })
    })
    .transpose()
}

fn suppression(row: &PgRow) -> Result<Suppression, StoreError> {
    Ok(Suppression {
        id: row.try_get("id")?,
        recipient: row.try_get("recipient")?,
        party: Party::of_columns(row.try_get("app")?, row.try_get("sender")?),
        source: word("suppressions", "source", row.try_get("source")?)?,
        created_at: row.try_get("created_at")?,
    })
}
