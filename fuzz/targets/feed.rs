#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = evertree::fuzzing::decode(evertree::fuzzing::Target::Feed, bytes);
});
