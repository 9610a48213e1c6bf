//! Which directories are stores.

use std::path::Path;

use crate::error::{Error, Result};
use crate::fs::{Dir, Fs, RealFs};
use crate::paths;
use crate::store::Store;

impl Store {
    /// Whether there is a store at `path`. Nothing is opened and nothing is written.
    pub fn exists(path: &Path) -> bool {
        RealFs
            .open_dir(path, false)
            .is_ok_and(|dir| holds_store(&*dir, ""))
    }
}

/// The names of the stores right below a directory, sorted. Names that begin with a dot and names
/// that are not UTF-8 are left out.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// use numpack_engine::{Options, Store, stores_in};
/// Store::open(&dir.path().join("train.npk"), &Options::default())?.close()?;
/// assert_eq!(stores_in(dir.path())?, ["train.npk"]);
/// assert!(Store::exists(&dir.path().join("train.npk")));
/// assert!(!Store::exists(dir.path()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`Error::Io`] for a directory that cannot be read.
pub fn stores_in(path: &Path) -> Result<Vec<String>> {
    let dir = RealFs
        .open_dir(path, false)
        .map_err(|source| Error::io("open", path, source))?;
    let names = dir
        .list("")
        .map_err(|source| Error::io("list", path, source))?;
    let mut stores: Vec<String> = names
        .into_iter()
        .filter(|name| !name.starts_with('.') && holds_store(&*dir, &format!("{name}/")))
        .collect();
    stores.sort();
    Ok(stores)
}

/// The names of the directories right below a directory, sorted; the ones left out are those that
/// [`stores_in`] leaves out.
///
/// # Errors
/// As for [`stores_in`].
pub fn directories_in(path: &Path) -> Result<Vec<String>> {
    let dir = RealFs
        .open_dir(path, false)
        .map_err(|source| Error::io("open", path, source))?;
    let names = dir
        .list("")
        .map_err(|source| Error::io("list", path, source))?;
    let mut found: Vec<String> = names
        .into_iter()
        .filter(|name| !name.starts_with('.') && dir.list(name).is_ok())
        .collect();
    found.sort();
    Ok(found)
}

/// A store that nobody has closed yet may have no metadata of its own, but it has a journal.
fn holds_store(dir: &dyn Dir, prefix: &str) -> bool {
    [paths::METADATA, paths::JOURNAL].iter().any(|name| {
        let stat = dir.stat(&format!("{prefix}{name}"));
        stat.is_ok_and(|stat| stat.is_file)
    })
}
