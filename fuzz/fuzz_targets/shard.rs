//! `cargo fuzz run shard`: what is claimed of any bytes is in the library, so that its corpus is an ordinary test as well.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::shard::check(data));
