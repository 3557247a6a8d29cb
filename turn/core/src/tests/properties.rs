//! Sequences of operations: nothing panics, all that is remembered stays within its bounds and adds up.

use proptest::prelude::*;

use crate::fuzzing::{Run, sequence};

proptest! {
    #[test]
    fn sequences_never_panic_and_state_is_bounded(data in prop::collection::vec(any::<u8>(), 0..800)) {
        sequence(&data);
    }

    #[test]
    fn the_same_inputs_give_the_same_outputs(data in prop::collection::vec(any::<u8>(), 0..300)) {
        let run = || {
            let mut run = Run::new();
            run.step_all(&data);
            let relays: Vec<_> = run.harness.relays.iter().map(|(_, addr)| *addr).collect();
            (run.relayed, relays, run.harness.events)
        };
        prop_assert_eq!(run(), run());
    }
}

/// What fuzzing found once, and sequences that reach far.
#[test]
fn seeds() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/seeds/sequence");
    let mut replayed = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        sequence(&std::fs::read(entry.unwrap().path()).unwrap());
        replayed += 1;
    }
    assert!(replayed > 0);
}
