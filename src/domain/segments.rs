//! Encoding and segments of a text.
