//! What a credential opens: an allocation, its address, its policy, and packets through it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use trunkline_stun::{AddressFamily, Message, attr};
use trunkline_turn_client::{Client, Failure, Relayed, Response, Source};

use super::probe::Probe;

/// Peers that no relay on the internet should reach: itself, an inner network, the cloud's metadata, itself again.
const FORBIDDEN: [IpAddr; 4] = [
    IpAddr::V4(Ipv4Addr::LOCALHOST),
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V6(Ipv6Addr::LOCALHOST),
];
/// "Discard": should a relay let one through, nothing answers.
const FORBIDDEN_PORT: u16 = 9;

const CHANNEL_A: u16 = 0x4000;
const CHANNEL_B: u16 = 0x4FFF;
/// What a media packet has at most, so that what is relayed is not fragmented either.
const PAYLOAD_BYTES: usize = 1_200;
/// A datagram may be lost on the way: how often each is sent, and how long each is waited for.
const TRIES: u32 = 4;
const TRY: Duration = Duration::from_millis(700);

impl Probe<'_> {
    pub(super) fn allocation(&mut self, mut client: Client, mapped: SocketAddr) {
        client.set_credentials(self.ask.credentials.clone());
        let Some(relayed) = self.allocate(&mut client) else { return };
        self.address_of_relay(relayed);
        self.policy(&mut client, AddressFamily::of(relayed.ip()));
        self.relay(&mut client, relayed, mapped.ip());
        self.other_family(other_than(relayed));
        self.sha_256();
        match client.refresh(0).and_then(Response::accepted) {
            Ok(_) => self.ok("release", "Refresh with lifetime 0 ended the allocation"),
            Err(failure) => self.failed("release", failure.to_string(), ""),
        }
    }

    fn allocate(&mut self, client: &mut Client) -> Option<SocketAddr> {
        let answer = match client.allocate(None) {
            Ok(answer) => answer,
            Err(failure) => {
                self.failed("allocate", failure.to_string(), "");
                return None;
            }
        };
        let (code, proven, took) = (answer.code(), answer.proven, answer.took);
        if code == 300 {
            let other = alternate(&answer.message()).map(|other| other.to_string());
            let says = format!("300: it sends clients to {}", other.as_deref().unwrap_or("nowhere"));
            self.failed("allocate", says, "it is being drained: check the other one");
            return None;
        }
        let lifetime = answer.message().attribute_u32(attr::LIFETIME).unwrap_or_default();
        match answer.accepted().and_then(|answer| answer.relayed()) {
            Ok(_) if proven != Some(true) => {
                self.failed(
                    "allocate",
                    "the answer is not signed with the password",
                    "clients will ignore it (RFC 8489 §9.2.5)",
                );
                None
            }
            Ok(relayed) => {
                self.ok("allocate", format!("in {} ms: {relayed}, for {lifetime} s", took.as_millis()));
                Some(relayed)
            }
            Err(failure) => {
                self.failed("allocate", failure.to_string(), advice(code));
                None
            }
        }
    }

    fn address_of_relay(&mut self, relayed: SocketAddr) {
        let (relay, server) = (relayed.ip(), self.address.ip());
        if relay.is_unspecified() {
            self.failed("address", "nobody can send to a wildcard address", "set turn.external_ip");
        } else if is_inner(relay) && !is_inner(server) {
            self.failed(
                "address",
                format!("{relay} is private, and the server is public: peers cannot reach it"),
                "set turn.external_ip to the public address (coturn: external-ip)",
            );
        } else if relay == server {
            self.ok("address", "the server's own");
        } else {
            self.ok("address", format!("{relay}, another one than the server's {server}"));
        }
    }

    /// A relay answers 443 for peers of the other family than the allocation's, before its policy is asked: `client`'s
    /// allocation can only tell about those of `family`.
    fn policy(&mut self, client: &mut Client, family: AddressFamily) {
        for ip in FORBIDDEN.into_iter().filter(|ip| AddressFamily::of(*ip) == family) {
            let answer = client.permit(&[SocketAddr::new(ip, FORBIDDEN_PORT)]);
            let allowed = self.ask.allowed_peers.contains(&ip);
            match answer.map(|answer| answer.code()) {
                Ok(0) if allowed => self.skipped("policy", format!("{ip} may be a peer, as you said")),
                Ok(0) => self.failed(
                    "policy",
                    format!("{ip} may be a peer: whoever has a credential gets behind your firewall"),
                    "take it out of turn.allow_peers (coturn: denied-peer-ip)",
                ),
                Ok(403) => self.ok("policy", format!("{ip} is refused (403)")),
                Ok(code) => self.failed("policy", format!("{ip} is answered {code} instead of 403"), ""),
                Err(failure) => self.failed("policy", format!("{ip}: {failure}"), ""),
            }
        }
    }

    /// Packets there and back.
    fn relay(&mut self, client: &mut Client, relayed: SocketAddr, own: IpAddr) {
        let begun = Instant::now();
        let between = self.between_two(client, relayed);
        let outcome = match between {
            // The relay refuses itself as a peer, which is right where no two clients need to meet on it.
            Err(Failure::Refused { code: 403, .. }) => self.to_this_machine(client, relayed, own),
            other => other,
        };
        match outcome {
            Ok(how) => self.ok("relay", format!("{how}, there and back in {} ms", begun.elapsed().as_millis())),
            Err(Failure::Refused { code: 403, .. }) => self.failed(
                "relay",
                format!("not proven: the relay may send neither to itself nor to {own}, where you are"),
                "check from a public network, or allow one of the two (turn.allow_peers)",
            ),
            Err(Failure::NoAnswer) => self.failed(
                "relay",
                "nothing came through",
                "open the relay's UDP ports (turn.relay_ports) in both directions; behind a 1:1 NAT, can it reach its own public address?",
            ),
            Err(failure) => self.failed("relay", failure.to_string(), ""),
        }
    }

    /// Between this allocation and a second one: a Send indication there, ChannelData back, and there again.
    fn between_two(&self, a: &mut Client, relayed_a: SocketAddr) -> Result<String, Failure> {
        let mut b = Client::new(self.connect_again()?, self.ask.credentials.clone());
        b.set_patience(self.ask.patience);
        let relayed_b = b.allocate(None)?.accepted()?.relayed()?;
        let exchange = (|| {
            a.permit(&[relayed_b])?.accepted()?;
            b.permit(&[relayed_a])?.accepted()?;
            let (there, back, again) = (payload(1), payload(2), payload(3));
            travels(&there, Source::Peer(relayed_a), &mut b, || a.send(relayed_b, &there))?;
            b.bind(CHANNEL_B, relayed_a)?.accepted()?;
            travels(&back, Source::Peer(relayed_b), a, || b.send_channel(CHANNEL_B, &back))?;
            a.bind(CHANNEL_A, relayed_b)?.accepted()?;
            travels(&again, Source::Channel(CHANNEL_B), &mut b, || a.send_channel(CHANNEL_A, &again))
        })();
        // Ended in any case: it counts against the user's quota.
        let _ = b.refresh(0);
        exchange?;
        Ok(format!("{PAYLOAD_BYTES} B between two allocations, by indication and by channel"))
    }

    /// Between this allocation and a socket of ours, which speaks first and so opens whatever NAT there is.
    fn to_this_machine(
        &self,
        client: &mut Client,
        relayed: SocketAddr,
        own: IpAddr,
    ) -> Result<String, Failure> {
        client.permit(&[SocketAddr::new(own, FORBIDDEN_PORT)])?.accepted()?;
        let local = client.link().local_addr()?.ip();
        let socket = UdpSocket::bind(SocketAddr::new(local, 0))?;
        socket.set_read_timeout(Some(TRY))?;
        let (there, back) = (payload(1), payload(2));
        for _ in 0..TRIES {
            socket.send_to(&there, relayed)?;
            let peer = match client.next_relayed(TRY) {
                Ok(Relayed { source: Source::Peer(peer), payload }) if payload == there => peer,
                Ok(_) | Err(Failure::NoAnswer) => continue,
                Err(failure) => return Err(failure),
            };
            client.send(peer, &back)?;
            let mut buffer = [0; PAYLOAD_BYTES + 1];
            if matches!(socket.recv(&mut buffer), Ok(length) if buffer[..length] == back) {
                return Ok(format!("{PAYLOAD_BYTES} B between an allocation and this machine ({peer})"));
            }
        }
        Err(Failure::NoAnswer)
    }

    /// An allocation of the other family, where the relay has one, and the policy for peers that only it could reach.
    fn other_family(&mut self, family: AddressFamily) {
        let name = match family {
            AddressFamily::V4 => "IPv4",
            AddressFamily::V6 => "IPv6",
        };
        let other = self.connect_again().map_err(Failure::from).and_then(|link| {
            let mut other = Client::new(link, self.ask.credentials.clone());
            other.set_patience(self.ask.patience);
            let relayed = other.allocate(Some(family))?.accepted()?.relayed()?;
            Ok((other, relayed))
        });
        match other {
            Ok((mut other, relayed)) => {
                self.ok("family", format!("{name} too: {relayed}"));
                self.policy(&mut other, family);
                let _ = other.refresh(0);
            }
            Err(failure) => {
                if matches!(failure, Failure::Refused { code: 440, .. }) {
                    self.skipped(
                        "family",
                        format!(
                            "{name} is not relayed (440): peers that have nothing else stay out of reach"
                        ),
                    );
                } else {
                    self.failed("family", format!("{name}: {failure}"), "");
                }
                for ip in FORBIDDEN.into_iter().filter(|ip| AddressFamily::of(*ip) == family) {
                    self.skipped("policy", format!("{ip} is not tried: no allocation of {name}"));
                }
            }
        }
    }
}

