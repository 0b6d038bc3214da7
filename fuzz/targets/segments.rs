//! See `sms_gateway::fuzzing::segments`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sms_gateway::fuzzing::segments(data));
