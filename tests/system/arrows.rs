//! The arrows: `src` → shells → their cores → `crates/*`, and services never import each other.
//!
//! The rules are read from what Cargo itself would link (`cargo metadata`), not from the text of the manifests, so
//! a renamed or target-specific dependency cannot slip through.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// What has I/O, threads or clocks of its own: never a direct normal dependency of a core.
const IO_CRATES: [&str; 8] =
    ["tokio", "mio", "socket2", "axum", "quinn-udp", "rusqlite", "hyper", "trunkline-udp"];

/// The packages of one service: none of them may reach a package of another service.
const SERVICES: [(&str, &[&str]); 4] = [
    (
        "media-store",
        &[
            "trunkline-media-store",
            "trunkline-media-blob",
            "trunkline-media-pipeline",
            "trunkline-media-resample",
        ],
    ),
    ("signaling", &["trunkline-signaling", "trunkline-signaling-api", "trunkline-signaling-core"]),
    ("sfu", &["trunkline-sfu", "trunkline-sfu-core"]),
    ("turn", &["trunkline-turn", "trunkline-turn-core"]),
];

/// The one crate that may hold `unsafe`.
const UNSAFE_CRATE: &str = "trunkline-udp";

/// One workspace package: where its manifest is and what it links outside of tests.
struct Package {
    manifest: PathBuf,
    dependencies: BTreeSet<String>,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn workspace() -> BTreeMap<String, Package> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON");
    let text = |value: &Value| value.as_str().expect("a string").to_owned();
    metadata["packages"]
        .as_array()
        .expect("packages")
        .iter()
        .map(|package| {
            let dependencies = package["dependencies"]
                .as_array()
                .expect("dependencies")
                .iter()
                .filter(|dependency| dependency["kind"] != "dev")
                .map(|dependency| text(&dependency["name"]))
                .collect();
            let manifest = PathBuf::from(text(&package["manifest_path"]));
            (text(&package["name"]), Package { manifest, dependencies })
        })
        .collect()
}

fn service_of(package: &str) -> Option<&'static str> {
    SERVICES.iter().find(|(_, packages)| packages.contains(&package)).map(|(service, _)| *service)
}

fn is_core(package: &str) -> bool {
    package.ends_with("-core") && service_of(package).is_some()
}

/// A package of ours under `crates/`: what everybody may use and what uses nobody.
fn is_shared(package: &Package) -> bool {
    package.manifest.starts_with(root().join("crates"))
}

#[test]
fn the_workspace_has_the_packages_that_the_rules_name() {
    let workspace = workspace();
    for (service, packages) in SERVICES {
        for package in packages {
            assert!(
                workspace.contains_key(*package),
                "{service}: `{package}` is gone; the rules here must follow"
            );
        }
    }
    assert!(workspace.contains_key(UNSAFE_CRATE));
}

#[test]
fn services_never_import_each_other() {
    let workspace = workspace();
    for (name, package) in &workspace {
        let Some(own) = service_of(name) else { continue };
        for dependency in &package.dependencies {
            if let Some(other) = service_of(dependency) {
                assert_eq!(
                    own, other,
                    "{name} → {dependency}: join them in src/app.rs, through a port trait"
                );
            }
            assert_ne!(
                dependency, "trunkline",
                "{name} → the composition root: the arrow goes the other way"
            );
        }
    }
}

#[test]
fn cores_stand_on_the_shared_crates_alone() {
    let workspace = workspace();
    for (name, package) in workspace.iter().filter(|(name, _)| is_core(name)) {
        for dependency in &package.dependencies {
            let Some(ours) = workspace.get(dependency) else { continue };
            let own_messages = name == "trunkline-signaling-core" && dependency == "trunkline-signaling-api";
            assert!(
                is_shared(ours) || own_messages,
                "{name} → {dependency}: a core depends on crates/* only"
            );
        }
    }
}

/// What reads a stranger's bytes runs in a process of its own, and needs nothing that talks to others.
#[test]
fn the_media_pipeline_has_no_runtime_and_no_store() {
    let workspace = workspace();
    let pipeline = &workspace["trunkline-media-pipeline"];
    for unwanted in IO_CRATES.iter().chain(&["trunkline-media-blob", "trunkline-media-store", "aws-sdk-s3"]) {
        assert!(!pipeline.dependencies.contains(*unwanted), "trunkline-media-pipeline → {unwanted}");
    }
    assert!(!workspace["trunkline-media-blob"].dependencies.contains("trunkline-media-store"));
}

#[test]
fn shared_crates_know_no_service() {
    let workspace = workspace();
    for (name, package) in workspace.iter().filter(|(_, package)| is_shared(package)) {
        for dependency in &package.dependencies {
            assert_eq!(service_of(dependency), None, "{name} → {dependency}: crates/* know no service");
        }
    }
}

#[test]
fn cores_have_no_sockets_and_no_runtime() {
    let workspace = workspace();
    for (name, package) in workspace.iter().filter(|(name, _)| is_core(name)) {
        for io in IO_CRATES {
            assert!(!package.dependencies.contains(io), "{name} → {io}: I/O belongs to the shell");
        }
        let clippy = package.manifest.with_file_name("clippy.toml");
        let text = std::fs::read_to_string(&clippy).unwrap_or_default();
        assert!(text.contains("std::time::Instant::now"), "{name}: {} must ban clocks", clippy.display());
    }
}

#[test]
fn unsafe_code_is_forbidden_outside_the_one_crate() {
    let root_manifest = std::fs::read_to_string(root().join("Cargo.toml")).expect("root manifest");
    let root_manifest: toml::Table = root_manifest.parse().expect("TOML");
    assert_eq!(root_manifest["workspace"]["lints"]["rust"]["unsafe_code"].as_str(), Some("forbid"));
    for (name, package) in workspace() {
        let text = std::fs::read_to_string(&package.manifest).expect("manifest");
        let manifest: toml::Table = text.parse().expect("TOML");
        let inherits = manifest["lints"].get("workspace").and_then(toml::Value::as_bool) == Some(true);
        assert_eq!(inherits, name != UNSAFE_CRATE, "{name}: lints must be the workspace's");
    }
}
