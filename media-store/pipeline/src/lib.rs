//! Photos and voice notes: pure work on files, meant for a process of its own.
//!
//! What a stranger uploads is read here and nowhere else. [`sniff`] tells what bytes are, [`photo`] makes pictures
//! upright, small and free of metadata, [`voice`] makes recordings Opus, and [`worker`] is the process around the two:
//! a job on standard input, one line of JSON on standard output for whatever is made. It limits itself before it reads a
//! hostile byte, so a file that breaks a decoder ends one job.
//!
//! No network, no database, no async: the media store starts the process and reads its lines.

mod limits;
pub mod photo;
mod refusal;
mod sniff;
pub mod voice;
pub mod worker;

pub use limits::Limits;
pub use refusal::{Code, Refusal};
pub use sniff::{Class, Sniffed, sniff};
