//! Whole calls through the core: real ICE, DTLS and SRTP between peers and shards, on a seeded network.

#![allow(clippy::panic, clippy::unwrap_used)] // a test says so by panicking, its helpers too

mod second_opinion;
mod world;

use std::net::SocketAddr;
use std::time::Duration;

use trunkline_netsim::{LinkConfig, Loss};
use trunkline_sfu_core::drop::Drop;
use trunkline_sfu_core::layers::View;
use trunkline_sfu_core::shard::{Command, Event, GoneReason, SlotState};
use trunkline_test_peer::PeerSpec;
use world::World;

/// A quiet office network.
fn clean() -> LinkConfig {
    LinkConfig { delay: Duration::from_millis(5), ..LinkConfig::default() }
}

fn lossy(rate: f64) -> LinkConfig {
    LinkConfig {
        loss: Loss::Random(rate),
        delay: Duration::from_millis(15),
        jitter: Duration::from_millis(4),
        ..LinkConfig::default()
    }
}

/// Everyone speaks; cameras give 25 frames a second of three packets, a keyframe first and whenever asked.
fn speak(world: &mut World, step: u64) {
    let ntp = world.ntp();
    for client in &mut world.clients {
        client.peer.send_audio(&[step as u8; 80]);
        if step.is_multiple_of(2) {
            for layer in 0..client.peer.heard.plis.len() {
                let asked = std::mem::take(&mut client.peer.heard.plis[layer]) > 0;
                client.peer.send_frame(layer, step == 0 || asked, 3, 900);
            }
        }
        if step % 50 == 25 {
            client.peer.send_reports(ntp);
        }
    }
}

fn occupied(event: &Event) -> Vec<Option<u64>> {
    match event {
        Event::Slots(_, slots) => slots.iter().map(|s: &SlotState| s.occupant.map(|p| p.0)).collect(),
        Event::Connected(_) | Event::Gone(..) => panic!("not a slots event: {event:?}"),
    }
}

#[test]
fn two_people_see_and_hear_each_other() {
    let mut world = World::new(1, 1, clean());
    world.join(PeerSpec::caller(1, 2));
    world.join(PeerSpec::caller(2, 2));
    world.connect(2_000);
    world.run(4_000, speak);
    for client in &world.clients {
        let audio = client.peer.received(0, "audio");
        let video = client.peer.received(0, "video");
        assert!(audio.packets > 190, "{audio:?}");
        assert!(video.frames > 92, "{} frames", video.frames);
        assert_eq!((audio.missing(), video.missing()), (0, 0));
        assert_eq!(client.peer.heard.undecryptable, 0);
        assert!(client.peer.heard.feedbacks > 40, "{:?}", client.peer.heard);
        assert!(client.peer.heard.sender_reports >= 4, "{:?}", client.peer.heard);
        assert!(client.peer.heard.report_blocks >= 4, "{:?}", client.peer.heard);
        assert_eq!(client.peer.received(1, "audio").packets, 0, "the second slot is empty");
    }
    let stats = world.stats();
    assert_eq!(stats.dropped.iter().sum::<u64>(), 0, "{stats:?}");
}

#[test]
fn a_third_joins_without_any_negotiation_of_the_others() {
    let mut world = World::new(1, 2, clean());
    for seed in 1..=2 {
        world.join(PeerSpec::caller(seed, 3));
    }
    world.connect(2_000);
    world.run(500, speak);
    world.join(PeerSpec::caller(3, 3));
    world.connect(2_000);
    world.run(1_500, speak);
    for client in &world.clients {
        for slot in 0..2 {
            assert!(client.peer.received(slot, "video").frames > 20, "slot {slot}");
            assert!(client.peer.received(slot, "audio").packets > 50, "slot {slot}");
        }
    }
    let last = *world.events_of(0).last().unwrap();
    assert_eq!(occupied(last), [Some(101), Some(102), None]);
    world.leave(1);
    world.run(100, speak);
    let last = *world.events_of(0).last().unwrap();
    assert_eq!(occupied(last), [None, Some(102), None], "the third keeps its place");
}

#[test]
fn shards_hand_each_packet_over_once() {
    let mut world = World::new(2, 3, clean());
    for seed in 1..=4 {
        world.join(PeerSpec::caller(seed, 3));
    }
    world.connect(3_000);
    world.run(300, |_, _| {}); // media begins between two reports: no timer may have to mend anything
    world.run(2_000, speak);
    for client in &world.clients {
        for slot in 0..3 {
            let video = client.peer.received(slot, "video");
            assert!(video.frames >= 48, "slot {slot}: {} frames", video.frames);
            assert_eq!((video.duplicates, video.missing()), (0, 0));
            assert!(client.peer.received(slot, "audio").packets >= 97);
        }
    }
    assert_eq!(world.shards[0].stats().transports, 2);
    assert_eq!(world.shards[1].stats().transports, 2);
    let stats = world.stats();
    // Each shard's forwards: every packet to three subscribers, and nothing counted as received twice.
    assert!(stats.forwarded_packets <= stats.received_packets * 3, "{stats:?}");
}

