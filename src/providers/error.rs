//! Why a whole call to a provider did not go well, in kinds that the engine decides by.

use std::time::Duration;

use super::codes::{Entry, Stage, shared};
use crate::domain::{
    error_code::ErrorCode,
    report::is_code,
    verdict::{FailoverAllowed, NeutralStatus, Scope, Verdict},
};

type Source = Box<dyn std::error::Error + Send + Sync>;

const NOTHING_SENT: Verdict = Verdict {
    status: NeutralStatus::Failed,
    error: None,
    category: None,
    retryable: false,
    failover: FailoverAllowed::No,
    retry_here: false,
    resend_allowed: true,
    scope: Scope::None,
};

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
#[error("{kind:?}{}", provider_code.as_deref().map(shown).unwrap_or_default())]
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
    pub source: Option<Source>,
}

/// A code as it may stand in a log: a carrier may say back what it was told where its code should stand.
pub(super) fn shown(code: &str) -> String {
    if is_code(code) { format!(" ({code})") } else { " (what stands for its code is none)".to_owned() }
}

impl ProviderError {
    /// Nothing was written: the name, the connection or TLS failed.
    pub fn not_connected(source: impl Into<Source>) -> Self {
        Self::shared(ProviderErrorKind::NotConnected, "connect_error").with_source(source)
    }

    /// The request was written and no whole answer came back.
    pub fn outcome_unknown(source: impl Into<Source>) -> Self {
        Self::shared(ProviderErrorKind::OutcomeUnknown, "timeout_or_reset_after_write").with_source(source)
    }

    /// An answer of success that cannot be read: it may have been taken.
    pub fn unreadable(source: impl Into<Source>) -> Self {
        Self::shared(ProviderErrorKind::OutcomeUnknown, "unparseable_2xx").with_source(source)
    }

    /// A clear answer about the whole call, by its row of a code table. A row that leaves the outcome open makes an unknown one.
    pub fn refused(entry: Entry<'_>, provider_code: impl Into<String>) -> Self {
        let kind = match entry.verdict.status {
            NeutralStatus::Unknown => ProviderErrorKind::OutcomeUnknown,
            NeutralStatus::Sent
            | NeutralStatus::Delivered
            | NeutralStatus::Undelivered
            | NeutralStatus::Failed
            | NeutralStatus::Expired => ProviderErrorKind::Refused,
        };
        Self {
            kind,
            verdict: entry.verdict,
            provider_code: Some(provider_code.into()),
            retry_after: None,
            source: None,
        }
    }

    /// The driver cannot write this message at all; nothing was sent. Routing leaves such steps out, so this is the last guard.
    pub fn content_unsupported() -> Self {
        let error = ErrorCode::ContentUnsupported;
        let verdict = Verdict {
            error: Some(error),
            category: Some(error.category()),
            failover: FailoverAllowed::Yes,
            scope: Scope::Message,
            ..NOTHING_SENT
        };
        Self { kind: ProviderErrorKind::Refused, verdict, provider_code: None, retry_after: None, source: None }
    }

    /// The driver panicked: before anything was `written` it is a fault of ours alone, after that the outcome is unknown.
    pub fn panicked(written: bool) -> Self {
        let (error, panicked) = (ErrorCode::InternalError, "the driver panicked");
        if written {
            return Self::outcome_unknown(panicked);
        }
        let verdict = Verdict {
            error: Some(error),
            category: Some(error.category()),
            retryable: true,
            retry_here: true,
            scope: Scope::Message,
            ..NOTHING_SENT
        };
        let kind = ProviderErrorKind::Refused;
        Self { kind, verdict, provider_code: None, retry_after: None, source: Some(panicked.into()) }
    }

    /// The driver has no such call.
    pub fn unsupported() -> Self {
        Self {
            kind: ProviderErrorKind::Unsupported,
            verdict: NOTHING_SENT,
            provider_code: None,
            retry_after: None,
            source: None,
        }
    }

    /// The same, not to be tried again before so long.
    #[must_use]
    pub fn with_retry_after(mut self, retry_after: Option<Duration>) -> Self {
        self.retry_after = retry_after;
        self
    }

    /// The same, with what lies beneath.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Source>) -> Self {
        self.source = Some(source.into());
        self
    }

    fn shared(kind: ProviderErrorKind, code: &str) -> Self {
        let verdict = shared(Stage::SendResponse, code).verdict;
        Self { kind, verdict, provider_code: Some(code.to_owned()), retry_after: None, source: None }
    }
}
