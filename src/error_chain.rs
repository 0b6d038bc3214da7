//! An error with everything beneath it, in one line for the log: no `Display` here repeats its source.

use std::error::Error;

/// The error and its sources, each after a colon.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text.push_str(": ");
        text.push_str(&source.to_string());
        next = source.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("the outer one")]
    struct Outer(#[source] std::fmt::Error);

    #[test]
    fn every_source_is_told_once() {
        let text = chain(&Outer(std::fmt::Error));
        assert_eq!(text, format!("the outer one: {}", std::fmt::Error));
    }
}
