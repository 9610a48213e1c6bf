//! Snapshots: arrays as they were at one moment, whatever is committed afterwards.

use std::hash::{Hash, Hasher};
use std::ops::Range;
use std::sync::{Arc, OnceLock, Weak};

use numpack_format::{ArrayName, DType};

use crate::acquire::{Moment, PinnedFiles};
use crate::deletions::Run;
use crate::error::{Error, Result};
use crate::fs::File;
use crate::pin::Pin;
use crate::shared::Shared;
use crate::state::ArrayState;
use crate::view::View;

/// Several arrays at one moment. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Snapshot {
    arrays: Arc<[ArraySnapshot]>,
    moment: Moment,
}

impl Snapshot {
    pub(crate) fn new(arrays: Vec<ArraySnapshot>, moment: Moment) -> Self {
        Self {
            arrays: arrays.into(),
            moment,
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
        self.moment.lsn
    }

    pub(crate) fn moment(&self) -> &Moment {
        &self.moment
    }
}

/// Puts snapshots of single arrays together, as a base for
/// [`Store::begin_at`](crate::Store::begin_at): they need not be of one moment.
impl FromIterator<ArraySnapshot> for Snapshot {
    fn from_iter<I: IntoIterator<Item = ArraySnapshot>>(arrays: I) -> Self {
        Self {
            arrays: arrays.into_iter().collect(),
            moment: Moment::default(),
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
    pins: PinnedFiles,
    /// The only file with the rows that wait in the journal in their places.
    patched: OnceLock<Arc<Pin>>,
    runs: OnceLock<Vec<Run>>,
    shared: Arc<Shared>,
}

impl ArraySnapshot {
    pub(crate) fn new(state: Arc<ArrayState>, pins: PinnedFiles, shared: Arc<Shared>) -> Self {
        Self(Arc::new(Inner {
            state,
            pins,
            patched: OnceLock::new(),
            runs: OnceLock::new(),
            shared,
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

    /// What tells these rows from those of any other array, store or moment, within this process.
    pub fn identity(&self) -> RowsIdentity {
        RowsIdentity(Arc::downgrade(&self.0.state))
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
        if self.0.state.overlay.touches(rows.clone()) {
            return self.view_of(rows, Some(self.patched()?));
        }
        self.view_of(rows, None)
    }

    /// As [`view`](Self::view), without the rows that wait in the journal.
    pub(crate) fn view_unpatched(&self, rows: Range<u64>) -> Result<View> {
        self.view_of(rows, None)
    }

    fn view_of(&self, rows: Range<u64>, patched: Option<&Arc<Pin>>) -> Result<View> {
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
            pin: Some(Arc::clone(patched.unwrap_or(pin))),
            start,
            len: bytes(rows.end - rows.start),
        })
    }

    /// The only file with every row in its place.
    fn patched(&self) -> Result<&Arc<Pin>> {
        if let Some(pin) = self.0.patched.get() {
            return Ok(pin);
        }
        let pin = match self.pins() {
            [(_, base)] => self.0.shared.patched(&self.0.state, base)?,
            // Rows wait for arrays of one file only.
            _ => return Err(Error::not_found(self.name().as_str())),
        };
        Ok(self.0.patched.get_or_init(|| pin))
    }

    pub(crate) fn pins(&self) -> &[(Run, Arc<Pin>)] {
        &self.0.pins
    }

    /// The open file, if it holds these rows and nothing but them from its beginning.
    pub(crate) fn whole_file(&self) -> Option<Arc<dyn File>> {
        let state = &self.0.state;
        match self.pins() {
            [(_, pin)] if state.overlay.is_empty() && state.deleted() == 0 => {
                self.0.shared.same_inode_of(state, pin)
            }
            _ => None,
        }
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.0.shared
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
}

/// Rows as they were at one moment: equal only to itself, so that what was found out about the rows
/// holds for all snapshots with an equal one. Unequal ones may still hold the same rows.
///
/// It keeps nothing alive. A state is changed by making another one, and the memory of this one is not
/// used again as long as an identity names it.
#[derive(Clone, Debug)]
pub struct RowsIdentity(Weak<ArrayState>);

impl RowsIdentity {
    /// Whether no snapshot can have these rows any more.
    pub fn is_gone(&self) -> bool {
        self.0.strong_count() == 0
    }
}

impl PartialEq for RowsIdentity {
    fn eq(&self, other: &Self) -> bool {
        self.0.ptr_eq(&other.0)
    }
}

impl Eq for RowsIdentity {}

impl Hash for RowsIdentity {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.as_ptr().hash(state);
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
