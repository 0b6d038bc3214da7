//! How one recipient's call goes: which answer, whether it counts as accepted, and which reports follow.
//!
//! The same words serve the three protocols; what a protocol does not have is left out of it (NxCloud has no reports per
//! part, voice has polls in place of reports). The table of special numbers stands in the header of [`super`].

use serde::{Deserialize, Serialize};

use super::{huawei, nxcloud, voice};

/// The protocols that the simulator speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// Huawei Cloud Message & SMS.
    Huawei,
    /// NxCloud SMS from a DID number.
    Nxcloud,
    /// Voice OTP.
    Voice,
}

impl Protocol {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Huawei, Self::Nxcloud, Self::Voice];

    pub(super) fn index(self) -> usize {
        match self {
            Self::Huawei => 0,
            Self::Nxcloud => 1,
            Self::Voice => 2,
        }
    }

    fn success_code(self) -> &'static str {
        match self {
            Self::Huawei => "000000",
            Self::Nxcloud => "0",
            Self::Voice => "1",
        }
    }

    /// Refuses a call because of its recipient.
    pub(super) fn refusing_code(self) -> &'static str {
        match self {
            Self::Huawei => "E000503",
            Self::Nxcloud => "9006",
            Self::Voice => "10",
        }
    }

    fn documented_codes(self) -> Vec<&'static str> {
        match self {
            Self::Huawei => huawei::codes::all().collect(),
            Self::Nxcloud => nxcloud::CODES.iter().map(|(code, _)| *code).collect(),
            Self::Voice => voice::CODES.iter().map(|(code, _)| *code).collect(),
        }
    }
}

/// What is done with the call of one recipient. The default is the ordinary course: accepted, answered, delivered.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Behaviour {
    /// Answer with this code. Huawei: codes that begin with `E2` are this number's status, others refuse the whole call.
    pub code: Option<String>,
    /// Whether the message is taken. Absent: it is, unless a code or an HTTP status refuses it.
    pub accepted: Option<bool>,
    /// Answer with this HTTP status; without `code` or `body`, the body is plain text that no protocol knows.
    pub http_status: Option<u16>,
    /// `Retry-After` in seconds.
    pub retry_after: Option<u64>,
    /// `Retry-After` says so by a date.
    pub retry_after_as_date: bool,
    /// Answer with this body as it stands.
    pub body: Option<String>,
    /// How the answer ends.
    pub ending: Ending,
    /// Answer so much later; what is taken is taken at once.
    pub answer_delay_ms: u64,
    /// Answer success without an id (Huawei: without this number's entry in `result`).
    pub omit_id: bool,
    /// The reports that follow. Absent: delivered; empty: none ever.
    pub reports: Option<Vec<ScriptedReport>>,
    /// Voice: the answers to `checkVoice` one after the other; the last one stays. Absent: made from `reports`.
    pub polls: Option<Vec<String>>,
}

/// How an answer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// As it should.
    #[default]
    Normal,
    /// The connection is closed and nothing of the answer was sent.
    Close,
    /// The connection is closed in the middle of the body.
    Truncate,
}

/// One report that shall be pushed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScriptedReport {
    /// `delivered`, `undelivered`, `expired` or `accepted` in the protocol's own word; anything else goes out as it stands.
    pub status: String,
    /// How long after the call; absent: the report delay of the settings.
    pub delay_ms: Option<u64>,
    /// How often it is pushed.
    pub copies: u16,
    /// Which part, from 1.
    pub part: u16,
    /// Of how many.
    pub parts: u16,
    /// Push it, and wait until it is answered, before the call is answered.
    pub before_answer: bool,
    /// Huawei: made by the platform, with `source` 1 and no `updateTime`.
    pub by_platform: bool,
    /// Huawei: `orgCode` in place of `000`.
    pub org_code: Option<String>,
    /// Huawei: `statusDesc`.
    pub description: Option<String>,
    /// Under this id in place of the message's own.
    pub message_id: Option<String>,
}

impl Default for ScriptedReport {
    fn default() -> Self {
        Self {
            status: "delivered".to_owned(),
            delay_ms: None,
            copies: 1,
            part: 1,
            parts: 1,
            before_answer: false,
            by_platform: false,
            org_code: None,
            description: None,
            message_id: None,
        }
    }
}

impl ScriptedReport {
    /// A report with this status and nothing special about it.
    pub fn new(status: &str) -> Self {
        Self { status: status.to_owned(), ..Self::default() }
    }

