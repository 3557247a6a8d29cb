//! Colours: from what the file says they are to sRGB, and profiles without the names of devices.

use std::sync::Arc;

use moxcms::{
    Chromaticity, ColorPrimaries, ColorProfile, DataColorSpace, ParsingOptions, RenderingIntent,
    ToneReprCurve, Transform8BitExecutor, TransformOptions, XyY,
};

use super::pixels::Layout;

/// Bytes of an ICC profile that is heeded. Profiles of displays have some kilobytes, of presses up to 3 MiB.
pub(super) const PROFILE_BYTES: usize = 4 * 1024 * 1024;

/// What a file says about its colours.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Profile {
    /// Nothing, or sRGB.
    Srgb,
    /// An ICC profile.
    Icc(Vec<u8>),
    /// PNG's `gAMA`, with `cHRM` if it is there: white, red, green, blue as CIE x and y.
    Gamma { gamma: f32, primaries: Option<[(f32, f32); 4]> },
}

impl Profile {
    /// The profile without what only names people and devices (makers, models, serial numbers of displays, texts,
    /// private tags): what is left is colour. None if it is not one that can be read.
    pub(super) fn sanitised(&self) -> Option<Vec<u8>> {
        let Profile::Icc(bytes) = self else { return None };
        let mut profile = parse(bytes)?;
        profile.description = None;
        profile.copyright = None;
        profile.device_manufacturer = None;
        profile.device_model = None;
        profile.char_target = None;
        profile.viewing_conditions_description = None;
        profile.calibration_date = None;
        profile.encode().ok()
    }
}

/// How pixels become sRGB.
pub(super) enum Conversion {
    /// They are already, or nearly enough that nobody could tell.
    None,
    /// By profile. The flag: from inks, four samples to three.
    Table { transform: Arc<Transform8BitExecutor>, from_inks: bool },
    /// Inks without a profile: what each lets through, multiplied, as browsers do it.
    Inks,
}

impl Conversion {
    /// Decides by profile and layout. A profile that cannot be read, or that is for another kind of pixels, is as good
    /// as none: browsers ignore it too.
    pub(super) fn new(profile: &Profile, layout: Layout) -> Conversion {
        let bare = if layout == Layout::Cmyk { Conversion::Inks } else { Conversion::None };
        let Some(source) = source_profile(profile, layout) else { return bare };
        let (space, from, to) = match layout {
            Layout::Grey => (DataColorSpace::Gray, moxcms::Layout::Gray, moxcms::Layout::Gray),
            Layout::GreyAlpha => (DataColorSpace::Gray, moxcms::Layout::GrayAlpha, moxcms::Layout::GrayAlpha),
            Layout::Rgb => (DataColorSpace::Rgb, moxcms::Layout::Rgb, moxcms::Layout::Rgb),
            Layout::Rgba => (DataColorSpace::Rgb, moxcms::Layout::Rgba, moxcms::Layout::Rgba),
            Layout::Cmyk => (DataColorSpace::Cmyk, moxcms::Layout::Rgba, moxcms::Layout::Rgb),
        };
        if source.color_space != space {
            return bare;
        }
        let target = if space == DataColorSpace::Gray { srgb_grey() } else { ColorProfile::new_srgb() };
        // Relative colorimetric, as libvips and browsers do it: white stays white, and what fits is not moved.
        let options = TransformOptions {
            rendering_intent: RenderingIntent::RelativeColorimetric,
            ..TransformOptions::default()
        };
        let Ok(transform) = source.create_transform_8bit(from, &target, to, options) else { return bare };
        let from_inks = layout == Layout::Cmyk;
        if !from_inks && is_idle(transform.as_ref(), layout) {
            return Conversion::None;
        }
        Conversion::Table { transform, from_inks }
    }

    /// Whether pixels stay as they are.
    pub(super) fn is_none(&self) -> bool {
        matches!(self, Conversion::None)
    }

