//! What apps and operators call over HTTP: one file for each resource, and what all of them share.
//!
//! A handler checks the key, reads the request completely (every fault is told at once), does one thing, and answers.

pub mod apps;
pub mod auth;
pub mod batches;
pub mod error;
pub mod events;
pub mod field_reader;
pub mod frame;
pub mod inbound_messages;
pub mod json_body;
pub mod messages;
pub mod metrics;
pub mod openapi;
pub mod operations;
pub mod page;
pub mod path;
pub mod problem;
pub mod providers;
pub mod query;
pub mod registrations;
pub mod router;
pub mod routes;
pub mod send_rates;
mod sending;
pub mod state;
pub mod storing;
pub mod suppressions;
pub mod templates;

#[cfg(test)]
pub(crate) mod testing;
