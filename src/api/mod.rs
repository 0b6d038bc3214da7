//! What apps and operators call over HTTP: one file for each resource, and what all of them share.
//!
//! A handler checks the key, reads the request completely (every fault is told at once), does one thing, and answers.

pub mod error;
pub mod field_reader;
pub mod frame;
pub mod json_body;
pub mod metrics;
pub mod page;
pub mod problem;
pub mod query;
