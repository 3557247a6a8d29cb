//! What becomes of each section, decided in one pass over the offer.

use super::extensions::{Agreed, Known, Registry};
use super::offer::{Direction, Media, Offer, Section, TransportAttributes};
use super::{NegotiationError, Place, codecs};
use crate::session::{
    CodecMapping, ExtensionIds, IceCredentials, LocalParameters, MediaKind, NegotiatedSession,
    PublishedTrack, ReceiveSection, Slot,
};

/// What the answer says of one section.
pub(super) enum Decision {
    Rejected,
    Inactive {
        codecs: Vec<CodecMapping>,
        extensions: Vec<Agreed>,
    },
    /// The client sends.
    Published {
        track: PublishedTrack,
        extensions: Vec<Agreed>,
    },
    /// We send, into slot number `slot`.
    Received {
        kind: MediaKind,
        section: ReceiveSection,
        slot: usize,
        extensions: Vec<Agreed>,
    },
}

impl Decision {
    pub(super) fn is_accepted(&self) -> bool {
        !matches!(self, Decision::Rejected)
    }
}

pub(super) struct Plan {
    /// One for each section of the offer.
    pub decisions: Vec<Decision>,
    /// Index of the section that stands for the bundle: the first accepted one of the group (RFC 9143 §7.3.1).
    pub tagged: usize,
    /// Whether the client will be the DTLS client.
    pub client_is_dtls_client: bool,
    remote: IceCredentials,
    remote_fingerprint: [u8; 32],
    extensions: ExtensionIds,
}

impl Plan {
    pub(super) fn new(offer: &Offer, local: &LocalParameters) -> Result<Self, NegotiationError> {
        let mut registry = Registry::default();
        let mut next_slot = [0; 2];
        let decisions: Vec<Decision> = offer
            .sections
            .iter()
            .enumerate()
            .map(|(index, section)| match (section.media(), &section.mid) {
                (Some(media), Some(mid)) => {
                    let ssrc = local.ssrc_base.wrapping_add(2 * index as u32);
                    decide(media, mid, ssrc, &mut registry, &mut next_slot)
                }
                _ => Decision::Rejected,
            })
            .collect();
        let (tagged, section, media) = tagged(offer, &decisions)
            .ok_or(Place::Session.incompatible("no section has a codec that we forward"))?;
        let (place, transport) = (section.place, &media.transport);
        Ok(Plan {
            tagged,
            client_is_dtls_client: client_is_dtls_client(place, transport, &offer.transport)?,
            remote: ice_credentials(place, transport, &offer.transport)?,
            remote_fingerprint: fingerprint(place, transport, &offer.transport)?,
            extensions: registry.ids(),
            decisions,
        })
    }

    pub(super) fn into_session(self, local: &LocalParameters) -> NegotiatedSession {
        let mut tracks = Vec::new();
        let mut slots: Vec<Slot> = Vec::new();
        for decision in self.decisions {
            match decision {
                Decision::Published { track, .. } => tracks.push(track),
                Decision::Received { kind, section, slot, .. } => {
                    if slots.len() <= slot {
                        slots.resize(slot + 1, Slot { audio: None, video: None });
                    }
                    let half = match kind {
                        MediaKind::Audio => &mut slots[slot].audio,
                        MediaKind::Video => &mut slots[slot].video,
                    };
                    *half = Some(section);
                }
                Decision::Rejected | Decision::Inactive { .. } => {}
            }
        }
        NegotiatedSession {
            local: local.ice.clone(),
            remote: self.remote,
            remote_fingerprint: self.remote_fingerprint,
            client_is_dtls_client: self.client_is_dtls_client,
            tracks,
            slots,
            extensions: self.extensions,
        }
    }
}

fn decide(
    media: &Media,
    mid: &str,
    ssrc: u32,
    registry: &mut Registry,
    next_slot: &mut [usize; 2],
) -> Decision {
    let kind = media.kind;
    let client_sends = matches!(media.direction, Direction::SendOnly | Direction::SendRecv);
    let codecs = codecs::accept(kind, &media.payloads, client_sends);
    if codecs.is_empty() {
        return Decision::Rejected;
    }
    let extensions = registry.agree(&media.extensions, kind, client_sends);
    match media.direction {
        Direction::Inactive => Decision::Inactive { codecs, extensions },
        Direction::SendOnly | Direction::SendRecv => {
            // Without the extension that carries a rid its layers could not be told apart.
            let simulcast = extensions.iter().any(|e| e.known == Known::Rid);
            let rids = if simulcast { media.rids.clone() } else { Vec::new() };
            let ssrcs = if rids.is_empty() { media.ssrcs.clone() } else { Vec::new() };
            let track = PublishedTrack { mid: mid.to_owned(), kind, codecs, rids, ssrcs };
            Decision::Published { track, extensions }
        }
        Direction::RecvOnly => {
            let next = &mut next_slot[usize::from(kind == MediaKind::Video)];
            let slot = *next;
            *next += 1;
            let rtx = codecs.iter().any(|c| c.rtx_payload_type.is_some());
            let rtx_ssrc = rtx.then_some(ssrc.wrapping_add(1));
            let section = ReceiveSection { mid: mid.to_owned(), ssrc, rtx_ssrc, codecs };
            Decision::Received { kind, section, slot, extensions }
        }
    }
}

