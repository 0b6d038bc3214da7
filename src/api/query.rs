//! Reads query parameters one by one and collects everything that is wrong; what nobody read is unknown.

use std::{fmt::Display, str::FromStr};

use axum::{extract::FromRequestParts, http::request::Parts};

use super::{
    error::ApiError,
    field_reader::{Problems, TIMESTAMP_EXPECTED, parse_timestamp},
    page::{Cursor, DEFAULT_LIMIT, MAX_LIMIT},
    problem::{FieldError, ProblemCode},
};
use crate::{config::is_slug, domain::Timestamp};

/// The query of a request, not yet read.
#[derive(Debug, Default)]
pub struct Query {
    pairs: Vec<(String, String)>,
    known: Vec<&'static str>,
    problems: Problems,
}

impl<S: Send + Sync> FromRequestParts<S> for Query {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        Ok(Self::parse(parts.uri.query().unwrap_or_default()))
    }
}

impl Query {
    /// Splits a query as forms are split.
    pub fn parse(query: &str) -> Self {
        let pairs = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        Self { pairs, ..Self::default() }
    }

    /// A text of at most `max` characters.
    pub fn text(&mut self, name: &'static str, max: usize) -> Option<String> {
        let text = self.one(name)?;
        if text.chars().count() > max {
            self.fault(name, ProblemCode::TooLong, format!("At most {max} characters."));
            return None;
        }
        Some(text)
    }

    /// A value of a closed list or with a form of its own.
    pub fn parsed<T: FromStr>(&mut self, name: &'static str, expected: impl Display) -> Option<T> {
        let text = self.one(name)?;
        self.parse_one(name, &text, &expected)
    }

    /// The name of something in the configuration; it need not exist.
    pub fn slug(&mut self, name: &'static str) -> Option<String> {
        let slug = self.one(name)?;
        if !is_slug(&slug) {
            self.fault(name, ProblemCode::Invalid, "Lower-case letters, digits and `_`, beginning with a letter.");
            return None;
        }
        Some(slug)
    }

    /// A number as it is stored; whether it is possible does not matter for finding it.
    pub fn phone_number(&mut self, name: &'static str) -> Option<String> {
        let number = self.one(name)?;
        let digits = number.strip_prefix('+').unwrap_or_default();
        let well_formed = (7..=15).contains(&digits.len())
            && digits.bytes().all(|byte| byte.is_ascii_digit())
            && !digits.starts_with('0');
        if !well_formed {
            self.fault(name, ProblemCode::Invalid, "A number in E.164 form with `+`, written %2B in an address.");
            return None;
        }
        Some(number)
    }

    /// Any number of values, each under the same name.
    pub fn many<T: FromStr>(&mut self, name: &'static str, expected: impl Display) -> Vec<T> {
        let texts = self.all(name);
        texts.iter().filter_map(|text| self.parse_one(name, text, &expected)).collect()
    }

    /// A point in time.
    pub fn timestamp(&mut self, name: &'static str) -> Option<Timestamp> {
        let time = parse_timestamp(&self.one(name)?);
        if time.is_none() {
            self.fault(name, ProblemCode::Invalid, TIMESTAMP_EXPECTED);
        }
        time
    }

    /// How many entries a page shall have.
    pub fn limit(&mut self) -> u32 {
        let Some(text) = self.one("limit") else { return DEFAULT_LIMIT };
        let Ok(limit) = text.parse::<i64>() else {
            self.fault("limit", ProblemCode::Invalid, "A whole number is expected.");
            return DEFAULT_LIMIT;
        };
        u32::try_from(limit).ok().filter(|limit| (1..=MAX_LIMIT).contains(limit)).unwrap_or_else(|| {
            self.fault("limit", ProblemCode::OutOfRange, format!("Between 1 and {MAX_LIMIT}."));
            DEFAULT_LIMIT
        })
    }

    /// Where the page shall begin: after the entry with this key.
    pub fn cursor<K: FromStr>(&mut self) -> Option<K> {
        let text = self.one("cursor")?;
        let key = Cursor::read(&text);
        if key.is_none() {
            self.fault("cursor", ProblemCode::Invalid, "Send `next_cursor` of the page before, unchanged.");
        }
        key
    }

