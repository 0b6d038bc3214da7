//! Reads the fields of a JSON object one by one and collects everything that is wrong, each with its JSON Pointer.
//!
//! serde's derived readers stop at the first fault; a client wants to see all of them at once. A method that finds a fault
//! notes it and returns nothing; whether the whole request is taken is decided at the end by [`Problems::check`].

use std::{collections::BTreeMap, fmt::Display, str::FromStr};

use serde_json::{Map, Value};

use super::{
    error::ApiError,
    json_body::push_token,
    problem::{FieldError, ProblemCode},
};
use crate::domain::Timestamp;

/// So many faults are told; a body of nonsense is not answered with a longer one.
pub const ERROR_LIMIT: usize = 100;

/// Everything that is wrong with a request so far.
#[derive(Debug, Default)]
pub struct Problems(Vec<FieldError>);

impl Problems {
    /// Notes a fault.
    pub fn push(&mut self, error: FieldError) {
        if self.0.len() < ERROR_LIMIT {
            self.0.push(error);
        }
    }

    /// Has nothing been noted so far?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The kind of the first fault.
    pub fn first(&self) -> Option<ProblemCode> {
        self.0.first().map(|error| error.code)
    }

    /// Refuses the request if anything was noted.
    pub fn check(self) -> Result<(), ApiError> {
        if self.0.is_empty() { Ok(()) } else { Err(ApiError::Invalid(self.0)) }
    }
}

/// The fields of one object.
#[derive(Debug)]
pub struct FieldReader<'v, 'p> {
    fields: &'v Map<String, Value>,
    pointer: String,
    known: Vec<&'static str>,
    problems: &'p mut Problems,
}

impl<'v, 'p> FieldReader<'v, 'p> {
    /// Reads an object that stands at `pointer`; anything else is a fault.
    pub fn new(value: &'v Value, pointer: String, problems: &'p mut Problems) -> Option<Self> {
        let Value::Object(fields) = value else {
            problems.push(FieldError::at(pointer, ProblemCode::Invalid, "An object is expected."));
            return None;
        };
        Some(Self { fields, pointer, known: Vec::new(), problems })
    }

    /// Notes a fault of a field.
    pub fn fault(&mut self, name: &str, code: ProblemCode, detail: impl Into<String>) {
        let pointer = self.pointer_of(name);
        self.problems.push(FieldError::at(pointer, code, detail));
    }

    /// Is the field given at all?
    pub fn has(&self, name: &str) -> bool {
        self.fields.contains_key(name)
    }

    /// Is the field given as null? Where null means the same as leaving it out.
    pub fn is_null(&mut self, name: &'static str) -> bool {
        let null = self.fields.get(name).is_some_and(Value::is_null);
        if null {
            self.known.push(name);
        }
        null
    }

    /// Notes a field that has to be given and is not.
    pub fn require(&mut self, name: &'static str) {
        if !self.has(name) {
            self.fault(name, ProblemCode::Required, "The field is missing.");
        }
    }

    /// A string of at most `max` characters, at least one.
    pub fn text(&mut self, name: &'static str, max: usize) -> Option<String> {
        let text = self.string(name)?;
        if text.is_empty() {
            self.fault(name, ProblemCode::Invalid, "At least one character is expected.");
            return None;
        }
        self.fits(name, text, max).then(|| text.to_owned())
    }

    /// A string that is one of a closed list or has a form of its own.
    pub fn parsed<T: FromStr>(&mut self, name: &'static str, expected: impl Display) -> Option<T> {
        let parsed = self.string(name)?.parse().ok();
        if parsed.is_none() {
            self.fault(name, ProblemCode::Invalid, format!("Expected: {expected}."));
        }
        parsed
    }

    /// A point in time.
    pub fn timestamp(&mut self, name: &'static str) -> Option<Timestamp> {
        let time = parse_timestamp(self.string(name)?);
        if time.is_none() {
            self.fault(name, ProblemCode::Invalid, TIMESTAMP_EXPECTED);
        }
        time
    }

