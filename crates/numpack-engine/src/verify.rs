//! Looking through a store for damage, beside writers and without writing: its structure here, its rows
//! in deep.rs.

use std::collections::{HashMap, HashSet};

use numpack_format::journal::{Frame, Record};
use numpack_format::{ArrayName, Metadata, Storage, TrailerEntry, store_files};

use crate::acquire::Acquired;
use crate::error::{Error, Result};
use crate::fs::Open;
use crate::journal::{Cursor, walk};
use crate::load::{self, probe, read_metadata};
use crate::options::Options;
use crate::paths;
use crate::report::Report;
use crate::shared::Shared;
use crate::state::{ArrayState, Location};

/// How often files are read anew when a checkpoint of another process comes in between.
const ATTEMPTS: usize = 20;

/// The files of one moment.
pub(crate) struct Picture {
    pub(crate) metadata: Metadata,
    /// The records on top of the metadata.
    pub(crate) frames: Vec<Frame>,
    /// Why the journal ends after them.
    pub(crate) end: Option<String>,
}

impl Picture {
    /// Metadata and journal as they belong together; None when checkpoints keep coming in between.
    pub(crate) fn take(shared: &Shared) -> Result<Option<Self>> {
        for _ in 0..ATTEMPTS {
            let journal = shared.dir.open(paths::JOURNAL, Open::Read).ok();
            let header = match &journal {
                Some(file) => probe(&**file, &shared.path)?.header,
                None => None,
            };
            let Some((metadata, _)) = read_metadata(&*shared.dir, &shared.path)? else {
                return Ok(None);
            };
            let mut frames = Vec::new();
            let (Some(journal), Some(header)) = (journal, header) else {
                return Ok(Some(Self {
                    metadata,
                    frames,
                    end: None,
                }));
            };
            let known = metadata
                .trailer
                .as_ref()
                .map_or(header.base_lsn, |trailer| trailer.checkpoint_lsn);
            let end = walk(&*journal, &mut Cursor::start(&header), &mut |_, frame| {
                if frame.lsn > known {
                    frames.push(frame.clone());
                }
            })
            .map_err(|source| Error::io("read", shared.path.join(paths::JOURNAL), source))?;
            if known >= header.meta_lsn && probe(&*journal, &shared.path)?.header == Some(header) {
                return Ok(Some(Self {
                    metadata,
                    frames,
                    end: Some(end.to_string()),
                }));
            }
        }
        Ok(None)
    }

    /// What the metadata says of the data files, by array.
    pub(crate) fn entries(&self) -> HashMap<&ArrayName, &TrailerEntry> {
        let known = self.metadata.trailer.iter().flat_map(|t| &t.entries);
        let names = self.metadata.arrays.iter().map(|array| &array.name);
        names.zip(known).collect()
    }

    /// Every array that a record names.
    fn touched(&self) -> HashSet<&ArrayName> {
        let mut names = HashSet::new();
        for frame in &self.frames {
            match &frame.record {
                Record::Put(put) => names.insert(&put.name),
                Record::Append(append) => names.insert(&append.name),
                Record::Replace(replace) => names.insert(&replace.name),
                Record::Applied { name, .. } | Record::Drop { name } => names.insert(name),
                Record::DeleteRows(delete) => names.insert(&delete.name),
                Record::Rename { from, to, .. } => names.insert(from) | names.insert(to),
                _ => false,
            };
        }
        names
    }
}

impl Shared {
    /// Looks through the store; see [`crate::Store::verify`].
    pub(crate) fn verify(&self, options: &Options, deep: bool) -> Result<Report> {
        let mut report = Report::new(self.path.clone(), deep);
        let loaded = match load::load(&*self.dir, &self.path) {
            Ok(loaded) if loaded.seen.metadata.is_none() => {
                let path = self.path.clone();
                return Err(Error::NoStore { path });
            }
            Ok(loaded) => loaded,
            Err(error) => {
                report.problem(None, paths::METADATA, error.to_string());
                return Ok(report);
            }
        };
        if loaded.seen.foreign {
            let path = self.path.clone();
            report.problem(None, paths::METADATA, Error::Foreign { path }.to_string());
        }
        let names = loaded.state.arrays.keys();
        let arrays = self.pinned(names, options, &mut report)?;
        report.arrays = loaded.state.arrays.len();
        // After the pins: nobody writes rows into a file that is pinned, so that what is in it is in the
        // sums that the metadata names, or in records that are read now.
        let Some(picture) = Picture::take(self)? else {
            report.problem(
                None,
                paths::JOURNAL,
                "writers are too busy to be looked at".to_owned(),
            );
            return Ok(report);
        };
        report.journal = picture.end.clone().map(|end| (picture.frames.len(), end));
        if deep && !loaded.seen.foreign {
            self.verify_rows(&arrays, &picture, options, &mut report)?;
        } else {
            self.note_changed(&arrays, &picture, &mut report);
        }
        drop(arrays);
        self.find_leftovers(&picture, &mut report)?;
        Ok(report)
    }

