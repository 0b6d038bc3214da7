//! Claiming what is due: the classes one after the other, and inside a class the apps in turn.
//!
//! A claim takes from one app until there is no more or enough, then from the next. The next claim begins behind the app that
//! was served last. So an app waits for at most one claim of each other app, however much those have waiting, and what one app
//! sends to one sender stays together in a call. Nothing is read but what is taken: the query goes from app to app along the
//! index `queue_turns`, and stops when it has enough.
//!
//! Each process remembers for itself whose turn it is.

use std::collections::BTreeMap;

use sqlx::{PgConnection, types::Json};

use super::{Row, StoreError, StoredMessage, class, with_attempts};
use crate::domain::{Timestamp, content::Category, ids::MessageId, life::Plan};

const CLASSES: usize = 3;

/// Whose turn it is with a provider: the app that was served last, for each class.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Turns([Option<String>; CLASSES]);

/// The apps of messages that a claim found, in that order.
#[derive(Debug)]
pub struct Served(Vec<(MessageId, Category, String)>);

impl Served {
    /// The apps of what was found.
    pub fn of(messages: &[StoredMessage]) -> Self {
        Self(messages.iter().map(|m| (m.life.id, m.life.category, m.app.clone())).collect())
    }
}

impl Turns {
    /// What was found is served, up to the first for which there was no room: its app is the next.
    pub fn serve(&mut self, found: Served, no_room: Option<MessageId>) {
        for (index, (message, category, app)) in found.0.into_iter().enumerate() {
            let is_left = no_room == Some(message);
            // Where there is room for nothing, going on is all that helps.
            if is_left && index > 0 {
                return;
            }
            if let Some(last) = self.last(category) {
                *last = Some(app);
            }
            if is_left {
                return;
            }
        }
    }

    fn last(&mut self, category: Category) -> Option<&mut Option<String>> {
        self.0.get_mut(usize::try_from(class(category)).ok()?)
    }

    /// Parts of the alphabet in the order in which they are served: class, behind which app, up to which.
    fn spans(&self) -> Vec<(i16, &str, Option<&str>)> {
        let mut spans = Vec::new();
        for (class, last) in (0..).zip(&self.0) {
            match last {
                None => spans.push((class, "", None)),
                Some(last) => spans.extend([(class, last.as_str(), None), (class, "", Some(last.as_str()))]),
            }
        }
        spans
    }
}

/// Locks what waits to be handed to a provider, in order of class, turn and time, without waiting for anybody: what another
/// process holds is passed over.
pub async fn lock_due(
    connection: &mut PgConnection,
    provider: &str,
    turns: &Turns,
    now: Timestamp,
    limit: i64,
) -> Result<Vec<StoredMessage>, StoreError> {
    let spans = turns.spans();
    let classes: Vec<i16> = spans.iter().map(|(class, ..)| *class).collect();
    let behind: Vec<&str> = spans.iter().map(|(_, behind, _)| *behind).collect();
    let up_to: Vec<Option<&str>> = spans.iter().map(|(.., up_to)| *up_to).collect();
    // Everything is asked for only as far as it is needed, since no step of it has to be sorted: spans come in their order, apps
    // in that of the index. Looking for an app ends before it is compared with the end of the span, or all rows behind would be
    // read to find one that fits. An app's own rows begin at the time of the first, which passes by those that are gone.
    let rows = sqlx::query_as!(
        Row,
        r#"select m.id, m.app, m.batch_id, m.recipient, m.category, m.sensitive, m.body, m.template,
                  m.params as "params: Json<BTreeMap<String, String>>", m.sealed, m.plan as "plan: Json<Plan>", m.send_at,
                  m.expires_at, m.status, m.completed_at, m.sent_at, m.error_code, m.error_category, m.error_retryable,
                  m.provider_code, m.possible_duplicate, true as "queued!", m.attempts as "attempts?", m.step as "step?",
                  m.tries as "tries?", m.group_limit as "group_limit?", m.send_due as "send_due?", m.version,
                  m.events, m.callback_url
           from unnest($4::smallint[], $5::text[], $6::text[]) with ordinality s (class, behind, up_to, place)
           cross join lateral (
               with recursive waiting (app, due) as (
                   select first.app, first.send_due from (
                       select app, send_due from queue
                       where provider = $1 and class = s.class and app > s.behind
                         and send_due is not null and lease is null and not scheduled
                       order by app, send_due limit 1
                   ) first where s.up_to is null or first.app <= s.up_to
                   union all
                   select next.app, next.send_due from waiting cross join lateral (
                       select q.app, q.send_due from queue q
                       where q.provider = $1 and q.class = s.class and q.app > waiting.app
                         and q.send_due is not null and q.lease is null and not q.scheduled
                       order by q.app, q.send_due limit 1
                   ) next where s.up_to is null or next.app <= s.up_to
               )
               select app, due from waiting where due <= $2
           ) a
           cross join lateral (
               select m.*, q.attempts, q.step, q.tries, q.group_limit, q.send_due
               from queue q join messages m on m.id = q.message_id
               where q.provider = $1 and q.class = s.class and q.app = a.app and q.send_due between a.due and $2
                 and q.lease is null and not q.scheduled and q.expires_at > $2
               order by q.send_due
               limit $3
               for update of q, m skip locked
           ) m
           order by s.place
           limit $3"#,
        provider,
        now,
        limit,
        &classes,
        &behind as &[&str],
        &up_to as &[Option<&str>],
    )
    .fetch_all(&mut *connection)
    .await?;
    with_attempts(connection, rows).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::new_uuid;

    fn found(apps: &[(Category, &str)]) -> Served {
        let now = crate::clock::Clock::system().now();
        Served(apps.iter().map(|(category, app)| (MessageId(new_uuid(now)), *category, (*app).to_owned())).collect())
    }

    fn last(turns: &Turns) -> [Option<&str>; CLASSES] {
        turns.0.each_ref().map(Option::as_deref)
    }

    #[test]
    fn the_last_app_that_was_served_is_remembered_for_each_class() {
        let mut turns = Turns::default();
        turns.serve(found(&[(Category::Otp, "b"), (Category::Marketing, "c"), (Category::Marketing, "a")]), None);
        assert_eq!(last(&turns), [Some("b"), None, Some("a")]);
    }

    #[test]
    fn an_app_for_which_there_was_no_room_is_the_next() {
        let mut turns = Turns::default();
        let found = found(&[(Category::Otp, "a"), (Category::Otp, "b"), (Category::Otp, "c")]);
        let second = found.0[1].0;
        turns.serve(found, Some(second));
        assert_eq!(last(&turns), [Some("a"), None, None]);
    }

    #[test]
    fn an_app_that_finds_no_room_at_all_does_not_keep_its_turn() {
        let mut turns = Turns::default();
        let found = found(&[(Category::Otp, "a"), (Category::Otp, "b")]);
        let first = found.0[0].0;
        turns.serve(found, Some(first));
        assert_eq!(last(&turns), [Some("a"), None, None]);
    }

    #[test]
    fn a_class_is_served_from_behind_the_last_app_to_the_end_and_then_from_the_beginning() {
        let turns = Turns([None, Some("m".to_owned()), None]);
        assert_eq!(turns.spans(), [(0, "", None), (1, "m", None), (1, "", Some("m")), (2, "", None)]);
    }
}
