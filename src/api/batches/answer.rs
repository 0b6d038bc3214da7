//! A batch as the API shows it.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::{
    batch::{BatchRecord, BatchStatus},
    ids::BatchId,
    status::MessageStatus,
};

/// Messages that were accepted together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Batch {
    /// Its id.
    #[schema(value_type = String, pattern = "^bat_[0-7][0-9a-hjkmnp-tv-z]{25}$", examples("bat_01h455vb4pex5vsknk084sn02q"))]
    pub id: BatchId,
    /// Whose it is.
    pub app: String,
    /// `completed` when every message is final, `canceled` when every message was canceled; `scheduled` while all that is not
    /// final waits for `send_at`.
    pub status: BatchStatus,
    /// How many of its messages have which status.
    pub counts: StatusCounts,
    /// The app's own id for it.
    #[schema(required = true)]
    pub client_reference: Option<String>,
    /// The app's own data.
    pub metadata: BTreeMap<String, String>,
    /// Was sent with a test key.
    pub test: bool,
    /// Not before this time.
    pub send_at: Option<DateTime<Utc>>,
    /// When it was accepted.
    pub created_at: DateTime<Utc>,
    /// When its last message became final.
    pub completed_at: Option<DateTime<Utc>>,
}

/// Messages by status. An `unknown` one may or may not be final.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[expect(missing_docs, reason = "each is the number of messages of that status")]
pub struct StatusCounts {
    /// All of them.
    pub total: u64,
    pub scheduled: u64,
    pub queued: u64,
    pub sending: u64,
    pub sent: u64,
    pub delivered: u64,
    pub undelivered: u64,
    pub failed: u64,
    pub expired: u64,
    pub unknown: u64,
    pub canceled: u64,
}

impl From<BatchRecord> for Batch {
    fn from(record: BatchRecord) -> Self {
        let (status, counts) = (record.status(), StatusCounts::of(&record));
        let batch = record.batch;
        Self {
            id: batch.id,
            app: batch.app,
            status,
            counts,
            client_reference: batch.client_reference,
            metadata: batch.metadata,
            test: batch.test,
            send_at: batch.send_at,
            created_at: batch.created_at,
            completed_at: record.completed_at,
        }
    }
}

impl StatusCounts {
    fn of(record: &BatchRecord) -> Self {
        Self {
            total: record.batch.total.into(),
            scheduled: record.count(MessageStatus::Scheduled),
            queued: record.count(MessageStatus::Queued),
            sending: record.count(MessageStatus::Sending),
            sent: record.count(MessageStatus::Sent),
            delivered: record.count(MessageStatus::Delivered),
            undelivered: record.count(MessageStatus::Undelivered),
            failed: record.count(MessageStatus::Failed),
            expired: record.count(MessageStatus::Expired),
            unknown: record.count(MessageStatus::Unknown),
            canceled: record.count(MessageStatus::Canceled),
        }
    }
}
