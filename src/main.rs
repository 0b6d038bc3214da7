//! Subcommands, nothing else.

fn main() {}
