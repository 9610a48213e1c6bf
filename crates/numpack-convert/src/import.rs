//! From files into a store, in one transaction.
use std::collections::HashSet;
use std::fs::File;
use std::io::{BufReader, Seek};
use std::path::Path;

use numpack::{ArrayMeta, DType, Store, Transaction};

use crate::error::{At, Error, Result};
use crate::format::Format;
use crate::npy::{self, Head};
use crate::progress::{Meter, Progress};
use crate::{fortran, npz, table};

/// What to take over, and under which names.
#[derive(Debug, Clone, Default)]
pub struct ImportOptions {
    /// The files' format; without it, each file's extension tells.
    pub format: Option<Format>,
    /// The name of the array, where one is imported; without it, the column's, the entry's or, of an
    /// npy file, the file's without its extension.
    pub name: Option<String>,
    /// The columns or entries to take; without it, all.
    pub columns: Option<Vec<String>>,
    /// Whether arrays of the same name are replaced. Without it they are an error.
    pub overwrite: bool,
}

/// An array that was taken over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// Its name in the store.
    pub name: String,
    /// Its dtype.
    pub dtype: DType,
    /// Its shape.
    pub shape: Vec<u64>,
}

/// Whether files are there, may be read, and are of a known format, before a store is made for them.
///
/// # Errors
/// Files that cannot be opened, and extensions that name no format.
pub fn check_readable(files: &[impl AsRef<Path>], options: &ImportOptions) -> Result<()> {
    for file in files {
        let file = file.as_ref();
        File::open(file).at(file)?;
        options.format.map_or_else(|| Format::of(file), Ok)?;
    }
    Ok(())
}

/// Takes files over into a store, all of them or nothing, and tells `tell` how far it is.
///
/// # Errors
/// Types that no dtype stands for, nulls, files that are not what their format asks for, names that
/// are taken, and what the engine reports; the store is as it was then.
pub fn import(
    store: &Store,
    files: &[impl AsRef<Path>],
    options: &ImportOptions,
    tell: &mut dyn FnMut(Progress),
) -> Result<Vec<Imported>> {
    let mut target = Target {
        store,
        options,
        change: store.begin()?,
        names: HashSet::new(),
        taken: Vec::new(),
        meter: Meter::new(tell),
    };
    for file in files {
        let (file, before) = (file.as_ref(), target.taken.len());
        match options.format.map_or_else(|| Format::of(file), Ok)? {
            Format::Npy => array(file, &mut target)?,
            Format::Npz => npz::import(file, &mut target)?,
            format => table::import(file, format, &mut target)?,
        }
        if target.taken.len() == before {
            return Err(Error::content(file, "there are no arrays in it"));
        }
    }
    target.change.commit()?;
    Ok(target.taken)
}

/// The transaction that an import fills.
pub(crate) struct Target<'a, 'm> {
    store: &'a Store,
    options: &'a ImportOptions,
    pub(crate) change: Transaction<'a>,
    names: HashSet<String>,
    taken: Vec<Imported>,
    pub(crate) meter: Meter<'m>,
}

impl Target<'_, '_> {
    /// Where the wanted ones of a file's columns stand.
    pub(crate) fn chosen(&self, path: &Path, there: &[String]) -> Result<Vec<usize>> {
        let Some(wanted) = &self.options.columns else {
            return Ok((0..there.len()).collect());
        };
        let position = |name: &String| {
            there.iter().position(|other| other == name).ok_or_else(|| {
                let reason = format!("no column \"{name}\"; there are {}", there.join(", "));
                Error::content(path, reason)
            })
        };
        wanted.iter().map(position).collect()
    }

    /// The name under which a column goes into the store, which no other may have.
    pub(crate) fn claim(&mut self, column: &str) -> Result<String> {
        let name = match &self.options.name {
            Some(name) => name.clone(),
            None => column.to_owned(),
        };
        if !self.names.insert(name.clone()) {
            return Err(Error::Request(if self.options.name.is_some() {
                format!("one name, \"{name}\", was given for several arrays")
            } else {
                format!("two of the arrays are called \"{name}\"")
            }));
        }
        if !self.options.overwrite {
            if self.store.contains(&name)? {
                return Err(numpack::Error::AlreadyExists { name }.into());
            }
            self.change.require_absent(&name)?;
        }
        Ok(name)
    }

    pub(crate) fn took(&mut self, name: String, meta: &ArrayMeta) {
        self.taken.push(Imported {
            name,
            dtype: meta.dtype,
            shape: meta.shape.dims().to_vec(),
        });
    }
}

fn array(path: &Path, target: &mut Target<'_, '_>) -> Result<()> {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let mut reader = BufReader::new(File::open(path).at(path)?);
    let head = Head::read(&mut reader, path, &stem)?;
    let name = target.claim(&stem)?;
    target.meter.expect(head.meta.byte_len());
    if head.fortran {
        let start = reader.stream_position().at(path)?;
        let mut values = fortran::Values {
            head: &head,
            file: &mut reader.into_inner(),
            start,
            path,
            meter: &mut target.meter,
        };
        target.change.put(&name, &head.meta, &mut values)?;
    } else {
        let mut values = npy::Values {
            head: &head,
            reader: &mut reader,
            path,
            meter: &mut target.meter,
        };
        target.change.put(&name, &head.meta, &mut values)?;
    }
    target.took(name, &head.meta);
    Ok(())
}
