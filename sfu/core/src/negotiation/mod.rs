//! Offer in, answer out: what a client's SDP and our own parameters agree on. Pure: the same offer and the same
//! parameters give the same answer.
//!
//! The client always offers and the SFU always answers (see `docs/protocol.md`). Sections that send become
//! [`PublishedTrack`]s; `recvonly` sections become [`Slot`]s, the n-th audio with the n-th video; `inactive` stays so;
//! data channels and sections without a codec of ours are rejected with port 0 and leave the bundle. WHIP is a client
//! with nothing but sending sections, WHEP one with nothing but slots.
//!
//! Required of every offer: one BUNDLE group with all its audio and video (RFC 9143), rtcp-mux (RFC 5761), DTLS-SRTP
//! with a SHA-256 fingerprint (RFC 5763, 8122) and ICE credentials (RFC 8839).

mod codecs;
mod extensions;
mod offer;
mod plan;
mod print;
mod simulcast;

use std::fmt;

use crate::session::{LocalParameters, NegotiatedSession};
#[cfg(doc)]
use crate::session::{PublishedTrack, Slot};

/// Bytes of an offer. A Chromium offer takes about 2.5 KiB a section: lower refuses rooms with many slots; higher
/// costs memory and time for one offer in proportion, before the client is in a call.
pub const OFFER_BYTES_MAX: usize = 64 * 1024;
/// Sections (`m=` lines) of an offer. Worst case, each is a slot's half with an egress stream of its own.
pub const SECTIONS_MAX: usize = 64;
/// Simulcast layers of one track. More costs an ingress stream and a packet ring each.
pub const RIDS_MAX: usize = 3;
/// Characters of a rid: what the one-byte form of a header extension carries (RFC 8285 §4.2).
const RID_LEN_MAX: usize = 16;
/// Characters of a mid.
const MID_LEN_MAX: usize = 32;
/// SSRCs that one section may declare. Three layers with RTX and FEC need nine.
const SECTION_SSRCS_MAX: usize = 16;

/// Where in the offer the fault is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The offer as a whole, or a line before its first section.
    Session,
    /// The n-th section, counted from 0.
    Section(usize),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Session => f.write_str("the offer's session part"),
            Place::Section(index) => write!(f, "section {index} of the offer"),
        }
    }
}

/// Why there is no answer. The texts say what to change and hold nothing of the offer but numbers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NegotiationError {
    /// The offer breaks a rule of SDP.
    #[error("{place}: {why}")]
    PeerMisbehaved {
        /// Where.
        place: Place,
        /// Which rule.
        why: &'static str,
    },
    /// The offer is sound, but asks for less or more than we do.
    #[error("{place}: {why}")]
    PeerIncompatible {
        /// Where.
        place: Place,
        /// What is missing.
        why: &'static str,
    },
    /// The offer is larger than we take.
    #[error("{place}: more than {max} {limit}")]
    LimitExceeded {
        /// Where.
        place: Place,
        /// What there is too much of.
        limit: &'static str,
        /// How much would be taken.
        max: usize,
    },
}

impl Place {
    fn misbehaved(self, why: &'static str) -> NegotiationError {
        NegotiationError::PeerMisbehaved { place: self, why }
    }

    fn incompatible(self, why: &'static str) -> NegotiationError {
        NegotiationError::PeerIncompatible { place: self, why }
    }

    fn limit(self, limit: &'static str, max: usize) -> NegotiationError {
        NegotiationError::LimitExceeded { place: self, limit, max }
    }
}

/// Answers an offer. The text goes back to the client; the session is what its transport is to be made of.
///
/// # Errors
/// See [`NegotiationError`]. An offer in which nothing can be accepted is one, not an empty answer.
pub fn answer(offer: &str, local: &LocalParameters) -> Result<(NegotiatedSession, String), NegotiationError> {
    let offer = offer::Offer::parse(offer)?;
    let plan = plan::Plan::new(&offer, local)?;
    let text = print::answer(&offer, &plan, local);
    Ok((plan.into_session(local), text))
}

#[cfg(test)]
mod tests;
