//! Each service's part of the configuration, in the service's own words.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::Context;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use trunkline_media_store::MediaStore;
use trunkline_sfu::{Sfu, SfuConfig, SfuEvent};
use trunkline_signaling::{JwtKey, MediaPlane, Place, Rate, ServerKey, Signaling, SignalingConfig};
use trunkline_turn::{Health, IpRange, RelayAddress, TlsFiles, Turn, TurnConfig};

use crate::attachments;
use crate::config::{Bind, Config, ExternalIp, ExternalIp6, PeerRange};
use crate::net;
use crate::ops::Samplers;
use crate::ports::{self, Media, NoMedia, SharedSecret};
use crate::secrets::{self, Secrets};

/// Starts the media threads; they count into `samplers` when asked.
pub(crate) fn start_sfu(
    config: &Config,
    samplers: &Samplers,
    events: UnboundedSender<SfuEvent>,
) -> anyhow::Result<Sfu> {
    let listen = config.sfu.listen;
    let shards = match config.sfu.shards {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        some => usize::from(some),
    };
    let sfu_config =
        SfuConfig { listen, advertise: advertised(config), shards, limits: trunkline_sfu::Limits::default() };
    let sfu = Sfu::start(&sfu_config, events)
        .with_context(|| format!("cannot start media on sfu.listen {listen}"))?;
    let sampled = sfu.clone();
    samplers.add(move || sampled.record_metrics());
    Ok(sfu)
}

/// What candidates show; port 0 stands for the port that is bound.
fn advertised(config: &Config) -> Vec<SocketAddr> {
    match config.sfu.advertise.as_slice() {
        [] => vec![SocketAddr::new(net::reachable(config.sfu.listen.ip()), 0)],
        given => given.iter().map(|advertised| advertised.with_port(0)).collect(),
    }
}

/// The running TURN server, and what clients are told of it.
pub(crate) struct Relay {
    turn: Turn,
    urls: Vec<String>,
}

impl Relay {
    /// Where it listens.
    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.turn.local_addr()
    }

    /// What clients are told to use, the quickest first (RFC 7065).
    pub(crate) fn urls(&self) -> &[String] {
        &self.urls
    }

    /// Whether its threads live, and how many allocations there are.
    pub(crate) fn health(&self) -> Health {
        self.turn.health()
    }

    /// Takes from the configuration what can change while it runs: the certificate's content, secrets, peers. A
    /// certificate that cannot be read leaves everything as it is.
    pub(crate) fn reload(&mut self, config: &Config, secrets: &Secrets) -> anyhow::Result<()> {
        self.turn.reload().context("turn.tls_certificate, turn.tls_key")?;
        self.turn.set_secrets(turn_secrets(secrets)).context("turn.secrets")?;
        let (allow, deny) = (ranges(&config.turn.allow_peers), ranges(&config.turn.deny_peers));
        // Addresses come and go.
        self.turn.set_peers(allow, deny, own_addresses(config)).context("turn.allow_peers, turn.deny_peers")
    }

    /// Sends new clients elsewhere; live allocations go on.
    pub(crate) fn drain(&mut self, alternates: Vec<SocketAddr>) {
        self.turn.set_draining(Some(alternates));
    }

    /// Stops relaying; returns when the threads have ended.
    pub(crate) fn shutdown(self) {
        self.turn.shutdown();
    }
}

/// Starts the TURN server.
pub(crate) fn start_turn(config: &Config, secrets: &Secrets) -> anyhow::Result<Relay> {
    let turn = &config.turn;
    let external = match turn.external_ip {
        ExternalIp::Auto => net::reachable(turn.listen.ip()),
        ExternalIp::Is(ip) => ip,
    };
    let running = Turn::start(turn_config(config, secrets, external)?)
        .with_context(|| format!("cannot start the relay on turn.listen {}", turn.listen))?;
    let at = |address: &SocketAddr| SocketAddr::new(external, address.port());
    let mut urls = vec![format!("turn:{}?transport=udp", at(&running.local_addr()))];
    urls.extend(running.tcp_addrs().iter().map(|tcp| format!("turn:{}?transport=tcp", at(tcp))));
    if !turn.tls_name.is_empty() {
        let tls = running.tls_addrs().iter();
        urls.extend(tls.map(|tls| format!("turns:{}:{}?transport=tcp", turn.tls_name, tls.port())));
    }
    Ok(Relay { turn: running, urls })
}

