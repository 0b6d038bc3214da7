//! See `sms_gateway::fuzzing::message_body`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sms_gateway::fuzzing::message_body(data));
