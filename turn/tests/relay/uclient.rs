//! coturn's test client, `turnutils_uclient`, against our server, with its echo, `turnutils_peer`.
//!
//! Debian's package is `coturn`; `cargo xtask test` installs it. Without it these tests fail: they never skip.

use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use trunkline_turn::{Limits, Turn, TurnConfig};

use crate::support::{SECRET, TestCertificate, Transport, address, config_of_all, eventually, start};

const MISSING: &str = "turnutils_uclient, turnutils_peer and turnserver are needed: apt-get install coturn";

/// The echo server, ended with the test.
struct Peer {
    child: Child,
    addr: SocketAddr,
}

impl Peer {
    fn start(ip: &str) -> Self {
        let port = UdpSocket::bind((ip, 0)).unwrap().local_addr().unwrap().port();
        let addr = SocketAddr::new(ip.parse().unwrap(), port);
        let child = Command::new("turnutils_peer")
            .args(["-L", ip, "-p", &port.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect(MISSING);
        let peer = Self { child, addr };
        // Ready when it echoes.
        let probe = UdpSocket::bind((ip, 0)).unwrap();
        probe.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let echoed = (0..200).any(|_| {
            probe.send_to(b"there?", addr).unwrap();
            probe.recv(&mut [0; 16]).is_ok()
        });
        assert!(echoed, "turnutils_peer does not answer");
        peer
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// coturn's own server, ended with the test: what it does with the same client in the same minute is the measure.
struct Coturn {
    child: Child,
    port: u16,
}

impl Coturn {
    fn start(ip: &str, certificate: &TestCertificate) -> Self {
        let free = || UdpSocket::bind((ip, 0)).unwrap().local_addr().unwrap().port();
        let (port, tls_port) = (free(), free());
        let child = Command::new("turnserver")
            .args(["-n", "--no-cli", "--lt-cred-mech", "--use-auth-secret", "--no-dtls", "--no-stdout-log"])
            .args(["--static-auth-secret", SECRET, "--realm", "example.org", "--allow-loopback-peers"])
            .args([
                "-L",
                ip,
                "-E",
                ip,
                "-p",
                &port.to_string(),
                "--tls-listening-port",
                &tls_port.to_string(),
            ])
            .arg("--cert")
            .arg(&certificate.files.certificate)
            .arg("--pkey")
            .arg(&certificate.files.key)
            .arg("--pidfile")
            .arg(certificate.dir().join("pid"))
            .arg("--userdb")
            .arg(certificate.dir().join("users"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect(MISSING);
        let coturn = Self { child, port: tls_port };
        eventually("turnserver listens", || TcpStream::connect((ip, tls_port)).is_ok());
        coturn
    }
}

impl Drop for Coturn {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What uclient counted.
#[derive(Debug)]
struct Tally {
    sent: u32,
    received: u32,
    output: String,
}

/// Runs uclient through a server to an echo.
fn uclient(ip: &str, port: u16, flags: &[&str]) -> Tally {
    let peer = Peer::start(ip);
    let output = Command::new("turnutils_uclient")
        .args(["-p", &port.to_string()])
        .args(["-e", ip, "-r", &peer.addr.port().to_string()])
        .args(["-u", "tester", "-W", SECRET])
        // No second allocation for RTCP: half of the messages would go to a port that nobody echoes.
        .arg("-c")
        .args(flags)
        .arg(ip)
        .output()
        .expect(MISSING);
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}");
    let summary = text.lines().rfind(|line| line.contains("tot_send_msgs")).expect(&text);
    let count = |name: &str| {
        let (_, rest) = summary.split_once(name).expect(&text);
        let digits: String = rest.chars().skip(1).take_while(char::is_ascii_digit).collect();
        digits.parse().expect(&text)
    };
    Tally { sent: count("tot_send_msgs"), received: count("tot_recv_msgs"), output: text.clone() }
}

/// Our server, with every transport.
fn ours(ip: &str, certificate: &TestCertificate) -> Turn {
    start(TurnConfig {
        // Its channel numbers run up to 0x7FFF.
        legacy_channels: true,
        limits: Limits { allocations_per_user: 64, ..Limits::default() },
        ..config_of_all(ip, certificate)
    })
}

const INDICATIONS: &[&str] = &["-s", "-n", "200", "-m", "8", "-z", "5", "-l", "160"];
const CHANNELS: &[&str] = &["-n", "200", "-m", "8", "-z", "5", "-l", "1200"];

/// Runs uclient over our relay; all its messages must come back.
fn relays_everything(ip: &str, transport: Transport, flags: &[&str]) {
    let certificate = TestCertificate::new();
    let turn = ours(ip, &certificate);
    let mut all = flags.to_vec();
    all.extend(transport_flags(ip, transport));
    let tally = uclient(ip, address(&turn, transport).port(), &all);
    assert_eq!((tally.sent, tally.received), (1600, 1600), "{}", tally.output);
}

fn transport_flags(ip: &str, transport: Transport) -> Vec<&'static str> {
    let mut flags = match transport {
        Transport::Udp => vec![],
        Transport::Tcp => vec!["-t"],
        Transport::Tls => vec!["-t", "-S"],
    };
    if ip.contains(':') {
        flags.push("-x");
    }
    flags
}

#[test]
fn uclient_over_udp_by_indications() {
    relays_everything("127.0.0.1", Transport::Udp, INDICATIONS);
}

#[test]
fn uclient_over_udp_by_channels() {
    relays_everything("127.0.0.1", Transport::Udp, CHANNELS);
}

#[test]
fn uclient_over_udp_and_ipv6_by_indications() {
    relays_everything("::1", Transport::Udp, INDICATIONS);
}

#[test]
fn uclient_over_udp_and_ipv6_by_channels() {
    relays_everything("::1", Transport::Udp, CHANNELS);
}

#[test]
fn uclient_over_tcp_by_indications() {
    relays_everything("127.0.0.1", Transport::Tcp, INDICATIONS);
}

#[test]
fn uclient_over_tcp_by_channels() {
    relays_everything("127.0.0.1", Transport::Tcp, CHANNELS);
}

#[test]
fn uclient_over_tcp_and_ipv6_by_indications() {
    relays_everything("::1", Transport::Tcp, INDICATIONS);
}

#[test]
fn uclient_over_tcp_and_ipv6_by_channels() {
    relays_everything("::1", Transport::Tcp, CHANNELS);
}

/// Over TLS this client loses messages by itself, with any server: it may lose no more with ours than with coturn's.
#[test]
fn uclient_over_tls_loses_no_more_than_with_coturn() {
    for (ip, flags) in [("127.0.0.1", INDICATIONS), ("127.0.0.1", CHANNELS), ("::1", CHANNELS)] {
        let certificate = TestCertificate::new();
        let (turn, coturn) = (ours(ip, &certificate), Coturn::start(ip, &certificate));
        let mut all = flags.to_vec();
        all.extend(transport_flags(ip, Transport::Tls));
        let theirs = uclient(ip, coturn.port, &all);
        let ours = uclient(ip, address(&turn, Transport::Tls).port(), &all);
        let lost = |tally: &Tally| tally.sent - tally.received.min(tally.sent);
        assert!(ours.sent >= 1600 && lost(&ours) <= lost(&theirs), "coturn {theirs:?}\nours {ours:?}");
    }
}
