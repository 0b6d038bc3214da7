//! Messages that arrived on our numbers, as the API shows them.

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::messages::answer::Money;
use crate::domain::{content::Channel, ids::InboundMessageId};

/// A message that arrived on one of our numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct InboundMessage {
    /// Its id.
    #[schema(value_type = String, pattern = "^inb_[0-7][0-9a-hjkmnp-tv-z]{25}$")]
    pub id: InboundMessageId,
    /// The app that owns `to`; null when none does.
    #[schema(required = true)]
    pub app: Option<String>,
    /// On which channel.
    pub channel: Channel,
    /// Who sent it.
    pub from: String,
    /// Our number.
    pub to: String,
    /// What it says.
    pub text: String,
    /// Into how many segments it was split.
    pub segments: Option<u16>,
    /// Over which provider it came.
    pub provider: String,
    /// The provider's id of it.
    pub provider_message_id: String,
    /// What the provider charged.
    pub price: Option<Money>,
    /// By the provider's clock.
    pub received_at: DateTime<Utc>,
    /// When it reached the gateway.
    pub created_at: DateTime<Utc>,
}
