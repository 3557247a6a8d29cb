//! Which of the offered payload types we take, and how the answer describes them.

use rtc_sdp::description::common::Attribute;
use rtc_sdp::description::media::MediaDescription;

use super::offer::values;
use super::{NegotiationError, Place};
use crate::session::{Codec, CodecMapping, MediaKind};

/// One payload type of a section, as offered.
pub(super) struct Payload {
    pub number: u8,
    /// Encoding name, clock rate and channels of `a=rtpmap`; empty without one.
    rtpmap: String,
    /// Parameters of `a=fmtp`.
    fmtp: String,
    /// Values of `a=rtcp-fb`.
    feedback: Vec<String>,
}

impl Payload {
    /// The payload types of the `m=` line, in its order. Lines about others are ignored.
    pub(super) fn read_all(place: Place, media: &MediaDescription) -> Result<Vec<Self>, NegotiationError> {
        let mut payloads: Vec<Payload> = Vec::new();
        for format in &media.media_name.formats {
            let number = format.parse::<u8>().ok().filter(|n| *n < 128);
            let number = number.ok_or(place.misbehaved("a payload type is not 0–127"))?;
            if payloads.iter().any(|p| p.number == number) {
                return Err(place.misbehaved("a payload type is listed twice"));
            }
            payloads.push(Payload {
                number,
                rtpmap: String::new(),
                fmtp: String::new(),
                feedback: Vec::new(),
            });
        }
        let attributes = &media.attributes;
        each(attributes, "rtpmap", |number, value| {
            if let Some(p) = payloads.iter_mut().find(|p| p.number == number) {
                value.clone_into(&mut p.rtpmap);
            }
        })
        .ok_or(place.misbehaved("an a=rtpmap line has no payload type"))?;
        each(attributes, "fmtp", |number, value| {
            if let Some(p) = payloads.iter_mut().find(|p| p.number == number) {
                value.clone_into(&mut p.fmtp);
            }
        })
        .ok_or(place.misbehaved("an a=fmtp line has no payload type"))?;
        for line in values(attributes, "rtcp-fb") {
            let (which, value) = line.split_once(' ').unwrap_or((line, ""));
            let value = value.trim();
            let is_ours = FEEDBACK.contains(&value);
            for p in payloads.iter_mut().filter(|p| which == "*" || which.parse() == Ok(p.number)) {
                if is_ours && !p.feedback.iter().any(|f| f == value) {
                    p.feedback.push(value.to_owned());
                }
            }
        }
        Ok(payloads)
    }