/// The first accepted section in the order of the BUNDLE group.
fn tagged<'o>(offer: &'o Offer, decisions: &[Decision]) -> Option<(usize, &'o Section, &'o Media)> {
    offer.bundle.iter().find_map(|mid| {
        let index = offer.sections.iter().position(|s| s.mid.as_ref() == Some(mid))?;
        let section = &offer.sections[index];
        decisions[index].is_accepted().then_some((index, section, section.media()?))
    })
}

/// The section's own value, or the session's (RFC 8839 §5.4).
fn own_or_session<'t>(
    section: &'t TransportAttributes,
    session: &'t TransportAttributes,
    field: impl Fn(&'t TransportAttributes) -> Option<&'t String>,
) -> Option<&'t str> {
    field(section).or_else(|| field(session)).map(String::as_str)
}

fn ice_credentials(
    place: Place,
    section: &TransportAttributes,
    session: &TransportAttributes,
) -> Result<IceCredentials, NegotiationError> {
    // RFC 8839 §5.4: 4–256 and 22–256 characters of ice-char.
    let valid = |text: &str, min: usize| {
        (min..=256).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'+' || b == b'/')
    };
    let ufrag = own_or_session(section, session, |t| t.ufrag.as_ref())
        .ok_or(place.incompatible("there is no a=ice-ufrag, neither here nor for the session"))?;
    let pwd = own_or_session(section, session, |t| t.pwd.as_ref())
        .ok_or(place.incompatible("there is no a=ice-pwd, neither here nor for the session"))?;
    if !valid(ufrag, 4) {
        return Err(place.misbehaved("a=ice-ufrag is not 4–256 of the characters of RFC 8839 §5.4"));
    }
    if !valid(pwd, 22) {
        return Err(place.misbehaved("a=ice-pwd is not 22–256 of the characters of RFC 8839 §5.4"));
    }
    Ok(IceCredentials { ufrag: ufrag.to_owned(), pwd: pwd.to_owned() })
}

/// The first SHA-256 fingerprint: 32 bytes in hexadecimal with colons between (RFC 8122 §5).
fn fingerprint(
    place: Place,
    section: &TransportAttributes,
    session: &TransportAttributes,
) -> Result<[u8; 32], NegotiationError> {
    let lines = if section.fingerprints.is_empty() { &session.fingerprints } else { &section.fingerprints };
    let text = lines
        .iter()
        .find_map(|line| {
            let (function, text) = line.trim().split_once(' ')?;
            function.eq_ignore_ascii_case("sha-256").then_some(text.trim())
        })
        .ok_or(place.incompatible("there is no a=fingerprint:sha-256, neither here nor for the session"))?;
    let bad = || place.misbehaved("a=fingerprint:sha-256 is not 32 hexadecimal bytes (RFC 8122 §5)");
    let mut bytes = [0; 32];
    let mut pairs = text.split(':');
    for byte in &mut bytes {
        let pair = pairs.next().filter(|p| p.len() == 2 && p.bytes().all(|b| b.is_ascii_hexdigit()));
        *byte = u8::from_str_radix(pair.ok_or_else(bad)?, 16).map_err(|_| bad())?;
    }
    if pairs.next().is_some() { Err(bad()) } else { Ok(bytes) }
}

/// RFC 5763 §5 wants `actpass`; RFC 4145 §4.1 says that an offer without `a=setup` means `active`.
fn client_is_dtls_client(
    place: Place,
    section: &TransportAttributes,
    session: &TransportAttributes,
) -> Result<bool, NegotiationError> {
    match own_or_session(section, session, |t| t.setup.as_ref()) {
        None | Some("actpass" | "active") => Ok(true),
        Some("passive") => Ok(false),
        Some("holdconn") => Err(place.incompatible("a=setup:holdconn asks for no connection")),
        Some(_) => Err(place.misbehaved("a=setup is none of RFC 4145's words")),
    }
}
