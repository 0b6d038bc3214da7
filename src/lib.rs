//! A gateway that sends short messages through many providers behind one API.

pub mod api;
pub mod app;
pub mod callbacks;
pub mod cli;
pub mod clock;
pub mod config;
pub mod dispatch;
pub mod domain;
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
