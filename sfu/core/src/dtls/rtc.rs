//! [`Dtls`] on the `rtc-dtls` crate.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA256, digest};
use bytes::{Bytes, BytesMut};
use rtc_dtls::cipher_suite::CipherSuiteId;
use rtc_dtls::config::{ClientAuthType, ConfigBuilder, ExtendedMasterSecretType, HandshakeConfig};
use rtc_dtls::crypto::Certificate;
use rtc_dtls::crypto_provider::{RTCCryptoProvider, default_provider};
use rtc_dtls::endpoint::{Endpoint, EndpointEvent};
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use rtc_shared::error::Error;

use super::guard::{ALERT, Guard, HANDSHAKE, records};
use super::{Dtls, DtlsError, hello};
use crate::srtp::{SrtpKeys, SrtpProfile};

/// From making an association to its keys. Longer waits for worse networks and holds a transport's memory as long;
/// ICE has already passed, so a peer that does not answer for this long is gone.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(20);
/// The first retransmission; each further one waits twice as long. RFC 6347 §4.2.4.1 suggests a second, but ICE has
/// measured that somebody is there and a lost flight is silence for the user. A flight is some 1,200 octets.
const RESEND_FIRST: Duration = Duration::from_millis(200);
const RESEND_MAX: Duration = Duration::from_secs(2);
/// Times the library may retransmit one flight itself; at its own limit of seven it gives up, which is ours to decide.
const LIBRARY_RESENDS_MAX: u32 = 6;
/// Datagrams kept of a first ClientHello that is not whole yet. Post-quantum key shares make it two.
const HELD_DATAGRAMS_MAX: usize = 8;
/// RFC 5764 §4.2.
const EXPORTER_LABEL: &str = "EXTRACTOR-dtls_srtp";
/// A plain alert 'handshake_failure' in epoch 0; octets 5–10 are its sequence number.
const HANDSHAKE_FAILURE: [u8; 15] = [ALERT, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 2, 40];

/// The library tells associations apart by address. Ours has one, whatever path it takes at the moment.
const PEER: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1));

/// Our certificate: self-signed, ECDSA on P-256, made once a process.
#[derive(Clone)]
pub struct DtlsIdentity {
    certificate: Certificate,
    fingerprint: [u8; 32],
    provider: Arc<dyn RTCCryptoProvider>,
}

impl DtlsIdentity {
    /// Makes a key pair and its certificate from the system's entropy.
    ///
    /// # Errors
    /// [`DtlsError::Internal`] if the cryptographic library fails.
    pub fn generate() -> Result<Self, DtlsError> {
        let provider = default_provider().map_err(|_| DtlsError::Internal)?;
        let names = vec!["trunkline".to_owned()];
        let certificate =
            Certificate::generate_self_signed(names, provider.crypto()).map_err(|_| DtlsError::Internal)?;
        let fingerprint = sha256(certificate.certificate[0].as_ref());
        Ok(DtlsIdentity { certificate, fingerprint, provider })
    }

    /// SHA-256 of the certificate in DER, for `a=fingerprint:sha-256` (RFC 8122 §5).
    pub fn fingerprint(&self) -> [u8; 32] {
        self.fingerprint
    }
}

impl std::fmt::Debug for DtlsIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DtlsIdentity(redacted)")
    }
}

/// What became of the peer's certificate.
const CERTIFICATE_UNSEEN: u8 = 0;
/// Proven (CertificateVerify or the key exchange's signature) and as promised.
const CERTIFICATE_RIGHT: u8 = 1;
const CERTIFICATE_WRONG: u8 = 2;

/// How far the association is.
enum Phase {
    /// Server: the first ClientHello is not whole yet.
    Hello {
        held: Vec<Vec<u8>>,
    },
    /// Shaking hands.
    Handshake,
    /// Done; here to repeat the last flight if the peer missed it, and to say goodbye.
    Connected,
    Closed(DtlsError),
}

/// One association on `rtc-dtls`, of which it corrects this much:
/// records are checked and counted before the library keeps them; the SRTP profile is the server's choice; flights are
/// retransmitted even after the library has disarmed its timer (it does at any handshake record that brings no
/// progress, so one lost flight could end a handshake); and nothing revives an association that is over.
pub struct RtcDtls {
    identity: Arc<DtlsIdentity>,
    we_are_client: bool,
    remote_fingerprint: [u8; 32],
    endpoint: Endpoint,
    phase: Phase,
    guard: Guard,
    peer_certificate: Arc<AtomicU8>,
    keys: Option<SrtpKeys>,
    out: VecDeque<Bytes>,
    /// The last flight sent, as long as the peer has not answered it.
    flight: Vec<Bytes>,
    /// The next sequence number of epoch 0. Ours, so that a repeated record is not taken for a replayed one.
    plain_sequence: u64,
    resend_at: Instant,
    resend_interval: Duration,
    sent_at: Instant,
    library_resends: u32,
    deadline: Instant,
}

