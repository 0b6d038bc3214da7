//! See `sms_gateway::fuzzing::idempotency_key`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sms_gateway::fuzzing::idempotency_key(data));
