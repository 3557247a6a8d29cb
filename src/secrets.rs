//! Secrets that nobody configured: generated once and kept in the data directory, readable by the owner alone.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use aws_lc_rs::rand;
use serde::{Deserialize, Serialize};

use crate::config::{Config, Secret};

const FILE: &str = "secrets.toml";
const RANDOM_BYTES: usize = 32;

/// The secrets in force: configured ones, else generated ones.
#[derive(Clone, Debug)]
pub struct Secrets {
    /// Signs and checks tokens (HS256).
    pub jwt_key: Secret,
    /// Mint and check TURN credentials; the first one mints. Never empty.
    pub turn: Vec<Secret>,
    /// Signs upload grants and download links.
    pub media: Secret,
}

#[derive(Deserialize, Serialize)]
struct Generated {
    jwt_key: String,
    turn_secret: String,
    /// Absent in a file from before there was a media store.
    #[serde(default)]
    media_secret: String,
}

impl Secrets {
    /// Takes the configured secrets, and reads or makes `secrets.toml` for those that are missing.
    ///
    /// # Errors
    /// The data directory cannot be made or written, or its secrets can be read by others or not be understood.
    pub fn resolve(config: &Config) -> anyhow::Result<Self> {
        let configured = Self {
            jwt_key: config.auth.jwt_key.clone(),
            turn: config.turn.secrets.clone(),
            media: config.media.secret.clone(),
        };
        if !configured.jwt_key.is_empty() && !configured.turn.is_empty() && !configured.media.is_empty() {
            return Ok(configured);
        }
        make_private_dir(&config.data.dir)?;
        let generated = load_or_generate(&config.data.dir.join(FILE))?;
        let Self { mut jwt_key, mut turn, mut media } = configured;
        if jwt_key.is_empty() {
            jwt_key = Secret::new(generated.jwt_key);
        }
        if turn.is_empty() {
            turn.push(Secret::new(generated.turn_secret));
        }
        if media.is_empty() {
            media = Secret::new(generated.media_secret);
        }
        Ok(Self { jwt_key, turn, media })
    }
}

/// Makes the folder, and those above it, for the owner alone and durably; leaves one that exists as it is.
///
/// # Errors
/// What the file system says.
pub fn make_private_dir(dir: &Path) -> anyhow::Result<()> {
    make_durable_dir(dir).with_context(|| format!("cannot make the data directory {}", dir.display()))
}

fn make_durable_dir(dir: &Path) -> io::Result<()> {
    let dir = std::path::absolute(dir)?;
    let mut folders: Vec<&Path> = dir.ancestors().collect();
    folders.reverse();
    for pair in folders.windows(2) {
        let [parent, folder] = pair else { continue };
        let present = folder.is_dir();
        if !present {
            // Recursive, so that it does not matter if another process is first.
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        match fs::File::open(parent).and_then(|parent| parent.sync_all()) {
            // One that was there may be anybody's; but perhaps an earlier start made it and was killed here.
            Err(_) if present => {}
            synced => synced?,
        }
    }
    Ok(())
}

fn load_or_generate(path: &Path) -> anyhow::Result<Generated> {
    match read(path) {
        Ok(generated) if !generated.media_secret.is_empty() => return Ok(generated),
        Ok(older) => return complete(path, older),
        Err(error) if is_not_found(&error) => {}
        Err(error) => return Err(error),
    }
    let fresh = Generated { jwt_key: random_hex()?, turn_secret: random_hex()?, media_secret: random_hex()? };
    publish(path, &fresh).with_context(|| format!("cannot write {}", path.display()))?;
    // Another process may have been first: what stands in the file is what counts.
    read(path)
}

/// Adds what an older version did not make. Two processes that do so at once would make two: the last one counts, and
/// the other one's links close.
fn complete(path: &Path, older: Generated) -> anyhow::Result<Generated> {
    let whole = Generated { media_secret: random_hex()?, ..older };
    let beside = temporary_beside(path)?;
    write_private(&beside, &whole)?;
    fs::rename(&beside, path).with_context(|| format!("cannot write {}", path.display()))?;
    fs::File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()?;
    read(path)
}

fn read(path: &Path) -> anyhow::Result<Generated> {
    let shown = path.display();
    let mode = fs::metadata(path).with_context(|| format!("{shown}"))?.permissions().mode();
    ensure!(mode & 0o077 == 0, "{shown} can be read by others (mode {:o}): chmod 600 it", mode & 0o777);
    let text = fs::read_to_string(path).with_context(|| format!("{shown}"))?;
    // The parser's own error would quote the line.
    toml::from_str(&text)
        .map_err(|_| anyhow::anyhow!("{shown} is damaged: restore it, or remove it to make new secrets"))
}

fn is_not_found(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::NotFound)
}