fn turn_config(config: &Config, secrets: &Secrets, external: IpAddr) -> anyhow::Result<TurnConfig> {
    let turn = &config.turn;
    let secrets = turn_secrets(secrets);
    let Some(first) = secrets.first() else { anyhow::bail!("no TURN secret") };
    let mut given = TurnConfig::new(turn.listen, turn.realm.clone(), first.clone());
    given.secrets = secrets;
    given.listen_tcp.extend(turn.listen_tcp.beside(turn.listen));
    if let Bind::On(tls) = turn.listen_tls {
        given.listen_tls.push(tls);
        given.tls = Some(TlsFiles { certificate: turn.tls_certificate.clone(), key: turn.tls_key.clone() });
    }
    given.shards = usize::from(turn.shards);
    given.relays = vec![RelayAddress { bind: bound_for(turn.listen.ip(), external), advertised: external }];
    if let ExternalIp6::Is(ip) = turn.external_ip6
        && external.is_ipv4()
    {
        given.relays.push(RelayAddress { bind: ip.into(), advertised: ip.into() });
    }
    given.relay_ports = turn.relay_ports.first..=turn.relay_ports.last;
    given.allow_peers = ranges(&turn.allow_peers);
    given.deny_peers = ranges(&turn.deny_peers);
    given.own_addresses = own_addresses(config);
    given.legacy_channels = turn.legacy_channels;
    given.limits.allocations = usize::try_from(turn.allocations)?;
    given.limits.allocations_per_user = turn.allocations_per_user;
    given.limits.allocation_packets_per_second = turn.allocation_packets.into();
    given.limits.allocation_bytes_per_second = turn.allocation_bytes.0;
    given.limits.total_packets_per_second = Some(turn.total_packets.into()).filter(|&packets| packets > 0);
    given.limits.total_bytes_per_second = Some(turn.total_bytes.0).filter(|&bytes| bytes > 0);
    given.limits.new_peers_per_second = turn.new_peers;
    given.stream_limits.connections = usize::try_from(turn.connections)?;
    given.stream_limits.connections_per_source = usize::try_from(turn.connections_per_source)?;
    Ok(given)
}

/// Where relay sockets are bound so that they can have that external address: as the listening socket if it is of the
/// same family, else to all of the family's addresses if that one listens on all.
fn bound_for(listening: IpAddr, external: IpAddr) -> IpAddr {
    if listening.is_ipv4() == external.is_ipv4() {
        listening
    } else if listening.is_unspecified() && external.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        external
    }
}

fn turn_secrets(secrets: &Secrets) -> Vec<trunkline_turn::Secret> {
    secrets.turn.iter().map(|secret| trunkline_turn::Secret::new(secret.expose().as_bytes())).collect()
}

fn ranges(peers: &[PeerRange]) -> Vec<IpRange> {
    peers.iter().map(PeerRange::range).collect()
}

/// What nobody may reach through the relay unless `turn.allow_peers` lists it.
fn own_addresses(config: &Config) -> Vec<IpAddr> {
    let mut listening = vec![config.http.listen.ip(), config.turn.listen.ip()];
    listening.extend(config.turn.listen_tcp.beside(config.turn.listen).map(|tcp| tcp.ip()));
    for bind in [config.ops.listen, config.turn.listen_tls] {
        if let Bind::On(address) = bind {
            listening.push(address.ip());
        }
    }
    let mut own: Vec<IpAddr> = listening.iter().flat_map(|&ip| [ip, net::reachable(ip)]).collect();
    own.extend(advertised(config).iter().map(SocketAddr::ip));
    own.extend(net::interfaces());
    own
}

/// A client that can only relay needs the relay to reach the SFU.
pub(crate) fn warn_if_unreachable(config: &Config) {
    let allowed = |ip: IpAddr| config.turn.allow_peers.iter().any(|peers| peers.range().contains(ip));
    if !advertised(config).iter().any(|address| allowed(address.ip())) {
        tracing::warn!(
            "turn.allow_peers does not list the SFU's own address: clients that can only relay will get no media"
        );
    }
}

/// The embedded database, in the data directory.
const DATABASE: &str = "trunkline.db";

/// Bursts of messages above the steady rate, and what a user's devices may send together: the proportions that
/// signaling's own defaults have.
const BURST: f64 = 3.0;
const DEVICES: f64 = 2.0;

/// Mints credentials for the relays that clients are told: those of the configuration, else this process's own.
pub(crate) fn credentials(
    config: &Config,
    secrets: &Secrets,
    relay: Option<&Relay>,
) -> anyhow::Result<Arc<SharedSecret>> {
    let urls = match (config.turn.urls.as_slice(), relay) {
        ([], Some(relay)) => relay.urls().to_vec(),
        (given, _) => given.to_vec(),
    };
    let secret = minting(secrets)?;
    Ok(Arc::new(SharedSecret::new(urls, secret, config.turn.credential_ttl.0)))
}

/// The secret that mints.
pub(crate) fn minting(secrets: &Secrets) -> anyhow::Result<trunkline_turn::Secret> {
    turn_secrets(secrets).into_iter().next().context("no TURN secret")
}

/// Opens the store and starts signaling, joined to the media plane, the relay and the media store that this process has.
pub(crate) async fn start_signaling(
    config: &Config,
    secrets: &Secrets,
    sfu: Option<(Sfu, UnboundedReceiver<SfuEvent>)>,
    relays: Arc<SharedSecret>,
    media_store: Option<MediaStore>,
) -> anyhow::Result<Signaling> {
    let (to_signaling, events) = mpsc::channel(ports::EVENTS);
    let media: Arc<dyn MediaPlane> = match sfu {
        Some((sfu, from_sfu)) => {
            let media = Media::new(sfu);
            tokio::spawn(media.clone().tell(from_sfu, to_signaling));
            Arc::new(media)
        }
        None => Arc::new(NoMedia),
    };
    let signaling = signaling_config(config, secrets)?;
    secrets::make_private_file(&config.data.dir.join(DATABASE))?;
    let grants = media_store.map(attachments::grants);
    Signaling::open(signaling, media, relays, grants, events).await.context("cannot start signaling")
}

