use std::collections::BTreeSet;

use proptest::prelude::*;
use rtc_sdp::description::session::SessionDescription;

use super::*;
use crate::session::{Codec, CodecMapping, ExtensionIds, IceCredentials, MediaKind, PublishedTrack};

const CHROMIUM_CALL: &str = include_str!("fixtures/chromium_call.sdp");
const CHROMIUM_PLAIN: &str = include_str!("fixtures/chromium_plain.sdp");
const CHROMIUM_AUDIO: &str = include_str!("fixtures/chromium_audio.sdp");
const CHROMIUM_WHEP: &str = include_str!("fixtures/chromium_whep.sdp");
const AIORTC_WHIP: &str = include_str!("fixtures/aiortc_whip.sdp");
const AIORTC_WHEP: &str = include_str!("fixtures/aiortc_whep.sdp");
const FIREFOX_CALL: &str = include_str!("fixtures/firefox_call.sdp");
const OBS_WHIP: &str = include_str!("fixtures/obs_whip.sdp");
const GSTREAMER_WHIP: &str = include_str!("fixtures/gstreamer_whip.sdp");
const ALL: [&str; 9] = [
    CHROMIUM_CALL,
    CHROMIUM_PLAIN,
    CHROMIUM_AUDIO,
    CHROMIUM_WHEP,
    AIORTC_WHIP,
    AIORTC_WHEP,
    FIREFOX_CALL,
    OBS_WHIP,
    GSTREAMER_WHIP,
];

fn local() -> LocalParameters {
    LocalParameters {
        ice: IceCredentials { ufrag: "srvufrag".to_owned(), pwd: "srvpwd0123456789abcdefgh".to_owned() },
        fingerprint: [0xa5; 32],
        candidates: vec!["192.0.2.1:3478".parse().unwrap(), "[2001:db8::1]:3478".parse().unwrap()],
        ssrc_base: 1_000,
        session_id: u64::MAX,
    }
}

/// An answer taken apart again by the library.
struct Parsed {
    session: NegotiatedSession,
    text: String,
    sdp: SessionDescription,
}

impl Parsed {
    /// Values of attribute `key` in section `index`; a flag gives an empty value.
    fn lines(&self, index: usize, key: &str) -> Vec<&str> {
        let attributes = &self.sdp.media_descriptions[index].attributes;
        attributes.iter().filter(|a| a.key == key).map(|a| a.value.as_deref().unwrap_or_default()).collect()
    }

    fn has(&self, index: usize, key: &str) -> bool {
        !self.lines(index, key).is_empty()
    }

    fn formats(&self, index: usize) -> Vec<&str> {
        self.sdp.media_descriptions[index].media_name.formats.iter().map(String::as_str).collect()
    }

    fn port(&self, index: usize) -> isize {
        self.sdp.media_descriptions[index].media_name.port.value
    }

    fn direction(&self, index: usize) -> &'static str {
        let all = ["sendrecv", "sendonly", "recvonly", "inactive"];
        let found: Vec<_> = all.into_iter().filter(|d| self.has(index, d)).collect();
        assert_eq!(found.len(), 1, "section {index}");
        found[0]
    }

    fn bundle(&self) -> Vec<&str> {
        let group = self.sdp.attributes.iter().find(|a| a.key == "group").unwrap();
        group.value.as_deref().unwrap().split(' ').skip(1).collect()
    }
}

fn answered(offer: &str) -> Parsed {
    let (session, text) = answer(offer, &local()).unwrap();
    let sdp = SessionDescription::unmarshal(&mut std::io::Cursor::new(text.as_bytes())).unwrap();
    Parsed { session, text, sdp }
}

fn refused(offer: &str) -> NegotiationError {
    answer(offer, &local()).unwrap_err()
}

fn h264(profile: u16, payload_type: u8, rtx: u8) -> CodecMapping {
    CodecMapping { codec: Codec::H264 { profile }, payload_type, rtx_payload_type: Some(rtx) }
}

const OPUS_111: CodecMapping = CodecMapping { codec: Codec::Opus, payload_type: 111, rtx_payload_type: None };
const VP8_96: CodecMapping = CodecMapping { codec: Codec::Vp8, payload_type: 96, rtx_payload_type: Some(97) };

