//! `numpack import FILE... DIR` and `numpack export DIR FILE`.
use std::ffi::OsStr;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use numpack::{Error, Mode, Options, Store};
use numpack_convert::{ExportOptions, ImportOptions, Imported as Taken, Progress};
use serde::Serialize;

use super::ls::shape;
use crate::failure::Failure;
use crate::output::{self, escaped};
use crate::progress::Bar;

#[derive(Serialize)]
struct Array {
    name: String,
    dtype: &'static str,
    shape: Vec<u64>,
}

#[derive(Serialize)]
struct Imported {
    path: String,
    arrays: Vec<Array>,
}

#[derive(Serialize)]
struct Exported {
    file: String,
    arrays: Vec<String>,
    size_bytes: u64,
}

pub(super) fn import(
    files: &[PathBuf],
    dir: &Path,
    options: &ImportOptions,
    json: bool,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    // A store is not made for a file that was mistyped.
    numpack_convert::check_readable(files, options)?;
    let made = if is_free(dir) {
        make(files, dir, options)?
    } else {
        None
    };
    let taken = if let Some(taken) = made {
        taken
    } else {
        let store = Store::open(dir, &Options::default().with_mode(Mode::Append))?;
        let taken = take(files, &store, options)?;
        store.close()?;
        taken
    };
    let arrays = taken.into_iter().map(|array| Array {
        name: array.name,
        dtype: array.dtype.name(),
        shape: array.shape,
    });
    if json {
        let path = dir.display().to_string();
        let arrays = arrays.collect();
        return output::json(out, &Imported { path, arrays });
    }
    for array in arrays {
        let (name, shape) = (escaped(&array.name), shape(&array.shape));
        writeln!(out, "imported {name} {} {shape}", array.dtype)?;
    }
    Ok(())
}

/// Takes files over into a store.
fn take(files: &[PathBuf], store: &Store, options: &ImportOptions) -> Result<Vec<Taken>, Failure> {
    let bar = Bar::new();
    let tell = &mut |progress: Progress| bar.show(progress);
    Ok(numpack_convert::import(store, files, options, tell)?)
}

/// Makes a store of files, whole or not at all; none where somebody else has made one meanwhile.
fn make(
    files: &[PathBuf],
    dir: &Path,
    options: &ImportOptions,
) -> Result<Option<Vec<Taken>>, Failure> {
    let made = Store::make(dir, &Options::default(), |store| {
        take(files, store, options)
    });
    match made {
        Err(Failure::Store(Error::PathExists { .. })) => Ok(None),
        made => made.map(Some),
    }
}

/// Whether there is nothing yet, and can be a store under another name beside it first.
fn is_free(dir: &Path) -> bool {
    let name = dir.file_name().and_then(OsStr::to_str);
    name.is_some()
        && matches!(dir.symlink_metadata(), Err(error) if error.kind() == ErrorKind::NotFound)
}

pub(super) fn export(
    dir: &Path,
    file: &Path,
    options: &ExportOptions,
    json: bool,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let store = super::open(dir)?;
    let bar = Bar::new();
    let tell = &mut |progress: Progress| bar.show(progress);
    let written = numpack_convert::export(&store, file, options, tell)?;
    drop(bar);
    if json {
        let exported = Exported {
            file: file.display().to_string(),
            arrays: written.arrays,
            size_bytes: written.bytes,
        };
        return output::json(out, &exported);
    }
    let size = output::bytes(written.bytes);
    let names = written.arrays.join(", ");
    Ok(writeln!(
        out,
        "exported {} ({size}) to {}",
        escaped(&names),
        escaped(&file.display().to_string())
    )?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_somebody_else_has_made_meanwhile_stays() {
        let temp = tempfile::tempdir().unwrap();
        let (file, dir) = (temp.path().join("a.csv"), temp.path().join("s.npk"));
        std::fs::write(&file, "a\n1\n").unwrap();
        assert!(is_free(&dir));
        std::fs::create_dir(&dir).unwrap();
        assert!(!is_free(&dir));
        let options = ImportOptions::default();
        assert_eq!(make(&[file], &dir, &options).unwrap(), None);
        assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 2);
    }
}
