//! `[limits]`: what holds over all apps.

use std::{fmt, str::FromStr, time::Duration};

use serde::Deserialize;

use crate::settings::SettingsReader;

/// `[limits]`
#[derive(Debug, Clone)]
pub struct Limits {
    /// One-time codes to one number, over all apps.
    pub otp_per_number: RateRule,
    /// Watch prefixes against their own past?
    pub prefix_velocity: PrefixVelocity,
    /// Segments of one message.
    pub max_segments: u16,
}

/// So many in so long, written `5/10m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateRule {
    /// How many.
    pub count: u32,
    /// In how long.
    pub per: Duration,
}

/// What to do when a prefix suddenly gets many messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PrefixVelocity {
    /// Nothing.
    Off,
    /// Say so.
    Monitor,
    /// Refuse.
    Block,
}

/// A text that is no rate rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a count and a time, such as 5/10m")]
pub struct InvalidRateRule;

const UNITS: [(char, u64); 4] = [('d', 86_400), ('h', 3600), ('m', 60), ('s', 1)];

impl FromStr for RateRule {
    type Err = InvalidRateRule;

    fn from_str(text: &str) -> Result<Self, InvalidRateRule> {
        let (count, time) = text.split_once('/').ok_or(InvalidRateRule)?;
        let (_, seconds) = UNITS.iter().find(|(unit, _)| time.ends_with(*unit)).ok_or(InvalidRateRule)?;
        let units = digits(&time[..time.len() - 1]).ok_or(InvalidRateRule)?;
        let per = Duration::from_secs(u64::from(units) * seconds);
        Ok(Self { count: digits(count).ok_or(InvalidRateRule)?, per })
    }
}

/// A number above zero without a sign.
fn digits(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten().filter(|number| *number > 0)
}

impl fmt::Display for RateRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.per.as_secs();
        let (unit, length) = UNITS.into_iter().find(|(_, length)| seconds.is_multiple_of(*length)).unwrap_or(('s', 1));
        write!(f, "{}/{}{unit}", self.count, seconds / length)
    }
}

impl PrefixVelocity {
    /// As the configuration writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Monitor => "monitor",
            Self::Block => "block",
        }
    }
}

impl Limits {
    pub(super) fn read(reader: &mut SettingsReader) -> Self {
        let words = [PrefixVelocity::Monitor, PrefixVelocity::Off, PrefixVelocity::Block];
        let five_in_ten_minutes = RateRule { count: 5, per: Duration::from_mins(10) };
        Self {
            otp_per_number: reader
                .optional_parsed("otp_per_number", "a count and a time in s, m, h or d, such as 5/10m")
                .unwrap_or(five_in_ten_minutes),
            prefix_velocity: reader.word_or("prefix_velocity", words[0], &words, PrefixVelocity::as_str),
            max_segments: reader.integer_or("max_segments", 10, 1..=255),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_rule_reads_back_from_its_text() {
        for (text, count, seconds) in
            [("5/10m", 5, 600), ("1/1s", 1, 1), ("100/1d", 100, 86_400), ("3/36h", 3, 129_600)]
        {
            let rule: RateRule = text.parse().unwrap();
            assert_eq!(rule, RateRule { count, per: Duration::from_secs(seconds) });
            assert_eq!(rule.to_string(), text);
        }
    }

    #[test]
    fn what_is_no_rate_rule_is_refused() {
        for text in
            ["", "5", "5/", "/10m", "5/m", "5/10", "0/10m", "5/0m", "-5/10m", "+5/10m", "5/10m/1h", "5/10é", "x/10m"]
        {
            assert_eq!(text.parse::<RateRule>(), Err(InvalidRateRule), "{text}");
        }
    }
}