/// Writes beside the path and links it there, so that the file is whole or absent, and the first writer wins.
fn publish(path: &Path, generated: &Generated) -> anyhow::Result<()> {
    let beside = temporary_beside(path)?;
    let written = write_private(&beside, generated);
    let linked = written
        .and_then(|()| fs::hard_link(&beside, path))
        .and_then(|()| fs::File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all());
    fs::remove_file(&beside)?;
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error.into()),
        _ => Ok(()),
    }
}

/// A new file for the owner alone, durable.
fn write_private(path: &Path, generated: &Generated) -> io::Result<()> {
    let mut text = String::from(
        "# Generated by trunkline. Removing this file makes every token, credential and link void.\n",
    );
    text += &toml::to_string(generated).map_err(io::Error::other)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all())
}

/// Named at random: in a container every start has the same process id, and a crash may leave the file behind.
fn temporary_beside(path: &Path) -> anyhow::Result<PathBuf> {
    Ok(path.with_extension(format!("{}.tmp", &random_hex()?[..16])))
}

/// Makes an empty file for the owner alone where there is none, so that whoever fills it (SQLite, and what it puts
/// beside it) keeps that mode whatever the folder's is.
///
/// # Errors
/// What the file system says.
pub fn make_private_file(path: &Path) -> anyhow::Result<()> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map(drop)
        .with_context(|| format!("cannot make {}", path.display()))
}

fn random_hex() -> anyhow::Result<String> {
    let mut bytes = [0; RANDOM_BYTES];
    rand::fill(&mut bytes).map_err(|_| anyhow::anyhow!("the system gives no randomness"))?;
    Ok(hex::encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config_in(dir: &Path) -> Config {
        let mut config = Config::default();
        config.data.dir = dir.to_owned();
        config
    }

    fn fresh_dir(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("trunkline-secrets-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        dir
    }

    #[test]
    fn are_generated_once_and_private() {
        let dir = fresh_dir("once");
        let config = config_in(&dir);
        let first = Secrets::resolve(&config).unwrap();
        let second = Secrets::resolve(&config).unwrap();
        assert_eq!(first.jwt_key, second.jwt_key);
        assert_eq!(first.turn, second.turn);
        assert_ne!(first.jwt_key, first.turn[0]);
        assert_eq!(first.jwt_key.expose().len(), 2 * RANDOM_BYTES);
        assert_eq!(fs::metadata(dir.join(FILE)).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700);
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn of_an_older_version_are_completed() {
        let dir = fresh_dir("older");
        let config = config_in(&dir);
        let first = Secrets::resolve(&config).unwrap();
        let file = dir.join(FILE);
        let text = fs::read_to_string(&file).unwrap();
        let older: String =
            text.lines().filter(|line| !line.starts_with("media_secret")).map(|l| format!("{l}\n")).collect();
        assert_ne!(older, text);
        fs::write(&file, older).unwrap();
        let second = Secrets::resolve(&config).unwrap();
        assert_eq!((&second.jwt_key, &second.turn), (&first.jwt_key, &first.turn));
        assert_ne!(second.media, first.media);
        assert_eq!(Secrets::resolve(&config).unwrap().media, second.media);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn that_others_can_read_are_refused() {
        let dir = fresh_dir("open");
        Secrets::resolve(&config_in(&dir)).unwrap();
        fs::set_permissions(dir.join(FILE), fs::Permissions::from_mode(0o644)).unwrap();
        let error = Secrets::resolve(&config_in(&dir)).unwrap_err().to_string();
        assert!(error.contains("chmod 600"), "{error}");
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn that_are_configured_need_no_directory() {
        let dir = fresh_dir("none");
        let mut config = config_in(&dir);
        config.auth.jwt_key = Secret::new("k".repeat(32));
        config.turn.secrets = vec![Secret::new("t".repeat(32))];
        config.media.secret = Secret::new("m".repeat(32));
        assert_eq!(Secrets::resolve(&config).unwrap().jwt_key, config.auth.jwt_key);
        assert!(!dir.exists());
    }
}
