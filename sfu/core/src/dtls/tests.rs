//! Two ends in memory, a bad network between them, and peers that mean harm.

use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use trunkline_netsim::{Link, LinkConfig, LinkStats, Loss, Rng};

use super::guard::{ALERT, BYTES_MAX, Guard, HANDSHAKE, RECORDS_MAX, fragments, records};
use super::{Dtls, DtlsError, DtlsIdentity, HANDSHAKE_TIMEOUT, RtcDtls, hello};
use crate::srtp::{SrtpKeys, SrtpProfile};
use crate::test_clock;

static ALICE: LazyLock<Arc<DtlsIdentity>> = LazyLock::new(|| Arc::new(DtlsIdentity::generate().unwrap()));
static BOB: LazyLock<Arc<DtlsIdentity>> = LazyLock::new(|| Arc::new(DtlsIdentity::generate().unwrap()));

/// A client and a server, with a link each way.
struct Pair {
    client: RtcDtls,
    server: RtcDtls,
    to_server: Link,
    to_client: Link,
    now: Instant,
    start: Instant,
}

impl Pair {
    fn new(seed: u64, config: LinkConfig) -> Self {
        let now = test_clock();
        Pair {
            client: RtcDtls::new(&ALICE, BOB.fingerprint(), true, now),
            server: RtcDtls::new(&BOB, ALICE.fingerprint(), false, now),
            to_server: Link::new(seed, config),
            to_client: Link::new(seed ^ 0xffff, config),
            now,
            start: now,
        }
    }

    /// Runs until both have ended, in keys or in failure, or nothing more will happen.
    fn run(&mut self) -> (Result<SrtpKeys, DtlsError>, Result<SrtpKeys, DtlsError>) {
        let (mut client, mut server) = (None, None);
        for _ in 0..10_000 {
            client = client.or_else(|| result(&mut self.client));
            server = server.or_else(|| result(&mut self.server));
            if !self.step() {
                break;
            }
        }
        let client = client.or_else(|| result(&mut self.client));
        let server = server.or_else(|| result(&mut self.server));
        (client.expect("the client ended"), server.expect("the server ended"))
    }

    /// Sends what there is to send and jumps to the next event; false when there is none.
    fn step(&mut self) -> bool {
        let due = [self.client.timeout(self.now), self.server.timeout(self.now)];
        while let Some(datagram) = self.client.output() {
            assert!(datagram.len() <= 1_300);
            self.to_server.push(datagram.to_vec(), self.now);
        }
        while let Some(datagram) = self.server.output() {
            assert!(datagram.len() <= 1_300);
            self.to_client.push(datagram.to_vec(), self.now);
        }
        let arrivals = [self.to_server.next_at(), self.to_client.next_at()];
        let Some(next) = due.into_iter().chain(arrivals).flatten().min() else { return false };
        self.now = self.now.max(next);
        while let Some(datagram) = self.to_server.pop(self.now) {
            let _ = self.server.input(&datagram, self.now);
        }
        while let Some(datagram) = self.to_client.pop(self.now) {
            let _ = self.client.input(&datagram, self.now);
        }
        true
    }
}

fn result(dtls: &mut RtcDtls) -> Option<Result<SrtpKeys, DtlsError>> {
    dtls.keys().map(Ok).or_else(|| dtls.closed().map(Err))
}

fn wire() -> LinkConfig {
    LinkConfig { delay: Duration::from_millis(20), ..LinkConfig::default() }
}

#[test]
fn both_ends_agree_on_keys_and_on_the_cheapest_profile() {
    let mut pair = Pair::new(1, wire());
    let (client, server) = pair.run();
    let (client, server) = (client.unwrap(), server.unwrap());
    assert_eq!(client.profile, SrtpProfile::AeadAes128Gcm);
    assert_eq!(client.profile, server.profile);
    assert_eq!(client.inbound, server.outbound);
    assert_eq!(client.outbound, server.inbound);
    assert_ne!(client.inbound, client.outbound);
    assert!(pair.client.keys().is_none() && pair.server.keys().is_none(), "keys are given once");
    // Three round trips: the cookie, the key exchange, and half of one for the client's own end.
    assert!(pair.now - pair.start <= Duration::from_millis(121), "{:?}", pair.now - pair.start);
    assert_eq!(pair.client.timeout(pair.now), None);
    assert_eq!(pair.server.timeout(pair.now), None);
}

#[test]
fn nothing_is_sent_twice_on_a_good_network() {
    let mut pair = Pair::new(1, wire());
    let _ = pair.run();
    let LinkStats { pushed: from_client, .. } = pair.to_server.stats();
    let LinkStats { pushed: from_server, .. } = pair.to_client.stats();
    assert!(from_client <= 4 && from_server <= 4, "{from_client} {from_server}");
}

