//! The media store over HTTP, on a real disk: tus clause by clause, takeover, links, downloads, sweep, restart.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::needless_pass_by_value,
    reason = "helpers of tests are tests too"
)]

mod downloads;
mod support;
mod survival;
mod uploads;
