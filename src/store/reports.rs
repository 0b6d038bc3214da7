//! Delivery reports: which attempt each is about, and what became of it. A report that fits no attempt yet waits.

use sqlx::{PgConnection, types::Json};
use uuid::Uuid;

use super::{StoreError, small, unsmall};
use crate::domain::{
    Timestamp,
    ids::{CallId, MessageId, first_uuid_at},
    report::Report,
};

/// How long a report waits for its attempt; and within which attempts are looked for first, since few reports are later.
pub const KEPT_FOR: chrono::TimeDelta = chrono::TimeDelta::hours(80);
/// An attempt may be this much younger than its message: a send time ahead, and the validity after it.
const LONGEST_BEFORE_SENDING: chrono::TimeDelta = chrono::TimeDelta::days(34);

/// An attempt as a report names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Match {
    /// Which message.
    pub message: MessageId,
    /// Which of its attempts.
    pub attempt: u16,
    /// Found by sender and recipient only.
    pub heuristic: bool,
}

/// What became of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It changed something.
    Applied,
    /// It came too late, said what was known, or nothing final.
    Ignored,
    /// It fits no attempt yet.
    Waiting,
    /// It never did.
    Unmatched,
}

impl Outcome {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Ignored => "ignored",
            Self::Waiting => "waiting",
            Self::Unmatched => "unmatched",
        }
    }
}

/// A report to be kept, or one that waits.
#[derive(Debug, Clone)]
pub struct StoredReport {
    /// Its id; also when it came in.
    pub id: Uuid,
    /// The push that brought it; none for polls and the sandbox.
    pub callback_id: Option<Uuid>,
    /// Whose it is.
    pub provider: String,
    /// The call that it names.
    pub call_id: Option<CallId>,
    /// What it says.
    pub report: Report,
    /// The attempt that it is about.
    pub matched: Option<Match>,
    /// What became of it.
    pub outcome: Outcome,
    /// The next time to look for its attempt.
    pub rematch_at: Option<Timestamp>,
}

/// Finds the attempts, of messages made at this time or later, that reports name by the provider's id. One answer for each question,
/// in order.
pub async fn by_provider_message_id(
    connection: &mut PgConnection,
    questions: &[(&str, &str)],
    since: Timestamp,
) -> Result<Vec<Option<Match>>, StoreError> {
    let providers: Vec<&str> = questions.iter().map(|(provider, _)| *provider).collect();
    let ids: Vec<&str> = questions.iter().map(|(_, id)| *id).collect();
    let rows = sqlx::query!(
        r#"select n.ordinal as "ordinal!", a.message_id, a.number
           from unnest($1::text[], $2::text[]) with ordinality as n (provider, native, ordinal)
           join attempts a on a.provider = n.provider and a.provider_message_id = n.native and a.message_id >= $3"#,
        &providers as &[&str],
        &ids as &[&str],
        first_uuid_at(since),
    )
    .fetch_all(connection)
    .await?;
    let mut found = vec![None; questions.len()];
    for row in rows {
        place(&mut found, row.ordinal, row.message_id, row.number);
    }
    Ok(found)
}

/// Finds the attempts that reports name by the call's reference and the recipient.
pub async fn by_call(
    connection: &mut PgConnection,
    questions: &[(CallId, &str)],
    since: Timestamp,
) -> Result<Vec<Option<Match>>, StoreError> {
    let calls: Vec<Uuid> = questions.iter().map(|(call, _)| call.0).collect();
    let recipients: Vec<&str> = questions.iter().map(|(_, recipient)| *recipient).collect();
    // An empty recipient stands for "the only one of the call".
    let rows = sqlx::query!(
        r#"with n as materialized (
               select * from unnest($1::uuid[], $2::text[]) with ordinality as n (call, recipient, ordinal)
           ), found as (
               select n.ordinal, a.message_id, a.number from n
               join attempts a on a.call_id = n.call and a.recipient = n.recipient and a.message_id >= $3
               where n.recipient <> ''
               union all
               select n.ordinal, a.message_id, a.number from n
               join attempts a on a.call_id = n.call and a.message_id >= $3
               where n.recipient = ''
           )
           select ordinal as "ordinal!", min(message_id::text)::uuid as "message_id!", min(number) as "number!"
           from found group by ordinal having count(*) = 1"#,
        &calls,
        &recipients as &[&str],
        first_uuid_at(since),
    )
    .fetch_all(connection)
    .await?;
    let mut found = vec![None; questions.len()];
    for row in rows {
        place(&mut found, row.ordinal, row.message_id, row.number);
    }
    Ok(found)
}

