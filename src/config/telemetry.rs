//! `[telemetry]`: logs and traces.

use serde::Deserialize;
use url::Url;

use crate::settings::SettingsReader;

/// `[telemetry]`
#[derive(Debug, Clone)]
pub struct Telemetry {
    /// How log lines look.
    pub log_format: LogFormat,
    /// None: no traces.
    pub otlp_endpoint: Option<Url>,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Pretty,
}

impl LogFormat {
    /// As the configuration writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Pretty => "pretty",
        }
    }
}

impl Telemetry {
    pub(super) fn read(reader: &mut SettingsReader) -> Self {
        let formats = [LogFormat::Json, LogFormat::Pretty];
        Self {
            log_format: reader.word_or("log_format", LogFormat::Json, &formats, LogFormat::as_str),
            otlp_endpoint: reader.optional_url("otlp_endpoint"),
        }
    }
}
