#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    ironwright_qcow2::fuzzing::tables(data);
});
