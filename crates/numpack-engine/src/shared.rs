//! What all handles of a process on one directory share: the state in memory, caught up with the
//! files before each use, the pins, and the writer's tools.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use numpack_format::ArrayName;
use numpack_format::journal::Header;
use parking_lot::{Mutex, RwLock};

use crate::deletions::Run;
use crate::error::{Error, Result};
use crate::fs::{Dir, File, Open, Stat};
use crate::journal::{Cursor, walk};
use crate::load::{self, Loaded, Touched, corrupt, probe};
use crate::options::Options;
use crate::paths;
use crate::pin::{Patience, Pin, PinError, PinKey, Pins, PrivatePin, Source};
use crate::state::{ArrayState, Location, State};
use crate::writer::Writer;

/// One directory, as this process knows it.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) path: PathBuf,
    pub(crate) dir: Arc<dyn Dir>,
    /// [`crate::fork::generation`] when this was made; a child of a later fork must not use it.
    pub(crate) fork: u64,
    pub(crate) state: RwLock<State>,
    pub(crate) seen: Mutex<Seen>,
    /// Epoch and hint that `state` is caught up with, readable without a lock.
    latest: (AtomicU64, AtomicU64),
    journal: RwLock<Option<Arc<dyn File>>>,
    pub(crate) pins: Pins,
    /// A replaced generation whose file the next large save may use again.
    pub(crate) spare: Mutex<Option<u64>>,
    pub(crate) writer: Mutex<Writer>,
    pub(crate) poisoned: AtomicBool,
    /// Open handles that may write.
    pub(crate) writers: AtomicUsize,
}

/// How far the files have been read.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) header: Option<Header>,
    pub(crate) cursor: Option<Cursor>,
    pub(crate) hint_seq: u64,
    pub(crate) metadata: Option<Stat>,
    pub(crate) trailer: bool,
    pub(crate) checkpoint_lsn: u64,
    pub(crate) touched: Touched,
    pub(crate) foreign: bool,
    pub(crate) recovery_due: bool,
}

impl Shared {
    /// Reads the store in `dir`.
    pub(crate) fn open(path: PathBuf, dir: Arc<dyn Dir>) -> Result<Self> {
        let shared = Self {
            path,
            dir,
            fork: crate::fork::generation(),
            state: RwLock::default(),
            seen: Mutex::default(),
            latest: (AtomicU64::new(u64::MAX), AtomicU64::new(u64::MAX)),
            journal: RwLock::default(),
            pins: Pins::default(),
            spare: Mutex::default(),
            writer: Mutex::default(),
            poisoned: AtomicBool::new(false),
            writers: AtomicUsize::new(0),
        };
        shared.reload(&mut shared.seen.lock())?;
        Ok(shared)
    }

    /// Whether there is a store on disk.
    pub(crate) fn exists(&self) -> bool {
        self.seen.lock().metadata.is_some()
    }

    /// Reads everything anew.
    pub(crate) fn reload(&self, seen: &mut Seen) -> Result<()> {
        let Loaded {
            state,
            journal,
            header,
            cursor,
            hint_seq,
            metadata,
            trailer,
            checkpoint_lsn,
            touched,
            foreign,
            recovery_due,
        } = load::load(&*self.dir, &self.path)?;
        *self.journal.write() = journal;
        *seen = Seen {
            header,
            cursor,
            hint_seq,
            metadata,
            trailer,
            checkpoint_lsn,
            touched,
            foreign,
            recovery_due,
        };
        *self.state.write() = state;
        self.publish(seen);
        Ok(())
    }

    /// Makes `seen` what the lock-free check compares with.
    pub(crate) fn publish(&self, seen: &Seen) {
        let epoch = match (&seen.header, seen.trailer) {
            (Some(header), true) => header.epoch,
            // Without our trailer another program may write the metadata at any time: always look.
            _ => u64::MAX,
        };
        self.latest.1.store(seen.hint_seq, Ordering::Release);
        self.latest.0.store(epoch, Ordering::Release);
    }

