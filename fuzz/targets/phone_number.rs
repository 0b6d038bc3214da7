//! See `sms_gateway::fuzzing::phone_number`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sms_gateway::fuzzing::phone_number(data));