#[test]
fn chromium_call_what_the_client_sends() {
    let a = answered(CHROMIUM_CALL);
    let s = &a.session;
    assert_eq!(s.remote.ufrag, "y5kQ");
    assert_eq!(s.remote.pwd, "kXV54fKFKNh5ZlurHSb6He8K");
    assert_eq!(s.remote_fingerprint[..4], [0x8d, 0xa4, 0xf2, 0x9d]);
    assert!(s.client_is_dtls_client);
    assert_eq!(
        s.extensions,
        ExtensionIds {
            mid: Some(4),
            rid: Some(10),
            repaired_rid: Some(11),
            audio_level: Some(1),
            transport_cc: Some(3),
            video_orientation: Some(13),
        }
    );
    let microphone = PublishedTrack {
        mid: "0".to_owned(),
        kind: MediaKind::Audio,
        codecs: vec![OPUS_111],
        rids: vec![],
        ssrcs: vec![(4_155_640_562, None)],
    };
    let camera = PublishedTrack {
        mid: "1".to_owned(),
        kind: MediaKind::Video,
        codecs: vec![VP8_96, h264(0x4200, 102, 103), h264(0x42e0, 108, 109), h264(0x4d00, 116, 117)],
        rids: ["q", "h", "f"].map(str::to_owned).to_vec(),
        ssrcs: vec![],
    };
    assert_eq!(s.tracks, [microphone, camera]);

    assert_eq!((a.direction(0), a.direction(1)), ("recvonly", "recvonly"));
    assert_eq!(a.formats(0), ["111"]);
    assert_eq!(a.lines(0, "rtcp-fb"), ["111 transport-cc", "111 nack"]);
    assert_eq!(a.lines(0, "fmtp"), ["111 minptime=10;useinbandfec=1"]);
    assert_eq!(a.formats(1), ["96", "97", "102", "103", "108", "109", "116", "117"]);
    assert_eq!(a.lines(1, "rtcp-fb")[..4], ["96 transport-cc", "96 ccm fir", "96 nack", "96 nack pli"]);
    assert!(!a.text.contains("goog-remb"));
    assert!(
        a.lines(1, "fmtp")
            .contains(&"108 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f")
    );
    assert_eq!(a.lines(1, "rid"), ["q recv", "h recv", "f recv"]);
    assert_eq!(a.lines(1, "simulcast"), ["recv q;h;f"]);
    assert_eq!(a.lines(1, "extmap").len(), 5);
    assert!(a.lines(1, "extmap").iter().all(|e| !e.contains("abs-send-time")));
}

#[test]
fn chromium_call_slots() {
    let a = answered(CHROMIUM_CALL);
    assert_eq!(a.session.slots.len(), 9);
    for (n, slot) in a.session.slots.iter().enumerate() {
        let audio = slot.audio.as_ref().unwrap();
        let audio_index = if n < 6 { 2 + 2 * n } else { 8 + n };
        assert_eq!(audio.mid, audio_index.to_string());
        assert_eq!((audio.ssrc, audio.rtx_ssrc), (1_000 + 2 * audio_index as u32, None));
        assert_eq!(a.direction(audio_index), "sendonly");
        let msid = format!("slot-{n} audio-{n}");
        assert_eq!(a.lines(audio_index, "msid"), [&msid]);
        let ssrc = audio.ssrc;
        assert_eq!(
            a.lines(audio_index, "ssrc"),
            [format!("{ssrc} cname:trunkline"), format!("{ssrc} msid:{msid}")]
        );
        assert_eq!(slot.video.is_some(), n < 6);
    }
    let video = a.session.slots[1].video.as_ref().unwrap();
    assert_eq!((video.mid.as_str(), video.ssrc, video.rtx_ssrc), ("5", 1_010, Some(1_011)));
    assert_eq!(video.codecs[0], VP8_96);
    assert_eq!(a.lines(5, "msid"), ["slot-1 video-1"]);
    assert_eq!(a.lines(5, "ssrc-group"), ["FID 1010 1011"]);
    assert_eq!(a.lines(5, "ssrc").len(), 4);
    assert_eq!(
        a.lines(5, "extmap"),
        ["13 urn:3gpp:video-orientation", "4 urn:ietf:params:rtp-hdrext:sdes:mid"]
    );
    assert!(a.lines(5, "rtcp-fb").iter().all(|f| !f.contains("transport-cc")));
    assert!(a.lines(2, "rtcp-fb").contains(&"111 nack"));
}

