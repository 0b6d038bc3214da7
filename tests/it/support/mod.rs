//! What the black-box tests share: a database, a gateway and a simulator for each test, and a client.

pub mod carriers;
pub mod client;
pub mod database;
pub mod gateway;
pub mod network;
pub mod postgres;
pub mod process;
pub mod receiver;

pub use client::{Answer, Client};
pub use database::TestDatabase;
pub use gateway::{Setup, TestGateway};
