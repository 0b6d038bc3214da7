//! What the timeline of a message is made of, besides the message and its attempts: decisions and reports.

use sqlx::{PgConnection, types::Json};
use uuid::Uuid;

use super::{StoreError, unsmall, word};
use crate::domain::{
    ids::{MessageId, first_uuid_at},
    life::DecisionKind,
    report::Report,
};

/// A decision as it was kept; its id says when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptDecision {
    /// Its id.
    pub id: Uuid,
    /// The timeline's word for it.
    pub kind: DecisionKind,
    /// The attempt that led to it.
    pub attempt: Option<u16>,
    /// The provider that it is about.
    pub provider: Option<String>,
    /// The provider's code, verbatim.
    pub provider_code: Option<String>,
    /// A sentence for people.
    pub detail: String,
}

/// A report as it was kept; its id says when it came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptReport {
    /// Its id.
    pub id: Uuid,
    /// Whose it is.
    pub provider: String,
    /// The attempt that it is about.
    pub attempt: Option<u16>,
    /// It changed something.
    pub applied: bool,
    /// Matched by sender and recipient only.
    pub heuristic: bool,
    /// What it says.
    pub report: Report,
    /// The push that brought it, and its body, sealed.
    pub raw: Option<(Uuid, Vec<u8>)>,
}

/// The decisions about a message, oldest first.
pub async fn decisions(connection: &mut PgConnection, message: MessageId) -> Result<Vec<KeptDecision>, StoreError> {
    let rows = sqlx::query!(
        "select id, kind, attempt, provider, provider_code, detail from decisions where message_id = $1 and id >= $2 order by id",
        message.0,
        first_uuid_at(message.time()),
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(KeptDecision {
                id: row.id,
                kind: word("decisions", "kind", &row.kind)?,
                attempt: row.attempt.map(unsmall),
                provider: row.provider,
                provider_code: row.provider_code,
                detail: row.detail,
            })
        })
        .collect()
}

/// The reports about a message, oldest first.
pub async fn reports(connection: &mut PgConnection, message: MessageId) -> Result<Vec<KeptReport>, StoreError> {
    let rows = sqlx::query!(
        r#"select r.id, r.provider, r.attempt, r.outcome = 'applied' as "applied!", r.heuristic,
                  r.report as "report: Json<Report>", r.callback_id, c.body as "body?"
           from reports r left join callbacks c on c.id = r.callback_id
           where r.message_id = $1 and r.id >= $2 order by r.id"#,
        message.0,
        first_uuid_at(message.time() - chrono::TimeDelta::minutes(1)),
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| KeptReport {
            id: row.id,
            provider: row.provider,
            attempt: row.attempt.map(unsmall),
            applied: row.applied,
            heuristic: row.heuristic,
            report: row.report.0,
            raw: row.callback_id.zip(row.body),
        })
        .collect())
}
