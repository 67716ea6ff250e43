//! Hands `configuration::router_file` to libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| coati_fuzz::configuration::router_file(bytes));
