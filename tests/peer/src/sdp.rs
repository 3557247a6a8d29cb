//! The peer's offers, and the few lines of an answer that it needs.

use std::fmt::Write;

use crate::{PeerSpec, extension};

/// Payload type of Opus.
pub const AUDIO_PT: u8 = 111;
/// Payload type of VP8.
pub const VIDEO_PT: u8 = 96;
/// Payload type of VP8's RTX.
pub const RTX_PT: u8 = 97;
pub(crate) const UFRAG: &str = "peerufrag";
const PWD: &str = "peerpasswordpeerpassword";

pub(crate) fn offer(spec: &PeerSpec, fingerprint: &[u8; 32], video_ssrc: Option<(u32, u32)>) -> String {
    let mut sections: Vec<(bool, bool)> = Vec::new(); // (audio, sends)
    if spec.audio {
        sections.push((true, true));
    }
    if spec.video {
        sections.push((false, true));
    }
    for _ in 0..spec.slots {
        sections.extend([(true, false), (false, false)]);
    }
    let mids: Vec<String> = (0..sections.len()).map(|n| n.to_string()).collect();
    let hex: Vec<String> = fingerprint.iter().map(|b| format!("{b:02X}")).collect();
    let mut sdp = format!(
        "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE {}\r\na=extmap-allow-mixed\r\n",
        mids.join(" ")
    );
    for ((audio, sends), mid) in sections.iter().zip(&mids) {
        let direction = if *sends { "sendonly" } else { "recvonly" };
        let (kind, payloads) = if *audio { ("audio", "111") } else { ("video", "96 97") };
        let _ = write!(
            sdp,
            "m={kind} 9 UDP/TLS/RTP/SAVPF {payloads}\r\nc=IN IP4 0.0.0.0\r\na=mid:{mid}\r\na={direction}\r\n\
             a=ice-ufrag:{UFRAG}\r\na=ice-pwd:{PWD}\r\na=fingerprint:sha-256 {}\r\na=setup:actpass\r\n\
             a=rtcp-mux\r\na=rtcp-rsize\r\n\
             a=extmap:{} urn:ietf:params:rtp-hdrext:sdes:mid\r\n\
             a=extmap:{} http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01\r\n",
            hex.join(":"),
            extension::MID,
            extension::TRANSPORT_CC,
        );
        if *audio {
            let _ = write!(
                sdp,
                "a=extmap:{} urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\na=rtpmap:111 opus/48000/2\r\n",
                extension::AUDIO_LEVEL
            );
        } else {
            let _ = write!(
                sdp,
                "a=extmap:{} urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id\r\n\
                 a=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 nack\r\na=rtcp-fb:96 nack pli\r\n\
                 a=rtcp-fb:96 transport-cc\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n",
                extension::RID
            );
            if *sends && !spec.rids.is_empty() {
                for rid in &spec.rids {
                    let _ = write!(sdp, "a=rid:{rid} send\r\n");
                }
                let _ = write!(sdp, "a=simulcast:send {}\r\n", spec.rids.join(";"));
            } else if let (true, Some((media, rtx))) = (*sends, video_ssrc) {
                let _ = write!(
                    sdp,
                    "a=ssrc-group:FID {media} {rtx}\r\na=ssrc:{media} cname:peer\r\na=ssrc:{rtx} cname:peer\r\n"
                );
            }
        }
    }
    sdp
}

pub(crate) struct Answer {
    pub(crate) ufrag: String,
    pub(crate) pwd: String,
    pub(crate) fingerprint: [u8; 32],
    /// (slot, kind, ssrc, its rtx)
    pub(crate) streams: Vec<(usize, &'static str, u32, Option<u32>)>,
}

/// Reads an answer of ours; panics if a line is missing, for the tests to fail.
pub(crate) fn parse_answer(sdp: &str) -> Answer {
    let value = |prefix: &str| {
        sdp.lines()
            .find_map(|l| l.strip_prefix(prefix))
            .unwrap_or_else(|| missing(prefix, sdp))
            .trim()
            .to_owned()
    };
    let hex = value("a=fingerprint:sha-256 ");
    let mut fingerprint = [0; 32];
    for (byte, text) in fingerprint.iter_mut().zip(hex.split(':')) {
        *byte = u8::from_str_radix(text, 16).expect("two hex digits");
    }
    let mut streams = Vec::new();
    for section in sdp.split("\r\nm=").skip(1) {
        let kind = if section.starts_with("audio") { "audio" } else { "video" };
        let Some(slot) = section.lines().find_map(|l| l.strip_prefix("a=msid:slot-")) else { continue };
        let slot = slot.split(' ').next().and_then(|n| n.parse().ok()).expect("a slot's number");
        let ssrc = section.lines().find_map(|l| l.strip_prefix("a=ssrc:")).expect("our SSRC");
        let ssrc = ssrc.split(' ').next().and_then(|n| n.parse().ok()).expect("a number");
        let rtx = section
            .lines()
            .find_map(|l| l.strip_prefix("a=ssrc-group:FID "))
            .and_then(|l| l.split(' ').nth(1))
            .and_then(|n| n.trim().parse().ok());
        streams.push((slot, kind, ssrc, rtx));
    }
    Answer { ufrag: value("a=ice-ufrag:"), pwd: value("a=ice-pwd:"), fingerprint, streams }
}

#[allow(clippy::panic)] // a test's helper
fn missing(prefix: &str, sdp: &str) -> &'static str {
    panic!("no line {prefix} in {sdp}")
}
