//! Published test vectors: RFC 3711 appendix B, RFC 7714 §16 and §17, and libsrtp's own reference packets.

use super::cipher::Cipher;
use super::kdf::{Label, derive};
use super::{SrtpInbound, SrtpKeys, SrtpMasterKey, SrtpOutbound, SrtpProfile};

const RFC7714_SALT: &str = "517569642070726f2071756f";
const RFC7714_RTP: &str = "8040f17b8041f8d35501a0b2\
    47616c6c696120657374206f6d6e69732064697669736120696e207061727465732074726573";
const RFC7714_RTCP: &str = "81c8000d4d617273\
    4e5450314e545032525450200000042a0000e9304c756e61deadbeefdeadbeefdeadbeefdeadbeefdeadbeef";
const RFC7714_RTCP_INDEX: u32 = 0x5d4;

fn unhex(text: &str) -> Vec<u8> {
    hex::decode(text).unwrap()
}

fn counting_key(len: u8) -> Vec<u8> {
    (0..len).collect()
}

/// Both directions, from session keys: RFC 7714 skips key derivation.
fn rfc7714_pair(key_len: u8) -> (SrtpOutbound, SrtpInbound) {
    let salt: [u8; 12] = unhex(RFC7714_SALT).try_into().unwrap();
    let cipher = || Cipher::gcm(&counting_key(key_len), salt);
    (
        SrtpOutbound::from_ciphers(cipher(), cipher(), RFC7714_RTCP_INDEX),
        SrtpInbound::from_ciphers(cipher(), cipher()),
    )
}

fn check_rtp(outbound: &SrtpOutbound, inbound: &mut SrtpInbound, plain: &str, sealed: &str) {
    let (plain, sealed) = (unhex(plain), unhex(sealed));
    let mut packet = vec![0xee; 7];
    packet.extend_from_slice(&plain);
    outbound.protect_rtp(&mut packet, 7, 12, 0).unwrap();
    assert_eq!(hex::encode(&packet[7..]), hex::encode(&sealed));
    assert_eq!(packet[..7], [0xee; 7]);
    let mut packet = sealed;
    let len = inbound.unprotect_rtp(&mut packet, 12).unwrap();
    assert_eq!(packet[..len], plain);
}

fn check_rtcp(outbound: &mut SrtpOutbound, inbound: &mut SrtpInbound, plain: &str, sealed: &str) {
    let (plain, sealed) = (unhex(plain), unhex(sealed));
    let mut packet = vec![0xee; 7];
    packet.extend_from_slice(&plain);
    outbound.protect_rtcp(&mut packet, 7).unwrap();
    assert_eq!(hex::encode(&packet[7..]), hex::encode(&sealed));
    let mut packet = sealed;
    let len = inbound.unprotect_rtcp(&mut packet).unwrap();
    assert_eq!(packet[..len], plain);
}

#[test]
fn rfc7714_16_1_rtp_aes_128_gcm() {
    let (outbound, mut inbound) = rfc7714_pair(16);
    let sealed = "8040f17b8041f8d35501a0b2f24de3a3fb34de6cacba861c9d7e4bcabe633bd50d294e6f42a5f47a51c7d19b\
        36de3adf8833899d7f27beb16a9152cf765ee4390cce";
    check_rtp(&outbound, &mut inbound, RFC7714_RTP, sealed);
}

#[test]
fn rfc7714_16_2_rtp_aes_256_gcm() {
    let (outbound, mut inbound) = rfc7714_pair(32);
    let sealed = "8040f17b8041f8d35501a0b232b1de78a822fe12ef9f78fa332e33aab18012389a58e2f3b50b2a0276ffae0f\
        1ba63799b87b7aa3db36dfffd6b0f9bb7878d7a76c13";
    check_rtp(&outbound, &mut inbound, RFC7714_RTP, sealed);
}

