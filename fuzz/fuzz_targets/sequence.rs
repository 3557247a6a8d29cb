//! Any bytes as a sequence of what happens to a TURN server.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| trunkline_turn_core::fuzzing::sequence(data));
