//! SIGHUP and SIGTERM as the operator of a relay uses them, through the real binary.

use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use trunkline_turn_client::{Client, Link, LongTerm};

use crate::server::{DataDir, Server};

const OLD: &str = "the-old-secret-of-thirty-two-bytes";
const NEW: &str = "the-new-secret-of-thirty-two-bytes";

/// An inner address, which nobody may reach unless it is allowed.
const INNER: &str = "10.0.0.5:9";

/// What has been asked for holds within this; it is there at once, but for a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

fn client(relay: SocketAddr, secret: &str) -> Client {
    let soon = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970") + Duration::from_secs(600);
    let minted = trunkline_turn::mint(&trunkline_turn::Secret::new(secret.as_bytes()), "alice", soon);
    let credentials = LongTerm { username: minted.username, password: minted.password };
    Client::new(Link::udp(relay).expect("a socket"), Some(credentials))
}

/// The code that Allocate is answered with; 0 is success.
fn allocate(client: &mut Client) -> u16 {
    client.allocate(None).expect("an answer").code()
}

fn permit(client: &mut Client) -> u16 {
    client.permit(&[INNER.parse().expect("an address")]).expect("an answer").code()
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn secrets_and_peers_are_replaced_while_it_runs_and_while_it_drains() {
    let data = DataDir::new();
    std::fs::create_dir_all(data.path()).expect("a folder");
    let file = data.path().join("relay.toml");
    let write = |secrets: &str, allow: &str| {
        let text = format!("[turn]\nsecrets = [{secrets}]\nallow_peers = [{allow}]\ndrain_time = \"10m\"\n");
        std::fs::write(&file, text).expect("a file");
    };
    write(&format!("{OLD:?}"), "");
    let path = file.to_str().expect("UTF-8");
    let server = Server::start(&data, &["--role", "turn", "--config", path], &[]);
    let relay = server.turn();

    let mut before = client(relay, OLD);
    assert_eq!(allocate(&mut before), 0);
    assert_eq!(permit(&mut before), 403);
    assert_eq!(allocate(&mut client(relay, NEW)), 401);

    // Two secrets at once, and the inner address.
    write(&format!("{NEW:?}, {OLD:?}"), "\"10.0.0.5\"");
    server.signal("HUP");
    until("the new secret opens allocations", || allocate(&mut client(relay, NEW)) == 0);
    assert_eq!(allocate(&mut client(relay, OLD)), 0, "both are accepted");
    until("the new policy holds for those who were there", || permit(&mut before) == 0);

    // A file with a mistake changes nothing; the one after it does.
    std::fs::write(&file, "[turn]\nsecret = []\n").expect("a file");
    server.signal("HUP");
    write(&format!("{NEW:?}"), "");
    server.signal("HUP");
    until("the old secret is out", || allocate(&mut client(relay, OLD)) == 401);
    until("the inner address is closed again", || permit(&mut before) == 403);

    // It drains: nobody new comes in, those who are there go on, and a policy still reaches them.
    server.signal("TERM");
    until("newcomers are turned away", || matches!(allocate(&mut client(relay, NEW)), 300 | 508));
    assert_eq!(before.refresh(600).expect("an answer").code(), 0);
    write(&format!("{NEW:?}"), "\"10.0.0.5\"");
    server.signal("HUP");
    until("a policy is replaced while it drains", || permit(&mut before) == 0);
    server.signal("TERM");
    assert!(server.ended().success(), "told twice, it stops at once");
}
