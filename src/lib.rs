//! A gateway that sends short messages through many providers behind one API.

pub mod api;
pub mod cli;
pub mod clock;
pub mod config;
pub mod domain;
pub mod keys;
pub mod private_file;
pub mod providers;
pub mod routing;
pub mod secrets;
pub mod server;
pub mod settings;
pub mod store;
