//! See `sms_gateway::fuzzing::huawei_push`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sms_gateway::fuzzing::huawei_push(data));
