//! `[opt_out]`: the words by which a recipient opts out and in again.

use crate::settings::SettingsReader;

/// `[opt_out]`
#[derive(Debug, Clone)]
pub struct OptOut {
    /// Words that opt out.
    pub stop: Vec<String>,
    /// Words that opt in again.
    pub start: Vec<String>,
}

/// What an inbound text asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// Nothing more.
    Stop,
    /// To be written to again.
    Start,
}

impl OptOut {
    pub(super) fn read(reader: &mut SettingsReader) -> Self {
        let mut words = |key, default: &[&str]| {
            reader.optional_list(key).unwrap_or_else(|| default.iter().map(|word| (*word).to_owned()).collect())
        };
        let stop = words("stop", &["STOP", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "TD", "T", "R", "退订"]);
        let start = words("start", &["START", "UNSTOP"]);
        let stops: Vec<String> = stop.iter().map(|word| plain(word)).collect();
        for (index, word) in start.iter().enumerate() {
            if stops.contains(&plain(word)) {
                reader.problem(&format!("start[{index}]"), "stands in opt_out.stop too");
            }
        }
        for (key, words) in [("stop", &stop), ("start", &start)] {
            for index in (0..words.len()).filter(|index| plain(&words[*index]).is_empty()) {
                reader.problem(&format!("{key}[{index}]"), "must be a word");
            }
        }
        Self { stop, start }
    }

    /// What a text asks for: it must be one of the words and nothing else, whatever its case and the punctuation around it.
    pub fn meaning(&self, text: &str) -> Option<Meaning> {
        let text = plain(text);
        let is_one = |words: &[String]| words.iter().any(|word| plain(word) == text);
        if text.is_empty() {
            None
        } else if is_one(&self.stop) {
            Some(Meaning::Stop)
        } else if is_one(&self.start) {
            Some(Meaning::Start)
        } else {
            None
        }
    }
}

/// A text without what people write around a word: white space, punctuation, capitals, the wide letters of East Asian keyboards.
/// One that is nothing else (a sign of its own) stays as it is.
fn plain(text: &str) -> String {
    let narrow = |c: char| match c {
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(c) - 0xfee0).unwrap_or(c),
        other => other,
    };
    let lower = text.chars().map(narrow).collect::<String>().to_lowercase();
    let bare = lower.trim_matches(|c: char| !c.is_alphanumeric());
    let kept = if bare.is_empty() { lower.trim() } else { bare };
    kept.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words() -> OptOut {
        let list = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        OptOut {
            stop: list(&["STOP", "T", "退订", "ОТПИСАТЬСЯ", "stop all", "🛑"]), start: list(&["START"])
        }
    }

    #[test]
    fn a_word_alone_is_understood_however_it_is_written() {
        for text in [
            "STOP",
            "stop",
            " Stop. ",
            "«stop»!",
            "\"STOP\"",
            "ＳＴＯＰ",
            "t",
            "T。",
            "【退订】",
            "отписаться",
            "Stop  all",
            "🛑",
            "\u{feff}stop\n",
        ] {
            assert_eq!(words().meaning(text), Some(Meaning::Stop), "{text:?}");
        }
        assert_eq!(words().meaning("start…"), Some(Meaning::Start));
    }

    #[test]
    fn a_word_among_others_means_nothing() {
        for text in ["", " ", "...", "please stop", "stop it", "sto p", "stopp", "tt", "restart", "stop-all", "1"] {
            assert_eq!(words().meaning(text), None, "{text:?}");
        }
    }
}
