//! `Upload-Checksum` (tus 1.0.0, checksum): an algorithm and what the bytes of one request hash to.

use aws_lc_rs::digest;
use base64::{Engine, engine::general_purpose::STANDARD};
use sha1::Digest;

use crate::problem::{Code, Problem};

/// What `Tus-Checksum-Algorithm` tells.
pub(super) const ALGORITHMS: &str = "sha1,sha256,crc32c";

enum Hasher {
    Sha1(sha1::Sha1),
    Sha256(digest::Context),
    Crc32c(crc_fast::Digest),
}

/// The hash so far, and what it must become.
pub(super) struct Checksum {
    hasher: Hasher,
    expected: Vec<u8>,
}

impl Checksum {
    /// Reads the header's value: `sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=`.
    pub(super) fn parse(text: &str) -> Result<Checksum, Problem> {
        let (algorithm, value) = text.split_once(' ').unwrap_or((text, ""));
        let (hasher, bytes) = match algorithm {
            "sha1" => (Hasher::Sha1(sha1::Sha1::new()), 20),
            "sha256" => (Hasher::Sha256(digest::Context::new(&digest::SHA256)), 32),
            "crc32c" => (Hasher::Crc32c(crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi)), 4),
            _ => return Err(Problem::new(Code::BadChecksum, "algorithms are sha1, sha256 and crc32c")),
        };
        let expected = STANDARD.decode(value.trim()).unwrap_or_default();
        if expected.len() != bytes {
            return Err(Problem::new(
                Code::BadRequest,
                "the checksum is not base64 of its algorithm's length",
            ));
        }
        Ok(Checksum { hasher, expected })
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        match &mut self.hasher {
            Hasher::Sha1(hasher) => hasher.update(bytes),
            Hasher::Sha256(hasher) => hasher.update(bytes),
            Hasher::Crc32c(hasher) => hasher.update(bytes),
        }
    }

    pub(super) fn matches(self) -> bool {
        match self.hasher {
            Hasher::Sha1(hasher) => hasher.finalize().as_slice() == self.expected,
            Hasher::Sha256(hasher) => hasher.finish().as_ref() == self.expected,
            // 32 bits, whatever the library keeps them in.
            Hasher::Crc32c(hasher) => hasher.finalize().to_be_bytes().ends_with(&self.expected),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_algorithms_agree_with_their_vectors() {
        for (line, good) in [
            ("sha1 qZk+NkcGgWq6PiVxeFDCbJzQ2J0=", true),
            ("sha256 ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=", true),
            ("sha256 ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa4=", false),
        ] {
            let mut checksum = Checksum::parse(line).unwrap();
            checksum.update(b"a");
            checksum.update(b"bc");
            assert_eq!(checksum.matches(), good, "{line}");
        }
        // The check value of RFC 3720 §B.4's polynomial.
        let mut checksum = Checksum::parse("crc32c 4waSgw==").unwrap();
        checksum.update(b"123456789");
        assert!(checksum.matches());
        assert!(Checksum::parse("md5 AAAA").is_err());
        assert!(Checksum::parse("sha1 AAAA").is_err());
        assert!(Checksum::parse("sha1").is_err());
    }
}
