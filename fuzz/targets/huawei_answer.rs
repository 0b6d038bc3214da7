//! See `sms_gateway::fuzzing::huawei_answer`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sms_gateway::fuzzing::huawei_answer(data));
