//! Encoding and segments of a text.
//!
//! A text of the GSM-7 alphabet has 160 septets in one segment, or 153 in each of several; any other character turns the
//! whole text into UCS-2 with 70 or 67 UTF-16 units. What stands as a pair (an escape and its character, two surrogates)
//! is never torn apart, so a segment may end one short. National shift tables are not used: the providers' APIs have no
//! field for them. This counts what the network will bill; splitting itself is done by the providers.

use serde::{Deserialize, Serialize};

use super::content::text_enum;

/// How the characters of a text are written on the air.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// The GSM 7-bit default alphabet with its extension table.
    Gsm7,
    /// UTF-16 in units of two bytes.
    Ucs2,
}

text_enum!(Encoding { Gsm7 = "gsm7", Ucs2 = "ucs2" });

/// The size of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measure {
    /// How it is written.
    pub encoding: Encoding,
    /// Septets for GSM-7, UTF-16 units for UCS-2.
    pub characters: usize,
    /// Into how many parts the network splits it; an empty text is one.
    pub segments: u16,
}

/// The basic table without ASCII letters and digits: one septet each. The escape itself is not a character.
const BASIC: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./:;<=>?¡ÄÖÑÜ§¿äöñüà";

/// The extension table: an escape and a septet each.
const EXTENSION: &str = "\u{c}^{}\\[~]|€";

/// Counts a text as the network does.
pub fn measure(text: &str) -> Measure {
    if text.chars().all(|c| septets(c).is_some()) {
        fill(Encoding::Gsm7, text.chars().filter_map(septets), 160, 153)
    } else {
        fill(Encoding::Ucs2, text.chars().map(char::len_utf16), 70, 67)
    }
}

/// The characters that turn a text into UCS-2, each once, in order of appearance.
pub fn non_gsm_characters(text: &str) -> Vec<char> {
    let mut found = Vec::new();
    for c in text.chars() {
        if septets(c).is_none() && !found.contains(&c) {
            found.push(c);
        }
    }
    found
}

/// The septets of one character, if the alphabet has it.
fn septets(c: char) -> Option<usize> {
    if c.is_ascii_alphanumeric() || BASIC.contains(c) {
        Some(1)
    } else if EXTENSION.contains(c) {
        Some(2)
    } else {
        None
    }
}