/// Wi-Fi to cellular: another address, and a flow hash that leads to another shard.
#[test]
fn a_client_keeps_its_call_when_its_network_changes() {
    let mut world = World::new(3, 4, clean());
    for seed in 1..=3 {
        world.join(PeerSpec::caller(seed, 2));
    }
    world.connect(3_000);
    world.run(1_000, speak);
    world.clients[0].address = "198.51.100.7:7777".parse().unwrap();
    world.clients[0].shard = 2;
    let seen = |world: &World| world.clients[1].peer.received(0, "video").frames;
    let before = seen(&world);
    // The client notices by its next check; until then what it sends comes from an address nobody has proven.
    world.clients[0].peer.check_now(world.now);
    world.run(2_000, speak);
    assert!(seen(&world) > before + 40, "{} frames, {before} before", seen(&world));
    let received = world.clients[0].peer.received(0, "video").clone();
    assert!(received.frames > 65, "the other direction follows: {}", received.frames);
    assert_eq!(world.stats().transports, 3);
    world.leave(0);
    let addresses: usize = world.shards.iter().map(|s| s.table_sizes()[2]).sum();
    assert_eq!(addresses, 2, "nothing of it is left in any shard");
}

#[test]
fn five_percent_loss_on_both_legs_is_repaired() {
    for seed in 0..4 {
        let mut world = World::new(1, 100 + seed, lossy(0.05));
        world.join(PeerSpec::caller(1, 1));
        world.join(PeerSpec::caller(2, 1));
        world.connect(10_000);
        world.run(10_000, speak);
        world.run(500, |_, _| {});
        for client in &world.clients {
            let video = client.peer.received(0, "video");
            assert!(video.frames >= 237, "seed {seed}: {} of some 248 frames", video.frames);
            assert!(video.repaired > 20, "seed {seed}: {} repaired", video.repaired);
            assert_eq!(video.contradictions, 0);
        }
        assert!(world.stats().repaired_packets > 20);
    }
}

/// The planted fault for the test above: without repair the same network must lose frames visibly.
#[test]
fn without_repair_the_same_loss_shows() {
    let mut world = World::new(1, 100, lossy(0.05));
    world.join(PeerSpec::caller(1, 1));
    world.join(PeerSpec::caller(2, 1));
    world.connect(10_000);
    world.clients.iter_mut().for_each(|c| c.peer.repair = false);
    world.run(10_000, speak);
    let frames = world.clients[0].peer.received(0, "video").frames;
    assert!(frames < 237, "{frames} frames: the loss test could not fail");
}

#[test]
fn a_layer_follows_the_size_and_the_numbers_go_on() {
    layer_follows(1);
}

/// The viewer's shard sees only the layers it wants; the owner tells it of the others.
#[test]
fn a_layer_follows_the_size_on_another_shard() {
    layer_follows(2);
}

fn layer_follows(shards: u16) {
    let mut world = World::new(shards, 5, clean());
    world.join(PeerSpec { rids: vec!["q", "h", "f"], ..PeerSpec::caller(1, 1) });
    world.join(PeerSpec::caller(2, 1));
    world.connect(2_000);
    let size = |world: &mut World, width, height| {
        let participant = world.clients[1].id;
        world.command(&Command::View { participant, slots: vec![(0, View::Pixels { width, height })] });
    };
    world.run(1_500, speak);
    assert_eq!(world.clients[1].peer.received(0, "video").width, 640);
    size(&mut world, 150, 90);
    world.run(1_500, speak);
    assert_eq!(world.clients[1].peer.received(0, "video").width, 160);
    size(&mut world, 1280, 720);
    world.run(1_500, speak);
    let video = world.clients[1].peer.received(0, "video").clone();
    assert_eq!(video.width, 640);
    assert_eq!((video.missing(), video.duplicates, video.contradictions), (0, 0, 0));
    // The top layer stops (a weak uplink): the next one takes over.
    world.run(4_000, |world, step| {
        for layer in 0..2 {
            let asked = std::mem::take(&mut world.clients[0].peer.heard.plis[layer]) > 0;
            world.clients[0].peer.send_frame(layer, step == 0 || asked, 3, 900);
        }
    });
    assert_eq!(world.clients[1].peer.received(0, "video").width, 320);
    let video = world.clients[1].peer.received(0, "video").clone();
    let times: Vec<_> = video.timestamps.values().collect();
    let longest = times.windows(2).map(|w| w[1].wrapping_sub(*w[0])).max();
    assert!(
        longest < Some(150_000),
        "time runs on, and forward, and no freeze is longer than 1.7 s: {longest:?}"
    );
    let pictures: Vec<_> = video.pictures.values().collect();
    assert!(pictures.windows(2).all(|w| w[1].wrapping_sub(*w[0]) & 0x7fff <= 1), "picture ids run on");
    size(&mut world, 0, 0);
    world.run(100, speak);
    let before = world.clients[1].peer.received(0, "video").packets;
    world.run(500, speak);
    assert_eq!(world.clients[1].peer.received(0, "video").packets, before, "a hidden tile costs nothing");
}

