//! How a store stands: sizes, the journal, what waits in it, and what this process has mapped.

use numpack_format::ArrayName;

use crate::error::Result;
use crate::options::Durability;
use crate::store::Store;

/// How a store stands, as [`Store::stats`] found it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Arrays.
    pub arrays: usize,
    /// Rows of all arrays, deleted ones not counted; a 0-d array has one.
    pub rows: u64,
    /// Bytes of all rows in the data files, deleted ones included.
    pub bytes: u64,
    /// Deleted rows that are still in the data files.
    pub deleted: u64,
    /// Bytes of the journal up to its last record.
    pub journal_bytes: u64,
    /// Bytes of journal from which on a commit makes a checkpoint first.
    pub journal_limit: u64,
    /// Records in the journal since the last checkpoint.
    pub records: u64,
    /// The number of the last record.
    pub lsn: u64,
    /// The number of the last record that is known to be on disk.
    pub synced_lsn: u64,
    /// The arrays with replaced rows that wait in the journal, in member order.
    pub pending: Vec<Pending>,
    /// Arrays that somebody in this process has mapped: views, lazy arrays, Arrow arrays.
    pub mapped: usize,
    /// Maps that this process keeps although nobody uses them.
    pub idle_maps: usize,
    /// What a returned call of this handle is safe from.
    pub durability: Durability,
}

/// Replaced rows of one array that its data file does not have yet.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pending {
    /// The array.
    pub name: ArrayName,
    /// Rows that were replaced; one replaced twice may count twice.
    pub rows: u64,
    /// Pages of 4 KiB that these rows lie in; one touched twice may count twice.
    pub pages: u64,
}

impl Store {
    /// How the store stands. Reads no data, only what other processes have committed meanwhile.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// use numpack_engine::{Options, Store};
    /// use numpack_format::{ArrayMeta, DType};
    /// let store = Store::open(&dir.path().join("s.npk"), &Options::default())?;
    /// let mut save = store.begin()?;
    /// save.put("a", &ArrayMeta::new(DType::Int16, &[3, 2])?, &mut &[0; 12][..])?;
    /// save.commit()?;
    /// let stats = store.stats()?;
    /// assert_eq!((stats.arrays, stats.rows, stats.bytes, stats.records), (1, 3, 12, 1));
    /// store.checkpoint()?;
    /// assert_eq!(store.stats()?.records, 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Closed`](crate::Error::Closed), or files that cannot be read.
    pub fn stats(&self) -> Result<Stats> {
        let shared = self.shared()?;
        shared.refresh()?;
        let options = self.options();
        // In the order in which a commit takes them, and together: one moment.
        let seen = shared.seen.lock();
        let state = shared.state.read();
        let (mapped, idle_maps) = shared.pins.counts();
        let mut stats = Stats {
            arrays: state.arrays.len(),
            rows: 0,
            bytes: 0,
            deleted: 0,
            journal_bytes: seen.cursor.as_ref().map_or(0, |cursor| cursor.tail),
            journal_limit: options.limits.journal,
            records: 0,
            lsn: state.lsn,
            synced_lsn: seen.flushed,
            pending: Vec::new(),
            mapped,
            idle_maps,
            durability: options.durability,
        };
        if let (Some(cursor), Some(header)) = (&seen.cursor, &seen.header) {
            stats.records = cursor.lsn.saturating_sub(header.base_lsn);
        }
        for array in state.arrays.values() {
            stats.rows += array.live_rows();
            stats.bytes += array.meta.byte_len();
            stats.deleted += array.deleted();
            if !array.overlay.is_empty() {
                stats.pending.push(Pending {
                    name: array.name.clone(),
                    rows: array.overlay.rows_at_most(),
                    pages: array.overlay.pages_at_most(),
                });
            }
        }
        Ok(stats)
    }
}
