//! A second opinion: what `rtc-srtp` seals we open, and octet for octet the other way round, over roll-overs too.

use rtc_dtls::crypto_provider::default_provider;
use rtc_srtp::context::Context;
use rtc_srtp::option::srtp_no_replay_protection;
use rtc_srtp::protection_profile::ProtectionProfile;
use trunkline_netsim::Rng;

use super::{SrtpInbound, SrtpOutbound, SrtpProfile};

fn theirs(profile: SrtpProfile, key: &[u8], salt: &[u8]) -> Context {
    let number = match profile {
        SrtpProfile::AeadAes128Gcm => ProtectionProfile::AeadAes128Gcm,
        SrtpProfile::AeadAes256Gcm => ProtectionProfile::AeadAes256Gcm,
        SrtpProfile::Aes128CmHmacSha1_80 => ProtectionProfile::Aes128CmHmacSha1_80,
    };
    let provider = default_provider().unwrap();
    Context::new(key, salt, number, Some(srtp_no_replay_protection()), None, provider.crypto()).unwrap()
}

/// A header with what browsers put there: CSRCs and one-byte extensions, at times; with its length.
fn packet(rng: &mut Rng, ssrc: u32, seq: u16) -> (Vec<u8>, usize) {
    let csrcs = rng.below(3) as u8;
    let extension = rng.chance(0.5);
    let mut packet = vec![0x80 | csrcs | u8::from(extension) << 4, 96];
    packet.extend_from_slice(&seq.to_be_bytes());
    packet.extend_from_slice(&rng.next_u32().to_be_bytes());
    packet.extend_from_slice(&ssrc.to_be_bytes());
    packet.extend((0..csrcs).flat_map(|csrc| [csrc; 4]));
    if extension {
        packet.extend_from_slice(&[0xbe, 0xde, 0, 2, 0x10, 7, 0x22, 1, 2, 3, 0, 0]);
    }
    let header_len = packet.len();
    let mut payload = vec![0; 1 + rng.below(1_200) as usize];
    rng.fill(&mut payload);
    packet.extend_from_slice(&payload);
    (packet, header_len)
}

#[test]
fn rtc_srtp_agrees_on_rtp() {
    let mut rng = Rng::new(11);
    for profile in [SrtpProfile::AeadAes128Gcm, SrtpProfile::AeadAes256Gcm, SrtpProfile::Aes128CmHmacSha1_80]
    {
        let (mut key, mut salt) = (vec![0; profile.key_len()], vec![0; profile.salt_len()]);
        rng.fill(&mut key);
        rng.fill(&mut salt);
        let (mut sealing, mut opening) = (theirs(profile, &key, &salt), theirs(profile, &key, &salt));
        let outbound = SrtpOutbound::new(profile, &key, &salt).unwrap();
        let mut inbound = SrtpInbound::new(profile, &key, &salt).unwrap();
        let mut extended = [rng.below(0x8000), rng.below(0x8000)];
        for step in 0..400 {
            let which = rng.below(2) as usize;
            let ssrc = [0xdead_beef, 7][which];
            let (plain, header_len) = packet(&mut rng, ssrc, extended[which] as u16);
            let from_them = sealing.encrypt_rtp(&plain).unwrap();
            let mut from_us = plain.clone();
            outbound.protect_rtp(&mut from_us, 0, header_len, (extended[which] >> 16) as u32).unwrap();
            assert_eq!(from_us, from_them, "{profile:?}, step {step}, {:#x}", extended[which]);
            assert_eq!(opening.decrypt_rtp(&from_us).unwrap(), plain);
            let mut opened = from_them.to_vec();
            let len = inbound.unprotect_rtp(&mut opened, header_len).unwrap();
            assert_eq!(opened[..len], plain);
            extended[which] += 1 + rng.below(3_000);
        }
        assert!(extended.iter().all(|extended| extended >> 16 >= 3), "several roll-overs: {extended:x?}");
    }
}

#[test]
fn rtc_srtp_agrees_on_rtcp() {
    let mut rng = Rng::new(12);
    for profile in [SrtpProfile::AeadAes128Gcm, SrtpProfile::AeadAes256Gcm, SrtpProfile::Aes128CmHmacSha1_80]
    {
        let (mut key, mut salt) = (vec![0; profile.key_len()], vec![0; profile.salt_len()]);
        rng.fill(&mut key);
        rng.fill(&mut salt);
        let (mut sealing, mut opening) = (theirs(profile, &key, &salt), theirs(profile, &key, &salt));
        let mut outbound = SrtpOutbound::new(profile, &key, &salt).unwrap();
        let mut inbound = SrtpInbound::new(profile, &key, &salt).unwrap();
        for _ in 0..100 {
            let mut plain = vec![0x80, 201, 0, 7, 0, 0, 0, 1];
            let mut body = vec![0; 4 * (1 + rng.below(50) as usize)];
            rng.fill(&mut body);
            plain.extend_from_slice(&body);
            let from_them = sealing.encrypt_rtcp(&plain).unwrap();
            let mut from_us = plain.clone();
            outbound.protect_rtcp(&mut from_us, 0).unwrap();
            assert_eq!(from_us, from_them, "{profile:?}");
            assert_eq!(opening.decrypt_rtcp(&from_us).unwrap(), plain);
            let mut opened = from_them.to_vec();
            let len = inbound.unprotect_rtcp(&mut opened).unwrap();
            assert_eq!(opened[..len], plain);
        }
    }
}