    /// The status as the protocol writes it; none where it has no such report.
    pub(super) fn wire_status(&self, protocol: Protocol) -> Option<&str> {
        let word = match (self.status.as_str(), protocol) {
            ("delivered", Protocol::Huawei | Protocol::Nxcloud) => "DELIVRD",
            ("delivered", Protocol::Voice) => "1",
            ("undelivered", Protocol::Huawei) => "UNDELIV",
            ("expired", Protocol::Huawei) => "EXPIRED",
            ("undelivered" | "expired", Protocol::Nxcloud) => "UNDELIVR",
            ("undelivered" | "expired", Protocol::Voice) => "23",
            ("accepted", Protocol::Huawei) => "ACCEPTD",
            ("accepted", Protocol::Nxcloud) => return None,
            ("accepted", Protocol::Voice) => "27",
            (verbatim, _) => verbatim,
        };
        Some(word)
    }
}

impl Behaviour {
    /// Refuses with a code.
    pub fn code(code: &str) -> Self {
        Self { code: Some(code.to_owned()), ..Self::default() }
    }

    /// Answers with an HTTP status and takes nothing.
    pub fn http(status: u16) -> Self {
        Self { http_status: Some(status), ..Self::default() }
    }

    /// Takes the message and pushes these reports.
    pub fn reports(reports: Vec<ScriptedReport>) -> Self {
        Self { reports: Some(reports), ..Self::default() }
    }

    /// Whether the message is taken.
    pub fn is_accepted(&self) -> bool {
        let refused = self.code.is_some() || self.http_status.is_some_and(|status| !(200..300).contains(&status));
        self.accepted.unwrap_or(!refused)
    }

    /// Whether it changes the answer to the whole call and not only what is said of one number.
    pub(super) fn touches_call(&self) -> bool {
        self.code.as_deref().is_some_and(|code| !huawei::codes::is_per_number(code))
            || self.http_status.is_some()
            || self.body.is_some()
            || self.ending != Ending::Normal
            || self.answer_delay_ms > 0
            || self.accepted == Some(false)
    }

    pub(super) fn without_success_code(mut self, protocol: Protocol) -> Self {
        if self.code.as_deref() == Some(protocol.success_code()) {
            self.code = None;
        }
        self
    }
}

/// Whether a special number's behaviour holds for its first call only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NumberRule {
    pub behaviour: Behaviour,
    pub first_call_only: bool,
}

/// What the table of special numbers says of a number in digits.
pub(super) fn number_rule(protocol: Protocol, digits: &str) -> Option<NumberRule> {
    let tail = digits.get(digits.len().checked_sub(6)?..)?;
    let always = |behaviour| NumberRule { behaviour, first_call_only: false };
    match tail.split_at(2) {
        ("97", "0040") => Some(NumberRule { behaviour: throttled(protocol), first_call_only: true }),
        ("97", row) => by_row(row.parse().ok()?).map(always),
        ("98", code) => code_by_digits(protocol, code).map(|code| always(Behaviour::code(code))),
        _ => None,
    }
}

fn throttled(protocol: Protocol) -> Behaviour {
    match protocol {
        Protocol::Huawei => Behaviour::code("E200015"),
        Protocol::Nxcloud | Protocol::Voice => busy(429, Some(1)),
    }
}

fn by_row(row: u16) -> Option<Behaviour> {
    course(row).or_else(|| broken_answer(row)).or_else(|| http_refusal(row))
}

fn course(row: u16) -> Option<Behaviour> {
    let part = |part, parts, status| ScriptedReport { part, parts, ..ScriptedReport::new(status) };
    let after = |status, delay| ScriptedReport { delay_ms: Some(delay), ..ScriptedReport::new(status) };
    let one = |report| Some(vec![report]);
    let polls = |codes: &[&str]| Some(codes.iter().map(|&code| code.to_owned()).collect());
    let (reports, polls) = match row {
        1 => (one(ScriptedReport::default()), None),
        2 => (one(ScriptedReport::new("undelivered")), None),
        3 => (one(ScriptedReport::new("expired")), None),
        4 => (Some(Vec::new()), None),
        5 => (one(ScriptedReport { before_answer: true, ..ScriptedReport::default() }), None),
        6 => {
            let late = ScriptedReport { copies: 2, ..after("accepted", 40) };
            (
                Some(vec![ScriptedReport { copies: 2, ..after("delivered", 5) }, late, after("delivered", 60)]),
                polls(&["1"]),
            )
        }
        7 => (Some(vec![part(1, 3, "delivered"), part(2, 3, "undelivered"), part(3, 3, "delivered")]), None),
        8 => (Some(vec![part(3, 3, "delivered"), part(1, 3, "delivered"), part(2, 3, "delivered")]), None),
        9 => (one(ScriptedReport::new("ZZ:9999")), None),
        10 => (one(ScriptedReport { by_platform: true, ..ScriptedReport::new("expired") }), None),
        11 => (one(after("delivered", 5_000)), polls(&["27", "27", "27", "27", "1"])),
        12 => (Some(vec![ScriptedReport::new("accepted"), after("delivered", 200)]), polls(&["27", "27", "1"])),
        _ => return None,
    };
    Some(Behaviour { reports, polls, ..Behaviour::default() })
}

