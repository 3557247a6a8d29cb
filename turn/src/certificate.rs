//! The TLS listeners' certificate: read, replaced while running, and how long it is good for.

use std::fmt;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::TlsFiles;

/// What TURN is called in the handshake (RFC 7443 §3). A client that offers nothing is served; one that offers only
/// other protocols is refused.
const ALPN: &[u8] = b"stun.turn";

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// A file cannot be read, or holds nothing of the kind.
    #[error("cannot read {path}", path = path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: rustls::pki_types::pem::Error,
    },
    /// The pair is not one, or the key is of no kind that we can use.
    #[error("certificate and key cannot be used")]
    Pair(#[from] rustls::Error),
    /// The certificate is no X.509.
    #[error("the certificate in {path} is malformed", path = path.display())]
    Malformed {
        /// Where it is.
        path: PathBuf,
    },
}

/// What tells one state of a file from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    modified: (i64, i64),
    inode: u64,
    length: u64,
}

type Stamps = [Option<Stamp>; 2];

/// The certificate in force, shared by all shards. It is looked at once a handshake, never for a packet.
pub(crate) struct Certificate {
    files: TlsFiles,
    current: RwLock<Arc<CertifiedKey>>,
    /// The files as they were when they were read last, well or not.
    read: Mutex<Stamps>,
    expires: AtomicI64,
    failures: AtomicU64,
}

impl Certificate {
    pub(crate) fn load(files: &TlsFiles) -> Result<Arc<Self>, CertificateError> {
        let stamps = stamps(files);
        let (pair, expires) = read(files)?;
        Ok(Arc::new(Self {
            files: files.clone(),
            current: RwLock::new(Arc::new(pair)),
            read: Mutex::new(stamps),
            expires: AtomicI64::new(expires),
            failures: AtomicU64::new(0),
        }))
    }

    /// What every handshake follows: TLS 1.2 and 1.3. Sessions are resumed by tickets, so that none are stored here.
    pub(crate) fn server_config(self: &Arc<Self>) -> Result<Arc<ServerConfig>, rustls::Error> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(self.clone());
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = aws_lc_rs::Ticketer::new()?;
        // Each takes a write of its own after the handshake; clients use one.
        config.send_tls13_tickets = 1;
        Ok(Arc::new(config))
    }

    /// Reads the files again. A pair that cannot be used is counted and leaves the one in force; connections that are
    /// open keep theirs in any case.
    pub(crate) fn reload(&self) -> Result<(), CertificateError> {
        let stamps = stamps(&self.files);
        let result = read(&self.files);
        *self.read.lock().unwrap_or_else(PoisonError::into_inner) = stamps;
        match result {
            Ok((pair, expires)) => {
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(pair);
                self.expires.store(expires, Ordering::Relaxed);
                tracing::info!("TLS certificate replaced");
                Ok(())
            }
            Err(error) => {
                self.failures.fetch_add(1, Ordering::Relaxed);
                Err(error)
            }
        }
    }

    /// The same if a file has changed since it was read last. While one of the two has been replaced and the other has
    /// not, they are no pair; the next change is looked at again.
    pub(crate) fn reload_if_changed(&self) {
        let stamps = stamps(&self.files);
        let unchanged = *self.read.lock().unwrap_or_else(PoisonError::into_inner) == stamps;
        if unchanged {
            return;
        }
        if let Err(error) = self.reload() {
            tracing::warn!(error = chain(&error), "TLS certificate not replaced: the one in force stays");
        }
    }

    /// When it expires, in Unix seconds.
    pub(crate) fn expires_unix_s(&self) -> i64 {
        self.expires.load(Ordering::Relaxed)
    }

    /// Reloads that failed, since the start.
    pub(crate) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").field("files", &self.files).finish_non_exhaustive()
    }
}

/// The pair in the files, and when it expires.
fn read(files: &TlsFiles) -> Result<(CertifiedKey, i64), CertificateError> {
    let failed = |path: &Path, source| CertificateError::Read { path: path.to_owned(), source };
    let certificate = |source| failed(&files.certificate, source);
    let chain = CertificateDer::pem_file_iter(&files.certificate)
        .map_err(certificate)?
        .collect::<Result<Vec<_>, _>>()
        .map_err(certificate)?;
    let Some(first) = chain.first() else {
        return Err(certificate(rustls::pki_types::pem::Error::NoItemsFound));
    };
    let expires = match x509_parser::parse_x509_certificate(first) {
        Ok((_, parsed)) => parsed.validity().not_after.timestamp(),
        Err(_) => return Err(CertificateError::Malformed { path: files.certificate.clone() }),
    };
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|source| failed(&files.key, source))?;
    Ok((CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider())?, expires))
}

fn stamps(files: &TlsFiles) -> Stamps {
    [&files.certificate, &files.key].map(|path| {
        let file = std::fs::metadata(path).ok()?;
        Some(Stamp { modified: (file.mtime(), file.mtime_nsec()), inode: file.ino(), length: file.len() })
    })
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(name: &str) -> (String, String) {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    fn end_entity(certificate: &Certificate) -> Vec<u8> {
        certificate.current.read().unwrap().cert[0].to_vec()
    }

    #[test]
    fn a_new_pair_is_taken_and_a_bad_one_leaves_the_old() {
        let dir = tempfile::tempdir().unwrap();
        let files = TlsFiles { certificate: dir.path().join("cert.pem"), key: dir.path().join("key.pem") };
        let ((cert_a, key_a), (cert_b, key_b)) = (pair("a.example"), pair("b.example"));
        let write = |path: &Path, text: &str| std::fs::write(path, text).unwrap();
        assert!(
            matches!(Certificate::load(&files), Err(CertificateError::Read { path, .. }) if path == files.certificate)
        );
        write(&files.certificate, &cert_a);
        write(&files.key, &key_b);
        assert!(matches!(Certificate::load(&files), Err(CertificateError::Pair(_))));
        write(&files.key, &key_a);
        let certificate = Certificate::load(&files).unwrap();
        let first = end_entity(&certificate);
        certificate.reload_if_changed();
        assert_eq!(certificate.failures(), 0);
        // One file after the other: for a moment they are no pair.
        write(&files.certificate, &cert_b);
        certificate.reload_if_changed();
        assert_eq!((certificate.failures(), end_entity(&certificate)), (1, first.clone()));
        // Tried once, not every second.
        certificate.reload_if_changed();
        assert_eq!(certificate.failures(), 1);
        write(&files.key, &key_b);
        certificate.reload_if_changed();
        assert_eq!(certificate.failures(), 1);
        let second = end_entity(&certificate);
        assert_ne!(second, first);
        write(&files.certificate, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
        assert!(matches!(certificate.reload(), Err(CertificateError::Malformed { .. })));
        std::fs::remove_file(&files.certificate).unwrap();
        assert!(matches!(certificate.reload(), Err(CertificateError::Read { .. })));
        assert_eq!((certificate.failures(), end_entity(&certificate)), (3, second));
    }

    #[test]
    fn its_expiry_is_known() {
        let dir = tempfile::tempdir().unwrap();
        let files = TlsFiles { certificate: dir.path().join("cert.pem"), key: dir.path().join("key.pem") };
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(["a.example".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(2035, 1, 2);
        std::fs::write(&files.certificate, params.self_signed(&key).unwrap().pem()).unwrap();
        std::fs::write(&files.key, key.serialize_pem()).unwrap();
        assert_eq!(Certificate::load(&files).unwrap().expires_unix_s(), 2_051_308_800);
    }
}
