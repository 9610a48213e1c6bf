//! Arrays of one moment, with their files pinned.
//!
//! Pin first, then look at the journal: while a file is pinned nobody writes rows into it, so it holds
//! nothing newer than what the journal says after that look. What it does not hold yet is patched.

use std::sync::Arc;
use std::time::Duration;

use numpack_format::{ArrayName, Attrs};

use crate::deletions::Run;
use crate::error::{Error, Result};
use crate::fs::{Dir, File, Open};
use crate::options::Options;
use crate::paths;
use crate::pin::{Patience, Pin, PinError, PrivatePin, wait_shared};
use crate::pins::PinKey;
use crate::shared::Shared;
use crate::state::{ArrayState, Location};

/// One pin a file, each with the physical rows it holds; none when there is no byte.
pub(crate) type PinnedFiles = Vec<(Run, Arc<Pin>)>;

/// When a state was, and what of it is not of one array.
#[derive(Clone, Debug, Default)]
pub(crate) struct Moment {
    /// The last commit that it shows.
    pub(crate) lsn: u64,
    /// The attributes of the store.
    pub(crate) attrs: Attrs,
}

/// An array at one moment.
pub(crate) type Acquired = (Arc<ArrayState>, PinnedFiles);

/// How often a reader starts over when writers keep replacing what it pins.
const ATTEMPTS: u32 = 60;
/// Every so many times it asks writers to wait.
const PATIENT: u32 = 8;
/// How long it waits for them to do so: one may keep the lock over many commits, and reading goes on.
const QUIET: Duration = Duration::from_millis(100);

impl Shared {
    /// These arrays, or all of them, as they are now, and when that is.
    pub(crate) fn acquire(
        &self,
        names: Option<&[&str]>,
        options: &Options,
    ) -> Result<(Vec<Acquired>, Moment)> {
        // As known without looking: most of the time that is how they are.
        let mut wanted = if let Ok((arrays, _)) = self.named(names) {
            arrays
        } else {
            self.refresh()?;
            self.named(names)?.0
        };
        let mut attempt = 0;
        let mut quiet = None;
        loop {
            if attempt > 0 && attempt % PATIENT == 0 && quiet.is_none() {
                quiet = self.hold_writers(options)?;
            }
            // What is known may be old, and its file in the hands of a writer: look before waiting.
            let patience = if attempt == 0 {
                Patience::NONE
            } else {
                Patience::of(options)
            };
            let pinned: Result<Vec<PinnedFiles>> = wanted
                .iter()
                .map(|array| self.pin(array, patience))
                .collect();
            self.refresh()?;
            let (now, moment) = self.named(names)?;
            let fits = wanted.len() == now.len()
                && wanted
                    .iter()
                    .zip(&now)
                    .all(|(old, new)| same_files(old, new));
            match pinned {
                Ok(pinned) if fits => {
                    drop(quiet);
                    return Ok((now.into_iter().zip(pinned).collect(), moment));
                }
                Err(Error::Busy { .. }) if attempt == 0 => {}
                Err(error @ (Error::Busy { .. } | Error::Interrupted)) => return Err(error),
                Err(error) if fits && !error.is_missing_file() => return Err(error),
                Err(error) if attempt >= ATTEMPTS && fits => {
                    let gone = self.dir.stat(paths::METADATA).is_err();
                    let path = self.path.clone();
                    return Err(if gone { Error::NoStore { path } } else { error });
                }
                _ => {}
            }
            attempt += 1;
            wanted = now;
            // While no writer is at work only a missing file brings us here.
            if attempt > 3 && quiet.is_none() {
                std::thread::sleep(Duration::from_micros(50 * u64::from(attempt.min(ATTEMPTS))));
                // What was there before the pause is old again beside a writer that never pauses.
                self.refresh()?;
                wanted = self.named(names)?.0;
            }
        }
    }

    /// Keeps writers waiting as long as the file is open; None where there is nothing to lock, and where a
    /// writer does not let go of it.
    fn hold_writers(&self, options: &Options) -> Result<Option<Arc<dyn File>>> {
        // This thread would wait for itself.
        if self.desk.is_kept_here() {
            return Ok(None);
        }
        let Ok(lock) = self.dir.open(paths::LOCK, Open::Read) else {
            return Ok(None);
        };
        let mut patience = Patience::of(options);
        patience.timeout = patience.timeout.min(QUIET);
        match wait_shared(&*lock, patience) {
            Ok(()) => Ok(Some(lock)),
            Err(PinError::Busy) => Ok(None),
            Err(error) => Err(self.pin_error(error, paths::LOCK, patience)),
        }
    }

