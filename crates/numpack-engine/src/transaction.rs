//! Transactions: changes that appear together or not at all.

use std::fmt;
use std::ops::Range;

use numpack_format::{ArrayMeta, ArrayName, Attrs};

use crate::error::{Error, Result};
use crate::options::Durability;
use crate::selection::{Selection, add_run};
use crate::snapshot::{ArraySnapshot, Snapshot};
use crate::staging::{RowSource, Staged};
use crate::store::Store;
use crate::written::{Origin, written};
use numpack_format::journal::Content;

/// One change of a transaction, checked against the state when it is committed.
#[derive(Debug)]
pub(crate) enum Change<'a> {
    Put {
        name: ArrayName,
        meta: ArrayMeta,
        content: Content,
        staged: Staged,
    },
    Append {
        name: ArrayName,
        meta: ArrayMeta,
        rows: Rows<'a>,
    },
    Replace {
        name: ArrayName,
        selection: Selection,
        meta: ArrayMeta,
        rows: &'a [u8],
    },
    /// `runs` are live rows of `base`; `rows` is the whole array.
    Update {
        base: ArraySnapshot,
        runs: Vec<(u64, u64)>,
        rows: &'a [u8],
    },
    DeleteRows {
        name: ArrayName,
        selection: Selection,
    },
    ClearRows {
        name: ArrayName,
    },
    Drop {
        name: ArrayName,
    },
    DropAll,
    Rename {
        from: ArrayName,
        to: ArrayName,
    },
    Copy {
        from: ArrayName,
        to: ArrayName,
    },
    Compact {
        name: ArrayName,
    },
    /// Nothing, if there is no array of this name.
    Absent {
        name: ArrayName,
    },
    /// Of an array, or of the store.
    Attrs {
        name: Option<ArrayName>,
        attrs: Attrs,
    },
}

/// Rows that are read when the transaction is committed. Borrowed, so that dropping a transaction
/// looks at nothing that may be gone before it.
pub(crate) enum Rows<'a> {
    Bytes(&'a [u8]),
    Pieces(&'a mut (dyn RowSource + Send)),
}

impl RowSource for Rows<'_> {
    fn write_to(&mut self, sink: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        match self {
            Self::Bytes(bytes) => sink(bytes),
            Self::Pieces(pieces) => pieces.write_to(sink),
        }
    }
}

impl fmt::Debug for Rows<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rows")
    }
}

impl Change<'_> {
    /// The array whose rows it replaces.
    pub(crate) fn replaced(&self) -> Option<&str> {
        match self {
            Change::Replace { name, .. } => Some(name.as_str()),
            Change::Update { base, .. } => Some(base.name().as_str()),
            _ => None,
        }
    }
}

/// Changes to a store that are committed together. Dropping a transaction gives them up.
///
/// Rows of new arrays are written when they are put, everything else when the transaction is
/// committed; the state it is checked against is the one at that moment.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// use numpack_engine::{Options, Selection, Store};
/// use numpack_format::{ArrayMeta, DType};
/// let store = Store::open(&dir.path().join("s.npk"), &Options::default())?;
/// let meta = ArrayMeta::new(DType::UInt8, &[3, 2])?;
/// let mut transaction = store.begin()?;
/// transaction.put("a", &meta, &mut &[1, 2, 3, 4, 5, 6][..])?;
/// transaction.delete_rows("a", Selection::Row(-1))?;
/// transaction.commit()?;
/// assert_eq!(store.array("a")?.shape(), [2, 2]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "a transaction that is not committed changes nothing"]
pub struct Transaction<'a> {
    store: &'a Store,
    base: Option<Snapshot>,
    changes: Vec<Change<'a>>,
}

