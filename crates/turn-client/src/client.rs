//! Requests with their retransmissions and authentication, and relayed data.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use trunkline_stun::{
    AddressFamily, ChannelData, Class, Integrity, IntegrityKey, Message, MessageWriter, Method, PacketKind,
    PasswordAlgorithm, TransactionId, attr, classify,
};

use crate::Link;

/// The first retransmission of a request over UDP; each further one waits twice as long (RFC 8489 §6.2.1).
const RTO: Duration = Duration::from_millis(500);

/// Relayed packets that wait to be asked for. More are dropped, oldest first.
const WAITING_MAX: usize = 256;

/// UDP, as REQUESTED-TRANSPORT names it (RFC 8656 §18.7).
const TRANSPORT_UDP: [u8; 4] = [17, 0, 0, 0];

/// A long-term credential (RFC 8489 §9.2). Not `Debug`: it opens the relay.
#[derive(Clone)]
pub struct LongTerm {
    /// USERNAME.
    pub username: String,
    /// Never sent.
    pub password: String,
}

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The server said no.
    #[error("{code} {reason}")]
    Refused {
        /// ERROR-CODE; 0 if there was none.
        code: u16,
        /// Its text.
        reason: String,
    },
    /// Nothing came in time.
    #[error("no answer")]
    NoAnswer,
    /// What came is not what the RFCs say.
    #[error("the answer {0}")]
    Malformed(&'static str),
    /// The socket failed.
    #[error(transparent)]
    Io(io::Error),
    /// The system gave no random bytes.
    #[error("no entropy")]
    Entropy,
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::TimedOut => Self::NoAnswer,
            io::ErrorKind::InvalidData => Self::Malformed("is neither STUN nor ChannelData"),
            _ => Self::Io(error),
        }
    }
}

/// What the server wants to be authenticated with.
struct Challenge {
    realm: Vec<u8>,
    nonce: Vec<u8>,
    /// PASSWORD-ALGORITHMS as it was sent, to be given back, if SHA-256 was chosen from it.
    algorithms: Option<Vec<u8>>,
    key: IntegrityKey,
}

/// From whom a relayed packet came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// In a Data indication.
    Peer(SocketAddr),
    /// On a channel.
    Channel(u16),
}

/// A relayed packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relayed {
    /// Who sent it.
    pub source: Source,
    /// Its bytes.
    pub payload: Vec<u8>,
}

/// An answer, well-formed and to the request that was sent.
#[derive(Debug, Clone)]
pub struct Response {
    data: Vec<u8>,
    /// From the last transmission of the request to the answer.
    pub took: Duration,
    /// Whether MESSAGE-INTEGRITY proves that the server knows the password; `None`: nothing to prove, unsigned request.
    pub proven: Option<bool>,
}

impl Response {
    /// The message.
    #[must_use]
    pub fn message(&self) -> Message<'_> {
        Message::parse(&self.data).expect("parsed when it arrived")
    }

    /// 0 for success, else ERROR-CODE.
    #[must_use]
    pub fn code(&self) -> u16 {
        match self.message().class() {
            Class::Success => 0,
            _ => self.message().error_code().map_or(600, |(code, _)| code),
        }
    }

    /// Itself, if it is a success.
    ///
    /// # Errors
    /// [`Failure::Refused`].
    pub fn accepted(self) -> Result<Self, Failure> {
        match self.code() {
            0 => Ok(self),
            code => {
                let reason = self.message().error_code().map_or("", |(_, reason)| reason);
                // A stranger's text, and the terminal is ours.
                let reason = reason.chars().filter(|c| !c.is_control()).take(80).collect();
                Err(Failure::Refused { code, reason })
            }
        }
    }

    /// Whether a challenge offers SHA-256.
    #[must_use]
    pub fn offers_sha_256(&self) -> bool {
        self.message().attribute(attr::PASSWORD_ALGORITHMS).is_some_and(offers_sha_256)
    }

    /// XOR-RELAYED-ADDRESS.
    ///
    /// # Errors
    /// [`Failure::Malformed`].
    pub fn relayed(&self) -> Result<SocketAddr, Failure> {
        let relayed = self.message().xor_address(attr::XOR_RELAYED_ADDRESS);
        relayed.ok_or(Failure::Malformed("has no XOR-RELAYED-ADDRESS"))
    }

    /// XOR-MAPPED-ADDRESS: where the server sees us.
    ///
    /// # Errors
    /// [`Failure::Malformed`].
    pub fn mapped(&self) -> Result<SocketAddr, Failure> {
        let mapped = self.message().xor_address(attr::XOR_MAPPED_ADDRESS);
        mapped.ok_or(Failure::Malformed("has no XOR-MAPPED-ADDRESS"))
    }
}

