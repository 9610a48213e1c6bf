//! Arrays of one store saved in another.

use std::collections::HashSet;

use numpack_format::ArrayMeta;

use crate::error::{Error, Result};
use crate::options::Interrupt;
use crate::snapshot::{ArraySnapshot, Snapshot};
use crate::staging::RowSource;
use crate::store::Store;

impl Store {
    /// Saves the live rows and the attributes of these arrays, or of all, as they are at one moment, in
    /// another store, as one commit there; gives its number. Rows go from the maps of one file into
    /// the other file, without a copy in memory.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// use numpack_engine::{Options, Store};
    /// use numpack_format::{ArrayMeta, DType};
    /// let store = Store::open(&dir.path().join("s.npk"), &Options::default())?;
    /// let other = Store::open(&dir.path().join("t.npk"), &Options::default())?;
    /// let mut save = store.begin()?;
    /// save.put("a", &ArrayMeta::new(DType::UInt8, &[3])?, &mut &[1, 2, 3][..])?;
    /// save.commit()?;
    /// store.copy_to(&other, Some(&["a"]), false)?;
    /// assert_eq!(&*other.array("a")?.contiguous()?, [1, 2, 3]);
    /// assert!(store.copy_to(&other, None, false).is_err(), "\"a\" is there already");
    /// store.copy_to(&other, None, true)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As for [`snapshot`](Self::snapshot) and [`save_snapshot`](Self::save_snapshot).
    pub fn copy_to(&self, other: &Self, names: Option<&[&str]>, overwrite: bool) -> Result<u64> {
        let snapshot = match names {
            Some(names) => self.snapshot(names)?,
            None => self.snapshot_all()?,
        };
        other.save_snapshot(&snapshot, overwrite)
    }

    /// Saves the live rows and the attributes of the arrays of a snapshot, mostly of another store, as
    /// one commit; gives its number. The attributes of the snapshot's store are not saved.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`] for an array that is there, unless `overwrite` says that it gives way,
    /// with its attributes; [`Error::InvalidArgument`] for a snapshot of this very store; and whatever
    /// [`commit`](crate::Transaction::commit) refuses.
    pub fn save_snapshot(&self, snapshot: &Snapshot, overwrite: bool) -> Result<u64> {
        let shared = self.writable()?;
        let mut transaction = self.begin()?;
        let mut names = HashSet::new();
        for array in snapshot.arrays() {
            let name = array.name().as_str();
            if std::ptr::eq(array.shared(), &raw const *shared) {
                return Err(Error::InvalidArgument(format!(
                    "array \"{name}\" is of this store, a copy needs another one"
                )));
            }
            if !overwrite && self.contains(name)? {
                return Err(Error::AlreadyExists {
                    name: name.to_owned(),
                });
            }
        }
        for array in snapshot.arrays() {
            let name = array.name().as_str();
            if !names.insert(name) {
                continue;
            }
            if !overwrite {
                transaction.require_absent(name)?;
            }
            let interrupt = self.options().interrupt.as_ref();
            let mut rows = Rows { array, interrupt };
            transaction.put(name, &array.meta(), &mut rows)?;
            transaction.set_attrs(Some(name), array.attrs().as_str())?;
        }
        transaction.commit()
    }
}

impl ArraySnapshot {
    /// Its dtype and shape, deleted rows not counted.
    pub fn meta(&self) -> ArrayMeta {
        let whole = &self.state().meta;
        let live = whole.shape.with_rows(self.rows(), whole.dtype);
        ArrayMeta {
            dtype: whole.dtype,
            // A 0-d array has no rows to count, and fewer rows than there are always fit.
            shape: live.unwrap_or_else(|_| whole.shape.clone()),
        }
    }
}

/// Bytes between two looks at whether somebody wants to end this.
const PIECE: usize = 16 << 20;

/// The live rows of an array on their way into a file.
pub(crate) struct Rows<'a> {
    pub(crate) array: &'a ArraySnapshot,
    pub(crate) interrupt: Option<&'a Interrupt>,
}

impl RowSource for Rows<'_> {
    fn write_to(&mut self, sink: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        for run in self.array.runs() {
            for piece in self.array.view(run.range())?.chunks(PIECE) {
                if self.interrupt.is_some_and(|ask| ask()) {
                    return Err(Error::Interrupted);
                }
                sink(piece)?;
            }
        }
        Ok(())
    }
}
