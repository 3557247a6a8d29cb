//! The answer's text.

use std::net::{IpAddr, SocketAddr};

use rtc_sdp::description::common::{Address, Attribute, ConnectionInformation};
use rtc_sdp::description::media::{MediaDescription, MediaName, RangedPort};
use rtc_sdp::description::session::{Origin, SessionDescription, TimeDescription};

use super::codecs;
use super::extensions::{Agreed, Known};
use super::offer::{Media, Offer, Section};
use super::plan::{Decision, Plan};
use crate::session::{CodecMapping, LocalParameters, ReceiveSection};

/// The canonical name of every stream that we send (RFC 7022 asks only that it is one per endpoint).
const CNAME: &str = "trunkline";
/// The port of a section without a candidate (RFC 8839 §4.3.2).
const DISCARD_PORT: u16 = 9;

pub(super) fn answer(offer: &Offer, plan: &Plan, local: &LocalParameters) -> String {
    let accepted = |mid: &&String| {
        let index = offer.sections.iter().position(|s| s.mid.as_ref() == Some(mid));
        index.is_some_and(|index| plan.decisions[index].is_accepted())
    };
    let mids: Vec<&str> = offer.bundle.iter().filter(accepted).map(String::as_str).collect();
    let mut attributes = Attributes::default();
    attributes.pair("group", format!("BUNDLE {}", mids.join(" ")));
    attributes.pair("msid-semantic", "WMS *");
    attributes.flag("ice-lite");
    if offer.extmap_allow_mixed {
        attributes.flag("extmap-allow-mixed");
    }
    let media_descriptions = offer
        .sections
        .iter()
        .zip(&plan.decisions)
        .enumerate()
        .map(|(index, (section, decision))| describe(index, section, decision, plan, local))
        .collect();
    let sdp = SessionDescription {
        origin: Origin {
            username: "-".to_owned(),
            session_id: local.session_id & (u64::MAX >> 1), // RFC 9429 §5.2.1: 63 bits
            // Grows from answer to answer because it grows from offer to offer.
            session_version: offer.version,
            network_type: "IN".to_owned(),
            address_type: "IP4".to_owned(),
            unicast_address: "127.0.0.1".to_owned(),
        },
        session_name: "-".to_owned(),
        time_descriptions: vec![TimeDescription::default()],
        attributes: attributes.0,
        media_descriptions,
        ..SessionDescription::default()
    };
    sdp.marshal()
}

fn describe(
    index: usize,
    section: &Section,
    decision: &Decision,
    plan: &Plan,
    local: &LocalParameters,
) -> MediaDescription {
    let (Some(media), true) = (section.media(), decision.is_accepted()) else {
        return rejected(section);
    };
    let mut out = Attributes::default();
    if let Some(mid) = &section.mid {
        out.pair("mid", mid);
    }
    transport(&mut out, plan, local);
    if media.extmap_allow_mixed {
        out.flag("extmap-allow-mixed");
    }
    let formats = match decision {
        Decision::Rejected => Vec::new(),
        Decision::Inactive { codecs, extensions } => {
            out.flag("inactive");
            payloads(&mut out, media, codecs, extensions)
        }
        Decision::Published { track, extensions } => {
            out.flag("recvonly");
            let formats = payloads(&mut out, media, &track.codecs, extensions);
            for rid in &track.rids {
                out.pair("rid", format!("{rid} recv"));
            }
            if !track.rids.is_empty() {
                out.pair("simulcast", format!("recv {}", track.rids.join(";")));
            }
            formats
        }
        Decision::Received { section: receive, slot, extensions, .. } => {
            out.flag("sendonly");
            let formats = payloads(&mut out, media, &receive.codecs, extensions);
            streams(&mut out, receive, &format!("slot-{slot} {}-{slot}", section.name.media));
            formats
        }
    };
    if index == plan.tagged {
        candidates(&mut out, &local.candidates);
    }
    let address = local.candidates.first();
    MediaDescription {
        media_name: MediaName {
            port: port(address.map_or(DISCARD_PORT, SocketAddr::port)),
            formats,
            ..section.name.clone()
        },
        connection_information: Some(connection(address.map(SocketAddr::ip))),
        attributes: out.0,
        ..MediaDescription::default()
    }
}