#[test]
fn every_association_has_its_own_keys() {
    let (first, _) = Pair::new(1, wire()).run();
    let (second, _) = Pair::new(1, wire()).run();
    assert_ne!(first.unwrap().inbound, second.unwrap().inbound);
}

#[test]
fn a_handshake_survives_loss_reordering_and_duplicates() {
    let mut slowest = Duration::ZERO;
    for seed in 0..200 {
        let config = LinkConfig {
            loss: Loss::Random(0.25),
            jitter: Duration::from_millis(15),
            reorder: 0.3,
            reorder_delay: Duration::from_millis(40),
            duplicate: 0.1,
            ..wire()
        };
        let mut pair = Pair::new(seed, config);
        let (client, server) = pair.run();
        let (client, server) = (
            client.unwrap_or_else(|e| panic!("seed {seed}: client {e}")),
            server.unwrap_or_else(|e| panic!("seed {seed}: server {e}")),
        );
        assert_eq!(client.inbound, server.outbound, "seed {seed}");
        slowest = slowest.max(pair.now - pair.start);
    }
    assert!(slowest < HANDSHAKE_TIMEOUT, "{slowest:?}");
}

/// Each datagram in turn is lost, once.
#[test]
fn losing_any_one_datagram_costs_a_retransmission_only() {
    for lost in 0..8 {
        let mut pair = Pair::new(1, wire());
        let mut number = 0;
        let (mut client, mut server) = (None, None);
        for _ in 0..1_000 {
            client = client.or_else(|| result(&mut pair.client));
            server = server.or_else(|| result(&mut pair.server));
            let due = [pair.client.timeout(pair.now), pair.server.timeout(pair.now)];
            while let Some(datagram) = pair.client.output() {
                if number != lost {
                    pair.to_server.push(datagram.to_vec(), pair.now);
                }
                number += 1;
            }
            while let Some(datagram) = pair.server.output() {
                if number != lost {
                    pair.to_client.push(datagram.to_vec(), pair.now);
                }
                number += 1;
            }
            if !pair.step() && due == [None, None] {
                break;
            }
        }
        assert!(client.is_some_and(|c| c.is_ok()), "client without datagram {lost}");
        assert!(server.is_some_and(|s| s.is_ok()), "server without datagram {lost}");
        assert!(pair.now - pair.start < Duration::from_millis(1_000), "{lost}: {:?}", pair.now - pair.start);
    }
}

#[test]
fn a_wrong_fingerprint_yields_no_keys_at_either_end() {
    let mut pair = Pair::new(1, wire());
    pair.server = RtcDtls::new(&BOB, [7; 32], false, pair.now);
    let (client, server) = pair.run();
    assert_eq!(server.unwrap_err(), DtlsError::FingerprintMismatch);
    assert_eq!(client.unwrap_err(), DtlsError::PeerAlert);

    let mut pair = Pair::new(1, wire());
    pair.client = RtcDtls::new(&ALICE, [7; 32], true, pair.now);
    let (client, server) = pair.run();
    assert_eq!(client.unwrap_err(), DtlsError::FingerprintMismatch);
    assert_eq!(server.unwrap_err(), DtlsError::PeerAlert);
}

#[test]
fn silence_times_out() {
    let mut pair = Pair::new(1, LinkConfig { loss: Loss::Random(1.0), ..wire() });
    let (client, server) = pair.run();
    assert_eq!((client.unwrap_err(), server.unwrap_err()), (DtlsError::TimedOut, DtlsError::TimedOut));
    assert_eq!(pair.now - pair.start, HANDSHAKE_TIMEOUT);
    assert!(pair.to_server.stats().pushed < 20, "{:?}", pair.to_server.stats());
    assert_eq!(pair.to_client.stats().pushed, 0, "a server that heard nothing says nothing");
}

#[test]
fn goodbye_reaches_the_peer_and_nothing_revives_the_association() {
    let mut pair = Pair::new(1, wire());
    assert!(pair.run().0.is_ok());
    pair.client.close(pair.now);
    assert_eq!(pair.client.closed(), Some(DtlsError::ClosedByUs));
    while pair.step() {}
    assert_eq!(pair.server.closed(), Some(DtlsError::ClosedByPeer));
    let mut again = RtcDtls::new(&ALICE, BOB.fingerprint(), true, pair.now);
    let hello = again.output().unwrap();
    assert_eq!(pair.server.input(&hello, pair.now), Ok(()));
    assert!(pair.server.output().is_none());
    assert_eq!(pair.server.timeout(pair.now), None);
}

