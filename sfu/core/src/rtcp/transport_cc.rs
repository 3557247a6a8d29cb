//! Transport-wide feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01 §3.1): which packets arrived, and
//! when, in steps of 250 µs.

use std::time::Duration;

use super::write::{begin, end, put_u32};
use super::{FORMAT_TRANSPORT_CC, TRANSPORT_LAYER_FEEDBACK};
use crate::rtp::Malformed;

/// One step of an arrival time.
const TICK_US: u64 = 250;
/// The reference time counts 64 ms.
const TICKS_PER_REFERENCE: i64 = 64_000 / TICK_US as i64;
/// The reference time has 24 bits.
const REFERENCE_MASK: i64 = 0xff_ffff;
/// Statuses in one packet that we write: 1,000 bytes of large deltas and 144 of chunks fit any path's MTU.
const STATUSES_MAX: usize = 500;
/// Statuses in one packet that we read: a run-length chunk of two bytes can claim thousands, and each is looked at.
const STATUSES_READ_MAX: usize = 2_048;
/// A run-length chunk counts in 13 bits.
const RUN_MAX: usize = 0x1fff;
/// Symbols in a status vector chunk of one bit, and of two.
const ONE_BIT_SYMBOLS: usize = 14;
const TWO_BIT_SYMBOLS: usize = 7;

/// Status symbols of the draft's §3.1.1.
const NOT_RECEIVED: u8 = 0;
const SMALL_DELTA: u8 = 1;
const LARGE_DELTA: u8 = 2;

/// A feedback packet as received: its chunks and deltas have been checked to be whole.
#[derive(Clone, Copy, Debug)]
pub struct TransportFeedback<'a> {
    /// Who reports.
    pub sender_ssrc: u32,
    /// Any of the transport's media streams.
    pub media_ssrc: u32,
    /// Transport-wide sequence number of the first status.
    pub base_sequence: u16,
    /// How many packets are reported on.
    pub status_count: u16,
    /// Reference time in 64 ms, 24 bits, wrapping.
    pub reference_time: u32,
    /// Counts feedback packets, wrapping.
    pub feedback_count: u8,
    chunks: &'a [u8],
    deltas: &'a [u8],
}

/// What became of one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// Transport-wide sequence number.
    pub sequence: u16,
    /// When it arrived, in 250 µs since the reporter's epoch, modulo the 24 bits of the reference time (12.4
    /// days); `None` if it did not, or if the reporter does not say when.
    pub arrival_ticks: Option<i64>,
}

impl<'a> TransportFeedback<'a> {
    pub(super) fn parse(sender_ssrc: u32, media_ssrc: u32, fci: &'a [u8]) -> Result<Self, Malformed> {
        let Some((&[b0, b1, c0, c1, r0, r1, r2, feedback_count], rest)) = fci.split_first_chunk::<8>() else {
            return Err(Malformed("RTCP: transport feedback shorter than its header"));
        };
        let status_count = u16::from_be_bytes([c0, c1]);
        if usize::from(status_count) > STATUSES_READ_MAX {
            return Err(Malformed("RTCP: transport feedback on more packets than a second has"));
        }
        let mut symbols = Symbols::new(rest, status_count);
        let mut deltas_len = 0;
        let mut told = 0;
        for symbol in &mut symbols {
            told += 1;
            deltas_len += delta_len(symbol);
        }
        if told != status_count {
            return Err(Malformed("RTCP: transport feedback has fewer statuses than counted"));
        }
        let (chunks, deltas) = rest.split_at(rest.len() - symbols.rest.len());
        if deltas.len() < deltas_len {
            return Err(Malformed("RTCP: transport feedback has fewer deltas than statuses"));
        }
        Ok(Self {
            sender_ssrc,
            media_ssrc,
            base_sequence: u16::from_be_bytes([b0, b1]),
            status_count,
            reference_time: u32::from_be_bytes([0, r0, r1, r2]),
            feedback_count,
            chunks,
            deltas,
        })
    }

