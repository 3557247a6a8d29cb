//! The wall clock, as the store and clients know it.

use std::time::{SystemTime, UNIX_EPOCH};

use trunkline_units::UnixMillis;

/// Now.
pub(crate) fn now() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis(0).after(since)
}