#[test]
fn rfc7714_17_1_rtcp_aes_128_gcm() {
    let (mut outbound, mut inbound) = rfc7714_pair(16);
    let sealed = "81c8000d4d61727363e94885dcdab67ca727d7662f6b7e997ff5c0f76c06f32dc676a5f1730d6fda\
        4ce09b4686303ded0bb9275bc84aa45896cf4d2fc5abf87245d9eade800005d4";
    check_rtcp(&mut outbound, &mut inbound, RFC7714_RTCP, sealed);
}

#[test]
fn rfc7714_17_2_rtcp_aes_256_gcm() {
    let (mut outbound, mut inbound) = rfc7714_pair(32);
    let sealed = "81c8000d4d617273d50ae4d1f5ce5d304ba297e47d470c282c3ece5dbffe0a50a2eaa5c1110555be\
        8415f658c61de0476f1b6fad1d1eb30c4446839f57ff6f6cb26ac3be800005d4";
    check_rtcp(&mut outbound, &mut inbound, RFC7714_RTCP, sealed);
}

#[test]
fn rfc7714_17_3_tagged_only_is_refused() {
    let (_, mut inbound) = rfc7714_pair(16);
    let mut packet = unhex(
        "81c8000d4d6172734e5450314e545032525450200000042a0000e9304c756e61deadbeefdeadbeefdeadbeef\
         deadbeefdeadbeef841dd9683dd78ec92ae58790125f62b3000005d4",
    );
    assert_eq!(inbound.unprotect_rtcp(&mut packet), Err(super::SrtpDrop::Unencrypted));
}

#[test]
fn rfc3711_b3_key_derivation() {
    let master = SrtpMasterKey::new(
        SrtpProfile::Aes128CmHmacSha1_80,
        &unhex("e1f97a0d3e018be0d64fa32c06de4139"),
        &unhex("0ec675ad498afeebb6960b3aabe6"),
    )
    .unwrap();
    let mut key = [0u8; 16];
    derive(&master, Label::RtpCipher, &mut key);
    assert_eq!(hex::encode(key), "c61e7a93744f39ee10734afe3ff7a087");
    let mut salt = [0u8; 14];
    derive(&master, Label::RtpSalt, &mut salt);
    assert_eq!(hex::encode(salt), "30cbbc08863d8c85d49db34a9ae1");
    let mut auth = [0u8; 94];
    derive(&master, Label::RtpAuth, &mut auth);
    assert_eq!(
        hex::encode(auth),
        "cebe321f6ff7716b6fd4ab49af256a156d38baa48f0a0acf3c34e2359e6cdbcee049646c43d9327ad175578ef7227098\
         6371c10c9a369ac2f94a8c5fbcdddc256d6e919a48b610ef17c2041e474035766b68642c59bbfc2f34db60dbdfb2"
    );
}

#[test]
fn every_label_derives_another_key() {
    let master = SrtpMasterKey::new(SrtpProfile::AeadAes128Gcm, &[7; 16], &[9; 12]).unwrap();
    let labels = [
        Label::RtpCipher,
        Label::RtpAuth,
        Label::RtpSalt,
        Label::RtcpCipher,
        Label::RtcpAuth,
        Label::RtcpSalt,
    ];
    let keys = labels.map(|label| {
        let mut key = [0u8; 16];
        derive(&master, label, &mut key);
        key
    });
    assert_eq!(keys.into_iter().collect::<std::collections::BTreeSet<_>>().len(), labels.len());
}

