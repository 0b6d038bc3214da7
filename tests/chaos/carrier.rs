//! The providers that a run goes over, and how badly their carriers behave.

use std::time::Duration;

use serde_json::{Value, json};
use sms_gateway::simulator::{FaultRates, Keep, Protocol, Settings, SimulatorOptions};

use crate::crash::{HUAWEI, NX};

/// Calls that read a code out; asked about, since they have no reports.
const VOICE: &str = r#"
[providers.call]
driver = "onsms_voice"
base_url = "SIMULATOR"
username = "simulator"
password = "simulator-pass"
key = "simulator-key"
from = "DAUSO1"
timeout_seconds = 1
poll_seconds = 1
poll_window_minutes = 1
"#;

/// One provider and its carrier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carrier {
    /// One message in each call, and reports that only know the carrier's id.
    Nxcloud,
    /// Many messages in each call, and reports that name the call.
    Huawei,
    /// No reports: it is asked.
    Voice,
}

impl Carrier {
    pub const ALL: [Self; 3] = [Self::Nxcloud, Self::Huawei, Self::Voice];

    pub fn name(self) -> &'static str {
        match self {
            Self::Nxcloud => "nxcloud",
            Self::Huawei => "huawei",
            Self::Voice => "voice",
        }
    }

    pub fn protocol(self) -> Protocol {
        match self {
            Self::Nxcloud => Protocol::Nxcloud,
            Self::Huawei => Protocol::Huawei,
            Self::Voice => Protocol::Voice,
        }
    }

    /// The provider and the only route.
    pub fn config(self) -> String {
        let (section, provider) = match self {
            Self::Nxcloud => (NX, "nx"),
            Self::Huawei => (HUAWEI, "hw"),
            Self::Voice => (VOICE, "call"),
        };
        format!("{section}[routes.all]\nsteps = [{{ provider = \"{provider}\" }}]\n")
    }

    /// The request for message number so-and-so. No two messages share a recipient, so that the carrier's list tells them apart.
    pub fn request(self, number: u32) -> Value {
        match self {
            Self::Nxcloud => json!({ "to": format!("+8618{number:09}"), "text": format!("text {number}") }),
            Self::Huawei => json!({
                "to": format!("+8618{number:09}"),
                "template": { "name": "parcel", "params": { "place": format!("gate {number}") } },
            }),
            Self::Voice => json!({
                "to": format!("+8436{number:07}"),
                "text": format!("{:06}", number % 1_000_000),
                "channel": "voice",
            }),
        }
    }

    /// The number of the message that was accepted for a recipient; none if we sent none such.
    pub fn number(self, recipient: &str) -> Option<u32> {
        let prefix = match self {
            Self::Nxcloud => "8618",
            Self::Huawei => "+8618",
            Self::Voice => "036",
        };
        recipient.strip_prefix(prefix)?.parse().ok()
    }
}

/// Carriers that spoil about one call in ten; more than a third of the reports come early, doubled, shuffled or never.
pub fn simulator(seed: u64) -> SimulatorOptions {
    let mut options = SimulatorOptions {
        keep: Keep::Last(2_000_000),
        seed,
        settings: Settings {
            special_numbers: false,
            answer_delay_ms: 8,
            report_delay_ms: 30,
            // A carrier that repeats what was not taken, so that what is missing at the end was taken and lost.
            push_tries: 1_000,
            push_retry_ms: 200,
            voice_pending_polls: 1,
            faults: faults(),
            ..Settings::default()
        },
        ..SimulatorOptions::default()
    };
    // A second call shall be seen and not be refused as repeated content.
    options.voice.repeat_window = Duration::ZERO;
    options
}

fn faults() -> FaultRates {
    FaultRates {
        closed_before: 0.012,
        answer_lost: 0.015,
        answer_truncated: 0.005,
        answer_garbled: 0.005,
        answer_slow: 0.02,
        answer_never: 0.004,
        refused: 0.015,
        // Each holds the whole provider for a second: more of them would measure nothing but waiting.
        throttled: 0.0005,
        busy: 0.015,
        error_not_taken: 0.005,
        error_taken: 0.005,
        report_early: 0.1,
        report_doubled: 0.15,
        report_shuffled: 0.1,
        report_negative: 0.1,
        report_lost: 0.02,
    }
}