    /// The value of one parameter of `a=fmtp`.
    fn parameter(&self, name: &str) -> Option<&str> {
        self.fmtp.split(';').find_map(|parameter| {
            let (key, value) = parameter.split_once('=')?;
            key.trim().eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    /// Payload type that this one retransmits, if it is RTX (RFC 4588 §8.1).
    fn apt(&self) -> Option<u8> {
        if !self.rtpmap.eq_ignore_ascii_case("rtx/90000") {
            return None;
        }
        self.parameter("apt")?.parse().ok()
    }

    /// What this is, if we forward it.
    fn codec(&self, kind: MediaKind) -> Option<Codec> {
        let is = |name: &str| self.rtpmap.eq_ignore_ascii_case(name);
        match kind {
            MediaKind::Audio if is("opus/48000/2") => Some(Codec::Opus),
            MediaKind::Video if is("VP8/90000") => Some(Codec::Vp8),
            MediaKind::Video if is("H264/90000") => self.h264(),
            _ => None,
        }
    }

    /// Packetization mode 1 in baseline, main or high profile (RFC 6184 §8.1).
    fn h264(&self) -> Option<Codec> {
        if self.parameter("packetization-mode") != Some("1") {
            return None;
        }
        let text = self.profile_level_id();
        if text.len() != 6 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        let profile = (u32::from_str_radix(text, 16).ok()? >> 8) as u16;
        matches!(profile >> 8, 0x42 | 0x4d | 0x64).then_some(Codec::H264 { profile })
    }

    fn profile_level_id(&self) -> &str {
        // RFC 6184 §8.1: without it, baseline profile at level 1.
        self.parameter("profile-level-id").unwrap_or("42000a")
    }
}

/// Calls `f` with the payload type and the rest of each `a=key:` line; `None` if a line begins with no number.
fn each(attributes: &[Attribute], key: &str, mut f: impl FnMut(u8, &str)) -> Option<()> {
    for line in values(attributes, key) {
        let (number, value) = line.split_once(' ').unwrap_or((line, ""));
        f(number.parse().ok()?, value.trim());
    }
    Some(())
}

/// Feedback that we understand (RFC 4585, 5104, transport-wide congestion control).
const FEEDBACK: [&str; 4] = ["transport-cc", "ccm fir", "nack", "nack pli"];

/// The codecs we take of `payloads`. The client's order stays, but with `vp8_first` VP8 goes before H.264: every
/// subscriber takes it, whatever its H.264 profile.
pub(super) fn accept(kind: MediaKind, payloads: &[Payload], vp8_first: bool) -> Vec<CodecMapping> {
    let rtx_of = |number: u8| {
        let rtx = payloads.iter().find(|p| kind == MediaKind::Video && p.apt() == Some(number));
        rtx.map(|p| p.number)
    };
    let mut accepted: Vec<CodecMapping> = payloads
        .iter()
        .filter_map(|p| {
            let codec = p.codec(kind)?;
            Some(CodecMapping { codec, payload_type: p.number, rtx_payload_type: rtx_of(p.number) })
        })
        .collect();
    if vp8_first {
        accepted.sort_by_key(|m| m.codec != Codec::Vp8);
    }
    accepted
}

/// Payload types for the `m=` line of the answer, RTX behind what it repairs.
pub(super) fn formats(accepted: &[CodecMapping]) -> Vec<String> {
    accepted
        .iter()
        .flat_map(|m| [Some(m.payload_type), m.rtx_payload_type])
        .flatten()
        .map(|number| number.to_string())
        .collect()
}

/// Calls `push` with (key, value) of each attribute that describes `accepted`. `transport_cc`: whether this section
/// agreed on transport-wide sequence numbers, without which their feedback means nothing.
pub(super) fn describe(
    accepted: &[CodecMapping],
    payloads: &[Payload],
    transport_cc: bool,
    mut push: impl FnMut(&str, String),
) {
    for mapping in accepted {
        let number = mapping.payload_type;
        let Some(offered) = payloads.iter().find(|p| p.number == number) else { continue };
        push("rtpmap", format!("{number} {}", offered.rtpmap));
        for feedback in FEEDBACK {
            // Opus gets nack though browsers do not offer it: Chromium then keeps audio packets and repeats them.
            let agreed = match (mapping.codec, feedback) {
                (Codec::Opus, "nack") => true,
                (Codec::Opus, "ccm fir" | "nack pli") => false,
                (_, "transport-cc") if !transport_cc => false,
                _ => offered.feedback.iter().any(|f| f == feedback),
            };
            if agreed {
                push("rtcp-fb", format!("{number} {feedback}"));
            }
        }
        match mapping.codec {
            Codec::Opus => {
                let dtx = if offered.parameter("usedtx") == Some("1") { ";usedtx=1" } else { "" };
                push("fmtp", format!("{number} minptime=10;useinbandfec=1{dtx}"));
            }
            Codec::H264 { .. } => {
                let asymmetry = offered.parameter("level-asymmetry-allowed") == Some("1");
                let asymmetry = if asymmetry { "level-asymmetry-allowed=1;" } else { "" };
                let profile = offered.profile_level_id();
                push("fmtp", format!("{number} {asymmetry}packetization-mode=1;profile-level-id={profile}"));
            }
            Codec::Vp8 => {}
        }
        if let Some(rtx) = mapping.rtx_payload_type {
            push("rtpmap", format!("{rtx} rtx/90000"));
            push("fmtp", format!("{rtx} apt={number}"));
        }
    }
}
