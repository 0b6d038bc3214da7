//! The text of a template: plain text with `{{name}}` where a value goes.
//!
//! There is nothing else to the language: no blanks inside the braces, no defaults, no conditions, no way to write two
//! braces literally. A text is read once, from left to right; values are put in as they are and never read again, so a
//! value that holds braces stays what it is.

/// A part of a template's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// Stays as it is.
    Plain(&'a str),
    /// Gives way to the value of this name.
    Value(&'a str),
}

/// What is wrong with a template's text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TextProblem {
    /// `{{` without `}}`.
    #[error("`{{{{` is never closed")]
    Unclosed,
    /// `}}` without `{{`.
    #[error("`}}}}` closes nothing")]
    Unopened,
    /// What stands between the braces cannot be a name.
    #[error("{{{{{0}}}}} is not a name: lower-case letters, digits and `_` without blanks, a letter first")]
    BadName(String),
    /// The name is not among the params.
    #[error("{{{{{0}}}}} is not among the params")]
    Undeclared(String),
    /// No database and no network takes it.
    #[error("the text holds a NUL character")]
    Nul,
}

/// Is this how a param may be called?
pub(super) fn is_name(text: &str) -> bool {
    text.len() <= 63
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

/// Takes a text apart. Where it is wrong the braces stay as they are, and the problem is told.
pub(super) fn scan(text: &str) -> (Vec<Piece<'_>>, Vec<TextProblem>) {
    let (mut pieces, mut problems) = (Vec::new(), Vec::new());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        plain(before, &mut pieces, &mut problems);
        let Some((name, behind)) = after.split_once("}}") else {
            problems.push(TextProblem::Unclosed);
            pieces.push(Piece::Plain(&rest[before.len()..]));
            return (pieces, problems);
        };
        if is_name(name) {
            pieces.push(Piece::Value(name));
        } else {
            problems.push(TextProblem::BadName(name.to_owned()));
            pieces.push(Piece::Plain(&rest[before.len()..rest.len() - behind.len()]));
        }
        rest = behind;
    }
    plain(rest, &mut pieces, &mut problems);
    (pieces, problems)
}

fn plain<'a>(text: &'a str, pieces: &mut Vec<Piece<'a>>, problems: &mut Vec<TextProblem>) {
    if text.contains("}}") {
        problems.push(TextProblem::Unopened);
    }
    if text.contains('\0') {
        problems.push(TextProblem::Nul);
    }
    if !text.is_empty() {
        pieces.push(Piece::Plain(text));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_text_falls_into_plain_parts_and_values() {
        use Piece::{Plain, Value};
        for (text, pieces) in [
            ("", vec![]),
            ("Hello", vec![Plain("Hello")]),
            ("{{code}}", vec![Value("code")]),
            ("{{a}}{{b}}", vec![Value("a"), Value("b")]),
            ("Your code is {{code}}.", vec![Plain("Your code is "), Value("code"), Plain(".")]),
            ("{one} brace}", vec![Plain("{one} brace}")]),
            ("码 {{c_1}} é", vec![Plain("码 "), Value("c_1"), Plain(" é")]),
        ] {
            assert_eq!(scan(text), (pieces, vec![]), "{text}");
        }
    }

    #[test]
    fn a_wrong_text_says_what_is_wrong_and_loses_nothing() {
        for (text, problem) in [
            ("a {{code", TextProblem::Unclosed),
            ("{{", TextProblem::Unclosed),
            ("a {{code}", TextProblem::Unclosed),
            ("code}} b", TextProblem::Unopened),
            ("{{a}} }}", TextProblem::Unopened),
            ("{{ code }}", TextProblem::BadName(" code ".into())),
            ("{{}}", TextProblem::BadName(String::new())),
            ("{{Code}}", TextProblem::BadName("Code".into())),
            ("{{1st}}", TextProblem::BadName("1st".into())),
            ("{{{code}}", TextProblem::BadName("{code".into())),
            ("a\0b", TextProblem::Nul),
        ] {
            let (pieces, problems) = scan(text);
            assert_eq!(problems, [problem], "{text:?}");
            assert_eq!(written(&pieces), text);
        }
    }

    #[test]
    fn problems_show_the_braces_as_they_were_written() {
        assert_eq!(TextProblem::Undeclared("code".into()).to_string(), "{{code}} is not among the params");
        assert_eq!(TextProblem::Unclosed.to_string(), "`{{` is never closed");
    }

    fn written(pieces: &[Piece<'_>]) -> String {
        let mut text = String::new();
        for piece in pieces {
            match piece {
                Piece::Plain(part) => text.push_str(part),
                Piece::Value(name) => text.extend(["{{", name, "}}"]),
            }
        }
        text
    }

    proptest! {
        #[test]
        fn the_parts_of_any_text_are_the_text(text in "(\\{|\\}|[a-z]|é|\\PC){0,40}") {
            prop_assert_eq!(written(&scan(&text).0), text);
        }
    }
}
