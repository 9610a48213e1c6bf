//! Files that appear as a whole.
use std::fs::File;
use std::path::{Path, PathBuf};

use tempfile::{Builder, NamedTempFile};

use crate::error::{At, Result};

/// A file on its way: written beside its target, which it replaces when it is complete. Dropping it
/// leaves the target as it was.
#[derive(Debug)]
pub struct Output {
    file: NamedTempFile,
    target: PathBuf,
}

impl Output {
    /// A file that is to become `target`.
    ///
    /// # Errors
    /// A directory that cannot be written.
    pub fn create(target: &Path) -> Result<Self> {
        let dir = match target.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => dir,
            _ => Path::new("."),
        };
        let mut builder = Builder::new();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            // The process's umask takes away what it does not grant to new files.
            builder.permissions(std::fs::Permissions::from_mode(0o666));
        }
        let file = builder.prefix(".numpack-").tempfile_in(dir).at(target)?;
        Ok(Self {
            file,
            target: target.to_path_buf(),
        })
    }

    /// The file to write to.
    pub fn file(&mut self) -> &mut File {
        self.file.as_file_mut()
    }

    /// Puts the file, safe on disk, in the target's place.
    ///
    /// # Errors
    /// A failed write.
    pub fn finish(self) -> Result<()> {
        self.file.as_file().sync_all().at(&self.target)?;
        let persisted = self.file.persist(&self.target);
        persisted
            .map(drop)
            .map_err(|failed| failed.error)
            .at(&self.target)
    }
}
