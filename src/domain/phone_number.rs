//! Telephone numbers in E.164 form, checked by a real library: possible, not necessarily assigned.
//!
//! Numbering plans change faster than anybody's copy of them, so a number is refused only when its shape cannot exist:
//! unknown country code, wrong length for its country, or a prefix that is dialled only at home. Whether anybody answers
//! is the carriers' to say. Sender ids and short codes are no phone numbers and are not handled here.

use std::fmt;

use rlibphonenumber::{NumberLengthType, PHONE_NUMBER_UTIL, ParseError, PhoneNumberFormat, Region, ValidationError};
use serde::Serialize;

/// The sandbox's test numbers begin so; it is the code of no country.
const TEST_PREFIX: &str = "+999";

/// The code that the United States share with some twenty countries, among them expensive ones.
const NORTH_AMERICAN_CODE: i32 = 1;

/// A number in E.164 form with `+`: seven to fifteen digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct PhoneNumber(String);

/// Why a text is not a number that can be sent to. Holds nothing of the number, so that it may be logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PhoneNumberError {
    /// Nothing there.
    #[error("the number is empty")]
    Empty,
    /// `00…`: as it is dialled, not as it is written.
    #[error("the number begins with 00; write `+` instead")]
    DialledAbroad,
    /// `0361…`: the national form.
    #[error("the number is in national form; write `+`, the country code, and the number without its leading 0")]
    National,
    /// No `+`.
    #[error("the number must begin with `+` and the country code")]
    NoPlus,
    /// Something else than digits after the `+`.
    #[error("only digits may follow the `+`: no spaces, dashes or brackets")]
    NotDigits,
    /// `+0…`.
    #[error("a country code does not begin with 0; leave the national 0 out and write the country code")]
    ZeroAfterPlus,
    /// Fewer than 7 or more than 15 digits.
    #[error("a number has 7 to 15 digits, this one has {0}")]
    Length(usize),
    /// No country has this code.
    #[error("no country code begins this number")]
    UnknownCountryCode,
    /// `+440…`: a prefix that is dialled only within the country.
    #[error("after the country code stands a prefix that is dialled only within the country, such as 0; leave it out")]
    NationalPrefix,
    /// Too short for its country.
    #[error("the number is too short for its country")]
    TooShort,
    /// Too long for its country.
    #[error("the number is too long for its country")]
    TooLong,
    /// Between the lengths that its country has.
    #[error("no number of its country has this length")]
    ImpossibleLength,
}

impl PhoneNumber {
    /// Reads a number as apps must write it: `+`, then 7 to 15 digits, in a shape that its country has.
    pub fn parse(text: &str) -> Result<Self, PhoneNumberError> {
        check_shape(text)?;
        if text.starts_with(TEST_PREFIX) {
            return Ok(Self(text.to_owned()));
        }
        let canonical = canonical(text)?;
        if canonical == text { Ok(Self(canonical)) } else { Err(PhoneNumberError::NationalPrefix) }
    }

    /// Reads a number as carriers write it: with or without `+`, spaces around it, perhaps with a national prefix left in.
    /// None for what is not a number at all, such as short codes and names.
    pub fn from_provider(text: &str) -> Option<Self> {
        let text = text.trim();
        let text = format!("+{}", text.strip_prefix('+').unwrap_or(text));
        check_shape(&text).ok()?;
        if text.starts_with(TEST_PREFIX) {
            return Some(Self(text));
        }
        // Parsed again: taking a prefix off may uncover another one, and then nobody knows which number was meant.
        Self::parse(&canonical(&text).ok()?).ok()
    }

    /// Takes a number that was checked before it was stored.
    pub fn from_stored(text: String) -> Self {
        Self(text)
    }

    /// The number as text, with `+`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The digits alone, country code first.
    pub fn digits(&self) -> &str {
        self.0.strip_prefix('+').unwrap_or(&self.0)
    }

    /// Is it one of the sandbox's own?
    pub fn is_test(&self) -> bool {
        self.0.starts_with(TEST_PREFIX)
    }

