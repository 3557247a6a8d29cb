//! Turning pictures upright: all eight orientations of EXIF (TIFF 6.0, tag 274).

use image::metadata::Orientation;

use super::color::Conversion;
use super::pixels::{Layout, Pixels, Rows};

/// Whether width and height change places.
pub(super) const fn swaps_sides(orientation: Orientation) -> bool {
    use Orientation as O;
    matches!(orientation, O::Rotate90 | O::Rotate270 | O::Rotate90FlipH | O::Rotate270FlipH)
}

/// A picture as it should be seen: upright and in sRGB, computed as it is read, so that a large one is not held twice.
pub(super) struct Upright<'a> {
    pub(super) pixels: &'a Pixels,
    pub(super) orientation: Orientation,
    pub(super) conversion: &'a Conversion,
}

/// Rows of the result that are gathered at a time: a column of as many pixels is one cache line of the source.
const BAND: u32 = 16;

impl Upright<'_> {
    /// All of it.
    pub(super) fn collect(&self) -> Vec<u8> {
        let bytes = self.width() as usize * self.height() as usize * self.layout().channels();
        let mut data = Vec::with_capacity(bytes);
        let mut band = Vec::new();
        for first in (0..self.height()).step_by(BAND as usize) {
            self.read(first, BAND, &mut band);
            data.extend_from_slice(&band);
        }
        data
    }

    /// The rows from `first` to `end` in the colours of the file.
    fn turned(&self, first: u32, end: u32, out: &mut [u8]) {
        match self.pixels.layout().channels() {
            1 => self.gather::<1>(first, end, out),
            2 => self.gather::<2>(first, end, out),
            3 => self.gather::<3>(first, end, out),
            _ => self.gather::<4>(first, end, out),
        }
    }

    fn gather<const N: usize>(&self, first: u32, end: u32, out: &mut [u8]) {
        use Orientation as O;
        let (width, height) = (self.pixels.width() as usize, self.pixels.height() as usize);
        let (source, _) = self.pixels.data().as_chunks::<N>();
        let (out, _) = out.as_chunks_mut::<N>();
        let rows = first as usize..end as usize;
        let row = |y: usize| &source[y * width..(y + 1) * width];
        let mirrored = matches!(self.orientation, O::FlipHorizontal | O::Rotate180);
        let from_below = matches!(self.orientation, O::Rotate180 | O::FlipVertical);
        if !swaps_sides(self.orientation) {
            for (y, out) in rows.zip(out.chunks_exact_mut(width)) {
                out.copy_from_slice(row(if from_below { height - 1 - y } else { y }));
                if mirrored {
                    out.reverse();
                }
            }
            return;
        }
        // Row y of the result is a column of the source; column x is one of its rows.
        let last_row_first = matches!(self.orientation, O::Rotate90 | O::Rotate270FlipH);
        let last_column_first = matches!(self.orientation, O::Rotate270 | O::Rotate270FlipH);
        for x in 0..height {
            let line = row(if last_row_first { height - 1 - x } else { x });
            for (i, y) in rows.clone().enumerate() {
                out[i * height + x] = line[if last_column_first { width - 1 - y } else { y }];
            }
        }
    }
}

impl Rows for Upright<'_> {
    fn width(&self) -> u32 {
        if swaps_sides(self.orientation) { self.pixels.height() } else { self.pixels.width() }
    }

    fn height(&self) -> u32 {
        if swaps_sides(self.orientation) { self.pixels.width() } else { self.pixels.height() }
    }

    fn layout(&self) -> Layout {
        self.conversion.target(self.pixels.layout())
    }

    fn read(&self, first: u32, count: u32, out: &mut Vec<u8>) {
        let end = first.saturating_add(count).min(self.height());
        let pixels = (end - first) as usize * self.width() as usize;
        let mut turned = vec![0; pixels * self.pixels.layout().channels()];
        self.turned(first, end, &mut turned);
        if self.conversion.is_none() {
            *out = turned;
        } else {
            out.clear();
            out.resize(pixels * self.layout().channels(), 0);
            self.conversion.convert(&turned, out);
        }
    }
}
