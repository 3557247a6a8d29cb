//! Roll-over estimation and replay windows, one pair an SSRC.

use super::SrtpDrop;

/// 64-packet blocks of a window; one is always partly spent, so the window holds this less one.
const BLOCKS: u64 = 16;
/// Packets behind the newest that are still accepted. Higher tolerates longer plain retransmissions (those sent without
/// RTX) and costs an octet an SSRC for eight packets; lower drops them as too old. RFC 3711 §3.3.2 asks for 64.
pub(super) const WINDOW: u64 = (BLOCKS - 1) * 64;

/// The highest index of SRTP: a 32-bit roll-over counter over a 16-bit sequence number.
const INDEX_MAX: u64 = (1 << 48) - 1;

/// Which indices of one SSRC were accepted: a ring of blocks, addressed by index, so that advancing shifts nothing.
#[derive(Clone)]
pub(super) struct ReplayWindow {
    highest: u64,
    seen: [u64; BLOCKS as usize],
}

impl ReplayWindow {
    /// A window whose first packet, already authenticated, has `index`.
    pub(super) fn new(index: u64) -> Self {
        let mut window = ReplayWindow { highest: index, seen: [0; BLOCKS as usize] };
        window.mark(index);
        window
    }

    /// Whether `index` would be accepted; changes nothing, so that a forgery does not either.
    pub(super) fn check(&self, index: u64) -> Result<(), SrtpDrop> {
        if index > self.highest {
            return Ok(());
        }
        if self.highest - index >= WINDOW {
            return Err(SrtpDrop::TooOld);
        }
        if self.seen[block(index)] & bit(index) != 0 {
            return Err(SrtpDrop::Replayed);
        }
        Ok(())
    }

    /// Accepts an `index` that [`ReplayWindow::check`] allowed and whose packet was authentic.
    pub(super) fn accept(&mut self, index: u64) {
        if index > self.highest {
            let from = self.highest / 64;
            let advance = (index / 64 - from).min(BLOCKS);
            for step in 1..=advance {
                self.seen[((from + step) % BLOCKS) as usize] = 0;
            }
            self.highest = index;
        }
        self.mark(index);
    }

    /// The packet index that `seq` most likely stands for (RFC 3711 §3.3.1, appendix A): the one closest to the highest
    /// seen. `None` where that lies before the first packet or behind the last one that a key may seal.
    pub(super) fn estimate(&self, seq: u16) -> Option<u64> {
        let newest = self.highest as u16;
        let roc = self.highest >> 16;
        let roc = if newest < 0x8000 {
            if i32::from(seq) - i32::from(newest) > 0x8000 { roc.checked_sub(1)? } else { roc }
        } else if i32::from(newest) - 0x8000 > i32::from(seq) {
            roc + 1
        } else {
            roc
        };
        let index = roc << 16 | u64::from(seq);
        (index <= INDEX_MAX).then_some(index)
    }

    fn mark(&mut self, index: u64) {
        self.seen[block(index)] |= bit(index);
    }
}

fn block(index: u64) -> usize {
    (index / 64 % BLOCKS) as usize
}

fn bit(index: u64) -> u64 {
    1 << (index % 64)
}

/// The windows of one transport, by SSRC: bounded, searched linearly, the last one found first.
pub(super) struct Windows {
    ssrcs: Vec<u32>,
    windows: Vec<ReplayWindow>,
    recent: usize,
    limit: usize,
}

impl Windows {
    pub(super) fn new(limit: usize) -> Self {
        Windows { ssrcs: Vec::new(), windows: Vec::new(), recent: 0, limit }
    }

    pub(super) fn len(&self) -> usize {
        self.ssrcs.len()
    }

    /// Where `ssrc` has its window, if it has one.
    pub(super) fn find(&mut self, ssrc: u32) -> Option<usize> {
        if self.ssrcs.get(self.recent) == Some(&ssrc) {
            return Some(self.recent);
        }
        let at = self.ssrcs.iter().position(|known| *known == ssrc)?;
        self.recent = at;
        Some(at)
    }

    pub(super) fn get(&self, at: usize) -> &ReplayWindow {
        &self.windows[at]
    }

    pub(super) fn is_full(&self) -> bool {
        self.ssrcs.len() >= self.limit
    }

    /// Records an authenticated packet, with the place that [`Windows::find`] gave before.
    pub(super) fn accept(&mut self, at: Option<usize>, ssrc: u32, index: u64) {
        match at {
            Some(at) => self.windows[at].accept(index),
            None => {
                debug_assert!(!self.is_full(), "the limit is checked before a packet is opened");
                self.recent = self.ssrcs.len();
                self.ssrcs.push(ssrc);
                self.windows.push(ReplayWindow::new(index));
            }
        }
    }
}
