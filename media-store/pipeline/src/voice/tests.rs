//! What goes in, and exactly what comes out.

mod formats;
mod hostile;
mod opus_kept;
mod parts;
mod support;
