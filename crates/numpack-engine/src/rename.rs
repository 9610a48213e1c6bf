//! An array that changes its name and keeps its file.

use std::io;
use std::sync::Arc;

use numpack_format::ArrayName;
use numpack_format::journal::Record;

use crate::error::Result;
use crate::fs::Open;
use crate::paths;
use crate::pin::Patience;
use crate::plan::Plan;
use crate::rewrite::Patched;
use crate::staging::Staged;
use crate::state::Location;

impl Plan<'_, '_> {
    /// Gives the inode a second name as a new generation; the old name goes at the next checkpoint.
    pub(crate) fn rename(&mut self, from: ArrayName, to: ArrayName) -> Result<()> {
        let mut array = self.get(&from)?;
        if from == to {
            return Ok(());
        }
        self.refuse_existing(&to)?;
        if matches!(array.location, Location::Segments(_)) {
            self.rewrite(&array, &[], &[])?;
            array = self.get(&from)?;
        }
        // The record has no hash of the content, so the content goes to disk before it.
        let dir = Arc::clone(&self.guard.shared.dir);
        let own = from.data_file();
        let old = paths::generation(array.generation);
        let path = match dir.stat(&old) {
            Ok(_) => &old,
            Err(error) if error.kind() == io::ErrorKind::NotFound => &own,
            Err(source) => return Err(self.guard.io("stat", &old, source)),
        };
        let file = dir
            .open(path, Open::Write)
            .map_err(|source| self.guard.io("open", path, source))?;
        file.sync_data()
            .map_err(|source| self.guard.flush_failed(path, source))?;
        let staged = match Staged::link(self.guard.shared, path) {
            Ok(staged) => staged,
            // A file system without links: the rows are copied.
            Err(error) if no_links(&error) => {
                let mut staged = Staged::create(self.guard.shared)?;
                let pins = self.guard.shared.pin(&array, Patience::of(self.options))?;
                let mut rows = Patched::new(&pins, array.meta.row_bytes(), &[], &[]);
                staged.fill(from.as_str(), &mut rows, array.meta.byte_len())?;
                staged.sync().map_err(|source| {
                    let path = paths::generation(staged.generation);
                    self.guard.flush_failed(&path, source)
                })?;
                // The array keeps those that it has.
                staged.sums = None;
                staged
            }
            Err(source) => return Err(self.guard.io("link", path, source)),
        };
        let generation = self.stage(staged)?;
        let sums = &mut self.guard.writer.sums;
        sums.renamed(array.generation, generation);
        self.replaced.push(array);
        self.record(Record::Rename {
            from,
            to,
            generation,
        })
    }
}

fn no_links(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::PermissionDenied | io::ErrorKind::Unsupported | io::ErrorKind::TooManyLinks
    )
}
