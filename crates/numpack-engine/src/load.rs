//! What a store's files say: metadata and bitmaps of the last checkpoint, and the journal on top.
//!
//! Loading takes no lock and writes nothing. A checkpoint of another process may run meanwhile, so
//! everything read is checked against the journal's header read before and after, and read again
//! when that moved.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::Arc;

use numpack_format::journal::{EndReason, Frame, HEADER_LEN, Header, Hint, Record};
use numpack_format::{ArrayName, BitmapFile, Metadata, SegmentManifest, Storage, Trailer};

use crate::deletions::Deletions;
use crate::error::{Error, Result};
use crate::fs::{Dir, File, Open, Stat, read_exact_at};
use crate::journal::{Cursor, Probe, ProbeError, walk};
use crate::lost;
use crate::overlay::Overlay;
use crate::paths;
use crate::recovery;
use crate::shared::Seen;
use crate::state::{ArrayState, Location, State};
use crate::sums::AtRest;

/// A store as read from its files.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    pub(crate) state: State,
    pub(crate) journal: Option<Arc<dyn File>>,
    pub(crate) seen: Seen,
}

/// What the records of this epoch touched; a checkpoint cleans up after them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Touched {
    /// Every array that a record names.
    pub(crate) names: BTreeSet<ArrayName>,
    /// Whether a record has attributes.
    pub(crate) attrs: bool,
    /// Files that hold payload which may not be on disk yet: array and generation, and the last
    /// record that wrote to it.
    pub(crate) unsynced: BTreeMap<(ArrayName, u64), u64>,
    /// Files that rows were folded into without a flush: array and generation.
    pub(crate) folded: BTreeSet<(ArrayName, u64)>,
}

impl Touched {
    /// Whether no record changed anything.
    pub(crate) fn is_empty(&self) -> bool {
        self.names.is_empty() && !self.attrs
    }

    pub(crate) fn note(&mut self, frame: &Frame) {
        match &frame.record {
            Record::Put(put) => {
                self.names.insert(put.name.clone());
                self.unsynced
                    .insert((put.name.clone(), put.generation), frame.lsn);
            }
            Record::Append(append) => {
                self.names.insert(append.name.clone());
                self.unsynced
                    .insert((append.name.clone(), append.generation), frame.lsn);
            }
            Record::Replace(replace) => {
                self.names.insert(replace.name.clone());
            }
            Record::DeleteRows(delete) => {
                self.names.insert(delete.name.clone());
            }
            Record::Applied {
                name, generation, ..
            } => {
                self.folded.insert((name.clone(), *generation));
            }
            Record::Drop { name } => {
                self.names.insert(name.clone());
            }
            Record::Rename {
                from,
                to,
                generation,
            } => {
                self.names.insert(from.clone());
                self.names.insert(to.clone());
                self.unsynced.insert((to.clone(), *generation), frame.lsn);
            }
            Record::Attrs { .. } => self.attrs = true,
            Record::Synced { upto } => self.unsynced.retain(|_, lsn| *lsn > *upto),
            _ => {}
        }
    }
}

/// How often a load starts over when checkpoints keep overtaking it.
const ATTEMPTS: usize = 100;

/// Reads the store in `dir`.
pub(crate) fn load(dir: &dyn Dir, path: &Path) -> Result<Loaded> {
    let mut last = None;
    for left in (0..ATTEMPTS).rev() {
        match attempt(dir, path, left > 0) {
            Ok(Some(loaded)) => return Ok(loaded),
            Ok(None) => last = None,
            // A file may be between two checkpoints of another process; only what stays is an error.
            Err(error) if error.is_missing_file() => last = Some(error),
            Err(error) => return Err(error),
        }
    }
    Err(last.unwrap_or_else(|| {
        corrupt(
            path,
            "the metadata is older than the journal says".to_owned(),
        )
    }))
}

pub(crate) fn corrupt(path: &Path, reason: String) -> Error {
    Error::Corrupt {
        path: path.to_path_buf(),
        reason,
    }
}

pub(crate) fn probe(file: &dyn File, path: &Path) -> Result<Probe> {
    Probe::read(file).map_err(|error| unread(error, path))
}

/// The error of a journal whose head cannot be used.
pub(crate) fn unread(error: ProbeError, path: &Path) -> Error {
    match error {
        ProbeError::Io(source) => Error::io("read", path.join(paths::JOURNAL), source),
        ProbeError::Format(error) => error.into(),
        ProbeError::Damaged => corrupt(path, "both headers of .npk/journal are damaged".to_owned()),
    }
}

