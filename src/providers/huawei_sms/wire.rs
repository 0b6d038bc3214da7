//! The two send APIs on the wire: requests encoded, answers decoded, numbers brought into one form.
//!
//! Pure functions over text and bytes. What the codes of an answer mean is decided in [`super::answer`].
//!
//! Same content for all: `/sms/batchSendSms/v1`, a form
//! (<https://support.huaweicloud.com/intl/en-us/api-msgsms/sms_05_0001.html>). Different content: `/sms/batchSendDiffSms/v1`,
//! JSON (<https://support.huaweicloud.com/intl/en-us/api-msgsms/sms_05_0002.html>). The variables of a template are one text
//! that holds a JSON array in the form, and a plain array in the JSON; a template without variables goes without the field in
//! both, since an empty one is refused.

use serde::Serialize;
use serde_json::Value;
use url::form_urlencoded;

use crate::{domain::phone_number::PhoneNumber, providers::Call};

/// Which rules for numbers the account follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Region {
    /// Every number carries its country code.
    International,
    /// A number without `+` is one of the mainland.
    Mainland,
}

/// One recipient and what it is to get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Item<'a> {
    /// E.164 with `+`.
    pub to: &'a str,
    /// What it gets.
    pub content: Content<'a>,
}

/// A registered template with its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content<'a> {
    /// Huawei's id of the template (the one for sending, not the record's).
    pub template_id: &'a str,
    /// The values in order.
    pub params: &'a [String],
    /// The signature's name, for general templates of the mainland.
    pub signature: Option<&'a str>,
}

/// A request, ready to be signed and sent as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Below the application access address.
    pub path: &'static str,
    /// The exact header.
    pub content_type: &'static str,
    /// The very bytes.
    pub body: String,
}

/// An answer to a send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendAnswer {
    /// About the whole call.
    pub code: String,
    /// About each number; empty when the answer says nothing about any.
    pub numbers: Vec<NumberAnswer>,
}

/// What an answer says about one number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NumberAnswer {
    /// The number as the answer writes it.
    pub origin_to: String,
    /// Its own code.
    pub status: String,
    /// The id that reports will carry.
    pub sms_msg_id: Option<String>,
    /// Into how many segments it was split.
    pub total: Option<u16>,
}

