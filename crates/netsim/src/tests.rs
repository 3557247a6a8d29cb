//! Determinism, and that the numbers are those asked for.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use crate::{Link, LinkConfig, Loss, Rng};

const MS: Duration = Duration::from_millis(1);

/// Sends `count` numbered datagrams of 100 bytes, one each `gap`, and gives (arrival after start, number).
fn trace(seed: u64, config: LinkConfig, count: u32, gap: Duration) -> (Vec<(Duration, u32)>, Link) {
    let start = Instant::now();
    let mut link = Link::new(seed, config);
    let mut arrivals = Vec::new();
    let mut drain = |link: &mut Link, until: Option<Instant>| {
        while let Some(at) = link.next_at().filter(|at| until.is_none_or(|until| *at <= until)) {
            assert!(link.pop(at - Duration::from_nanos(1)).is_none(), "nothing arrives early");
            let datagram = link.pop(at).unwrap();
            arrivals.push((at - start, u32::from_be_bytes(datagram[..4].try_into().unwrap())));
        }
    };
    for number in 0..count {
        let now = start + gap * number;
        drain(&mut link, Some(now));
        let mut datagram = vec![0; 100];
        datagram[..4].copy_from_slice(&number.to_be_bytes());
        link.push(datagram, now);
    }
    drain(&mut link, None);
    assert!(link.is_empty());
    (arrivals, link)
}

fn bad() -> LinkConfig {
    LinkConfig {
        loss: Loss::Burst { enter: 0.05, leave: 0.3, good: 0.01, bad: 0.7 },
        delay: 30 * MS,
        jitter: 20 * MS,
        reorder: 0.1,
        reorder_delay: 15 * MS,
        duplicate: 0.05,
        rate: Some(1_000_000),
        queue_bytes: 5_000,
    }
}

#[test]
fn the_same_seed_gives_the_same_trace_and_another_another() {
    let (first, _) = trace(1, bad(), 2_000, 2 * MS);
    assert_eq!(first, trace(1, bad(), 2_000, 2 * MS).0);
    assert_ne!(first, trace(2, bad(), 2_000, 2 * MS).0);
}

#[test]
fn a_perfect_wire_is_perfect() {
    let (arrivals, link) = trace(1, LinkConfig::default(), 500, MS);
    assert!(arrivals.iter().enumerate().all(|(i, (at, number))| *at == MS * *number && i as u32 == *number));
    assert_eq!((link.stats().pushed, link.stats().delivered), (500, 500));
}

#[test]
fn losses_are_as_frequent_as_asked_for() {
    let random = LinkConfig { loss: Loss::Random(0.1), ..LinkConfig::default() };
    let lost = trace(3, random, 20_000, MS).1.stats().lost;
    assert!((1_800..2_200).contains(&lost), "{lost}");

    let burst = Loss::Burst { enter: 0.02, leave: 0.25, good: 0.0, bad: 1.0 };
    let (arrivals, link) = trace(3, LinkConfig { loss: burst, ..LinkConfig::default() }, 50_000, MS);
    let share = link.stats().lost as f64 / 50_000.0;
    assert!((0.06..0.09).contains(&share), "{share}");
    let bursts = arrivals.windows(2).filter(|pair| pair[1].1 - pair[0].1 > 1).count();
    let length = link.stats().lost as f64 / bursts as f64;
    assert!((3.5..4.5).contains(&length), "{length}");
}

#[test]
fn jitter_keeps_order_and_reordering_does_not() {
    let config = LinkConfig { delay: 10 * MS, jitter: 30 * MS, ..LinkConfig::default() };
    let (arrivals, _) = trace(4, config, 5_000, MS);
    assert!(arrivals.windows(2).all(|pair| pair[0].1 < pair[1].1 && pair[0].0 <= pair[1].0));
    let delays = arrivals.iter().map(|(at, number)| *at - MS * *number);
    assert!(delays.clone().min().unwrap() >= 10 * MS && delays.max().unwrap() <= 40 * MS);

    let config = LinkConfig { delay: 10 * MS, reorder: 0.2, reorder_delay: 10 * MS, ..LinkConfig::default() };
    let (arrivals, _) = trace(4, config, 5_000, MS);
    assert_eq!(arrivals.len(), 5_000);
    let overtaken = arrivals.windows(2).filter(|pair| pair[0].1 > pair[1].1).count();
    assert!((600..1_100).contains(&overtaken), "{overtaken}");
}

