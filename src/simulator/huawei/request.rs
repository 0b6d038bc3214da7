//! Both send calls read into one shape, with the documented rules about their format.
//!
//! What fails here fails the call as a whole. What only one number fails by (its shape, a repeat, the template) is decided
//! in the parent module and goes into that number's status.

use serde::Deserialize;
use serde_json::Value;
use url::{Url, form_urlencoded};

/// The most numbers in a call.
const MAX_NUMBERS: usize = 500;
/// The most bytes of `smsContent`.
const MAX_CONTENT_BYTES: usize = 64 * 1024;

/// Which of the two calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Api {
    /// The same template and values for all numbers, as a form.
    Same,
    /// Several items, each with its own, as JSON.
    Different,
}

/// A call that can be worked on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SendCall {
    pub from: String,
    pub status_callback: Option<String>,
    pub extend: Option<String>,
    pub items: Vec<Item>,
}

/// Some numbers that get the same content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Item {
    pub to: Vec<String>,
    pub template_id: String,
    pub params: Vec<String>,
    pub signature: Option<String>,
}

/// A call that is refused as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub code: &'static str,
    pub detail: String,
}

impl Refusal {
    pub fn new(code: &'static str, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into() }
    }

    fn format(detail: &str) -> Self {
        Self::new("E000503", detail)
    }
}

impl Api {
    /// The fixed `Content-Type`; parameters such as a charset may follow it.
    pub fn check_content_type(self, content_type: &str) -> Result<(), Refusal> {
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        let wanted = match self {
            Self::Same => "application/x-www-form-urlencoded",
            Self::Different => "application/json",
        };
        let fits = essence.eq_ignore_ascii_case(wanted);
        if fits { Ok(()) } else { Err(Refusal::new("E000040", format!("it must be {wanted}"))) }
    }

    /// Reads a body.
    pub fn read(self, body: &[u8]) -> Result<SendCall, Refusal> {
        let call = match self {
            Self::Same => read_form(body)?,
            Self::Different => read_json(body)?,
        };
        check(&call)?;
        Ok(call)
    }
}