    /// What pixels of `layout` become.
    pub(super) fn target(&self, layout: Layout) -> Layout {
        match self {
            Conversion::Table { from_inks: true, .. } | Conversion::Inks => Layout::Rgb,
            Conversion::None | Conversion::Table { .. } => layout,
        }
    }

    /// Converts whole pixels; `to` has room for as many in the target's layout.
    pub(super) fn convert(&self, from: &[u8], to: &mut [u8]) {
        match self {
            Conversion::None => to.copy_from_slice(from),
            Conversion::Table { transform, .. } => {
                transform
                    .transform(from, to)
                    .expect("as many pixels in as out, in the layouts it was made for");
            }
            Conversion::Inks => {
                for (inks, rgb) in from.chunks_exact(4).zip(to.chunks_exact_mut(3)) {
                    let through = |ink: u8| 255 - u32::from(ink);
                    for (sample, &ink) in rgb.iter_mut().zip(inks) {
                        *sample = ((through(ink) * through(inks[3]) + 127) / 255) as u8;
                    }
                }
            }
        }
    }
}

fn source_profile(profile: &Profile, layout: Layout) -> Option<ColorProfile> {
    match (profile, layout) {
        (Profile::Srgb, _) => None,
        (Profile::Icc(bytes), _) => parse(bytes),
        (Profile::Gamma { gamma, .. }, Layout::Grey | Layout::GreyAlpha) => {
            Some(ColorProfile::new_gray_with_gamma(1.0 / gamma))
        }
        (Profile::Gamma { gamma, primaries }, _) => Some(from_gamma(*gamma, *primaries)),
    }
}

fn parse(bytes: &[u8]) -> Option<ColorProfile> {
    let options = ParsingOptions { max_profile_size: PROFILE_BYTES, ..ParsingOptions::default() };
    ColorProfile::new_from_slice_with_options(bytes, options).ok()
}

/// PNG's old way (PNG 3rd edition, 13.13): samples are light to the power of `gamma`.
fn from_gamma(gamma: f32, primaries: Option<[(f32, f32); 4]>) -> ColorProfile {
    let mut profile = ColorProfile::new_srgb();
    profile.cicp = None;
    if let Some([white, red, green, blue]) = primaries {
        let point = |(x, y): (f32, f32)| Chromaticity::new(x, y);
        let primaries = ColorPrimaries { red: point(red), green: point(green), blue: point(blue) };
        profile.update_rgb_colorimetry(XyY::new(f64::from(white.0), f64::from(white.1), 1.0), primaries);
    }
    let curve = ToneReprCurve::Parametric(vec![1.0 / gamma]);
    profile.red_trc = Some(curve.clone());
    profile.green_trc = Some(curve.clone());
    profile.blue_trc = Some(curve);
    profile
}

/// Grey with the curve of sRGB.
fn srgb_grey() -> ColorProfile {
    let mut grey = ColorProfile::new_gray_with_gamma(2.2);
    grey.gray_trc = ColorProfile::new_srgb().red_trc;
    grey
}

/// Whether a conversion moves no colour by more than two levels of 255: every common sRGB profile is such, whoever
/// wrote it, and then the file's own bytes can stay.
fn is_idle(transform: &Transform8BitExecutor, layout: Layout) -> bool {
    const STEPS: [u8; 9] = [0, 32, 64, 96, 128, 160, 192, 224, 255];
    let mut samples = Vec::new();
    for r in STEPS {
        for g in STEPS {
            for b in STEPS {
                match layout {
                    Layout::Grey => samples.push(r),
                    Layout::GreyAlpha => samples.extend([r, 255]),
                    Layout::Rgb => samples.extend([r, g, b]),
                    Layout::Rgba | Layout::Cmyk => samples.extend([r, g, b, 255]),
                }
            }
        }
    }
    let mut converted = vec![0; samples.len()];
    transform.transform(&samples, &mut converted).is_ok()
        && samples.iter().zip(&converted).all(|(a, b)| a.abs_diff(*b) <= 2)
}
