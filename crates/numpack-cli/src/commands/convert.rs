//! `numpack import FILE... DIR` and `numpack export DIR FILE`.
use std::io::Write;
use std::path::{Path, PathBuf};

use numpack::{Options, Store};
use numpack_convert::{ExportOptions, ImportOptions, Progress};
use serde::Serialize;

use super::ls::shape;
use crate::failure::Failure;
use crate::output;
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
    let store = Store::open(dir, &Options::default())?;
    let bar = Bar::new();
    let tell = &mut |progress: Progress| bar.show(progress);
    let taken = numpack_convert::import(&store, files, options, tell)?;
    drop(bar);
    store.close()?;
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
        let shape = shape(&array.shape);
        writeln!(out, "imported {} {} {shape}", array.name, array.dtype)?;
    }
    Ok(())
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
        "exported {names} ({size}) to {}",
        file.display()
    )?)
}