#[test]
fn a_plain_alert_cannot_end_what_has_keys() {
    let mut pair = Pair::new(1, wire());
    assert!(pair.run().0.is_ok());
    for body in [[2, 40], [1, 0], [2, 0]] {
        let mut alert = vec![ALERT, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 9, 9, 0, 2];
        alert.extend_from_slice(&body);
        assert_eq!(pair.server.input(&alert, pair.now), Ok(()));
        assert_eq!(pair.client.input(&alert, pair.now), Ok(()));
    }
    assert!(!pair.server.is_closed() && !pair.client.is_closed());
    assert!(pair.server.output().is_none() && pair.client.output().is_none());
}

/// RFC 6347 §4.2.1: without the cookie a hello makes the server say no more than the hello itself.
#[test]
fn without_a_cookie_there_is_no_flight() {
    let now = test_clock();
    let mut server = RtcDtls::new(&BOB, ALICE.fingerprint(), false, now);
    for _ in 0..50 {
        let mut client = RtcDtls::new(&ALICE, BOB.fingerprint(), true, now);
        let hello = client.output().unwrap();
        let _ = server.input(&hello, now);
        let mut answer = 0;
        while let Some(datagram) = server.output() {
            answer += datagram.len();
        }
        assert!(answer < hello.len(), "{answer} for {}", hello.len());
    }
}

/// The client's list begins with counter mode, in two fragments; the server takes GCM all the same.
#[test]
fn the_profile_is_the_servers_choice_from_a_fragmented_hello() {
    let with = |profiles: &[u16]| -> Vec<u8> {
        let mut body = vec![0xfe, 0xfd];
        body.extend_from_slice(&[7; 32]);
        body.extend_from_slice(&[0, 0, 0, 2, 0xc0, 0x2b, 1, 0]);
        let mut extensions = vec![0, 23, 0, 0];
        extensions.extend_from_slice(&[0, 14, 0, 3 + 2 * profiles.len() as u8, 0, 2 * profiles.len() as u8]);
        extensions.extend(profiles.iter().flat_map(|profile| profile.to_be_bytes()));
        extensions.push(0);
        body.extend_from_slice(&(extensions.len() as u16).to_be_bytes());
        body.extend_from_slice(&extensions);
        body
    };
    let cases: [(&[u16], _); 6] = [
        (&[1, 7], Some(SrtpProfile::AeadAes128Gcm)),
        (&[1, 2, 8, 7], Some(SrtpProfile::AeadAes128Gcm)),
        (&[1, 8], Some(SrtpProfile::AeadAes256Gcm)),
        (&[2, 1], Some(SrtpProfile::Aes128CmHmacSha1_80)),
        (&[2, 5, 6], None),
        (&[], None),
    ];
    for (offered, expected) in cases {
        let body = with(offered);
        assert_eq!(hello::best_profile(&body), expected, "{offered:?}");
        for len in 0..body.len() {
            let _ = hello::best_profile(&body[..len]);
        }
        let fragment = |from: usize, to: usize| {
            let mut message = vec![1, 0, 0, body.len() as u8, 0, 0];
            message.extend_from_slice(&[0, 0, from as u8, 0, 0, (to - from) as u8]);
            message.extend_from_slice(&body[from..to]);
            let mut record =
                vec![HANDSHAKE, 0xfe, 0xff, 0, 0, 0, 0, 0, 0, 0, from as u8, 0, message.len() as u8];
            record.extend_from_slice(&message);
            record
        };
        assert_eq!(hello::reassemble(&[fragment(0, 30)]), None);
        let last = body.len();
        let (late, early) = (fragment(25, last), fragment(0, 30));
        assert_eq!(hello::reassemble(&[late.clone(), early.clone()]), Some(body.clone()));
        let mut server = RtcDtls::new(&BOB, ALICE.fingerprint(), false, test_clock());
        let now = test_clock();
        assert_eq!(server.input(&late, now), Ok(()));
        assert!(server.output().is_none());
        if expected.is_none() {
            assert_eq!(server.input(&early, now), Err(DtlsError::NoSrtpProfile));
            assert_eq!(server.output().unwrap()[0], ALERT);
        }
    }
}

#[test]
fn a_flood_of_fragments_is_bounded() {
    let mut guard = Guard::default();
    let mut bytes = 0;
    for at in 0..100_000u32 {
        let mut record = vec![HANDSHAKE, 0xfe, 0xfd, 0, 0, 0, 0];
        record.extend_from_slice(&at.to_be_bytes());
        let len = if at % 2 == 0 { 13u8 } else { 250 };
        record.extend_from_slice(&[0, len]);
        let data = usize::from(len) - 12;
        record.extend_from_slice(&[11, 0, 0x30, 0, 0, 1, 0, at as u8, 0, 0, 0, data as u8]);
        record.resize(13 + usize::from(len), 0xaa);
        bytes += guard.filter(&record, false).datagram.len();
    }
    assert!(bytes <= BYTES_MAX && bytes <= RECORDS_MAX as usize * 300, "{bytes}");
}