    /// A whole number between two bounds.
    pub fn integer(&mut self, name: &'static str, min: u32, max: u32) -> Option<u32> {
        let value = self.value(name)?;
        let Some(number) = whole_number(value) else {
            self.fault(name, ProblemCode::Invalid, "A whole number is expected.");
            return None;
        };
        let within = u32::try_from(number).ok().filter(|number| (min..=max).contains(number));
        if within.is_none() {
            self.fault(name, ProblemCode::OutOfRange, format!("Between {min} and {max}."));
        }
        within
    }

    /// `true` or `false`.
    pub fn boolean(&mut self, name: &'static str) -> Option<bool> {
        let value = self.value(name)?.as_bool();
        if value.is_none() {
            self.fault(name, ProblemCode::Invalid, "`true` or `false` is expected.");
        }
        value
    }

    /// An object of strings: so many entries, names and values of at most so many characters. Nothing if one of them is wrong.
    pub fn string_map(
        &mut self,
        name: &'static str,
        entries: usize,
        name_length: usize,
        value_length: usize,
    ) -> Option<BTreeMap<String, String>> {
        let pointer = self.pointer_of(name);
        let value = self.value(name)?;
        let mut inner = FieldReader::new(value, pointer, self.problems)?;
        if inner.fields.len() > entries {
            let detail = format!("At most {entries} entries.");
            self.fault(name, ProblemCode::TooMany, detail);
            return None;
        }
        let mut map = BTreeMap::new();
        let fields = inner.fields;
        for (key, value) in fields {
            if key.chars().count() > name_length {
                inner.fault(key, ProblemCode::TooLong, format!("A name has at most {name_length} characters."));
            } else if let Some(text) = value.as_str() {
                if inner.fits(key, text, value_length) {
                    map.insert(key.clone(), text.to_owned());
                }
            } else {
                inner.fault(key, ProblemCode::Invalid, "A string is expected.");
            }
        }
        // Half a map is worse than none: what is missing in it would be complained about once more.
        (map.len() == fields.len()).then_some(map)
    }