/// One 5-tuple, and at most one allocation.
pub struct Client {
    link: Link,
    credentials: Option<LongTerm>,
    challenge: Option<Challenge>,
    waiting: VecDeque<Relayed>,
    patience: Duration,
    sha_256: bool,
}

/// Adds a request's attributes.
type Attributes<'f> = &'f dyn for<'b> Fn(MessageWriter<'b>) -> MessageWriter<'b>;

impl Client {
    /// A client on that link. Without credentials every answer, a 401 too, is the caller's.
    #[must_use]
    pub fn new(link: Link, credentials: Option<LongTerm>) -> Self {
        let (challenge, waiting) = (None, VecDeque::new());
        Self { link, credentials, challenge, waiting, patience: Duration::from_secs(4), sha_256: false }
    }

    /// How long an answer may take, retransmissions included. Four seconds unless set.
    pub fn set_patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// From now on requests are signed, once the server has asked for it.
    pub fn set_credentials(&mut self, credentials: Option<LongTerm>) {
        (self.credentials, self.challenge) = (credentials, None);
    }

    /// From now on SHA-256 is chosen where it is offered (RFC 8489 §9.2.5), and MD5 with HMAC-SHA1 elsewhere. Without
    /// this it is the latter everywhere, as browsers do it.
    pub fn choose_sha_256(&mut self) {
        (self.sha_256, self.challenge) = (true, None);
    }

    /// What it speaks over.
    #[must_use]
    pub fn link(&self) -> &Link {
        &self.link
    }

    /// Gives the link back; the allocation lives on.
    #[must_use]
    pub fn into_link(self) -> Link {
        self.link
    }

    /// STUN's Binding (RFC 8489 §3): where the server sees us.
    ///
    /// # Errors
    /// [`Failure`], but not [`Failure::Refused`]: that is a [`Response`] here as everywhere.
    pub fn binding(&mut self) -> Result<Response, Failure> {
        self.exchange(Method::BINDING, &|writer| writer, false)
    }

    /// Allocate (RFC 8656 §7), of a family if one is named.
    ///
    /// # Errors
    /// [`Failure`], but not [`Failure::Refused`].
    pub fn allocate(&mut self, family: Option<AddressFamily>) -> Result<Response, Failure> {
        self.request(Method::ALLOCATE, &|writer| {
            let writer = writer.attribute(attr::REQUESTED_TRANSPORT, &TRANSPORT_UDP);
            match family {
                Some(family) => writer.attribute(attr::REQUESTED_ADDRESS_FAMILY, &[family.code(), 0, 0, 0]),
                None => writer,
            }
        })
    }

    /// Refresh (RFC 8656 §8); a lifetime of zero seconds ends the allocation.
    ///
    /// # Errors
    /// [`Failure`], but not [`Failure::Refused`].
    pub fn refresh(&mut self, lifetime: u32) -> Result<Response, Failure> {
        self.request(Method::REFRESH, &|writer| writer.attribute_u32(attr::LIFETIME, lifetime))
    }

    /// CreatePermission (RFC 8656 §10) for all of `peers`.
    ///
    /// # Errors
    /// [`Failure`], but not [`Failure::Refused`].
    pub fn permit(&mut self, peers: &[SocketAddr]) -> Result<Response, Failure> {
        self.request(Method::CREATE_PERMISSION, &|writer| {
            peers.iter().fold(writer, |writer, peer| writer.xor_address(attr::XOR_PEER_ADDRESS, *peer))
        })
    }

    /// ChannelBind (RFC 8656 §12).
    ///
    /// # Errors
    /// [`Failure`], but not [`Failure::Refused`].
    pub fn bind(&mut self, channel: u16, peer: SocketAddr) -> Result<Response, Failure> {
        self.request(Method::CHANNEL_BIND, &|writer| {
            let writer = writer.attribute_u32(attr::CHANNEL_NUMBER, u32::from(channel) << 16);
            writer.xor_address(attr::XOR_PEER_ADDRESS, peer)
        })
    }