    fn named(&self, names: Option<&[&str]>) -> Result<(Vec<Arc<ArrayState>>, Moment)> {
        let state = self.state.read();
        let find = |name: &&str| {
            state
                .get(name)
                .cloned()
                .ok_or_else(|| Error::not_found(name))
        };
        let arrays = match names {
            Some(names) => names.iter().map(find).collect::<Result<_>>()?,
            None => state.arrays.values().cloned().collect(),
        };
        let moment = Moment {
            lsn: state.lsn,
            attrs: state.attrs.clone(),
        };
        Ok((arrays, moment))
    }

    /// The files of an array, pinned as they are: without the rows that wait in the journal.
    pub(crate) fn pin(&self, array: &ArrayState, patience: Patience<'_>) -> Result<PinnedFiles> {
        if array.meta.byte_len() == 0 {
            return Ok(Vec::new());
        }
        let row_bytes = array.meta.row_bytes();
        let mut first = 0;
        let mut pins = Vec::new();
        let mut add = |file: DataFile<'_>, rows: u64| -> Result<()> {
            let run = Run {
                start: first,
                len: rows,
            };
            first += rows;
            let len = usize::try_from(rows * row_bytes).unwrap_or(usize::MAX);
            if len > 0 {
                pins.push((run, self.pin_file(&file, len, patience)?));
            }
            Ok(())
        };
        match &array.location {
            Location::Segments(manifest) => {
                for (part, segment) in (0..).zip(&manifest.segments) {
                    let file = DataFile {
                        array,
                        segment: Some(&segment.file),
                        part,
                    };
                    add(file, segment.rows)?;
                }
            }
            Location::Own | Location::Generation => {
                add(DataFile::only(array), array.physical_rows())?;
            }
        }
        Ok(pins)
    }

    /// The files of an array, pinned, with the rows in their places that wait in the journal or for the
    /// commit of the transaction that asks.
    pub(crate) fn pin_whole(&self, array: &ArrayState, options: &Options) -> Result<PinnedFiles> {
        let mut pins = self.pin(array, Patience::of(options))?;
        if !array.overlay.is_empty() {
            for (_, pin) in &mut pins {
                *pin = Arc::new(self.patch(&DataFile::only(array), pin, false)?);
            }
        }
        Ok(pins)
    }

    fn pin_file(
        &self,
        file: &DataFile<'_>,
        len: usize,
        patience: Patience<'_>,
    ) -> Result<Arc<Pin>> {
        let array = file.array;
        let key = file.key(0);
        let failed = |error| self.pin_error(error, &file.own_name(), patience);
        // A generation keeps its inode when it is renamed, and never shares it with another.
        if array.generation != 0 {
            if let Some(pin) = self.pins.find(&key, len) {
                return Ok(pin);
            }
            if let Some(pin) = self.pins.wake(&key, len, patience).map_err(failed)? {
                return Ok(self.remember(key, pin));
            }
        }
        let open = || self.open_data(file);
        let opened =
            open().map_err(|source| Error::io("open", self.path.join(file.own_name()), source))?;
        check_len(array, &*opened, len)?;
        let pin = self
            .pins
            .pin(key.clone(), opened, len, &open, patience)
            .map_err(failed)?;
        if array.generation == 0 {
            return Ok(Arc::new(pin));
        }
        Ok(self.remember(key, pin))
    }

    fn remember(&self, key: PinKey, pin: Pin) -> Arc<Pin> {
        let pin = Arc::new(pin);
        self.pins.keep(key, &pin);
        pin
    }

    /// `base`, the only file of `array`, with the rows that wait in the journal in their places.
    pub(crate) fn patched(&self, array: &ArrayState, base: &Arc<Pin>) -> Result<Arc<Pin>> {
        let file = DataFile::only(array);
        let key = file.key(array.overlay.lsn());
        let len = usize::try_from(array.meta.byte_len()).unwrap_or(usize::MAX);
        if let Some(pin) = self.pins.find(&key, len) {
            return Ok(pin);
        }
        let pin = self.patch(&file, base, true)?;
        Ok(self.remember(key, pin))
    }

    fn patch(&self, file: &DataFile<'_>, base: &Arc<Pin>, committed: bool) -> Result<Pin> {
        let array = file.array;
        let len = usize::try_from(array.meta.byte_len()).unwrap_or(usize::MAX);
        let again = || self.same_inode(file, base);
        Pin::patched(base, len, &array.overlay, committed, again)
            .map_err(|source| Error::io("map", self.path.join(file.own_name()), source))
    }

    /// Writable private memory that begins as the only file of `array`, with the rows that wait in the
    /// journal; None when that file is not to be had again.
    pub(crate) fn pin_private(
        &self,
        array: &ArrayState,
        base: &Arc<Pin>,
    ) -> Result<Option<PrivatePin>> {
        let file = DataFile::only(array);
        let len = usize::try_from(array.meta.byte_len()).unwrap_or(usize::MAX);
        PrivatePin::new(base, len, &array.overlay, || self.same_inode(&file, base))
            .map_err(|source| Error::io("map", self.path.join(file.own_name()), source))
    }

    /// The only file of `array`, which `pin` has pinned, opened once more, if it still has a name.
    pub(crate) fn same_inode_of(&self, array: &ArrayState, pin: &Pin) -> Option<Arc<dyn File>> {
        self.same_inode(&DataFile::only(array), pin)
    }

    /// The pinned file opened once more, unless its names have gone to others.
    fn same_inode(&self, file: &DataFile<'_>, base: &Pin) -> Option<Arc<dyn File>> {
        let opened = self.open_data(file).ok()?;
        let same = opened.stat().ok().map(|stat| stat.ino) == base.ino();
        same.then_some(opened)
    }

    /// The only file of `array`, which is pinned, opened once more.
    pub(crate) fn open_pinned(&self, array: &ArrayState, pin: &Pin) -> Option<Arc<dyn File>> {
        self.same_inode(&DataFile::only(array), pin)
    }

    /// Opens a data file for reading.
    fn open_data(&self, file: &DataFile<'_>) -> std::io::Result<Arc<dyn File>> {
        if matches!(file.array.location, Location::Generation) {
            let array = file.array;
            return open_generation(&*self.dir, &array.name, array.generation, Open::Read)
                .map(|(opened, _)| opened);
        }
        self.dir.open(&file.own_name(), Open::Read)
    }

    fn pin_error(&self, error: PinError, file: &str, patience: Patience<'_>) -> Error {
        match error {
            PinError::Io(source) => Error::io("map", self.path.join(file), source),
            PinError::Interrupted => Error::Interrupted,
            PinError::Busy => Error::Busy {
                path: self.path.clone(),
                holder: format!("a writer of \"{file}\""),
                waited: patience.timeout,
            },
        }
    }
}