/// Real flights with octets changed: nothing panics, and whatever ends as keys ends as the same keys.
fn harm(seed: u64) {
    let mut rng = Rng::new(seed);
    let mut pair = Pair::new(seed, wire());
    for _ in 0..400 {
        let due = [pair.client.timeout(pair.now), pair.server.timeout(pair.now)];
        let mut datagrams = Vec::new();
        while let Some(datagram) = pair.client.output() {
            datagrams.push((true, datagram.to_vec()));
        }
        while let Some(datagram) = pair.server.output() {
            datagrams.push((false, datagram.to_vec()));
        }
        if datagrams.is_empty() {
            let Some(next) = due.into_iter().flatten().min() else { break };
            pair.now = pair.now.max(next);
        }
        for (to_server, datagram) in datagrams {
            let mut harmed = datagram.clone();
            match rng.below(6) {
                0 => harmed.truncate(rng.below(datagram.len() as u64 + 1) as usize),
                1 => (0..=rng.below(4)).for_each(|_| {
                    let at = rng.below(datagram.len() as u64) as usize;
                    harmed[at] = rng.next_u32() as u8;
                }),
                2 => {
                    // Within the first message's header and body, where lengths are.
                    let at = (13 + rng.below(60) as usize).min(datagram.len() - 1);
                    harmed[at] ^= 1 << rng.below(8);
                }
                3 => harmed.extend_from_slice(&datagram),
                _ => {}
            }
            let target = if to_server { &mut pair.server } else { &mut pair.client };
            let _ = target.input(&harmed, pair.now);
            if rng.chance(0.3) {
                let _ = target.input(&datagram, pair.now);
            }
        }
    }
    if let (Some(client), Some(server)) = (pair.client.keys(), pair.server.keys()) {
        assert_eq!(client.inbound, server.outbound, "seed {seed}");
        assert_eq!(client.outbound, server.inbound, "seed {seed}");
    }
}

#[test]
fn harmed_flights_never_panic_nor_disagree() {
    (0..400).for_each(harm);
}

proptest! {
    #[test]
    fn garbage_is_ignored(datagrams in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..20)) {
        let now = test_clock();
        let mut server = RtcDtls::new(&BOB, ALICE.fingerprint(), false, now);
        for datagram in &datagrams {
            prop_assert_eq!(server.input(datagram, now), Ok(()));
        }
        prop_assert!(server.output().is_none());
    }

    /// Well-formed records around garbage reach deeper.
    #[test]
    fn garbage_in_records_never_panics(
        parts in prop::collection::vec(
            (prop::sample::select(vec![20u8, 21, 22, 23]), 0u16..3, any::<u16>(), prop::collection::vec(any::<u8>(), 0..80), any::<bool>()),
            1..30,
        ),
    ) {
        let now = test_clock();
        let mut server = RtcDtls::new(&BOB, ALICE.fingerprint(), false, now);
        let mut client = RtcDtls::new(&ALICE, BOB.fingerprint(), true, now);
        let _ = server.input(&client.output().unwrap(), now);
        for (content_type, epoch, sequence, mut body, tidy) in parts {
            if tidy && body.len() >= 12 {
                // A whole message of some type, in sequence.
                let len = body.len() - 12;
                body[0] = [0, 1, 2, 3, 11, 12, 13, 14, 15, 16, 20][usize::from(body[0]) % 11];
                let sequence = body[5] % 6;
                body[1..6].copy_from_slice(&[0, 0, len as u8, 0, sequence]);
                body[6..12].copy_from_slice(&[0, 0, 0, 0, 0, len as u8]);
            }
            let mut record = vec![content_type, 0xfe, 0xfd];
            record.extend_from_slice(&epoch.to_be_bytes());
            record.extend_from_slice(&[0, 0, 0, 0]);
            record.extend_from_slice(&sequence.to_be_bytes());
            record.extend_from_slice(&(body.len() as u16).to_be_bytes());
            record.extend_from_slice(&body);
            let _ = server.input(&record, now);
            let _ = client.input(&record, now);
            prop_assert!(server.keys().is_none() && client.keys().is_none());
        }
    }

    #[test]
    fn the_guard_passes_only_whole_records(bytes in prop::collection::vec(any::<u8>(), 0..400), connected: bool) {
        let passed = Guard::default().filter(&bytes, connected);
        let again: usize = records(&passed.datagram).map(|record| record.bytes.len()).sum();
        prop_assert_eq!(again, passed.datagram.len());
        for fragment in fragments(&bytes).flatten() {
            prop_assert!(fragment.offset + fragment.data.len() <= fragment.message_len);
        }
    }
}
