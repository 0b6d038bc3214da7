//! What `NxCloud` pushes: delivery receipts and inbound messages, both to one address.
//!
//! A push is a form (unsigned) or JSON (signed); the console decides per number. Which of the two things it tells is where the
//! documents contradict each other, so in this order:
//!
//! 1. the `action` header of a signed push, `dr` or `mo`;
//! 2. no `smsStatus`: an inbound message;
//! 3. `fromPhone` is a number of ours: a receipt. `toPhone` is, and `type` says `0`: an inbound message;
//! 4. neither is, and `type` says `1`: a receipt. (`type` `0` alone proves nothing: their own receipt example has it.)
//! 5. else both readings are handed on, and whether the id is known decides.

use serde_json::Value;

use super::{
    super::{Callback, CallbackEvent, CallbackRejected, codes::Stage},
    CODES,
    wire::text,
};
use crate::domain::{
    Timestamp,
    phone_number::PhoneNumber,
    report::{Inbound, Report, ReportTarget},
};

/// What must be known to read a push.
#[derive(Debug, Clone)]
pub(super) struct Reader {
    /// Our numbers, digits only.
    pub(super) own_numbers: Vec<String>,
    /// The zone of `receiveTime`, which says none.
    pub(super) utc_offset: chrono::FixedOffset,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Receipt,
    Inbound,
    Either,
}

/// The fields of a push, empty ones left out.
struct Fields(Vec<(String, String)>);

impl Fields {
    fn read(body: &[u8]) -> Result<Self, CallbackRejected> {
        // Not by Content-Type: it is cheaper to look than to believe.
        let fields: Vec<(String, String)> = if body.trim_ascii_start().starts_with(b"{") {
            let object: serde_json::Map<String, Value> = serde_json::from_slice(body)
                .map_err(|error| CallbackRejected::Malformed(format!("no JSON object ({:?})", error.classify())))?;
            object.into_iter().filter_map(|(key, value)| Some((key, text(&value)?))).collect()
        } else {
            // No text of the database can hold a NUL.
            let plain = |value: std::borrow::Cow<'_, str>| value.replace('\0', "");
            url::form_urlencoded::parse(body).map(|(key, value)| (key.into_owned(), plain(value))).collect()
        };
        Ok(Self(fields.into_iter().filter(|(_, value)| !value.trim().is_empty()).collect()))
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    fn trimmed(&self, name: &str) -> Option<&str> {
        self.get(name).map(str::trim)
    }
}

impl Reader {
    /// The events of one push: always one, or the body is refused as a whole.
    pub(super) fn read(&self, callback: &Callback) -> Result<Vec<CallbackEvent>, CallbackRejected> {
        let fields = Fields::read(&callback.body)?;
        if !["messageId", "smsStatus", "toPhone", "fromPhone"].iter().any(|name| fields.get(name).is_some()) {
            return Err(CallbackRejected::Malformed("none of the documented fields".into()));
        }
        let Some(id) = fields.trimmed("messageId") else {
            return Ok(vec![CallbackEvent::Unreadable { problem: "messageId is missing".into() }]);
        };
        Ok(vec![match self.direction(&fields, callback.header("action")) {
            Direction::Receipt => match fields.trimmed("smsStatus") {
                Some(status) => CallbackEvent::Report(self.report(&fields, id, status)),
                None => CallbackEvent::Unreadable { problem: "smsStatus is missing".into() },
            },
            Direction::Inbound => CallbackEvent::Inbound(self.inbound(&fields, id)),
            Direction::Either => {
                let status = fields.trimmed("smsStatus").unwrap_or_default();
                CallbackEvent::ReportOrInbound(self.report(&fields, id, status), self.inbound(&fields, id))
            }
        }])
    }

    fn direction(&self, fields: &Fields, action: Option<&str>) -> Direction {
        match action.map(str::trim) {
            Some("dr") => return Direction::Receipt,
            Some("mo") => return Direction::Inbound,
            Some(_) | None => {}
        }
        if fields.get("smsStatus").is_none() {
            return Direction::Inbound;
        }
        let kind = fields.trimmed("type");
        match (self.is_own(fields.get("fromPhone")), self.is_own(fields.get("toPhone"))) {
            (true, false) => Direction::Receipt,
            (false, true) if kind == Some("0") => Direction::Inbound,
            (false, false) if kind == Some("1") => Direction::Receipt,
            (true, true) | (false, true | false) => Direction::Either,
        }
    }

    fn is_own(&self, phone: Option<&str>) -> bool {
        phone.is_some_and(|phone| self.own_numbers.iter().any(|own| own == digits(phone)))
    }

    fn report(&self, fields: &Fields, id: &str, status: &str) -> Report {
        let (to, from) = (fields.get("toPhone"), fields.get("fromPhone"));
        // One page calls toPhone the DID in receipts too; the number that is ours is the sender wherever it stands.
        let swapped = self.is_own(to) && !self.is_own(from);
        let (recipient, sender) = if swapped { (from, to) } else { (to, from) };
        Report {
            target: ReportTarget {
                provider_message_id: Some(id.to_owned()),
                call_reference: None,
                recipient: recipient.and_then(PhoneNumber::from_provider).map(|number| number.as_str().to_owned()),
                sender: sender.map(|sender| digits(sender).to_owned()),
                text: fields.get("content").map(str::to_owned),
            },
            provider_code: status.to_owned(),
            verdict: CODES.lookup(Stage::Report, status).verdict,
            part: 1,
            parts: 1,
            occurred_at: self.time(fields),
            description: None,
            price: price(fields),
            segments: segments(fields),
        }
    }

    fn inbound(&self, fields: &Fields, id: &str) -> Inbound {
        Inbound {
            provider_message_id: id.to_owned(),
            from: address(fields.get("fromPhone")),
            to: address(fields.get("toPhone")),
            text: fields.get("content").unwrap_or_default().to_owned(),
            segments: segments(fields),
            price: price(fields),
            received_at: self.time(fields),
        }
    }

    fn time(&self, fields: &Fields) -> Option<Timestamp> {
        let local = chrono::NaiveDateTime::parse_from_str(fields.trimmed("receiveTime")?, "%Y-%m-%d %H:%M:%S").ok()?;
        Some(local.and_local_timezone(self.utc_offset).single()?.to_utc())
    }
}

/// The number without its plus. A plus that was not encoded in a form has become a space.
pub(super) fn digits(phone: &str) -> &str {
    let phone = phone.trim();
    phone.strip_prefix('+').unwrap_or(phone)
}

fn address(phone: Option<&str>) -> String {
    let phone = phone.unwrap_or_default().trim();
    PhoneNumber::from_provider(phone).map_or_else(|| phone.to_owned(), |number| number.as_str().to_owned())
}

fn segments(fields: &Fields) -> Option<u16> {
    fields.trimmed("size")?.parse().ok().filter(|segments| *segments > 0)
}

fn price(fields: &Fields) -> Option<String> {
    let price = fields.trimmed("price")?;
    let plain = price.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    (plain && price.parse::<f64>().is_ok()).then(|| price.to_owned())
}
