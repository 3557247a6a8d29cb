//! Style as a test: a source file that a person can hold in mind.

use std::path::{Path, PathBuf};

/// Lines, comments and blanks included. Raising it lets files grow past what a reader holds in mind; lowering it
/// splits what belongs together.
const LINES_MAX: usize = 700;

const SOURCE_FOLDERS: [&str; 11] =
    ["src", "signaling", "sfu", "turn", "media-store", "crates", "web", "xtask", "tests", "benches", "fuzz"];

const GENERATED_FOLDERS: [&str; 5] = ["node_modules", "dist", "target", "__pycache__", ".test"];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.filter_map(Result::ok) {
        let path = entry.path();
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if path.is_dir() {
            if !GENERATED_FOLDERS.contains(&name.as_ref()) {
                sources(&path, found);
            }
        } else if path
            .extension()
            .is_some_and(|e| ["rs", "ts", "mjs", "js", "py", "css"].iter().any(|s| e == *s))
        {
            found.push(path);
        }
    }
}

#[test]
fn no_source_file_is_longer_than_a_person_can_hold_in_mind() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in SOURCE_FOLDERS {
        sources(&root.join(folder), &mut files);
    }
    assert!(
        files.len() > 20,
        "found only {} source files: the folders above must follow the layout",
        files.len()
    );
    let too_long: Vec<String> = files
        .iter()
        .filter_map(|path| {
            let lines = std::fs::read_to_string(path).ok()?.lines().count();
            let shown = path.strip_prefix(root).unwrap_or(path).display();
            (lines > LINES_MAX).then(|| format!("{shown}: {lines} lines"))
        })
        .collect();
    assert!(too_long.is_empty(), "split these (at most {LINES_MAX} lines a file): {too_long:#?}");
}
