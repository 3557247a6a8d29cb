//! What the router reads of a payload: where frames and keyframes begin, and what must be renumbered when the
//! source changes. Nothing is decoded.

pub mod h264;
pub mod vp8;
