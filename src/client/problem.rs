//! What can go wrong, told so that a person can do something about it.

use std::{fmt, io, path::PathBuf, time::Duration};

use serde::Deserialize;

use super::show::harmless;
use crate::config::ConfigErrors;

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The local configuration is to say where the gateway is, and cannot be read.
    #[error("the local configuration says neither where the gateway is nor its key (--url and --key would)")]
    Configuration(#[source] ConfigErrors),
    /// Where the local gateway listens is no address to call.
    #[error("the address at which the local gateway listens cannot be called")]
    Address(#[source] url::ParseError),
    /// There is no key to use.
    #[error("no API key: --key or SMS_GATEWAY_KEY gives one; {} has none for `demo`", .0.display())]
    NoKey(PathBuf),
    /// The local key is not for a gateway elsewhere.
    #[error("no API key: --key or SMS_GATEWAY_KEY gives one; the local one is for a gateway on this machine only")]
    KeyForElsewhere,
    /// Nobody listens there.
    #[error(
        "nobody answers at {url}: start a gateway there (`sms-gateway serve`), or name another one with --url or SMS_GATEWAY_URL"
    )]
    Unreachable {
        /// Where.
        url: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// The connection was lost before the answer was read.
    #[error("the gateway's answer was lost")]
    Lost(#[source] reqwest::Error),
    /// The gateway refused it.
    #[error("{0}")]
    Refused(Box<Problem>),
    /// An answer that no gateway gives.
    #[error("{url} answered {status}, and not as a gateway does: is it one?")]
    Foreign {
        /// What was asked.
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// What is to be shown cannot be written.
    #[error("cannot write")]
    Output(#[source] io::Error),
}

impl ClientError {
    /// May the same call go well in a moment, and be made again without harm?
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Lost(_) => true,
            Self::Refused(problem) => problem.status == 503 || problem.code == "idempotency_key_in_progress",
            Self::Configuration(_)
            | Self::Address(_)
            | Self::NoKey(_)
            | Self::KeyForElsewhere
            | Self::Foreign { .. }
            | Self::Output(_) => false,
        }
    }

    pub(super) fn is_unreachable(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }

    /// When the gateway wants to be asked again.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        if let Self::Refused(problem) = self { problem.retry_after } else { None }
    }

    /// Whoever read what was shown has gone, as `head` does: that is no failure.
    pub fn is_end_of_reader(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

/// An error answer of the API.
#[derive(Debug, Clone, Deserialize)]
pub struct Problem {
    title: String,
    status: u16,
    code: String,
    detail: Option<String>,
    request_id: Option<String>,
    #[serde(default)]
    errors: Vec<Single>,
    /// When to come back, from the header.
    #[serde(skip)]
    pub(super) retry_after: Option<Duration>,
}

#[derive(Debug, Clone, Deserialize)]
struct Single {
    pointer: Option<String>,
    parameter: Option<String>,
    code: String,
    detail: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let title = harmless(self.title.trim_end_matches('.'));
        write!(f, "{title} ({}, {})", self.status, harmless(&self.code))?;
        // A single error says the same.
        if let Some(detail) = self.detail.as_ref().filter(|_| self.errors.len() != 1) {
            write!(f, "\n  {}", harmless(detail))?;
        }
        for single in &self.errors {
            let place = single.pointer.as_deref().or(single.parameter.as_deref()).unwrap_or("request");
            let (place, detail, code) = (harmless(place), harmless(&single.detail), harmless(&single.code));
            write!(f, "\n  {place}: {detail} ({code})")?;
        }
        if let Some(wait) = self.retry_after {
            write!(f, "\n  try again in {} s", wait.as_secs())?;
        }
        self.request_id.iter().try_for_each(|id| write!(f, "\n  request {}", harmless(id)))
    }
}