#[test]
fn chromium_call_transport() {
    let a = answered(CHROMIUM_CALL);
    assert_eq!(a.bundle(), (0..17).map(|n| n.to_string()).collect::<Vec<_>>());
    let session_level: Vec<_> = a.sdp.attributes.iter().map(|x| x.key.as_str()).collect();
    assert_eq!(session_level, ["group", "msid-semantic", "ice-lite", "extmap-allow-mixed"]);
    assert!(a.text.starts_with("v=0\r\no=- 9223372036854775807 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n"));
    assert!(!a.text.contains("trickle"));
    assert_eq!(
        a.lines(0, "candidate"),
        ["1 1 udp 2130706431 192.0.2.1 3478 typ host", "2 1 udp 2130706175 2001:db8::1 3478 typ host"]
    );
    assert!(a.has(0, "end-of-candidates"));
    for index in 0..17 {
        assert_eq!(a.port(index), 3478);
        assert_eq!(a.lines(index, "ice-ufrag"), ["srvufrag"]);
        assert_eq!(a.lines(index, "setup"), ["passive"]);
        assert!(a.has(index, "rtcp-mux") && a.has(index, "rtcp-rsize"));
        assert!(a.lines(index, "fingerprint")[0].starts_with("sha-256 A5:A5:"));
        assert_eq!(a.has(index, "candidate"), index == 0);
    }
    assert!(a.text.contains("c=IN IP4 192.0.2.1\r\n"));
}

#[test]
fn chromium_plain_rejects_the_data_channel_and_keeps_the_inactive_one() {
    let a = answered(CHROMIUM_PLAIN);
    assert_eq!([a.direction(0), a.direction(1), a.direction(2)], ["recvonly", "recvonly", "inactive"]);
    assert_eq!([a.port(2), a.port(3)], [3478, 0]);
    assert_eq!(a.formats(3), ["webrtc-datachannel"]);
    assert_eq!(a.bundle(), ["0", "1", "2"]);
    assert_eq!(a.session.tracks.len(), 2);
    assert_eq!(a.session.tracks[1].ssrcs, [(1_121_067_035, Some(2_553_866_332))]);
    assert!(a.session.tracks[1].rids.is_empty() && a.session.slots.is_empty());
}

#[test]
fn whep_with_video_first_is_one_slot() {
    for offer in [CHROMIUM_WHEP, AIORTC_WHEP] {
        let a = answered(offer);
        assert!(a.session.tracks.is_empty());
        let [slot] = &a.session.slots[..] else { panic!("{:?}", a.session.slots) };
        assert_eq!(slot.video.as_ref().unwrap().mid, "0");
        assert_eq!(slot.audio.as_ref().unwrap().mid, "1");
        assert_eq!(
            (a.lines(0, "msid"), a.lines(1, "msid")),
            (vec!["slot-0 video-0"], vec!["slot-0 audio-0"])
        );
    }
}

#[test]
fn opus_only() {
    let a = answered(CHROMIUM_AUDIO);
    let [track] = &a.session.tracks[..] else { panic!("{:?}", a.session.tracks) };
    assert_eq!(track.codecs, [OPUS_111]);
    let dtx = answered(&CHROMIUM_AUDIO.replace("useinbandfec=1", "useinbandfec=1;usedtx=1"));
    assert_eq!(dtx.lines(0, "fmtp"), ["111 minptime=10;useinbandfec=1;usedtx=1"]);
}

#[test]
fn aiortc_whip() {
    let a = answered(AIORTC_WHIP);
    let [audio, video] = &a.session.tracks[..] else { panic!("{:?}", a.session.tracks) };
    assert_eq!(audio.ssrcs, [(1_478_135_343, None)]);
    assert_eq!(video.ssrcs, [(3_525_845_156, Some(2_664_314_932))]);
    let payload_types: Vec<_> = video.codecs.iter().map(|c| (c.payload_type, c.rtx_payload_type)).collect();
    assert_eq!(payload_types, [(97, Some(98)), (99, Some(100)), (101, Some(102))]);
    assert_eq!(a.session.remote_fingerprint[..2], [0x19, 0x09], "the SHA-256 one of three");
    assert_eq!(a.lines(1, "rtcp-fb")[..2], ["97 nack", "97 nack pli"], "no more than was offered");
    assert!(!a.has(1, "rtcp-rsize"));
    assert_eq!(a.session.extensions.transport_cc, None);
}

