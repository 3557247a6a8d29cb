use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

type Queue = Outgoing<Vec<u8>>;

fn conv(n: u8) -> ConversationId {
    ConversationId::new(&format!("c{n}")).unwrap()
}

fn queue(bytes_max: usize) -> Queue {
    Outgoing::new(bytes_max, b"behind".to_vec())
}

fn frame(seq: u64) -> Vec<u8> {
    format!("{seq:010}").into_bytes()
}

fn gap(from: u64, to: u64) -> Vec<u8> {
    format!("gap {from} {to}").into_bytes()
}

fn drain(q: &mut Queue) -> Vec<String> {
    std::iter::from_fn(|| q.pop()).map(|f| String::from_utf8(f).unwrap()).collect()
}

#[test]
fn live_messages_pass_once_and_in_order() {
    let mut q = queue(1_000);
    q.subscribe(&conv(1), 4, 4);
    for seq in [5, 5, 4, 6] {
        assert_eq!(q.message(&conv(1), seq, &frame(seq)), Pushed::Fine);
    }
    assert_eq!(q.message(&conv(2), 1, &frame(1)), Pushed::Fine);
    assert_eq!(drain(&mut q), ["0000000005", "0000000006"]);
    assert!(q.is_idle());
}

#[test]
fn a_hole_is_pulled_before_what_follows() {
    let mut q = queue(1_000);
    q.subscribe(&conv(1), 4, 4);
    let _ = q.message(&conv(1), 7, &frame(7));
    let _ = q.message(&conv(1), 5, &frame(5));
    assert_eq!(q.pop(), None);
    assert_eq!(q.next_pull(), Some((conv(1), 4)));
    q.pulled(&conv(1), vec![(5, frame(5)), (6, frame(6))], gap);
    assert_eq!(q.next_pull(), Some((conv(1), 6)));
    q.pulled(&conv(1), vec![(7, frame(7)), (8, frame(8))], gap);
    assert_eq!(q.next_pull(), None);
    let _ = q.message(&conv(1), 9, &frame(9));
    assert_eq!(drain(&mut q), (5..=9).map(|s| format!("{s:010}")).collect::<Vec<_>>());
}

#[test]
fn what_the_store_no_longer_has_is_told() {
    let mut q = queue(1_000);
    q.subscribe(&conv(1), 0, 9);
    assert_eq!(q.next_pull(), Some((conv(1), 0)));
    q.pulled(&conv(1), vec![(4, frame(4))], gap);
    assert_eq!(q.next_pull(), Some((conv(1), 4)));
    q.pulled(&conv(1), Vec::new(), gap);
    assert_eq!(drain(&mut q), ["gap 1 3", "0000000004", "gap 5 9"]);
    assert!(q.is_idle());
}

#[test]
fn lagging_conversations_take_turns() {
    let mut q = queue(1_000);
    for n in 1..=3 {
        q.subscribe(&conv(n), 0, 2);
    }
    let order: Vec<_> = (0..4).map(|_| q.next_pull().unwrap().0).collect();
    assert_eq!(order, [conv(1), conv(2), conv(3), conv(1)]);
}

#[test]
fn the_newest_state_replaces_its_predecessor() {
    let mut q = queue(1_000);
    let call = StateKey::Call(CallId::new("x").unwrap());
    let _ = q.push(Class::State(call.clone()), b"ringing".to_vec());
    let _ = q.push(Class::Answer, b"ok".to_vec());
    let _ = q.push(Class::State(call), b"ended".to_vec());
    assert_eq!(q.bytes(), 7);
    assert_eq!(drain(&mut q), ["ended", "ok"]);
}

#[test]
fn ephemerals_go_first_then_the_log() {
    let mut q = queue(64);
    q.subscribe(&conv(1), 0, 0);
    let call = StateKey::Call(CallId::new("x").unwrap());
    for _ in 0..3 {
        assert_eq!(q.push(Class::Ephemeral, frame(0)), Pushed::Fine);
    }
    assert_eq!(q.push(Class::State(call), frame(77)), Pushed::Fine);
    assert_eq!(q.message(&conv(1), 1, &frame(1)), Pushed::Fine);
    assert_eq!(q.message(&conv(1), 2, &frame(2)), Pushed::Fine);
    assert_eq!(q.push(Class::Ephemeral, frame(0)), Pushed::DroppedEphemerals);
    // The three ephemerals make room.
    assert_eq!(q.message(&conv(1), 3, &frame(3)), Pushed::DroppedEphemerals);
    assert_eq!(q.push(Class::Answer, frame(88)), Pushed::Fine);
    assert_eq!(q.message(&conv(1), 4, &frame(4)), Pushed::Fine);
    assert_eq!(q.message(&conv(1), 5, &frame(5)), Pushed::Behind);
    assert_eq!(drain(&mut q), ["0000000077", "0000000088", "behind"]);
    // Live again from the newest.
    assert_eq!(q.message(&conv(1), 5, &frame(5)), Pushed::Fine);
    assert_eq!(q.message(&conv(1), 6, &frame(6)), Pushed::Fine);
    assert_eq!(drain(&mut q), ["0000000006"]);
}

