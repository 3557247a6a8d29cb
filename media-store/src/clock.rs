//! The wall clock, read in one place.

use std::time::{SystemTime, UNIX_EPOCH};

use trunkline_units::UnixMillis;

/// Now. A clock before 1970 counts as 1970.
pub(crate) fn now() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