    /// An object with fields of its own. Its reader has to be finished too.
    pub fn object<'s>(&'s mut self, name: &'static str) -> Option<FieldReader<'v, 's>> {
        let pointer = self.pointer_of(name);
        let value = self.value(name)?;
        FieldReader::new(value, pointer, self.problems)
    }

    /// An object with any fields, which are somebody else's to read.
    pub fn free_object(&mut self, name: &'static str) -> Option<&'v Map<String, Value>> {
        let object = self.value(name)?.as_object();
        if object.is_none() {
            self.fault(name, ProblemCode::Invalid, "An object is expected.");
        }
        object
    }

    /// The entries of an array, each with its pointer.
    pub fn array(&mut self, name: &'static str, max: usize) -> Option<Vec<(String, &'v Value)>> {
        let Value::Array(values) = self.value(name)? else {
            self.fault(name, ProblemCode::Invalid, "An array is expected.");
            return None;
        };
        if values.is_empty() || values.len() > max {
            self.fault(name, ProblemCode::TooMany, format!("Between 1 and {max} entries."));
            return None;
        }
        let pointer = self.pointer_of(name);
        Some(values.iter().enumerate().map(|(index, value)| (format!("{pointer}/{index}"), value)).collect())
    }

    /// Everything else that stands in the object is unknown.
    pub fn finish(mut self) {
        for name in self.fields.keys() {
            if !self.known.contains(&name.as_str()) {
                self.fault(name, ProblemCode::UnknownField, "The field is not known.");
            }
        }
    }

    fn value(&mut self, name: &'static str) -> Option<&'v Value> {
        self.known.push(name);
        self.fields.get(name)
    }

    /// A string of any length, also an empty one.
    pub fn string(&mut self, name: &'static str) -> Option<&'v str> {
        let value = self.value(name)?.as_str();
        if value.is_none() {
            self.fault(name, ProblemCode::Invalid, "A string is expected.");
        }
        value
    }

    fn fits(&mut self, name: &str, text: &str, max: usize) -> bool {
        let fits = text.chars().count() <= max;
        if !fits {
            self.fault(name, ProblemCode::TooLong, format!("At most {max} characters."));
        }
        fits
    }

    fn pointer_of(&self, name: &str) -> String {
        let mut pointer = self.pointer.clone();
        push_token(&mut pointer, name);
        pointer
    }
}

/// What a time has to look like, for people.
pub(super) const TIMESTAMP_EXPECTED: &str = "A time of RFC 3339 is expected, such as 2026-03-01T09:00:00Z.";

/// A time of RFC 3339 with any offset, as UTC.
pub(super) fn parse_timestamp(text: &str) -> Option<Timestamp> {
    Some(chrono::DateTime::parse_from_rfc3339(text).ok()?.to_utc())
}

/// JSON knows no integers: `300.0` is one as well.
#[expect(clippy::cast_possible_truncation, reason = "only whole numbers of a size that fits get so far")]
pub(super) fn whole_number(value: &Value) -> Option<i64> {
    let whole = |number: f64| (number.fract() == 0.0 && number.abs() < 1e15).then_some(number as i64);
    // What is larger than any limit is out of range, whatever it is exactly.
    value.as_i64().or_else(|| value.as_u64().map(|_| i64::MAX)).or_else(|| value.as_f64().and_then(whole))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn faults(value: &Value, read: impl FnOnce(&mut FieldReader<'_, '_>)) -> Vec<(String, ProblemCode)> {
        let mut problems = Problems::default();
        if let Some(mut reader) = FieldReader::new(value, String::new(), &mut problems) {
            read(&mut reader);
            reader.finish();
        }
        problems.0.into_iter().map(|error| (error.pointer.unwrap(), error.code)).collect()
    }

    #[test]
    fn all_faults_are_told_at_once_each_with_its_pointer() {
        let value = json!({ "name": 5, "age": 200, "tags": { "a": 1, "b": "fine", "ccc": "x" }, "odd/one": true });
        let found = faults(&value, |reader| {
            reader.text("name", 5);
            reader.integer("age", 1, 120);
            reader.string_map("tags", 5, 2, 5);
            reader.require("id");
        });
        let expected = [
            ("/name", ProblemCode::Invalid),
            ("/age", ProblemCode::OutOfRange),
            ("/tags/a", ProblemCode::Invalid),
            ("/tags/ccc", ProblemCode::TooLong),
            ("/id", ProblemCode::Required),
            ("/odd~1one", ProblemCode::UnknownField),
        ];
        assert_eq!(found, expected.map(|(pointer, code)| (pointer.to_owned(), code)));
    }

    #[test]
    fn a_null_is_not_the_same_as_a_field_left_out() {
        let value = json!({ "name": null });
        assert_eq!(faults(&value, |reader| _ = reader.text("name", 5)), [("/name".to_owned(), ProblemCode::Invalid)]);
    }

    #[test]
    fn something_else_than_an_object_is_a_fault_of_the_whole() {
        assert_eq!(faults(&json!([]), |_| ()), [(String::new(), ProblemCode::Invalid)]);
    }

    #[test]
    fn lengths_count_characters_and_not_bytes() {
        assert_eq!(faults(&json!({ "name": "żółćś" }), |reader| _ = reader.text("name", 5)), []);
    }

    #[test]
    fn whole_numbers_may_be_written_with_a_fraction_of_zero() {
        for (value, code) in [
            (json!(10), None),
            (json!(10.0), None),
            (json!(9), Some(ProblemCode::OutOfRange)),
            (json!(-10), Some(ProblemCode::OutOfRange)),
            (json!(u64::MAX), Some(ProblemCode::OutOfRange)),
            (json!(10.5), Some(ProblemCode::Invalid)),
            (json!("10"), Some(ProblemCode::Invalid)),
        ] {
            let found = faults(&json!({ "n": value }), |reader| _ = reader.integer("n", 10, 20));
            assert_eq!(found.first().map(|(_, code)| *code), code, "{value}");
        }
    }

    #[test]
    fn a_body_of_nonsense_is_answered_with_a_bounded_list() {
        let value = Value::Object((0..1000).map(|index| (format!("field{index}"), Value::Null)).collect());
        assert_eq!(faults(&value, |_| ()).len(), ERROR_LIMIT);
    }
}
