//! Clients on TCP and TLS connections.

use super::*;
use crate::event::EventKind;
use crate::{DropReason, StreamId};

#[test]
fn channel_data_is_padded_on_streams() {
    let mut harness = Harness::new(config());
    let client = Client::on_stream(&mut harness, "203.0.113.9:1", 3, "alice");
    let relayed = client.allocate(&mut harness).relayed();
    let peer = addr("203.0.113.50:9");
    assert_eq!(client.bind(&mut harness, 0x4001, peer).code(), 0);
    for (payload, padding) in [(&b""[..], 0), (b"a", 3), (b"ab", 2), (b"abc", 1), (b"abcd", 0), (b"abcde", 3)]
    {
        let mut expected = vec![0x40, 1, 0, payload.len() as u8];
        expected.extend_from_slice(payload);
        expected.resize(expected.len() + padding, 0);
        assert_eq!(from_peer(&mut harness, relayed, peer, payload), Some(expected.clone()));
        // The other way with and without it.
        for data in [&expected[..], &expected[..expected.len() - padding]] {
            let handled = harness.input(Input::Client { path: client.path, data });
            let Handled::Forward(forward) = handled else { panic!("{handled:?}") };
            assert_eq!(&data[forward.payload()], payload);
        }
    }
    let answer = client.refresh(&mut harness, 600);
    assert_eq!(answer.path, client.path, "answers go on the connection");
}

#[test]
fn a_closed_connection_ends_its_allocation() {
    let mut harness = Harness::new(config());
    let client = Client::on_stream(&mut harness, "203.0.113.9:1", 0, "alice");
    client.allocate(&mut harness);
    harness.answers.clear();
    // Another connection of the same address, and the same slot used again, are not it.
    for stream in
        [None, Some(StreamId { index: 1, generation: 0 }), Some(StreamId { index: 0, generation: 1 })]
    {
        let path = ClientPath { stream, ..client.path };
        assert_eq!(harness.input(Input::StreamClosed { path }), Handled::Done);
        assert_eq!(harness.state(), [1; 6]);
    }
    harness.events.clear();
    harness.now += Duration::from_secs(5);
    assert_eq!(harness.input(Input::StreamClosed { path: client.path }), Handled::Done);
    assert_eq!((harness.state(), harness.answers.len()), ([0; 6], 0));
    let ended = EventKind::Ended { lasted: Duration::from_secs(5), usage: crate::Usage::default() };
    assert_eq!(harness.events, [("alice".to_owned(), ended)]);
    assert_eq!(harness.input(Input::StreamClosed { path: client.path }), Handled::Done);
}

#[test]
fn a_connection_closed_while_its_socket_is_opened() {
    let mut harness = Harness::new(config());
    let client = Client::on_stream(&mut harness, "203.0.113.9:1", 0, "alice");
    let data = client.build(TransactionId([1; 12]), Method::ALLOCATE, &[udp()]);
    let _ = harness.server.handle(Input::Client { path: client.path, data: &data }, harness.now);
    let Output::BindRelay { relay, .. } = harness.server.poll_output() else { panic!() };
    let _ = harness.server.handle(Input::StreamClosed { path: client.path }, harness.now);
    assert_eq!(harness.server.poll_output(), Output::CloseRelay { relay });
    let _ = harness.server.handle(Input::RelayBound { relay, bound: true }, harness.now);
    assert_eq!(harness.server.poll_output(), Output::Timeout(None), "no answer, no event");
    assert_eq!(harness.state(), [0; 6]);
}

#[test]
fn case_25_the_longest_channel_data_of_a_stream() {
    let mut harness = Harness::new(config());
    let client = Client::on_stream(&mut harness, "203.0.113.9:1", 0, "alice");
    client.allocate(&mut harness);
    client.bind(&mut harness, 0x4000, addr("203.0.113.50:9"));
    for (length, fits) in [(65_507_u16, true), (65_508, false), (65_535, false)] {
        let mut data = trunkline_stun::ChannelData::header(0x4000, length).to_vec();
        data.resize(4 + usize::from(length), 7);
        let handled = harness.input(Input::Client { path: client.path, data: &data });
        // No IPv4 datagram holds more.
        let dropped = Handled::Dropped(DropReason::TooLarge);
        assert!(if fits { matches!(handled, Handled::Forward(_)) } else { handled == dropped }, "{length}");
    }
}
