//! Tests that cross crates, and tests of the house itself: layers, lists, sizes.
//!
//! What the test binary in `rust/` shares stands here: where the checkout is, and which files it
//! holds.
use std::fs;
use std::path::{Path, PathBuf};

/// The root of the checkout that cargo runs the tests of: where they were compiled may be another one that
/// has the same target directory.
///
/// # Panics
/// Outside of `cargo test`.
pub fn root() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo runs the tests");
    PathBuf::from(package).join("..")
}

/// Every file of the checkout below `directory` that has this extension, sorted. Directories whose
/// names start with a dot, and those of Python's bytecode, are left out.
///
/// # Panics
/// If a directory cannot be read.
pub fn files(directory: &str, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![root().join(directory)];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).expect("a directory of the checkout is readable") {
            let path = entry
                .expect("a directory of the checkout is readable")
                .path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if path.is_dir() {
                if !name.starts_with('.') && name != "__pycache__" {
                    open.push(path);
                }
            } else if path.extension().is_some_and(|given| given == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// A path below the root of the checkout as `a/b/c`, whatever the platform's separator.
///
/// # Panics
/// If `path` lies elsewhere.
pub fn relative(path: &Path) -> String {
    let path = path
        .strip_prefix(root())
        .expect("the path lies below the root of the checkout");
    let parts: Vec<_> = path.iter().map(|part| part.to_string_lossy()).collect();
    parts.join("/")
}

/// A source file down to the test module at its end: `#[cfg(test)]` and, next, `mod tests {`.
pub fn library_part(source: &str) -> &str {
    const MARK: &str = "\n#[cfg(test)]\n";
    let is_module = |end: &usize| {
        let line = source[end + MARK.len()..]
            .lines()
            .next()
            .unwrap_or_default();
        line.trim_start_matches("pub(crate) ") == "mod tests {"
    };
    let end = source
        .match_indices(MARK)
        .map(|(end, _)| end)
        .find(is_module);
    end.map_or(source, |end| &source[..=end])
}
