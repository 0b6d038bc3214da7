//! What the variables of a template take: found out from the template itself, and values held against it before they are sent.
//!
//! International templates say it in their text (`${NUM_6}`, `${TXT_20}`, `${DATE}`, `${TIME}`), those of the mainland may say a
//! kind (`${PHONE}`) or only a number (`${1}`), whose kind and length stand in a list beside the text. The rules:
//! <https://support.huaweicloud.com/intl/en-us/msgsms_faq/sms_faq_0003.html>, mainland
//! <https://support.huaweicloud.com/productdesc-msgsms/sms_faq_0003.html>. Where their versions differ the wider one holds: what
//! they might take is sent, and they decide.

use chrono::{NaiveDate, NaiveTime};
use serde_json::Value;

use crate::{
    domain::{
        content::Category,
        registration::{ProviderTemplate, Region, TemplateVariable},
    },
    providers::ParamFault,
};

/// A code of a mainland template for verification has no more.
const LONGEST_CODE: u32 = 6;
/// Of `${TEXT}` and `${CHARDIGIT}`, where no list says otherwise.
const LONGEST_MAINLAND: u32 = 20;
const LONGEST_PHONE: u32 = 15;

/// What kind of value a variable takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `${NUM_n}`: digits.
    Number,
    /// `${TXT_n}`: anything but braces.
    Text,
    /// `${DATE}`: `2026/3/1`.
    Date,
    /// `${TIME}`: `09:30` or `09:30:00`.
    Time,
    /// An address.
    Url,
    /// `${PHONE}`: digits and hyphens.
    Phone,
    /// `${CHARDIGIT}`: letters, digits and underscores.
    CharDigit,
    /// `${TEXT}`: without the signs that end a sentence or a tag.
    PlainText,
    /// Any other kind, about which nothing is known but perhaps its length.
    Other,
}

/// A variable of a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Variable {
    /// What it takes.
    pub kind: Kind,
    /// At most so many characters.
    pub max: Option<u32>,
}

/// The variables of a template in order; none where nothing is known for sure: text and list contradict each other, or neither
/// says anything and Huawei does not say that there are none, or numbers are not those of places.
pub fn of_template(template: &ProviderTemplate) -> Option<Vec<Variable>> {
    let listed = template.variables.as_deref().unwrap_or_default();
    let words = placeholders(&template.text);
    if words.is_empty() && listed.is_empty() {
        return has_none(template).then(Vec::new);
    }
    // Which value is whose is sure only where the numbers are those of the places, each once.
    let numbers = words_of(&template.text).into_iter().filter(|word| is_number(word));
    if numbers.enumerate().any(|(place, number)| number.parse() != Ok(place + 1)) {
        return None;
    }
    let mut found: Vec<Variable> = if words.is_empty() {
        listed.iter().map(|entry| of_word(&entry.kind, entry.length)).collect()
    } else if listed.is_empty() || listed.len() == words.len() {
        words.iter().enumerate().map(|(place, word)| of_placeholder(word, place, listed)).collect()
    } else {
        return None;
    };
    if template.region == Some(Region::Cn) && template.category == Some(Category::Otp) {
        for (place, variable) in found.iter_mut().enumerate() {
            let said =
                |entry: &TemplateVariable| entry.length.is_some_and(|length| length > 0) || entry.kind.contains('_');
            if !listed.get(place).is_some_and(said) {
                variable.max = Some(variable.max.map_or(LONGEST_CODE, |max| max.min(LONGEST_CODE)));
            }
        }
    }
    Some(found)
}

fn words_of(text: &str) -> Vec<&str> {
    text.split("${").skip(1).filter_map(|part| Some(part.split_once('}')?.0)).collect()
}

/// What stands between `${` and `}`, in order. A number that comes again is the same variable.
pub fn placeholders(text: &str) -> Vec<&str> {
    let mut words: Vec<&str> = Vec::new();
    for word in words_of(text) {
        if !(is_number(word) && words.contains(&word)) {
            words.push(word);
        }
    }
    words
}

fn has_none(template: &ProviderTemplate) -> bool {
    template.native.get("has_variable").and_then(Value::as_str).is_some_and(|has| has.eq_ignore_ascii_case("no"))
}

fn is_number(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit())
}

