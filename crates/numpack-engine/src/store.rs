//! A handle on a store.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arc_swap::ArcSwapOption;
use numpack_format::{ArrayName, DType};

use crate::acquire::Moment;
use crate::error::{Error, Result};
use crate::fs::{Fs, RealFs};
use crate::options::{Mode, Options};
use crate::place::{refuse_strangers, remove_everything};
use crate::registry;
use crate::report::Report;
use crate::shared::Shared;
use crate::snapshot::{ArraySnapshot, Snapshot};
use crate::state::{ArrayState, Location};
use crate::transaction::Transaction;

/// A handle on a store: a directory of arrays.
///
/// Handles are cheap to clone and may be used from any number of threads; any number of them, in any
/// number of processes, may be open on one directory. Each call sees everything that was committed
/// before it anywhere. When the last clone goes, the handle is closed.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// use numpack_engine::{Options, Store};
/// use numpack_format::{ArrayMeta, DType};
/// let store = Store::open(&dir.path().join("train.npk"), &Options::default())?;
/// let mut transaction = store.begin()?;
/// transaction.put("label", &ArrayMeta::new(DType::UInt8, &[3])?, &mut &[7, 8, 9][..])?;
/// transaction.commit()?;
/// let label = store.array("label")?;
/// assert_eq!(&*label.contiguous()?, [7, 8, 9]);
/// store.close()?;
/// assert_eq!(&*label.contiguous()?, [7, 8, 9], "a snapshot outlives its store");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Store {
    handle: Arc<Handle>,
}

#[derive(Debug)]
struct Handle {
    path: PathBuf,
    options: Options,
    fs: Arc<dyn Fs>,
    shared: ArcSwapOption<Shared>,
}

/// What is known of an array without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ArrayInfo {
    /// The array's name.
    pub name: ArrayName,
    /// The type of its elements.
    pub dtype: DType,
    /// Its shape, deleted rows not counted.
    pub shape: Vec<u64>,
    /// Rows in the file, deleted ones included.
    pub physical_rows: u64,
    /// Deleted rows.
    pub deleted: u64,
    /// When it was last saved, appended to or compacted; microseconds since 1970.
    pub modified_us: u64,
    /// The name of its data file in a closed store.
    pub data_file: String,
    /// Bytes of all rows in the file.
    pub size_bytes: u64,
}

impl ArrayInfo {
    fn of(array: &ArrayState) -> Self {
        let mut shape = array.meta.shape.dims().to_vec();
        if let Some(rows) = shape.first_mut() {
            *rows = array.live_rows();
        }
        Self {
            name: array.name.clone(),
            dtype: array.meta.dtype,
            shape,
            physical_rows: array.physical_rows(),
            deleted: array.deleted(),
            modified_us: array.modified_us,
            data_file: match array.location {
                Location::Segments(_) => array.name.segments_file(),
                Location::Own | Location::Generation => array.name.data_file(),
            },
            size_bytes: array.meta.byte_len(),
        }
    }
}

impl Store {
    /// Opens the store at `path`; see [`Mode`] for what must be there.
    ///
    /// # Errors
    /// [`Error::NoStore`], [`Error::StoreExists`], [`Error::NotAStore`] as the mode says;
    /// [`Error::NetworkFileSystem`] for writing to one that is not on this machine;
    /// [`Error::Corrupt`] for files that contradict each other, of which nothing is changed.
    pub fn open(path: &Path, options: &Options) -> Result<Self> {
        Self::open_on(Arc::new(RealFs), path, options)
    }

    /// Opens a store of another file system, see [`crate::fs`].
    ///
    /// # Errors
    /// As for [`Store::open`].
    pub fn open_on(fs: Arc<dyn Fs>, path: &Path, options: &Options) -> Result<Self> {
        let shared = attach(&*fs, path, options)?;
        let handle = Handle {
            path: path.to_path_buf(),
            options: options.clone(),
            fs,
            shared: ArcSwapOption::new(Some(shared)),
        };
        Ok(Self {
            handle: Arc::new(handle),
        })
    }