fn place(found: &mut [Option<Match>], ordinal: i64, message: Uuid, number: i16) {
    let place = usize::try_from(ordinal - 1).ok().and_then(|index| found.get_mut(index));
    if let Some(place) = place {
        *place = Some(Match { message: MessageId(message), attempt: unsmall(number), heuristic: false });
    }
}

/// An attempt that a report without a known id may be about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Candidate {
    /// Its outcome is unclear, and it has no id.
    Unclear(Match),
    /// Its call is being made, so its id may be the report's in a moment.
    InFlight,
}

/// Attempts to one recipient that a report without a known id may be about: those that are unclear, by the same sender, and
/// those whose calls are under way. They began before the report came, and where both texts are known they are the same.
pub async fn candidates(
    connection: &mut PgConnection,
    report: &StoredReport,
    recipient: &str,
    sender: &str,
    now: Timestamp,
) -> Result<Vec<Candidate>, StoreError> {
    let rows = sqlx::query!(
        r#"select a.message_id as "message_id!", a.number as "number!", false as "in_flight!"
           from messages m join attempts a on a.message_id = m.id
           where m.recipient = $2 and m.id >= $5
             and a.provider = $1 and a.status = 'unknown' and a.provider_message_id is null
             and ltrim(a.sender, '+') = ltrim($3, '+') and a.evidence_until > $4 and a.id < $7
             and (m.body is null or $6::text is null or btrim(m.body) = btrim($6))
           union all
           select m.id, 0::smallint, true
           from queue q join messages m on m.id = q.message_id
           where q.lease is not null and q.provider = $1 and m.recipient = $2
             and (m.body is null or $6::text is null or btrim(m.body) = btrim($6))
           limit 2"#,
        report.provider,
        recipient,
        sender,
        now,
        first_uuid_at(now - KEPT_FOR - LONGEST_BEFORE_SENDING),
        report.report.target.text,
        report.id,
    )
    .fetch_all(connection)
    .await?;
    let candidate = |message, number, in_flight| {
        let found = Match { message: MessageId(message), attempt: unsmall(number), heuristic: true };
        if in_flight { Candidate::InFlight } else { Candidate::Unclear(found) }
    };
    Ok(rows.into_iter().map(|row| candidate(row.message_id, row.number, row.in_flight)).collect())
}

