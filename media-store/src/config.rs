//! What the media store is told when it opens.

use std::{ffi::OsString, path::PathBuf, sync::Arc, time::Duration};

use trunkline_media_blob::BlobStore;

use crate::{MediaKey, limits::Limits};

/// Everything that differs from one server to another.
#[derive(Clone, Debug)]
pub struct MediaConfig {
    /// The folder of the records and of the spool; it must exist. Uploads in progress are here, whatever the store.
    pub folder: PathBuf,
    /// Where finished bytes go.
    pub store: Arc<dyn BlobStore>,
    /// Signs grants and links.
    pub key: MediaKey,
    /// Bounds.
    pub limits: Limits,
    /// Long edges in pixels of a photo's variants, ascending: the first is made at once.
    pub sizes: Vec<u32>,
    /// Further long edges that are made when somebody asks for them.
    pub lazy_sizes: Vec<u32>,
    /// Whether photos are also kept at their full size, upright and without metadata.
    pub originals: bool,
    /// Whether downloads are redirected to the store's own links, where it has them.
    pub redirect: bool,
    /// The program and the arguments that are a worker: it runs [`trunkline_media_pipeline::worker::run`].
    pub worker: Vec<OsString>,
    /// How often what nobody needs is looked for.
    pub sweep_every: Duration,
    /// Bytes in the store or the spool that no record knows are removed when they are so old. Longer than any upload
    /// takes from its first stored byte to its record.
    pub orphan_age: Duration,
}