    /// Closes the handle; a closed one stays closed. The last handle of this process that may write
    /// moves what the journal holds into the files that NumPack 0.4 reads.
    ///
    /// # Errors
    /// A failed write; everything committed is still in the journal then. A store whose directory is
    /// gone is closed without an error.
    pub fn close(&self) -> Result<()> {
        self.handle.close()
    }

    /// Whether the handle is open.
    pub fn is_open(&self) -> bool {
        self.handle.shared.load().is_some()
    }

    /// The directory, as it was given.
    pub fn path(&self) -> &Path {
        &self.handle.path
    }

    /// How the store was opened.
    pub fn options(&self) -> &Options {
        &self.handle.options
    }

    pub(crate) fn fs(&self) -> &dyn Fs {
        &*self.handle.fs
    }

    /// What all handles on the directory share. A forked child attaches anew.
    pub(crate) fn shared(&self) -> Result<Arc<Shared>> {
        let handle = &*self.handle;
        let current = handle.shared.load_full();
        let Some(shared) = current else {
            return Err(Error::Closed {
                path: handle.path.clone(),
            });
        };
        if shared.fork == crate::fork::generation() {
            return Ok(shared);
        }
        let mode = if handle.options.mode.is_writable() {
            Mode::ReadWrite
        } else {
            Mode::Read
        };
        let options = handle.options.clone().with_mode(mode);
        let fresh = attach(&*handle.fs, &handle.path, &options)?;
        handle.shared.store(Some(Arc::clone(&fresh)));
        Ok(fresh)
    }

    /// [`Self::shared`], for a change.
    pub(crate) fn writable(&self) -> Result<Arc<Shared>> {
        let shared = self.shared()?;
        if !self.handle.options.mode.is_writable() {
            return Err(Error::ReadOnly {
                path: self.handle.path.clone(),
            });
        }
        Ok(shared)
    }

    pub(crate) fn fresh(&self) -> Result<Arc<Shared>> {
        let shared = self.shared()?;
        shared.refresh()?;
        Ok(shared)
    }

    /// The names of all arrays, in the order in which they were first saved.
    ///
    /// # Errors
    /// [`Error::Closed`], or files that cannot be read.
    pub fn names(&self) -> Result<Vec<ArrayName>> {
        Ok(self.fresh()?.state.read().arrays.keys().cloned().collect())
    }

    /// Whether there is an array of this name.
    ///
    /// # Errors
    /// [`Error::Closed`], or files that cannot be read.
    pub fn contains(&self, name: &str) -> Result<bool> {
        Ok(self.fresh()?.state.read().get(name).is_some())
    }

    /// What is known of an array.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Closed`], or files that cannot be read.
    pub fn info(&self, name: &str) -> Result<ArrayInfo> {
        let shared = self.fresh()?;
        let state = shared.state.read();
        state
            .get(name)
            .map(|array| ArrayInfo::of(array))
            .ok_or_else(|| Error::not_found(name))
    }

    /// What is known of all arrays, in member order.
    ///
    /// # Errors
    /// [`Error::Closed`], or files that cannot be read.
    pub fn infos(&self) -> Result<Vec<ArrayInfo>> {
        let shared = self.fresh()?;
        let state = shared.state.read();
        Ok(state
            .arrays
            .values()
            .map(|array| ArrayInfo::of(array))
            .collect())
    }

    /// These arrays at one moment.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::DataFileTooShort`], [`Error::Closed`], or files that cannot be read.
    pub fn snapshot(&self, names: &[&str]) -> Result<Snapshot> {
        let (arrays, moment) = self.take(Some(names))?;
        Ok(Snapshot::new(arrays, moment))
    }

    /// All arrays at one moment, in member order.
    ///
    /// # Errors
    /// As for [`Store::snapshot`].
    pub fn snapshot_all(&self) -> Result<Snapshot> {
        let (arrays, moment) = self.take(None)?;
        Ok(Snapshot::new(arrays, moment))
    }