impl RtcDtls {
    /// An association with the peer whose certificate has `remote_fingerprint`. A client's first flight is in
    /// [`Dtls::output`] at once; a server waits.
    pub fn new(
        identity: &Arc<DtlsIdentity>,
        remote_fingerprint: [u8; 32],
        we_are_client: bool,
        now: Instant,
    ) -> Self {
        let mut dtls = RtcDtls {
            identity: Arc::clone(identity),
            we_are_client,
            remote_fingerprint,
            endpoint: Endpoint::new(PEER, Default::default(), None),
            phase: Phase::Hello { held: Vec::new() },
            guard: Guard::default(),
            peer_certificate: Arc::new(AtomicU8::new(CERTIFICATE_UNSEEN)),
            keys: None,
            out: VecDeque::new(),
            flight: Vec::new(),
            plain_sequence: 0,
            resend_at: now,
            resend_interval: RESEND_FIRST,
            sent_at: now,
            library_resends: 0,
            deadline: now + HANDSHAKE_TIMEOUT,
        };
        if we_are_client {
            let started = dtls
                .config(&hello::PROFILES.map(|(profile, _)| profile))
                .and_then(|config| dtls.endpoint.connect(now, PEER, config, None).ok());
            dtls.phase = match started {
                Some(()) => Phase::Handshake,
                None => Phase::Closed(DtlsError::Internal),
            };
            dtls.collect(now);
        }
        dtls
    }

    /// The library's configuration, offering or accepting `profiles`.
    fn config(&self, profiles: &[SrtpProfile]) -> Option<Arc<HandshakeConfig>> {
        let expected = self.remote_fingerprint;
        let verdict = Arc::clone(&self.peer_certificate);
        // Called after the peer has proven to hold the key of the first certificate.
        let verify = move |certificates: &[Vec<u8>], _: &[_]| {
            if certificates.first().is_some_and(|certificate| sha256(certificate) == expected) {
                verdict.store(CERTIFICATE_RIGHT, Ordering::Relaxed);
                Ok(())
            } else {
                verdict.store(CERTIFICATE_WRONG, Ordering::Relaxed);
                Err(Error::Other("certificate fingerprint mismatch".to_owned()))
            }
        };
        ConfigBuilder::default()
            .with_crypto_provider(Arc::clone(&self.identity.provider))
            .with_certificates(vec![self.identity.certificate.clone()])
            .with_cipher_suites(vec![
                CipherSuiteId::Tls_Ecdhe_Ecdsa_With_Aes_128_Gcm_Sha256,
                CipherSuiteId::Tls_Ecdhe_Ecdsa_With_ChaCha20_Poly1305_Sha256,
                CipherSuiteId::Tls_Ecdhe_Rsa_With_Aes_128_Gcm_Sha256,
            ])
            .with_srtp_protection_profiles(profiles.iter().map(|profile| to_library(*profile)).collect())
            // No certification authority is asked: the fingerprint decides, in `verify`.
            .with_insecure_skip_verify(true)
            .with_client_auth(ClientAuthType::RequireAnyClientCert)
            .with_verify_peer_certificate(Some(Arc::new(verify)))
            // RFC 7627 binds the keys to the whole handshake, SRTP profile and certificates included.
            .with_extended_master_secret(ExtendedMasterSecretType::Require)
            // Due whenever our own timer is.
            .with_flight_interval(Duration::from_millis(1))
            .build(self.we_are_client, Some(PEER))
            .ok()
            .map(Arc::new)
    }

    /// Server: holds datagrams until the first ClientHello is whole, then chooses the profile and starts the library.
    fn hold_hello(&mut self, datagram: Vec<u8>, now: Instant) -> Result<(), DtlsError> {
        let Phase::Hello { held } = &mut self.phase else { return Ok(()) };
        if held.len() >= HELD_DATAGRAMS_MAX {
            held.clear();
        }
        held.push(datagram);
        let Some(client_hello) = hello::reassemble(held) else { return Ok(()) };
        let held = std::mem::take(held);
        let Some(profile) = hello::best_profile(&client_hello) else {
            self.out.push_back(Bytes::from_static(&HANDSHAKE_FAILURE));
            return self.fail(DtlsError::NoSrtpProfile);
        };
        let Some(config) = self.config(&[profile]) else { return self.fail(DtlsError::Internal) };
        self.endpoint.set_server_config(Some(config));
        self.phase = Phase::Handshake;
        for datagram in held {
            self.feed(&datagram, true, now)?;
        }
        Ok(())
    }

