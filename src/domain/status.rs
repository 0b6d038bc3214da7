//! The statuses of a message and of an attempt.
//!
//! How a message's status follows from its attempts stands in [`super::life`]; here are the words, which of them are ends,
//! and which changes are allowed at all.

use serde::{Deserialize, Serialize};

use super::content::text_enum;

/// Where a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MessageStatus {
    /// Waits for `send_at`.
    Scheduled,
    /// Waits for a provider: first try, retry or failover.
    Queued,
    /// Is being handed to a provider.
    Sending,
    /// Was taken by a provider; no final report yet.
    Sent,
    /// Reached the phone; for voice, the call was answered. Final.
    Delivered,
    /// Was taken by a provider, then reported as not delivered. Final.
    Undelivered,
    /// Was taken by no provider. Final.
    Failed,
    /// Ran out of validity, in the gateway or in the network. Final.
    Expired,
    /// Cannot be said. Final only when no evidence can come any more.
    Unknown,
    /// Was canceled before any provider had it. Final.
    Canceled,
}

text_enum!(MessageStatus {
    Scheduled = "scheduled",
    Queued = "queued",
    Sending = "sending",
    Sent = "sent",
    Delivered = "delivered",
    Undelivered = "undelivered",
    Failed = "failed",
    Expired = "expired",
    Unknown = "unknown",
    Canceled = "canceled",
});

/// Where one hand-over to one provider is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AttemptStatus {
    /// The call is being made, or was interrupted.
    Sending,
    /// The provider took it; no final report yet.
    Sent,
    /// Reported as delivered.
    Delivered,
    /// Reported as not delivered.
    Undelivered,
    /// Certainly not taken.
    Failed,
    /// Reported as expired in the network.
    Expired,
    /// It may have been taken; or it was, and its delivery was never confirmed.
    Unknown,
}

text_enum!(AttemptStatus {
    Sending = "sending",
    Sent = "sent",
    Delivered = "delivered",
    Undelivered = "undelivered",
    Failed = "failed",
    Expired = "expired",
    Unknown = "unknown",
});
