//! Hands `codec::msgpack` to libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| coati_fuzz::codec::msgpack(bytes));
