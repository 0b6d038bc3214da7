//! `[dispatch]`: the engine.

use std::time::Duration;

use crate::settings::SettingsReader;

/// `[dispatch]`
#[derive(Debug, Clone)]
pub struct Dispatch {
    /// How long a claim holds.
    pub lease: Duration,
    /// Tries per step, of answers marked `retry_here`.
    pub max_attempts: u32,
    /// Accept, but send nothing until an operator releases.
    pub hold_on_start: bool,
}

impl Dispatch {
    pub(super) fn read(reader: &mut SettingsReader) -> Self {
        Self {
            lease: Duration::from_secs(reader.integer_or("lease_seconds", 30, 1..=3600)),
            max_attempts: reader.integer_or("max_attempts", 4, 1..=100),
            hold_on_start: reader.boolean_or("hold_on_start", false),
        }
    }
}
