//! Connectivity checks as an ICE-lite agent sees them (RFC 8445 §7.3), and as a client makes them.

use std::net::SocketAddr;

use crate::{Class, IntegrityKey, Message, MessageWriter, Method, StunError, TransactionId, attr};

/// Longest USERNAME, in bytes (RFC 8489 §14.3: fewer than 509; older agents may send up to 512).
const USERNAME_MAX: usize = 512;

/// Attributes below 0x8000 that a connectivity check may carry and that we understand.
const KNOWN: [u16; 5] = [
    attr::USERNAME,
    attr::PRIORITY,
    attr::USE_CANDIDATE,
    attr::MESSAGE_INTEGRITY,
    attr::MESSAGE_INTEGRITY_SHA256,
];

/// What the sender of a check believes its role to be, with its tie-breaker (RFC 8445 §7.1.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IceRole {
    /// ICE-CONTROLLING: right for the peer of a lite agent.
    Controlling(u64),
    /// ICE-CONTROLLED: a role conflict for a lite agent, answered with 487.
    Controlled(u64),
}

/// A Binding request of ICE, borrowed from its datagram. Unproven until [`BindingRequest::verify`].
#[derive(Debug, Clone, Copy)]
pub struct BindingRequest<'a> {
    message: Message<'a>,
    username: &'a str,
    colon: usize,
    priority: Option<u32>,
    use_candidate: bool,
    role: Option<IceRole>,
}

impl<'a> BindingRequest<'a> {
    /// Reads a check without allocating and without any HMAC, so that a forged one costs a look-up by
    /// [`local_ufrag`](Self::local_ufrag) and no more.
    ///
    /// # Errors
    /// [`StunError`] when it is not a well-formed Binding request with a two-part USERNAME.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, StunError> {
        Self::from_message(Message::parse(datagram)?)
    }

    /// The same for a message that is parsed already.
    ///
    /// # Errors
    /// As [`BindingRequest::parse`].
    pub fn from_message(message: Message<'a>) -> Result<Self, StunError> {
        if message.class() != Class::Request || message.method() != Method::BINDING {
            return Err(StunError::UnexpectedType);
        }
        let mut username = None;
        let mut priority = None;
        let mut use_candidate = false;
        let mut role = None;
        for (kind, value) in message.attributes() {
            match kind {
                attr::USERNAME if username.is_none() => username = Some(value),
                attr::PRIORITY if priority.is_none() => {
                    priority = Some(u32::from_be_bytes(sized(kind, value)?));
                }
                attr::USE_CANDIDATE => {
                    let [] = sized(kind, value)?;
                    use_candidate = true;
                }
                attr::ICE_CONTROLLING if role.is_none() => {
                    role = Some(IceRole::Controlling(u64::from_be_bytes(sized(kind, value)?)));
                }
                attr::ICE_CONTROLLED if role.is_none() => {
                    role = Some(IceRole::Controlled(u64::from_be_bytes(sized(kind, value)?)));
                }
                _ => {}
            }
        }
        let username = username.ok_or(StunError::MissingUsername)?;
        if username.len() > USERNAME_MAX {
            return Err(StunError::InvalidUsername);
        }
        let username = std::str::from_utf8(username).map_err(|_| StunError::InvalidUsername)?;
        let colon = username.find(':').ok_or(StunError::InvalidUsername)?;
        Ok(Self { message, username, colon, priority, use_candidate, role })
    }

    /// The transaction id to answer with.
    #[must_use]
    pub fn transaction_id(&self) -> TransactionId {
        self.message.transaction_id()
    }

    /// USERNAME as sent: `receiver's ufrag ":" sender's ufrag` (RFC 8445 §7.2.2).
    #[must_use]
    pub fn username(&self) -> &'a str {
        self.username
    }

    /// The receiver's half, which is ours: find the transport by it.
    #[must_use]
    pub fn local_ufrag(&self) -> &'a str {
        &self.username[..self.colon]
    }

    /// The sender's half.
    #[must_use]
    pub fn remote_ufrag(&self) -> &'a str {
        &self.username[self.colon + 1..]
    }

    /// PRIORITY, which every check must carry (RFC 8445 §7.1.1).
    #[must_use]
    pub fn priority(&self) -> Option<u32> {
        self.priority
    }

    /// Whether the sender nominates this pair.
    #[must_use]
    pub fn use_candidate(&self) -> bool {
        self.use_candidate
    }

    /// The sender's role and tie-breaker.
    #[must_use]
    pub fn role(&self) -> Option<IceRole> {
        self.role
    }

    /// Attributes that must be understood and are not, for a 420 response.
    pub fn unknown_required(&self) -> impl Iterator<Item = u16> + use<'a> {
        self.message.unknown_required(&KNOWN)
    }

    /// The message underneath.
    #[must_use]
    pub fn message(&self) -> &Message<'a> {
        &self.message
    }

    /// Whether it was made with our password, by MESSAGE-INTEGRITY in constant time; attributes behind it count
    /// for nothing (FINGERPRINT was checked on parsing).
    #[must_use]
    pub fn verify(&self, key: &IntegrityKey) -> bool {
        self.message.verify(key)
    }
}

