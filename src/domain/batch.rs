//! A batch: messages that were accepted together, what can be said about all of them, and how that is shown, to whoever asks and
//! in the event that tells of its end.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Timestamp, ids::BatchId, status::MessageStatus};

/// What never changes about a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewBatch {
    /// Its id; also when it was accepted.
    pub id: BatchId,
    /// Whose it is.
    pub app: String,
    /// Accepted with a test key: nothing of it ever leaves.
    pub test: bool,
    /// The app's own id for it.
    pub client_reference: Option<String>,
    /// The app's own data.
    pub metadata: BTreeMap<String, String>,
    /// Where its event goes instead of the app's webhook.
    pub callback_url: Option<String>,
    /// Not before.
    pub send_at: Option<Timestamp>,
    /// How many messages it has.
    pub total: u16,
    /// When it was accepted.
    pub created_at: Timestamp,
}

/// A batch as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchRecord {
    /// What never changes.
    pub batch: NewBatch,
    /// How many of its messages have which status; a status that none has may be missing.
    pub counts: BTreeMap<MessageStatus, u64>,
    /// How many of its messages are not final.
    pub open: u64,
    /// When none was open any more.
    pub completed_at: Option<Timestamp>,
}

/// Where a batch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BatchStatus {
    /// All of it that is not final waits for its time.
    Scheduled,
    /// Some of its messages are not final.
    Processing,
    /// Every message is final.
    Completed,
    /// Every message was canceled.
    Canceled,
}

impl NewBatch {
    /// The batch as it is at the moment of its acceptance, when so many of its messages cannot be sent.
    pub fn accepted(self, failed: u16) -> BatchRecord {
        let open = u64::from(self.total.saturating_sub(failed));
        let ahead = self.send_at.is_some_and(|at| at > self.created_at);
        let waiting = if ahead { MessageStatus::Scheduled } else { MessageStatus::Queued };
        let counts = BTreeMap::from([(waiting, open), (MessageStatus::Failed, failed.into())]);
        let completed_at = (open == 0).then_some(self.created_at);
        BatchRecord { batch: self, counts, open, completed_at }
    }
}

impl BatchRecord {
    /// How many of its messages have a status.
    pub fn count(&self, status: MessageStatus) -> u64 {
        self.counts.get(&status).copied().unwrap_or(0)
    }

    /// Where it is.
    pub fn status(&self) -> BatchStatus {
        if self.open > 0 {
            let all_wait = self.count(MessageStatus::Scheduled) == self.open;
            return if all_wait { BatchStatus::Scheduled } else { BatchStatus::Processing };
        }
        let all_canceled = self.count(MessageStatus::Canceled) == u64::from(self.batch.total);
        if all_canceled { BatchStatus::Canceled } else { BatchStatus::Completed }
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    fn record(open: u64, counts: &[(MessageStatus, u64)]) -> BatchRecord {
        let total = u16::try_from(counts.iter().map(|(_, count)| count).sum::<u64>()).unwrap();
        let batch = NewBatch {
            id: BatchId(uuid::Uuid::nil()),
            app: "shop".into(),
            test: false,
            client_reference: None,
            metadata: BTreeMap::new(),
            callback_url: None,
            send_at: None,
            total,
            created_at: Timestamp::default(),
        };
        BatchRecord { batch, counts: counts.iter().copied().collect(), open, completed_at: None }
    }

    #[test]
    fn the_status_follows_from_the_counts() {
        use MessageStatus::{Canceled, Delivered, Failed, Queued, Scheduled, Unknown};
        for (open, counts, expected) in [
            (3, vec![(Scheduled, 3)], BatchStatus::Scheduled),
            (2, vec![(Scheduled, 2), (Failed, 1), (Canceled, 1)], BatchStatus::Scheduled),
            (3, vec![(Scheduled, 2), (Queued, 1)], BatchStatus::Processing),
            (1, vec![(Unknown, 1), (Delivered, 2)], BatchStatus::Processing),
            (0, vec![(Unknown, 1), (Delivered, 2)], BatchStatus::Completed),
            (0, vec![(Canceled, 2), (Failed, 1)], BatchStatus::Completed),
            (0, vec![(Canceled, 2)], BatchStatus::Canceled),
        ] {
            assert_eq!(record(open, &counts).status(), expected, "{counts:?}");
        }
    }

    #[test]
    fn a_batch_of_which_nothing_can_be_sent_is_completed_at_once() {
        let batch = record(0, &[(MessageStatus::Failed, 2)]).batch;
        let (none, one) = (batch.clone().accepted(2), batch.accepted(1));
        assert_eq!((none.status(), none.completed_at.is_some()), (BatchStatus::Completed, true));
        assert_eq!((one.status(), one.completed_at), (BatchStatus::Processing, None));
    }
}
