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

impl MessageStatus {
    /// Nothing follows. `unknown` is not among these: late evidence may still settle it.
    pub const fn is_end(self) -> bool {
        match self {
            Self::Delivered | Self::Undelivered | Self::Failed | Self::Expired | Self::Canceled => true,
            Self::Scheduled | Self::Queued | Self::Sending | Self::Sent | Self::Unknown => false,
        }
    }

    /// May this status be followed by that one, in one step?
    pub const fn may_become(self, next: Self) -> bool {
        match self {
            Self::Scheduled => matches!(next, Self::Queued | Self::Canceled),
            // What is not about the hand-over that waits is about earlier ones, once nothing waits any more: open, unclear, lost,
            // or delivered after all.
            Self::Queued => match next {
                Self::Sending | Self::Canceled | Self::Expired | Self::Failed => true,
                Self::Sent | Self::Unknown | Self::Undelivered | Self::Delivered => true,
                Self::Scheduled | Self::Queued => false,
            },
            // Ends other than `failed`: a report overtook the answer, or the call was refused and an earlier attempt decides.
            Self::Sending => match next {
                Self::Sent | Self::Queued | Self::Failed | Self::Unknown => true,
                Self::Delivered | Self::Undelivered | Self::Expired => true,
                Self::Scheduled | Self::Sending | Self::Canceled => false,
            },
            Self::Sent => {
                matches!(next, Self::Delivered | Self::Undelivered | Self::Expired | Self::Unknown | Self::Queued)
            }
            // `failed` is an operator's word only.
            Self::Unknown => {
                matches!(next, Self::Delivered | Self::Undelivered | Self::Expired | Self::Queued | Self::Failed)
            }
            Self::Delivered | Self::Undelivered | Self::Failed | Self::Expired | Self::Canceled => false,
        }
    }
}

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

#[cfg(test)]
mod tests {
    use super::{MessageStatus, MessageStatus::*};

    /// Every change that is allowed; all others are not.
    const ALLOWED: [(MessageStatus, &[MessageStatus]); 10] = [
        (Scheduled, &[Queued, Canceled]),
        (Queued, &[Sending, Canceled, Expired, Failed, Sent, Unknown, Undelivered, Delivered]),
        (Sending, &[Sent, Queued, Failed, Unknown, Delivered, Undelivered, Expired]),
        (Sent, &[Delivered, Undelivered, Expired, Unknown, Queued]),
        (Unknown, &[Delivered, Undelivered, Expired, Failed, Queued]),
        (Delivered, &[]),
        (Undelivered, &[]),
        (Failed, &[]),
        (Expired, &[]),
        (Canceled, &[]),
    ];

    #[test]
    fn every_pair_of_statuses_is_allowed_or_not_as_the_table_says() {
        for (from, allowed) in ALLOWED {
            for next in MessageStatus::ALL {
                assert_eq!(from.may_become(*next), allowed.contains(next), "{from} to {next}");
            }
        }
    }

    #[test]
    fn an_end_is_what_nothing_follows() {
        for (status, allowed) in ALLOWED {
            assert_eq!(status.is_end(), allowed.is_empty(), "{status}");
        }
    }
}