/// One file of an array.
struct DataFile<'a> {
    array: &'a ArrayState,
    segment: Option<&'a str>,
    part: u32,
}

impl<'a> DataFile<'a> {
    fn only(array: &'a ArrayState) -> Self {
        Self {
            array,
            segment: None,
            part: 0,
        }
    }

    fn name(&self) -> &ArrayName {
        &self.array.name
    }

    fn own_name(&self) -> String {
        match self.segment {
            Some(segment) => segment.to_owned(),
            None => self.name().data_file(),
        }
    }

    fn key(&self, patched: u64) -> PinKey {
        PinKey {
            name: self.name().clone(),
            part: self.part,
            generation: self.array.generation,
            patched,
        }
    }
}

/// Whether the files pinned for `old` are those of `new`, all of them, to the last row.
fn same_files(old: &Arc<ArrayState>, new: &Arc<ArrayState>) -> bool {
    // Without a generation nothing tells the file apart from one that another program put there.
    Arc::ptr_eq(old, new)
        || (old.generation != 0
            && old.generation == new.generation
            && old.name == new.name
            && old.physical_rows() == new.physical_rows())
}

fn check_len(array: &ArrayState, file: &dyn File, len: usize) -> Result<()> {
    let found = file
        .stat()
        .map_err(|source| Error::io("stat", array.name.data_file(), source))?
        .len;
    if found < len as u64 {
        return Err(Error::DataFileTooShort {
            name: array.name.to_string(),
            expected: len as u64,
            found,
        });
    }
    Ok(())
}

/// Opens the file of a generation, and tells whether by its array's own name: that is what it has
/// when it has none of its own. Any other error must not lead there, to rows of another generation.
pub(crate) fn open_generation(
    dir: &dyn Dir,
    name: &ArrayName,
    generation: u64,
    how: Open,
) -> std::io::Result<(Arc<dyn File>, bool)> {
    match dir.open(&paths::generation(generation), how) {
        Ok(file) => Ok((file, false)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Ok((dir.open(&name.data_file(), how)?, true))
        }
        Err(error) => Err(error),
    }
}
