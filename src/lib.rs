//! A gateway that sends short messages through many providers behind one API.

pub mod clock;
pub mod config;
pub mod domain;
pub mod private_postgres;
pub mod providers;
