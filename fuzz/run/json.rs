//! Hands `codec::json` to libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| coati_fuzz::codec::json(bytes));
