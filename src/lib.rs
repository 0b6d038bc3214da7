//! A gateway that sends short messages through many providers behind one API.

pub mod api;
pub mod cli;
pub mod clock;
pub mod config;
pub mod dispatch;
pub mod domain;
pub mod keys;
pub mod private_file;
pub mod private_postgres;
pub mod providers;
pub mod secrets;
pub mod server;
pub mod store;
pub mod routing;
pub mod secrets;
pub mod settings;
pub mod store;
pub mod simulator;
