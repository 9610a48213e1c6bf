//! Snapshots: arrays as they were at one moment, whatever is committed afterwards.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use numpack_format::{ArrayName, DType};

use crate::deletions::Run;
use crate::error::{Error, Result};
use crate::memory::OwnedBuffer;
use crate::options::Options;
use crate::pin::Pin;
use crate::selection::{RowSet, Selection};
use crate::shared::Shared;
use crate::state::ArrayState;
use crate::view::{Private, PrivateMap, View};

/// Several arrays at one moment. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Snapshot {
    arrays: Arc<[ArraySnapshot]>,
    lsn: u64,
}

impl Snapshot {
    pub(crate) fn new(arrays: Vec<ArraySnapshot>, lsn: u64) -> Self {
        Self {
            arrays: arrays.into(),
            lsn,
        }
    }

    /// The array of this name, if it is part of the snapshot.
    pub fn get(&self, name: &str) -> Option<&ArraySnapshot> {
        self.arrays
            .iter()
            .find(|array| array.name().as_str() == name)
    }

    /// The arrays, in the order asked for, or in member order.
    pub fn arrays(&self) -> &[ArraySnapshot] {
        &self.arrays
    }

    /// The number of the last commit that is part of this snapshot; 0 for one put together from
    /// several.
    pub fn lsn(&self) -> u64 {
        self.lsn
    }
}

/// Puts snapshots of single arrays together, as a base for
/// [`Store::begin_at`](crate::Store::begin_at): they need not be of one moment.
impl FromIterator<ArraySnapshot> for Snapshot {
    fn from_iter<I: IntoIterator<Item = ArraySnapshot>>(arrays: I) -> Self {
        Self {
            arrays: arrays.into_iter().collect(),
            lsn: 0,
        }
    }
}

/// One array at one moment: immutable, and readable after anything that happens to the store.
/// Cheap to clone.
#[derive(Clone, Debug)]
pub struct ArraySnapshot(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: Arc<ArrayState>,
    /// The files with the physical rows in each; none when there is no byte.
    pins: Vec<(Run, Arc<Pin>)>,
    runs: OnceLock<Vec<Run>>,
    shared: Arc<Shared>,
    options: Options,
}

impl ArraySnapshot {
    pub(crate) fn new(
        state: Arc<ArrayState>,
        pins: Vec<(Run, Arc<Pin>)>,
        shared: Arc<Shared>,
        options: Options,
    ) -> Self {
        Self(Arc::new(Inner {
            state,
            pins,
            runs: OnceLock::new(),
            shared,
            options,
        }))
    }

    pub(crate) fn state(&self) -> &Arc<ArrayState> {
        &self.0.state
    }

    /// The array's name.
    pub fn name(&self) -> &ArrayName {
        &self.0.state.name
    }

    /// The type of its elements.
    pub fn dtype(&self) -> DType {
        self.0.state.meta.dtype
    }

    /// Its shape, deleted rows not counted.
    pub fn shape(&self) -> Vec<u64> {
        let mut dims = self.0.state.meta.shape.dims().to_vec();
        if let Some(rows) = dims.first_mut() {
            *rows = self.0.state.live_rows();
        }
        dims
    }

    /// The shape of a row.
    pub fn row_dims(&self) -> &[u64] {
        self.0.state.meta.shape.row_dims()
    }

    /// The number of axes.
    pub fn ndim(&self) -> usize {
        self.0.state.meta.shape.ndim()
    }

    /// Live rows; 1 for a 0-d array.
    pub fn rows(&self) -> u64 {
        self.0.state.live_rows()
    }

    /// Rows in the file, deleted ones included.
    pub fn physical_rows(&self) -> u64 {
        self.0.state.physical_rows()
    }

    /// Deleted rows.
    pub fn deleted(&self) -> u64 {
        self.0.state.deleted()
    }

    /// Bytes of a row.
    pub fn row_bytes(&self) -> usize {
        usize::try_from(self.0.state.meta.row_bytes()).unwrap_or(usize::MAX)
    }

    /// Bytes of all live rows.
    pub fn byte_len(&self) -> usize {
        self.row_bytes()
            .saturating_mul(usize::try_from(self.rows()).unwrap_or(usize::MAX))
    }

    /// When the array was last saved, appended to or compacted; microseconds since 1970.
    pub fn modified_us(&self) -> u64 {
        self.0.state.modified_us
    }

    /// A number that every commit to the array changes.
    pub fn version(&self) -> u64 {
        self.0.state.version()
    }

