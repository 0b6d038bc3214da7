//! What is decided about a message when it is accepted: the steps, and when to go on.

use serde::{Deserialize, Serialize};

use crate::domain::content::{Channel, text_enum};

/// When a route goes on to its next step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Failover {
    /// Never.
    Never,
    /// When a provider certainly did not take the message.
    #[default]
    OnRejection,
    /// Also when a report says that it was not delivered, within the validity period.
    OnUndelivered,
}

/// What to do after an unclear outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnUnknown {
    /// Hold the message until evidence or an operator settles it.
    #[default]
    Hold,
    /// After 15 s without evidence, hand it over once more.
    Resend,
}

text_enum!(Failover { Never = "never", OnRejection = "on_rejection", OnUndelivered = "on_undelivered" });
text_enum!(OnUnknown { Hold = "hold", Resend = "resend" });

/// What was decided about a message when it was accepted, and holds for all of its life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The route that matched; none when the request named a provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// The providers in order; those that cannot carry the content are already left out. Never empty.
    pub steps: Vec<Step>,
    /// When to go on to the next step.
    #[serde(default)]
    pub failover: Failover,
    /// What to do after an unclear outcome.
    #[serde(default)]
    pub on_unknown: OnUnknown,
}

/// One step of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Which provider.
    pub provider: String,
    /// The channel it sends on.
    pub channel: Channel,
    /// The sender that the request or the route's step names; none: the binding's, else the provider's at the time of the call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Go on to this step if the one before has no final report by then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_seconds: Option<u32>,
}
