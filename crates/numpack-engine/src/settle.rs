//! Writing block sums down, as a part of the checkpoint.

use std::collections::HashSet;
use std::sync::Arc;

use numpack_format::{SumsFile, store_files};

use crate::error::Result;
use crate::fs::{File, Open, Stat, write_all_at};
use crate::paths;
use crate::state::{Location, State};
use crate::sums::AtRest;
use crate::writer::WriteGuard;

impl WriteGuard<'_> {
    /// Notes what each data file is now, as `stats` has it, and writes the sums of those that have changed
    /// under names of their own, which the metadata is going to name.
    pub(crate) fn settle_sums(
        &mut self,
        state: &mut State,
        stats: &[Stat],
        flush: bool,
    ) -> Result<()> {
        let mut files = Vec::new();
        for (array, stat) in state.arrays.values_mut().zip(stats) {
            let array = Arc::make_mut(array);
            let len = array.meta.byte_len();
            let mut rest = AtRest {
                data_len: stat.len,
                ino: stat.ino,
                mtime_ns: stat.mtime_ns,
                sums_hash: 0,
            };
            let before = array.at_rest;
            let single = !matches!(array.location, Location::Segments(_));
            let written = self.writer.sums.has(array.generation);
            match before {
                _ if !single || len == 0 || stat.len != len => {}
                Some(before) if before.data_len == len && !written => {
                    rest.sums_hash = before.sums_hash;
                    if !before.is_of(stat) {
                        rest.mtime_ns = 0;
                    }
                }
                _ => {
                    let dir = &*self.shared.dir;
                    let own = array.name.data_file();
                    let opened = dir.open(&own, Open::Read);
                    let file = opened.map_err(|source| self.io("open", &own, source))?;
                    if let Some(sums) = self.writer.sums.get(dir, array, None) {
                        if sums.changed {
                            rest.mtime_ns = 0;
                        }
                        let sums = SumsFile {
                            generation: array.generation,
                            data_len: len,
                            sums: sums.settle(len, &*file),
                        };
                        let known = before.map_or(0, |before| before.sums_hash);
                        rest.sums_hash = self.write_sums(&sums, known, &mut files)?;
                    }
                }
            }
            array.at_rest = Some(rest);
        }
        if flush {
            self.flush_sums(&files)?;
        }
        Ok(())
    }

    /// Writes the file of some sums, unless it is the one that is `known`, and gives what the metadata says
    /// of them.
    fn write_sums(
        &self,
        sums: &SumsFile,
        known: u64,
        files: &mut Vec<Arc<dyn File>>,
    ) -> Result<u64> {
        let (hash, bytes) = at_rest(sums);
        let Some(bytes) = bytes.filter(|_| hash != known) else {
            return Ok(hash);
        };
        let path = paths::sums(hash);
        // What an interrupted checkpoint left under this name need not be whole.
        self.remove(&path)?;
        let write = || {
            let file = self.shared.dir.open(&path, Open::CreateNew)?;
            write_all_at(&*file, &bytes, 0)?;
            Ok(file)
        };
        files.push(write().map_err(|source| self.io("write", &path, source))?);
        Ok(hash)
    }

    fn flush_sums(&self, files: &[Arc<dyn File>]) -> Result<()> {
        // As for payloads: a flush of everything costs about as much as that of one file.
        const MANY: usize = 8;
        let failed = |source| self.flush_failed(paths::PRIVATE_DIR, source);
        if files.len() > MANY {
            return self.shared.dir.sync_all().map_err(failed);
        }
        for file in files {
            file.sync_data().map_err(failed)?;
        }
        // Their names go with the flush of the metadata on the file systems there are; without it nothing is
        // lost but knowledge.
        Ok(())
    }

    /// Removes a file of sums that no array has.
    pub(crate) fn remove_other_sums(&self, known: &HashSet<u64>, name: &str) -> Result<()> {
        match store_files::parse_sums_file(name) {
            Some(hash) if !known.contains(&hash) => self.remove(&paths::sums(hash)),
            _ => Ok(()),
        }
    }
}

/// What the metadata says of some sums, and the content of the file that they take, if they need one.
pub(crate) fn at_rest(sums: &SumsFile) -> (u64, Option<Vec<u8>>) {
    match sums.sums[..] {
        [only] => (only, None),
        _ if sums.sums.iter().all(|&sum| sum == 0) => (0, None),
        _ => {
            let bytes = sums.encode();
            (SumsFile::hash(&bytes), Some(bytes))
        }
    }
}
