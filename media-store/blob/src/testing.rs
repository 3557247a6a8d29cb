//! A SeaweedFS of a test's own: a real S3 server that can be killed and started again.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tokio::net::TcpStream;
use uuid::Uuid;

use crate::{BlobStore, S3Config, S3Store};

/// How long a start may take, on a machine that is busy with other tests.
const START: Duration = Duration::from_secs(90);
/// Between two looks whether it answers.
const LOOK: Duration = Duration::from_millis(25);
/// Port numbers from here on: below those that the kernel gives to outgoing connections, so that a server that is
/// started again finds its own still free.
const PORTS: std::ops::Range<u16> = 11_000..21_000;
/// The bucket that is there once the server has started.
const BUCKET: &str = "trunkline";

/// The ports of one server.
#[derive(Clone, Copy, Debug)]
struct Ports {
    /// Consecutive ones from here on, for everything but the admin's.
    first: u16,
}

/// How many consecutive ports a server takes.
const PORT_COUNT: u16 = 9;
/// The admin's gRPC port is so far above its HTTP port; SeaweedFS's own worker relies on it.
const GRPC_OFFSET: u16 = 10_000;

/// A running SeaweedFS (`weed mini`). It ends, by SIGKILL, when this is dropped, and also when the test's process dies in
/// whatever way.
#[derive(Debug)]
pub struct Weed {
    /// `http://127.0.0.1:<port>`.
    pub endpoint: String,
    /// Access key id of its only user.
    pub access_key: String,
    /// The user's secret.
    pub secret_key: String,
    program: PathBuf,
    folder: PathBuf,
    ports: Ports,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    weed: Child,
    /// Kills the server once its standard input ends without a line: when this process is no more.
    watchdog: Child,
}

impl Weed {
    /// Starts a server whose data and log are in `folder` and waits until it takes objects.
    ///
    /// # Errors
    /// The program is not there (the text says how to get it), or the server does not come up; its log's end is in the
    /// text.
    pub async fn start(folder: &Path) -> io::Result<Weed> {
        let program = program()?;
        let mut failure = None;
        for _ in 0..3 {
            let ports = Ports::free()?;
            let mut weed = Weed {
                endpoint: format!("http://127.0.0.1:{}", ports.first),
                access_key: "test-key".to_owned(),
                secret_key: Uuid::new_v4().simple().to_string(),
                program: program.clone(),
                folder: folder.to_owned(),
                ports,
                running: None,
            };
            // Another test may have taken the ports between the look and now.
            match weed.restart().await {
                Ok(()) => return Ok(weed),
                Err(fault) => failure = Some(fault),
            }
        }
        Err(failure.unwrap_or_else(|| io::Error::other("no attempt was made")))
    }

    /// Kills the server with SIGKILL and returns when it is gone. Harmless if it is not running.
    pub fn kill(&mut self) {
        if let Some(mut running) = self.running.take() {
            let _ = running.weed.kill();
            // The server is not waited for before its watchdog is off: until then its number is nobody else's.
            if let Some(mut off) = running.watchdog.stdin.take() {
                let _ = off.write_all(b"off\n");
            }
            let _ = running.watchdog.wait();
            let _ = running.weed.wait();
            self.ports.remove_sockets();
        }
    }

