//! The offer as types: parsed once, checked line by line, nothing decided.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Cursor;

use rtc_sdp::description::common::Attribute;
use rtc_sdp::description::media::{MediaDescription, MediaName};
use rtc_sdp::description::session::SessionDescription;

use super::codecs::Payload;
use super::extensions::Extmap;
use super::{
    MID_LEN_MAX, NegotiationError, OFFER_BYTES_MAX, Place, SECTION_SSRCS_MAX, SECTIONS_MAX, simulcast,
};
use crate::session::MediaKind;

/// A parsed offer.
pub(super) struct Offer {
    /// Version of the `o=` line.
    pub version: u64,
    /// RFC 8285 §6, for the whole session.
    pub extmap_allow_mixed: bool,
    /// The mids of the BUNDLE group, in its order.
    pub bundle: Vec<String>,
    /// ICE and DTLS attributes before the first section.
    pub transport: TransportAttributes,
    pub sections: Vec<Section>,
}

/// One `m=` section.
pub(super) struct Section {
    pub place: Place,
    pub name: MediaName,
    pub mid: Option<String>,
    pub content: Content,
}

pub(super) enum Content {
    /// Offered as rejected, or neither audio nor video.
    Other,
    Media(Box<Media>),
}

/// An audio or video section over DTLS-SRTP.
pub(super) struct Media {
    pub kind: MediaKind,
    pub direction: Direction,
    pub rtcp_rsize: bool,
    pub extmap_allow_mixed: bool,
    pub transport: TransportAttributes,
    /// In the order of the `m=` line.
    pub payloads: Vec<Payload>,
    pub extensions: Vec<Extmap>,
    /// The rids that `a=simulcast:send` names, first alternatives only.
    pub rids: Vec<String>,
    /// As in `PublishedTrack`.
    pub ssrcs: Vec<(u32, Option<u32>)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    SendRecv,
    SendOnly,
    RecvOnly,
    Inactive,
}

impl Direction {
    pub(super) fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "sendrecv" => Direction::SendRecv,
            "sendonly" => Direction::SendOnly,
            "recvonly" => Direction::RecvOnly,
            "inactive" => Direction::Inactive,
            _ => return None,
        })
    }

    fn find(attributes: &[Attribute]) -> Option<Self> {
        attributes.iter().filter(|a| a.value.is_none()).find_map(|a| Direction::parse(&a.key))
    }
}

/// ICE and DTLS attributes as they stand; they are checked where they are used.
#[derive(Default)]
pub(super) struct TransportAttributes {
    pub ufrag: Option<String>,
    pub pwd: Option<String>,
    pub setup: Option<String>,
    /// (hash function, hexadecimal) of each `a=fingerprint`.
    pub fingerprints: Vec<String>,
}

impl TransportAttributes {
    fn read(attributes: &[Attribute]) -> Self {
        let text = |key: &str| value(attributes, key).map(str::to_owned);
        Self {
            ufrag: text("ice-ufrag"),
            pwd: text("ice-pwd"),
            setup: text("setup"),
            fingerprints: values(attributes, "fingerprint").take(8).map(str::to_owned).collect(),
        }
    }
}

impl Offer {
    pub(super) fn parse(text: &str) -> Result<Self, NegotiationError> {
        if text.len() > OFFER_BYTES_MAX {
            return Err(Place::Session.limit("bytes", OFFER_BYTES_MAX));
        }
        // Counted before the parser makes a description of each.
        if text.lines().filter(|line| line.starts_with("m=")).count() > SECTIONS_MAX {
            return Err(Place::Session.limit("sections", SECTIONS_MAX));
        }
        let sdp = SessionDescription::unmarshal(&mut Cursor::new(text.as_bytes()))
            .map_err(|_| Place::Session.misbehaved("not a session description by RFC 8866"))?;
        let attributes = &sdp.attributes;
        let bundle = bundle_group(attributes)?;
        let direction = Direction::find(attributes).unwrap_or(Direction::SendRecv);
        let sections = sdp
            .media_descriptions
            .iter()
            .enumerate()
            .map(|(index, media)| Section::parse(Place::Section(index), media, direction, &bundle))
            .collect::<Result<Vec<_>, _>>()?;
        if sections.len() > SECTIONS_MAX {
            return Err(Place::Session.limit("sections", SECTIONS_MAX));
        }
        let mut mids = BTreeSet::new();
        for section in &sections {
            if section.mid.as_ref().is_some_and(|mid| !mids.insert(mid)) {
                return Err(section.place.misbehaved("its mid belongs to another section too"));
            }
        }
        if bundle.iter().any(|mid| !mids.contains(mid)) {
            return Err(Place::Session.misbehaved("the BUNDLE group names a mid that no section has"));
        }
        unique_ssrcs(&sections)?;
        Ok(Offer {
            version: sdp.origin.session_version,
            extmap_allow_mixed: has(attributes, "extmap-allow-mixed"),
            transport: TransportAttributes::read(attributes),
            bundle,
            sections,
        })
    }
}

/// The first BUNDLE group; the mids of a group are unique.
fn bundle_group(attributes: &[Attribute]) -> Result<Vec<String>, NegotiationError> {
    let mut groups = values(attributes, "group").map(|group| group.split_ascii_whitespace());
    let Some(mids) = groups.find_map(|mut words| (words.next() == Some("BUNDLE")).then_some(words)) else {
        return Err(Place::Session.incompatible("there is no BUNDLE group (RFC 9143)"));
    };
    let mids: Vec<String> = mids.map(str::to_owned).collect();
    let unique: BTreeSet<&String> = mids.iter().collect();
    if unique.len() < mids.len() {
        return Err(Place::Session.misbehaved("the BUNDLE group names a mid twice"));
    }
    Ok(mids)
}