    /// Catches up with what other processes have committed.
    pub(crate) fn refresh(&self) -> Result<()> {
        let journal = self.journal.read().clone();
        let Some(file) = journal else {
            return self.refresh_without_journal();
        };
        let now = probe(&*file, &self.path)?;
        let epoch = now.header.as_ref().map(|header| header.epoch);
        let seq = now.hint.as_ref().map_or(0, |hint| hint.seq);
        if epoch == Some(self.latest.0.load(Ordering::Acquire))
            && seq == self.latest.1.load(Ordering::Acquire)
        {
            return Ok(());
        }
        let mut seen = self.seen.lock();
        if seen.header.as_ref().map(|header| header.epoch) != epoch || self.metadata_moved(&seen) {
            return self.reload(&mut seen);
        }
        if seq != seen.hint_seq {
            self.catch_up(&mut seen, &*file)?;
            seen.hint_seq = seen.hint_seq.max(seq);
            self.publish(&seen);
        }
        Ok(())
    }

    fn refresh_without_journal(&self) -> Result<()> {
        let mut seen = self.seen.lock();
        let journal_appeared = self.dir.stat(paths::JOURNAL).is_ok();
        if journal_appeared || self.metadata_moved(&seen) {
            return self.reload(&mut seen);
        }
        Ok(())
    }

    /// Whether the metadata file is another one, in a store that other programs may write.
    fn metadata_moved(&self, seen: &Seen) -> bool {
        !seen.trailer && self.dir.stat(paths::METADATA).ok() != seen.metadata
    }

    /// Applies the commits that follow what has been read. Under the writer lock this adopts what a
    /// killed writer completed without saying so.
    pub(crate) fn catch_up(&self, seen: &mut Seen, file: &dyn File) -> Result<()> {
        // After a power cut the records behind the cursor are still in the file and must not come
        // back; the next writer begins the journal anew before anything is added.
        if seen.recovery_due {
            return Ok(());
        }
        let Some(mut cursor) = seen.cursor.clone() else {
            return Ok(());
        };
        let mut frames = Vec::new();
        let end = walk(file, &mut cursor, &mut |_, frame| {
            frames.push(frame.clone());
        })
        .map_err(|source| Error::io("read", self.path.join(paths::JOURNAL), source))?;
        // The chain breaks for a reader that walks while the journal is begun anew.
        if probe(file, &self.path)?.header != seen.header {
            return self.reload(seen);
        }
        load::refuse_unknown(&end, &self.path)?;
        if frames.is_empty() {
            return Ok(());
        }
        let mut state = self.state.write();
        for frame in &frames {
            seen.touched.note(frame);
            state.apply(frame).map_err(|reason| {
                corrupt(
                    &self.path,
                    format!("record {} of .npk/journal: {reason}", frame.lsn),
                )
            })?;
        }
        seen.cursor = Some(cursor);
        Ok(())
    }

    pub(crate) fn set_journal(&self, file: Arc<dyn File>) {
        *self.journal.write() = Some(file);
    }

    /// The bytes of an array, pinned: one pin a file, each with the physical rows it holds.
    pub(crate) fn pin(
        &self,
        array: &ArrayState,
        options: &Options,
    ) -> Result<Vec<(Run, Arc<Pin>)>> {
        if array.meta.byte_len() == 0 {
            return Ok(Vec::new());
        }
        let row_bytes = array.meta.row_bytes();
        let mut first = 0;
        let mut pins = Vec::new();
        for (file, rows) in files(array) {
            let run = Run {
                start: first,
                len: rows,
            };
            first += rows;
            let len = usize::try_from(rows * row_bytes).unwrap_or(usize::MAX);
            if len > 0 {
                pins.push((run, self.pin_file(array, &file, len, options)?));
            }
        }
        Ok(pins)
    }

