//! A file that grows past 500 lines holds more than one thing: split it by nouns.
use std::fs;

use numpack_tests::{files, library_part, relative};

/// Lines a source file may have; a test module at its end does not count.
const MOST: usize = 500;

#[test]
fn no_source_file_is_longer_than_500_lines() {
    let mut scanned = 0;
    let mut long = Vec::new();
    for (directory, extension) in [("crates", "rs"), ("python", "py"), ("scripts", "py")] {
        for path in files(directory, extension) {
            let name = relative(&path);
            if name.ends_with("tests.rs") || name.contains("/tests/") {
                continue;
            }
            scanned += 1;
            let lines = library_part(&fs::read_to_string(&path).unwrap())
                .lines()
                .count();
            if lines > MOST {
                long.push(format!("{name}: {lines} lines"));
            }
        }
    }
    assert!(scanned > 30, "only {scanned} files were scanned");
    assert!(
        long.is_empty(),
        "longer than {MOST} lines:\n{}",
        long.join("\n")
    );
}

#[test]
fn a_test_module_does_not_count() {
    for head in ["mod tests {", "pub(crate) mod tests {"] {
        let source =
            format!("#[cfg(test)]\nmod golden;\n\n#[cfg(test)]\n{head}\n    // more\n}}\n");
        assert_eq!(library_part(&source), "#[cfg(test)]\nmod golden;\n\n");
    }
}
