//! Black-box tests over HTTP: one binary, so that the crate is linked once.
//!
//! Each test has a gateway in this process, a database of its own and a simulator that plays the carriers (`support`). They need
//! the server that `DATABASE_URL` names; `./dev test` starts one.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on shall say where")]

mod aborted_posts;
mod api;
mod app_limits;
mod batches;
mod callbacks;
mod cancel;
#[cfg(feature = "fail-points")]
#[path = "../chaos/mod.rs"]
mod chaos;
mod client;
mod crash;
mod crash_under_load;
mod database_faults;
mod documents;
mod events;
mod example;
mod fairness;
mod floors;
mod hostile;
mod huawei;
mod idempotency;
mod inbound;
mod leaks;
mod limits;
mod nxcloud;
mod operations;
mod opt_out;
mod overload;
mod panics;
mod preview;
mod private;
mod provider_faults;
mod provider_pauses;
mod races;
mod registered_templates;
mod registrations;
mod routing;
mod sandbox;
mod sensitive;
mod spool;
mod support;
mod time;
mod voice;
mod webhook_faults;
mod webhooks;
