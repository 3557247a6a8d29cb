//! The check against our own relay, on loopback.

use std::sync::atomic::{AtomicU16, Ordering};

use trunkline_turn::{Secret, TlsFiles, Turn, TurnConfig};

use super::report::{Check, Outcome};
use super::*;

const SECRET: &str = "a secret of thirty-two bytes, or more";

/// Relays of tests that run at the same time must not meet.
static NEXT_PORTS: AtomicU16 = AtomicU16::new(12_000);

fn relay(allow_peers: &[&str]) -> Turn {
    let first = NEXT_PORTS.fetch_add(200, Ordering::Relaxed);
    Turn::start(TurnConfig {
        allow_peers: allow_peers.iter().map(|peers| peers.parse().unwrap()).collect(),
        relay_ports: first..=first + 199,
        ..TurnConfig::new("127.0.0.1:0".parse().unwrap(), "example.org", Secret::new(SECRET))
    })
    .unwrap()
}

fn ask(turn: &Turn, secret: Option<&str>) -> Ask {
    Ask {
        uris: vec![format!("turn:{}", turn.local_addr()).parse().unwrap()],
        credentials: secret.map(|secret| mint(secret, "tester")),
        allowed_peers: vec!["127.0.0.1".parse().unwrap()],
        ca: None,
        patience: Duration::from_secs(5),
    }
}

fn checks(report: &Report) -> Vec<&Check> {
    report.servers().iter().flat_map(|server| &server.checks).collect()
}

fn only<'a>(report: &'a Report, check: &str) -> &'a Check {
    let found: Vec<&Check> = checks(report).into_iter().filter(|found| found.check == check).collect();
    assert_eq!(found.len(), 1, "{check}:\n{report}");
    found[0]
}

#[test]
fn a_relay_that_works_is_said_to_work() {
    let turn = relay(&["127.0.0.1"]);
    let report = ask(&turn, Some(SECRET)).check();
    assert!(report.is_ok(), "{report}");
    for check in ["binding", "challenge", "allocate", "address", "relay", "release"] {
        assert_eq!(only(&report, check).outcome, Outcome::Ok, "{report}");
    }
    assert!(only(&report, "relay").says.contains("between two allocations"), "{report}");
    assert!(only(&report, "binding").says.contains("no NAT"), "{report}");
    let policy: Vec<Outcome> =
        checks(&report).iter().filter(|c| c.check == "policy").map(|c| c.outcome).collect();
    assert_eq!(policy, [Outcome::Skipped, Outcome::Ok, Outcome::Ok, Outcome::Skipped], "{report}");
}

/// What is no peer's of the allocation's family is tried on one of the other, or said not to have been tried.
#[test]
fn the_policy_is_tried_in_both_families() {
    let first = NEXT_PORTS.fetch_add(200, Ordering::Relaxed);
    let both = |allow_peers: &[&str]| {
        let turn = Turn::start(TurnConfig {
            listen: vec!["127.0.0.1:0".parse().unwrap(), "[::1]:0".parse().unwrap()],
            allow_peers: allow_peers.iter().map(|peers| peers.parse().unwrap()).collect(),
            relay_ports: first..=first + 199,
            ..TurnConfig::new("127.0.0.1:0".parse().unwrap(), "example.org", Secret::new(SECRET))
        })
        .unwrap();
        let report = ask(&turn, Some(SECRET)).check();
        assert_eq!(only(&report, "family").outcome, Outcome::Ok, "{report}");
        let about_v6 = |check: &&Check| check.check == "policy" && check.says.starts_with("::1 ");
        let found: Vec<Outcome> = checks(&report).into_iter().filter(about_v6).map(|c| c.outcome).collect();
        assert_eq!(found.len(), 1, "{report}");
        found[0]
    };
    assert_eq!(both(&["127.0.0.1"]), Outcome::Ok);
    assert_eq!(both(&["127.0.0.1", "::1"]), Outcome::Failed);

    let report = ask(&relay(&["127.0.0.1"]), Some(SECRET)).check();
    assert!(report.to_string().contains("::1 is not tried: no allocation of IPv6"), "{report}");
}

#[test]
fn without_credentials_only_what_strangers_see_is_checked() {
    let turn = relay(&[]);
    let report = ask(&turn, None).check();
    assert!(report.is_ok(), "{report}");
    assert_eq!(only(&report, "challenge").outcome, Outcome::Ok);
    assert!(only(&report, "challenge").says.contains("example.org"), "{report}");
    assert_eq!(only(&report, "allocate").outcome, Outcome::Skipped);
}