    /// All arrays at one moment, or, if that cannot be had, those that can be. What is wrong with the
    /// others goes into the report.
    fn pinned<'a>(
        &self,
        names: impl Iterator<Item = &'a ArrayName>,
        options: &Options,
        report: &mut Report,
    ) -> Result<Vec<Acquired>> {
        if let Ok((arrays, _)) = self.acquire(None, options) {
            return Ok(arrays);
        }
        let mut arrays = Vec::new();
        for name in names {
            match self.acquire(Some(&[name.as_str()]), options) {
                Ok((mut found, _)) => arrays.append(&mut found),
                // Dropped meanwhile.
                Err(Error::NotFound { .. }) => {}
                Err(error @ (Error::Interrupted | Error::Busy { .. })) => return Err(error),
                Err(error) => {
                    report.problem(Some(name.as_str()), name.data_file(), error.to_string());
                }
            }
        }
        Ok(arrays)
    }

    /// Tells of data files that are not as NumPack left them.
    fn note_changed(&self, arrays: &[Acquired], picture: &Picture, report: &mut Report) {
        let (entries, touched) = (picture.entries(), picture.touched());
        for (array, _) in arrays {
            let len = array.meta.byte_len();
            if len == 0 || touched.contains(&array.name) {
                continue;
            }
            match entries.get(&array.name) {
                None if picture.metadata.trailer.is_none() => {
                    report.unchecked(array.name.as_str(), len, NO_TRAILER);
                }
                Some(entry) if self.is_changed(array, entry) => {
                    report.unchecked(array.name.as_str(), len, CHANGED);
                }
                _ => {}
            }
        }
    }

    /// Whether the data file is not the one, or not as old as, the metadata says.
    fn is_changed(&self, array: &ArrayState, entry: &TrailerEntry) -> bool {
        if matches!(array.location, Location::Segments(_)) {
            return false;
        }
        let stat = self.dir.stat(&array.name.data_file());
        !stat.is_ok_and(|stat| {
            (stat.ino, stat.mtime_ns) == (entry.data_ino, entry.data_mtime_ns)
                && stat.len == entry.data_len
        })
    }

    /// Names the files that no array has and no record speaks of.
    fn find_leftovers(&self, picture: &Picture, report: &mut Report) -> Result<()> {
        let touched = picture.touched();
        let mut wanted: HashSet<String> = HashSet::new();
        for entry in &picture.metadata.arrays {
            wanted.insert(match entry.storage {
                Storage::Single => entry.name.data_file(),
                Storage::Segmented => entry.name.segments_file(),
            });
            wanted.insert(entry.name.segments_dir());
            wanted.insert(entry.name.bitmap_file());
        }
        for name in touched {
            wanted.extend([name.data_file(), name.bitmap_file()]);
            wanted.extend([name.segments_file(), name.segments_dir()]);
        }
        let mut generations: HashSet<u64> = picture
            .frames
            .iter()
            .filter_map(|frame| match &frame.record {
                Record::Put(put) => Some(put.generation),
                Record::Rename { generation, .. } => Some(*generation),
                _ => None,
            })
            .collect();
        let mut sums = HashSet::new();
        for entry in picture.metadata.trailer.iter().flat_map(|t| &t.entries) {
            generations.insert(entry.generation);
            sums.insert(entry.sums_hash);
        }
        let list = |sub: &str| {
            let io = |source| Error::io("list", self.path.join(sub), source);
            match self.dir.list(sub) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
                result => result.map_err(io),
            }
        };
        let in_root = list("")?.into_iter().filter(|name| {
            let ours = store_files::is_store_file(name);
            ours && name != paths::METADATA && name != paths::PRIVATE_DIR && !wanted.contains(name)
        });
        let in_private = list(paths::PRIVATE_DIR)?.into_iter().filter(|name| {
            let generation = store_files::parse_generation_file(name);
            let hash = store_files::parse_sums_file(name);
            generation.is_some_and(|generation| !generations.contains(&generation))
                || hash.is_some_and(|hash| !sums.contains(&hash))
                || paths::is_next(name)
        });
        report.leftovers.extend(in_root);
        report
            .leftovers
            .extend(in_private.map(|name| format!("{}/{name}", paths::PRIVATE_DIR)));
        report.leftovers.sort();
        Ok(())
    }
}

/// Why rows cannot be checked.
pub(crate) const NO_TRAILER: &str =
    "changed since written: metadata.npkm is of another program, which keeps no checksums";
const CHANGED: &str = "changed since written: the data file was written to, replaced or copied by something else, and \
     only deep verification tells whether its rows are the same";
