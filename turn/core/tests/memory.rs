//! What strangers and allocations cost in memory, measured: resident pages of this process, which does nothing else.
#![allow(clippy::unwrap_used, reason = "a test: what fails is the finding")]

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use trunkline_stun::{Class, IntegrityKey, Message, MessageWriter, Method, TransactionId, attr};
use trunkline_turn_core::{
    ClientPath, Config, Handled, Input, Limits, ListenerId, Output, RelayAddress, Secret, TurnServer, mint,
};

const REALM: &str = "example.org";

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn server(now: Instant) -> TurnServer {
    let ip: IpAddr = "198.51.100.1".parse().unwrap();
    let config = Config {
        realm: REALM.to_owned(),
        secrets: vec![Secret::new(*b"a secret of the fleet")],
        relay_v4: Some(RelayAddress { bind: ip, advertised: ip }),
        relay_v6: None,
        relay_ports: 20_000..=65_535,
        allow_peers: vec![],
        deny_peers: vec![],
        own_addresses: vec![],
        legacy_channels: false,
        limits: Limits::default(),
    };
    TurnServer::new(config, Arc::default(), [7; 32], now, Duration::from_secs(1_800_000_000)).unwrap()
}

fn path(n: u32) -> ClientPath {
    // Scattered, so that no table finds them in order.
    let ip = IpAddr::from(n.wrapping_mul(2_654_435_761).to_be_bytes());
    ClientPath::new(SocketAddr::new(ip, n as u16 | 1), ListenerId(0))
}

fn id(n: u32) -> TransactionId {
    let mut id = [0; 12];
    id[..4].copy_from_slice(&n.to_be_bytes());
    TransactionId(id)
}

/// Everything that the server says, obeyed; the last answer is left in `answer`.
fn drain(server: &mut TurnServer, now: Instant, answer: &mut Vec<u8>) {
    loop {
        match server.poll_output() {
            Output::Transmit { data, .. } => {
                answer.clear();
                answer.extend_from_slice(data);
            }
            Output::BindRelay { relay, .. } => {
                let _ = server.handle(Input::RelayBound { relay, bound: true }, now);
            }
            Output::Timeout(_) => return,
            _ => {}
        }
    }
}

fn allocate(out: &mut Vec<u8>, n: u32) -> MessageWriter<'_> {
    out.clear();
    MessageWriter::new(out, Class::Request, Method::ALLOCATE, &id(n))
        .attribute(attr::REQUESTED_TRANSPORT, &[17, 0, 0, 0])
}

#[test]
fn case_19_a_million_spoofed_allocates() {
    #[allow(clippy::disallowed_methods, reason = "an origin: only differences count")]
    let now = Instant::now();
    let mut server = server(now);
    let (mut data, mut answer) = (Vec::new(), Vec::new());
    // A hundred thousand a second: most are answered.
    let mut stranger = |server: &mut TurnServer, n: u32| {
        let now = now + Duration::from_micros(10) * n;
        allocate(&mut data, n).finish();
        let _ = server.handle(Input::Client { path: path(n), data: &data }, now);
        drain(server, now, &mut answer);
    };
    // The first few touch what is there once.
    (0..10_000).for_each(|n| stranger(&mut server, n));
    let before = resident_kib();
    (10_000..1_010_000).for_each(|n| stranger(&mut server, n));
    let grown = resident_kib().saturating_sub(before);
    assert!(grown < 1024, "{grown} KiB for a million spoofed Allocates");
    assert_eq!(server.stats().allocations_created, 0);

    let now = now + Duration::from_secs(60);
    let before = resident_kib();
    let count = 10_000;
    (0..count).for_each(|n| real(&mut server, now, n));
    assert_eq!(server.stats().allocations, u64::from(count));
    let each = (resident_kib().saturating_sub(before) * 1024) / u64::from(count);
    assert!(each < 4096, "{each} bytes an allocation with one channel");
    println!("{grown} KiB for a million strangers, {each} bytes an allocation with one channel");
}

/// An allocation of a user of its own, with one channel.
fn real(server: &mut TurnServer, now: Instant, n: u32) {
    let path = path(n);
    let secret = Secret::new(*b"a secret of the fleet");
    let credentials = mint(&secret, &format!("user-{n:08}"), Duration::from_secs(1_800_003_600));
    let (username, realm) = (credentials.username.as_bytes(), REALM.as_bytes());
    let key = IntegrityKey::long_term(username, realm, credentials.password.as_bytes());
    let (mut data, mut answer) = (Vec::new(), Vec::new());
    allocate(&mut data, n).finish();
    let _ = server.handle(Input::Client { path, data: &data }, now);
    drain(server, now, &mut answer);
    let nonce = Message::parse(&answer).unwrap().attribute(attr::NONCE).unwrap().to_vec();
    let sign = |writer: MessageWriter<'_>| {
        writer
            .attribute(attr::USERNAME, username)
            .attribute(attr::REALM, realm)
            .attribute(attr::NONCE, &nonce)
            .integrity(&key)
            .finish()
    };
    sign(allocate(&mut data, n));
    assert_eq!(server.handle(Input::Client { path, data: &data }, now), Handled::Done);
    drain(server, now, &mut answer);
    assert_eq!(Message::parse(&answer).unwrap().class(), Class::Success);
    data.clear();
    sign(
        MessageWriter::new(&mut data, Class::Request, Method::CHANNEL_BIND, &id(n))
            .attribute_u32(attr::CHANNEL_NUMBER, 0x4000 << 16)
            .xor_address(attr::XOR_PEER_ADDRESS, SocketAddr::from(([203, 0, 113, 5], 9))),
    );
    let _ = server.handle(Input::Client { path, data: &data }, now);
    drain(server, now, &mut answer);
    assert_eq!(Message::parse(&answer).unwrap().class(), Class::Success);
}