#[test]
fn firefox_shape() {
    let a = answered(FIREFOX_CALL);
    assert_eq!(a.bundle(), ["0", "1", "2", "3"], "port 0 with bundle-only is offered");
    assert_eq!(a.session.remote_fingerprint[..2], [0x8d, 0xa4], "from the session part");
    assert_eq!(a.session.tracks[1].rids, ["q", "h", "f"]);
    assert_eq!(a.session.extensions.rid, Some(8));
    assert!(a.lines(1, "extmap").contains(&"8/recvonly urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id"));
    assert_eq!(a.formats(1), ["120", "124", "126", "127"], "97 has packetization mode 0");
    assert_eq!(a.session.slots.len(), 1);
    assert!(a.has(0, "extmap-allow-mixed"));
}

#[test]
fn obs_and_gstreamer_shapes() {
    let a = answered(OBS_WHIP);
    assert_eq!((a.session.remote.ufrag.as_str(), a.session.tracks.len()), ("jVLt", 2));
    assert_eq!(a.session.tracks[1].codecs, [h264(0x42e0, 96, 97)]);
    assert_eq!(a.session.tracks[1].ssrcs, [(1_298_374_622, Some(1_298_374_623))]);
    assert_eq!(a.session.extensions, ExtensionIds::default());
    let a = answered(GSTREAMER_WHIP);
    assert_eq!(a.bundle(), ["video0", "audio1"]);
    assert_eq!(a.lines(1, "rtpmap"), ["98 OPUS/48000/2"]);
    assert_eq!(a.session.extensions, ExtensionIds { transport_cc: Some(1), ..Default::default() });
}

#[test]
fn vp8_goes_before_h264_where_the_client_sends_and_nowhere_else() {
    let swap = |offer: &str| offer.replace("SAVPF 97 98 99 100 101 102", "SAVPF 99 100 97 98 101 102");
    let a = answered(&swap(AIORTC_WHIP));
    assert_eq!(a.formats(1), ["97", "98", "99", "100", "101", "102"]);
    let a = answered(&swap(AIORTC_WHEP));
    assert_eq!(a.formats(0), ["99", "100", "97", "98", "101", "102"]);
}

#[test]
fn roles_of_dtls() {
    for (setup, client_is_dtls_client, answer) in
        [("actpass", true, "passive"), ("active", true, "passive"), ("passive", false, "active")]
    {
        let a = answered(&CHROMIUM_AUDIO.replace("setup:actpass", &format!("setup:{setup}")));
        assert_eq!(
            (a.session.client_is_dtls_client, a.lines(0, "setup")),
            (client_is_dtls_client, vec![answer])
        );
    }
    assert!(answered(&CHROMIUM_AUDIO.replace("a=setup:actpass\r\n", "")).session.client_is_dtls_client);
}

#[test]
fn without_candidates_there_is_still_an_answer() {
    let (_, text) = answer(CHROMIUM_AUDIO, &LocalParameters { candidates: vec![], ..local() }).unwrap();
    assert!(text.contains("m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\n"));
}

#[test]
fn uneven_slots() {
    let reversed = AIORTC_WHEP.replace("m=audio", "m=text");
    let a = answered(&reversed);
    assert!(a.session.slots[0].audio.is_none() && a.session.slots[0].video.is_some());
    assert_eq!((a.port(1), a.bundle()), (0, vec!["0"]));
}

#[test]
fn a_rejected_first_section_does_not_stand_for_the_bundle() {
    let a = answered(&AIORTC_WHIP.replace("96 opus/48000/2", "96 speex/16000"));
    assert_eq!((a.port(0), a.bundle()), (0, vec!["1"]));
    assert!(!a.has(0, "candidate") && a.has(1, "candidate"));
    let stopped = AIORTC_WHIP.replace("m=audio 56642", "m=audio 0");
    assert_eq!(answered(&stopped).bundle(), ["1"], "port 0 without bundle-only");
}