fn broken_answer(row: u16) -> Option<Behaviour> {
    let body = |text: &str| Some(text.to_owned());
    let behaviour = match row {
        20 => Behaviour { ending: Ending::Close, ..Behaviour::default() },
        21 => Behaviour { ending: Ending::Close, accepted: Some(false), ..Behaviour::default() },
        22 => Behaviour { answer_delay_ms: 30_000, ..Behaviour::default() },
        23 => Behaviour { answer_delay_ms: 1_000, ..Behaviour::default() },
        24 => Behaviour { body: body("<html>\u{0}{\"code\": what?"), ..Behaviour::default() },
        25 => Behaviour { ending: Ending::Truncate, ..Behaviour::default() },
        26 => Behaviour { body: body(""), ..Behaviour::default() },
        41 => Behaviour { omit_id: true, ..Behaviour::default() },
        _ => return None,
    };
    Some(behaviour)
}

fn http_refusal(row: u16) -> Option<Behaviour> {
    let behaviour = match row {
        30 => busy(429, Some(1)),
        31 => busy(429, None),
        32 => busy(503, Some(1)),
        33 => busy(503, None),
        34 => busy(500, None),
        35 => Behaviour { accepted: Some(true), ..busy(502, None) },
        36 => Behaviour { accepted: Some(true), ..busy(504, None) },
        37 => busy(302, None),
        38 => busy(404, None),
        _ => return None,
    };
    Some(behaviour)
}

fn busy(http_status: u16, retry_after: Option<u64>) -> Behaviour {
    Behaviour { http_status: Some(http_status), retry_after, ..Behaviour::default() }
}

/// The documented code whose last four digits these are; negative codes are written as 99 and two digits.
fn code_by_digits(protocol: Protocol, digits: &str) -> Option<&'static str> {
    let last_four = |code: &str| {
        let padded = code
            .strip_prefix('-')
            .map_or_else(|| format!("{:0>4}", code.trim_start_matches('E')), |magnitude| format!("99{magnitude:0>2}"));
        padded[padded.len() - 4..].to_owned()
    };
    protocol
        .documented_codes()
        .into_iter()
        .filter(|code| *code != protocol.success_code())
        .find(|code| last_four(code) == digits)
}

/// A number in digits with its country code: no plus, and the local form of the voice protocol read as Vietnamese.
pub(super) fn canonical_number(number: &str) -> String {
    let digits = number.trim().trim_start_matches('+');
    match digits.strip_prefix('0') {
        Some(local) if !local.starts_with('0') => format!("84{local}"),
        _ => digits.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_documented_code_can_be_forced_by_a_number_and_no_two_share_one() {
        for protocol in Protocol::ALL {
            for code in protocol.documented_codes().into_iter().filter(|code| *code != protocol.success_code()) {
                let digits = match code.strip_prefix('-') {
                    Some(magnitude) => format!("99{magnitude:0>2}"),
                    None => format!("{:0>4}", &code.trim_start_matches('E')[code.len().saturating_sub(5).min(2)..]),
                };
                let digits = &digits[digits.len() - 4..];
                let rule = number_rule(protocol, &format!("8526098{digits}")).map(|rule| rule.behaviour);
                assert_eq!(rule, Some(Behaviour::code(code)), "{protocol:?} {code} by {digits}");
            }
        }
    }

    #[test]
    fn ordinary_and_short_numbers_have_no_rule() {
        for number in ["85260123456", "8618637616887", "97", "", "85260970099", "85260980999"] {
            assert_eq!(number_rule(Protocol::Nxcloud, number), None, "{number}");
        }
    }

    #[test]
    fn whether_a_call_is_taken_follows_from_its_answer_unless_it_is_said() {
        let cases = [
            (Behaviour::default(), true),
            (Behaviour::code("E000503"), false),
            (Behaviour::http(503), false),
            (Behaviour::http(202), true),
            (Behaviour { accepted: Some(true), ..Behaviour::http(502) }, true),
            (Behaviour { ending: Ending::Close, ..Behaviour::default() }, true),
            (Behaviour { ending: Ending::Close, accepted: Some(false), ..Behaviour::default() }, false),
        ];
        for (behaviour, expected) in cases {
            assert_eq!(behaviour.is_accepted(), expected, "{behaviour:?}");
        }
    }

    #[test]
    fn local_voice_numbers_and_international_ones_are_the_same_number() {
        assert_eq!(canonical_number("0361234567"), canonical_number("+84361234567"));
        assert_eq!(canonical_number("+8618637616887"), "8618637616887");
    }
}
