//! `[opt_out]`: the words by which a recipient opts out and in again.

use crate::settings::SettingsReader;

/// `[opt_out]`
#[derive(Debug, Clone)]
pub struct OptOut {
    /// Words that opt out.
    pub stop: Vec<String>,
    /// Words that opt in again.
    pub start: Vec<String>,
}

impl OptOut {
    pub(super) fn read(reader: &mut SettingsReader) -> Self {
        let mut words = |key, default: &[&str]| {
            reader.optional_list(key).unwrap_or_else(|| default.iter().map(|word| (*word).to_owned()).collect())
        };
        let stop = words("stop", &["STOP", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "TD", "T", "R", "退订"]);
        let start = words("start", &["START", "UNSTOP"]);
        let lower: Vec<String> = stop.iter().map(|word| word.to_lowercase()).collect();
        for (index, word) in start.iter().enumerate() {
            if lower.contains(&word.to_lowercase()) {
                reader.problem(&format!("start[{index}]"), "stands in opt_out.stop too");
            }
        }
        Self { stop, start }
    }
}