    /// Any request. It is sent again with credentials after a 401, and with the new nonce after a 438.
    ///
    /// # Errors
    /// [`Failure`], but not [`Failure::Refused`].
    pub fn request(&mut self, method: Method, attributes: Attributes<'_>) -> Result<Response, Failure> {
        let mut response = self.exchange(method, attributes, true)?;
        // Once for the challenge, once for a nonce that went stale (RFC 8489 §9.2.5).
        for _ in 0..2 {
            let asked_for_more = match response.code() {
                401 => self.challenge.is_none(),
                438 => true,
                _ => false,
            };
            if !asked_for_more || !self.learn(&response)? {
                break;
            }
            response = self.exchange(method, attributes, true)?;
        }
        Ok(response)
    }

    /// Keeps what the server challenges with; false without credentials.
    fn learn(&mut self, response: &Response) -> Result<bool, Failure> {
        let Some(LongTerm { username, password }) = &self.credentials else { return Ok(false) };
        let message = response.message();
        let nonce = message.attribute(attr::NONCE).ok_or(Failure::Malformed("has no NONCE"))?.to_vec();
        let realm = match (message.attribute(attr::REALM), &self.challenge) {
            (Some(realm), _) => realm.to_vec(),
            (None, Some(known)) => known.realm.clone(),
            (None, None) => return Err(Failure::Malformed("has no REALM")),
        };
        let algorithms = message.attribute(attr::PASSWORD_ALGORITHMS);
        let algorithms = algorithms.filter(|list| self.sha_256 && offers_sha_256(list)).map(<[u8]>::to_vec);
        let (algorithm, integrity) = match algorithms {
            Some(_) => (PasswordAlgorithm::Sha256, Integrity::Sha256),
            None => (PasswordAlgorithm::Md5, Integrity::Sha1),
        };
        let (name, password) = (username.as_bytes(), password.as_bytes());
        let key = IntegrityKey::long_term_with(algorithm, integrity, name, &realm, password);
        self.challenge = Some(Challenge { realm, nonce, algorithms, key });
        Ok(true)
    }

    /// One request and its answer. Relayed data that arrives meanwhile is kept.
    fn exchange(
        &mut self,
        method: Method,
        attributes: Attributes<'_>,
        sign: bool,
    ) -> Result<Response, Failure> {
        let mut id = TransactionId([0; 12]);
        aws_lc_rs::rand::fill(&mut id.0).map_err(|_| Failure::Entropy)?;
        let mut request = Vec::new();
        let mut writer = attributes(MessageWriter::new(&mut request, Class::Request, method, &id));
        let challenge = self.challenge.as_ref().filter(|_| sign);
        if let (Some(challenge), Some(credentials)) = (challenge, &self.credentials) {
            writer = writer
                .attribute(attr::USERNAME, credentials.username.as_bytes())
                .attribute(attr::REALM, &challenge.realm)
                .attribute(attr::NONCE, &challenge.nonce);
            if let Some(algorithms) = &challenge.algorithms {
                writer = writer
                    .attribute(attr::PASSWORD_ALGORITHMS, algorithms)
                    .attribute(attr::PASSWORD_ALGORITHM, &PasswordAlgorithm::Sha256.value());
            }
            writer = writer.integrity(&challenge.key);
        }
        writer.fingerprint().finish();
        let end = Instant::now() + self.patience;
        let mut wait = RTO;
        loop {
            let sent = Instant::now();
            self.link.send(&request)?;
            let again = if self.link.is_datagram() { end.min(sent + wait) } else { end };
            match self.answer(id, again) {
                Ok(data) => {
                    let challenge = self.challenge.as_ref().filter(|_| sign);
                    let proven = challenge
                        .map(|challenge| Message::parse(&data).is_ok_and(|m| m.verify(&challenge.key)));
                    return Ok(Response { data, took: sent.elapsed(), proven });
                }
                Err(Failure::NoAnswer) if again < end => wait *= 2,
                Err(failure) => return Err(failure),
            }
        }
    }

