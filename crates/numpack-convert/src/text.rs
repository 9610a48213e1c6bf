//! Text files.
use std::path::Path;

use crate::error::{At, Result};

/// The whole of a text file.
///
/// # Errors
/// A file that cannot be read or is not UTF-8; the error names it.
pub fn read_text(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).at(path)
}