#[test]
fn a_queue_of_nothing_but_answers_is_hopeless() {
    let mut q = queue(32);
    for _ in 0..3 {
        let _ = q.push(Class::Answer, frame(1));
    }
    assert!(q.is_long());
    assert_eq!(q.push(Class::State(StateKey::Head(conv(1))), frame(2)), Pushed::Hopeless);
}

#[derive(Clone, Debug)]
enum Op {
    Append(u8),
    /// Appended, and the hint lost.
    AppendLost(u8),
    Poll,
    Drain,
    Pull,
    Noise(usize),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        4 => (0..3_u8).prop_map(Op::Append),
        1 => (0..3_u8).prop_map(Op::AppendLost),
        1 => Just(Op::Poll),
        2 => Just(Op::Drain),
        3 => Just(Op::Pull),
        1 => (1..60_usize).prop_map(Op::Noise),
    ];
    proptest::collection::vec(op, 1..200)
}

proptest! {
    /// A client that pulls history after `behind` ends up with every message of every conversation, each once, in
    /// order; and the queue never exceeds its bound (answers aside).
    #[test]
    fn nothing_is_lost_whatever_the_timing(ops in ops()) {
        let bytes_max = 200;
        let mut q = queue(bytes_max);
        let mut log: BTreeMap<u8, u64> = (0..3).map(|n| (n, 0)).collect();
        let mut held: BTreeMap<u8, u64> = log.clone();
        for n in 0..3 {
            q.subscribe(&conv(n), 0, 0);
        }
        // Frames carry their conversation: n * 1000 + seq.
        let tagged = |n: u8, seq: u64| frame(u64::from(n) * 1_000 + seq);
        let pull = |q: &mut Queue, log: &BTreeMap<u8, u64>| {
            if let Some((c, after)) = q.next_pull() {
                let n: u8 = c.as_str()[1..].parse().unwrap();
                let upto = log[&n].min(after + 3);
                q.pulled(&c, (after + 1..=upto).map(|s| (s, tagged(n, s))).collect(), gap);
                true
            } else {
                false
            }
        };
        let drain = |q: &mut Queue, log: &BTreeMap<u8, u64>, held: &mut BTreeMap<u8, u64>| {
            while let Some(f) = q.pop() {
                let text = String::from_utf8(f).unwrap();
                if text == "behind" {
                    // What the client fetches by history.
                    held.clone_from(log);
                    continue;
                }
                let Ok(number) = text.parse::<u64>() else { continue };
                let (n, seq) = (u8::try_from(number / 1_000).unwrap(), number % 1_000);
                let have = held.get_mut(&n).unwrap();
                assert!(seq <= *have + 1, "a silent gap: has {have}, got {seq}");
                *have = (*have).max(seq);
            }
        };
        for op in ops {
            match op {
                Op::Append(n) => {
                    *log.get_mut(&n).unwrap() += 1;
                    let _ = q.message(&conv(n), log[&n], &tagged(n, log[&n]));
                }
                Op::AppendLost(n) => *log.get_mut(&n).unwrap() += 1,
                Op::Poll => (0..3).for_each(|n| q.hint(&conv(n), log[&n])),
                Op::Drain => drain(&mut q, &log, &mut held),
                Op::Pull => { pull(&mut q, &log); }
                Op::Noise(bytes) => { let _ = q.push(Class::Ephemeral, vec![b'x'; bytes]); }
            }
            prop_assert!(q.bytes() <= bytes_max + 16);
        }
        (0..3).for_each(|n| q.hint(&conv(n), log[&n]));
        loop {
            drain(&mut q, &log, &mut held);
            if !pull(&mut q, &log) && q.is_idle() {
                break;
            }
        }
        prop_assert_eq!(held, log);
    }
}

/// The store had nothing when it was asked; then a message came.
#[test]
fn what_comes_during_a_pull_is_not_missing() {
    let mut q = queue(1_000);
    q.subscribe(&conv(1), 0, 2);
    assert_eq!(q.next_pull(), Some((conv(1), 0)));
    let _ = q.message(&conv(1), 3, &frame(3));
    q.pulled(&conv(1), Vec::new(), gap);
    assert_eq!(q.next_pull(), Some((conv(1), 2)));
    q.pulled(&conv(1), vec![(3, frame(3))], gap);
    assert_eq!(drain(&mut q), ["gap 1 2", "0000000003"]);
    assert!(q.is_idle());
}
