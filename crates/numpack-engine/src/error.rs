//! What can go wrong in the engine, one variant per thing a caller would handle differently.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use numpack_format::FormatError;

/// The result of an engine call.
pub type Result<T> = std::result::Result<T, Error>;

/// An error of the storage engine. Its text names the array, what was given and what was expected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No array has this name.
    #[error("array \"{name}\" not found")]
    NotFound {
        /// The name asked for.
        name: String,
    },
    /// The target name of a rename or copy is taken.
    #[error("array \"{name}\" already exists")]
    AlreadyExists {
        /// The name that is taken.
        name: String,
    },
    /// Rows of one shape were given to an array whose rows have another.
    #[error("array \"{name}\": rows of shape {given} do not fit rows of shape {expected}")]
    ShapeMismatch {
        /// The array.
        name: String,
        /// Its row shape.
        expected: String,
        /// The row shape of the values.
        given: String,
    },
    /// Values of one dtype were given to an array of another.
    #[error("array \"{name}\" is {expected}, the values are {given}")]
    DTypeMismatch {
        /// The array.
        name: String,
        /// Its dtype, as NumPy names it.
        expected: &'static str,
        /// The dtype of the values.
        given: &'static str,
    },
    /// The number of rows given is not the number of rows selected.
    #[error("array \"{name}\": {given} rows given for {expected} selected rows")]
    RowCount {
        /// The array.
        name: String,
        /// Rows selected.
        expected: u64,
        /// Rows given.
        given: u64,
    },
    /// A row index outside of the array.
    #[error("array \"{name}\": index {index} is out of bounds for {rows} rows")]
    OutOfBounds {
        /// The array.
        name: String,
        /// The index as it was given.
        index: i64,
        /// The number of rows.
        rows: u64,
    },
    /// Rows were asked of an array without a first axis.
    #[error("array \"{name}\" is 0-d: it has no rows to select")]
    ZeroDimensional {
        /// The array.
        name: String,
    },
    /// A boolean mask whose length is not the number of rows.
    #[error("array \"{name}\": a mask of length {given} does not match {rows} rows")]
    MaskLength {
        /// The array.
        name: String,
        /// The mask's length.
        given: u64,
        /// The number of rows.
        rows: u64,
    },
    /// An argument that means nothing.
    #[error("{0}")]
    InvalidArgument(String),
    /// A zero-copy view was asked of rows that do not lie in one piece.
    #[error(
        "array \"{name}\" is not contiguous: {deleted} deleted rows leave {runs} runs of live rows; \
         update(\"{name}\") makes it contiguous"
    )]
    NotContiguous {
        /// The array.
        name: String,
        /// Deleted rows.
        deleted: u64,
        /// Runs of live rows, counted over all the files of the array.
        runs: usize,
    },
    /// The store handle is closed.
    #[error("store \"{}\" is closed", path.display())]
    Closed {
        /// The store.
        path: PathBuf,
    },
    /// A change was asked of a handle opened with mode r.
    #[error("store \"{}\" is opened read-only (mode r)", path.display())]
    ReadOnly {
        /// The store.
        path: PathBuf,
    },
    /// There is no store at this path (any more).
    #[error("no store at \"{}\"", path.display())]
    NoStore {
        /// The path.
        path: PathBuf,
    },
    /// Mode x found a store.
    #[error("there is a store at \"{}\" already (mode x)", path.display())]
    StoreExists {
        /// The path.
        path: PathBuf,
    },
    /// A store was to be written to that is on another machine.
    #[error(
        "\"{}\" is on a network file system ({kind}), where locks and maps do not keep what a store promises: \
         use a local disk, mode r, or network_fs=True if one process alone uses it",
        path.display()
    )]
    NetworkFileSystem {
        /// The directory.
        path: PathBuf,
        /// The kind of file system.
        kind: &'static str,
    },
    /// Something is at a path where a backup was to be made.
    #[error("\"{}\" exists already: a backup needs a path where nothing is", path.display())]
    PathExists {
        /// The path.
        path: PathBuf,
    },
    /// Mode w found files that no store made, and touches nothing.
    #[error("\"{}\" holds \"{entry}\", which is not part of a store: nothing was removed", path.display())]
    NotAStore {
        /// The directory.
        path: PathBuf,
        /// One entry that does not belong to a store.
        entry: String,
    },
    /// Another writer holds the store's lock.
    #[error("store \"{}\" is busy: its writer lock is held by {holder}; waited {:.1} s", path.display(), waited.as_secs_f64())]
    Busy {
        /// The store.
        path: PathBuf,
        /// Who holds the lock.
        holder: String,
        /// How long this call waited.
        waited: Duration,
    },
    /// The wait for a lock was interrupted.
    #[error("interrupted while waiting for the writer lock")]
    Interrupted,
    /// An array that the transaction read was changed by another writer.
    #[error(
        "array \"{name}\" was changed by another writer since it was read; nothing was written"
    )]
    Conflict {
        /// The array.
        name: String,
    },
    /// The store's files contradict each other or themselves.
    #[error("store \"{}\" is corrupt: {reason}", path.display())]
    Corrupt {
        /// The store.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// A data file holds fewer bytes than its array needs.
    #[error(
        "array \"{name}\": Data file is smaller than expected: expected {expected} bytes, found {found} bytes"
    )]
    DataFileTooShort {
        /// The array.
        name: String,
        /// Bytes needed.
        expected: u64,
        /// Bytes there.
        found: u64,
    },
    /// Another program rewrote the metadata while the journal held changes on top of the old one.
    #[error(
        "store \"{}\": another program rewrote metadata.npkm while changes of an unfinished session \
         were waiting in .npk/journal; `numpack verify --repair \"{}\"` puts the metadata back if that \
         program changed nothing else, with --discard-journal it gives the waiting changes up; mode r reads \
         what that program wrote",
        path.display(), path.display()
    )]
    Foreign {
        /// The store.
        path: PathBuf,
    },
    /// An earlier write or flush failed, so that what the disk holds is unknown.
    #[error("store \"{}\": an earlier flush failed, the handle refuses to write; reopen the store", path.display())]
    Poisoned {
        /// The store.
        path: PathBuf,
    },
    /// A file of the store does not decode.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The operating system refused an operation.
    #[error("cannot {action} \"{}\": {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

impl Error {
    /// An [`Error::Io`] for `action` on `path`.
    pub(crate) fn io(action: &'static str, path: impl AsRef<Path>, source: io::Error) -> Self {
        Self::Io {
            action,
            path: path.as_ref().to_path_buf(),
            source,
        }
    }

    /// An [`Error::NotFound`] for `name`.
    pub(crate) fn not_found(name: &str) -> Self {
        Self::NotFound {
            name: name.to_owned(),
        }
    }

    /// Whether the file asked for was not there: its generation has been replaced meanwhile.
    pub(crate) fn is_missing_file(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}
