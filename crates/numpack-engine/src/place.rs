//! A store as a whole: making it at once, and taking it away.

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use numpack_format::is_store_file;

use crate::error::{Error, Result};
use crate::fs::{Dir, Fs, RealFs};
use crate::options::{Mode, Options};
use crate::paths;
use crate::staging::random;
use crate::store::Store;

impl Store {
    /// Makes a store at `path`, where there is nothing yet, and fills it. It is there when it is full,
    /// or not at all; before, it lies beside `path` under a name with a dot in front.
    ///
    /// ```
    /// use numpack_engine::{Error, Options, Result, Store};
    /// # use numpack_format::{ArrayMeta, DType};
    /// # let dir = std::env::temp_dir().join(format!("numpack-make-doc-{}.npk", std::process::id()));
    /// Store::make(&dir, &Options::default(), |store| {
    ///     let mut change = store.begin()?;
    ///     change.put("x", &ArrayMeta::new(DType::UInt8, &[2])?, &mut [3u8, 1].as_slice())?;
    ///     change.commit()
    /// })?;
    /// let again: Result<()> = Store::make(&dir, &Options::default(), |_| Ok(()));
    /// assert!(matches!(again, Err(Error::PathExists { .. })));
    /// # Store::remove(&dir, &Options::default())?;
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// What `fill` reports, [`Error::PathExists`], and what [`open`](Self::open) and
    /// [`close`](Self::close) report. Nothing is left then.
    pub fn make<T, E: From<Error>>(
        path: &Path,
        options: &Options,
        fill: impl FnOnce(&Self) -> std::result::Result<T, E>,
    ) -> std::result::Result<T, E> {
        let (parent, name) = split(path)?;
        let beside = format!(".{name}.new-{:016x}", random());
        let hidden = path.with_file_name(&beside);
        let unfinished = Unfinished {
            parent: &*parent,
            name: &beside,
            path: &hidden,
        };
        let store = Self::open(&hidden, &options.clone().with_mode(Mode::Exclusive))?;
        let filled = fill(&store)?;
        store.close()?;
        parent
            .rename_new(&beside, name)
            .map_err(|source| match source.kind() {
                ErrorKind::AlreadyExists => Error::PathExists {
                    path: path.to_path_buf(),
                },
                _ => Error::io("rename", path, source),
            })?;
        std::mem::forget(unfinished);
        Ok(filled)
    }

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
}

/// A store that is not in its place yet; dropping this takes it away.
struct Unfinished<'a> {
    parent: &'a dyn Dir,
    name: &'a str,
    path: &'a Path,
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        // Whoever made it fail has the error that matters.
        if let Ok(dir) = RealFs.open_dir(self.path, false) {
            let _left_behind = remove_everything(&*dir, self.path);
        }
        let _left_behind = self.parent.unlink(self.name);
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

/// Refuses a directory that holds anything that no store made.
pub(crate) fn refuse_strangers(dir: &dyn Dir, path: &Path) -> Result<()> {
    let names = dir
        .list("")
        .map_err(|source| Error::io("list", path, source))?;
    match names.into_iter().find(|name| !is_store_file(name)) {
        Some(entry) => Err(Error::NotAStore {
            path: path.to_path_buf(),
            entry,
        }),
        None => Ok(()),
    }
}

/// Removes the files of a store that cannot be read, for mode w.
pub(crate) fn remove_everything(dir: &dyn Dir, path: &Path) -> Result<()> {
    let io = |source| Error::io("remove", path, source);
    // What is locked goes last: whoever finds it missing may make a store of what is there.
    let mut names = dir.list("").map_err(io)?;
    names.sort_by_key(|name| name == paths::PRIVATE_DIR);
    for name in names.into_iter().filter(|name| is_store_file(name)) {
        if !dir.stat(&name).map_err(io)?.is_file {
            let mut below = dir.list(&name).map_err(io)?;
            below.sort_by_key(|inner| paths::LOCK.ends_with(&**inner));
            for inner in below {
                dir.unlink(&format!("{name}/{inner}")).map_err(io)?;
            }
        }
        dir.unlink(&name).map_err(io)?;
    }
    Ok(())
}