#[test]
fn duplicates_are_counted() {
    let (arrivals, link) = trace(5, LinkConfig { duplicate: 0.3, ..LinkConfig::default() }, 10_000, MS);
    let stats = link.stats();
    assert!((2_800..3_200).contains(&stats.duplicated));
    assert_eq!(arrivals.len() as u64, stats.pushed + stats.duplicated);
}

#[test]
fn a_bottleneck_delays_and_then_drops() {
    // 100 bytes each millisecond are 800 kb/s; half of it passes.
    let config = LinkConfig { rate: Some(400_000), queue_bytes: 2_000, ..LinkConfig::default() };
    let (arrivals, link) = trace(6, config, 10_000, MS);
    let stats = link.stats();
    assert!((4_900..5_100).contains(&stats.overflowed), "{stats:?}");
    let delay = |(at, number): &(Duration, u32)| *at - MS * *number;
    assert_eq!(delay(&arrivals[0]), 2 * MS);
    let longest = arrivals.iter().map(delay).max().unwrap();
    assert!(longest > 38 * MS && longest <= 40 * MS, "{longest:?}");
    // A datagram larger than the queue still passes when nothing waits.
    let now = Instant::now();
    let mut link = Link::new(1, LinkConfig { rate: Some(8_000), queue_bytes: 10, ..LinkConfig::default() });
    link.push(vec![0; 100], now);
    link.push(vec![0; 100], now);
    assert_eq!((link.len(), link.next_at()), (1, Some(now + 100 * MS)));
}

#[test]
fn the_generator_is_xoshiro256_plus_plus() {
    // SplitMix64 from seed zero begins with these four, the generator's state.
    let state = [0xe220a8397b1dcdaf_u64, 0x6e789e6aa1b965f4, 0x06c45d188009454f, 0xf88bb8a8724c81ec];
    let first = state[0].wrapping_add(state[3]).rotate_left(23).wrapping_add(state[0]);
    assert_eq!(Rng::new(0).next_u64(), first);
    let mut rng = Rng::new(9);
    let mut counts = [0u32; 10];
    for _ in 0..100_000 {
        counts[rng.below(10) as usize] += 1;
    }
    assert!(counts.iter().all(|count| (9_500..10_500).contains(count)), "{counts:?}");
    assert!(!rng.chance(0.0) && rng.chance(1.0));
    assert_eq!(rng.below(0), 0);
    let mut bytes = [0; 13];
    rng.fill(&mut bytes);
    assert_ne!(bytes, [0; 13]);
    assert_ne!(rng.fork(), rng);
}

proptest! {
    #[test]
    fn nothing_is_made_up(
        seed: u64,
        loss in 0.0..1.0f64,
        jitter in 0u32..50,
        reorder in 0.0..1.0f64,
        duplicate in 0.0..1.0f64,
        rate in prop::option::of(1_000u64..10_000_000),
    ) {
        let config = LinkConfig {
            loss: Loss::Random(loss),
            delay: 5 * MS,
            jitter: jitter * MS,
            reorder,
            reorder_delay: 10 * MS,
            duplicate,
            rate,
            queue_bytes: 3_000,
        };
        let (arrivals, link) = trace(seed, config, 200, MS);
        let stats = link.stats();
        prop_assert_eq!(stats.pushed, 200);
        prop_assert_eq!(stats.delivered, stats.pushed - stats.lost - stats.overflowed + stats.duplicated);
        prop_assert!(arrivals.iter().all(|(at, number)| *at >= MS * *number + 5 * MS));
        prop_assert!(arrivals.windows(2).all(|pair| pair[0].0 <= pair[1].0));
    }
}