    /// One status for each packet reported on, in ascending order of sequence.
    pub fn statuses(&self) -> Statuses<'a> {
        Statuses {
            symbols: Symbols::new(self.chunks, self.status_count),
            deltas: self.deltas,
            sequence: self.base_sequence,
            ticks: i64::from(self.reference_time) * TICKS_PER_REFERENCE,
        }
    }
}

/// Iterates over the statuses of a [`TransportFeedback`].
#[derive(Clone, Debug)]
pub struct Statuses<'a> {
    symbols: Symbols<'a>,
    deltas: &'a [u8],
    sequence: u16,
    ticks: i64,
}

impl Iterator for Statuses<'_> {
    type Item = Status;

    fn next(&mut self) -> Option<Status> {
        let symbol = self.symbols.next()?;
        let (delta, rest) = self.deltas.split_at_checked(delta_len(symbol))?;
        self.deltas = rest;
        let delta = match *delta {
            [small] => Some(i64::from(small)),
            [high, low] => Some(i64::from(i16::from_be_bytes([high, low]))),
            _ => None,
        };
        let arrival_ticks = delta.map(|delta| {
            self.ticks += delta;
            self.ticks
        });
        let sequence = self.sequence;
        self.sequence = sequence.wrapping_add(1);
        Some(Status { sequence, arrival_ticks })
    }
}

fn delta_len(symbol: u8) -> usize {
    match symbol {
        SMALL_DELTA => 1,
        LARGE_DELTA => 2,
        _ => 0,
    }
}

/// Unpacks chunks into symbols, `remaining` of them at most. What follows the last chunk stays in `rest`.
#[derive(Clone, Debug)]
struct Symbols<'a> {
    rest: &'a [u8],
    remaining: u16,
    chunk: u16,
    /// Symbols of the current chunk still to be told.
    in_chunk: u16,
}

impl<'a> Symbols<'a> {
    fn new(rest: &'a [u8], remaining: u16) -> Self {
        Self { rest, remaining, chunk: 0, in_chunk: 0 }
    }
}

impl Iterator for Symbols<'_> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        if self.remaining == 0 {
            return None;
        }
        while self.in_chunk == 0 {
            let (chunk, rest) = self.rest.split_first_chunk::<2>()?;
            self.rest = rest;
            self.chunk = u16::from_be_bytes(*chunk);
            self.in_chunk = match self.chunk >> 14 {
                0b10 => ONE_BIT_SYMBOLS as u16,
                0b11 => TWO_BIT_SYMBOLS as u16,
                _ => self.chunk & RUN_MAX as u16,
            };
        }
        self.remaining -= 1;
        self.in_chunk -= 1;
        let symbol = match self.chunk >> 14 {
            0b10 => self.chunk >> self.in_chunk & 1,
            0b11 => self.chunk >> (2 * self.in_chunk) & 3,
            _ => self.chunk >> 13 & 3,
        };
        Some(symbol as u8)
    }
}