    fn pin_file(
        &self,
        array: &ArrayState,
        file: &str,
        len: usize,
        options: &Options,
    ) -> Result<Arc<Pin>> {
        // A generation keeps its inode when it is renamed, and never shares it with another.
        let cached = PinKey {
            file: file.to_owned(),
            generation: array.generation,
        };
        if array.generation != 0
            && let Some(pin) = self.pins.find(&cached, len)
        {
            return Ok(pin);
        }
        let (opened, by_own_name) = self.open_data(array, file)?;
        check_len(array, &*opened, len)?;
        let pin = self.from(array, file, by_own_name, options, |source| {
            self.pins.pin(opened, len, source)
        })?;
        if by_own_name {
            self.still_current(array)?;
        }
        let pin = Arc::new(pin);
        if array.generation != 0 {
            self.pins.keep(cached, &pin);
        }
        Ok(pin)
    }

    /// Writable private memory over the only file of an array.
    pub(crate) fn pin_private(&self, array: &ArrayState, options: &Options) -> Result<PrivatePin> {
        let file = array.name.data_file();
        let len = usize::try_from(array.meta.byte_len()).unwrap_or(usize::MAX);
        let (opened, by_own_name) = self.open_data(array, &file)?;
        check_len(array, &*opened, len)?;
        let pin = self.from(array, &file, by_own_name, options, |source| {
            self.pins.pin_private(opened, len, source)
        })?;
        if by_own_name {
            self.still_current(array)?;
        }
        Ok(pin)
    }

    /// Pins a file of `array` with `pin`.
    fn from<T>(
        &self,
        array: &ArrayState,
        file: &str,
        by_own_name: bool,
        options: &Options,
        pin: impl FnOnce(&Source<'_>) -> std::result::Result<T, PinError>,
    ) -> Result<T> {
        let name = if by_own_name {
            file.to_owned()
        } else {
            paths::generation(array.generation)
        };
        let interrupted = || options.interrupt.as_ref().is_some_and(|ask| ask());
        let source = Source {
            again: &|| self.dir.open(&name, Open::Read),
            named: &|| self.dir.stat(&name),
            patience: Patience {
                timeout: options.lock_timeout,
                interrupted: &interrupted,
            },
        };
        pin(&source).map_err(|error| self.pin_error(error, file, options))
    }

    /// Opens a data file for reading, and tells whether by the array's own name.
    fn reopen(&self, array: &ArrayState, file: &str) -> std::io::Result<(Arc<dyn File>, bool)> {
        if matches!(array.location, Location::Generation) {
            open_generation(&*self.dir, &array.name, array.generation, Open::Read)
        } else {
            Ok((self.dir.open(file, Open::Read)?, true))
        }
    }

    fn open_data(&self, array: &ArrayState, file: &str) -> Result<(Arc<dyn File>, bool)> {
        self.reopen(array, file)
            .map_err(|source| Error::io("open", self.path.join(file), source))
    }

    /// The own name of an array may by now belong to a newer generation: what was opened by it is
    /// this one's only if nothing newer has been committed.
    fn still_current(&self, array: &ArrayState) -> Result<()> {
        self.refresh()?;
        match self.state.read().get(array.name.as_str()) {
            Some(now) if now.generation == array.generation => Ok(()),
            _ => Err(Error::io(
                "open",
                self.path.join(array.name.data_file()),
                std::io::ErrorKind::NotFound.into(),
            )),
        }
    }

    fn pin_error(&self, error: PinError, file: &str, options: &Options) -> Error {
        match error {
            PinError::Io(source) => Error::io("map", self.path.join(file), source),
            PinError::Interrupted => Error::Interrupted,
            PinError::Busy => Error::Busy {
                path: self.path.clone(),
                holder: format!("a writer of \"{file}\""),
                waited: options.lock_timeout,
            },
        }
    }
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

/// The files of an array with the rows in each.
fn files(array: &ArrayState) -> Vec<(String, u64)> {
    match &array.location {
        Location::Segments(manifest) => manifest
            .segments
            .iter()
            .map(|segment| (segment.file.clone(), segment.rows))
            .collect(),
        Location::Own | Location::Generation => {
            vec![(array.name.data_file(), array.physical_rows())]
        }
    }
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
