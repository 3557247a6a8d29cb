//! The SFU with clients that share no code with it: str0m reads our answers, our STUN and DTLS, our SRTP and RTCP, and
//! repairs on both sides. What our own peers and we misread in the same way shows here.
//!
//! The network is seeded, str0m's credentials, keys and numbers are not: bounds are for any of them.

mod driver;

use str0m::media::{Direction, MediaKind};
use trunkline_netsim::Rng;

use crate::{clean, lossy};
use driver::Meeting;

/// `use_srtp` numbers of AEAD_AES_128_GCM and AEAD_AES_256_GCM (RFC 7714 §14.2).
const GCM: [u16; 2] = [0x0007, 0x0008];

/// A publisher's camera and microphone, and what they have written.
#[derive(Default)]
struct Studio {
    ms: u64,
    answered: u32,
    audio: Vec<Vec<u8>>,
    video: Vec<Vec<u8>>,
}

impl Studio {
    /// 20 ms: a packet of sound, every other time a picture, which is a keyframe at first and when asked.
    fn roll(&mut self, meeting: &mut Meeting) {
        let now = meeting.now;
        let publisher = &mut meeting.clients[0];
        let packet = noise(self.ms, 80);
        publisher.write(MediaKind::Audio, now, self.ms, &packet);
        self.audio.push(packet);
        if self.ms.is_multiple_of(40) {
            let asked = publisher.heard.keyframe_requests;
            let frame = frame(self.ms, self.video.is_empty() || asked > self.answered);
            self.answered = asked;
            publisher.write(MediaKind::Video, now, self.ms, &frame);
            self.video.push(frame);
        }
        self.ms += 20;
    }
}

fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut rng = Rng::new(seed);
    (0..length).map(|_| rng.next_u64() as u8).collect()
}

/// A VP8 frame of one to three packets: frame tag, on a keyframe the start code and 320 × 240 (RFC 6386 §9.1), noise.
fn frame(seed: u64, keyframe: bool) -> Vec<u8> {
    let mut frame = vec![u8::from(!keyframe), 0, 0];
    if keyframe {
        frame.extend([0x9d, 0x01, 0x2a, 0x40, 0x01, 0xf0, 0x00]);
    }
    frame.extend(noise(seed, 400 + seed as usize % 2_700));
    frame
}

fn camera_and_viewer(seed: u64, link: trunkline_netsim::LinkConfig) -> Meeting {
    let mut meeting = Meeting::new(seed, link);
    meeting.join(Direction::SendOnly);
    meeting.join(Direction::RecvOnly);
    meeting.connect(10_000);
    meeting
}

/// How many of `sent` the viewer has. Each is byte for byte one that was sent, none comes twice or before its turn.
fn arrived(meeting: &Meeting, kind: MediaKind, sent: &[Vec<u8>]) -> usize {
    let received = meeting.clients[1].received(kind);
    let mut rest = sent.iter();
    for (n, data) in received.iter().enumerate() {
        assert!(
            rest.any(|frame| frame[..] == data.data[..]),
            "{kind:?} {n} is not what was sent, or out of order"
        );
    }
    received.len()
}

#[test]
fn another_stack_publishes_and_views() {
    let mut meeting = camera_and_viewer(1, clean());
    let mut studio = Studio::default();
    meeting.run(4_000, |meeting| studio.roll(meeting));
    meeting.run(200, |_| {});
    // A camera starts before the SFU knows of the viewer's wish: the first frames may have nobody to go to.
    let video = arrived(&meeting, MediaKind::Video, &studio.video);
    assert!(video + 5 >= studio.video.len(), "{video} of {} frames", studio.video.len());
    let audio = arrived(&meeting, MediaKind::Audio, &studio.audio);
    assert!(audio + 5 >= studio.audio.len(), "{audio} of {} packets", studio.audio.len());
    assert!(meeting.clients[1].received(MediaKind::Video).iter().skip(1).all(|data| data.contiguous));
    for client in &meeting.clients {
        let heard = &client.heard;
        assert!(heard.srtp_offered.iter().any(|profile| GCM.contains(profile)), "{heard:?}");
        assert!(matches!(heard.srtp_chosen[..], [chosen] if GCM.contains(&chosen)), "{heard:?}");
    }
    let heard = &meeting.clients[0].heard;
    assert!(heard.receiver_report && heard.transport_feedback, "{heard:?}");
    assert!(meeting.clients[1].heard.sender_report, "{:?}", meeting.clients[1].heard);
    assert_eq!(meeting.stats().dropped.iter().sum::<u64>(), 0, "{:?}", meeting.stats());
}

#[test]
fn another_stack_asks_for_a_keyframe_and_gets_one() {
    let mut meeting = Meeting::new(2, clean());
    meeting.join(Direction::SendOnly);
    meeting.connect(10_000);
    let mut studio = Studio::default();
    meeting.run(1_000, |meeting| studio.roll(meeting));
    assert_eq!(meeting.clients[0].heard.keyframe_requests, 0, "nobody looks");
    meeting.join(Direction::RecvOnly);
    meeting.run(2_000, |meeting| studio.roll(meeting));
    let keyframes = |meeting: &Meeting| -> Vec<bool> {
        meeting.clients[1].received(MediaKind::Video).iter().map(|data| data.is_keyframe()).collect()
    };
    let before = (meeting.clients[0].heard.keyframe_requests, keyframes(&meeting));
    assert!(before.0 > 0, "the SFU asks for the one who came late");
    assert_eq!(before.1.first(), Some(&true), "{before:?}");
    meeting.clients[1].request_keyframe();
    meeting.run(200, |meeting| studio.roll(meeting));
    assert_eq!(meeting.clients[0].heard.keyframe_requests, before.0 + 1);
    assert!(keyframes(&meeting)[before.1.len()..].contains(&true));
    arrived(&meeting, MediaKind::Video, &studio.video);
}

#[test]
fn another_stack_repairs_five_percent_loss_on_both_legs() {
    for seed in 0..3 {
        let mut meeting = camera_and_viewer(200 + seed, lossy(0.05));
        let mut studio = Studio::default();
        meeting.run(10_000, |meeting| studio.roll(meeting));
        meeting.run(1_000, |_| {});
        let (video, sent) = (arrived(&meeting, MediaKind::Video, &studio.video), studio.video.len());
        let stats = meeting.stats();
        assert!(video * 100 >= sent * 95, "seed {seed}: {video} of {sent} frames, {stats:?}");
        arrived(&meeting, MediaKind::Audio, &studio.audio);
        assert!(meeting.clients[0].heard.nacks > 10, "seed {seed}: {:?}", meeting.clients[0].heard);
        assert!(stats.repaired_packets > 10 && stats.resent_packets > 10, "seed {seed}: {stats:?}");
    }
}

/// The planted fault for the test above: where NACKs do not pass, the same network must lose frames visibly.
#[test]
fn another_stack_without_feedback_shows_the_same_loss() {
    let mut meeting = camera_and_viewer(200, lossy(0.05));
    meeting.clients.iter_mut().for_each(|client| client.feedback = false);
    let mut studio = Studio::default();
    meeting.run(10_000, |meeting| studio.roll(meeting));
    meeting.run(1_000, |_| {});
    let (video, sent) = (arrived(&meeting, MediaKind::Video, &studio.video), studio.video.len());
    let heard = &meeting.clients[0].heard;
    assert!(!heard.receiver_report && !heard.transport_feedback, "{heard:?}");
    assert!(video * 100 < sent * 90, "{video} of {sent} frames: the loss test could not fail");
}