/// Appends one feedback packet on `statuses`: transport-wide sequence numbers (extended, ascending) with when each
/// arrived since any fixed epoch. A number left out between two others counts as not arrived.
///
/// Returns how many statuses the packet covers. It is fewer than given where the packet would grow past an MTU or
/// a step between two arrivals passes 8.19 s: call again with the rest and the next `feedback_count`. Where none of
/// `statuses` arrived there is nothing to say: nothing is appended and all of them count as covered.
pub fn write_transport_feedback(
    out: &mut Vec<u8>,
    sender_ssrc: u32,
    media_ssrc: u32,
    feedback_count: u8,
    statuses: &[(u64, Option<Duration>)],
) -> usize {
    let Some(first_arrival) = statuses.iter().find_map(|(_, arrival)| *arrival) else {
        return statuses.len();
    };
    let reference = ticks(first_arrival).div_euclid(TICKS_PER_REFERENCE);
    let base = statuses[0].0;
    let mut plan = Plan { symbols: Vec::new(), deltas: Vec::new(), ticks: reference * TICKS_PER_REFERENCE };
    let covered =
        statuses.iter().take_while(|(sequence, arrival)| plan.add(*sequence - base, *arrival)).count();

    let start = begin(out, TRANSPORT_LAYER_FEEDBACK, FORMAT_TRANSPORT_CC);
    put_u32(out, sender_ssrc);
    put_u32(out, media_ssrc);
    out.extend_from_slice(&(base as u16).to_be_bytes());
    out.extend_from_slice(&(plan.symbols.len() as u16).to_be_bytes());
    put_u32(out, ((reference & REFERENCE_MASK) as u32) << 8 | u32::from(feedback_count));
    write_chunks(out, &plan.symbols);
    out.extend_from_slice(&plan.deltas);
    let padding = (out.len() - start).wrapping_neg() % 4;
    if padding > 0 {
        out[start] |= 0x20;
        out.resize(out.len() + padding, 0);
        if let Some(count) = out.last_mut() {
            *count = padding as u8;
        }
    }
    end(out, start);
    covered.max(1)
}

/// Arrivals become whole ticks first and differences after, so that rounding never adds up.
fn ticks(arrival: Duration) -> i64 {
    (arrival.as_micros() / u128::from(TICK_US)) as i64
}

struct Plan {
    symbols: Vec<u8>,
    deltas: Vec<u8>,
    ticks: i64,
}

impl Plan {
    /// Adds the status of the packet `offset` after the base; false, and nothing added, if it does not fit.
    fn add(&mut self, offset: u64, arrival: Option<Duration>) -> bool {
        let Some(gap) = usize::try_from(offset).ok().and_then(|o| o.checked_sub(self.symbols.len())) else {
            return false;
        };
        if gap >= STATUSES_MAX - self.symbols.len() {
            return false;
        }
        let symbol = match arrival {
            None => NOT_RECEIVED,
            Some(arrival) => {
                let delta = ticks(arrival) - self.ticks;
                let symbol = if let Ok(small) = u8::try_from(delta) {
                    self.deltas.push(small);
                    SMALL_DELTA
                } else if let Ok(large) = i16::try_from(delta) {
                    self.deltas.extend_from_slice(&large.to_be_bytes());
                    LARGE_DELTA
                } else {
                    return false;
                };
                self.ticks += delta;
                symbol
            }
        };
        self.symbols.resize(self.symbols.len() + gap, NOT_RECEIVED);
        self.symbols.push(symbol);
        true
    }
}

/// Packs greedily: a run where it covers at least as many symbols as a vector would, else the densest vector.
fn write_chunks(out: &mut Vec<u8>, symbols: &[u8]) {
    let mut rest = symbols;
    while let Some(&symbol) = rest.first() {
        let run = rest.iter().take_while(|&&s| s == symbol).count().min(RUN_MAX);
        let window = &rest[..rest.len().min(ONE_BIT_SYMBOLS)];
        let one_bit = window.iter().all(|&s| s != LARGE_DELTA);
        let vector = if one_bit { ONE_BIT_SYMBOLS } else { TWO_BIT_SYMBOLS };
        let (chunk, taken) = if run >= vector || run == rest.len() {
            (u16::from(symbol) << 13 | run as u16, run)
        } else {
            let taken = rest.len().min(vector);
            let (head, width) = if one_bit { (0b10, 1) } else { (0b11, 2) };
            let packed = (0..vector)
                .map(|i| rest.get(i).copied().unwrap_or(NOT_RECEIVED))
                .fold(0, |packed, symbol| packed << width | u16::from(symbol));
            (head << 14 | packed, taken)
        };
        out.extend_from_slice(&chunk.to_be_bytes());
        rest = &rest[taken..];
    }
}
