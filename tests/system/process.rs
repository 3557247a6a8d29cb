//! The process as an operator knows it: exit codes, the operator's port, SIGTERM.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::server::{DataDir, Server, Session, http, token, trunkline};

#[test]
fn a_role_that_cannot_be_alone_is_refused_clearly() {
    let data = DataDir::new();
    let output = trunkline(&data).args(["serve", "--role", "turn,media-store"]).output().unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("needs the role signaling"), "{said}");
    assert!(!data.path().exists(), "nothing was begun");
}

#[test]
fn the_example_configuration_passes_the_check() {
    let data = DataDir::new();
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/trunkline.example.toml");
    let output = trunkline(&data).args(["config", "check", "--config", example]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let output =
        trunkline(&data).env("TRUNKLINE_SFU__SHARD", "2").args(["config", "check"]).output().unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("`sfu.shards`"));
}

#[tokio::test]
async fn the_operators_port_tells_health_readiness_and_metrics() {
    let data = DataDir::new();
    let server = Server::start(&data, &[], &[]);
    assert_eq!(http(server.ops(), "GET", "/healthz", "", &Value::Null).await.0, 200);
    assert_eq!(http(server.ops(), "GET", "/readyz", "", &Value::Null).await, (200, "ready\n".to_owned()));
    let (status, metrics) = http(server.ops(), "GET", "/metrics", "", &Value::Null).await;
    assert_eq!(status, 200);
    for name in ["process_resident_memory_bytes", "trunkline_build_info", "sfu_forwarded_packets_total"] {
        assert!(metrics.contains(name), "no {name} in {metrics}");
    }
    let (status, _) = http(server.http(), "GET", "/metrics", "", &Value::Null).await;
    assert_eq!(status, 404, "metrics are not public");
}

/// Half a request head holds a connection no longer than the listener allows (10 s), and answers nobody else later.
#[tokio::test]
async fn half_a_request_is_closed() {
    let data = DataDir::new();
    let server = Server::start(&data, &["--role", "signaling"], &[]);
    let mut slow = tokio::net::TcpStream::connect(server.http()).await.unwrap();
    slow.write_all(b"GET / HTTP/1.1\r\nhost: tr").await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(Duration::from_secs(60), slow.read_to_end(&mut answer)).await.unwrap().unwrap();
    assert!(!answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
}

#[test]
fn sigterm_in_the_first_moment_is_a_graceful_stop_too() {
    let data = DataDir::new();
    for role in ["turn", "signaling", "signaling,sfu,turn"] {
        assert!(Server::start(&data, &["--role", role], &[]).terminate().success(), "{role}");
    }
}

#[tokio::test]
async fn sigterm_says_bye_and_ends_with_success() {
    let data = DataDir::new();
    let server = Server::start(&data, &[], &[]);
    let mut session = Session::open(&server, &token(&data, "alice"), "laptop", &BTreeMap::new()).await;
    let stopped = tokio::task::spawn_blocking(move || server.terminate());
    let mut last = Value::Null;
    while let Some(frame) = session.next().await {
        last = frame;
    }
    assert_eq!((last["t"].as_str(), last["code"].as_str()), (Some("bye"), Some("shutdown")), "{last}");
    let retry: Vec<u64> = serde_json::from_value(last["retry_ms"].clone()).expect("a range");
    assert!(retry[0] <= retry[1]);
    assert!(stopped.await.unwrap().success());
}