    /// Hands the library what the guard let through.
    fn feed(&mut self, datagram: &[u8], handshake: bool, now: Instant) -> Result<(), DtlsError> {
        let result = self.endpoint.read(now, PEER, None, BytesMut::from(datagram));
        let answered = self.collect(now);
        match result {
            Ok(events) => {
                for event in events {
                    match event {
                        EndpointEvent::HandshakeComplete => self.complete(now)?,
                        EndpointEvent::PeerClosed => return self.fail(DtlsError::ClosedByPeer),
                        // Not let through by the guard; and nothing would read it.
                        _ => {}
                    }
                }
            }
            Err(error) => self.on_library_error(&error)?,
        }
        if handshake && !answered && !self.flight.is_empty() {
            // The peer repeats itself, so it has not seen our flight, or not all of it.
            self.resend_at = self.resend_at.min(self.sent_at + RESEND_FIRST).max(now);
        }
        Ok(())
    }

    fn on_library_error(&mut self, error: &Error) -> Result<(), DtlsError> {
        let alert = matches!(error, Error::ErrAlertFatalOrClose);
        match self.phase {
            // An authentic fatal alert ends it; whatever else the library dislikes does not undo the keys.
            Phase::Connected if alert => self.fail(DtlsError::PeerAlert),
            Phase::Connected | Phase::Closed(_) => Ok(()),
            _ if self.peer_certificate.load(Ordering::Relaxed) == CERTIFICATE_WRONG => {
                self.fail(DtlsError::FingerprintMismatch)
            }
            _ if alert => self.fail(DtlsError::PeerAlert),
            _ if matches!(
                error,
                Error::ErrServerNoMatchingSrtpProfile
                    | Error::ErrClientNoMatchingSrtpProfile
                    | Error::ErrRequestedButNoSrtpExtension
            ) =>
            {
                self.fail(DtlsError::NoSrtpProfile)
            }
            _ => self.fail(DtlsError::HandshakeFailed),
        }
    }

    /// Takes the keys, after making sure once more whom they are shared with.
    fn complete(&mut self, now: Instant) -> Result<(), DtlsError> {
        let Some(state) = self.endpoint.get_connection_state(PEER) else {
            return self.fail(DtlsError::Internal);
        };
        let certificate_right = self.peer_certificate.load(Ordering::Relaxed) == CERTIFICATE_RIGHT
            && state.peer_certificates.first().is_some_and(|c| sha256(c) == self.remote_fingerprint);
        let keys = from_library(state.srtp_protection_profile()).and_then(|profile| {
            let material = state.export_keying_material(EXPORTER_LABEL, &[], profile.exporter_len()).ok()?;
            SrtpKeys::from_exporter(profile, material.as_ref(), self.we_are_client)
        });
        let failure = match keys {
            _ if !certificate_right => DtlsError::FingerprintMismatch,
            None => DtlsError::NoSrtpProfile,
            Some(keys) => {
                self.keys = Some(keys);
                self.flight.clear();
                self.phase = Phase::Connected;
                return Ok(());
            }
        };
        self.endpoint.stop(now, PEER);
        self.collect(now);
        self.fail(failure)
    }

    fn fail(&mut self, reason: DtlsError) -> Result<(), DtlsError> {
        self.keys = None;
        self.flight = Vec::new();
        self.phase = Phase::Closed(reason);
        Err(reason)
    }

    /// Moves what the library wants sent to `out`, numbering the plain records ourselves, and remembers a flight.
    /// Whether there was one.
    fn collect(&mut self, now: Instant) -> bool {
        let mut flight = Vec::new();
        let mut any = false;
        while let Some(transmit) = self.endpoint.poll_transmit() {
            any = true;
            let datagram = self.renumber(&transmit.message);
            if starts_flight(&datagram) {
                flight.push(datagram.clone());
            }
            self.out.push_back(datagram);
        }
        if any && matches!(self.phase, Phase::Hello { .. } | Phase::Handshake) {
            self.flight = flight;
            self.sent_at = now;
            self.resend_interval = RESEND_FIRST;
            self.resend_at = now + RESEND_FIRST;
            self.library_resends = 0;
        }
        any
    }