/// RFC 3711 B.2 gives key stream for SSRC 0, index 0: sealing zeros shows it.
#[test]
fn rfc3711_b2_counter_mode() {
    let salt: [u8; 14] = unhex("f0f1f2f3f4f5f6f7f8f9fafbfcfd").try_into().unwrap();
    let cipher = || Cipher::cm(&unhex("2b7e151628aed2a6abf7158809cf4f3c"), salt, &[0; 20]);
    let outbound = SrtpOutbound::from_ciphers(cipher(), cipher(), 1);
    let mut packet = vec![0u8; 12 + 0xff02 * 16];
    outbound.protect_rtp(&mut packet, 0, 12, 0).unwrap();
    let block = |at: usize| hex::encode(&packet[12 + 16 * at..12 + 16 * (at + 1)]);
    assert_eq!(block(0), "e03ead0935c95e80e166b16dd92b4eb4");
    assert_eq!(block(1), "d23513162b02d0f72a43a2fe4a5f97ab");
    assert_eq!(block(2), "41e95b3bb0a2e8dd477901e4fca894c0");
    assert_eq!(block(0xfeff), "ec8cdf7398607cb0f2d21675ea9ea1e4");
    assert_eq!(block(0xff00), "362b7c3c6773516318a077d7fc5073ae");
    assert_eq!(block(0xff01), "6a2cc3787889374fbeb4c81b17ba6c44");
}

#[test]
fn libsrtp_reference_counter_mode() {
    let key = unhex("e1f97a0d3e018be0d64fa32c06de4139");
    let salt = unhex("0ec675ad498afeebb6960b3aabe6");
    let profile = SrtpProfile::Aes128CmHmacSha1_80;
    let mut outbound = SrtpOutbound::new(profile, &key, &salt).unwrap();
    let mut inbound = SrtpInbound::new(profile, &key, &salt).unwrap();
    check_rtp(
        &outbound,
        &mut inbound,
        "800f1234decafbadcafebabeabababababababababababababababab",
        "800f1234decafbadcafebabe4e55dc4ce79978d88ca4d215949d2402b78d6acc99ea179b8dbb",
    );
    check_rtcp(
        &mut outbound,
        &mut inbound,
        "81c8000bcafebabeabababababababababababababababab",
        "81c8000bcafebabe7128035be487b9bdbef89041f977a5a880000001993e08cd54d6c1230798",
    );
}

#[test]
fn libsrtp_reference_gcm_with_derivation() {
    let key = counting_key(16);
    let salt = unhex("a0a1a2a3a4a5a6a7a8a9aaab");
    let profile = SrtpProfile::AeadAes128Gcm;
    let mut outbound = SrtpOutbound::new(profile, &key, &salt).unwrap();
    let mut inbound = SrtpInbound::new(profile, &key, &salt).unwrap();
    check_rtp(
        &outbound,
        &mut inbound,
        "800f1234decafbadcafebabeabababababababababababababababab",
        "800f1234decafbadcafebabec5002ede04cfdd2eb91159e0880aa06ed2976826f796b201df3131a127e8a392",
    );
    check_rtcp(
        &mut outbound,
        &mut inbound,
        "81c8000bcafebabeabababababababababababababababab",
        "81c8000bcafebabec98b8b5df0392a55852b6c21ac8e7025c52c6fbea2b3b446ea31123ba88ce61e80000001",
    );
}

/// RFC 5764 §4.2: client key, server key, client salt, server salt.
#[test]
fn rfc5764_exporter_order() {
    for profile in [SrtpProfile::AeadAes128Gcm, SrtpProfile::AeadAes256Gcm, SrtpProfile::Aes128CmHmacSha1_80]
    {
        let (k, s) = (profile.key_len(), profile.salt_len());
        let material: Vec<u8> = [vec![1; k], vec![2; k], vec![3; s], vec![4; s]].concat();
        let client = SrtpKeys::from_exporter(profile, &material, true).unwrap();
        let server = SrtpKeys::from_exporter(profile, &material, false).unwrap();
        assert_eq!(client.outbound.key(), vec![1; k]);
        assert_eq!(client.outbound.salt(), vec![3; s]);
        assert_eq!(client.inbound.key(), vec![2; k]);
        assert_eq!(client.inbound.salt(), vec![4; s]);
        assert_eq!((&client.inbound, &client.outbound), (&server.outbound, &server.inbound));
        assert_eq!(SrtpKeys::from_exporter(profile, &material[1..], true), None);
        assert_eq!(format!("{:?}", client.inbound), "SrtpMasterKey(redacted)");
    }
}
