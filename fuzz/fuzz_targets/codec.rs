//! Any bytes through everything that reads a datagram.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| trunkline_stun::fuzzing::codec(data));
