//! The arrays of an npz file: a zip of npy files, stored or deflated.
use std::fs::File;
use std::io::{self, Seek};
use std::path::Path;

use zip::ZipArchive;

use crate::error::{At, Result};
use crate::fortran;
use crate::import::Target;
use crate::npy::{self, Head};

/// Takes over the arrays of a file, or those that are named.
pub(crate) fn import(path: &Path, target: &mut Target<'_, '_>) -> Result<()> {
    let mut archive = ZipArchive::new(File::open(path).at(path)?).at(path)?;
    let names: Vec<String> = archive
        .file_names()
        .map(|name| name.map(|name| name.strip_suffix(".npy").unwrap_or(&name).to_owned()))
        .collect::<zip::result::ZipResult<_>>()
        .at(path)?;
    for index in target.chosen(path, &names)? {
        let mut entry = archive.by_index(index).at(path)?;
        let name = names[index].as_str();
        let head = Head::read(&mut entry, path, name)?;
        let name = target.claim(name)?;
        target.meter.expect(head.meta.byte_len());
        if head.fortran {
            // What is deflated cannot be read in another order: it goes through a file of its own.
            let mut spill = tempfile::tempfile().at(path)?;
            io::copy(&mut entry, &mut spill).at(path)?;
            spill.rewind().at(path)?;
            let mut values = fortran::Values {
                head: &head,
                file: &mut spill,
                start: 0,
                path,
                meter: &mut target.meter,
            };
            target.change.put(&name, &head.meta, &mut values)?;
        } else {
            let mut values = npy::Values {
                head: &head,
                reader: &mut entry,
                path,
                meter: &mut target.meter,
            };
            target.change.put(&name, &head.meta, &mut values)?;
        }
        target.took(name, &head.meta);
    }
    Ok(())
}