impl Probe<'_> {
    /// What is offered must work: clients that know it must choose it (RFC 8489 §9.2.5).
    fn sha_256(&mut self) {
        if !self.sha_256 {
            return;
        }
        let opened = self.connect_again().map_err(Failure::from).and_then(|link| {
            let mut client = Client::new(link, self.ask.credentials.clone());
            client.set_patience(self.ask.patience);
            client.choose_sha_256();
            let answer = client.allocate(None)?.accepted()?;
            let _ = client.refresh(0);
            Ok(answer.proven == Some(true))
        });
        match opened {
            Ok(true) => self.ok("sha-256", "opens an allocation too, and signs the answer"),
            Ok(false) => self.failed("sha-256", "the answer is not signed with it", ""),
            Err(failure) => self.failed("sha-256", failure.to_string(), ""),
        }
    }
}

/// Sends until `receiver` has it from whom it should be.
fn travels(
    payload: &[u8],
    from: Source,
    receiver: &mut Client,
    mut send: impl FnMut() -> Result<(), Failure>,
) -> Result<(), Failure> {
    for _ in 0..TRIES {
        send()?;
        let deadline = Instant::now() + TRY;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match receiver.next_relayed(left) {
                Ok(relayed) if relayed.payload == payload && relayed.source == from => return Ok(()),
                // An earlier one that came twice.
                Ok(_) => {}
                Err(Failure::NoAnswer) => break,
                Err(failure) => return Err(failure),
            }
        }
    }
    Err(Failure::NoAnswer)
}