fn sized<const N: usize>(kind: u16, value: &[u8]) -> Result<[u8; N], StunError> {
    value.try_into().map_err(|_| StunError::InvalidAttribute(kind))
}

/// Appends the success response to a check: XOR-MAPPED-ADDRESS, MESSAGE-INTEGRITY, FINGERPRINT
/// (RFC 8445 §7.3.1.2). `mapped` is where the request came from; an IPv4-mapped address is written as IPv4.
pub fn write_binding_success(
    out: &mut Vec<u8>,
    transaction_id: &TransactionId,
    mapped: SocketAddr,
    key: &IntegrityKey,
) {
    let mapped = SocketAddr::new(mapped.ip().to_canonical(), mapped.port());
    MessageWriter::new(out, Class::Success, Method::BINDING, transaction_id)
        .xor_address(attr::XOR_MAPPED_ADDRESS, mapped)
        .integrity(key)
        .fingerprint()
        .finish();
}

/// Appends an error response to a check, with integrity when the key is known (401 and 400 are sent without).
pub fn write_binding_error(
    out: &mut Vec<u8>,
    transaction_id: &TransactionId,
    code: u16,
    reason: &str,
    key: Option<&IntegrityKey>,
) {
    let mut writer =
        MessageWriter::new(out, Class::Error, Method::BINDING, transaction_id).error(code, reason);
    if let Some(key) = key {
        writer = writer.integrity(key);
    }
    writer.fingerprint().finish();
}

/// What a client puts into a Binding request.
#[derive(Debug, Clone, Copy, Default)]
pub struct BindingRequestParams<'a> {
    /// `receiver's ufrag ":" sender's ufrag`; none makes a plain request, as a health check sends.
    pub username: Option<&'a str>,
    /// PRIORITY.
    pub priority: Option<u32>,
    /// USE-CANDIDATE.
    pub use_candidate: bool,
    /// ICE-CONTROLLING or ICE-CONTROLLED.
    pub role: Option<IceRole>,
}

/// Appends a client's Binding request, with integrity when there is a key, and FINGERPRINT.
pub fn write_binding_request(
    out: &mut Vec<u8>,
    transaction_id: &TransactionId,
    params: &BindingRequestParams<'_>,
    key: Option<&IntegrityKey>,
) {
    let mut writer = MessageWriter::new(out, Class::Request, Method::BINDING, transaction_id);
    if let Some(username) = params.username {
        writer = writer.attribute(attr::USERNAME, username.as_bytes());
    }
    if let Some(priority) = params.priority {
        writer = writer.attribute_u32(attr::PRIORITY, priority);
    }
    if params.use_candidate {
        writer = writer.attribute(attr::USE_CANDIDATE, &[]);
    }
    writer = match params.role {
        Some(IceRole::Controlling(tie)) => writer.attribute(attr::ICE_CONTROLLING, &tie.to_be_bytes()),
        Some(IceRole::Controlled(tie)) => writer.attribute(attr::ICE_CONTROLLED, &tie.to_be_bytes()),
        None => writer,
    };
    if let Some(key) = key {
        writer = writer.integrity(key);
    }
    writer.fingerprint().finish();
}
