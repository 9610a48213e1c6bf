//! Tests that cross crates, and tests of the house itself: layers, lists, sizes.
//!
//! What the test binary in `rust/` shares stands here: where the checkout is, and which source
//! files it holds.
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The root of the checkout.
pub fn root() -> PathBuf {
    let mut root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    root.pop();
    root
}

/// Every file below `directory` whose name ends in `suffix`, sorted; directories whose names start
/// with a dot or that hold what Python compiled are left out.
///
/// # Errors
/// Whatever reading a directory may fail with.
pub fn files(directory: &Path, suffix: &str) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![directory.to_path_buf()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if entry.file_type()?.is_dir() {
                if !name.starts_with('.') && name != "__pycache__" {
                    open.push(entry.path());
                }
            } else if name.ends_with(suffix) {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    Ok(found)
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

/// A source file down to the test module at its end, which starts with `#[cfg(test)]` and `mod`.
pub fn library_part(source: &str) -> &str {
    source
        .find("\n#[cfg(test)]\nmod tests {")
        .map_or(source, |end| &source[..=end])
}
