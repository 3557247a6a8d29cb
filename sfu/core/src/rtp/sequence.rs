//! Arithmetic on numbers that wrap.

/// Whether sequence number `a` comes after `b`, by the shorter way round. Half the space apart counts as before.
pub fn sequence_newer(a: u16, b: u16) -> bool {
    a != b && a.wrapping_sub(b) < 0x8000
}

/// How far timestamp `a` is ahead of `b`, negative if behind, by the shorter way round.
pub fn timestamp_delta(a: u32, b: u32) -> i32 {
    a.wrapping_sub(b).cast_signed()
}

/// Whether timestamp `a` comes after `b`, by the shorter way round.
pub fn timestamp_newer(a: u32, b: u32) -> bool {
    timestamp_delta(a, b) > 0
}

/// Turns 16-bit sequence numbers into 64-bit ones that never wrap. Each is taken as the one nearest to the highest
/// seen, so reordering by up to 2^15 is understood. The first one seen becomes `65,536 + it`: what was sent before
/// it and arrives after it still has a number. The low 16 bits are always those on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SequenceExtender {
    highest: Option<u64>,
}

impl SequenceExtender {
    /// The extended number of `sequence`; the highest so far is remembered.
    pub fn extend(&mut self, sequence: u16) -> u64 {
        let extended = self.peek(sequence);
        if self.highest.is_none_or(|highest| extended > highest) {
            self.highest = Some(extended);
        }
        extended
    }

    /// As [`extend`](Self::extend), remembering nothing: for a packet not yet authenticated.
    pub fn peek(&self, sequence: u16) -> u64 {
        let Some(highest) = self.highest else {
            return 0x1_0000 + u64::from(sequence);
        };
        let ahead = sequence.wrapping_sub(highest as u16).cast_signed();
        // `highest` starts at 2^16 or above and a step back is at most 2^15, and never moves `highest`.
        highest.saturating_add_signed(i64::from(ahead))
    }

    /// The highest extended number so far.
    pub fn highest(&self) -> Option<u64> {
        self.highest
    }
}