/// Port 0, and the offer's formats because a section must have some (RFC 3264 §6).
fn rejected(section: &Section) -> MediaDescription {
    let mut out = Attributes::default();
    if let Some(mid) = &section.mid {
        out.pair("mid", mid);
    }
    if matches!(section.name.media.as_str(), "audio" | "video") {
        out.flag("inactive");
    }
    MediaDescription {
        media_name: MediaName { port: port(0), ..section.name.clone() },
        connection_information: Some(connection(None)),
        attributes: out.0,
        ..MediaDescription::default()
    }
}

/// ICE and DTLS. They stand in each section: clients look for them there, though the tagged one's count.
fn transport(out: &mut Attributes, plan: &Plan, local: &LocalParameters) {
    out.pair("ice-ufrag", &local.ice.ufrag);
    out.pair("ice-pwd", &local.ice.pwd);
    let hex: Vec<String> = local.fingerprint.iter().map(|byte| format!("{byte:02X}")).collect();
    out.pair("fingerprint", format!("sha-256 {}", hex.join(":")));
    out.pair("setup", if plan.client_is_dtls_client { "passive" } else { "active" });
    out.flag("rtcp-mux");
}

/// Extensions, reduced-size RTCP and payload types; returns the formats of the `m=` line.
fn payloads(
    out: &mut Attributes,
    media: &Media,
    accepted: &[CodecMapping],
    extensions: &[Agreed],
) -> Vec<String> {
    if media.rtcp_rsize {
        out.flag("rtcp-rsize");
    }
    for extension in extensions {
        out.pair("extmap", extension.line());
    }
    let transport_cc = extensions.iter().any(|e| e.known == Known::TransportCc);
    codecs::describe(accepted, &media.payloads, transport_cc, |key, value| out.pair(key, value));
    codecs::formats(accepted)
}

/// What we send: msid, and the SSRCs that the client needs no packet to learn (RFC 5576, RFC 8830).
fn streams(out: &mut Attributes, receive: &ReceiveSection, msid: &str) {
    out.pair("msid", msid);
    if let Some(rtx) = receive.rtx_ssrc {
        out.pair("ssrc-group", format!("FID {} {rtx}", receive.ssrc));
    }
    for ssrc in [Some(receive.ssrc), receive.rtx_ssrc].into_iter().flatten() {
        out.pair("ssrc", format!("{ssrc} cname:{CNAME}"));
        out.pair("ssrc", format!("{ssrc} msid:{msid}"));
    }
}

/// Host candidates over UDP for component 1, the first one preferred (RFC 8445 §5.1.2).
fn candidates(out: &mut Attributes, candidates: &[SocketAddr]) {
    for (index, address) in candidates.iter().enumerate() {
        let preference = 65_535u32.saturating_sub(index as u32);
        let priority = 126 << 24 | preference << 8 | 255;
        let (ip, port) = (address.ip(), address.port());
        out.pair("candidate", format!("{} 1 udp {priority} {ip} {port} typ host", index + 1));
    }
    out.flag("end-of-candidates");
}

fn port(value: u16) -> RangedPort {
    RangedPort { value: value as isize, range: None }
}

fn connection(address: Option<IpAddr>) -> ConnectionInformation {
    let address = address.unwrap_or(IpAddr::from([0, 0, 0, 0]));
    ConnectionInformation {
        network_type: "IN".to_owned(),
        address_type: if address.is_ipv4() { "IP4" } else { "IP6" }.to_owned(),
        address: Some(Address { address: address.to_string(), ttl: None, range: None }),
    }
}

#[derive(Default)]
struct Attributes(Vec<Attribute>);

impl Attributes {
    fn flag(&mut self, key: &str) {
        self.0.push(Attribute::new(key.to_owned(), None));
    }

    fn pair(&mut self, key: &str, value: impl Into<String>) {
        self.0.push(Attribute::new(key.to_owned(), Some(value.into())));
    }
}
