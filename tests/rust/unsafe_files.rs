//! `unsafe` stands in the files that ARCHITECTURE.md lists, and in no other.
use std::collections::BTreeSet;
use std::fs;

use numpack_tests::{files, relative, root};

/// The heading whose list names the files, one `- \`path\`: reason` a line.
const HEADING: &str = "## Files with unsafe code";

/// The files that ARCHITECTURE.md lists.
fn listed() -> BTreeSet<String> {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let section = text
        .split(HEADING)
        .nth(1)
        .expect("ARCHITECTURE.md has lost its list");
    let section = section.split("\n## ").next().unwrap();
    let lines = section.lines().filter_map(|line| line.strip_prefix("- `"));
    lines
        .map(|line| line.split('`').next().unwrap().to_owned())
        .collect()
}

/// Whether a line of code, comments taken away, holds the keyword or opens the file for it.
fn mentions_unsafe(line: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    let words = || code.split(|c: char| !(c.is_alphanumeric() || c == '_'));
    // `forbid(unsafe_code)` and `deny(unsafe_code)` close the door, `allow` and `expect` open it.
    let opens = code.contains("allow(") || code.contains("expect(");
    words().any(|word| word == "unsafe" || (opens && word == "unsafe_code"))
}

#[test]
fn unsafe_stands_only_in_the_listed_files() {
    let sources = files("crates", "rs");
    assert!(
        sources.len() > 20,
        "only {} files were scanned",
        sources.len()
    );
    let found: BTreeSet<String> = sources
        .iter()
        .filter(|path| {
            fs::read_to_string(path)
                .unwrap()
                .lines()
                .any(mentions_unsafe)
        })
        .map(|path| relative(path))
        .collect();
    assert!(
        !found.is_empty(),
        "a store without unsafe code cannot map files: the scan is broken"
    );
    assert_eq!(
        found,
        listed(),
        "left: files with unsafe code, right: the list in ARCHITECTURE.md"
    );
}

#[test]
fn the_scan_sees_code_and_passes_over_comments() {
    for code in [
        "    unsafe { map() }",
        "unsafe impl Send for View {}",
        "pub unsafe fn f() {",
        "#![expect(unsafe_code, reason = \"maps\")]",
    ] {
        assert!(mentions_unsafe(code), "{code}");
    }
    for code in [
        "// unsafe is not needed",
        "/// unsafe",
        "#![forbid(unsafe_code)]",
        "let unsafety = 1;",
    ] {
        assert!(!mentions_unsafe(code), "{code}");
    }
}