    /// The answer to `id`.
    fn answer(&mut self, id: TransactionId, deadline: Instant) -> Result<Vec<u8>, Failure> {
        loop {
            let data = self.link.receive(deadline)?;
            let is_answer = Message::parse(&data).is_ok_and(|message| {
                message.transaction_id() == id && matches!(message.class(), Class::Success | Class::Error)
            });
            if is_answer {
                return Ok(data);
            }
            self.keep(&data);
        }
    }

    /// Keeps relayed data; anything else is none of our business.
    fn keep(&mut self, data: &[u8]) {
        let Some(relayed) = relayed(data) else { return };
        if self.waiting.len() == WAITING_MAX {
            self.waiting.pop_front();
        }
        self.waiting.push_back(relayed);
    }

    /// A Send indication (RFC 8656 §11).
    ///
    /// # Errors
    /// As the link's.
    pub fn send(&mut self, peer: SocketAddr, payload: &[u8]) -> Result<(), Failure> {
        Ok(self.link.send(&send_indication(peer, payload))?)
    }

    /// ChannelData (RFC 8656 §12.4).
    ///
    /// # Errors
    /// As the link's; [`io::ErrorKind::InvalidInput`] for a payload of 64 KiB or more.
    pub fn send_channel(&mut self, channel: u16, payload: &[u8]) -> Result<(), Failure> {
        let length = u16::try_from(payload.len());
        let length = length.map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        let mut message = ChannelData::header(channel, length).to_vec();
        message.extend_from_slice(payload);
        Ok(self.link.send(&message)?)
    }

    /// The next relayed packet, within `patience`.
    ///
    /// # Errors
    /// [`Failure::NoAnswer`], or as the link's.
    pub fn next_relayed(&mut self, patience: Duration) -> Result<Relayed, Failure> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(relayed) = self.waiting.pop_front() {
                return Ok(relayed);
            }
            let data = self.link.receive(deadline)?;
            self.keep(&data);
        }
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("link", &self.link).finish_non_exhaustive()
    }
}

/// Whether PASSWORD-ALGORITHMS (RFC 8489 §14.11) names SHA-256.
pub(crate) fn offers_sha_256(mut list: &[u8]) -> bool {
    while let Some((entry, rest)) = list.split_first_chunk::<4>() {
        if *entry == PasswordAlgorithm::Sha256.value() {
            return true;
        }
        let parameters = usize::from(u16::from_be_bytes([entry[2], entry[3]])).next_multiple_of(4);
        list = rest.get(parameters..).unwrap_or_default();
    }
    false
}

/// A whole Send indication.
fn send_indication(peer: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(payload.len() + 64);
    // Nobody answers an indication: its transaction id joins nothing.
    MessageWriter::new(&mut message, Class::Indication, Method::SEND, &TransactionId([0x5A; 12]))
        .xor_address(attr::XOR_PEER_ADDRESS, peer)
        .attribute(attr::DATA, payload)
        .finish();
    message
}

/// What ChannelData or a Data indication carries.
fn relayed(data: &[u8]) -> Option<Relayed> {
    if classify(data) == PacketKind::TurnChannel {
        let ChannelData { channel, payload } = ChannelData::parse(data)?;
        return Some(Relayed { source: Source::Channel(channel), payload: payload.to_vec() });
    }
    let message = Message::parse(data).ok()?;
    if (message.class(), message.method()) != (Class::Indication, Method::DATA) {
        return None;
    }
    let source = Source::Peer(message.xor_address(attr::XOR_PEER_ADDRESS)?);
    Some(Relayed { source, payload: message.attribute(attr::DATA)?.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sha_256_is_found_behind_other_algorithms() {
        assert!(offers_sha_256(&[0, 2, 0, 0]));
        assert!(offers_sha_256(&[0, 1, 0, 0, 0, 2, 0, 0]));
        assert!(offers_sha_256(&[0, 9, 0, 3, 1, 2, 3, 0, 0, 2, 0, 0]));
        assert!(!offers_sha_256(&[0, 1, 0, 0]));
        assert!(!offers_sha_256(&[0, 9, 0xFF, 0xFF, 0, 2, 0, 0]));
        assert!(!offers_sha_256(&[0, 2, 0]));
    }
}
