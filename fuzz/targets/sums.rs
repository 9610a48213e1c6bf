#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| numpack_fuzz::format::sums(bytes));
