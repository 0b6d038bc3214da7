//! Reads an object of the management API field by field, whatever type a value comes in: the documents call one field a number
//! and print it as a text a page later. What nobody has read in the end has no neutral name and is passed on as it is.

use chrono::{DurationRound, NaiveDateTime, TimeDelta};
use serde_json::{Map, Value};

use super::{super::wire, fault};
use crate::{
    domain::{
        Timestamp,
        content::Category,
        registration::{Native, Region},
    },
    providers::registrations::{Listed, RegistrationError},
};

const TIME: &str = "%Y-%m-%d %H:%M:%S";

/// The fields of one object that have not been read yet.
#[derive(Debug)]
pub(super) struct Fields(Map<String, Value>);

impl Fields {
    /// Of an answer, which must be an object.
    pub(super) fn of(value: Value) -> Result<Self, RegistrationError> {
        match value {
            Value::Object(fields) => Ok(Self(fields)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                Err(fault::unreadable())
            }
        }
    }

    /// What must be there for the answer to mean anything.
    pub(super) fn required(&mut self, name: &str) -> Result<String, RegistrationError> {
        self.text(name).ok_or_else(fault::unreadable)
    }

    /// A text, or a number as one.
    pub(super) fn text(&mut self, name: &str) -> Option<String> {
        self.take(name, wire::text)
    }

    /// A text that is looked at and stays for whoever wants it.
    pub(super) fn peek(&self, name: &str) -> Option<String> {
        self.0.get(name).and_then(wire::text)
    }

    /// A number, or a text that holds one.
    pub(super) fn number<T: std::str::FromStr>(&mut self, name: &str) -> Option<T> {
        self.take(name, |value| wire::text(value)?.trim().parse().ok())
    }

    /// `true`, `1`, `yes` and their opposites.
    pub(super) fn flag(&mut self, name: &str) -> Option<bool> {
        self.take(name, |value| match value {
            Value::Bool(flag) => Some(*flag),
            Value::Null | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
                match wire::text(value)?.to_ascii_lowercase().as_str() {
                    "yes" | "true" | "1" => Some(true),
                    "no" | "false" | "0" => Some(false),
                    _ => None,
                }
            }
        })
    }

    /// A time, which they write without a zone; taken is UTC.
    pub(super) fn time(&mut self, name: &str) -> Option<Timestamp> {
        self.take(name, |value| Some(NaiveDateTime::parse_from_str(value.as_str()?, TIME).ok()?.and_utc()))
    }

    /// A word that has a neutral one. Case, and blanks for underscores, do not matter.
    pub(super) fn word<T>(&mut self, name: &str, meaning: impl Fn(&str) -> Option<T>) -> Option<T> {
        self.take(name, |value| meaning(&wire::text(value)?.trim().replace(' ', "_").to_ascii_uppercase()))
    }

    /// A list of numbers.
    pub(super) fn numbers(&mut self, name: &str) -> Option<Vec<u32>> {
        self.take(name, |value| value.as_array()?.iter().map(|entry| wire::text(entry)?.parse().ok()).collect())
    }

    /// Passes a field on to nobody.
    pub(super) fn forget(&mut self, name: &str) {
        self.0.remove(name);
    }

    /// Everything that has no neutral name.
    pub(super) fn rest(self) -> Native {
        self.0
    }

    /// Takes a field out if it is understood, or says nothing.
    fn take<T>(&mut self, name: &str, read: impl Fn(&Value) -> Option<T>) -> Option<T> {
        let value = self.0.get(name)?;
        let found = read(value);
        if found.is_some() || value.is_null() || value.as_str().is_some_and(str::is_empty) {
            self.0.remove(name);
        }
        found
    }
}

/// A page: `results` and `total`.
pub(super) fn page<T>(
    value: Value,
    read: impl Fn(Fields) -> Result<T, RegistrationError>,
) -> Result<Listed<T>, RegistrationError> {
    let mut fields = Fields::of(value)?;
    let Some(Value::Array(results)) = fields.0.remove("results") else { return Err(fault::unreadable()) };
    let entries = results.into_iter().map(|entry| read(Fields::of(entry)?)).collect::<Result<Vec<T>, _>>()?;
    let least = entries.len() as u64;
    Ok(Listed { entries, total: fields.number("total").unwrap_or(least) })
}

