//! Where stored bytes are: a local disk ([`FsStore`]) or an S3 store ([`S3Store`]), behind one trait ([`BlobStore`]), and
//! the copy from one to another ([`copy`]).
//!
//! Both stores pass one conformance suite (`tests/conformance.rs`). What a call has said is stored is stored: the disk
//! store syncs files and folders before it returns, the S3 store hears it from the server. Nothing here holds a whole
//! object in memory: parts are some 8 MiB, chunks of a download 256 KiB.

mod copy;
mod error;
mod fs;
mod key;
mod s3;
mod store;

#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use copy::{CopyError, FAILURES_TOLD_MAX, Summary, copy};
pub use error::BlobError;
pub use fs::FsStore;
pub use key::{KEY_CHARS_MAX, Key, KeyError};
pub use s3::{S3Config, S3Store};
pub use store::{
    Blob, BlobStore, BlobStream, CHUNK_BYTES_MAX, LIST_MAX, Multipart, PART_BYTES, PART_NUMBER_MAX, Part,
    PartsFrom, Shown,
};

#[cfg(test)]
mod tests;