impl Section {
    fn parse(
        place: Place,
        media: &MediaDescription,
        session_direction: Direction,
        bundle: &[String],
    ) -> Result<Self, NegotiationError> {
        let attributes = &media.attributes;
        let name = media.media_name.clone();
        let mid = value(attributes, "mid").map(str::to_owned);
        if mid.as_deref().is_some_and(|mid| mid.is_empty() || mid.len() > MID_LEN_MAX || !is_token(mid)) {
            return Err(place.misbehaved("its mid is not a token of 1–32 characters"));
        }
        let kind = match name.media.as_str() {
            "audio" => Some(MediaKind::Audio),
            "video" => Some(MediaKind::Video),
            _ => None,
        };
        // RFC 9143 §6: port 0 with bundle-only is offered, without it is rejected.
        let rejected = name.port.value == 0 && !has(attributes, "bundle-only");
        let content = match kind {
            Some(kind) if !rejected => {
                let mid = mid.as_ref().ok_or(place.misbehaved("it has no mid (RFC 9143)"))?;
                if !bundle.contains(mid) {
                    return Err(place.incompatible("it is not in the BUNDLE group (RFC 9143)"));
                }
                Content::Media(Box::new(Media::parse(place, media, kind, session_direction)?))
            }
            _ => Content::Other,
        };
        Ok(Section { place, name, mid, content })
    }

    pub(super) fn media(&self) -> Option<&Media> {
        match &self.content {
            Content::Media(media) => Some(media),
            Content::Other => None,
        }
    }
}

impl Media {
    fn parse(
        place: Place,
        media: &MediaDescription,
        kind: MediaKind,
        session_direction: Direction,
    ) -> Result<Self, NegotiationError> {
        let attributes = &media.attributes;
        if !media.media_name.protos.ends_with(&["RTP".to_owned(), "SAVPF".to_owned()]) {
            return Err(place.incompatible("its protocol is not UDP/TLS/RTP/SAVPF"));
        }
        if !has(attributes, "rtcp-mux") {
            return Err(place.incompatible("it has no rtcp-mux (RFC 5761)"));
        }
        Ok(Media {
            kind,
            direction: Direction::find(attributes).unwrap_or(session_direction),
            rtcp_rsize: has(attributes, "rtcp-rsize"),
            extmap_allow_mixed: has(attributes, "extmap-allow-mixed"),
            transport: TransportAttributes::read(attributes),
            payloads: Payload::read_all(place, media)?,
            extensions: Extmap::read_all(place, attributes)?,
            rids: simulcast::read_rids(place, attributes)?,
            ssrcs: read_ssrcs(place, attributes)?,
        })
    }
}

/// The media SSRCs in the order of the section, each with its RTX SSRC by the FID groups (RFC 4588 §8.8). SSRCs of
/// forward error correction are left out.
fn read_ssrcs(place: Place, attributes: &[Attribute]) -> Result<Vec<(u32, Option<u32>)>, NegotiationError> {
    let bad = place.misbehaved("an a=ssrc or a=ssrc-group line has no valid SSRC (RFC 5576)");
    let number = |text: Option<&str>| text.and_then(|t| t.parse::<u32>().ok()).ok_or_else(|| bad.clone());
    let mut media: Vec<u32> = Vec::new();
    for line in values(attributes, "ssrc") {
        let ssrc = number(line.split_ascii_whitespace().next())?;
        if !media.contains(&ssrc) {
            if media.len() == SECTION_SSRCS_MAX {
                return Err(place.limit("SSRCs", SECTION_SSRCS_MAX));
            }
            media.push(ssrc);
        }
    }
    let mut rtx = BTreeMap::new();
    for line in values(attributes, "ssrc-group") {
        let mut words = line.split_ascii_whitespace();
        let semantics = words.next();
        if !matches!(semantics, Some("FID" | "FEC-FR")) {
            continue;
        }
        let (of, by) = (number(words.next())?, number(words.next())?);
        media.retain(|ssrc| *ssrc != by);
        if semantics == Some("FID") {
            rtx.insert(of, by);
        }
    }
    Ok(media.into_iter().map(|ssrc| (ssrc, rtx.get(&ssrc).copied())).collect())
}

/// One SSRC in two sections would make a packet's track depend on the order of look-up.
fn unique_ssrcs(sections: &[Section]) -> Result<(), NegotiationError> {
    let mut seen = BTreeSet::new();
    for section in sections {
        let ssrcs = section.media().map_or(&[][..], |media| &media.ssrcs);
        for ssrc in ssrcs.iter().flat_map(|(media, rtx)| [Some(*media), *rtx]).flatten() {
            if !seen.insert(ssrc) {
                return Err(section.place.misbehaved("one of its SSRCs is declared twice"));
            }
        }
    }
    Ok(())
}

/// The value of the first attribute `key` that has one.
pub(super) fn value<'a>(attributes: &'a [Attribute], key: &str) -> Option<&'a str> {
    values(attributes, key).next()
}

/// The values of every attribute `key`.
pub(super) fn values<'a>(attributes: &'a [Attribute], key: &str) -> impl Iterator<Item = &'a str> {
    attributes.iter().filter(move |a| a.key == key).filter_map(|a| a.value.as_deref())
}

fn has(attributes: &[Attribute], key: &str) -> bool {
    attributes.iter().any(|a| a.key == key)
}

/// RFC 8866 §9 `token`.
fn is_token(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_graphic() && !b"\"(),/:;<=>?@[\\]".contains(&b))
}