/// None where writers were in the way: always if it matters, and with `again` if it may.
fn attempt(dir: &dyn Dir, path: &Path, again: bool) -> Result<Option<Loaded>> {
    let journal = optional(dir.open(paths::JOURNAL, Open::Read), path, paths::JOURNAL)?;
    let probed = match &journal {
        Some(file) => probe(&**file, path),
        None => Ok(Probe::default()),
    };
    let Some((metadata, stat)) = read_metadata(dir, path)? else {
        let header = match (probed, &journal) {
            (Err(Error::Corrupt { .. }), Some(file)) if holds_no_record(&**file) => None,
            (probed, _) => probed?.header,
        };
        if header.is_some() {
            return Err(corrupt(
                path,
                "metadata.npkm is missing beside a journal".to_owned(),
            ));
        }
        refuse_orphans(dir, path)?;
        // A writer opens it, blank or damaged; a reader has nothing to look for in it.
        return Ok(Some(Loaded::default()));
    };
    let before = probed?;
    let state = base_state(dir, path, &metadata)?;
    if let Some(file) = &journal
        && probe(&**file, path)?.header != before.header
    {
        return Ok(None);
    }
    let mut loaded = Loaded {
        state,
        journal,
        seen: Seen {
            metadata: Some(stat),
            trailer: metadata.trailer.is_some(),
            header: before.header,
            ..Seen::default()
        },
    };
    loaded.seen.take_hint(before.hint.as_ref());
    let Some(header) = before.header else {
        loaded.seen.checkpoint_lsn = metadata
            .trailer
            .as_ref()
            .map_or(0, |trailer| trailer.checkpoint_lsn);
        loaded.state.lsn = loaded.seen.checkpoint_lsn;
        return Ok(Some(loaded));
    };
    loaded.seen.checkpoint_lsn = match &metadata.trailer {
        Some(trailer) if trailer.store_id != header.store_id => {
            return Err(corrupt(
                path,
                "metadata.npkm and .npk/journal are of two stores".to_owned(),
            ));
        }
        Some(trailer) if trailer.checkpoint_lsn < header.meta_lsn => return Ok(None),
        Some(trailer) => trailer.checkpoint_lsn,
        None => header.base_lsn,
    };
    let miscounted = miscounted(&loaded.state, &metadata);
    let loaded = replay(&mut loaded, dir, path, &header, before.hint.as_ref(), again)?;
    if let Some(loaded) = &loaded {
        refuse_miscounted(path, &miscounted, &loaded.seen.touched)?;
        lost::refuse(dir, path, loaded, &metadata)?;
    }
    Ok(loaded)
}

/// Whether a damaged journal is one whose making was cut short by a power cut: records come behind
/// its head.
fn holds_no_record(journal: &dyn File) -> bool {
    journal.stat().is_ok_and(|stat| stat.len <= HEADER_LEN)
}

/// The arrays whose bitmaps have not as many deleted rows as the metadata says.
fn miscounted(state: &State, metadata: &Metadata) -> Vec<ArrayName> {
    let entries = metadata.trailer.iter().flat_map(|trailer| &trailer.entries);
    let arrays = state.arrays.values().zip(entries);
    arrays
        .filter(|(array, known)| array.deleted() != known.deleted)
        .map(|(array, _)| array.name.clone())
        .collect()
}

/// Bitmaps have no checksum, but a count in the metadata. An interrupted checkpoint may have written
/// a bitmap already, but only of an array that a record of this epoch names.
fn refuse_miscounted(path: &Path, arrays: &[ArrayName], touched: &Touched) -> Result<()> {
    match arrays.iter().find(|name| !touched.names.contains(*name)) {
        Some(name) => Err(corrupt(
            path,
            format!(
                "{} has another number of deleted rows than metadata.npkm says",
                name.bitmap_file()
            ),
        )),
        None => Ok(()),
    }
}

