//! Header extensions (RFC 8285 §5): which of the offered ones each section agrees on.

use std::collections::BTreeMap;

use rtc_sdp::description::common::Attribute;

use super::offer::{Direction, values};
use super::{NegotiationError, Place};
use crate::session::{ExtensionIds, MediaKind};

/// An extension that we know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Known {
    Mid,
    Rid,
    RepairedRid,
    AudioLevel,
    TransportCc,
    VideoOrientation,
}

const URIS: [(Known, &str); 6] = [
    (Known::Mid, "urn:ietf:params:rtp-hdrext:sdes:mid"),
    (Known::Rid, "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id"),
    (Known::RepairedRid, "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id"),
    (Known::AudioLevel, "urn:ietf:params:rtp-hdrext:ssrc-audio-level"),
    (Known::TransportCc, "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"),
    (Known::VideoOrientation, "urn:3gpp:video-orientation"),
];

impl Known {
    fn uri(self) -> &'static str {
        URIS.iter().find(|(known, _)| *known == self).map_or("", |(_, uri)| uri)
    }

    /// Whether a section of `kind` in which the client sends may have it.
    fn received_in(self, kind: MediaKind) -> bool {
        match self {
            Known::Mid | Known::TransportCc => true,
            Known::AudioLevel => kind == MediaKind::Audio,
            Known::Rid | Known::RepairedRid | Known::VideoOrientation => kind == MediaKind::Video,
        }
    }

    /// Whether a section of `kind` in which we send may have it: what the router may write.
    fn sent_in(self, kind: MediaKind) -> bool {
        match self {
            Known::Mid => true,
            Known::AudioLevel => kind == MediaKind::Audio,
            Known::VideoOrientation => kind == MediaKind::Video,
            Known::Rid | Known::RepairedRid | Known::TransportCc => false,
        }
    }
}

/// An `a=extmap` line of an extension that we know, or one that takes an id away from it.
pub(super) struct Extmap {
    id: u8,
    direction: Direction,
    known: Option<Known>,
}

impl Extmap {
    pub(super) fn read_all(place: Place, attributes: &[Attribute]) -> Result<Vec<Self>, NegotiationError> {
        let bad = || place.misbehaved("an a=extmap line is not `id[/direction] URI` (RFC 8285 §8)");
        let mut all = Vec::new();
        for line in values(attributes, "extmap") {
            let mut words = line.split_ascii_whitespace();
            let (id, uri) = words.next().zip(words.next()).ok_or_else(bad)?;
            let (id, direction) = match id.split_once('/') {
                Some((id, direction)) => (id, Direction::parse(direction).ok_or_else(bad)?),
                None => (id, Direction::SendRecv),
            };
            let id: u32 = id.parse().map_err(|_| bad())?;
            // Only ids of the one-byte form go on the wire; others are not answered.
            if let Some(id) = u8::try_from(id).ok().filter(|id| (1..=14).contains(id)) {
                let known = URIS.iter().find(|(_, known)| *known == uri).map(|(known, _)| *known);
                all.push(Extmap { id, direction, known });
            }
        }
        Ok(all)
    }
}

/// An extension that the answer agrees on in one section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Agreed {
    pub known: Known,
    id: u8,
    /// Said only where the offer said one.
    direction: Option<&'static str>,
}

impl Agreed {
    /// Value of the answer's `a=extmap` line.
    pub(super) fn line(&self) -> String {
        match self.direction {
            Some(direction) => format!("{}/{direction} {}", self.id, self.known.uri()),
            None => format!("{} {}", self.id, self.known.uri()),
        }
    }
}

/// Ids agreed so far in the bundle. One id means one extension in all of its sections, and one extension has one id
/// (RFC 9143 §10): what conflicts with an earlier section is not answered, so it never goes on the wire.
#[derive(Default)]
pub(super) struct Registry {
    by_id: BTreeMap<u8, Known>,
    by_known: BTreeMap<Known, u8>,
}

impl Registry {
    /// What a section of `kind` agrees on. `client_sends`: whether it is one in which the client sends.
    pub(super) fn agree(&mut self, offered: &[Extmap], kind: MediaKind, client_sends: bool) -> Vec<Agreed> {
        let mut agreed: Vec<Agreed> = Vec::new();
        for extmap in offered {
            let Some(known) = extmap.known else { continue };
            let wanted = if client_sends { known.received_in(kind) } else { known.sent_in(kind) };
            let direction = match (extmap.direction, client_sends) {
                (Direction::SendRecv, _) => None,
                (Direction::SendOnly, true) => Some("recvonly"),
                (Direction::RecvOnly, false) => Some("sendonly"),
                _ => continue,
            };
            // RFC 8285 §5: an id means one thing within a section.
            let ambiguous = offered.iter().any(|o| o.id == extmap.id && o.known != Some(known));
            let free = self.by_id.get(&extmap.id).is_none_or(|k| *k == known)
                && self.by_known.get(&known).is_none_or(|id| *id == extmap.id);
            if wanted && free && !ambiguous && agreed.iter().all(|a| a.known != known) {
                self.by_id.insert(extmap.id, known);
                self.by_known.insert(known, extmap.id);
                agreed.push(Agreed { known, id: extmap.id, direction });
            }
        }
        agreed
    }

    pub(super) fn ids(&self) -> ExtensionIds {
        let id = |known: Known| self.by_known.get(&known).copied();
        ExtensionIds {
            mid: id(Known::Mid),
            rid: id(Known::Rid),
            repaired_rid: id(Known::RepairedRid),
            audio_level: id(Known::AudioLevel),
            transport_cc: id(Known::TransportCc),
            video_orientation: id(Known::VideoOrientation),
        }
    }
}
