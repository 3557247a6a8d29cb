//! Decoded pixels, 8 bits a sample, rows without padding.

use crate::{Code, Refusal};

/// What the samples of a pixel are, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    Grey,
    GreyAlpha,
    Rgb,
    Rgba,
    /// Inks: 0 is none, 255 is full, whatever the file said.
    Cmyk,
}

impl Layout {
    /// Samples of a pixel, which are its bytes.
    pub(super) const fn channels(self) -> usize {
        match self {
            Layout::Grey => 1,
            Layout::GreyAlpha => 2,
            Layout::Rgb => 3,
            Layout::Rgba | Layout::Cmyk => 4,
        }
    }

    /// Whether the last sample is opacity.
    pub(super) const fn has_alpha(self) -> bool {
        matches!(self, Layout::GreyAlpha | Layout::Rgba)
    }

    /// The same without opacity.
    const fn opaque(self) -> Layout {
        match self {
            Layout::GreyAlpha => Layout::Grey,
            Layout::Rgba => Layout::Rgb,
            other => other,
        }
    }
}

/// A picture in memory.
#[derive(Clone, Debug)]
pub(super) struct Pixels {
    width: u32,
    height: u32,
    layout: Layout,
    data: Vec<u8>,
}

impl Pixels {
    /// Takes `width × height × channels` bytes; another number of them, or none, is a decoder's mistake.
    pub(super) fn new(width: u32, height: u32, layout: Layout, data: Vec<u8>) -> Result<Pixels, Refusal> {
        let bytes = width as usize * height as usize * layout.channels();
        if bytes == 0 || data.len() != bytes {
            return Err(Refusal::new(Code::Damaged, "the picture has no pixels"));
        }
        Ok(Pixels { width, height, layout, data })
    }

    pub(super) fn width(&self) -> u32 {
        self.width
    }

    pub(super) fn height(&self) -> u32 {
        self.height
    }

    pub(super) fn layout(&self) -> Layout {
        self.layout
    }

    pub(super) fn data(&self) -> &[u8] {
        &self.data
    }

    /// Bytes of a row.
    pub(super) fn stride(&self) -> usize {
        self.width as usize * self.layout.channels()
    }

    /// How many pixels there are.
    pub(super) fn count(&self) -> u64 {
        u64::from(self.width) * u64::from(self.height)
    }

    /// The same picture without its opacity, if nothing of it is transparent: it then compresses as a photo.
    pub(super) fn without_idle_alpha(mut self) -> Pixels {
        let channels = self.layout.channels();
        if !self.layout.has_alpha() || self.data.chunks_exact(channels).any(|p| p[channels - 1] != 255) {
            return self;
        }
        let kept = channels - 1;
        let count = self.data.len() / channels;
        for i in 0..count {
            self.data.copy_within(i * channels..i * channels + kept, i * kept);
        }
        self.data.truncate(count * kept);
        self.data.shrink_to_fit();
        self.layout = self.layout.opaque();
        self
    }

    /// Whether most neighbours are equal, as in screenshots and drawings and never in photographs: worth trying a
    /// lossless encoding.
    pub(super) fn is_flat(&self) -> bool {
        let channels = self.layout.channels();
        let mut equal = 0_u64;
        for row in self.data.chunks_exact(self.stride()) {
            equal += row.iter().zip(&row[channels..]).filter(|(a, b)| a == b).count() as u64;
        }
        // Three of five: blurred and dithered drawings stay below, and so do the smoothest of photographs.
        equal * 5 > self.data.len() as u64 * 3
    }
}

/// Rows of a picture for an encoder, a few at a time.
pub(super) trait Rows {
    fn width(&self) -> u32;
    fn height(&self) -> u32;
    fn layout(&self) -> Layout;
    /// Replaces `out` by the rows from `first` on, `count` of them or as many as there are.
    fn read(&self, first: u32, count: u32, out: &mut Vec<u8>);
}

impl Rows for Pixels {
    fn width(&self) -> u32 {
        self.width
    }

    fn height(&self) -> u32 {
        self.height
    }

    fn layout(&self) -> Layout {
        self.layout
    }

    fn read(&self, first: u32, count: u32, out: &mut Vec<u8>) {
        let end = first.saturating_add(count).min(self.height);
        out.clear();
        out.extend_from_slice(&self.data[first as usize * self.stride()..end as usize * self.stride()]);
    }
}