#[test]
fn extension_ids_mean_one_thing_in_the_bundle() {
    let uri = "urn:ietf:params:rtp-hdrext:sdes:mid";
    // The video section gives mid another id, and audio's id of mid to something else.
    let (audio, video) = AIORTC_WHIP.split_once("m=video").unwrap();
    let offer =
        format!("{audio}m=video{}", video.replace(&format!("extmap:1 {uri}"), &format!("extmap:9 {uri}")));
    let a = answered(&offer);
    assert_eq!(a.session.extensions.mid, Some(1));
    assert!(!a.has(1, "extmap"));
    let offer = format!(
        "{audio}m=video{}",
        video.replace(&format!("extmap:1 {uri}"), "extmap:1 urn:3gpp:video-orientation")
    );
    assert_eq!(answered(&offer).session.extensions.video_orientation, None);
    let high = answered(&CHROMIUM_AUDIO.replace("extmap:1 ", "extmap:15 "));
    assert_eq!(high.session.extensions.audio_level, None, "not an id of the one-byte form");
}

#[test]
fn simulcast_forms() {
    let with = |line: &str| FIREFOX_CALL.replace("simulcast:send q;h;f", &format!("simulcast:{line}"));
    let rids = |line: &str| answer(&with(line), &local()).map(|(s, _)| s.tracks[1].rids.clone());
    assert_eq!(rids("send q,h;~f").unwrap(), ["q", "f"]);
    assert_eq!(rids("recv a;b send h").unwrap(), ["h"]);
    assert_eq!(rids("recv a").unwrap(), [] as [&str; 0]);
    for (line, why) in [
        ("send q;x", "without its"),
        ("send q;q", "twice"),
        ("send q;;f", "1–16"),
        ("send q;h-1", "1–16"),
        ("send", "not `send|recv"),
        ("rid=q;h", "not `send|recv"),
    ] {
        let error = rids(line).unwrap_err();
        assert!(matches!(error, NegotiationError::PeerMisbehaved { place: Place::Section(1), .. }), "{line}");
        assert!(error.to_string().contains(why), "{line}: {error}");
    }
    let four = with("send q;h;f;x").replace("a=rid:f send", "a=rid:f send\r\na=rid:x send");
    assert_eq!(refused(&four), Place::Section(1).limit("simulcast layers", 3));
    let no_rid_extension = with("send q;h;f").replace("rtp-stream-id", "something-else");
    assert!(answered(&no_rid_extension).session.tracks[1].rids.is_empty());
}

#[test]
fn refusals_say_where_and_why() {
    let pwd = "a=ice-pwd:kXV54fKFKNh5ZlurHSb6He8K";
    let edit = |from: &str, to: &str| {
        assert!(CHROMIUM_CALL.contains(from), "{from}");
        CHROMIUM_CALL.replacen(from, to, 1)
    };
    let cases = [
        (String::new(), Place::Session, "not a session description"),
        ("v=0\r\nnonsense".to_owned(), Place::Session, "not a session description"),
        (edit("a=group:BUNDLE", "a=group:LS"), Place::Session, "no BUNDLE group"),
        (edit("BUNDLE 0 1", "BUNDLE 0 0 1"), Place::Session, "twice"),
        (edit("BUNDLE 0 1", "BUNDLE 0 99 1"), Place::Session, "no section has"),
        (edit("BUNDLE 0 1 2", "BUNDLE 0 2"), Place::Section(1), "not in the BUNDLE group"),
        (edit("a=mid:1\r\n", "a=mid:2\r\n"), Place::Section(2), "another section"),
        (edit("a=mid:1\r\n", "a=mid:one\r\n"), Place::Section(1), "not in"),
        (edit("a=mid:1\r\n", "a=mid:a b\r\n"), Place::Section(1), "token"),
        (edit("a=mid:0\r\n", ""), Place::Section(0), "no mid"),
        (edit("a=rtcp-mux\r\n", ""), Place::Section(0), "rtcp-mux"),
        (edit("m=audio 9 UDP/TLS/RTP/SAVPF", "m=audio 9 RTP/AVP"), Place::Section(0), "protocol"),
        (edit("SAVPF 111 63", "SAVPF 111 111"), Place::Section(0), "twice"),
        (edit("SAVPF 111 63", "SAVPF 111 163"), Place::Section(0), "0–127"),
        (edit("a=rtpmap:111", "a=rtpmap:x"), Place::Section(0), "rtpmap"),
        (edit("a=fmtp:111", "a=fmtp:"), Place::Section(0), "fmtp"),
        (edit("a=ice-ufrag:y5kQ", "a=ice-ufrag:y5k"), Place::Section(0), "ice-ufrag"),
        (edit("a=ice-ufrag:y5kQ", "a=ice-ufrag:y5k:Q"), Place::Section(0), "ice-ufrag"),
        (edit(pwd, ""), Place::Section(0), "no a=ice-pwd"),
        (edit(pwd, "a=ice-pwd:short"), Place::Section(0), "ice-pwd"),
        (edit("fingerprint:sha-256", "fingerprint:sha-1"), Place::Section(0), "no a=fingerprint"),
        (edit("8D:A4:", "8D:"), Place::Section(0), "32 hexadecimal"),
        (edit("8D:A4:", "8D:A4:A4:"), Place::Section(0), "32 hexadecimal"),
        (edit("8D:A4:", "8D:+4:"), Place::Section(0), "32 hexadecimal"),
        (edit("a=setup:actpass", "a=setup:holdconn"), Place::Section(0), "holdconn"),
        (edit("a=setup:actpass", "a=setup:whatever"), Place::Section(0), "RFC 4145"),
        (edit("a=extmap:1 ", "a=extmap:one "), Place::Section(0), "extmap"),
        (edit("a=ssrc:4155640562 cname", "a=ssrc:-1 cname"), Place::Section(0), "SSRC"),
    ];
    for (offer, place, why) in &cases {
        let error = refused(offer);
        let text = error.to_string();
        assert!(text.contains(why) && text.starts_with(&place.to_string()), "{why}: {text}");
    }
    assert!(matches!(refused(&cases[9].0), NegotiationError::PeerMisbehaved { .. }), "no mid");
    assert!(matches!(refused(&cases[10].0), NegotiationError::PeerIncompatible { .. }), "no rtcp-mux");
    let shared = AIORTC_WHIP.replace("3525845156", "1478135343");
    assert_eq!(refused(&shared).to_string(), "section 1 of the offer: one of its SSRCs is declared twice");
    let nothing = CHROMIUM_AUDIO.replace("opus/48000/2", "opus/48000/1");
    assert!(refused(&nothing).to_string().contains("no section has a codec"));
}