impl<'a> Transaction<'a> {
    pub(crate) fn new(store: &'a Store, base: Option<Snapshot>) -> Self {
        Self {
            store,
            base,
            changes: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, change: Change<'a>) {
        self.changes.push(change);
    }

    /// Saves an array, new or in the place of an old one. The rows are written to a new file now,
    /// which becomes the array's at commit.
    ///
    /// # Errors
    /// A bad name, rows that are not as long as `meta` says, or a failed write.
    pub fn put(&mut self, name: &str, meta: &ArrayMeta, rows: &mut dyn RowSource) -> Result<()> {
        let name = ArrayName::new(name)?;
        let mut staged = Staged::create_unlocked(&*self.store.shared()?, self.store.options())?;
        let hash = staged.fill(name.as_str(), rows, meta.byte_len())?;
        let content = Content::Hashed(hash);
        self.changes.push(Change::Put {
            name,
            meta: meta.clone(),
            content,
            staged,
        });
        Ok(())
    }

    /// Saves an array of zeros, which takes no space on disk until it is written.
    ///
    /// # Errors
    /// A bad name, or a file that cannot be made.
    pub fn create(&mut self, name: &str, meta: &ArrayMeta) -> Result<()> {
        let name = ArrayName::new(name)?;
        let mut staged = Staged::empty(&*self.store.shared()?)?;
        staged.zeros(meta.byte_len())?;
        self.changes.push(Change::Put {
            name,
            meta: meta.clone(),
            content: Content::Zeros,
            staged,
        });
        Ok(())
    }

    /// Adds rows at the end of an array; `meta` describes the rows as an array of their own.
    ///
    /// # Errors
    /// A bad name, or rows that are not as long as `meta` says. The rest is checked at commit.
    pub fn append(&mut self, name: &str, meta: &ArrayMeta, rows: &'a [u8]) -> Result<()> {
        let name = ArrayName::new(name)?;
        check_bytes(&name, meta, rows)?;
        self.changes.push(Change::Append {
            name,
            meta: meta.clone(),
            rows: Rows::Bytes(rows),
        });
        Ok(())
    }

    /// As [`append`](Self::append), with rows that come in pieces and need not be in memory all at
    /// once. They are asked for at commit, under the writer lock.
    ///
    /// # Errors
    /// A bad name. The rest is checked at commit, also that the rows are as long as `meta` says.
    pub fn append_from(
        &mut self,
        name: &str,
        meta: &ArrayMeta,
        rows: &'a mut (dyn RowSource + Send),
    ) -> Result<()> {
        self.changes.push(Change::Append {
            name: ArrayName::new(name)?,
            meta: meta.clone(),
            rows: Rows::Pieces(rows),
        });
        Ok(())
    }

    /// Writes new values over rows; where a row is selected twice, the last value stays. The number
    /// of rows given must be the number selected; for [`Selection::Row`], the row alone will do.
    ///
    /// # Errors
    /// A bad name, or rows that are not as long as `meta` says. The rest is checked at commit.
    pub fn replace(
        &mut self,
        name: &str,
        selection: Selection,
        meta: &ArrayMeta,
        rows: &'a [u8],
    ) -> Result<()> {
        let name = ArrayName::new(name)?;
        check_bytes(&name, meta, rows)?;
        self.changes.push(Change::Replace {
            name,
            selection,
            meta: meta.clone(),
            rows,
        });
        Ok(())
    }

    /// Writes the rows in which `bytes`, the whole array, differ from `base`; none of them when
    /// nothing differs. The commit fails when the array is no longer as in `base`.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for bytes of another length than the array's.
    pub fn update(&mut self, base: &ArraySnapshot, bytes: &'a [u8]) -> Result<()> {
        if bytes.len() != base.byte_len() {
            return Err(Error::InvalidArgument(format!(
                "array \"{}\": {} bytes given for {} bytes of rows",
                base.name(),
                bytes.len(),
                base.byte_len()
            )));
        }
        let runs = differing_rows(base, bytes)?;
        self.changes.push(Change::Update {
            base: base.clone(),
            runs,
            rows: bytes,
        });
        Ok(())
    }

    /// Deletes rows; those that stay keep their order. Selecting all rows removes the array,
    /// selecting none changes nothing.
    ///
    /// # Errors
    /// A bad name. The rest is checked at commit.
    pub fn delete_rows(&mut self, name: &str, selection: Selection) -> Result<()> {
        self.changes.push(Change::DeleteRows {
            name: ArrayName::new(name)?,
            selection,
        });
        Ok(())
    }

    /// Removes all rows and keeps the array.
    ///
    /// # Errors
    /// A bad name. The rest is checked at commit.
    pub fn clear_rows(&mut self, name: &str) -> Result<()> {
        self.changes.push(Change::ClearRows {
            name: ArrayName::new(name)?,
        });
        Ok(())
    }

    /// Removes an array; one that is not there is fine.
    ///
    /// # Errors
    /// A bad name.
    pub fn drop_array(&mut self, name: &str) -> Result<()> {
        self.changes.push(Change::Drop {
            name: ArrayName::new(name)?,
        });
        Ok(())
    }

    /// Removes all arrays; the attributes of the store stay.
    ///
    /// # Errors
    /// None yet.
    pub fn drop_all(&mut self) -> Result<()> {
        self.changes.push(Change::DropAll);
        Ok(())
    }

    /// Gives an array another name; it keeps its place among the others.
    ///
    /// # Errors
    /// A bad name. The rest is checked at commit.
    pub fn rename(&mut self, from: &str, to: &str) -> Result<()> {
        self.changes.push(Change::Rename {
            from: ArrayName::new(from)?,
            to: ArrayName::new(to)?,
        });
        Ok(())
    }

    /// Saves a copy of an array's live rows under a new name.
    ///
    /// # Errors
    /// A bad name. The rest is checked at commit.
    pub fn copy_array(&mut self, from: &str, to: &str) -> Result<()> {
        self.changes.push(Change::Copy {
            from: ArrayName::new(from)?,
            to: ArrayName::new(to)?,
        });
        Ok(())
    }

    /// Changes nothing, but has the commit fail when there is an array of this name at this point.
    ///
    /// # Errors
    /// A bad name. The rest is checked at commit.
    pub fn require_absent(&mut self, name: &str) -> Result<()> {
        self.changes.push(Change::Absent {
            name: ArrayName::new(name)?,
        });
        Ok(())
    }

    /// Writes an array anew without its deleted rows, in one file.
    ///
    /// # Errors
    /// A bad name. The rest is checked at commit.
    pub fn compact(&mut self, name: &str) -> Result<()> {
        self.changes.push(Change::Compact {
            name: ArrayName::new(name)?,
        });
        Ok(())
    }

    /// Commits with the durability of the store's options; gives the number of the commit.
    ///
    /// # Errors
    /// Whatever is wrong with one of the changes, [`Error::Conflict`], [`Error::Busy`], or a failed
    /// write; nothing has changed then.
    pub fn commit(self) -> Result<u64> {
        let durability = self.store.options().durability;
        self.commit_with(durability)
    }

    /// Commits with another durability.
    ///
    /// # Errors
    /// As for [`commit`](Self::commit).
    pub fn commit_with(self, durability: Durability) -> Result<u64> {
        crate::commit::commit(self.store, self.base.as_ref(), self.changes, durability)
    }
}

fn check_bytes(name: &ArrayName, meta: &ArrayMeta, rows: &[u8]) -> Result<()> {
    if rows.len() as u64 == meta.byte_len() {
        return Ok(());
    }
    Err(Error::InvalidArgument(format!(
        "array \"{name}\": {} bytes given for rows of shape {}, which are {}",
        rows.len(),
        meta.shape,
        meta.byte_len()
    )))
}

/// The live rows of `base` in which `bytes` differ, as runs.
fn differing_rows(base: &ArraySnapshot, bytes: &[u8]) -> Result<Vec<(u64, u64)>> {
    let row_bytes = base.row_bytes();
    if row_bytes == 0 {
        return Ok(Vec::new());
    }
    if let [run] = base.runs()
        && let Some(written) = written_rows(base, run.start, bytes)
    {
        return differing_among(base, run.start, bytes, written);
    }
    let mut runs: Vec<(u64, u64)> = Vec::new();
    let mut first = 0_u64;
    for run in base.runs() {
        let old = base.view(run.range())?;
        let start = usize::try_from(first).unwrap_or(usize::MAX) * row_bytes;
        let new = &bytes[start..start + old.len()];
        differing(&old, new, row_bytes, first, &mut runs);
        first += run.len;
    }
    Ok(runs)
}

/// Adds the rows in which `new` differs from `old`, counted from `first` on.
fn differing(old: &[u8], new: &[u8], row_bytes: usize, first: u64, runs: &mut Vec<(u64, u64)>) {
    for (row, len) in numpack_kernels::diff_rows(old, new, row_bytes) {
        add_run(runs, first + row, len);
    }
}

/// The only rows of `bytes` that may differ from `base`, where `bytes` are a private map of its file; they
/// begin at physical row `first`.
fn written_rows(base: &ArraySnapshot, first: u64, bytes: &[u8]) -> Option<Vec<Range<u64>>> {
    let row_bytes = base.row_bytes();
    let origin = Origin {
        generation: base.state().generation,
        patched: base.state().overlay.lsn(),
    };
    let offset = usize::try_from(first).ok()?.checked_mul(row_bytes)?;
    let mut rows: Vec<Range<u64>> = Vec::new();
    for pages in written(bytes, offset, origin)? {
        let (start, end) = (pages.start / row_bytes, pages.end.div_ceil(row_bytes));
        match rows.last_mut() {
            Some(last) if last.end >= start as u64 => last.end = last.end.max(end as u64),
            _ => rows.push(start as u64..end as u64),
        }
    }
    Some(rows)
}

fn differing_among(
    base: &ArraySnapshot,
    first: u64,
    bytes: &[u8],
    among: Vec<Range<u64>>,
) -> Result<Vec<(u64, u64)>> {
    let row_bytes = base.row_bytes();
    let mut runs = Vec::new();
    for rows in among {
        let old = base.view(first + rows.start..first + rows.end)?;
        let start = usize::try_from(rows.start).unwrap_or(usize::MAX) * row_bytes;
        let new = &bytes[start..start + old.len()];
        differing(&old, new, row_bytes, rows.start, &mut runs);
    }
    Ok(runs)
}