    /// The country as ISO 3166-1 alpha-2; none for test numbers and for codes of no one country (`+800`).
    ///
    /// Where several countries share a code and the library does not know the range yet, the main one is meant; except
    /// under +1, where a guess could let a message through to a country that costs twenty times as much.
    pub fn country(&self) -> Option<String> {
        if self.is_test() {
            return None;
        }
        let number = PHONE_NUMBER_UTIL.parse(&self.0, None).ok()?;
        let region = PHONE_NUMBER_UTIL.get_region_for_number(&number).or_else(|| {
            let main = PHONE_NUMBER_UTIL.get_region_for_country_code(number.country_code);
            main.filter(|_| number.country_code != NORTH_AMERICAN_CODE)
        })?;
        (region != Region::World).then(|| region.to_string())
    }

    /// For logs: the first digits and the last two.
    pub fn masked(&self) -> String {
        let shown = self.0.len().saturating_sub(6).min(5);
        let hidden = self.0.len().saturating_sub(shown + 2);
        self.0.chars().enumerate().map(|(at, c)| if (shown..shown + hidden).contains(&at) { '*' } else { c }).collect()
    }
}

impl fmt::Display for PhoneNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What can be said without knowing any country.
fn check_shape(text: &str) -> Result<(), PhoneNumberError> {
    let Some(digits) = text.strip_prefix('+') else {
        return Err(match text {
            "" => PhoneNumberError::Empty,
            _ if text.starts_with("00") => PhoneNumberError::DialledAbroad,
            _ if text.starts_with('0') => PhoneNumberError::National,
            _ => PhoneNumberError::NoPlus,
        });
    };
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        Err(PhoneNumberError::NotDigits)
    } else if digits.starts_with('0') {
        Err(PhoneNumberError::ZeroAfterPlus)
    } else if !(7..=15).contains(&digits.len()) {
        Err(PhoneNumberError::Length(digits.len()))
    } else {
        Ok(())
    }
}

