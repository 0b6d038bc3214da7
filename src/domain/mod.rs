//! The ground floor: what a message is, what may happen to it, and what every word means.
//!
//! Pure code only. Nothing here knows a database, an HTTP library or a provider, and nothing reads the clock: time comes in
//! as an argument. That is what makes every rule of the engine testable over every case.

pub mod batch;
pub mod capabilities;
pub mod content;
pub mod error_code;
pub mod event;
pub mod ids;
pub mod life;
pub mod message;
pub mod phone_number;
pub mod registration;
pub mod report;
pub mod segments;
pub mod status;
pub mod template;
pub mod verdict;

/// A point in time, always UTC.
pub type Timestamp = chrono::DateTime<chrono::Utc>;