/// A body: what has a neutral name, over what the caller passes on.
pub(super) fn body(native: &Native, neutral: Vec<(&str, Option<Value>)>) -> Value {
    let mut body = native.clone();
    for (name, value) in neutral {
        match value {
            Some(value) => body.insert(name.to_owned(), value),
            None => body.remove(name),
        };
    }
    Value::Object(body)
}

/// The second at or after a time: theirs have no smaller part.
pub(super) fn written_not_before(time: Timestamp) -> String {
    let second = time.duration_trunc(TimeDelta::seconds(1)).unwrap_or(time);
    let second = if second < time { second + TimeDelta::seconds(1) } else { second };
    second.format(TIME).to_string()
}

/// The last second before a time: both ends of their range belong to it.
pub(super) fn written_before(time: Timestamp) -> String {
    let second = time.duration_trunc(TimeDelta::seconds(1)).unwrap_or(time);
    let second = if second < time { second } else { second - TimeDelta::seconds(1) };
    second.format(TIME).to_string()
}

pub(super) fn region_of(word: &str) -> Option<Region> {
    match word {
        "CN" => Some(Region::Cn),
        "INTL" => Some(Region::Intl),
        _ => None,
    }
}

pub(super) const fn category_word(category: Category) -> &'static str {
    match category {
        Category::Otp => "VERIFY_CODE_TYPE",
        Category::Transactional => "NOTIFY_TYPE",
        Category::Marketing => "PROMOTION_TYPE",
    }
}

pub(super) fn category_of(word: &str) -> Option<Category> {
    Category::ALL.iter().copied().find(|category| category_word(*category) == word)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_value_is_read_whatever_type_it_comes_in() {
        for (value, expected) in [
            (json!(true), Some(true)),
            (json!(0), Some(false)),
            (json!("1"), Some(true)),
            (json!("No"), Some(false)),
            (json!("yes"), Some(true)),
            (json!("perhaps"), None),
        ] {
            assert_eq!(Fields::of(json!({ "x": value })).unwrap().flag("x"), expected, "{value}");
        }
        assert_eq!(Fields::of(json!({ "x": "0" })).unwrap().number::<u64>("x"), Some(0));
        assert_eq!(Fields::of(json!({ "x": 5 })).unwrap().text("x").as_deref(), Some("5"));
        let word = Fields::of(json!({ "x": "PENDING REVIEW" })).unwrap().word("x", |word| Some(word.to_owned()));
        assert_eq!(word.as_deref(), Some("PENDING_REVIEW"));
    }

    #[test]
    fn what_is_not_understood_is_passed_on_and_what_is_empty_is_not() {
        let mut fields = Fields::of(json!({ "time": "soon", "empty": "", "nothing": null, "other": [1] })).unwrap();
        assert_eq!((fields.time("time"), fields.text("empty"), fields.text("nothing")), (None, None, None));
        assert_eq!(Value::Object(fields.rest()), json!({ "time": "soon", "other": [1] }));
    }

    #[test]
    fn a_range_of_time_is_cut_to_whole_seconds_inside_of_it() {
        let time = |text: &str| text.parse::<Timestamp>().unwrap();
        let (whole, half) = (time("2022-08-12T06:51:17Z"), time("2022-08-12T06:51:17.5Z"));
        assert_eq!(written_not_before(whole), "2022-08-12 06:51:17");
        assert_eq!(written_not_before(half), "2022-08-12 06:51:18");
        assert_eq!(written_before(whole), "2022-08-12 06:51:16");
        assert_eq!(written_before(half), "2022-08-12 06:51:17");
    }

    #[test]
    fn a_neutral_field_wins_over_a_native_one_of_the_same_name() {
        let native = json!({ "app_name": "native", "extra": 1, "gone": 2 });
        let body = body(native.as_object().unwrap(), vec![("app_name", Some(json!("neutral"))), ("gone", None)]);
        assert_eq!(body, json!({ "app_name": "neutral", "extra": 1 }));
    }
}
