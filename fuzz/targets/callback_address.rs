//! See `sms_gateway::fuzzing::callback_address`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sms_gateway::fuzzing::callback_address(data));
