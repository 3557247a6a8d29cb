//! TLS whose certificate is looked at, not obeyed: a bad one is reported, and the checks behind it still run.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use trunkline_turn_client::TLS_ALPN;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// Says what a browser would say of the chain, and lets the handshake go on.
#[derive(Debug)]
pub(crate) struct Witness {
    inner: Arc<WebPkiServerVerifier>,
    verdict: Mutex<Option<Result<(), rustls::Error>>>,
}

impl Witness {
    /// What was said of the certificate; `None` before there was one.
    pub(crate) fn verdict(&self) -> Option<Result<(), rustls::Error>> {
        self.verdict.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verdict = self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp, now);
        *self.verdict.lock().unwrap_or_else(PoisonError::into_inner) = Some(verdict.map(drop));
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// A client that offers `stun.turn`, and its witness. Roots are those of `ca`, or the system's.
pub(crate) fn client(ca: Option<&Path>) -> anyhow::Result<(Arc<ClientConfig>, Arc<Witness>)> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let witness = witness(roots(ca)?, provider.clone())?;
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(witness.clone())
        .with_no_client_auth();
    config.alpn_protocols = vec![TLS_ALPN.to_vec()];
    Ok((Arc::new(config), witness))
}

fn witness(roots: RootCertStore, provider: Arc<CryptoProvider>) -> anyhow::Result<Arc<Witness>> {
    let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build()?;
    Ok(Arc::new(Witness { inner, verdict: Mutex::new(None) }))
}

fn roots(ca: Option<&Path>) -> anyhow::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let Some(file) = ca else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        ensure!(
            !roots.is_empty(),
            "this system has no trusted certificates (Debian: ca-certificates); use --ca FILE"
        );
        return Ok(roots);
    };
    let unreadable = || format!("cannot read certificates from {}", file.display());
    for certificate in CertificateDer::pem_file_iter(file).with_context(unreadable)? {
        roots.add(certificate.with_context(unreadable)?)?;
    }
    ensure!(!roots.is_empty(), "{} has no certificate", file.display());
    Ok(roots)
}

/// Whole days until the certificate is no longer good; negative when it is not.
pub(crate) fn days_left(certificate: &CertificateDer<'_>) -> Option<i64> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs();
    let seconds = certificate.validity().not_after.timestamp().checked_sub(i64::try_from(now).ok()?)?;
    Some(seconds.div_euclid(86_400))
}

const REFUSED: &str = "browsers refuse it: use one that a well-known CA has signed for this name";

/// What to do about a certificate that was found wrong.
pub(crate) fn advice(error: &rustls::Error) -> &'static str {
    match error {
        rustls::Error::InvalidCertificate(why) => match why {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "renew it; the server takes up new files without a restart, or on SIGHUP"
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "it is valid later: is this machine's clock right?"
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "give clients a URI with a name that stands in the certificate"
            }
            CertificateError::UnknownIssuer => {
                "the server must send its intermediate certificates too (the full chain); for a CA of your own, --ca"
            }
            _ => REFUSED,
        },
        _ => REFUSED,
    }
}
