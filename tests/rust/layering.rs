//! Data flows one way: the workspace has no dependency that the drawing in ARCHITECTURE.md lacks.
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use numpack_tests::{files, library_part, relative, root};
use serde_json::Value;

/// Package -> the packages of the workspace that it may name, tests and benches aside.
const ALLOWED: &[(&str, &[&str])] = &[
    ("numpack-format", &[]),
    ("numpack-kernels", &[]),
    ("numpack-engine", &["numpack-format", "numpack-kernels"]),
    (
        "numpack-arrow",
        &["numpack-format", "numpack-kernels", "numpack-engine"],
    ),
    (
        "numpack-datafusion",
        &[
            "numpack-format",
            "numpack-kernels",
            "numpack-engine",
            "numpack-arrow",
        ],
    ),
    (
        "numpack",
        &[
            "numpack-format",
            "numpack-engine",
            "numpack-arrow",
            "numpack-datafusion",
        ],
    ),
    ("numpack-convert", &["numpack"]),
    ("numpack-cli", &["numpack", "numpack-convert"]),
    ("numpack-python", &["numpack", "numpack-cli"]),
];

/// May name everything; nothing may name them.
const UNPUBLISHED: &[&str] = &["numpack-tests", "numpack-benches"];

/// Every package of the workspace with the workspace packages that it names, in any way: ordinary,
/// dev and build dependencies alike.
fn edges() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--no-deps",
            "--offline",
            "--locked",
        ])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let members: BTreeSet<String> = packages
        .iter()
        .map(|package| text(&package["name"]))
        .collect();
    packages
        .iter()
        .map(|package| {
            let named = package["dependencies"].as_array().unwrap().iter();
            let named = named.map(|dependency| text(&dependency["name"]));
            (
                text(&package["name"]),
                named.filter(|name| members.contains(name)).collect(),
            )
        })
        .collect()
}

#[test]
fn no_edge_runs_against_the_drawing() {
    let edges = edges();
    let known: BTreeSet<&str> = ALLOWED
        .iter()
        .map(|(name, _)| *name)
        .chain(UNPUBLISHED.iter().copied())
        .collect();
    let seen: BTreeSet<&str> = edges.keys().map(String::as_str).collect();
    assert_eq!(
        seen, known,
        "a package joined or left the workspace: draw it here and in ARCHITECTURE.md"
    );

    let mut checked = 0;
    for (package, allowed) in ALLOWED {
        for named in &edges[*package] {
            assert!(
                allowed.contains(&named.as_str()),
                "{package} depends on {named}; it may depend on {allowed:?} only"
            );
            checked += 1;
        }
    }
    assert!(
        checked >= ALLOWED.len() - 2,
        "only {checked} edges were seen"
    );
    for (package, named) in &edges {
        for unpublished in UNPUBLISHED {
            assert!(
                !named.contains(*unpublished),
                "{package} depends on {unpublished}"
            );
        }
    }
}

/// Only the engine touches the files of a store, and only numpack-convert other files: that is what lets a test double stand in for the disk. Test modules
/// write what they need.
#[test]
fn only_the_engine_touches_files() {
    const MARKS: &[&str] = &[
        "std::fs",
        "File::open",
        "File::create",
        "rustix::fs",
        "memmap2",
    ];
    let mut scanned = 0;
    let mut strays = Vec::new();
    for path in files("crates", "rs") {
        let name = relative(&path);
        let test = name.contains("/tests/") || name.ends_with("tests.rs");
        let may = name.starts_with("crates/numpack-engine/")
            || name.starts_with("crates/numpack-convert/")
            // Rows on their way into a store lie in temporary files of DataFusion's.
            || name == "crates/numpack-datafusion/src/dml/values.rs"
            // The prompt's history lies in the user's home.
            || name == "crates/numpack-cli/src/prompt/history.rs";
        if test || may {
            continue;
        }
        scanned += 1;
        let source = fs::read_to_string(&path).unwrap();
        let code = library_part(&source).lines();
        for line in code.filter(|line| !line.trim_start().starts_with("//")) {
            if MARKS.iter().any(|mark| line.contains(mark)) {
                strays.push(format!("{name}: {}", line.trim()));
            }
        }
    }
    assert!(scanned > 10, "only {scanned} files were scanned");
    assert!(
        strays.is_empty(),
        "file access outside of numpack-engine and numpack-convert:\n{}",
        strays.join("\n")
    );
}
