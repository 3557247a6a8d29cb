//! `[media]`: photos, voice notes and files.

use serde::{Deserialize, Serialize};

use super::{SECRET_BYTES_MIN, Secret, Size, Span};

/// Longest long edge of a photo's variant, pixels.
const SIZE_MAX: u32 = 8_192;

/// Most variants of each kind.
const SIZES_MAX: usize = 8;

/// Where finished bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum BlobPlace {
    /// A folder of this machine.
    Disk,
    /// A bucket of an S3 store.
    S3,
}

/// `[media]`
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Media {
    /// Where finished bytes go. Uploads in progress are always in `data.dir`.
    pub store: BlobPlace,
    /// Signs grants and links. Empty: generated, and kept in the data directory.
    pub secret: Secret,
    /// The S3 store's address.
    pub s3_endpoint: String,
    /// Its address as browsers reach it.
    pub s3_public_endpoint: String,
    /// Whether the bucket stands in the path of its addresses.
    pub s3_path_style: bool,
    /// Its region.
    pub s3_region: String,
    /// The bucket.
    pub s3_bucket: String,
    /// What every key begins with.
    pub s3_prefix: String,
    /// Who we are to it.
    pub s3_access_key: String,
    /// What proves it.
    pub s3_secret_key: Secret,
    /// Whether downloads are redirected to the S3 store.
    pub redirect: bool,
    /// Long edges of a photo's variants; the first is made at once.
    pub sizes: Vec<u32>,
    /// Long edges that are made when asked for.
    pub lazy_sizes: Vec<u32>,
    /// Whether photos are kept at full size too.
    pub originals: bool,
    /// Most bytes of an uploaded photo.
    pub photo_size: Size,
    /// Most bytes of an uploaded voice note.
    pub voice_size: Size,
    /// Most bytes of a file.
    pub file_size: Size,
    /// One user's share.
    pub user_size: Size,
    /// One user's attachments.
    pub user_files: u64,
    /// One user's unfinished uploads.
    pub user_uploads: u64,
    /// One tenant's share; 0: no bound.
    pub tenant_size: Size,
    /// Uploads that receive at the same moment.
    pub receiving: u32,
    /// Worker processes; 0: one a core.
    pub workers: u16,
    /// How long an upload may rest.
    pub upload_ttl: Span,
    /// How long an attachment that no message refers to is kept.
    pub grace: Span,
    /// How long a link opens at least.
    pub link_ttl: Span,
    /// How often what nobody needs is looked for.
    pub sweep_interval: Span,
    /// How old bytes that no record knows must be to be removed.
    pub orphan_age: Span,
}

impl Default for Media {
    fn default() -> Self {
        Self {
            store: BlobPlace::Disk,
            secret: Secret::default(),
            s3_endpoint: String::new(),
            s3_public_endpoint: String::new(),
            s3_path_style: true,
            s3_region: "us-east-1".to_owned(),
            s3_bucket: String::new(),
            s3_prefix: String::new(),
            s3_access_key: String::new(),
            s3_secret_key: Secret::default(),
            redirect: false,
            sizes: vec![320, 1280, 2048],
            lazy_sizes: vec![640],
            originals: false,
            photo_size: Size::mib(50),
            voice_size: Size::mib(64),
            file_size: Size::mib(2_048),
            user_size: Size::mib(10_240),
            user_files: 100_000,
            user_uploads: 64,
            tenant_size: Size(0),
            receiving: 1_000,
            workers: 0,
            upload_ttl: Span::secs(24 * 3_600),
            grace: Span::secs(24 * 3_600),
            link_ttl: Span::secs(12 * 3_600),
            sweep_interval: Span::secs(600),
            orphan_age: Span::secs(24 * 3_600),
        }
    }
}

impl Media {
    /// What no single type can say.
    pub(super) fn check(&self) -> Result<(), String> {
        if !self.secret.is_empty() && self.secret.expose().len() < SECRET_BYTES_MIN {
            return Err(format!("`media.secret` is shorter than {SECRET_BYTES_MIN} bytes"));
        }
        if self.store == BlobPlace::S3 {
            self.check_s3()?;
        }
        for (key, sizes, may_be_empty) in
            [("media.sizes", &self.sizes, false), ("media.lazy_sizes", &self.lazy_sizes, true)]
        {
            let in_range = sizes.iter().all(|size| (16..=SIZE_MAX).contains(size));
            if !in_range
                || !sizes.is_sorted()
                || sizes.len() > SIZES_MAX
                || (sizes.is_empty() && !may_be_empty)
            {
                return Err(format!(
                    "`{key}` must be 1 to {SIZES_MAX} ascending numbers of 16 to {SIZE_MAX} pixels"
                ));
            }
        }
        for (key, span) in [
            ("media.upload_ttl", self.upload_ttl),
            ("media.grace", self.grace),
            ("media.link_ttl", self.link_ttl),
            ("media.sweep_interval", self.sweep_interval),
            ("media.orphan_age", self.orphan_age),
        ] {
            if span.0.as_secs() == 0 {
                return Err(format!("`{key}` must be one second or more"));
            }
        }
        for (key, size) in
            [("photo_size", self.photo_size), ("voice_size", self.voice_size), ("file_size", self.file_size)]
        {
            if size.0 == 0 {
                return Err(format!("`media.{key}` must be more than nothing"));
            }
        }
        Ok(())
    }

    /// Whether the S3 store can be reached at all with these settings.
    pub(crate) fn check_s3(&self) -> Result<(), String> {
        for (key, empty) in [
            ("s3_bucket", self.s3_bucket.len() < 3),
            ("s3_access_key", self.s3_access_key.is_empty()),
            ("s3_secret_key", self.s3_secret_key.is_empty()),
            ("s3_region", self.s3_region.is_empty()),
        ] {
            if empty {
                return Err(format!(
                    "`media.{key}` is wanted for an S3 store (a bucket has 3 characters or more)"
                ));
            }
        }
        for (key, endpoint) in
            [("s3_endpoint", &self.s3_endpoint), ("s3_public_endpoint", &self.s3_public_endpoint)]
        {
            if !endpoint.is_empty() && !endpoint.starts_with("https://") && !endpoint.starts_with("http://") {
                return Err(format!("`media.{key}` is not like \"https://s3.example\""));
            }
        }
        Ok(())
    }
}
