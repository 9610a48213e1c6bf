use std::collections::HashMap;
use std::ffi::OsStr;
use std::fmt;
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};
use std::sync::Mutex;

use numpack_engine::{Error, Mode, Options, Store, stores_in};

use crate::error::{Result, SqlError};
use crate::held::held;
use crate::place::Place;

/// What a store's directory may end with and its table does without.
const SUFFIX: &str = ".npk";

/// A directory of stores: each store right below it is a table.
pub(crate) struct Directory {
    path: PathBuf,
    options: Options,
    /// By the name of the store's own directory.
    open: Mutex<HashMap<String, Store>>,
}

impl Directory {
    /// The directory at `path`, whose stores are opened with `options` when they are first named.
    pub(crate) fn open(path: &Path, options: Options) -> Result<Self> {
        if Store::exists(path) {
            return Err(a_store(path));
        }
        stores_in(path).map_err(|error| match error {
            Error::Io { ref source, .. }
                if matches!(
                    source.kind(),
                    ErrorKind::NotFound | ErrorKind::NotADirectory
                ) =>
            {
                Error::NoStore {
                    path: path.to_path_buf(),
                }
            }
            other => other,
        })?;
        Ok(Self {
            path: path.to_path_buf(),
            options,
            open: Mutex::default(),
        })
    }

    /// The names of all tables, sorted. `train.npk` is the table `train`, unless there is a store
    /// `train` beside it.
    pub(crate) fn tables(&self) -> Result<Vec<String>> {
        let stores = stores_in(&self.path)?;
        let table = |store: &String| match store.strip_suffix(SUFFIX) {
            Some(short) if !short.is_empty() && !stores.iter().any(|other| other == short) => {
                short.to_owned()
            }
            _ => store.clone(),
        };
        let mut tables: Vec<String> = stores.iter().map(table).collect();
        tables.sort();
        Ok(tables)
    }

    /// The store that is the table `name`.
    pub(crate) fn store(&self, name: &str) -> Result<Option<Store>> {
        let Some(store) = self.store_name(name) else {
            return Ok(None);
        };
        let mut open = held(&self.open);
        if let Some(store) = open.get(&store) {
            return Ok(Some(store.clone()));
        }
        let opened = Store::open(&self.path.join(&store), &self.options)?;
        open.insert(store, opened.clone());
        Ok(Some(opened))
    }

    /// The name of the directory that is the table `name`, if there is a store.
    pub(crate) fn store_name(&self, name: &str) -> Option<String> {
        [name.to_owned(), format!("{name}{SUFFIX}")]
            .into_iter()
            .find(|store| is_a_name(store) && Store::exists(&self.path.join(store)))
    }

    /// Where the store lies, or will lie, that is the table `name`.
    pub(crate) fn place(&self, name: &str) -> Result<Place> {
        if !is_a_name(name) {
            return Err(SqlError::Usage(format!(
                "table \"{name}\": no store can have this name in a directory"
            )));
        }
        let store = self.store_name(name);
        let store = store.unwrap_or_else(|| {
            if name.ends_with(SUFFIX) {
                name.to_owned()
            } else {
                format!("{name}{SUFFIX}")
            }
        });
        Ok(Place::Store {
            table: name.to_owned(),
            path: self.path.join(store),
            options: self.options.clone(),
        })
    }

    /// Closes and removes the store that is the table `name`.
    pub(crate) fn remove(&self, name: &str) -> Result<()> {
        let Some(store) = self.store_name(name) else {
            return Ok(());
        };
        let mut open = held(&self.open);
        if self.options.mode != Mode::Read
            && let Some(opened) = open.remove(&store)
        {
            opened.close()?;
        }
        Ok(Store::remove(&self.path.join(store), &self.options)?)
    }

    /// Closes the stores that have been opened.
    pub(crate) fn close(&self) -> Result<()> {
        let mut open = held(&self.open);
        let closed: Vec<_> = open.drain().map(|(_, store)| store.close()).collect();
        closed.into_iter().collect::<numpack_engine::Result<()>>()?;
        Ok(())
    }
}

impl fmt::Debug for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Directory").field(&self.path).finish()
    }
}

/// The error of a store where a directory of them is expected: its tables would be made inside of it.
fn a_store(path: &Path) -> SqlError {
    let name = path.file_stem().map_or("s".into(), OsStr::to_string_lossy);
    let path = path.display();
    SqlError::Usage(format!(
        "\"{path}\" is a store and not a directory of stores: give it a name, in Python \
         numpack.connect({{\"{name}\": \"{path}\"}}), or query it alone, NumPack(\"{path}\").sql(...)"
    ))
}

/// Whether a store of this name lies right below the directory, and not somewhere else.
fn is_a_name(name: &str) -> bool {
    let mut components = Path::new(name).components();
    let only = components.next();
    !name.starts_with('.')
        && !name.contains('\0')
        && components.next().is_none()
        && matches!(only, Some(Component::Normal(part)) if part == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_name_never_leaves_the_directory() {
        for name in [
            "", ".", "..", "../x", "a/b", "/etc", "a/", "./a", ".hidden", "a\0b",
        ] {
            assert!(!is_a_name(name), "{name:?}");
        }
        for name in ["a", "train.npk", "two words", "a\\b"] {
            assert!(is_a_name(name), "{name:?}");
        }
    }
}