    /// The live rows as runs of physical rows that lie in one piece of memory each.
    pub fn runs(&self) -> &[Run] {
        self.0.runs.get_or_init(|| {
            let all = [Run {
                start: 0,
                len: self.physical_rows(),
            }];
            let live = match &self.0.state.deletions {
                Some(deletions) => deletions.runs(),
                None => all.into_iter().filter(|run| run.len > 0).collect(),
            };
            if self.0.pins.len() < 2 {
                live
            } else {
                cut(&live, &self.0.pins)
            }
        })
    }

    /// Whether all live rows lie in one piece.
    pub fn is_contiguous(&self) -> bool {
        self.runs().len() <= 1
    }

    /// Physical `rows` of one of the [`runs`](Self::runs), without a copy.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for rows that are not in one file of the array.
    pub fn view(&self, rows: Range<u64>) -> Result<View> {
        let row_bytes = self.row_bytes();
        if rows.is_empty() || row_bytes == 0 {
            return Ok(View::empty());
        }
        let home = self
            .0
            .pins
            .iter()
            .find(|(run, _)| run.start <= rows.start && rows.end <= run.start + run.len);
        let Some((run, pin)) = home else {
            return Err(Error::InvalidArgument(format!(
                "array \"{}\": physical rows {}..{} do not lie in one file",
                self.name(),
                rows.start,
                rows.end
            )));
        };
        let bytes = |rows: u64| {
            usize::try_from(rows)
                .unwrap_or(usize::MAX)
                .saturating_mul(row_bytes)
        };
        let start = bytes(rows.start - run.start);
        Ok(View {
            pin: Some(Arc::clone(pin)),
            start,
            len: bytes(rows.end - rows.start),
        })
    }

    /// All live rows without a copy.
    ///
    /// # Errors
    /// [`Error::NotContiguous`] when deleted rows or several files cut them into pieces.
    pub fn contiguous(&self) -> Result<View> {
        match self.runs() {
            [] => Ok(View::empty()),
            [run] => self.view(run.range()),
            runs => Err(Error::NotContiguous {
                name: self.name().to_string(),
                deleted: self.deleted(),
                runs: runs.len(),
            }),
        }
    }

    /// The physical rows of these live rows.
    ///
    /// # Errors
    /// [`Error::OutOfBounds`] for a row that is not there.
    pub fn physical_rows_of(&self, logical: &[u64]) -> Result<Vec<u64>> {
        let rows = self.rows();
        if let Some(&row) = logical.iter().find(|&&row| row >= rows) {
            let index = i64::try_from(row).unwrap_or(i64::MAX);
            return Err(Error::OutOfBounds {
                name: self.name().to_string(),
                index,
                rows,
            });
        }
        Ok(match &self.0.state.deletions {
            Some(deletions) => logical.iter().map(|&row| deletions.physical(row)).collect(),
            None => logical.to_vec(),
        })
    }

    /// Copies the selected rows to `out`, which has room for exactly these.
    ///
    /// # Errors
    /// Those of [`Selection::resolve`], [`Error::ZeroDimensional`], and [`Error::InvalidArgument`]
    /// for an `out` of another length.
    pub fn gather(&self, selection: &Selection, out: &mut [u8]) -> Result<()> {
        if self.ndim() == 0 {
            return Err(Error::ZeroDimensional {
                name: self.name().to_string(),
            });
        }
        match selection.resolve(self.rows(), self.name().as_str())? {
            RowSet::Range { start, len } => self.read_range(start..start + len, out),
            RowSet::List(rows) => self.gather_rows(&rows, out),
        }
    }

    /// Copies these live rows, in any order and with repetitions, to `out`.
    ///
    /// # Errors
    /// [`Error::OutOfBounds`]; [`Error::InvalidArgument`] for an `out` of another length.
    pub fn gather_rows(&self, logical: &[u64], out: &mut [u8]) -> Result<()> {
        self.check_out(logical.len() as u64, out)?;
        let translated;
        let physical = if self.0.state.deletions.is_some() || self.0.pins.len() > 1 {
            translated = self.physical_rows_of(logical)?;
            &translated
        } else {
            logical
        };
        let row_bytes = self.row_bytes();
        if row_bytes == 0 || physical.is_empty() {
            self.physical_rows_of(logical)?;
            return Ok(());
        }
        if let [(run, pin)] = self.0.pins.as_slice() {
            // A pin may map rows that were appended after this snapshot.
            let len = usize::try_from(run.len).unwrap_or(usize::MAX) * row_bytes;
            return numpack_kernels::gather_rows(&pin.bytes()[..len], row_bytes, physical, out)
                .map_err(|error| {
                    let index = i64::try_from(error.row).unwrap_or(i64::MAX);
                    Error::OutOfBounds {
                        name: self.name().to_string(),
                        index,
                        rows: self.rows(),
                    }
                });
        }
        for (&row, out) in physical.iter().zip(out.chunks_exact_mut(row_bytes)) {
            out.copy_from_slice(&self.view(row..row + 1)?);
        }
        Ok(())
    }

