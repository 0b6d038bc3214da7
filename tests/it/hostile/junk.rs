//! What the hostile requests are made of.

use crate::support::gateway::{AUDIT, OPS, SHOP};

/// Methods, some of them nobody's.
pub const METHODS: [&str; 11] =
    ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW", "get", "PROPFIND"];

/// Keys, right and wrong.
pub const KEYS: [&str; 7] = [SHOP, OPS, AUDIT, "", "sgw_live_wrong", "x", "sgw_live_\u{fc}"];

/// Parts of an address, as they go over the wire.
pub const PARTS: [&str; 20] = [
    "%",
    "%z",
    "%zz",
    "%00",
    "%ff",
    "%c0%80",
    "%ed%a0%80",
    "%2f",
    "%2e%2e",
    "..",
    ".",
    "",
    "%0d%0aX:1",
    "'--",
    "{x}",
    "msg_00000000000000000000000000",
    "msg_zzzzzzzzzzzzzzzzzzzzzzzzzz",
    "inb_01arz3ndektsv4rrffq69g5fav",
    "*",
    "\u{fc}",
];

/// Values of a parameter.
pub const VALUES: [&str; 22] = [
    "",
    "%",
    "%00",
    "a%00b",
    "%ff",
    "%ed%a0%80",
    "-1",
    "0",
    "99999999999999999999999",
    "1e309",
    "NaN",
    "null",
    "[]",
    "+84361234567",
    "%2B84361234567",
    "2026-13-45T99:99:99Z",
    "9999-12-31T23:59:59Z",
    "0000-01-01T00:00:00%2B23:59",
    "MTptc2dfMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDA",
    "MTo",
    "' or 1=1 --",
    "sent",
];

/// JSON that is wrong wherever a value of a message stands, as text, since much of it no JSON library would write.
pub const JUNK: [&str; 30] = [
    "null",
    "true",
    "[]",
    "{}",
    "-1",
    "1e400",
    "123456789012345678901234567890",
    "0.1",
    "\"\"",
    "\"\\u0000\"",
    "\"\\ud800\"",
    "\"\\udc00\\ud800\"",
    "\"a\\u0000b\"",
    "[[]]",
    "[null]",
    "{\"\":\"\"}",
    "nul",
    "'x'",
    "\"unclosed",
    "\"\\x\"",
    "NaN",
    "Infinity",
    "+1",
    "01",
    "1.",
    ".5",
    "\"\u{1}\"",
    "/* */ 1",
    "undefined",
    "{\"a\":1,\"a\":2}",
];

/// The fields of a message, each with a value that would be taken.
pub const FIELDS: [(&str, &str); 14] = [
    ("to", "\"+99900000001\""),
    ("text", "\"hello\""),
    ("template", "{\"name\":\"parcel\",\"params\":{\"place\":\"x\"}}"),
    ("channel", "\"sms\""),
    ("category", "\"otp\""),
    ("from", "\"ACME\""),
    ("route", "\"sms\""),
    ("provider", "\"sandbox\""),
    ("send_at", "\"2026-01-01T00:00:00Z\""),
    ("validity_period", "60"),
    ("sensitive", "true"),
    ("client_reference", "\"r\""),
    ("metadata", "{\"a\":\"b\"}"),
    ("callback_url", "\"https://example.com\""),
];

/// Media types.
pub const TYPES: [&str; 8] = [
    "application/json",
    "text/plain",
    "",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "application/json; charset=utf-16",
    "application/xml",
    "\u{fc}",
];
