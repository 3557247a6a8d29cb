//! Each service's part of the configuration, in the service's own words.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use anyhow::Context;
use ipnet::IpNet;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use trunkline_media_store::MediaStore;
use trunkline_sfu::{Sfu, SfuConfig, SfuEvent};
use trunkline_signaling::{JwtKey, MediaPlane, Place, Rate, ServerKey, Signaling, SignalingConfig};
use trunkline_turn::{IpRange, RelayAddress, Turn, TurnConfig};

use crate::attachments;
use crate::config::{Bind, Config, ExternalIp};
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

/// The running TURN server, and the address that clients know it by.
pub(crate) struct Relay {
    turn: Turn,
    external: IpAddr,
}

impl Relay {
    /// Where it listens.
    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.turn.local_addr()
    }

    /// What clients are told to use (RFC 7065).
    pub(crate) fn url(&self) -> String {
        let external = SocketAddr::new(self.external, self.local_addr().port());
        format!("turn:{external}?transport=udp")
    }

    /// Stops relaying; returns when the thread has ended.
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
    let secret = |secret: &crate::config::Secret| trunkline_turn::Secret::new(secret.expose().as_bytes());
    let [first, rest @ ..] = secrets.turn.as_slice() else { anyhow::bail!("no TURN secret") };
    let mut turn_config = TurnConfig::new(turn.listen, turn.realm.clone(), secret(first));
    turn_config.secrets.extend(rest.iter().map(secret));
    turn_config.relays = vec![RelayAddress { bind: turn.listen.ip(), advertised: external }];
    turn_config.relay_ports = turn.relay_ports.first..=turn.relay_ports.last;
    turn_config.allow_peers = turn.allow_peers.iter().copied().filter_map(range).collect();
    turn_config.own_addresses = own_addresses(config);
    turn_config.limits.allocations = usize::try_from(turn.allocations)?;
    turn_config.limits.allocations_per_user = turn.allocations_per_user;
    let turn = Turn::start(turn_config)
        .with_context(|| format!("cannot start the relay on turn.listen {}", turn.listen))?;
    Ok(Relay { turn, external })
}

/// What nobody may reach through the relay unless `turn.allow_peers` lists it.
fn own_addresses(config: &Config) -> Vec<IpAddr> {
    let mut listening = vec![config.http.listen.ip(), config.turn.listen.ip()];
    if let Bind::On(ops) = config.ops.listen {
        listening.push(ops.ip());
    }
    let mut own: Vec<IpAddr> = listening.iter().flat_map(|&ip| [ip, net::reachable(ip)]).collect();
    own.extend(advertised(config).iter().map(SocketAddr::ip));
    own.extend(net::interfaces());
    own
}

fn range(net: IpNet) -> Option<IpRange> {
    IpRange::new(net.network(), net.broadcast())
}

/// A client that can only relay needs the relay to reach the SFU.
pub(crate) fn warn_if_unreachable(config: &Config) {
    let allowed = |ip: IpAddr| config.turn.allow_peers.iter().any(|net| net.contains(&ip));
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

/// Opens the store and starts signaling, joined to the media plane, the relay and the media store that this process has.
pub(crate) async fn start_signaling(
    config: &Config,
    secrets: &Secrets,
    sfu: Option<(Sfu, UnboundedReceiver<SfuEvent>)>,
    relay: Option<&Relay>,
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
    let urls = match (config.turn.urls.as_slice(), relay) {
        ([], Some(relay)) => vec![relay.url()],
        (given, _) => given.to_vec(),
    };
    let [secret, ..] = secrets.turn.as_slice() else { anyhow::bail!("no TURN secret") };
    let secret = trunkline_turn::Secret::new(secret.expose().as_bytes());
    let relays = Arc::new(SharedSecret { urls, secret, ttl: config.turn.credential_ttl.0 });
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