/// Applies the journal; `None` when it was begun anew meanwhile.
fn replay(
    loaded: &mut Loaded,
    dir: &dyn Dir,
    path: &Path,
    header: &Header,
    hint: Option<&Hint>,
    again: bool,
) -> Result<Option<Loaded>> {
    let Some(file) = loaded.journal.clone() else {
        return Ok(Some(std::mem::take(loaded)));
    };
    let mut cursor = Cursor::start(header);
    let mut frames: Vec<(u64, Frame)> = Vec::new();
    let end = walk(&*file, &mut cursor, &mut |offset, frame| {
        frames.push((offset, frame.clone()));
    })
    .map_err(|source| Error::io("read", path.join(paths::JOURNAL), source))?;
    let after = probe(&*file, path)?;
    if after.header.as_ref() != Some(header) {
        return Ok(None);
    }
    refuse_unknown(&end, path)?;
    let rebooted = header.boot_hash != recovery::boot_hash();
    let end = cursor.lsn.max(loaded.seen.checkpoint_lsn);
    refuse_shortened(hint, header, end, rebooted, path)?;
    loaded.seen.recovery_due = rebooted;
    // A restart that somebody began to deal with left a record that says nothing of arrays.
    let waits = |(_, frame): &(u64, Frame)| {
        frame.lsn > header.meta_lsn && !matches!(frame.record, Record::Synced { .. })
    };
    loaded.seen.foreign = !loaded.seen.trailer && frames.iter().any(waits);
    if loaded.seen.foreign {
        frames.clear();
    }
    if rebooted {
        let synced = cursor.synced.max(loaded.seen.checkpoint_lsn);
        let keep = recovery::longest_prefix(dir, &loaded.state, &frames, synced)
            .map_err(|source| Error::io("verify", path, source))?;
        if again && keep < frames.len() {
            // Nobody folds rows into what was read, nor removes it, before a hint.
            let now = probe(&*file, path)?;
            if (now.header, now.hint) != (after.header, after.hint) {
                return Ok(None);
            }
        }
        frames.truncate(keep);
        cursor = frames.iter().fold(Cursor::start(header), |at, (_, frame)| {
            at.encode(std::slice::from_ref(frame)).1
        });
    }
    loaded.state.lsn = loaded.seen.checkpoint_lsn;
    for (offset, frame) in &frames {
        loaded.seen.touched.note(frame);
        // What was written to a file without a flush may be gone.
        let gone = rebooted && matches!(frame.record, Record::Applied { .. });
        if frame.lsn > loaded.seen.checkpoint_lsn && !gone {
            loaded.state.apply(frame).map_err(|reason| {
                corrupt(
                    path,
                    format!(
                        "record {} at byte {offset} of .npk/journal: {reason}",
                        frame.lsn
                    ),
                )
            })?;
        }
    }
    loaded.state.lsn = loaded.state.lsn.max(cursor.lsn);
    // The hint stays the one that was read before the records: a later one may be of a commit that is not
    // among them, and whoever finds it known does not look for it.
    loaded.seen.cursor = Some(cursor);
    Ok(Some(std::mem::take(loaded)))
}

/// Refuses a journal that ends before a record of which is known that it was there: it was damaged, and
/// rows of what is missing may have been folded into a file already. `hint` was read before the records.
pub(crate) fn refuse_shortened(
    hint: Option<&Hint>,
    header: &Header,
    end: u64,
    rebooted: bool,
    path: &Path,
) -> Result<()> {
    // One of a later epoch had a header, too, which was written, and flushed, before it.
    let Some(hint) = hint.filter(|hint| hint.epoch >= header.epoch) else {
        return Ok(());
    };
    // Of what was not flushed a restart of the machine may have taken records and left the hint.
    let known = if rebooted {
        hint.synced_lsn
    } else {
        hint.last_lsn
    };
    if end >= known {
        return Ok(());
    }
    Err(corrupt(
        path,
        format!(".npk/journal ends after record {end}, and record {known} had been written"),
    ))
}

/// Refuses a journal that goes on with a committed record which this release cannot apply.
pub(crate) fn refuse_unknown(end: &EndReason, path: &Path) -> Result<()> {
    if end.is_committed() {
        return Err(corrupt(path, format!(".npk/journal holds {end}")));
    }
    Ok(())
}

fn optional<T>(result: io::Result<T>, path: &Path, name: &str) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("open", path.join(name), error)),
    }
}