fn payload(kind: u8) -> Vec<u8> {
    let mut payload = vec![kind; PAYLOAD_BYTES];
    payload[..20].copy_from_slice(b"trunkline turn check");
    payload
}

fn other_than(relayed: SocketAddr) -> AddressFamily {
    match AddressFamily::of(relayed.ip()) {
        AddressFamily::V4 => AddressFamily::V6,
        AddressFamily::V6 => AddressFamily::V4,
    }
}

/// Addresses that mean nothing, or something else, to a peer elsewhere.
fn is_inner(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let shared = ip.octets()[0] == 100 && ip.octets()[1] & 0xC0 == 64;
            ip.is_private() || ip.is_loopback() || ip.is_link_local() || shared
        }
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

fn advice(code: u16) -> &'static str {
    match code {
        401 => {
            "the credential is refused: is it the server's secret (turn.secrets), are both clocks right, has a fixed credential expired?"
        }
        403 => "the server does not want this user",
        437 => "an earlier allocation from the same port still lives: try again",
        440 => "the server has no relay address of this family",
        441 => "the credential is another one than the allocation's",
        486 => "this user's quota is used up (turn.allocations_per_user): wait, or use another --user",
        508 => "no relay port or allocation is left: turn.allocations, turn.relay_ports",
        _ => "",
    }
}

/// ALTERNATE-SERVER, a plain address (RFC 8489 §14.15).
fn alternate(message: &Message<'_>) -> Option<SocketAddr> {
    let value = message.attribute(attr::ALTERNATE_SERVER)?;
    let port = u16::from_be_bytes([*value.get(2)?, *value.get(3)?]);
    let ip = match *value.get(1)? {
        1 => IpAddr::from(<[u8; 4]>::try_from(value.get(4..)?).ok()?),
        2 => IpAddr::from(<[u8; 16]>::try_from(value.get(4..)?).ok()?),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inner_addresses_are_those_that_peers_elsewhere_cannot_use() {
        for inner in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.1.1",
            "100.64.0.1",
            "::1",
            "fd00::2",
            "fe80::1",
        ] {
            assert!(is_inner(inner.parse().unwrap()), "{inner}");
        }
        for public in ["203.0.113.4", "100.128.0.1", "8.8.8.8", "2001:db8::1"] {
            assert!(!is_inner(public.parse().unwrap()), "{public}");
        }
    }
}
