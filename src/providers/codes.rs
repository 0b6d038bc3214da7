//! Code tables: what each provider's codes mean, as data.