/// Fills segments one after another, never with half a character.
fn fill(encoding: Encoding, widths: impl Iterator<Item = usize>, single: usize, part: usize) -> Measure {
    let (mut characters, mut segments, mut used) = (0, 1_u16, 0);
    for width in widths {
        if used + width > part {
            segments = segments.saturating_add(1);
            used = 0;
        }
        used += width;
        characters += width;
    }
    Measure { encoding, characters, segments: if characters <= single { 1 } else { segments } }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sms_splitter::SplitSms;

    use super::*;

    fn gsm7(characters: usize, segments: u16) -> Measure {
        Measure { encoding: Encoding::Gsm7, characters, segments }
    }

    fn ucs2(characters: usize, segments: u16) -> Measure {
        Measure { encoding: Encoding::Ucs2, characters, segments }
    }

    #[test]
    fn texts_are_as_long_as_the_network_says() {
        for (name, text, expected) in [
            ("nothing", String::new(), gsm7(0, 1)),
            ("one full segment", "a".repeat(160), gsm7(160, 1)),
            ("one septet more", "a".repeat(161), gsm7(161, 2)),
            ("two full segments", "a".repeat(306), gsm7(306, 2)),
            ("three", "a".repeat(307), gsm7(307, 3)),
            ("an escape counts twice", "€".into(), gsm7(2, 1)),
            ("one full segment of escapes", "€".repeat(80), gsm7(160, 1)),
            ("76 escapes fill a part of 153 but for one septet", "€".repeat(152), gsm7(304, 2)),
            ("so the 153rd needs a third part", "€".repeat(153), gsm7(306, 3)),
            (
                "an escape at the seam moves over whole",
                format!("{}{{{}", "a".repeat(152), "a".repeat(152)),
                gsm7(306, 3),
            ),
            ("an escape that just fits stays", format!("{}{{{}", "a".repeat(151), "a".repeat(153)), gsm7(306, 2)),
            ("Vietnamese", "Mã của bạn là 123456".into(), ucs2(20, 1)),
            ("one full segment of UCS-2", "码".repeat(70), ucs2(70, 1)),
            ("one unit more", "码".repeat(71), ucs2(71, 2)),
            ("two full segments of UCS-2", "码".repeat(134), ucs2(134, 2)),
            ("three of UCS-2", "码".repeat(135), ucs2(135, 3)),
            ("an emoji is two units", "😀".into(), ucs2(2, 1)),
            ("35 emoji fill one segment", "😀".repeat(35), ucs2(70, 1)),
            ("33 emoji fill a part of 67 but for one unit", "😀".repeat(66), ucs2(132, 2)),
            ("so the 67th needs a third part", "😀".repeat(67), ucs2(134, 3)),
            ("an extension character is one unit in UCS-2", "码€".into(), ucs2(2, 1)),
            ("a lower-case cedilla is not in the alphabet", "ç".into(), ucs2(1, 1)),
            ("nor is the backtick", "`".into(), ucs2(1, 1)),
            ("nor the tab", "\t".into(), ucs2(1, 1)),
            ("nor the escape itself", "\u{1b}".into(), ucs2(1, 1)),
            (
                "more than can be counted stays the highest number",
                "a".repeat(153 * 65_536),
                gsm7(153 * 65_536, u16::MAX),
            ),
        ] {
            assert_eq!(measure(&text), expected, "{name}");
        }
    }

    #[test]
    fn the_alphabet_has_127_characters_and_ten_behind_the_escape() {
        let all: Vec<char> = ('\0'..='\u{ffff}').filter(|c| septets(*c) == Some(1)).collect();
        assert_eq!(all.len(), 127);
        assert_eq!(('\0'..=char::MAX).filter(|c| septets(*c) == Some(2)).count(), 10);
    }

    #[test]
    fn what_makes_a_text_ucs2_is_named_once_and_in_order() {
        assert_eq!(non_gsm_characters("“Hi” – “ho” 😀ç"), ['“', '”', '–', '😀', 'ç']);
        assert!(non_gsm_characters("Total: 5 € [net]\n").is_empty());
    }

    #[test]
    fn encodings_read_back_from_their_words() {
        for encoding in Encoding::ALL {
            assert_eq!(encoding.as_str().parse(), Ok(*encoding));
            assert_eq!(serde_json::to_value(encoding).unwrap(), encoding.as_str());
        }
    }

    /// Long runs with escapes and surrogate pairs near the seams, which texts of random characters hardly ever have.
    fn texts() -> impl Strategy<Value = String> {
        let gsm = prop::sample::select(vec!["a", "Ω", "€", "{", " ", "\n", "z", "1"]);
        let any_of_both = prop::sample::select(vec!["a", "€", "码", "😀", "é", "ç", "\u{301}"]);
        prop_oneof![
            prop::collection::vec(gsm, 0..700).prop_map(|parts| parts.concat()),
            prop::collection::vec(any_of_both, 0..400).prop_map(|parts| parts.concat()),
            "\\PC{0,200}",
        ]
    }

    proptest! {
        // The oracle is right about alphabet, escapes and surrogates as it is used here, without shift tables. Its `length`
        // counts characters, not septets or units; its `bytes` are septets for GSM-7 and true bytes for UCS-2.
        #[test]
        fn an_independent_splitter_counts_the_same(text in texts()) {
            let ours = measure(&text);
            let theirs = SplitSms::default().split(text);
            let (set, width) = match ours.encoding {
                Encoding::Gsm7 => ("GSM", 1),
                Encoding::Ucs2 => ("Unicode", 2),
            };
            prop_assert_eq!(theirs.character_set, set);
            prop_assert_eq!(theirs.parts.len(), usize::from(ours.segments));
            prop_assert_eq!(theirs.bytes, ours.characters * width);
        }

        #[test]
        fn a_text_is_ucs2_exactly_when_it_has_a_character_to_blame(text in texts()) {
            prop_assert_eq!(measure(&text).encoding == Encoding::Ucs2, !non_gsm_characters(&text).is_empty());
        }

        #[test]
        fn segments_are_enough_and_at_most_one_short_each(text in texts()) {
            let Measure { encoding, characters, segments } = measure(&text);
            let (single, part) = match encoding { Encoding::Gsm7 => (160, 153), Encoding::Ucs2 => (70, 67) };
            let segments = usize::from(segments);
            if characters <= single {
                prop_assert_eq!(segments, 1);
            } else {
                prop_assert!(segments * part >= characters);
                prop_assert!((segments - 1) * (part - 1) < characters);
            }
        }

        #[test]
        fn a_longer_text_never_needs_fewer_segments(text in texts(), more in texts()) {
            let longer = measure(&(text.clone() + &more));
            prop_assert!(longer.segments >= measure(&text).segments);
        }
    }
}
