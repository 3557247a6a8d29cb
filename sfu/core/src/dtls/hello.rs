//! The first ClientHello, read ahead of the library: it would take the client's favourite SRTP profile, and the choice is
//! ours (RFC 5764 §4.1.2).

use super::guard::{Fragment, HANDSHAKE, fragments, records};
use crate::srtp::SrtpProfile;

const CLIENT_HELLO: u8 = 1;
const USE_SRTP: u16 = 14;

/// Our profiles, the preferred first, as (profile, its number in `use_srtp`). The 128-bit GCM is the cheapest.
pub(super) const PROFILES: [(SrtpProfile, u16); 3] = [
    (SrtpProfile::AeadAes128Gcm, 0x0007),
    (SrtpProfile::AeadAes256Gcm, 0x0008),
    (SrtpProfile::Aes128CmHmacSha1_80, 0x0001),
];

/// The body of the first ClientHello, if `datagrams` hold all of it.
pub(super) fn reassemble(datagrams: &[Vec<u8>]) -> Option<Vec<u8>> {
    let hello = || {
        datagrams
            .iter()
            .flat_map(|datagram| records(datagram))
            .filter(|record| record.content_type == HANDSHAKE && record.epoch == 0)
            .flat_map(|record| fragments(record.body()).flatten())
            .filter(|fragment| fragment.message_type == CLIENT_HELLO && fragment.message_seq == 0)
    };
    let len = hello().next()?.message_len;
    let mut body = Vec::with_capacity(len);
    // Every round adds at least an octet from another fragment, of which there are few.
    while body.len() < len {
        let covers = |f: &Fragment<'_>| {
            f.message_len == len && f.offset <= body.len() && f.offset + f.data.len() > body.len()
        };
        let fragment = hello().find(covers)?;
        let known = body.len() - fragment.offset;
        body.extend_from_slice(&fragment.data[known..]);
    }
    Some(body)
}

/// The best profile that a ClientHello offers; `None` without a common one, or without the extension.
pub(super) fn best_profile(client_hello: &[u8]) -> Option<SrtpProfile> {
    let offered = use_srtp(client_hello)?;
    PROFILES
        .into_iter()
        .find(|(_, number)| offered.chunks_exact(2).any(|offered| offered == number.to_be_bytes()))
        .map(|(profile, _)| profile)
}

/// The list of profiles in extension `use_srtp`.
fn use_srtp(client_hello: &[u8]) -> Option<&[u8]> {
    // Version and random; then session id, cookie, cipher suites and compression methods, each with its length.
    let rest = client_hello.get(34..)?;
    let (_, rest) = vector8(rest)?;
    let (_, rest) = vector8(rest)?;
    let (_, rest) = vector16(rest)?;
    let (_, rest) = vector8(rest)?;
    let (mut extensions, _) = vector16(rest)?;
    while let Some((number, rest)) = extensions.split_at_checked(2) {
        let (data, rest) = vector16(rest)?;
        if number == USE_SRTP.to_be_bytes() {
            return vector16(data).map(|(profiles, _)| profiles);
        }
        extensions = rest;
    }
    None
}

fn vector8(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first()?;
    rest.split_at_checked(usize::from(*len))
}

fn vector16(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*len)))
}
