//! What can go wrong, told so that a person can do something about it.

use std::{fmt, io, path::PathBuf, time::Duration};

use serde::Deserialize;
use url::Url;

use crate::config::ConfigErrors;

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The local configuration is to say where the gateway is, and cannot be read.
    #[error("the local configuration says neither where the gateway is nor its key (--url and --key would)")]
    Configuration(#[source] ConfigErrors),
    /// There is no key to use.
    #[error("no API key: --key or SMS_GATEWAY_KEY gives one; {} has none for `demo`", .0.display())]
    NoKey(PathBuf),
    /// Nobody listens there.
    #[error(
        "nobody answers at {url}: start a gateway there (`sms-gateway serve`), or name another one with --url or SMS_GATEWAY_URL"
    )]
    Unreachable {
        /// Where.
        url: Url,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// The connection was lost before the answer was read.
    #[error("the gateway's answer was lost")]
    Lost(#[source] reqwest::Error),
    /// The gateway refused it.
    #[error("{0}")]
    Refused(Problem),
    /// An answer that no gateway gives.
    #[error("{url} answered {status}, and not as a gateway does: is it one?")]
    Foreign {
        /// What was asked.
        url: Url,
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
            Self::Configuration(_) | Self::NoKey(_) | Self::Foreign { .. } | Self::Output(_) => false,
        }
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
        write!(f, "{} ({}, {})", self.title.trim_end_matches('.'), self.status, self.code)?;
        if let Some(detail) = &self.detail {
            write!(f, "\n  {detail}")?;
        }
        for single in &self.errors {
            let place = single.pointer.as_deref().or(single.parameter.as_deref()).unwrap_or("request");
            write!(f, "\n  {place}: {} ({})", single.detail, single.code)?;
        }
        if let Some(wait) = self.retry_after {
            write!(f, "\n  try again in {} s", wait.as_secs())?;
        }
        self.request_id.iter().try_for_each(|id| write!(f, "\n  request {id}"))
    }
}