fn read_form(body: &[u8]) -> Result<SendCall, Refusal> {
    let fields: Vec<(String, String)> = form_urlencoded::parse(body).into_owned().collect();
    let field = |name: &str| fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    let params = match field("templateParas").filter(|text| !text.is_empty()) {
        None => Vec::new(),
        Some(text) => serde_json::from_str(&text)
            .map_err(|_| Refusal::new("E000000", "templateParas must be a JSON array of strings"))?,
    };
    let item = Item {
        to: numbers(&field("to").ok_or_else(|| Refusal::format("to is missing"))?),
        template_id: field("templateId").ok_or_else(|| Refusal::format("templateId is missing"))?,
        params,
        signature: field("signature"),
    };
    Ok(SendCall {
        from: field("from").ok_or_else(|| Refusal::format("from is missing"))?,
        status_callback: field("statusCallback"),
        extend: field("extend"),
        items: vec![item],
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DiffBody {
    from: Option<String>,
    status_callback: Option<String>,
    extend: Option<String>,
    sms_content: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DiffItem {
    to: Option<Numbers>,
    template_id: Option<String>,
    #[serde(default)]
    template_paras: Option<Vec<String>>,
    signature: Option<String>,
}

/// The table says a list with commas, the example and the SDKs an array; both are in use.
#[derive(Deserialize)]
#[serde(untagged)]
enum Numbers {
    List(Vec<String>),
    Text(String),
}

fn read_json(body: &[u8]) -> Result<SendCall, Refusal> {
    let unreadable = |_| Refusal::new("E000000", "the body cannot be read");
    let body: DiffBody = serde_json::from_slice(body).map_err(unreadable)?;
    let content = body.sms_content.ok_or_else(|| Refusal::format("smsContent is missing"))?;
    if content.to_string().len() > MAX_CONTENT_BYTES {
        return Err(Refusal::format("smsContent is larger than 64 KB"));
    }
    let items: Vec<DiffItem> = serde_json::from_value(content).map_err(unreadable)?;
    let items = items.into_iter().map(DiffItem::read).collect::<Result<Vec<_>, _>>()?;
    Ok(SendCall {
        from: body.from.ok_or_else(|| Refusal::format("from is missing"))?,
        status_callback: body.status_callback,
        extend: body.extend,
        items,
    })
}

impl DiffItem {
    fn read(self) -> Result<Item, Refusal> {
        Ok(Item {
            to: match self.to.ok_or_else(|| Refusal::format("to is missing"))? {
                Numbers::List(list) => list,
                Numbers::Text(text) => numbers(&text),
            },
            template_id: self.template_id.ok_or_else(|| Refusal::format("templateId is missing"))?,
            params: self.template_paras.unwrap_or_default(),
            signature: self.signature,
        })
    }
}

fn numbers(list: &str) -> Vec<String> {
    list.split(',').map(str::to_owned).collect()
}

fn check(call: &SendCall) -> Result<(), Refusal> {
    check_length("from", &call.from, 1, 21)?;
    if let Some(callback) = &call.status_callback {
        check_length("statusCallback", callback, 1, 1024)?;
        let is_http = Url::parse(callback).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
        if !is_http {
            return Err(Refusal::format("statusCallback is not an HTTP address"));
        }
    }
    if let Some(extend) = &call.extend {
        if !(1..=128).contains(&extend.len()) {
            return Err(Refusal::format("extend must have 1 to 128 bytes"));
        }
        if extend.contains([' ', '{', '}']) {
            return Err(Refusal::format("extend must not have spaces and braces"));
        }
    }
    if call.items.is_empty() {
        return Err(Refusal::format("smsContent is empty"));
    }
    if call.items.iter().map(|item| item.to.len()).sum::<usize>() > MAX_NUMBERS {
        return Err(Refusal::format("more than 500 numbers"));
    }
    call.items.iter().try_for_each(check_item)
}

fn check_item(item: &Item) -> Result<(), Refusal> {
    if item.to.is_empty() {
        return Err(Refusal::format("no number"));
    }
    for number in &item.to {
        check_length("a number in to", number, 1, 21)?;
        if !number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'+') {
            return Err(Refusal::format("to has other characters than digits and +"));
        }
    }
    check_length("templateId", &item.template_id, 1, 32)?;
    if let Some(signature) = &item.signature {
        check_length("signature", signature, 0, 32)?;
    }
    if item.params.iter().any(|value| value.contains(['{', '}'])) {
        return Err(Refusal::format("a template variable has special characters"));
    }
    Ok(())
}

fn check_length(name: &str, value: &str, least: usize, most: usize) -> Result<(), Refusal> {
    let fits = (least..=most).contains(&value.chars().count());
    if fits { Ok(()) } else { Err(Refusal::format(&format!("{name} must have {least} to {most} characters"))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEMPLATE: &str = "8ff55eac1d0b478ab3c06c3c6a492300";

    fn form(changes: &[(&str, Option<&str>)]) -> Result<SendCall, Refusal> {
        let mut fields = vec![
            ("from", "isms100000001".to_owned()),
            ("to", "+85260123456,+85260123457".to_owned()),
            ("templateId", TEMPLATE.to_owned()),
            ("templateParas", "[\"3\",\"Gate of People's Park\"]".to_owned()),
        ];
        for (name, value) in changes {
            fields.retain(|(key, _)| key != name);
            fields.extend(value.map(|value| (*name, value.to_owned())));
        }
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        Api::Same.read(body.as_bytes())
    }

    #[test]
    fn a_form_is_read() {
        let call = form(&[("extend", Some("ref_1")), ("statusCallback", Some("http://127.0.0.1:1/r"))]).unwrap();
        assert_eq!(call.items[0].to, ["+85260123456", "+85260123457"]);
        assert_eq!(call.items[0].params, ["3", "Gate of People's Park"]);
        assert_eq!(call.extend.as_deref(), Some("ref_1"));
    }

    #[test]
    fn a_template_without_variables_needs_no_values() {
        assert!(form(&[("templateParas", None)]).unwrap().items[0].params.is_empty());
        assert!(form(&[("templateParas", Some(""))]).unwrap().items[0].params.is_empty());
    }

    #[test]
    fn each_wrong_format_of_a_form_has_its_code() {
        let many = vec!["+85260123456"; 501].join(",");
        let long = |length| "x".repeat(length);
        let cases: Vec<(&str, Option<String>, &str)> = vec![
            ("from", None, "E000503"),
            ("from", Some(long(22)), "E000503"),
            ("to", None, "E000503"),
            ("to", Some(String::new()), "E000503"),
            ("to", Some("+85260123456,".into()), "E000503"),
            ("to", Some(" 85260123456".into()), "E000503"),
            ("to", Some("+8526012345678901234567".into()), "E000503"),
            ("to", Some(many), "E000503"),
            ("templateId", None, "E000503"),
            ("templateId", Some(String::new()), "E000503"),
            ("templateId", Some(long(33)), "E000503"),
            ("templateParas", Some("[3]".into()), "E000000"),
            ("templateParas", Some("3".into()), "E000000"),
            ("templateParas", Some("['3']".into()), "E000000"),
            ("templateParas", Some("[\"{3}\"]".into()), "E000503"),
            ("statusCallback", Some(String::new()), "E000503"),
            ("statusCallback", Some("ftp://example.com/".into()), "E000503"),
            ("statusCallback", Some(format!("http://example.com/{}", long(1010))), "E000503"),
            ("extend", Some(String::new()), "E000503"),
            ("extend", Some("a b".into()), "E000503"),
            ("extend", Some("{a}".into()), "E000503"),
            ("extend", Some(long(129)), "E000503"),
            ("signature", Some(long(33)), "E000503"),
        ];
        for (name, value, code) in cases {
            let refusal = form(&[(name, value.as_deref())]).unwrap_err();
            assert_eq!(refusal.code, code, "{name} = {value:?}: {}", refusal.detail);
        }
    }

    #[test]
    fn a_plus_that_was_not_encoded_fails_the_whole_form() {
        let body = format!("from=isms1&to=+85260123456&templateId={TEMPLATE}");
        assert_eq!(Api::Same.read(body.as_bytes()).unwrap_err().code, "E000503");
    }

    #[test]
    fn json_is_read_with_numbers_as_array_or_text() {
        for to in [r#"["+85260123456","+85260123457"]"#, r#""+85260123456,+85260123457""#] {
            let body = format!(
                r#"{{"from":"isms1","extend":"r","smsContent":[{{"to":{to},"templateId":"{TEMPLATE}","templateParas":["1"]}}]}}"#
            );
            let call = Api::Different.read(body.as_bytes()).unwrap();
            assert_eq!(call.items[0].to.len(), 2, "{to}");
            assert_eq!(call.items[0].params, ["1"]);
        }
    }

    #[test]
    fn each_wrong_format_of_json_has_its_code() {
        let item = |rest: &str| format!(r#"{{"from":"f","smsContent":[{{{rest}}}]}}"#);
        let good = format!(r#""to":["+85260123456"],"templateId":"{TEMPLATE}""#);
        assert!(Api::Different.read(item(&good).as_bytes()).is_ok());
        let large = format!(r#"{good},"templateParas":["{}"]"#, "x".repeat(MAX_CONTENT_BYTES));
        let cases = [
            ("{".to_owned(), "E000000"),
            (r#"{"from":"f"}"#.to_owned(), "E000503"),
            (r#"{"from":"f","smsContent":[]}"#.to_owned(), "E000503"),
            (item(r#""templateId":"x""#), "E000503"),
            (item(r#""to":[],"templateId":"x""#), "E000503"),
            (item(r#""to":["+85260123456"]"#), "E000503"),
            (item(&format!(r#"{good},"templateParas":"[\"1\"]""#)), "E000000"),
            (item(&format!(r#"{good},"templateParas":[1]"#)), "E000000"),
            (item(&large), "E000503"),
            (item(&good).replace(r#""from":"f","#, ""), "E000503"),
        ];
        for (body, code) in cases {
            let refusal = Api::Different.read(body.as_bytes()).unwrap_err();
            assert_eq!(refusal.code, code, "{:.120}", body);
        }
    }

    #[test]
    fn each_call_has_its_content_type() {
        assert!(Api::Same.check_content_type("application/x-www-form-urlencoded; charset=UTF-8").is_ok());
        assert!(Api::Different.check_content_type("application/JSON").is_ok());
        for (api, wrong) in [(Api::Same, "application/json"), (Api::Different, "text/json"), (Api::Same, "")] {
            assert_eq!(api.check_content_type(wrong).unwrap_err().code, "E000040", "{wrong}");
        }
    }
}