    /// A copy of `datagram` whose plain records have fresh sequence numbers. Nothing covers those but the peer's replay
    /// window. Encrypted records keep theirs, which are authenticated.
    fn renumber(&mut self, datagram: &[u8]) -> Bytes {
        let mut copy = BytesMut::with_capacity(datagram.len());
        for record in records(datagram) {
            let at = copy.len();
            copy.extend_from_slice(record.bytes);
            if record.epoch == 0 {
                copy[at + 5..at + 11].copy_from_slice(&self.plain_sequence.to_be_bytes()[2..]);
                self.plain_sequence += 1;
            }
        }
        copy.freeze()
    }

    fn resend(&mut self, now: Instant) {
        let interval = (self.resend_interval * 2).min(RESEND_MAX);
        // The library numbers encrypted records afresh too, so it goes first while its timer is armed.
        let resends = self.library_resends + 1;
        let library = resends <= LIBRARY_RESENDS_MAX
            && self.endpoint.poll_timeout(&PEER).is_some_and(|due| due <= now)
            && self.endpoint.handle_timeout(PEER, now).is_ok()
            && self.collect(now);
        if library {
            self.library_resends = resends;
        } else {
            for datagram in std::mem::take(&mut self.flight) {
                let datagram = self.renumber(&datagram);
                self.out.push_back(datagram.clone());
                self.flight.push(datagram);
            }
            self.sent_at = now;
        }
        self.resend_interval = interval;
        self.resend_at = now + interval;
    }
}

impl Dtls for RtcDtls {
    fn input(&mut self, datagram: &[u8], now: Instant) -> Result<(), DtlsError> {
        let connected = match self.phase {
            Phase::Closed(_) => return Ok(()),
            Phase::Connected => true,
            Phase::Hello { .. } | Phase::Handshake => false,
        };
        let passed = self.guard.filter(datagram, connected);
        if passed.datagram.is_empty() {
            return Ok(());
        }
        match self.phase {
            Phase::Hello { .. } => self.hold_hello(passed.datagram, now),
            _ => self.feed(&passed.datagram, passed.handshake, now),
        }
    }

    fn timeout(&mut self, now: Instant) -> Option<Instant> {
        if !matches!(self.phase, Phase::Hello { .. } | Phase::Handshake) {
            return None;
        }
        if now >= self.deadline {
            // There is nobody to return the error to: `closed` says it.
            let _ = self.fail(DtlsError::TimedOut);
            return None;
        }
        if self.flight.is_empty() {
            return Some(self.deadline);
        }
        if now >= self.resend_at {
            self.resend(now);
        }
        Some(self.resend_at.min(self.deadline))
    }

    fn output(&mut self) -> Option<Bytes> {
        self.out.pop_front()
    }

    fn keys(&mut self) -> Option<SrtpKeys> {
        self.keys.take()
    }

    fn closed(&self) -> Option<DtlsError> {
        match self.phase {
            Phase::Closed(reason) => Some(reason),
            _ => None,
        }
    }

    fn close(&mut self, now: Instant) {
        if self.is_closed() {
            return;
        }
        self.endpoint.stop(now, PEER);
        self.collect(now);
        let _ = self.fail(DtlsError::ClosedByUs);
    }
}

impl std::fmt::Debug for RtcDtls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RtcDtls").field("closed", &self.closed()).finish_non_exhaustive()
    }
}

/// Whether a datagram of ours waits for an answer. An alert does not, nor does a HelloVerifyRequest, which the client's
/// next ClientHello asks for again (RFC 6347 §4.2.1).
fn starts_flight(datagram: &[u8]) -> bool {
    const HELLO_VERIFY_REQUEST: u8 = 3;
    records(datagram).any(|record| {
        record.content_type != ALERT
            && !(record.content_type == HANDSHAKE
                && record.epoch == 0
                && record.body().first() == Some(&HELLO_VERIFY_REQUEST))
    })
}

fn to_library(profile: SrtpProfile) -> SrtpProtectionProfile {
    match profile {
        SrtpProfile::AeadAes128Gcm => SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm,
        SrtpProfile::AeadAes256Gcm => SrtpProtectionProfile::Srtp_Aead_Aes_256_Gcm,
        SrtpProfile::Aes128CmHmacSha1_80 => SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80,
    }
}

fn from_library(profile: SrtpProtectionProfile) -> Option<SrtpProfile> {
    match profile {
        SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm => Some(SrtpProfile::AeadAes128Gcm),
        SrtpProtectionProfile::Srtp_Aead_Aes_256_Gcm => Some(SrtpProfile::AeadAes256Gcm),
        SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80 => Some(SrtpProfile::Aes128CmHmacSha1_80),
        _ => None,
    }
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    digest(&SHA256, bytes).as_ref().try_into().expect("SHA-256 gives 32 octets")
}
