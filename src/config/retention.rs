//! `[retention]`: how long history is kept.

use crate::settings::SettingsReader;

/// `[retention]`
#[derive(Debug, Clone)]
pub struct Retention {
    /// Days that messages are kept; at least 35.
    pub messages_days: u32,
}

impl Retention {
    pub(super) fn read(reader: &mut SettingsReader) -> Self {
        // An attempt may be 30 days younger than its message, and its reports must still find it.
        Self { messages_days: reader.integer_or("messages_days", 90, 35..=36_500) }
    }
}
