//! Messages: what a request may say, what it means for the app that sent it, and how a message is shown.

pub mod answer;
pub mod cancel;
pub mod compose;
pub mod content_fields;
pub mod create;
pub mod draft;
pub mod filter;
pub mod idempotency_key;
pub mod preview;
pub mod read;
pub mod template_check;
pub mod timeline;
