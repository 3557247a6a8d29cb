//! The two servers, as processes of their own.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use trunkline_turn::Secret;
use trunkline_turn_client::{Client, Link, LongTerm};

/// Where servers listen and relay from.
const SERVER_IP: Ipv4Addr = Ipv4Addr::LOCALHOST;
/// Ports of relay sockets: below those that the system gives out, enough for ten thousand allocations.
const RELAY_PORTS: (u16, u16) = (10_000, 32_000);
const SECRET: &str = "what the bench and both servers know";
/// A server answers within this time after it was started.
const READY: Duration = Duration::from_secs(20);

/// Whose server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Ours,
    Coturn,
}

impl Kind {
    pub(crate) const ALL: [Self; 2] = [Self::Ours, Self::Coturn];

    fn command(self, port: u16, dir: &std::path::Path) -> Result<Command> {
        match self {
            Self::Ours => ours(port, dir),
            Self::Coturn => Ok(coturn(port, dir)),
        }
    }
}

fn ours(port: u16, dir: &std::path::Path) -> Result<Command> {
    let binary = std::env::var_os("TRUNKLINE_BINARY").map(PathBuf::from);
    let binary = binary.or(option_env!("CARGO_BIN_EXE_trunkline").map(PathBuf::from));
    let mut command = Command::new(binary.context("TRUNKLINE_BINARY names no binary")?);
    command
        .args(["serve", "--role", "turn"])
        .env("TRUNKLINE_DATA__DIR", dir)
        .env("TRUNKLINE_OPS__LISTEN", "off")
        .env("TRUNKLINE_TURN__LISTEN", format!("{SERVER_IP}:{port}"))
        .env("TRUNKLINE_TURN__LISTEN_TCP", "off")
        // One client is everybody here: it must not meet the bounds of one.
        .env("TRUNKLINE_TURN__ALLOCATION_PACKETS", "1000000000")
        .env("TRUNKLINE_TURN__ALLOCATION_BYTES", "1 TiB")
        .env("TRUNKLINE_TURN__EXTERNAL_IP", SERVER_IP.to_string())
        .env("TRUNKLINE_TURN__RELAY_PORTS", format!("{}-{}", RELAY_PORTS.0, RELAY_PORTS.1))
        .env("TRUNKLINE_TURN__ALLOW_PEERS", "[\"127.0.0.0/8\"]")
        .env("TRUNKLINE_TURN__SECRETS", format!("[\"{SECRET}\"]"))
        .env("TRUNKLINE_TURN__ALLOCATIONS", "12000");
    Ok(command)
}

/// As a production server is run: no logging of packets, no TLS, the defaults for everything that decides how fast it is.
fn coturn(port: u16, dir: &std::path::Path) -> Command {
    let mut command = Command::new("turnserver");
    command
        .args([
            "-n",
            "--no-cli",
            "--no-tcp",
            "--no-tls",
            "--no-dtls",
            "--allow-loopback-peers",
            "--no-stdout-log",
            "--no-software-attribute",
        ])
        .args(["--log-file", "/dev/null", "--realm", "bench", "--use-auth-secret"])
        .args(["--static-auth-secret", SECRET])
        .args(["--listening-ip", &SERVER_IP.to_string(), "--relay-ip", &SERVER_IP.to_string()])
        .args(["--listening-port", &port.to_string()])
        .args(["--min-port", &RELAY_PORTS.0.to_string(), "--max-port", &RELAY_PORTS.1.to_string()])
        .arg("--pidfile")
        .arg(dir.join("pid"))
        .arg("--userdb")
        .arg(dir.join("turndb"));
    command
}

/// The first line that `turnserver --version` prints.
pub(crate) fn coturn_version() -> Result<String> {
    let output = Command::new("turnserver").arg("--version").output();
    let output = output.context("coturn's turnserver is needed: apt-get install coturn")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let version = text.lines().rev().find_map(|line| line.split_whitespace().next());
    Ok(version.unwrap_or("?").to_owned())
}

/// A port below those of relays and those that the system gives to the ten thousand clients.
fn free_port() -> Result<u16> {
    let mut ports = 5_000..10_000;
    ports.find(|&port| UdpSocket::bind((SERVER_IP, port)).is_ok()).context("no port is free")
}

/// A running one. Dropping it kills it.
pub(crate) struct Server {
    kind: Kind,
    child: Child,
    address: SocketAddr,
    dir: PathBuf,
}

impl Server {
    pub(crate) fn start(kind: Kind) -> Result<Self> {
        let port = free_port()?;
        let address = SocketAddr::from((SERVER_IP, port));
        let dir = std::env::temp_dir().join(format!("trunkline-bench-turn-{}-{port}", std::process::id()));
        fs::create_dir_all(&dir)?;
        let mut command = kind.command(port, &dir)?;
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let child = child.with_context(|| format!("cannot start {:?}", command.get_program()))?;
        let mut server = Self { kind, child, address, dir };
        server.wait_until_ready()?;
        Ok(server)
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let begun = Instant::now();
        while begun.elapsed() < READY {
            if let Some(status) = self.child.try_wait()? {
                bail!("{:?} ended at once: {status}", self.kind);
            }
            let mut client = Client::new(Link::udp(self.address)?, None);
            client.set_patience(Duration::from_millis(100));
            if client.binding().is_ok() {
                return Ok(());
            }
        }
        bail!("{:?} does not answer", self.kind);
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Credentials of the `n`th client: a few clients are one user, as with browsers that have several interfaces.
    pub(crate) fn credentials(n: usize) -> LongTerm {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let user = format!("user-{}", n / 8);
        let made = trunkline_turn::mint(&Secret::new(SECRET), &user, now + Duration::from_secs(3600));
        LongTerm { username: made.username, password: made.password }
    }

    /// Stops it until the guard is dropped.
    pub(crate) fn pause(&self) -> Result<Pause> {
        let process = Pid::from_raw(i32::try_from(self.child.id())?);
        kill(process, Signal::SIGSTOP)?;
        Ok(Pause(process))
    }

    /// CPU time of all its threads. None of them has ended: neither server ends threads while it serves.
    pub(crate) fn cpu_ns(&self) -> Result<u64> {
        let mut total = 0;
        for thread in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let text = fs::read_to_string(thread?.path().join("schedstat"))?;
            let running = text.split(' ').next().and_then(|first| first.parse::<u64>().ok());
            total += running.context("the kernel does not account (CONFIG_SCHED_INFO)")?;
        }
        Ok(total)
    }

    /// Its own memory: private pages, and its share of others. What the kernel keeps for sockets is not in it.
    pub(crate) fn pss_bytes(&self) -> Result<u64> {
        let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.child.id()))?;
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
        let kb = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
        let bytes = kb.context("no Pss in smaps_rollup")? * 1024;
        ensure!(bytes > 0, "no memory");
        Ok(bytes)
    }
}

/// A server that stands still.
pub(crate) struct Pause(Pid);

impl Drop for Pause {
    fn drop(&mut self) {
        let _ = kill(self.0, Signal::SIGCONT);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
}