/// Keeps reports.
pub async fn insert(connection: &mut PgConnection, reports: &[StoredReport]) -> Result<(), StoreError> {
    if reports.is_empty() {
        return Ok(());
    }
    let each = || reports.iter();
    let ids: Vec<Uuid> = each().map(|kept| kept.id).collect();
    let callbacks: Vec<Option<Uuid>> = each().map(|kept| kept.callback_id).collect();
    let providers: Vec<&str> = each().map(|kept| kept.provider.as_str()).collect();
    let messages: Vec<Option<Uuid>> = each().map(|kept| kept.matched.map(|found| found.message.0)).collect();
    let attempts: Vec<Option<i16>> = each().map(|kept| kept.matched.map(|found| small(found.attempt))).collect();
    let outcomes: Vec<&str> = each().map(|kept| kept.outcome.as_str()).collect();
    let heuristic: Vec<bool> = each().map(|kept| kept.matched.is_some_and(|found| found.heuristic)).collect();
    let native: Vec<Option<&str>> = each().map(|kept| kept.report.target.provider_message_id.as_deref()).collect();
    let calls: Vec<Option<Uuid>> = each().map(|kept| kept.call_id.map(|call| call.0)).collect();
    let recipients: Vec<Option<&str>> = each().map(|kept| kept.report.target.recipient.as_deref()).collect();
    let bodies: Vec<String> = each().map(|kept| serde_json::to_string(&kept.report).unwrap_or_default()).collect();
    let rematch: Vec<Option<Timestamp>> = each().map(|kept| kept.rematch_at).collect();
    sqlx::query!(
        "insert into reports (id, callback_id, provider, message_id, attempt, outcome, heuristic, provider_message_id, call_id,
                              recipient, report, rematch_at)
         select id, callback_id, provider, message_id, attempt, outcome, heuristic, native, call_id, recipient, report::jsonb,
                rematch_at
         from unnest($1::uuid[], $2::uuid[], $3::text[], $4::uuid[], $5::smallint[], $6::text[], $7::boolean[], $8::text[],
                     $9::uuid[], $10::text[], $11::text[], $12::timestamptz[])
              as n (id, callback_id, provider, message_id, attempt, outcome, heuristic, native, call_id, recipient, report,
                    rematch_at)",
        &ids,
        &callbacks as &[Option<Uuid>],
        &providers as &[&str],
        &messages as &[Option<Uuid>],
        &attempts as &[Option<i16>],
        &outcomes as &[&str],
        &heuristic,
        &native as &[Option<&str>],
        &calls as &[Option<Uuid>],
        &recipients as &[Option<&str>],
        &bodies,
        &rematch as &[Option<Timestamp>],
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Locks the reports that waited for attempts which now have their ids, or whose calls are known now.
pub async fn lock_waiting_for(
    connection: &mut PgConnection,
    ids: &[(&str, &str)],
    calls: &[CallId],
    now: Timestamp,
) -> Result<Vec<StoredReport>, StoreError> {
    let providers: Vec<&str> = ids.iter().map(|(provider, _)| *provider).collect();
    let native: Vec<&str> = ids.iter().map(|(_, id)| *id).collect();
    let calls: Vec<Uuid> = calls.iter().map(|call| call.0).collect();
    let since = first_uuid_at(now - KEPT_FOR);
    let mut found = Vec::new();
    // Two questions, each with its index: joined by an `or` they would read all that waits.
    if !ids.is_empty() {
        let rows = sqlx::query_as!(
            Row,
            r#"select r.id, r.callback_id, r.provider, r.call_id, r.report as "report: Json<Report>"
               from unnest($1::text[], $2::text[]) as n (provider, native)
               join reports r on r.provider = n.provider and r.provider_message_id = n.native
               where r.outcome = 'waiting' and r.id >= $3
               for update of r skip locked"#,
            &providers as &[&str],
            &native as &[&str],
            since,
        )
        .fetch_all(&mut *connection)
        .await?;
        found.extend(rows);
    }
    if !calls.is_empty() {
        let rows = sqlx::query_as!(
            Row,
            r#"select id, callback_id, provider, call_id, report as "report: Json<Report>"
               from reports where outcome = 'waiting' and call_id = any($1) and id >= $2
               for update skip locked"#,
            &calls,
            since,
        )
        .fetch_all(connection)
        .await?;
        found.extend(rows);
    }
    // One may answer to both, and they act in the order in which they came.
    found.sort_unstable_by_key(|row| row.id);
    found.dedup_by_key(|row| row.id);
    Ok(found.into_iter().map(Into::into).collect())
}

/// Locks waiting reports whose time to be looked at again has come.
pub async fn lock_due(connection: &mut PgConnection, now: Timestamp) -> Result<Vec<StoredReport>, StoreError> {
    let rows = sqlx::query_as!(
        Row,
        r#"select id, callback_id, provider, call_id, report as "report: Json<Report>"
           from reports where outcome = 'waiting' and rematch_at <= $1
           order by rematch_at limit 200 for update skip locked"#,
        now,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(Into::into).collect())
}

struct Row {
    id: Uuid,
    callback_id: Option<Uuid>,
    provider: String,
    call_id: Option<Uuid>,
    report: Json<Report>,
}

impl From<Row> for StoredReport {
    fn from(row: Row) -> Self {
        Self {
            id: row.id,
            callback_id: row.callback_id,
            provider: row.provider,
            call_id: row.call_id.map(CallId),
            report: row.report.0,
            matched: None,
            outcome: Outcome::Waiting,
            rematch_at: None,
        }
    }
}

/// Notes what became of reports that waited.
pub async fn update(connection: &mut PgConnection, reports: &[StoredReport]) -> Result<(), StoreError> {
    for kept in reports {
        sqlx::query!(
            "update reports set message_id = $2, attempt = $3, outcome = $4, heuristic = $5, rematch_at = $6 where id = $1",
            kept.id,
            kept.matched.map(|found| found.message.0),
            kept.matched.map(|found| small(found.attempt)),
            kept.outcome.as_str(),
            kept.matched.is_some_and(|found| found.heuristic),
            kept.rematch_at,
        )
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}
