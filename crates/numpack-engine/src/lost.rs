//! Generations that a journal names and that have no file any more.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Arc;

use numpack_format::journal::Record;
use numpack_format::{ArrayName, Metadata};

use crate::error::{Error, Result};
use crate::fs::Dir;
use crate::journal::walk;
use crate::load::Loaded;
use crate::paths;
use crate::state::{ArrayState, Location};

/// A generation without a file of its own has become its array's. If that is still the file that the
/// metadata speaks of, the rows are lost: a journal that was cut off or damaged names generations
/// that were superseded since and removed. No other rows may stand in for them.
pub(crate) fn refuse(
    dir: &dyn Dir,
    path: &Path,
    loaded: &Loaded,
    metadata: &Metadata,
) -> Result<()> {
    let Some(trailer) = &metadata.trailer else {
        return Ok(());
    };
    let is_lost = |array: &&Arc<ArrayState>| {
        if !matches!(array.location, Location::Generation)
            || dir.stat(&paths::generation(array.generation)).is_ok()
        {
            return false;
        }
        let mut entries = metadata.arrays.iter().zip(&trailer.entries);
        entries.any(|(entry, known)| {
            entry.name == array.name
                && known.generation != array.generation
                && (dir.stat(&array.name.data_file())).is_ok_and(|stat| stat.ino == known.data_ino)
        })
    };
    let mut lost: Vec<&Arc<ArrayState>> = loaded.state.arrays.values().filter(is_lost).collect();
    if !lost.is_empty() {
        let superseded = superseded_since(loaded)
            .map_err(|source| Error::io("read", path.join(paths::JOURNAL), source))?;
        lost.retain(|array| !superseded.contains(&array.name));
    }
    match lost.first() {
        Some(array) => {
            let file = path.join(paths::generation(array.generation));
            Err(Error::io("open", file, io::ErrorKind::NotFound.into()))
        }
        None => Ok(()),
    }
}

/// Arrays that got another generation, or none, since the records were read: by a writer who is at work.
/// Starting over instead would not do, for one who commits all the time has always done so again.
fn superseded_since(loaded: &Loaded) -> io::Result<BTreeSet<ArrayName>> {
    let mut names = BTreeSet::new();
    let at_work = loaded.journal.as_ref().zip(loaded.seen.cursor.clone());
    // After a restart of the machine nobody writes before what did not arrive has been taken back.
    if let Some((journal, mut cursor)) = at_work.filter(|_| !loaded.seen.recovery_due) {
        walk(
            &**journal,
            &mut cursor,
            &mut |_, frame| match &frame.record {
                Record::Put(put) => drop(names.insert(put.name.clone())),
                Record::Drop { name } => drop(names.insert(name.clone())),
                Record::Rename { from, to, .. } => names.extend([from.clone(), to.clone()]),
                _ => {}
            },
        )?;
    }
    Ok(names)
}