#[test]
fn keyframe_requests_are_throttled() {
    let mut world = World::new(1, 6, clean());
    world.join(PeerSpec::caller(1, 1));
    world.join(PeerSpec::viewer(2, 1));
    world.connect(2_000);
    world.run(1_000, speak);
    let before = world.stats().keyframe_requests;
    world.run(1_000, |world, step| {
        speak(world, step + 50);
        world.clients[1].peer.request_keyframe(0);
    });
    let asked = world.stats().keyframe_requests - before;
    assert!((2..=4).contains(&asked), "{asked} requests passed of 50 in a second");
}

#[test]
fn who_falls_silent_is_cleaned_up() {
    let mut world = World::new(1, 7, clean());
    world.join(PeerSpec::caller(1, 1));
    world.join(PeerSpec::caller(2, 1));
    world.connect(2_000);
    let silent = world.clients.remove(0);
    world.run(31_500, |_, _| {});
    assert!(world.events.contains(&Event::Gone(silent.id, GoneReason::ConsentExpired)));
    let last = *world.events_of(0).last().unwrap();
    assert_eq!(occupied(last), [None]);
    assert_eq!(world.stats().transports, 1);
}

#[test]
fn who_never_comes_is_cleaned_up() {
    let mut world = World::new(2, 8, clean());
    world.join(PeerSpec::caller(1, 1));
    let silent = world.clients.remove(0);
    world.run(30_100, |_, _| {});
    assert_eq!(world.events, [Event::Gone(silent.id, GoneReason::NeverConnected)]);
    assert_eq!(world.shards[0].table_sizes(), [0; 4]);
}

#[test]
fn a_forged_flood_keeps_nothing_and_harms_nobody() {
    let mut world = World::new(1, 9, clean());
    world.join(PeerSpec::caller(1, 1));
    world.join(PeerSpec::caller(2, 1));
    world.connect(2_000);
    world.run(1_000, speak);
    let before = world.shards[0].table_sizes();
    let victim = world.clients[0].address;
    let mut rng = trunkline_netsim::Rng::new(9);
    for n in 0..100_000u32 {
        let random = rng.next_u64().to_be_bytes();
        let address = SocketAddr::from(([198, 51, random[0], random[1]], u16::from_be_bytes([random[2], 9])));
        match n % 4 {
            // A Binding request for a real user with a wrong integrity.
            0 => {
                let mut packet = Vec::new();
                let params = trunkline_stun::BindingRequestParams {
                    username: Some("server0000:peerufrag"),
                    use_candidate: true,
                    ..Default::default()
                };
                let key = trunkline_stun::IntegrityKey::short_term(&random);
                let id = trunkline_stun::TransactionId(std::array::from_fn(|i| random[i % 8]));
                trunkline_stun::write_binding_request(&mut packet, &id, &params, Some(&key));
                world.inject(0, address, &mut packet);
            }
            // RTP with a new SSRC, from nowhere, and as if from a participant.
            _ => {
                let mut packet = vec![0x80, 96, 0, 1, 0, 0, 0, 0];
                packet.extend_from_slice(&random[..4]);
                packet.resize(200, random[5]);
                world.inject(0, if n % 4 == 1 { victim } else { address }, &mut packet);
            }
        }
    }
    assert_eq!(world.shards[0].table_sizes(), before);
    let stats = world.stats();
    assert_eq!(stats.dropped[Drop::BadIntegrity as usize], 25_000);
    assert_eq!(stats.dropped[Drop::UnknownSource as usize], 50_000);
    assert_eq!(stats.dropped[Drop::BadTag as usize], 25_000);
    let frames = world.clients[1].peer.received(0, "video").frames;
    world.run(1_000, speak);
    assert!(world.clients[1].peer.received(0, "video").frames >= frames + 24);
}

#[test]
fn nobody_hears_a_room_they_are_not_in() {
    let mut world = World::new(1, 10, clean());
    world.join(PeerSpec::caller(1, 1));
    world.connect(2_000);
    world.run(1_000, speak);
    assert_eq!(world.stats().forwarded_packets, 0);
    assert!(world.stats().received_packets > 100);
}
