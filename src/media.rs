//! The media store's part of the configuration, in its own words; and the copy from one blob store to another.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, ensure};
use trunkline_media_blob::{BlobStore, CopyError, FsStore, S3Config, S3Store, Summary};
use trunkline_media_store::{Limits, MediaConfig, MediaKey, MediaStore};

use crate::config::{BlobPlace, Config};
use crate::secrets::{self, Secrets};

/// Below `data.dir`.
const FOLDER: &str = "media";
const BLOBS: &str = "blobs";

/// The command that a worker process is: this program under its own name, even if the file was replaced meanwhile.
const WORKER: [&str; 2] = ["/proc/self/exe", "media-worker"];

fn folder(config: &Config) -> PathBuf {
    config.data.dir.join(FOLDER)
}

/// Opens the media store; nothing moves before it is started.
pub(crate) async fn open_store(config: &Config, secrets: &Secrets) -> anyhow::Result<MediaStore> {
    let folder = folder(config);
    secrets::make_private_dir(&folder)?;
    secrets::make_private_file(&folder.join("media.db"))?;
    let media = &config.media;
    let store = open_blobs(config, media.store)?;
    let media_config = MediaConfig {
        folder,
        store,
        key: MediaKey::new(secrets.media.expose().as_bytes())?,
        limits: limits(config),
        sizes: media.sizes.clone(),
        lazy_sizes: media.lazy_sizes.clone(),
        originals: media.originals,
        redirect: media.redirect,
        worker: WORKER.map(Into::into).to_vec(),
        sweep_every: media.sweep_interval.0,
        orphan_age: media.orphan_age.0,
    };
    MediaStore::open(media_config).await.context("cannot start the media store")
}

fn limits(config: &Config) -> Limits {
    let media = &config.media;
    Limits {
        photo_bytes: media.photo_size.0,
        voice_bytes: media.voice_size.0,
        file_bytes: media.file_size.0,
        user_bytes: media.user_size.0,
        user_files: media.user_files,
        user_uploads: media.user_uploads,
        tenant_bytes: media.tenant_size.0,
        receiving: media.receiving as usize,
        workers: usize::from(media.workers),
        upload_ttl: media.upload_ttl.0,
        grace: media.grace.0,
        link_ttl: media.link_ttl.0,
        ..Limits::default()
    }
}

fn open_blobs(config: &Config, place: BlobPlace) -> anyhow::Result<Arc<dyn BlobStore>> {
    let media = &config.media;
    let some = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    Ok(match place {
        BlobPlace::Disk => Arc::new(FsStore::open(folder(config).join(BLOBS))?),
        BlobPlace::S3 => {
            media.check_s3().map_err(anyhow::Error::msg)?;
            Arc::new(S3Store::new(S3Config {
                endpoint: some(&media.s3_endpoint),
                public_endpoint: some(&media.s3_public_endpoint),
                region: media.s3_region.clone(),
                bucket: media.s3_bucket.clone(),
                prefix: some(&media.s3_prefix),
                access_key: media.s3_access_key.clone(),
                secret_key: media.s3_secret_key.expose().to_owned(),
                path_style: media.s3_path_style,
                create_bucket: false,
            })?)
        }
    })
}

/// `trunkline media copy`: copies every stored object, verified, and tells how far it is.
pub(crate) fn copy(config: &Config, from: BlobPlace, to: BlobPlace) -> anyhow::Result<()> {
    ensure!(from != to, "--from and --to are the same place");
    let named = |place| match place {
        BlobPlace::Disk => "disk",
        BlobPlace::S3 => "s3",
    };
    secrets::make_private_dir(&folder(config))?;
    let journal = folder(config).join(format!("copy-{}-{}.journal", named(from), named(to)));
    let (from, to) = (open_blobs(config, from)?, open_blobs(config, to)?);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let copied = runtime.block_on(async {
        from.probe().await.context("where it is now")?;
        to.probe().await.context("where it goes")?;
        let mut told = std::time::Instant::now();
        let progress = |so_far: Summary| {
            if told.elapsed().as_secs() >= 1 {
                told = std::time::Instant::now();
                eprintln!("   {}", words(&so_far));
            }
        };
        anyhow::Ok(trunkline_media_blob::copy(&*from, &*to, &journal, progress).await)
    })?;
    match copied {
        Ok(summary) => {
            println!("{}", words(&summary));
            Ok(())
        }
        Err(CopyError::Incomplete { summary, failures }) => {
            println!("{}", words(&summary));
            for (key, why) in &failures {
                eprintln!("   {key}: {why}");
            }
            anyhow::bail!(
                "{} objects were not copied: run it again once what stops them is put right",
                summary.failed
            )
        }
        Err(other) => Err(other.into()),
    }
}

/// What was done, in a line.
fn words(summary: &Summary) -> String {
    let Summary { copied, bytes, skipped, gone, failed, .. } = summary;
    format!(
        "{copied} objects ({bytes} bytes) copied and verified, {skipped} were there already, {gone} deleted meanwhile, \
         {failed} failed"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_those_of_the_store() {
        assert_eq!(limits(&Config::default()), Limits::default());
    }
}
