//! A store as a whole: giving it another place, and taking it away.

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::fs::{Dir, Fs, RealFs};
use crate::options::{Mode, Options};
use crate::staging::random;
use crate::store::{Store, refuse_strangers, remove_everything};

impl Store {
    /// Removes the store at `path` with its directory, which disappears at once. Views of its arrays
    /// stay as they are.
    ///
    /// # Errors
    /// [`Error::NotAStore`] for a directory that holds anything that is not part of a store, and
    /// [`Error::NoStore`]; nothing is removed then.
    pub fn remove(path: &Path, options: &Options) -> Result<()> {
        let (parent, name) = split(path)?;
        let store = Self::open(path, &options.clone().with_mode(Mode::ReadWrite))?;
        let shared = store.shared()?;
        refuse_strangers(&*shared.dir, path)?;
        let gone = format!(".{name}.removed-{:016x}", random());
        let guard = shared.lock(options)?;
        parent
            .rename_new(name, &gone)
            .map_err(|source| Error::io("remove", path, source))?;
        drop(guard);
        store.close()?;
        remove_everything(&*shared.dir, path)?;
        parent
            .unlink(&gone)
            .map_err(|source| Error::io("remove", path, source))
    }

    /// Closes the store and gives its directory another name, where nothing has that name yet.
    ///
    /// # Errors
    /// [`Error::PathExists`], and what [`close`](Self::close) reports.
    pub fn move_to(self, path: &Path) -> Result<()> {
        self.close()?;
        let (parent, from) = split(self.path())?;
        let (_, to) = split(path)?;
        if self.path().parent() != path.parent() {
            return Err(Error::InvalidArgument(format!(
                "\"{}\" is not beside \"{}\"",
                path.display(),
                self.path().display()
            )));
        }
        parent
            .rename_new(from, to)
            .map_err(|source| match source.kind() {
                ErrorKind::AlreadyExists => Error::PathExists {
                    path: path.to_path_buf(),
                },
                _ => Error::io("rename", path, source),
            })
    }
}

/// The directory that a path lies in, opened, and the last part of the path.
fn split(path: &Path) -> Result<(Arc<dyn Dir>, &str)> {
    let name = path.file_name().and_then(OsStr::to_str);
    let (Some(parent), Some(name)) = (path.parent(), name) else {
        return Err(Error::InvalidArgument(format!(
            "\"{}\" is no path of a store",
            path.display()
        )));
    };
    let parent = if parent.as_os_str().is_empty() {
        Path::new(".")
    } else {
        parent
    };
    let dir = RealFs
        .open_dir(parent, false)
        .map_err(|source| Error::io("open", parent, source))?;
    Ok((dir, name))
}
