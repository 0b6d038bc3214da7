//! Telephone numbers in E.164 form, checked by a real library: possible, not necessarily assigned.

use serde::Serialize;

/// A number in E.164 form with `+`: seven to fifteen digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct PhoneNumber(String);

impl PhoneNumber {
    /// The number as text, with `+`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
