//! Sequences of operations: nothing panics, all that is remembered stays within its bounds and adds up.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Operation {
    Allocate { client: u8, user: u8, v6: bool },
    Refresh { client: u8, user: u8, lifetime: u32 },
    Permit { client: u8, user: u8, peers: Vec<u8> },
    Bind { client: u8, user: u8, number: u16, peer: u8 },
    Send { client: u8, peer: u8 },
    Channel { client: u8, number: u16, peer: u8 },
    FromPeer { relay: u8, peer: u8, length: u16 },
    Garbage { client: u8, data: Vec<u8> },
    Mangled { client: u8, user: u8, at: u16, byte: u8 },
    Advance { seconds: u16 },
    FailBinds { count: u8 },
}

fn operation() -> impl Strategy<Value = Operation> {
    use Operation::*;
    let client = 0..6_u8;
    let user = 0..3_u8;
    let peer = 0..8_u8;
    let number = prop_oneof![0x4000..0x4008_u16, any::<u16>()];
    prop_oneof![
        4 => (client.clone(), user.clone(), any::<bool>()).prop_map(|(client, user, v6)| Allocate { client, user, v6 }),
        2 => (client.clone(), user.clone(), prop_oneof![Just(0), 0..5000_u32, any::<u32>()])
            .prop_map(|(client, user, lifetime)| Refresh { client, user, lifetime }),
        4 => (client.clone(), user.clone(), prop::collection::vec(peer.clone(), 0..6))
            .prop_map(|(client, user, peers)| Permit { client, user, peers }),
        4 => (client.clone(), user.clone(), number.clone(), peer.clone())
            .prop_map(|(client, user, number, peer)| Bind { client, user, number, peer }),
        2 => (client.clone(), peer.clone()).prop_map(|(client, peer)| Send { client, peer }),
        2 => (client.clone(), number, peer.clone()).prop_map(|(client, number, peer)| Channel { client, number, peer }),
        2 => (any::<u8>(), peer, any::<u16>()).prop_map(|(relay, peer, length)| FromPeer { relay, peer, length }),
        1 => (client.clone(), prop::collection::vec(any::<u8>(), 0..80)).prop_map(|(client, data)| Garbage { client, data }),
        1 => (client, user, any::<u16>(), any::<u8>()).prop_map(|(client, user, at, byte)| Mangled { client, user, at, byte }),
        2 => prop_oneof![1..20_u16, 200..700_u16, any::<u16>()].prop_map(|seconds| Advance { seconds }),
        1 => (0..12_u8).prop_map(|count| FailBinds { count }),
    ]
}

/// Half of them of each family, one of each denied.
fn peer(n: u8) -> SocketAddr {
    match n {
        0 => addr("10.0.0.1:9"),
        1 => addr("[fe80::1]:9"),
        2..=4 => SocketAddr::from(([203, 0, 113, n], 9)),
        _ => SocketAddr::new(IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(n)]), 9),
    }
}

fn small() -> Config {
    let mut config = Config { relay_ports: 50_000..=50_002, ..config() };
    config.limits.allocations = 4;
    config.limits.allocations_per_user = 2;
    config.limits.permissions = 3;
    config.limits.channels = 2;
    config
}

fn client(harness: &mut Harness, client: u8, user: u8) -> Client {
    Client::new(harness, &format!("203.0.113.9:{}", u16::from(client) + 1), &format!("user{user}"))
}

fn apply(harness: &mut Harness, operation: Operation) {
    match operation {
        Operation::Allocate { client: c, user, v6 } => {
            let c = client(harness, c, user);
            if v6 {
                c.allocate_v6(harness)
            } else {
                c.allocate(harness)
            };
        }
        Operation::Refresh { client: c, user, lifetime } => {
            client(harness, c, user).refresh(harness, lifetime);
        }
        Operation::Permit { client: c, user, peers } => {
            let peers: Vec<_> = peers.into_iter().map(peer).collect();
            client(harness, c, user).permit(harness, &peers);
        }
        Operation::Bind { client: c, user, number, peer: p } => {
            client(harness, c, user).bind(harness, number, peer(p));
        }
        Operation::Send { client: c, peer: p } => {
            let sent = client(harness, c, 0).send(harness, peer(p), b"payload");
            assert!(sent.is_none() || p >= 2, "a packet to a denied peer");
        }
        Operation::Channel { client: c, number, peer: p } => {
            let c = client(harness, c, 0);
            let mut data = trunkline_stun::ChannelData::header(number, 4).to_vec();
            data.extend_from_slice(&[p; 4]);
            let handled = harness.input(Input::Client { path: c.path, data: &data });
            if let Handled::Forward(forward) = handled {
                assert!(
                    matches!(forward.to, Destination::Peer { peer, .. } if harness.server.policy.policy.permits(peer.ip()))
                );
            }
        }
        Operation::FromPeer { relay, peer: p, length } => {
            if !harness.relays.is_empty() {
                let relayed = harness.relays[usize::from(relay) % harness.relays.len()].1;
                from_peer(harness, relayed, peer(p), &vec![p; length.into()]);
            }
        }
        Operation::Garbage { client: c, data } => {
            let path = client(harness, c, 0).path;
            harness.client(path, &data);
        }
        Operation::Mangled { client: c, user, at, byte } => {
            let c = client(harness, c, user);
            let mut data =
                c.build(TransactionId([at as u8; 12]), Method::ALLOCATE, &[udp(), lifetime_attr(900)]);
            let at = usize::from(at) % data.len();
            data[at] = byte;
            harness.client(c.path, &data);
        }
        Operation::Advance { seconds } => harness.advance(seconds.into()),
        Operation::FailBinds { count } => harness.bind_failures = count.into(),
    }
}

proptest! {
    #[test]
    fn sequences_never_panic_and_state_is_bounded(operations in prop::collection::vec(operation(), 0..120)) {
        let mut harness = Harness::new(small());
        for operation in operations {
            apply(&mut harness, operation);
            let [allocations, paths, users, deadlines, ports, sockets] = harness.state();
            prop_assert!(allocations <= 4);
            prop_assert_eq!([paths, deadlines, ports, sockets], [allocations; 4]);
            prop_assert!(users <= allocations);
            for (relay, _) in &harness.relays {
                let (permissions, channels) = harness.server.allocations.get(relay.index).unwrap().counts();
                prop_assert!(permissions <= 3 && channels <= 2);
            }
        }
        harness.bind_failures = 0;
        harness.advance(3601);
        prop_assert_eq!(harness.state(), [0; 6]);
    }

    #[test]
    fn the_same_inputs_give_the_same_outputs(operations in prop::collection::vec(operation(), 0..40)) {
        let run = || {
            let mut harness = Harness::new(small());
            operations.iter().cloned().map(|operation| {
                apply(&mut harness, operation);
                harness.relays.iter().map(|(_, addr)| *addr).collect::<Vec<_>>()
            }).collect::<Vec<_>>()
        };
        prop_assert_eq!(run(), run());
    }
}
