//! `[providers.NAME]`: what is common to all providers, and the rest for the driver.

use std::{fmt, time::Duration};

use ipnet::IpNet;
use secrecy::{ExposeSecret, SecretString};

use super::words;
use crate::settings::SettingsReader;

/// The provider that is always there, and the driver that it has.
pub const SANDBOX: &str = "sandbox";

/// `[providers.NAME]`: the keys common to all providers. The rest is the driver's own.
#[derive(Clone)]
pub struct ProviderSection {
    /// Which driver.
    pub driver: String,
    /// The default sender.
    pub from: Option<String>,
    /// Other senders that a message, a step or a binding may name.
    pub senders: Vec<String>,
    /// Countries it may carry to; none: any.
    pub countries: Option<Vec<String>>,
    /// Messages a day (UTC).
    pub daily_limit: Option<u64>,
    /// Warn when the balance falls below it.
    pub balance_alarm: Option<f64>,
    /// Tokens that its callback address may carry; several while rotating.
    pub callback_token: Vec<SecretString>,
    /// From where its callbacks may come; empty: anywhere.
    pub callback_allow: Vec<IpNet>,
    /// Messages a second, over all processes.
    pub rate_per_second: Option<u32>,
    /// Calls at once, of this process.
    pub max_in_flight: usize,
    /// For one call.
    pub timeout: Duration,
    /// How long a report may take to come; none: the driver's own (voice: its poll window), else 76 h.
    pub report_window: Option<Duration>,
    /// The driver's own keys.
    pub settings: toml::Table,
}

impl fmt::Debug for ProviderSection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The settings hold secrets, so only their names are shown.
        f.debug_struct("ProviderSection")
            .field("driver", &self.driver)
            .field("from", &self.from)
            .field("senders", &self.senders)
            .field("countries", &self.countries)
            .field("daily_limit", &self.daily_limit)
            .field("callback_token", &self.callback_token)
            .field("callback_allow", &self.callback_allow)
            .field("rate_per_second", &self.rate_per_second)
            .field("max_in_flight", &self.max_in_flight)
            .field("timeout", &self.timeout)
            .field("report_window", &self.report_window)
            .field("settings", &self.settings.keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

impl ProviderSection {
    /// What `sandbox` is when nobody wrote it down.
    pub(super) fn sandbox() -> Self {
        let mut reader = SettingsReader::new(toml::Table::new());
        Self::read(SANDBOX, &mut reader)
    }

    pub(super) fn read(name: &str, reader: &mut SettingsReader) -> Self {
        let driver =
            if name == SANDBOX { reader.string_or("driver", SANDBOX) } else { reader.required_string("driver") };
        if name == SANDBOX && driver != SANDBOX {
            reader.problem("driver", "must be sandbox: what test keys send goes to this provider and must not leave");
        }
        let senders = reader.list("senders");
        words::no_repeats(reader, "senders", &senders);
        let hours = reader.optional_integer("report_window_hours", 1..=720_u64);
        Self {
            driver,
            from: reader.optional_string("from"),
            senders,
            countries: words::countries(reader, "countries"),
            daily_limit: reader.optional_integer("daily_limit", 1..=1_000_000_000_000),
            balance_alarm: reader.optional_number("balance_alarm"),
            callback_token: callback_tokens(reader),
            callback_allow: words::networks(reader, "callback_allow"),
            rate_per_second: reader.optional_integer("rate_per_second", 1..=1_000_000),
            max_in_flight: reader.integer_or("max_in_flight", 32, 1..=10_000),
            timeout: Duration::from_secs(reader.integer_or("timeout_seconds", 10, 1..=3600)),
            report_window: hours.map(Duration::from_hours),
            settings: reader.take_rest(),
        }
    }

    /// May a message leave through it under this sender? A provider that names no sender at all takes any.
    pub fn knows_sender(&self, sender: &str) -> bool {
        let any = self.from.is_none() && self.senders.is_empty();
        any || self.from.as_deref() == Some(sender) || self.senders.iter().any(|known| known == sender)
    }
}

fn callback_tokens(reader: &mut SettingsReader) -> Vec<SecretString> {
    let tokens = reader.secrets("callback_token");
    let fits_into_a_path = |token: &SecretString| {
        token.expose_secret().bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte))
    };
    if !tokens.iter().all(fits_into_a_path) {
        reader.problem(
            "callback_token",
            "must be made of letters, digits, '-', '.', '_' and '~', as it is part of an address",
        );
    }
    tokens
}