    /// One array.
    ///
    /// # Errors
    /// As for [`Store::snapshot`].
    pub fn array(&self, name: &str) -> Result<ArraySnapshot> {
        let (mut arrays, _) = self.take(Some(&[name]))?;
        arrays.pop().ok_or_else(|| Error::not_found(name))
    }

    fn take(&self, names: Option<&[&str]>) -> Result<(Vec<ArraySnapshot>, Moment)> {
        let shared = self.shared()?;
        let (arrays, moment) = shared.acquire(names, &self.handle.options)?;
        let snapshot = |(array, pins)| ArraySnapshot::new(array, pins, Arc::clone(&shared));
        Ok((arrays.into_iter().map(snapshot).collect(), moment))
    }

    /// Begins a transaction that is checked against whatever is there when it is committed.
    ///
    /// # Errors
    /// [`Error::Closed`] and [`Error::ReadOnly`].
    pub fn begin(&self) -> Result<Transaction<'_>> {
        self.writable()?;
        Ok(Transaction::new(self, None))
    }

    /// Begins a transaction that only commits if no array of `base` has changed since.
    ///
    /// # Errors
    /// [`Error::Closed`] and [`Error::ReadOnly`].
    pub fn begin_at(&self, base: &Snapshot) -> Result<Transaction<'_>> {
        self.writable()?;
        Ok(Transaction::new(self, Some(base.clone())))
    }

    /// Puts everything committed so far on disk. Rows that wait in the journal in great numbers go to their
    /// files on this occasion.
    ///
    /// # Errors
    /// A failed flush, after which this process refuses to write to the store.
    pub fn sync(&self) -> Result<()> {
        let shared = self.writable()?;
        let mut guard = shared.lock(&self.handle.options)?;
        guard.sync()?;
        guard.fold_synced()
    }

    /// Looks through the store for damage, as it is at one moment, and writes nothing; writers may go on.
    ///
    /// Looked at are metadata, bitmaps, the journal, the lengths of data files, and what lies in the directory
    /// for no reason; with `deep` also every row, where a checksum is known.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// use numpack_engine::{Options, Store};
    /// use numpack_format::{ArrayMeta, DType};
    /// let store = Store::open(&dir.path().join("s.npk"), &Options::default())?;
    /// let mut save = store.begin()?;
    /// save.put("a", &ArrayMeta::new(DType::UInt8, &[4])?, &mut &[1, 2, 3, 4][..])?;
    /// save.commit()?;
    /// let report = store.verify(true)?;
    /// assert!(report.ok() && report.unchecked.is_empty(), "{report}");
    /// assert_eq!(report.checked_bytes, 4);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Closed`], [`Error::NoStore`], [`Error::Busy`], or a directory that cannot be listed. Whatever
    /// is wrong with the store itself is in the report.
    pub fn verify(&self, deep: bool) -> Result<Report> {
        self.shared()?.verify(&self.handle.options, deep)
    }

    /// [`checkpoint`](Self::checkpoint), and nothing stays that belongs to no array.
    pub(crate) fn tidy(&self) -> Result<()> {
        let shared = self.writable()?;
        let mut guard = shared.lock(&self.handle.options)?;
        if guard.has_pending() || guard.must_checkpoint() {
            guard.checkpoint(self.handle.options.durability, true)?;
        }
        let state = shared.state.read().clone();
        guard.remove(crate::paths::METADATA_NEXT)?;
        guard.remove(crate::paths::BITMAP_NEXT)?;
        guard.remove_orphans(&state)
    }

    /// Moves everything that the journal holds into the files that NumPack 0.4 reads.
    ///
    /// # Errors
    /// A failed write; everything committed is still there.
    pub fn checkpoint(&self) -> Result<()> {
        let shared = self.writable()?;
        let mut guard = shared.lock(&self.handle.options)?;
        if guard.has_pending() || guard.must_checkpoint() {
            guard.checkpoint(self.handle.options.durability, true)?;
        }
        Ok(())
    }
}

