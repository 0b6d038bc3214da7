//! What is written to the voice API and what it answers.
//!
//! Answers are documented as plain text, `code,,,request_id` or the code alone, without a content type. Clients in the field
//! have met `;` between the two and JSON; so quotes, any run of commas or semicolons, and an object with a code are all read.
//! Anything else is no answer: a page of a proxy must not be taken for a code.

use std::sync::LazyLock;

use regex::Regex;
use serde::Serialize;
use serde_json::Value;

#[expect(clippy::unwrap_used, reason = "a literal pattern that every test of this file uses")]
static PLAIN: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r#"^\s*"?\s*(-?[0-9]{1,9})\s*(?:$|"|[,;]+\s*([0-9A-Za-z-]*))"#).unwrap());

/// Shorter than any request id, longer than the words (`null`, `OK`) that may stand in its place.
const SHORTEST_REQUEST_ID: usize = 8;

/// The body of `postSMS`.
#[derive(Serialize)]
pub(super) struct SendBody<'a> {
    pub(super) username: &'a str,
    pub(super) pass: &'a str,
    pub(super) sender: &'a str,
    pub(super) key: &'a str,
    /// In national form: `0361234567`.
    pub(super) phonesend: &'a str,
    /// One to six digits, as text.
    pub(super) message: &'a str,
}

/// The body of `checkVoice`, and without `request_id` of `checkBalance`.
#[derive(Serialize)]
pub(super) struct CheckBody<'a> {
    pub(super) username: &'a str,
    pub(super) pass: &'a str,
    pub(super) key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) request_id: Option<&'a str>,
}

/// An answer to `postSMS` or `checkVoice`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CodeAnswer {
    pub(super) code: String,
    pub(super) request_id: Option<String>,
}

/// An answer to `checkBalance`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BalanceAnswer {
    pub(super) code: String,
    pub(super) balance: Option<String>,
}

/// Reads a code and perhaps a request id; none if there is no code.
pub(super) fn read_code(body: &[u8]) -> Option<CodeAnswer> {
    if let Ok(Value::Object(object)) = serde_json::from_slice(body) {
        let first = |names: &[&str]| names.iter().find_map(|name| field(&object, name));
        let answer = plain(&first(&["code", "errorcode"])?)?;
        let request_id = first(&["request_id", "requestid"]).filter(|id| id.len() >= SHORTEST_REQUEST_ID);
        return Some(CodeAnswer { request_id: answer.request_id.or(request_id), ..answer });
    }
    plain(std::str::from_utf8(body).ok()?)
}

/// Reads a balance; none if there is no code.
pub(super) fn read_balance(body: &[u8]) -> Option<BalanceAnswer> {
    let object = match serde_json::from_slice(body).ok()? {
        Value::Object(object) => object,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => return None,
    };
    let balance = field(&object, "balance").filter(|text| text.parse::<f64>().is_ok_and(f64::is_finite));
    Some(BalanceAnswer { code: field(&object, "errorcode")?, balance })
}

fn plain(text: &str) -> Option<CodeAnswer> {
    let found = PLAIN.captures(text.trim_start_matches('\u{feff}'))?;
    let request_id = found.get(2).map(|id| id.as_str()).filter(|id| id.len() >= SHORTEST_REQUEST_ID);
    Some(CodeAnswer { code: found.get(1)?.as_str().to_owned(), request_id: request_id.map(str::to_owned) })
}

/// A string or number, by its name in any case: the reference writes `errorcode` and `Errorcode`.
fn field(object: &serde_json::Map<String, Value>, name: &str) -> Option<String> {
    let (_, value) = object.iter().find(|(key, _)| key.eq_ignore_ascii_case(name))?;
    match value {
        Value::String(text) => Some(text.trim().to_owned()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "1dc7b7eb-a9e7-4162-91cd-6027d95b290c";

    #[test]
    fn an_answer_is_read_in_every_way_that_was_ever_seen() {
        for (body, code, with_id) in [
            ("1,,,ID", "1", true),
            ("1;ID", "1", true),
            (" 1 ,, , ID", "1", false),
            ("1,ID\r\n", "1", true),
            ("\"1,,,ID\"", "1", true),
            ("\u{feff}1,,,ID", "1", true),
            ("1,,,\"ID\"", "1", false),
            ("27,,,ID", "27", true),
            ("1", "1", false),
            ("1\n", "1", false),
            ("\"1\"", "1", false),
            ("1,,,", "1", false),
            ("1,,,null", "1", false),
            ("-5", "-5", false),
            (r#"{"code":1,"request_id":"ID"}"#, "1", true),
            (r#"{"code":"1","request_id":"ID"}"#, "1", true),
            (r#"{"Code":"1,,,ID","des":"ok"}"#, "1", true),
            (r#"{"code":"-2","des":"IP"}"#, "-2", false),
            (r#"{"code":1,"request_id":null}"#, "1", false),
        ] {
            let answer = CodeAnswer { code: code.into(), request_id: with_id.then(|| ID.into()) };
            assert_eq!(read_code(body.replace("ID", ID).as_bytes()), Some(answer), "{body}");
        }
    }

    #[test]
    fn what_is_no_code_is_no_answer() {
        for body in
            ["", " ", ",,,", "OK", "<html>1</html>", "502 Bad Gateway", "1a", "--1", "{}", r#"{"code":null}"#, "[1]"]
        {
            assert_eq!(read_code(body.as_bytes()), None, "{body}");
        }
        assert_eq!(read_code(&[0xff, b'1']), None);
    }

    #[test]
    fn a_balance_is_read_as_text_or_number() {
        for (body, code, balance) in [
            (r#"{"errorcode":"1","balance":10}"#, "1", Some("10")),
            (r#"{"Errorcode":1,"balance":"10.50"}"#, "1", Some("10.50")),
            (r#"{"errorcode":"1","balance":12.75}"#, "1", Some("12.75")),
            (r#"{"errorcode":"0"}"#, "0", None),
            (r#"{"errorcode":"1","balance":"much"}"#, "1", None),
        ] {
            let answer = BalanceAnswer { code: code.into(), balance: balance.map(Into::into) };
            assert_eq!(read_balance(body.as_bytes()), Some(answer), "{body}");
        }
        for body in ["", "1", r#"{"balance":10}"#, "[]"] {
            assert_eq!(read_balance(body.as_bytes()), None, "{body}");
        }
    }
}