/// The request for one call: a form if all get the same, else JSON. Without `status_callback` the platform reports to the
/// address set for the application.
pub fn encode(call: &Call, status_callback: Option<&str>, items: &[Item<'_>]) -> Request {
    match items.split_first() {
        Some((first, rest)) if rest.iter().all(|item| item.content == first.content) => {
            form(call, status_callback, items, first.content)
        }
        _ => json(call, status_callback, items),
    }
}

fn form(call: &Call, status_callback: Option<&str>, items: &[Item<'_>], content: Content<'_>) -> Request {
    let to: Vec<&str> = items.iter().map(|item| item.to).collect();
    let mut body = form_urlencoded::Serializer::new(String::with_capacity(256 + 20 * to.len()));
    body.append_pair("from", &call.from)
        .append_pair("to", &to.join(","))
        .append_pair("templateId", content.template_id);
    if !content.params.is_empty() {
        body.append_pair("templateParas", &Value::from(content.params).to_string());
    }
    if let Some(signature) = content.signature {
        body.append_pair("signature", signature);
    }
    if let Some(url) = status_callback {
        body.append_pair("statusCallback", url);
    }
    body.append_pair("extend", &call.reference);
    Request { path: "/sms/batchSendSms/v1", content_type: "application/x-www-form-urlencoded", body: body.finish() }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DiffRequest<'a> {
    from: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    status_callback: Option<&'a str>,
    extend: &'a str,
    sms_content: Vec<SmsContent<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SmsContent<'a> {
    to: Vec<&'a str>,
    template_id: &'a str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    template_paras: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    signature: Option<&'a str>,
}

fn json(call: &Call, status_callback: Option<&str>, items: &[Item<'_>]) -> Request {
    let mut groups: Vec<(Content<'_>, Vec<&str>)> = Vec::new();
    for item in items {
        match groups.iter_mut().find(|(content, _)| *content == item.content) {
            Some((_, to)) => to.push(item.to),
            None => groups.push((item.content, vec![item.to])),
        }
    }
    let request = DiffRequest {
        from: &call.from,
        status_callback,
        extend: &call.reference,
        sms_content: groups
            .into_iter()
            .map(|(content, to)| SmsContent {
                to,
                template_id: content.template_id,
                template_paras: content.params,
                signature: content.signature,
            })
            .collect(),
    };
    Request {
        path: "/sms/batchSendDiffSms/v1",
        content_type: "application/json",
        // Texts and lists of texts are always JSON; the fallback is a body that the platform refuses as malformed.
        body: serde_json::to_string(&request).unwrap_or_default(),
    }
}

/// Reads an answer; none if it is not one of these APIs'. Entries about a number that cannot be read are left out.
pub fn decode(body: &[u8]) -> Option<SendAnswer> {
    let answer: Value = serde_json::from_slice(body).ok()?;
    let numbers = answer.get("result").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    Some(SendAnswer {
        code: answer.get("code").and_then(text)?,
        numbers: numbers.iter().filter_map(number_answer).collect(),
    })
}

fn number_answer(entry: &Value) -> Option<NumberAnswer> {
    Some(NumberAnswer {
        origin_to: entry.get("originTo").and_then(text)?,
        status: entry.get("status").and_then(text)?,
        sms_msg_id: entry.get("smsMsgId").and_then(text),
        total: entry.get("total").and_then(text).and_then(|total| total.parse().ok()),
    })
}

/// A value that the documents call a text and that may come as a number; none if it is neither, or blank.
///
/// Zero bytes are legal in JSON and in forms, mean nothing here, and cannot be stored as text.
pub(super) fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.replace('\0', "")).filter(|text| !text.trim().is_empty()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// A number as the platform writes it: with `+`, without it, with `00`, or with the space that a `+` became on its way
/// through a form.
pub(super) fn number(text: &str, region: Region) -> Option<PhoneNumber> {
    let lost_plus = text.starts_with(' ');
    let compact: String = text.chars().filter(|c| !c.is_whitespace() && *c != '-').collect();
    if let Some(digits) = compact.strip_prefix('+').or_else(|| compact.strip_prefix("00")) {
        return PhoneNumber::from_provider(digits);
    }
    let has_country = lost_plus || (compact.starts_with("86") && compact.len() > 11);
    match region {
        Region::Mainland if !has_country => PhoneNumber::from_provider(&format!("+86{compact}")),
        Region::Mainland | Region::International => PhoneNumber::from_provider(&compact),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn call() -> Call {
        Call {
            reference: "call_01h455vb4pex5vsknk084sn02q".into(),
            from: "isms100000001".into(),
            report_url: None,
            submissions: vec![],
        }
    }

    fn item<'a>(to: &'a str, template_id: &'a str, params: &'a [String]) -> Item<'a> {
        Item { to, content: Content { template_id, params, signature: None } }
    }

    fn fields(request: &Request) -> Vec<(String, String)> {
        form_urlencoded::parse(request.body.as_bytes()).into_owned().collect()
    }

    #[test]
    fn one_text_for_all_is_a_form_with_every_plus_encoded() {
        let params = ["3".to_owned(), r#"a "b"&ü+"#.to_owned()];
        let items = [item("+8615512345678", "tpl", &params), item("+2412000000", "tpl", &params)];
        let request = encode(&call(), Some("https://sms.example.com/callbacks/h/r.m?a=1"), &items);
        assert_eq!((request.path, request.content_type), ("/sms/batchSendSms/v1", "application/x-www-form-urlencoded"));
        assert!(request.body.contains("&to=%2B8615512345678%2C%2B2412000000&"), "{}", request.body);
        assert!(request.body.contains("&statusCallback=https%3A%2F%2Fsms.example.com%2F"), "{}", request.body);
        let expected = [
            ("from", "isms100000001"),
            ("to", "+8615512345678,+2412000000"),
            ("templateId", "tpl"),
            ("templateParas", r#"["3","a \"b\"&ü+"]"#),
            ("statusCallback", "https://sms.example.com/callbacks/h/r.m?a=1"),
            ("extend", "call_01h455vb4pex5vsknk084sn02q"),
        ];
        assert_eq!(fields(&request), expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn different_texts_are_json_grouped_by_content_with_the_values_as_an_array() {
        let (six, seven) = (["062569".to_owned()], ["605623".to_owned()]);
        let items = [
            item("+8615512345678", "one", &six),
            Item {
                to: "+8615512345680",
                content: Content { template_id: "two", params: &seven, signature: Some("Shop") },
            },
            item("+8615512345679", "one", &six),
            item("+8615512345681", "none", &[]),
        ];
        let request = encode(&call(), Some("https://sms.example.com/r"), &items);
        assert_eq!((request.path, request.content_type), ("/sms/batchSendDiffSms/v1", "application/json"));
        assert_eq!(
            serde_json::from_str::<Value>(&request.body).unwrap(),
            json!({
                "from": "isms100000001",
                "statusCallback": "https://sms.example.com/r",
                "extend": "call_01h455vb4pex5vsknk084sn02q",
                "smsContent": [
                    {"to": ["+8615512345678", "+8615512345679"], "templateId": "one", "templateParas": ["062569"]},
                    {"to": ["+8615512345680"], "templateId": "two", "templateParas": ["605623"], "signature": "Shop"},
                    {"to": ["+8615512345681"], "templateId": "none"},
                ],
            })
        );
    }

    #[test]
    fn what_is_not_given_is_left_out() {
        let items = [item("+2412000000", "tpl", &[])];
        let request = encode(&call(), None, &items);
        let names: Vec<String> = fields(&request).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["from", "to", "templateId", "extend"]);
        let params = ["1".to_owned()];
        let diff = encode(&call(), None, &[items[0], item("+2412000001", "tpl", &params)]);
        assert!(!diff.body.contains("statusCallback"), "{}", diff.body);
    }

    #[test]
    fn a_signature_alone_makes_the_content_different() {
        let one = item("+8615512345678", "tpl", &[]);
        let signed = Item { to: "+8615512345679", content: Content { signature: Some("Shop"), ..one.content } };
        assert_eq!(encode(&call(), None, &[one, signed]).content_type, "application/json");
    }

    #[test]
    fn answers_are_read_with_texts_or_numbers_and_bad_entries_left_out() {
        let body = json!({
            "code": "000000",
            "description": "Success",
            "result": [
                {"originTo": "+8615512345678", "status": "000000", "smsMsgId": "a_1", "total": 2, "countryId": "CN"},
                {"originTo": 8_615_512_345_679_u64, "status": 101, "smsMsgId": "", "total": "3"},
                {"originTo": "+8615512345680"},
                "nonsense",
            ],
        });
        let answer = decode(body.to_string().as_bytes()).unwrap();
        assert_eq!(answer.code, "000000");
        let number = |origin_to: &str, status: &str, id: Option<&str>, total| NumberAnswer {
            origin_to: origin_to.into(),
            status: status.into(),
            sms_msg_id: id.map(Into::into),
            total,
        };
        assert_eq!(
            answer.numbers,
            [number("+8615512345678", "000000", Some("a_1"), Some(2)), number("8615512345679", "101", None, Some(3))]
        );
    }

    #[test]
    fn what_is_no_answer_of_theirs_is_not_read_as_one() {
        for body in ["", "<html>", "null", "[]", "{}", r#"{"code":null}"#, r#"{"error_code":"APIGW.0301"}"#, "\u{0}"] {
            assert_eq!(decode(body.as_bytes()), None, "{body}");
        }
        for body in
            [r#"{"code":"E000510"}"#, r#"{"code":"E000510","result":null}"#, r#"{"code":"E000510","result":{}}"#]
        {
            assert_eq!(decode(body.as_bytes()).unwrap().numbers, [], "{body}");
        }
    }

    #[test]
    fn numbers_are_understood_however_the_platform_writes_them() {
        use Region::{International, Mainland};
        for (text, region, expected) in [
            ("+8615512345678", International, Some("+8615512345678")),
            ("8615512345678", International, Some("+8615512345678")),
            (" 8615512345678", International, Some("+8615512345678")),
            ("008615512345678", International, Some("+8615512345678")),
            ("15512345678", Mainland, Some("+8615512345678")),
            ("8615512345678", Mainland, Some("+8615512345678")),
            (" 8615512345678 ", Mainland, Some("+8615512345678")),
            ("+86 155-1234-5678", Mainland, Some("+8615512345678")),
            (" 85251234567", Mainland, Some("+85251234567")),
            ("+85251234567", Mainland, Some("+85251234567")),
            ("", Mainland, None),
            ("Huawei", International, None),
        ] {
            let read = number(text, region);
            assert_eq!(read.as_ref().map(PhoneNumber::as_str), expected, "{text:?} {region:?}");
        }
    }

    proptest! {
        #[test]
        fn a_form_reads_back_as_it_was_meant(
            from in ".*", template_id in ".*", params in prop::collection::vec(".*", 1..4), signature in ".+", url in ".*",
        ) {
            let content = Content { template_id: &template_id, params: &params, signature: Some(&signature) };
            let call = Call { from: from.clone(), ..call() };
            let fields = fields(&encode(&call, Some(&url), &[Item { to: "+8615512345678", content }]));
            let field = |name: &str| fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone()).unwrap();
            prop_assert_eq!(field("from"), from);
            prop_assert_eq!(field("to"), "+8615512345678");
            prop_assert_eq!(field("templateId"), template_id);
            prop_assert_eq!(serde_json::from_str::<Vec<String>>(&field("templateParas")).unwrap(), params);
            prop_assert_eq!(field("signature"), signature);
            prop_assert_eq!(field("statusCallback"), url);
        }

        #[test]
        fn no_bytes_make_the_answer_reader_panic(body in prop::collection::vec(any::<u8>(), 0..512)) {
            let _ = decode(&body);
        }
    }
}
