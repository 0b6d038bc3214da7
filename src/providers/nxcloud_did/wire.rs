//! What is written to `NxCloud` and what it answers.
//!
//! The tables of the reference call `code` a string and show a number, and put `messageId` beside a `data` that the examples
//! show around it; sister APIs write `messageid`. All of these are read.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The body of `mtsend`.
#[derive(Serialize)]
pub(super) struct SendBody<'a> {
    /// The DID, digits only.
    pub(super) sender: &'a str,
    /// The recipient, digits only.
    pub(super) phone: &'a str,
    pub(super) content: &'a str,
}

/// An answer to `mtsend`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SendAnswer {
    /// As text, whether it was a number or a string.
    pub(super) code: String,
    pub(super) message_id: Option<String>,
}

#[derive(Deserialize)]
struct RawAnswer {
    code: Value,
    #[serde(default)]
    data: Value,
    #[serde(default, rename = "messageId", alias = "messageid")]
    message_id: Value,
}

/// Reads an answer; none if it is not one.
pub(super) fn read_answer(body: &[u8]) -> Option<SendAnswer> {
    let raw: RawAnswer = serde_json::from_slice(body).ok()?;
    let within = |key| raw.data.get(key).and_then(text);
    let message_id = within("messageId").or_else(|| within("messageid")).or_else(|| text(&raw.message_id));
    Some(SendAnswer { code: text(&raw.code)?, message_id })
}

/// The text of a string or a number; none for what is empty or something else.
pub(super) fn text(value: &Value) -> Option<String> {
    let text = match value {
        // No text of the database can hold a NUL.
        Value::String(text) => text.replace('\0', "").trim().to_owned(),
        Value::Number(number) => number.to_string(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_in_every_way_that_the_documents_show() {
        for (body, code, id) in [
            (r#"{"code":0,"message":"Success","data":{"messageId":"fdg"}}"#, "0", Some("fdg")),
            (r#"{"code":"0","message":"Success","data":{"messageid":"fdg"}}"#, "0", Some("fdg")),
            (r#"{"code":0,"messageId":"fdg","data":"ok"}"#, "0", Some("fdg")),
            (r#"{"code":0,"messageid":12}"#, "0", Some("12")),
            (r#"{"code":0,"data":null}"#, "0", None),
            (r#"{"code":0,"data":{"messageId":""}}"#, "0", None),
            (r#"{"code":-1,"message":"Failure"}"#, "-1", None),
            (r#"{"code":" 1003 "}"#, "1003", None),
        ] {
            let answer = SendAnswer { code: code.into(), message_id: id.map(Into::into) };
            assert_eq!(read_answer(body.as_bytes()), Some(answer), "{body}");
        }
    }

    #[test]
    fn what_has_no_code_is_no_answer() {
        for body in
            ["", "success", "{}", "[]", "0", r#"{"code":null}"#, r#"{"code":""}"#, r#"{"code":{}}"#, r#"{"code":0"#]
        {
            assert_eq!(read_answer(body.as_bytes()), None, "{body}");
        }
    }

    #[test]
    fn the_body_is_what_the_reference_shows() {
        let body = SendBody { sender: "8615088888888", phone: "8618637616887", content: "This is a \"test\"" };
        let expected = r#"{"sender":"8615088888888","phone":"8618637616887","content":"This is a \"test\""}"#;
        assert_eq!(serde_json::to_string(&body).unwrap(), expected);
    }
}
