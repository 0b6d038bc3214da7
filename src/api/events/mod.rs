//! What apps are told of: the log of events with the state of their delivery, and delivering them once more.

pub mod answer;
mod read;
mod redeliver;

pub use read::{__path_list, list};
pub use redeliver::{__path_redeliver, __path_redeliver_range, redeliver, redeliver_range};