impl Handle {
    fn close(&self) -> Result<()> {
        let Some(shared) = self.shared.swap(None) else {
            return Ok(());
        };
        shared.pins.release_idle();
        // A child that never used the handle leaves everything to its parent.
        if shared.fork != crate::fork::generation() || !self.options.mode.is_writable() {
            return Ok(());
        }
        if shared.writers.fetch_sub(1, Ordering::AcqRel) != 1 {
            return Ok(());
        }
        match crate::closing::finish(&shared, &self.options) {
            // Gone, or busy: the next open of the store does what is left to do.
            Err(Error::NoStore { .. } | Error::Busy { .. } | Error::Interrupted) => Ok(()),
            Err(error) if error.is_missing_file() => Ok(()),
            result => result,
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // Nobody is left to tell; what was committed stays in the journal.
        let _unreported = self.close();
    }
}

/// The shared state behind a new handle, with the directory as the mode wants it.
fn attach(fs: &dyn Fs, path: &Path, options: &Options) -> Result<Arc<Shared>> {
    let creates = matches!(options.mode, Mode::Append | Mode::Write | Mode::Exclusive);
    let dir = match fs.open_dir(path, false) {
        Err(error) if creates && error.kind() == std::io::ErrorKind::NotFound => {
            crate::network::check_above(fs, path, options)?;
            fs.open_dir(path, true)
        }
        opened => opened,
    };
    let dir = dir.map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => Error::NoStore {
            path: path.to_path_buf(),
        },
        // A regular file is in the way of a store that is to be made, and is none to read.
        std::io::ErrorKind::NotADirectory if !creates => Error::NoStore {
            path: path.to_path_buf(),
        },
        _ => Error::io("open", path, source),
    })?;
    crate::network::check(&*dir, path, options)?;
    if options.mode == Mode::Write {
        refuse_strangers(&*dir, path)?;
    }
    let shared = match registry::shared(path, &dir) {
        Err(Error::Corrupt { .. }) if options.mode == Mode::Write => {
            let unread = Shared::unread(path.to_path_buf(), Arc::clone(&dir));
            let _lock = unread.lock_unread(options)?;
            // Whoever had the lock may have made it whole.
            match registry::shared(path, &dir) {
                Err(Error::Corrupt { .. }) => {
                    remove_everything(&*dir, path)?;
                    registry::shared(path, &dir)?
                }
                result => result?,
            }
        }
        result => result?,
    };
    let exists = shared.exists();
    match options.mode {
        Mode::Exclusive if exists => {
            return Err(Error::StoreExists {
                path: path.to_path_buf(),
            });
        }
        Mode::Read | Mode::ReadWrite if !exists => {
            return Err(Error::NoStore {
                path: path.to_path_buf(),
            });
        }
        _ => {}
    }
    if !exists || options.mode == Mode::Write {
        let mut guard = shared.lock(options)?;
        if !shared.exists() {
            guard.checkpoint(options.durability, true)?;
        } else if options.mode == Mode::Exclusive {
            // Somebody else was first.
            return Err(Error::StoreExists {
                path: path.to_path_buf(),
            });
        }
        drop(guard);
    }
    if options.mode.is_writable() {
        take_over(&shared, options);
        shared.writers.fetch_add(1, Ordering::AcqRel);
    }
    if options.mode == Mode::Write {
        crate::commit::drop_all(&shared, options)?;
    }
    Ok(shared)
}

/// Tells others of what a killed writer completed, which this process shows already.
fn take_over(shared: &Shared, options: &Options) {
    if shared.seen.lock().untold().is_some() {
        let options = options.unasked();
        // Most likely a writer is at work, who tells of it. Anything else is met again by the first change.
        let _told = shared.lock(&options);
    }
}
