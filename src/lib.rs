//! One HTTP API in front of many SMS providers.
//!
//! # The map
//!
//! Imports point downwards only; `ARCHITECTURE.md` has the walkthroughs.
//!
//! | floor | modules |
//! | --- | --- |
//! | the whole | [`app`] builds everything; [`cli`] and `main.rs` start it |
//! | outside | [`api`] for apps and operators, [`callbacks`] for carriers, on [`server`]; [`webhooks`] to apps |
//! | engine | [`dispatch`]: accept, claim, call, record, settle, sweep |
//! | tools of the engine | [`store`] (all SQL), [`providers`] (what is called), [`routing`] (which of them), [`config`] |
//! | ground | [`domain`] (pure rules), [`clock`], [`settings`], [`secrets`], [`keys`], [`tls`], [`fail_points`] |
//! | beside it | [`private_postgres`], [`simulator`] (the carriers' side), [`telemetry`] |
//!
//! # The life of a message
//!
//! 1. [`api::messages`] reads the request; [`routing`] fixes the steps.
//! 2. [`dispatch::accept`] stores many requests in one commit and answers each after it. What has a free slot and nothing waiting
//!    before it is stored with its attempt and its lease.
//! 3. For the rest [`dispatch::line`], one for each provider, locks what is due, as much as free slots will send now.
//! 4. It opens attempts under a lease and commits. No transaction is open during a call.
//! 5. The driver in [`providers`] makes the call and translates the answer.
//! 6. [`dispatch::record`] writes the answers down: sent, tried again, the next step, failed, or unknown.
//! 7. A carrier pushes a report; [`callbacks`] checks whose it is.
//! 8. [`dispatch::settle`] keeps it, finds its attempt and applies it, in one commit, and then it is answered.
//! 9. [`domain::life`] folds the status anew from all attempts after each of these.
//! 10. [`dispatch::sweep`] does what only time brings: leases, validity, windows, polls.

pub mod api;
pub mod app;
pub mod callbacks;
pub mod cli;
pub mod clock;
pub mod config;
pub mod dispatch;
pub mod domain;
pub mod error_chain;
pub mod fail_points;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod keys;
mod private_file;
pub mod private_postgres;
pub mod providers;
pub mod routing;
pub mod secrets;
pub mod server;
pub mod settings;
pub mod simulator;
pub mod store;
pub mod telemetry;
pub mod tls;
pub mod webhooks;
