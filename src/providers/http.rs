//! The HTTP client that drivers use, and the one place that decides what a transport failure means.