fn signaling_config(config: &Config, secrets: &Secrets) -> anyhow::Result<SignalingConfig> {
    let jwt_key = JwtKey::new(secrets.jwt_key.expose().as_bytes())?;
    let mut signaling = SignalingConfig::new(Place::File(config.data.dir.join(DATABASE)), jwt_key);
    let given = &config.signaling;
    signaling.timing.ring = given.ring_time.0;
    signaling.timing.lease = given.lease.0;
    signaling.demo_logins = given.demo_logins;
    signaling.retention = Some(given.retention.0).filter(|retention| !retention.is_zero());
    if !config.auth.server_key.is_empty() {
        signaling.server_key = Some(ServerKey::new(config.auth.server_key.expose().as_bytes())?);
    }
    signaling.limits.sessions = usize::try_from(given.sessions)?;
    signaling.limits.members = usize::try_from(given.members)?;
    let sends = f64::from(given.sends_per_second);
    signaling.limits.sends = Rate { per_second: sends, burst: sends * BURST };
    signaling.limits.user_sends = Rate { per_second: sends * DEVICES, burst: sends * BURST * DEVICES };
    Ok(signaling)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    #[test]
    fn the_defaults_are_those_of_the_services() {
        let secrets = Secrets {
            jwt_key: Secret::new("k".repeat(32)),
            turn: vec![Secret::new("t".repeat(32))],
            media: Secret::new("m".repeat(32)),
        };
        let config = Config::default();
        let signaling = signaling_config(&config, &secrets).unwrap();
        assert_eq!(signaling.limits, trunkline_signaling::Limits::default());
        assert_eq!(signaling.timing, trunkline_signaling::CallTiming::default());
        let turn = trunkline_turn::Limits::default();
        assert_eq!(usize::try_from(config.turn.allocations).unwrap(), turn.allocations);
        assert_eq!(config.turn.allocations_per_user, turn.allocations_per_user);
        assert_eq!(u64::from(config.turn.allocation_packets), turn.allocation_packets_per_second);
        assert_eq!(config.turn.allocation_bytes.0, turn.allocation_bytes_per_second);
        assert_eq!(config.turn.new_peers, turn.new_peers_per_second);
        assert_eq!((turn.total_packets_per_second, turn.total_bytes_per_second), (None, None));
        let streams = trunkline_turn::StreamLimits::default();
        assert_eq!(usize::try_from(config.turn.connections).unwrap(), streams.connections);
        assert_eq!(
            usize::try_from(config.turn.connections_per_source).unwrap(),
            streams.connections_per_source
        );
    }

    /// Whatever of ours listens somewhere, and whatever address this host has, is closed to the relay's clients.
    #[test]
    fn the_relay_knows_what_is_the_hosts_own() {
        let mut config = Config::default();
        config.http.listen = "198.51.100.1:80".parse().unwrap();
        config.ops.listen = Bind::On("198.51.100.2:9000".parse().unwrap());
        config.turn.listen = "198.51.100.3:3478".parse().unwrap();
        config.turn.listen_tls = Bind::On("198.51.100.4:443".parse().unwrap());
        let own = own_addresses(&config);
        for n in 1..=4 {
            assert!(own.contains(&IpAddr::from([198, 51, 100, n])), "198.51.100.{n} is not in {own:?}");
        }
        assert!(own.contains(&IpAddr::from(Ipv4Addr::LOCALHOST)), "interfaces are asked: {own:?}");
    }

    #[test]
    fn relay_sockets_are_bound_in_the_family_that_they_show() {
        let bound = |listening: &str, external: &str| {
            bound_for(listening.parse().unwrap(), external.parse().unwrap()).to_string()
        };
        assert_eq!(bound("0.0.0.0", "203.0.113.4"), "0.0.0.0");
        assert_eq!(bound("10.0.0.4", "203.0.113.4"), "10.0.0.4");
        assert_eq!(bound("::", "203.0.113.4"), "0.0.0.0");
        assert_eq!(bound("::", "2001:db8::4"), "::");
        assert_eq!(bound("0.0.0.0", "2001:db8::4"), "2001:db8::4");
    }

    #[test]
    fn candidates_show_a_wildcard_to_nobody() {
        let mut config = Config::default();
        assert!(advertised(&config).iter().all(|address| !address.ip().is_unspecified()));
        config.sfu.advertise = vec!["203.0.113.4".parse().unwrap(), "198.51.100.7:9000".parse().unwrap()];
        let shown: Vec<String> = advertised(&config).iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["203.0.113.4:0", "198.51.100.7:9000"]);
    }
}