#[test]
fn another_secret_opens_nothing_and_the_advice_names_it() {
    let turn = relay(&["127.0.0.1"]);
    let report = ask(&turn, Some("another secret")).check();
    assert!(!report.is_ok(), "{report}");
    let allocate = only(&report, "allocate");
    assert_eq!(allocate.outcome, Outcome::Failed);
    assert!(allocate.says.starts_with("401"), "{report}");
    assert!(allocate.advice.as_ref().unwrap().contains("turn.secrets"), "{report}");
}

#[test]
fn an_inner_network_left_open_fails() {
    let turn = relay(&["127.0.0.1", "10.0.0.0/8", "169.254.169.254"]);
    let report = ask(&turn, Some(SECRET)).check();
    let open: Vec<&str> = checks(&report)
        .into_iter()
        .filter(|check| check.check == "policy" && check.outcome == Outcome::Failed)
        .map(|check| check.says.split(' ').next().unwrap())
        .collect();
    assert_eq!(open, ["10.0.0.1", "169.254.169.254"], "{report}");
    assert!(!report.is_ok());
}

/// On loopback nothing may be a peer by default: what was not seen to work is not said to work.
#[test]
fn relaying_that_could_not_be_tried_is_not_proven() {
    let turn = relay(&[]);
    let report = ask(&turn, Some(SECRET)).check();
    assert_eq!(only(&report, "relay").outcome, Outcome::Failed, "{report}");
    assert!(only(&report, "relay").says.contains("not proven"), "{report}");
}

#[test]
fn a_port_that_nobody_listens_on_is_told_from_one_that_is_filtered() {
    let free = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for query in ["udp", "tcp"] {
        let report = Ask {
            uris: vec![format!("turn:{free}?transport={query}").parse().unwrap()],
            credentials: None,
            allowed_peers: vec![],
            ca: None,
            patience: Duration::from_secs(5),
        }
        .check();
        assert!(!report.is_ok());
        assert!(checks(&report)[0].says.contains("nothing listens"), "{report}");
    }
}

/// A certificate for `names` that signs itself, and its key, as PEM files in a folder that goes with the test.
fn certificate(dir: &Path, names: &[&str]) -> TlsFiles {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    let files = TlsFiles { certificate: dir.join("cert.pem"), key: dir.join("key.pem") };
    std::fs::write(&files.certificate, made.cert.pem()).unwrap();
    std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
    files
}

#[test]
fn tls_tells_a_certificate_that_is_trusted_from_one_that_is_not() {
    let dir = std::env::temp_dir().join(format!("trunkline-turn-check-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let files = certificate(&dir, &["localhost", "127.0.0.1"]);
    let first = NEXT_PORTS.fetch_add(200, Ordering::Relaxed);
    let turn = Turn::start(TurnConfig {
        listen_tls: vec!["127.0.0.1:0".parse().unwrap()],
        tls: Some(files.clone()),
        allow_peers: vec!["127.0.0.1".parse().unwrap()],
        relay_ports: first..=first + 199,
        ..TurnConfig::new("127.0.0.1:0".parse().unwrap(), "example.org", Secret::new(SECRET))
    })
    .unwrap();
    let listening = turn.tls_addrs()[0];
    let with = |ca: Option<PathBuf>| {
        let uris = vec![format!("turns:{listening}").parse().unwrap()];
        Ask { uris, ca, ..ask(&turn, Some(SECRET)) }.check()
    };
    let trusted = with(Some(files.certificate));
    assert!(trusted.is_ok(), "{trusted}");
    assert_eq!(only(&trusted, "certificate").outcome, Outcome::Ok);
    assert_eq!(only(&trusted, "alpn").says, "stun.turn");
    assert_eq!(only(&trusted, "relay").outcome, Outcome::Ok);

    // Another CA: the certificate alone fails, and everything behind it is still looked at.
    let other_dir = dir.join("other");
    std::fs::create_dir_all(&other_dir).unwrap();
    let untrusted = with(Some(certificate(&other_dir, &["localhost"]).certificate));
    assert!(!untrusted.is_ok());
    assert_eq!(only(&untrusted, "certificate").outcome, Outcome::Failed, "{untrusted}");
    assert_eq!(only(&untrusted, "relay").outcome, Outcome::Ok, "{untrusted}");
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn json_has_what_the_lines_have() {
    let turn = relay(&[]);
    let report = ask(&turn, None).check();
    let json: serde_json::Value = serde_json::to_value(&report).unwrap();
    assert_eq!(json["ok"], true);
    let server = &json["servers"][0];
    assert_eq!(server["uri"], format!("turn:{}?transport=udp", turn.local_addr()));
    assert_eq!(server["checks"][0]["check"], "binding");
    assert_eq!(server["checks"][0]["outcome"], "ok");
    assert_eq!(server["checks"][0]["address"], "127.0.0.1");
    assert_eq!(server["checks"].as_array().unwrap().len(), 3);
}
