//! Which variants there will be, told before the first is made.

use std::num::NonZeroU32;

use super::{Planned, Request};
use crate::{Code, Refusal};

/// Sizes that a request may ask for at a time, and the range of each in pixels.
const SIZES: usize = 16;
const SIDE: std::ops::RangeInclusive<u32> = 16..=16_384;

/// The name of the picture at full size.
pub(super) const ORIGINAL: &str = "original";

/// One size to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Size {
    /// The cap of its long edge, which is its name.
    pub(super) cap: u32,
    pub(super) width: u32,
    pub(super) height: u32,
}

/// The sizes for a picture of `width × height`, smallest first: each cap below the long edge, and the first that is
/// not, at the picture's own size. So the largest is always the whole picture or as large as is allowed.
pub(super) fn sizes(request: &Request, width: u32, height: u32) -> Result<Vec<Size>, Refusal> {
    let mut caps = request.sizes.clone();
    caps.sort_unstable();
    caps.dedup();
    if caps.len() > SIZES
        || caps.iter().any(|cap| !SIDE.contains(cap))
        || (caps.is_empty() && !request.original)
    {
        return Err(Refusal::new(Code::Failed, "a request for sizes that are not made"));
    }
    let long = width.max(height);
    let enough = caps.iter().position(|&cap| cap >= long).map_or(caps.len(), |i| i + 1);
    caps.truncate(enough);
    Ok(caps
        .into_iter()
        .map(|cap| {
            let (width, height) = within(cap, width, height);
            Size { cap, width, height }
        })
        .collect())
}

/// `width × height` made to fit a long edge of `cap`, in proportion, never below one pixel.
pub(super) fn within(cap: u32, width: u32, height: u32) -> (u32, u32) {
    let long = width.max(height);
    if long <= cap {
        return (width, height);
    }
    let side = |of: u32| {
        let scaled = (u64::from(of) * u64::from(cap) + u64::from(long) / 2) / u64::from(long);
        NonZeroU32::new(scaled as u32).map_or(1, NonZeroU32::get)
    };
    (side(width), side(height))
}

/// What is told of `sizes`, with the original if there will be one.
pub(super) fn told(sizes: &[Size], original: Option<(u32, u32)>) -> Vec<Planned> {
    let sizes = sizes.iter().map(|it| (it.cap.to_string(), it.width, it.height));
    let original = original.map(|(width, height)| (ORIGINAL.to_owned(), width, height));
    sizes.chain(original).map(|(name, width, height)| Planned { name, width, height }).collect()
}