#[test]
fn limits() {
    let long = format!("{CHROMIUM_CALL}a=x:{}\r\n", "y".repeat(OFFER_BYTES_MAX));
    assert_eq!(refused(&long), Place::Session.limit("bytes", OFFER_BYTES_MAX));
    let many = format!("{CHROMIUM_AUDIO}{}", "m=text 0 RTP/AVP 0\r\n".repeat(64));
    assert_eq!(refused(&many), Place::Session.limit("sections", 64));
    // The parser takes a bare CR for a line's end too.
    let hidden = format!("{CHROMIUM_AUDIO}{}", "\rm=text 0 RTP/AVP 0\n".repeat(64));
    assert_eq!(refused(&hidden), Place::Session.limit("sections", 64));
    let ssrcs: String = (0..17).map(|n| format!("a=ssrc:{n} cname:x\r\n")).collect();
    assert_eq!(refused(&format!("{CHROMIUM_AUDIO}{ssrcs}")), Place::Section(0).limit("SSRCs", 16));
}

#[test]
fn the_same_offer_gives_the_same_answer() {
    for offer in ALL {
        assert_eq!(answer(offer, &local()).unwrap(), answer(offer, &local()).unwrap());
    }
}

/// What must hold of any answer.
fn check(offer: &str, a: &Parsed) {
    let offered = SessionDescription::unmarshal(&mut std::io::Cursor::new(offer.as_bytes())).unwrap();
    assert_eq!(a.sdp.media_descriptions.len(), offered.media_descriptions.len(), "one section for each");
    let bundle: BTreeSet<&str> = a.bundle().into_iter().collect();
    let mut tagged = 0;
    for (index, section) in a.sdp.media_descriptions.iter().enumerate() {
        assert_eq!(section.media_name.media, offered.media_descriptions[index].media_name.media);
        assert!(!section.media_name.formats.is_empty());
        let accepted = a.port(index) != 0;
        let mid = a.lines(index, "mid");
        assert_eq!(accepted, mid.first().is_some_and(|mid| bundle.contains(mid)));
        tagged += a.lines(index, "end-of-candidates").len();
    }
    assert_eq!(tagged, 1);
    let receivers = a.session.slots.iter().flat_map(|s| [&s.audio, &s.video]).flatten();
    let ssrcs: Vec<u32> = receivers.clone().flat_map(|r| [Some(r.ssrc), r.rtx_ssrc]).flatten().collect();
    assert_eq!(ssrcs.len(), ssrcs.iter().collect::<BTreeSet<_>>().len(), "no SSRC twice");
    assert!(receivers.clone().all(|r| !r.codecs.is_empty()));
    assert!(a.session.slots.iter().all(|s| s.audio.is_some() || s.video.is_some()));
    for track in &a.session.tracks {
        assert!(!track.codecs.is_empty() && track.rids.len() <= RIDS_MAX);
        assert!(track.rids.is_empty() || a.session.extensions.rid.is_some());
    }
}

