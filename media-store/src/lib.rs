//! Photos, voice notes and files: uploads that survive lost networks and killed servers, stored once, made small and
//! upright, and handed out by signed links.
//!
//! An **upload** is in progress ([`tus`], or `direct`), in the `spool`; it becomes an **object** (`finish`), stored bytes
//! in one or several variants, in the blob store; an **attachment** is what a message refers to. What is known of all
//! three stands in the `records`. Whoever keeps the conversations asks for grants and links ([`MediaStore::grant`],
//! [`MediaStore::links`]), and tells by [`References`] what messages still refer to; the rest is swept.

mod attachment;
mod clock;
mod config;
mod direct;
mod download;
mod finish;
mod grant;
mod grants;
mod key;
mod limits;
mod linger;
mod link;
mod meters;
mod ports;
mod problem;
mod records;
mod service;
mod spool;
mod status;
mod sweep;
mod turns;
mod tus;
mod workers;

pub use attachment::{Attachment, Content, Kind};
pub use config::MediaConfig;
pub use grants::{DEFAULT_TENANT, Granted, Links, NotGranted, Wish};
pub use key::{MediaKey, ShortSecret};
pub use limits::Limits;
pub use ports::{References, ReferencesError};
pub use service::{MediaStore, OpenError};

pub(crate) use grant::Grant;
