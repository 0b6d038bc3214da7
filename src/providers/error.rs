//! Why a whole call to a provider did not go well, in kinds that the engine decides by.

use std::time::Duration;

use crate::domain::verdict::Verdict;

/// What kind of failure; each has one row of its own in the code tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProviderErrorKind {
    /// Not connected at all (name, connect, TLS): certainly nothing was sent, and it is not counted as a try.
    NotConnected,
    /// A clear answer that refuses the call.
    Refused,
    /// No clear answer after the request was written: it may have been taken.
    OutcomeUnknown,
    /// The driver has no such call.
    Unsupported,
}

/// A failure of a whole call.
#[derive(Debug, thiserror::Error)]
#[error("{kind:?}{}", provider_code.as_ref().map(|code| format!(" ({code})")).unwrap_or_default())]
pub struct ProviderError {
    /// What kind.
    pub kind: ProviderErrorKind,
    /// What it means for each attempt of the call.
    pub verdict: Verdict,
    /// The provider's code or the HTTP status (`http_503`), verbatim.
    pub provider_code: Option<String>,
    /// Not again before so long, where the provider or its documents say so.
    pub retry_after: Option<Duration>,
    /// What lies beneath, for the log. Never holds a body, a number or a secret.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl ProviderError {
    /// The driver has no such call.
    pub fn unsupported() -> Self {
        use crate::domain::verdict::{FailoverAllowed, NeutralStatus, Scope};
        Self {
            kind: ProviderErrorKind::Unsupported,
            verdict: Verdict {
                status: NeutralStatus::Failed,
                error: None,
                category: None,
                retryable: false,
                failover: FailoverAllowed::No,
                retry_here: false,
                scope: Scope::None,
            },
            provider_code: None,
            retry_after: None,
            source: None,
        }
    }
}