    /// Notes a fault of a parameter.
    pub fn fault(&mut self, name: &str, code: ProblemCode, detail: impl Into<String>) {
        self.problems.push(FieldError::parameter(name, code, detail));
    }

    /// Everything that was not read is unknown; anything wrong refuses the request.
    pub fn finish(mut self) -> Result<(), ApiError> {
        let pairs = std::mem::take(&mut self.pairs);
        for (name, _) in &pairs {
            if !self.known.contains(&name.as_str()) {
                self.fault(name, ProblemCode::UnknownField, "The parameter is not known.");
            }
        }
        self.problems.check()
    }

    fn all(&mut self, name: &'static str) -> Vec<String> {
        self.known.push(name);
        let values: Vec<String> =
            self.pairs.iter().filter(|(key, _)| key == name).map(|(_, value)| value.clone()).collect();
        if values.iter().any(|value| value.contains('\0')) {
            self.fault(name, ProblemCode::Invalid, "U+0000 is not taken.");
            return Vec::new();
        }
        values
    }

    fn one(&mut self, name: &'static str) -> Option<String> {
        let mut values = self.all(name);
        if values.len() > 1 {
            self.fault(name, ProblemCode::Duplicate, "The parameter may stand only once.");
            return None;
        }
        values.pop()
    }

    fn parse_one<T: FromStr>(&mut self, name: &'static str, text: &str, expected: &impl Display) -> Option<T> {
        let parsed = text.parse().ok();
        if parsed.is_none() {
            self.fault(name, ProblemCode::Invalid, format!("Expected: {expected}."));
        }
        parsed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::status::MessageStatus;

    fn faults(query: Query) -> Vec<(String, ProblemCode)> {
        match query.finish() {
            Err(ApiError::Invalid(errors)) => {
                errors.into_iter().map(|error| (error.parameter.unwrap(), error.code)).collect()
            }
            Ok(()) => Vec::new(),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn a_repeatable_parameter_gives_every_value_and_others_only_one() {
        let mut query = Query::parse("status=sent&status=failed&app=a&app=b");
        assert_eq!(query.many::<MessageStatus>("status", "a status"), [MessageStatus::Sent, MessageStatus::Failed]);
        assert_eq!(query.text("app", 10), None);
        assert_eq!(faults(query), [("app".to_owned(), ProblemCode::Duplicate)]);
    }

    #[test]
    fn what_nobody_read_is_unknown() {
        let mut query = Query::parse("limit=1&offset=3");
        assert_eq!(query.limit(), 1);
        assert_eq!(faults(query), [("offset".to_owned(), ProblemCode::UnknownField)]);
    }

    #[test]
    fn limits_have_a_range() {
        for (text, code) in [
            ("limit=1", None),
            ("limit=200", None),
            ("limit=0", Some(ProblemCode::OutOfRange)),
            ("limit=201", Some(ProblemCode::OutOfRange)),
            ("limit=-1", Some(ProblemCode::OutOfRange)),
            ("limit=", Some(ProblemCode::Invalid)),
            ("limit=ten", Some(ProblemCode::Invalid)),
        ] {
            let mut query = Query::parse(text);
            query.limit();
            assert_eq!(faults(query).first().map(|(_, code)| *code), code, "{text}");
        }
        assert_eq!(Query::parse("").limit(), 50);
    }

    #[test]
    fn times_are_rfc_3339() {
        let mut query = Query::parse("a=2026-03-01T09:00:00%2B07:00&b=yesterday&c=2026-03-01");
        assert_eq!(query.timestamp("a").unwrap().to_rfc3339(), "2026-03-01T02:00:00+00:00");
        assert_eq!((query.timestamp("b"), query.timestamp("c")), (None, None));
        assert_eq!(faults(query).len(), 2);
    }

    #[test]
    fn a_nul_is_refused() {
        let mut query = Query::parse("to=%00");
        assert_eq!(query.text("to", 10), None);
        assert_eq!(faults(query), [("to".to_owned(), ProblemCode::Invalid)]);
    }

    #[test]
    fn a_cursor_that_is_not_ours_is_refused() {
        let mut query = Query::parse("cursor=abc");
        assert_eq!(query.cursor::<String>(), None);
        assert_eq!(faults(query), [("cursor".to_owned(), ProblemCode::Invalid)]);
    }
}