    /// Starts the server again, on the same ports and with the same data, and waits until it takes objects; kills it
    /// first if it is running.
    ///
    /// # Errors
    /// It does not come up; its log's end is in the text.
    pub async fn restart(&mut self) -> io::Result<()> {
        self.kill();
        self.spawn()?;
        let store =
            S3Store::new(S3Config { create_bucket: true, ..self.config(None) }).map_err(io::Error::other)?;
        let begun = Instant::now();
        loop {
            let answer = match TcpStream::connect((Ipv4Addr::LOCALHOST, self.ports.first)).await {
                Err(fault) => fault.to_string(),
                Ok(_) => match store.probe().await {
                    Ok(()) => return Ok(()),
                    Err(fault) => fault.to_string(),
                },
            };
            let ended =
                self.running.as_mut().and_then(|running| running.weed.try_wait().transpose()).transpose()?;
            if ended.is_some() || begun.elapsed() > START {
                self.kill();
                let log = std::fs::read_to_string(self.log()).unwrap_or_default();
                let from = log.char_indices().rev().nth(2000).map_or(0, |(at, _)| at);
                let text = format!(
                    "SeaweedFS does not come up ({ended:?}, {answer}); its log ends:\n{}",
                    &log[from..]
                );
                return Err(io::Error::other(text));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// How to speak to the server: its bucket exists, and stores with different prefixes do not see each other.
    pub fn config(&self, prefix: Option<&str>) -> S3Config {
        S3Config {
            endpoint: Some(self.endpoint.clone()),
            public_endpoint: None,
            region: "us-east-1".to_owned(),
            bucket: BUCKET.to_owned(),
            prefix: prefix.map(str::to_owned),
            access_key: self.access_key.clone(),
            secret_key: self.secret_key.clone(),
            path_style: true,
            create_bucket: false,
        }
    }

    fn log(&self) -> PathBuf {
        self.folder.join("weed.log")
    }

    fn spawn(&mut self) -> io::Result<()> {
        let data = self.folder.join("data");
        std::fs::create_dir_all(&data)?;
        let log: File = OpenOptions::new().create(true).append(true).open(self.log())?;
        let mut command = Command::new(&self.program);
        command.args(["mini", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-master.telemetry=false"]);
        command.args(["-webdav=false", "-admin.ui=false", "-s3.port.iceberg=0", "-s3.port.lance=0"]);
        command.arg("-dir").arg(&data).args(self.ports.arguments());
        command.env("AWS_ACCESS_KEY_ID", &self.access_key).env("AWS_SECRET_ACCESS_KEY", &self.secret_key);
        command.current_dir(&self.folder).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let mut weed = command.spawn()?;
        let script = "trap '' INT TERM HUP; read -r _ || kill -9 \"$1\"";
        let watchdog = Command::new("sh")
            .args(["-c", script, "sh", &weed.id().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        match watchdog {
            Ok(watchdog) => self.running = Some(Running { weed, watchdog }),
            Err(fault) => {
                weed.kill()?;
                weed.wait()?;
                return Err(fault);
            }
        }
        Ok(())
    }
}

impl Drop for Weed {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Ports {
    /// Ports that are free now.
    fn free() -> io::Result<Ports> {
        let is_free = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
        for _ in 0..200 {
            let random = u16::from_be_bytes([Uuid::new_v4().as_bytes()[0], Uuid::new_v4().as_bytes()[1]]);
            let first = PORTS.start + random % (PORTS.end - PORTS.start - PORT_COUNT);
            let ports = Ports { first };
            if ports.all().all(is_free) {
                return Ok(ports);
            }
        }
        Err(io::Error::other("no free ports"))
    }

    fn admin(self) -> u16 {
        self.first + PORT_COUNT - 1
    }

    fn all(self) -> impl Iterator<Item = u16> {
        (self.first..self.first + PORT_COUNT).chain([self.admin() + GRPC_OFFSET])
    }

    fn arguments(self) -> Vec<String> {
        let services = ["s3", "master", "volume", "filer"];
        let ports = services.iter().zip((self.first..).step_by(2));
        let mut arguments: Vec<String> = ports
            .flat_map(|(service, port)| {
                [format!("-{service}.port={port}"), format!("-{service}.port.grpc={}", port + 1)]
            })
            .collect();
        arguments.push(format!("-admin.port={}", self.admin()));
        arguments
    }

    /// The Unix sockets that SeaweedFS makes beside its ports and a killed one leaves.
    fn remove_sockets(self) {
        for port in self.all() {
            for name in ["admin-grpc", "filer", "filer-grpc", "master-grpc", "s3", "s3-grpc", "volume-grpc"] {
                let _ = std::fs::remove_file(format!("/tmp/seaweedfs-{name}-{port}.sock"));
            }
        }
    }
}

/// `weed`: `$TRUNKLINE_WEED`, or that of the project's set-up.
fn program() -> io::Result<PathBuf> {
    if let Some(program) = std::env::var_os("TRUNKLINE_WEED") {
        return Ok(program.into());
    }
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target"), PathBuf::from);
    let program = target.join("venv/bin/weed");
    if !program.is_file() {
        let text = format!("no SeaweedFS at {}: run `cargo xtask setup`", program.display());
        return Err(io::Error::new(io::ErrorKind::NotFound, text));
    }
    std::path::absolute(program)
}
