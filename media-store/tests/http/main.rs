//! The media store over HTTP, on a real disk: tus clause by clause, takeover, links, downloads, sweep, restart.

mod downloads;
mod support;
mod survival;
mod uploads;
