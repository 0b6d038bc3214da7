//! What a provider can do, as data: what routing decides by and what the API shows.

use std::time::Duration;

use super::content::Channel;

/// What a provider can do, as data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capabilities {
    /// The channel it sends on.
    pub channel: Channel,
    /// What content it takes.
    pub content: ContentRule,
    /// The longest text in characters, where it has a limit.
    pub max_text_characters: Option<u32>,
    /// Recipients in one call.
    pub max_recipients_per_call: usize,
    /// Bytes of content that one call may carry.
    pub max_call_bytes: usize,
    /// How delivery is learned.
    pub reports: Reports,
    /// Does it push inbound messages?
    pub inbound: bool,
    /// Can it be asked how much money is left?
    pub balance: bool,
    /// Does it give back our call reference and the recipient in reports? Then that pair names the attempt.
    pub echoes_reference: bool,
    /// Does each call want an address of its own for reports ?
    pub report_url_per_call: bool,
    /// May an unclear attempt be settled by sender, recipient and text when exactly one fits (NxCloud)?
    pub heuristic_match: bool,
    /// The countries it can reach at all, when that is a property of the driver (voice: `VN`). None: any.
    pub countries: Option<Vec<String>>,
    /// Does it take the sandbox's test numbers (`+999…`) and only those it is sent for tests?
    pub test_numbers: bool,
    /// Does its breaker never open (sandbox)?
    pub breaker_exempt: bool,
    /// Which registrations it lets us manage (`applications`, `signatures`, …).
    pub registrations: Vec<&'static str>,
    /// From how far off our clock nothing is signed for it any more, since its scheme would soon refuse that. None: no scheme.
    pub clock_tolerance: Option<Duration>,
}

/// What content a provider takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContentRule {
    /// Any text.
    Text,
    /// Only templates bound to one of its own.
    BoundTemplate,
    /// Only digits: this many at most. A binding may pick the param that holds them.
    Digits {
        /// At most so many.
        max: usize,
    },
}

/// How delivery is learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reports {
    /// The provider pushes.
    Push,
    /// We ask.
    Poll {
        /// Seconds after the send to the first question; each further wait is 1.5 times longer.
        first: Duration,
        /// For how long we ask.
        window: Duration,
    },
    /// Not at all.
    None,
}