fn of_placeholder(word: &str, place: usize, listed: &[TemplateVariable]) -> Variable {
    let numbered = word.parse().ok().and_then(|index: u32| listed.iter().find(|entry| entry.index == index));
    let entry = numbered.or_else(|| listed.get(place));
    match entry {
        Some(entry) if is_number(word) => of_word(&entry.kind, entry.length),
        Some(entry) => of_word(word, entry.length),
        None if is_number(word) => Variable { kind: Kind::Other, max: None },
        None => of_word(word, None),
    }
}

/// `NUM_6` and `NUM` with a length beside it are the same.
fn of_word(word: &str, length: Option<u32>) -> Variable {
    let word = word.trim().trim_start_matches("${").trim_end_matches('}').to_ascii_uppercase();
    let (name, suffix) = word.split_once('_').unwrap_or((&word, ""));
    let listed = suffix.parse().ok().or(length).filter(|max| *max > 0);
    let (kind, max) = match name {
        "NUM" => (Kind::Number, listed),
        "TXT" => (Kind::Text, listed),
        "DATE" => (Kind::Date, None),
        "TIME" => (Kind::Time, None),
        "URL" => (Kind::Url, listed),
        "PHONE" => (Kind::Phone, Some(LONGEST_PHONE)),
        "CHARDIGIT" => (Kind::CharDigit, listed.or(Some(LONGEST_MAINLAND))),
        "TEXT" => (Kind::PlainText, listed.or(Some(LONGEST_MAINLAND))),
        _ => (Kind::Other, listed),
    };
    Variable { kind, max }
}

/// Everything that the template would not take of these values.
pub fn check(variables: &[Variable], values: &[String]) -> Vec<ParamFault> {
    if values.len() != variables.len() {
        let detail = format!("The provider's template takes {} values and gets {}.", variables.len(), values.len());
        return vec![ParamFault { index: None, detail }];
    }
    let numbered = variables.iter().zip(values).enumerate();
    numbered
        .filter_map(|(index, (variable, value))| {
            Some(ParamFault { index: Some(index), detail: fault(*variable, value)? })
        })
        .collect()
}

/// What is wrong with a value, as a sentence.
fn fault(variable: Variable, value: &str) -> Option<String> {
    if value.is_empty() {
        return Some("The provider takes no empty value.".to_owned());
    }
    if let Some(max) = variable.max.filter(|max| value.chars().count() > *max as usize) {
        return Some(format!("The provider's template takes at most {max} characters here."));
    }
    let wanted = match variable.kind {
        Kind::Number => (!value.bytes().all(|byte| byte.is_ascii_digit())).then_some("digits only"),
        Kind::Text => value.contains(['{', '}']).then_some("text without braces"),
        Kind::Date => (!is_date(value)).then_some("a date like 2026/03/01"),
        Kind::Time => (!is_time(value)).then_some("a time like 09:30 or 09:30:00"),
        Kind::Url => value.contains(char::is_whitespace).then_some("an address without blanks"),
        Kind::Phone => (!is_phone(value)).then_some("a phone number of digits and hyphens"),
        Kind::CharDigit => (!value.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'))
            .then_some("letters, digits and underscores only"),
        Kind::PlainText => value
            .contains(['.', '。', '\'', '<', '>', '{', '}'])
            .then_some("text without full stops, apostrophes, angle brackets and braces"),
        Kind::Other => None,
    };
    wanted.map(|wanted| format!("The provider's template takes {wanted} here."))
}

/// A month or a day may have one digit.
fn is_date(value: &str) -> bool {
    let parts: Vec<&str> = value.split('/').collect();
    let [year, month, day] = parts.as_slice() else { return false };
    let number =
        |text: &str, most: usize| (is_number(text) && text.len() <= most).then(|| text.parse::<u32>().ok()).flatten();
    let year = number(year, 4).filter(|_| year.len() == 4).and_then(|year| i32::try_from(year).ok());
    let date = year.zip(number(month, 2)).zip(number(day, 2));
    date.is_some_and(|((year, month), day)| NaiveDate::from_ymd_opt(year, month, day).is_some())
}

fn is_time(value: &str) -> bool {
    let two_digits = value.split(':').all(|part| part.len() == 2 && is_number(part));
    let parsed = ["%H:%M", "%H:%M:%S"].iter().any(|form| NaiveTime::parse_from_str(value, form).is_ok());
    // 23:59:60 is a second to chrono and none to them.
    two_digits && parsed && !value.ends_with(":60")
}

fn is_phone(value: &str) -> bool {
    let body = value.strip_prefix('+').unwrap_or(value);
    body.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') && body.ends_with(|c: char| c.is_ascii_digit())
}

#[cfg(test)]
mod tests;