    /// Copies the live rows `logical` to `out`.
    ///
    /// # Errors
    /// [`Error::OutOfBounds`]; [`Error::InvalidArgument`] for an `out` of another length.
    pub fn read_range(&self, logical: Range<u64>, out: &mut [u8]) -> Result<()> {
        let rows = self.rows();
        if logical.end > rows || logical.start > logical.end {
            let index = i64::try_from(logical.end).unwrap_or(i64::MAX);
            return Err(Error::OutOfBounds {
                name: self.name().to_string(),
                index,
                rows,
            });
        }
        self.check_out(logical.end - logical.start, out)?;
        let mut out = out;
        let mut skip = logical.start;
        let mut left = logical.end - logical.start;
        for run in self.runs() {
            if left == 0 {
                break;
            }
            if skip >= run.len {
                skip -= run.len;
                continue;
            }
            let take = (run.len - skip).min(left);
            let view = self.view(run.start + skip..run.start + skip + take)?;
            let (piece, rest) = out.split_at_mut(view.len());
            copy(&view, piece);
            out = rest;
            skip = 0;
            left -= take;
        }
        Ok(())
    }

    /// Copies all live rows to `out`.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for an `out` of another length.
    pub fn read_all(&self, out: &mut [u8]) -> Result<()> {
        self.read_range(0..self.rows(), out)
    }

    /// All live rows as writable memory of the caller's own. Pages are copied when they are written;
    /// until then they are the file's.
    ///
    /// # Errors
    /// As for [`contiguous`](Self::contiguous).
    pub fn private(&self) -> Result<PrivateMap> {
        let view = self.contiguous()?;
        if view.is_empty() {
            return Ok(PrivateMap {
                memory: Private::Owned(OwnedBuffer::new(0)?),
                start: 0,
                len: 0,
            });
        }
        if self.0.pins.len() == 1
            && matches!(
                self.0.state.location,
                crate::state::Location::Own | crate::state::Location::Generation
            )
        {
            match self.0.shared.pin_private(&self.0.state, &self.0.options) {
                Ok(pin) => {
                    return Ok(PrivateMap {
                        memory: Private::Mapped(pin),
                        start: view.start,
                        len: view.len,
                    });
                }
                // Another generation has taken its place; the pinned bytes are still here.
                Err(error) if error.is_missing_file() => {}
                Err(error) => return Err(error),
            }
        }
        let mut owned = OwnedBuffer::new(view.len())?;
        copy(&view, owned.as_mut());
        Ok(PrivateMap {
            memory: Private::Owned(owned),
            start: 0,
            len: view.len(),
        })
    }

    fn check_out(&self, rows: u64, out: &[u8]) -> Result<()> {
        let expected = usize::try_from(rows)
            .unwrap_or(usize::MAX)
            .saturating_mul(self.row_bytes());
        if out.len() == expected {
            return Ok(());
        }
        Err(Error::InvalidArgument(format!(
            "array \"{}\": room for {} bytes given, {rows} rows are {expected}",
            self.name(),
            out.len()
        )))
    }
}

/// Cuts runs at the borders of files.
fn cut(runs: &[Run], pins: &[(Run, Arc<Pin>)]) -> Vec<Run> {
    let mut pieces = Vec::new();
    for run in runs {
        for (file, _) in pins {
            let start = run.start.max(file.start);
            let end = (run.start + run.len).min(file.start + file.len);
            if start < end {
                pieces.push(Run {
                    start,
                    len: end - start,
                });
            }
        }
    }
    pieces
}

/// From here on two threads copy faster than one.
const PARALLEL: usize = 4 << 20;

fn copy(from: &[u8], to: &mut [u8]) {
    if from.len() < PARALLEL {
        to.copy_from_slice(from);
        return;
    }
    let half = (from.len() / 2).next_multiple_of(4096);
    let (from_low, from_high) = from.split_at(half);
    let (to_low, to_high) = to.split_at_mut(half);
    let spawned = std::thread::scope(|scope| {
        let high = || to_high.copy_from_slice(from_high);
        let thread = std::thread::Builder::new().spawn_scoped(scope, high);
        to_low.copy_from_slice(from_low);
        thread.is_ok()
    });
    if !spawned {
        to_high.copy_from_slice(from_high);
    }
}
