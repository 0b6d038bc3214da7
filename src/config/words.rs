//! Kinds of words that stand in several sections: names, countries, networks.

use std::{collections::BTreeSet, net::IpAddr, str::FromStr};

use ipnet::IpNet;
use rlibphonenumber::PHONE_NUMBER_UTIL;

use crate::settings::SettingsReader;

/// Is it a name as the configuration and the API use them: `^[a-z][a-z0-9_]{0,62}$`?
pub fn is_slug(text: &str) -> bool {
    let mut bytes = text.bytes();
    text.len() <= 63
        && bytes.next().is_some_and(|first| first.is_ascii_lowercase())
        && bytes.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

/// The networks of a list; a lone address is a network of one.
pub(super) fn networks(reader: &mut SettingsReader, key: &str) -> Vec<IpNet> {
    let what = "an address or a network, such as 10.0.0.0/8";
    let networks = reader.optional_parsed_list::<Network>(key, what).unwrap_or_default();
    networks.into_iter().map(|network| network.0).collect()
}

struct Network(IpNet);

impl FromStr for Network {
    type Err = ipnet::AddrParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let network =
            text.parse::<IpNet>().or_else(|error| text.parse::<IpAddr>().map(IpNet::from).map_err(|_| error))?;
        Ok(Self(network.trunc()))
    }
}

/// Countries as ISO 3166-1 alpha-2, none twice.
pub(super) fn countries(reader: &mut SettingsReader, key: &str) -> Option<Vec<String>> {
    let countries = reader.optional_list(key)?;
    for (index, country) in countries.iter().enumerate() {
        if !PHONE_NUMBER_UTIL.get_supported_regions().any(|region| region.to_string() == *country) {
            reader.problem(&format!("{key}[{index}]"), "must be a country code of two capital letters, such as VN");
        }
    }
    no_repeats(reader, key, &countries);
    Some(countries)
}

/// Notes every entry of a list that stands there for a second time.
pub(super) fn no_repeats(reader: &mut SettingsReader, key: &str, entries: &[String]) {
    let mut seen = BTreeSet::new();
    for (index, entry) in entries.iter().enumerate() {
        if !seen.insert(entry) {
            reader.problem(&format!("{key}[{index}]"), "stands there twice");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_begins_with_a_letter_and_is_short() {
        let longest = "a".repeat(63);
        for (text, expected) in [
            ("a", true),
            ("otp_vn2", true),
            (longest.as_str(), true),
            ("", false),
            ("_a", false),
            ("2a", false),
            ("A", false),
            ("a-b", false),
            ("é", false),
            (&"a".repeat(64), false),
        ] {
            assert_eq!(is_slug(text), expected, "{text}");
        }
    }
}
