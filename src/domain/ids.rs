//! Identifiers: `UUIDv7` inside and in the database, `TypeID` text outside (`msg_01h455vb4pex5vsknk084sn02q`).
//!
//! The first 48 bits are the time of creation in milliseconds, so ids sort by age and the big tables are partitioned by them.
//! Text form: the prefix, `_`, and the 128 bits as 26 characters of Crockford base32 in lower case (the `TypeID` specification,
//! <https://github.com/jetify-com/typeid/tree/main/spec>).

use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use uuid::{Builder, Uuid};

use super::Timestamp;

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const TEXT_LENGTH: usize = 26;

/// The last millisecond that an id was made for, and how many were made for it: ids of one millisecond still sort in the order
/// in which they were made. A clock that goes back is followed, since an id also says when it was made.
static LAST: Mutex<(u64, u16)> = Mutex::new((0, 0));

/// A text that is no id of the expected kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {prefix}_ and 26 characters of base32")]
pub struct InvalidId {
    prefix: &'static str,
}

/// A fresh `UUIDv7` for the given time.
pub fn new_uuid(now: Timestamp) -> Uuid {
    let millis = u64::try_from(now.timestamp_millis()).unwrap_or(0);
    let count = {
        let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
        *last = if last.0 == millis { (millis, last.1.wrapping_add(1)) } else { (millis, 0) };
        last.1
    };
    // Twelve bits of order, then randomness. More than 4,096 ids in one millisecond are still different, just not in order.
    let mut tail: [u8; 10] = rand::random();
    tail[..2].copy_from_slice(&(count & 0x0FFF).to_be_bytes());
    Builder::from_unix_timestamp_millis(millis, &tail).into_uuid()
}

/// The smallest `UUIDv7` of the given millisecond: a bound for "created at this time or later".
pub fn first_uuid_at(time: Timestamp) -> Uuid {
    let millis = u128::try_from(time.timestamp_millis().max(0)).unwrap_or(0);
    Uuid::from_u128(millis << 80)
}

/// When an id was made, to the millisecond.
pub fn time_of(id: Uuid) -> Timestamp {
    let millis = i64::try_from(id.as_u128() >> 80).unwrap_or(0);
    Timestamp::from_timestamp_millis(millis).unwrap_or_default()
}

fn encode(id: Uuid) -> String {
    let mut value = id.as_u128();
    let mut text = [0_u8; TEXT_LENGTH];
    for place in text.iter_mut().rev() {
        *place = ALPHABET[(value & 31) as usize];
        value >>= 5;
    }
    text.iter().map(|byte| char::from(*byte)).collect()
}

fn decode(text: &str) -> Option<Uuid> {
    // 26 characters hold 130 bits: the first one may only use three of its five.
    if text.len() != TEXT_LENGTH || text.as_bytes()[0] > b'7' {
        return None;
    }
    let mut value: u128 = 0;
    for byte in text.bytes() {
        let digit = ALPHABET.iter().position(|letter| *letter == byte)?;
        value = (value << 5) | digit as u128;
    }
    Some(Uuid::from_u128(value))
}

macro_rules! typed_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub Uuid);

        impl $name {
            /// The part before the underscore.
            pub const PREFIX: &'static str = $prefix;

            /// A fresh id for the given time.
            pub fn new(now: Timestamp) -> Self {
                Self(new_uuid(now))
            }

            /// When it was made, to the millisecond.
            pub fn time(self) -> Timestamp {
                time_of(self.0)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{}_{}", $prefix, encode(self.0))
            }
        }

        impl std::str::FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                text.strip_prefix($prefix)
                    .and_then(|rest| rest.strip_prefix('_'))
                    .and_then(decode)
                    .map(Self)
                    .ok_or(InvalidId { prefix: $prefix })
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

typed_id!(
    /// One message to one recipient.
    MessageId,
    "msg"
);
typed_id!(
    /// Many messages accepted together.
    BatchId,
    "bat"
);
typed_id!(
    /// A message that arrived on one of our numbers.
    InboundMessageId,
    "inb"
);
typed_id!(
    /// One entry of a timeline, or one event for a webhook.
    EventId,
    "evt"
);
typed_id!(
    /// One hand-over of one message to one provider.
    AttemptId,
    "att"
);
typed_id!(
    /// One call to a provider; several attempts may share it. Its text is the reference that the provider gives back.
    CallId,
    "call"
);
typed_id!(
    /// One suppression; only cursors name it.
    SuppressionId,
    "sup"
);
typed_id!(
    /// One HTTP request to the gateway.
    RequestId,
    "req"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_typeid_specification_hold() {
        let id: EventId = "evt_01h455vb4pex5vsknk084sn02q".parse().unwrap();
        assert_eq!(id.0.to_string(), "01890a5d-ac96-774b-bcce-b302099a8057");
        assert_eq!(id.to_string(), "evt_01h455vb4pex5vsknk084sn02q");
        assert_eq!(EventId(Uuid::nil()).to_string(), "evt_00000000000000000000000000");
        assert_eq!(EventId(Uuid::max()).to_string(), "evt_7zzzzzzzzzzzzzzzzzzzzzzzzz");
    }

    #[test]
    fn an_id_of_another_kind_or_a_broken_one_is_refused() {
        for text in [
            "bat_01h455vb4pex5vsknk084sn02q",
            "01h455vb4pex5vsknk084sn02q",
            "msg_",
            "msg_81h455vb4pex5vsknk084sn02q",
            "msg_01H455VB4PEX5VSKNK084SN02Q",
            "msg_01h455vb4pex5vsknk084sn02",
            "msg_01h455vb4pex5vsknk084sn02qq",
            "msg_01h455vb4pex5vsknk084sn02l",
            "msg_ü1h455vb4pex5vsknk084sn02",
        ] {
            assert!(text.parse::<MessageId>().is_err(), "{text}");
        }
    }

    #[test]
    fn ids_sort_by_age_also_within_one_millisecond() {
        let now = Timestamp::from_timestamp_millis(1_700_000_000_123).unwrap();
        let ids: Vec<MessageId> = (0..1000).map(|_| MessageId::new(now)).collect();
        assert!(ids.is_sorted());
        assert!(ids.iter().all(|id| id.0 >= first_uuid_at(now)));
        assert_eq!(ids[0].time(), now);
    }
}
