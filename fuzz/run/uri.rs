//! Hands `names::uri` to libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| coati_fuzz::names::uri(bytes));
