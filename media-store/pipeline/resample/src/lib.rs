//! `fast_image_resize` for pictures in memory. All of it is generic: whoever calls it compiles 4 MB of machine code for
//! itself, some 100 s of CPU time, and again for its tests. Here that is done once.

pub use fast_image_resize::images::{Image, ImageRef};
pub use fast_image_resize::{ImageBufferError, PixelType, ResizeError, ResizeOptions, Resizer};

/// Fills `to` with what `options` crops of `from`, resampled: see [`Resizer::resize`].
///
/// # Errors
/// The pictures are of different kinds, or the crop lies outside of `from`.
pub fn resample(
    resizer: &mut Resizer,
    from: &ImageRef<'_>,
    to: &mut Image<'_>,
    options: &ResizeOptions,
) -> Result<(), ResizeError> {
    resizer.resize(from, to, options)
}
