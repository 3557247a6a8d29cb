//! coturn's test client, `turnutils_uclient`, against our server, with its echo, `turnutils_peer`.
//!
//! Debian's package is `coturn`; `cargo xtask test` installs it. Without it these tests fail: they never skip.

use std::net::{SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use trunkline_turn::{Limits, TurnConfig};

use crate::support::{SECRET, config, start};

const MISSING: &str = "turnutils_uclient and turnutils_peer are needed: apt-get install coturn";

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

/// Runs uclient over our relay; all its messages must come back.
fn relays_everything(ip: &str, legacy_channels: bool, flags: &[&str], messages: u32) {
    let peer = Peer::start(ip);
    let listen = SocketAddr::new(ip.parse().unwrap(), 0);
    let turn = start(TurnConfig {
        legacy_channels,
        limits: Limits { allocations_per_user: 64, ..Limits::default() },
        ..config(&listen.to_string())
    });
    let output = Command::new("turnutils_uclient")
        .args(["-p", &turn.local_addr().port().to_string()])
        .args(["-e", ip, "-r", &peer.addr.port().to_string()])
        .args(["-u", "tester", "-W", SECRET])
        // No second allocation for RTCP: it would need reservation tokens.
        .arg("-c")
        .args(flags)
        .arg(ip)
        .output()
        .expect(MISSING);
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}");
    let summary = text.lines().rfind(|line| line.contains("tot_send_msgs")).expect(&text);
    let expected = format!("tot_send_msgs={messages}, tot_recv_msgs={messages}");
    assert!(summary.contains(&expected), "{expected} wanted:\n{text}");
    assert!(text.contains("Total lost packets 0 "), "{text}");
}

#[test]
fn uclient_by_indications() {
    relays_everything("127.0.0.1", false, &["-s", "-n", "200", "-m", "8", "-z", "5", "-l", "160"], 1600);
}

/// Its channel numbers run up to 0x7FFF.
#[test]
fn uclient_by_channels() {
    relays_everything("127.0.0.1", true, &["-n", "200", "-m", "8", "-z", "5", "-l", "1200"], 1600);
}

#[test]
fn uclient_over_ipv6() {
    relays_everything("::1", false, &["-s", "-x", "-n", "100", "-m", "2", "-z", "5", "-l", "160"], 200);
}
