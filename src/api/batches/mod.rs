//! Batches: many messages in one request, read and canceled together.

pub mod create;
pub mod draft;
pub mod fields;
pub mod read;