/// The number in the one form that its country's plan gives it, if that form can exist.
fn canonical(text: &str) -> Result<String, PhoneNumberError> {
    let number = PHONE_NUMBER_UTIL.parse(text, None).map_err(|error| match error {
        ParseError::InvalidCountryCode => PhoneNumberError::UnknownCountryCode,
        ParseError::TooLongNsn => PhoneNumberError::TooLong,
        ParseError::TooShortAfterIdd | ParseError::TooShortNsn | ParseError::NotANumber(_) => {
            PhoneNumberError::TooShort
        }
    })?;
    match PHONE_NUMBER_UTIL.is_possible_number_with_reason(&number) {
        Ok(NumberLengthType::IsPossible) => Ok(number.format_as(PhoneNumberFormat::E164).into_owned()),
        Ok(NumberLengthType::IsPossibleLocalOnly) | Err(ValidationError::TooShort) => Err(PhoneNumberError::TooShort),
        Err(ValidationError::TooLong) => Err(PhoneNumberError::TooLong),
        Err(ValidationError::InvalidLength) => Err(PhoneNumberError::ImpossibleLength),
        Err(ValidationError::InvalidCountryCode) => Err(PhoneNumberError::UnknownCountryCode),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_in_use_are_taken_as_they_are_and_know_their_country() {
        for (text, country) in [
            ("+84901234567", Some("VN")),
            ("+84361234567", Some("VN")),
            ("+8615512345678", Some("CN")),
            ("+85261234567", Some("HK")),
            ("+6581234567", Some("SG")),
            ("+12025550173", Some("US")),
            ("+14165550123", Some("CA")),
            ("+18765551234", Some("JM")),
            ("+447400123456", Some("GB")),
            ("+447911123456", Some("GG")),
            ("+77011234567", Some("KZ")),
            ("+390612345678", Some("IT")),
            ("+4930123456", Some("DE")),
            ("+80012345678", None),
            ("+99900000001", None),
        ] {
            let number = PhoneNumber::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(number.as_str(), text);
            assert_eq!(number.country().as_deref(), country, "{text}");
        }
    }

    #[test]
    fn what_is_no_number_is_refused_with_its_reason() {
        use PhoneNumberError as E;
        for (text, error) in [
            ("", E::Empty),
            ("0361234567", E::National),
            ("0084361234567", E::DialledAbroad),
            ("84361234567", E::NoPlus),
            (" +84361234567", E::NoPlus),
            ("ACME", E::NoPlus),
            ("+84 361234567", E::NotDigits),
            ("+84361234567 ", E::NotDigits),
            ("++84361234567", E::NotDigits),
            ("+8436123456x", E::NotDigits),
            ("+٨٤٣٦١٢٣٤٥٦٧", E::NotDigits),
            ("+84361234567\0", E::NotDigits),
            ("+0361234567", E::ZeroAfterPlus),
            ("+", E::Length(0)),
            ("+123456", E::Length(6)),
            ("+1234567890123456", E::Length(16)),
            ("+2101234567", E::UnknownCountryCode),
            ("+840361234567", E::NationalPrefix),
            ("+4407911123456", E::NationalPrefix),
            ("+8436123", E::TooShort),
            ("+15550173", E::TooShort),
            ("+84361234567890", E::TooLong),
            ("+999123", E::Length(6)),
        ] {
            assert_eq!(PhoneNumber::parse(text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn a_number_in_national_form_gets_a_hint() {
        let problem = PhoneNumber::parse("0361234567").unwrap_err().to_string();
        assert!(problem.contains("country code") && problem.contains("leading 0"), "{problem}");
    }

    #[test]
    fn a_possible_number_of_a_range_not_yet_known_is_taken() {
        let number = PhoneNumber::parse("+447011123456").unwrap();
        assert_eq!(number.country().as_deref(), Some("GB"));
    }

    #[test]
    fn an_unknown_range_under_the_north_american_code_has_no_country() {
        let number = PhoneNumber::parse("+19995550123").unwrap();
        assert_eq!(number.country(), None);
    }

    #[test]
    fn numbers_of_carriers_come_in_many_ways() {
        for (text, number) in [
            ("+84361234567", Some("+84361234567")),
            ("84361234567", Some("+84361234567")),
            (" 84361234567", Some("+84361234567")),
            ("+84361234567\n", Some("+84361234567")),
            ("840361234567", Some("+84361234567")),
            ("99900000001", Some("+99900000001")),
            ("0361234567", None),
            ("600000000000", None),
            ("12345", None),
            ("HUAWEI", None),
            ("", None),
            ("+", None),
        ] {
            assert_eq!(PhoneNumber::from_provider(text).as_ref().map(PhoneNumber::as_str), number, "{text:?}");
        }
    }

    #[test]
    fn test_numbers_are_those_of_no_country() {
        assert!(PhoneNumber::parse("+99900000001").unwrap().is_test());
        assert!(!PhoneNumber::parse("+84901234567").unwrap().is_test());
        assert_eq!(PhoneNumber::parse("+9990000").unwrap().digits(), "9990000");
    }

    #[test]
    fn a_masked_number_hides_at_least_four_digits() {
        for (text, masked) in
            [("+84361234567", "+8436*****67"), ("+9990000", "+9****00"), ("+999000000000001", "+9990*********01")]
        {
            assert_eq!(PhoneNumber::parse(text).unwrap().masked(), masked);
        }
        assert_eq!(PhoneNumber::from_stored("+1".into()).masked(), "+1");
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in any::<String>()) {
            let _ = PhoneNumber::parse(&text);
            let _ = PhoneNumber::from_provider(&text);
            let _ = PhoneNumber::from_stored(text).masked();
        }

        #[test]
        fn what_is_taken_is_e164_and_stays_what_it_is(text in "\\+[0-9]{5,17}") {
            if let Ok(number) = PhoneNumber::parse(&text) {
                prop_assert_eq!(number.as_str(), &text);
                prop_assert!((7..=15).contains(&number.digits().len()));
                prop_assert!(!number.digits().starts_with('0'));
                prop_assert_eq!(PhoneNumber::parse(&number.to_string()), Ok(number));
            }
        }

        #[test]
        fn what_a_carrier_wrote_is_a_number_that_an_app_could_write(text in "(\\+|)[1-9][0-9]{5,15}") {
            if let Some(number) = PhoneNumber::from_provider(&text) {
                prop_assert_eq!(PhoneNumber::parse(number.as_str()), Ok(number));
            }
        }

        #[test]
        fn a_carrier_finds_back_to_what_the_app_wrote(text in "\\+(84|86|1|44|49|39|52|54)[0-9]{8,11}") {
            if let Ok(number) = PhoneNumber::parse(&text) {
                prop_assert_eq!(PhoneNumber::from_provider(number.digits()), Some(number));
            }
        }
    }
}
