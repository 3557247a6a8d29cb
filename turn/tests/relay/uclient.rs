//! coturn's test client, `turnutils_uclient`, against our server, with its echo, `turnutils_peer`.
//!
//! Debian's package is `coturn`; `cargo xtask test` installs it. Without it these tests fail: they never skip.

use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use trunkline_turn::{Limits, Turn, TurnConfig};

use crate::support::{SECRET, TestCertificate, Transport, address, config_of_all, start};

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

/// coturn's own server, ended with the test: what it does with the same client at the same time is the measure.
struct Coturn {
    child: Child,
    port: u16,
}

/// How often coturn is started before that is a failure: a port that was free may be somebody's when it comes to it, and
/// then it runs on without one.
const STARTS: usize = 5;

impl Coturn {
    fn start(ip: &str, certificate: &TestCertificate) -> Self {
        (0..STARTS).find_map(|_| Self::try_start(ip, certificate)).expect("turnserver listens")
    }

    /// `None` if it does not listen within ten seconds, or has ended.
    fn try_start(ip: &str, certificate: &TestCertificate) -> Option<Self> {
        let port = UdpSocket::bind((ip, 0)).unwrap().local_addr().unwrap().port();
        let tls_port = TcpListener::bind((ip, 0)).unwrap().local_addr().unwrap().port();
        let child = Command::new("turnserver")
            .args(["-n", "--no-cli", "--lt-cred-mech", "--use-auth-secret", "--no-dtls", "--no-stdout-log"])
            .args(["--static-auth-secret", SECRET, "--realm", "example.org", "--allow-loopback-peers"])
            .args(["-L", ip, "-E", ip])
            .args(["-p", &port.to_string(), "--tls-listening-port", &tls_port.to_string()])
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
        let mut coturn = Self { child, port: tls_port };
        let deadline = Instant::now() + Duration::from_secs(10);
        while Instant::now() < deadline && coturn.child.try_wait().unwrap().is_none() {
            if TcpStream::connect((ip, tls_port)).is_ok() {
                return Some(coturn);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        None
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

/// Four clients at a time, 400 messages in all, a few every 5 ms.
const INDICATIONS: &[&str] = &["-s", "-l", "160", "-n", "100", "-m", "4", "-z", "5"];
const CHANNELS: &[&str] = &["-l", "1200", "-n", "100", "-m", "4", "-z", "5"];

/// Runs uclient over our relay, both ways of sending over both families; all its messages must come back. They run side by
/// side because uclient sleeps for most of the six seconds that it takes.
fn relays_everything(transport: Transport) {
    std::thread::scope(|scope| {
        for (ip, flags) in every_way(INDICATIONS, CHANNELS) {
            scope.spawn(move || {
                let certificate = TestCertificate::new();
                let turn = ours(ip, &certificate);
                let flags = [flags, transport_flags(ip, transport).as_slice()].concat();
                let tally = uclient(ip, address(&turn, transport).port(), &flags);
                assert_eq!((tally.sent, tally.received), (400, 400), "{ip} {flags:?}: {}", tally.output);
            });
        }
    });
}

type Flags = &'static [&'static str];

fn every_way(indications: Flags, channels: Flags) -> [(&'static str, Flags); 4] {
    [("127.0.0.1", indications), ("127.0.0.1", channels), ("::1", indications), ("::1", channels)]
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
fn uclient_over_udp() {
    relays_everything(Transport::Udp);
}

#[test]
fn uclient_over_tcp() {
    relays_everything(Transport::Tcp);
}

const TLS_RUNS: usize = 3;
/// Eight clients at a time, 1,600 messages in all: what uclient loses does not grow with their number.
const TLS_INDICATIONS: &[&str] = &["-s", "-l", "160", "-n", "200", "-m", "8", "-z", "10"];
const TLS_CHANNELS: &[&str] = &["-l", "1200", "-n", "200", "-m", "8", "-z", "10"];

/// Over TLS this client loses messages by itself, with any server: it waits for the socket where the rest of what it has
/// read lies decrypted already, so that a client's last messages may never be counted. How many is chance, and from run
/// to run it is none or a dozen. So what is compared is all that was lost in three runs of each way, beside coturn's
/// server at the same time; and a hundredth of the messages is chance. Who relays worse than that loses more.
#[test]
fn uclient_over_tls_loses_no_more_than_with_coturn() {
    let (mut sent, mut lost_by_ours, mut lost_by_theirs) = (0, 0, 0);
    let lost = |tally: &Tally| tally.sent - tally.received.min(tally.sent);
    for _ in 0..TLS_RUNS {
        for (ours, theirs) in tls_run() {
            assert!(ours.sent >= 1600 && theirs.sent >= 1600, "coturn {theirs:?}\nours {ours:?}");
            sent += ours.sent;
            lost_by_ours += lost(&ours);
            lost_by_theirs += lost(&theirs);
        }
    }
    assert!(
        lost_by_ours <= lost_by_theirs + sent / 100,
        "of {sent} messages ours lost {lost_by_ours}, coturn {lost_by_theirs}"
    );
}

/// What was counted with our server and with coturn's, for each way.
fn tls_run() -> Vec<(Tally, Tally)> {
    std::thread::scope(|scope| {
        let ways = every_way(TLS_INDICATIONS, TLS_CHANNELS).map(|(ip, flags)| {
            scope.spawn(move || {
                let certificate = TestCertificate::new();
                let (turn, coturn) = (ours(ip, &certificate), Coturn::start(ip, &certificate));
                let flags = [flags, transport_flags(ip, Transport::Tls).as_slice()].concat();
                std::thread::scope(|scope| {
                    let theirs = scope.spawn(|| uclient(ip, coturn.port, &flags));
                    let ours = uclient(ip, address(&turn, Transport::Tls).port(), &flags);
                    (ours, theirs.join().unwrap())
                })
            })
        });
        ways.into_iter().map(|way| way.join().unwrap()).collect()
    })
}
