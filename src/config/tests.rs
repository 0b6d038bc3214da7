//! What a file and the environment become, and what is said about them when they are wrong.