pub(crate) fn read_file(dir: &dyn Dir, path: &Path, name: &str) -> Result<Option<(Vec<u8>, Stat)>> {
    let Some(file) = optional(dir.open(name, Open::Read), path, name)? else {
        return Ok(None);
    };
    let read = || {
        let stat = file.stat()?;
        let len = usize::try_from(stat.len).map_err(|_| io::ErrorKind::FileTooLarge)?;
        if len > numpack_format::MAX_METADATA_LEN {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let mut bytes = vec![0; len];
        read_exact_at(&*file, &mut bytes, 0)?;
        Ok((bytes, stat))
    };
    read()
        .map(Some)
        .map_err(|source| Error::io("read", path.join(name), source))
}

pub(crate) fn read_metadata(dir: &dyn Dir, path: &Path) -> Result<Option<(Metadata, Stat)>> {
    let Some((bytes, stat)) = read_file(dir, path, paths::METADATA)? else {
        return Ok(None);
    };
    let metadata = Metadata::decode(&bytes)
        .map_err(|error| corrupt(path, format!("metadata.npkm: {error}")))?;
    Ok(Some((metadata, stat)))
}

/// A directory that holds data of arrays and no metadata is a damaged store, not an empty one.
fn refuse_orphans(dir: &dyn Dir, path: &Path) -> Result<()> {
    let names = dir
        .list("")
        .map_err(|source| Error::io("list", path, source))?;
    match names
        .iter()
        .find(|name| numpack_format::store_files::is_data_file(name))
    {
        Some(name) => Err(corrupt(
            path,
            format!("\"{name}\" is there and metadata.npkm is not"),
        )),
        None => Ok(()),
    }
}

fn base_state(dir: &dyn Dir, path: &Path, metadata: &Metadata) -> Result<State> {
    let mut state = State::default();
    if let Some(trailer) = &metadata.trailer {
        state.attrs = trailer.attrs.clone();
    }
    for (index, entry) in metadata.arrays.iter().enumerate() {
        let known = metadata
            .trailer
            .as_ref()
            .and_then(|trailer: &Trailer| trailer.entries.get(index));
        let location = match entry.storage {
            Storage::Single => Location::Own,
            Storage::Segmented => {
                let name = entry.name.segments_file();
                let (bytes, _) = read_file(dir, path, &name)?
                    .ok_or_else(|| corrupt(path, format!("\"{name}\" is missing")))?;
                let manifest = SegmentManifest::decode(&bytes, &entry.name, &entry.meta)
                    .map_err(|error| corrupt(path, format!("{name}: {error}")))?;
                Location::Segments(Arc::new(manifest))
            }
        };
        let deletions = match known {
            Some(known) if known.deleted == 0 => None,
            _ => read_bitmap(
                dir,
                path,
                &entry.name,
                entry.meta.shape.rows(),
                known.is_some(),
            )?,
        };
        let array = ArrayState {
            name: entry.name.clone(),
            meta: entry.meta.clone(),
            generation: known.map_or(0, |known| known.generation),
            deletions,
            bitmap_due: false,
            modified_us: entry.modified_us,
            overlay: Overlay::default(),
            saved_as: match known {
                Some(known) => known.saved_as,
                None => found_as(dir, &entry.name, &location),
            },
            location,
            replaced_lsn: known.map_or(0, |known| known.replaced_lsn),
            attrs: known.map(|known| known.attrs.clone()).unwrap_or_default(),
            put_lsn: 0,
            folded_lsn: 0,
            zeros: false,
            at_rest: known.map(|known| AtRest {
                data_len: known.data_len,
                ino: known.data_ino,
                mtime_ns: known.data_mtime_ns,
                sums_hash: known.sums_hash,
            }),
        };
        state.arrays.insert(entry.name.clone(), Arc::new(array));
    }
    Ok(state)
}

/// What stands for the generation that rows of another program were saved as: every process finds the same,
/// and another one when the file has been written to.
fn found_as(dir: &dyn Dir, name: &ArrayName, location: &Location) -> u64 {
    let file = match location {
        Location::Segments(_) => name.segments_file(),
        Location::Own | Location::Generation => name.data_file(),
    };
    // A lost file is told of to whoever reads the array.
    let known = dir.stat(&file).map_or([0; 3], |stat| {
        [stat.ino, stat.len, stat.mtime_ns.cast_unsigned()]
    });
    xxhash_rust::xxh3::xxh3_64(&known.map(u64::to_le_bytes).concat()).max(1)
}

fn read_bitmap(
    dir: &dyn Dir,
    path: &Path,
    name: &ArrayName,
    rows: u64,
    must_exist: bool,
) -> Result<Option<Arc<Deletions>>> {
    let file = name.bitmap_file();
    let Some((bytes, _)) = read_file(dir, path, &file)? else {
        if must_exist {
            return Err(Error::io(
                "open",
                path.join(file),
                io::ErrorKind::NotFound.into(),
            ));
        }
        return Ok(None);
    };
    let bitmap = BitmapFile::decode(&bytes, rows)
        .map_err(|error| corrupt(path, format!("{file}: {error}")))?;
    let deletions = Deletions::from_file(&bitmap);
    Ok((deletions.deleted() > 0).then(|| Arc::new(deletions)))
}
