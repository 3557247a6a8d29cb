//! What is let through to the DTLS library, record by record.
//!
//! The library keeps whatever arrives before the handshake is complete, reassembles fragments by recursion and answers
//! malformed records with fatal alerts. So records are checked here first, and counted against a budget for the
//! association's whole life; what is not needed for a handshake and its end is dropped.

/// Handshake and ChangeCipherSpec records taken from the peer over an association's life. A handshake needs some
/// twelve, times its retransmissions. Higher tolerates worse networks; lower bounds recursion in reassembly.
pub(super) const RECORDS_MAX: u32 = 256;
/// Octets of those records: the worst case of memory held by the library. A handshake needs some two thousand, times its
/// retransmissions; more with RSA certificates and post-quantum key shares.
pub(super) const BYTES_MAX: usize = 64 * 1024;
/// The longest handshake message: certificates are a few hundred octets, seldom a few thousand.
const MESSAGE_LEN_MAX: usize = 16 * 1024;

const RECORD_HEADER_LEN: usize = 13;
pub(super) const HANDSHAKE_HEADER_LEN: usize = 12;

const CHANGE_CIPHER_SPEC: u8 = 20;
pub(super) const ALERT: u8 = 21;
pub(super) const HANDSHAKE: u8 = 22;
const WARNING: u8 = 1;
const FATAL: u8 = 2;
const CLOSE_NOTIFY: u8 = 0;

/// One record of a datagram.
#[derive(Clone, Copy)]
pub(super) struct Record<'a> {
    pub(super) content_type: u8,
    pub(super) epoch: u16,
    /// Header and body.
    pub(super) bytes: &'a [u8],
}

impl<'a> Record<'a> {
    pub(super) fn body(&self) -> &'a [u8] {
        &self.bytes[RECORD_HEADER_LEN..]
    }
}

/// The records of a datagram, up to the first that is malformed (RFC 6347 §4.1).
pub(super) fn records(mut datagram: &[u8]) -> impl Iterator<Item = Record<'_>> {
    std::iter::from_fn(move || {
        let header = datagram.get(..RECORD_HEADER_LEN)?;
        let version_known = header[1] == 0xfe && (header[2] == 0xfd || header[2] == 0xff);
        let len = RECORD_HEADER_LEN + usize::from(u16::from_be_bytes([header[11], header[12]]));
        let bytes = datagram.get(..len).filter(|bytes| version_known && bytes.len() > RECORD_HEADER_LEN)?;
        datagram = &datagram[len..];
        Some(Record { content_type: bytes[0], epoch: u16::from_be_bytes([bytes[3], bytes[4]]), bytes })
    })
}

/// One handshake message, or a fragment of one (RFC 6347 §4.2.2).
#[derive(Clone, Copy)]
pub(super) struct Fragment<'a> {
    pub(super) message_type: u8,
    pub(super) message_len: usize,
    pub(super) message_seq: u16,
    pub(super) offset: usize,
    pub(super) data: &'a [u8],
}

/// The fragments of a plain handshake record; `None` once one is malformed.
pub(super) fn fragments(mut body: &[u8]) -> impl Iterator<Item = Option<Fragment<'_>>> {
    std::iter::from_fn(move || {
        if body.is_empty() {
            return None;
        }
        let fragment = parse_fragment(body);
        body = match &fragment {
            Some(fragment) => &body[HANDSHAKE_HEADER_LEN + fragment.data.len()..],
            None => &[],
        };
        Some(fragment)
    })
}

fn parse_fragment(body: &[u8]) -> Option<Fragment<'_>> {
    let u24 =
        |at: usize| usize::from(body[at]) << 16 | usize::from(body[at + 1]) << 8 | usize::from(body[at + 2]);
    if body.len() < HANDSHAKE_HEADER_LEN {
        return None;
    }
    let (message_len, offset, len) = (u24(1), u24(6), u24(9));
    let message_seq = u16::from_be_bytes([body[4], body[5]]);
    if message_len > MESSAGE_LEN_MAX || offset + len > message_len || (len == 0 && message_len != 0) {
        return None;
    }
    let data = body.get(HANDSHAKE_HEADER_LEN..HANDSHAKE_HEADER_LEN + len)?;
    Some(Fragment { message_type: body[0], message_len, message_seq, offset, data })
}

/// The budget of one association.
#[derive(Default)]
pub(super) struct Guard {
    records: u32,
    bytes: usize,
}

/// What passed the guard.
#[derive(Default)]
pub(super) struct Passed {
    /// The records, one after another, as a datagram.
    pub(super) datagram: Vec<u8>,
    /// Whether one of them was a handshake record.
    pub(super) handshake: bool,
}

impl Guard {
    /// Copies the records of `datagram` that the library may see.
    pub(super) fn filter(&mut self, datagram: &[u8], connected: bool) -> Passed {
        let mut passed = Passed::default();
        for record in records(datagram) {
            if !admissible(record, connected) {
                continue;
            }
            // Alerts of a connected peer are authenticated, acted on and forgotten: they cost nothing.
            if !(connected && record.content_type == ALERT) {
                if self.records >= RECORDS_MAX || self.bytes + record.bytes.len() > BYTES_MAX {
                    continue;
                }
                self.records += 1;
                self.bytes += record.bytes.len();
            }
            passed.handshake |= record.content_type == HANDSHAKE;
            passed.datagram.extend_from_slice(record.bytes);
        }
        passed
    }
}

fn admissible(record: Record<'_>, connected: bool) -> bool {
    let body = record.body();
    match (record.content_type, record.epoch) {
        (HANDSHAKE, 0) => {
            // The library cannot read what follows a fragment within one record.
            let mut count = 0;
            let whole = fragments(body).all(|fragment| {
                count += 1;
                fragment.is_some_and(|fragment| fragment.data.len() == fragment.message_len)
            });
            whole || (count == 1 && fragments(body).all(|fragment| fragment.is_some()))
        }
        (HANDSHAKE | ALERT, 1) => true,
        (CHANGE_CIPHER_SPEC, 0) => !connected && body == [1],
        // In the clear anyone could have sent it, so once there are keys it means nothing.
        (ALERT, 0) => !connected && matches!(body, [FATAL, _] | [WARNING, CLOSE_NOTIFY]),
        // Application data would be data channels, which are not offered.
        _ => false,
    }
}
