//! Black-box tests over HTTP: one binary, so that the crate is linked once.
mod example;