#[test]
fn invariants_of_every_fixture() {
    for offer in ALL {
        check(offer, &answered(offer));
        let unix = offer.replace("\r\n", "\n");
        assert_eq!(answered(&unix).text, answered(offer).text, "bare line feeds are taken");
    }
}

/// Edits of an offer's text; positions and lines are taken modulo its length.
#[derive(Clone, Debug)]
enum Edit {
    DeleteLine(usize),
    RepeatLine(usize, usize),
    SwapLines(usize, usize),
    Replace(usize, char),
    Insert(usize, String),
    Truncate(usize),
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let word = prop_oneof![
        Just("a=simulcast:send ;~".to_owned()),
        Just("a=rid:q send\r\n".to_owned()),
        Just("a=sendonly\r\n".to_owned()),
        Just("a=recvonly\r\n".to_owned()),
        Just("a=bundle-only\r\n".to_owned()),
        Just("a=rtcp-fb:* nack\r\n".to_owned()),
        Just("a=ssrc-group:FID 1\r\n".to_owned()),
        Just("m=video 0 RTP/SAVPF\r\n".to_owned()),
        Just("99999999999".to_owned()),
        "[ -~]{0,6}",
        "\\PC{0,3}",
    ];
    let edit = prop_oneof![
        any::<usize>().prop_map(Edit::DeleteLine),
        any::<(usize, usize)>().prop_map(|(a, b)| Edit::RepeatLine(a, b)),
        any::<(usize, usize)>().prop_map(|(a, b)| Edit::SwapLines(a, b)),
        (any::<usize>(), prop_oneof![any::<char>(), prop::char::range(' ', '~')])
            .prop_map(|(at, c)| Edit::Replace(at, c)),
        (any::<usize>(), word).prop_map(|(at, word)| Edit::Insert(at, word)),
        any::<usize>().prop_map(Edit::Truncate),
    ];
    proptest::collection::vec(edit, 1..8)
}

fn apply(offer: &str, edits: &[Edit]) -> String {
    let mut text = offer.to_owned();
    for edit in edits {
        let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
        let chars = text.chars().count();
        if chars == 0 {
            return text;
        }
        let byte = |at: usize| text.char_indices().nth(at % chars).map_or(0, |(byte, _)| byte);
        text = match edit {
            Edit::DeleteLine(n) => {
                lines.remove(n % lines.len());
                lines.concat()
            }
            Edit::RepeatLine(n, to) => {
                let line = lines[n % lines.len()];
                lines.insert(to % lines.len(), line);
                lines.concat()
            }
            Edit::SwapLines(a, b) => {
                let len = lines.len();
                lines.swap(a % len, b % len);
                lines.concat()
            }
            Edit::Replace(at, c) => {
                let (head, tail) = text.split_at(byte(*at));
                head.chars().chain([*c]).chain(tail.chars().skip(1)).collect()
            }
            Edit::Insert(at, word) => {
                let (head, tail) = text.split_at(byte(*at));
                format!("{head}{word}{tail}")
            }
            Edit::Truncate(at) => text[..byte(*at)].to_owned(),
        };
    }
    text
}

proptest! {
    #[test]
    fn edited_offers_are_answered_soundly_or_refused(which in 0..ALL.len(), edits in edits()) {
        let offer = apply(ALL[which], &edits);
        if answer(&offer, &local()).is_ok() {
            check(&offer, &answered(&offer));
        }
    }

    #[test]
    fn any_text_is_refused_without_a_panic(text in "\\PC{0,200}", lines in "([a-z]=[ -~]{0,20}\n){0,20}") {
        let _ = answer(&text, &local());
        let _ = answer(&format!("v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n{lines}"), &local());
    }
}
