//! The real binary under test: started on free ports, spoken to over its wire, killed or stopped.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

const BINARY: &str = env!("CARGO_BIN_EXE_trunkline");

/// A data directory that goes with the test.
pub(crate) struct DataDir(PathBuf);

impl DataDir {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let unique =
            format!("trunkline-system-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let dir = std::env::temp_dir().join(unique);
        let _ = std::fs::remove_dir_all(&dir);
        Self(dir)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for DataDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// `trunkline` with what every test wants: its own data and no fixed port.
pub(crate) fn trunkline(data: &DataDir) -> Command {
    let mut command = Command::new(BINARY);
    command
        .env("TRUNKLINE_DATA__DIR", data.path())
        .env("TRUNKLINE_HTTP__LISTEN", "127.0.0.1:0")
        .env("TRUNKLINE_OPS__LISTEN", "127.0.0.1:0")
        .env("TRUNKLINE_SFU__LISTEN", "127.0.0.1:0")
        .env("TRUNKLINE_TURN__LISTEN", "127.0.0.1:0")
        .env("TRUNKLINE_LOG__FORMAT", "json");
    command
}

/// A running server. Dropping it kills it.
pub(crate) struct Server {
    child: Child,
    ready: Value,
}

impl Server {
    /// Starts `serve` and waits until it says that it is ready.
    pub(crate) fn start(data: &DataDir, arguments: &[&str], settings: &[(&str, &str)]) -> Self {
        let mut command = trunkline(data);
        command.arg("serve").args(arguments).envs(settings.iter().copied());
        let mut child =
            command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the binary starts");
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let mut said = Vec::new();
        let ready = loop {
            let line = lines.next().and_then(Result::ok);
            assert!(line.is_some(), "the server ended: {said:#?}");
            let line = line.expect("just checked");
            let entry: Value = serde_json::from_str(&line).unwrap_or_default();
            if entry["message"] == "ready" {
                break entry;
            }
            said.push(line);
        };
        // Nobody reads on, and a full pipe must not stop the server.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, ready }
    }

    fn address(&self, name: &str) -> SocketAddr {
        self.ready[name].as_str().and_then(|text| text.parse().ok()).expect("an address in the ready line")
    }

    /// The public port.
    pub(crate) fn http(&self) -> SocketAddr {
        self.address("http")
    }

    /// The operator's port.
    pub(crate) fn ops(&self) -> SocketAddr {
        self.address("ops")
    }

    /// kill -9.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("the server runs");
        let status = self.child.wait().expect("the server ran");
        assert_eq!(status.signal(), Some(9), "the server ended before it was killed: {status}");
    }

    /// The relay's UDP address.
    pub(crate) fn turn(&self) -> SocketAddr {
        self.address("turn")
    }

    /// Sends a signal, such as `HUP`.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let told = Command::new("kill").args(["-s", name, &id]).status().expect("kill runs");
        assert!(told.success());
    }

    /// Waits until it has stopped.
    pub(crate) fn ended(mut self) -> ExitStatus {
        self.child.wait().expect("the server ran")
    }

    /// SIGTERM, then waits until it has stopped.
    pub(crate) fn terminate(self) -> ExitStatus {
        self.signal("TERM");
        self.ended()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A token, as the server's own command prints it.
pub(crate) fn token(data: &DataDir, user: &str) -> String {
    let output = trunkline(data).args(["token", "--user", user]).output().expect("the binary starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("a token is ASCII").trim().to_owned()
}

/// One HTTP request; status and body.
pub(crate) async fn http(
    to: SocketAddr,
    method: &str,
    path: &str,
    token: &str,
    body: &Value,
) -> (u16, String) {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(to).await.expect("the port is open");
    stream.write_all(request.as_bytes()).await.expect("the request is taken");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer in UTF-8");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a whole answer");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, body.to_owned())
}

/// A signaling session, after `welcome`.
pub(crate) struct Session {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    pub(crate) welcome: Value,
}

impl Session {
    pub(crate) async fn open(
        server: &Server,
        token: &str,
        device: &str,
        cursors: &BTreeMap<String, u64>,
    ) -> Self {
        let mut request = format!("ws://{}/v1/session", server.http()).into_client_request().expect("a URL");
        let protocol = "trunkline.v1.json".parse().expect("a header's value");
        request.headers_mut().insert("sec-websocket-protocol", protocol);
        let (socket, _) = tokio_tungstenite::connect_async(request).await.expect("the server upgrades");
        let mut session = Self { socket, welcome: Value::Null };
        let hello = json!({"t": "hello", "v": 1, "token": token, "device": device, "cursors": cursors});
        assert!(session.send(&hello).await, "hello is taken");
        session.welcome = session.next().await.expect("welcome");
        assert_eq!(session.welcome["t"], "welcome", "{}", session.welcome);
        session
    }

    /// Whether the frame left; a killed server takes nothing.
    pub(crate) async fn send(&mut self, frame: &Value) -> bool {
        self.socket.send(Message::text(frame.to_string())).await.is_ok()
    }

    /// The next frame; `None` once the connection is gone.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        loop {
            match self.socket.next().await?.ok()? {
                Message::Text(text) => return Some(serde_json::from_str(&text).expect("frames are JSON")),
                Message::Close(_) => return None,
                _ => {}
            }
        }
    }
}
