//! See `sms_gateway::fuzzing::nxcloud_push`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sms_gateway::fuzzing::nxcloud_push(data));
