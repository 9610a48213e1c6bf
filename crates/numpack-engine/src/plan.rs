//! Turning the changes of a transaction into journal records, under the writer lock.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use numpack_format::journal::{Append, Content, DeleteRows, Frame, Kept, Put, Record};
use numpack_format::{ArrayMeta, ArrayName, BlockHasher};
use parking_lot::RwLockReadGuard;

use crate::error::{Error, Result};
use crate::options::Options;
use crate::selection::{RowSet, Selection};
use crate::snapshot::ArraySnapshot;
use crate::staging::{Head, RowSource, Staged, write_hashed};
use crate::state::{ArrayState, Location, State, check_deletable, row_shape};
use crate::transaction::Change;
use crate::writer::WriteGuard;

pub(crate) fn now_us() -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(now.as_micros()).unwrap_or(u64::MAX)
}

/// Most runs of rows that are deleted in place: readers wait meanwhile.
const IN_PLACE: usize = 4096;

/// What a transaction is going to write.
pub(crate) struct Plan<'g, 'a> {
    pub(crate) guard: &'g mut WriteGuard<'a>,
    pub(crate) options: &'g Options,
    /// The arrays that were looked at, as the records so far leave them.
    pub(crate) scratch: State,
    looked_at: HashSet<ArrayName>,
    pub(crate) records: Vec<Record>,
    pub(crate) staged: Vec<Staged>,
    /// Arrays whose generation is given up.
    pub(crate) replaced: Vec<Arc<ArrayState>>,
    /// Whether there is one change only: nothing looks at the arrays as it leaves them.
    alone: bool,
    first_lsn: u64,
}

impl<'g, 'a> Plan<'g, 'a> {
    pub(crate) fn new(guard: &'g mut WriteGuard<'a>, options: &'g Options, alone: bool) -> Self {
        let state = guard.shared.state.read();
        let (first_lsn, attrs) = (state.lsn + 1, state.attrs.clone());
        drop(state);
        let scratch = State {
            attrs,
            ..State::default()
        };
        Self {
            guard,
            options,
            scratch,
            looked_at: HashSet::new(),
            records: Vec::new(),
            staged: Vec::new(),
            replaced: Vec::new(),
            alone,
            first_lsn,
        }
    }

    /// The store as it is without this transaction.
    pub(crate) fn committed(&self) -> RwLockReadGuard<'_, State> {
        self.guard.shared.state.read()
    }

    fn find(&mut self, name: &ArrayName) -> Option<Arc<ArrayState>> {
        if self.looked_at.insert(name.clone())
            && let Some(array) = self.guard.shared.state.read().get(name.as_str())
        {
            self.scratch.arrays.insert(name.clone(), Arc::clone(array));
        }
        self.scratch.get(name.as_str()).cloned()
    }

    pub(crate) fn get(&mut self, name: &ArrayName) -> Result<Arc<ArrayState>> {
        self.find(name)
            .ok_or_else(|| Error::not_found(name.as_str()))
    }

    /// The array, which must have rows to select.
    fn get_rows(&mut self, name: &ArrayName) -> Result<Arc<ArrayState>> {
        let array = self.get(name)?;
        if array.meta.shape.ndim() == 0 {
            return Err(Error::ZeroDimensional {
                name: name.to_string(),
            });
        }
        Ok(array)
    }

    pub(crate) fn record(&mut self, record: Record) -> Result<()> {
        let lsn = self.first_lsn + self.records.len() as u64;
        let frame = Frame {
            lsn,
            epoch: 0,
            more: false,
            record,
        };
        self.scratch.apply(&frame).map_err(Error::InvalidArgument)?;
        self.records.push(frame.record);
        Ok(())
    }

    pub(crate) fn add(&mut self, change: Change<'_>) -> Result<()> {
        match change {
            Change::Put {
                name,
                meta,
                content,
                staged,
            } => {
                self.find(&name);
                self.put(name, meta, content, staged, Kept::Nothing)
            }
            Change::Append {
                name,
                meta,
                mut rows,
            } => self.append(&name, &meta, &mut rows),
            Change::Replace {
                name,
                selection,
                meta,
                rows,
            } => self.replace(&name, &selection, &meta, rows),
            Change::Update { base, runs, rows } => self.update(&base, &runs, rows),
            Change::DeleteRows { name, selection } => self.delete_rows(&name, &selection),
            Change::ClearRows { name } => {
                let array = self.get_rows(&name)?;
                let shape = array.meta.shape.with_rows(0, array.meta.dtype)?;
                let staged = Staged::empty(self.guard.shared)?;
                self.put(
                    name,
                    ArrayMeta {
                        dtype: array.meta.dtype,
                        shape,
                    },
                    Content::Zeros,
                    staged,
                    Kept::Nothing,
                )
            }
            Change::Drop { name } => {
                if let Some(array) = self.find(&name) {
                    self.replaced.push(array);
                    self.record(Record::Drop { name })?;
                }
                Ok(())
            }
            Change::DropAll => self.drop_all(),
            Change::Absent { name } => self.refuse_existing(&name),
            Change::Attrs { name, attrs } => self.set_attrs(name, attrs),
            Change::Rename { from, to } => self.rename(from, to),
            Change::Copy { from, to } => {
                let array = self.get(&from)?;
                self.refuse_existing(&to)?;
                self.rewrite_live(&array, to.clone())?;
                self.set_attrs(Some(to), array.attrs.clone())
            }
            Change::Compact { name } => {
                let array = self.get(&name)?;
                let single = !matches!(array.location, Location::Segments(_));
                if array.deleted() == 0 && single {
                    Ok(())
                } else {
                    self.rewrite_live(&array, name)
                }
            }
        }
    }

    pub(crate) fn put(
        &mut self,
        name: ArrayName,
        meta: ArrayMeta,
        content: Content,
        staged: Staged,
        kept: Kept,
    ) -> Result<()> {
        self.replaced
            .extend(self.scratch.get(name.as_str()).cloned());
        let generation = self.stage(staged)?;
        let modified_us = now_us();
        self.record(Record::Put(Put {
            name,
            meta,
            generation,
            modified_us,
            content,
            kept,
        }))
    }

    fn append(
        &mut self,
        name: &ArrayName,
        meta: &ArrayMeta,
        rows: &mut dyn RowSource,
    ) -> Result<()> {
        let mut array = self.get_rows(name)?;
        check_rows(&array, meta)?;
        let count = meta.shape.rows();
        if count == 0 {
            return Ok(());
        }
        if matches!(array.location, Location::Segments(_)) {
            self.rewrite(&array, &[], &[])?;
            array = self.get(name)?;
        }
        let start_row = array.physical_rows();
        // The state after this change must be one that the format can describe.
        array.meta.shape.with_rows(
            start_row
                .checked_add(count)
                .ok_or_else(|| too_large(name))?,
            array.meta.dtype,
        )?;
        let offset = array.meta.byte_len();
        let expected = meta.byte_len();
        let mut hasher = BlockHasher::keeping(offset, expected);
        let mut written = None;
        if expected > 0 {
            let file = self.guard.data_file(&array)?;
            let own = name.data_file();
            let found = file
                .stat()
                .map_err(|source| self.guard.io("stat", &own, source))?
                .len;
            if found < offset {
                return Err(Error::DataFileTooShort {
                    name: name.to_string(),
                    expected: offset,
                    found,
                });
            }
            let mut given = 0;
            let mut head = Head::new(offset);
            rows.write_to(&mut |piece| {
                let at = given;
                given += piece.len() as u64;
                if given > expected {
                    return Err(unequal(name, "more", expected));
                }
                head.add(piece);
                write_hashed(&*file, piece, offset + at, &mut |piece| {
                    hasher.update(piece);
                })
                .map_err(|source| self.guard.io("append to", &own, source))
            })?;
            if given < expected {
                return Err(unequal(name, "fewer", expected));
            }
            written = Some((file, head));
        }
        let (hash, blocks, tail) = hasher.finish_kept();
        if let Some((file, head)) = written {
            let dir = &*self.guard.shared.dir;
            if let Some(sums) = self.guard.writer.sums.grow(dir, &array, &*file) {
                sums.grow(offset, &head.bytes, expected, (blocks, tail), &*file);
            }
        }
        self.record(Record::Append(Append {
            name: name.clone(),
            generation: array.generation,
            start_row,
            rows: count,
            modified_us: now_us(),
            hash,
        }))
    }

    fn replace(
        &mut self,
        name: &ArrayName,
        selection: &Selection,
        meta: &ArrayMeta,
        rows: &[u8],
    ) -> Result<()> {
        let array = self.get_rows(name)?;
        let selected = selection.resolve(array.live_rows(), name.as_str())?;
        let given = if meta.shape.dims() == array.meta.shape.row_dims()
            && matches!(selection, Selection::Row(_))
        {
            check_dtype(&array, meta)?;
            1
        } else {
            check_rows(&array, meta)?;
            meta.shape.rows()
        };
        if given != selected.len() {
            let expected = selected.len();
            return Err(Error::RowCount {
                name: name.to_string(),
                expected,
                given,
            });
        }
        if selected.is_empty() {
            return Ok(());
        }
        let targets = physical(&array, selected);
        self.replace_rows(&array, &targets, rows)
    }

    fn update(&mut self, base: &ArraySnapshot, runs: &[(u64, u64)], rows: &[u8]) -> Result<()> {
        if runs.is_empty() {
            return Ok(());
        }
        let array = self.get(base.name())?;
        if !array.same_content(base.state()) {
            return Err(Error::Conflict {
                name: base.name().to_string(),
            });
        }
        let row_bytes = base.row_bytes();
        let mut changed = Vec::new();
        let mut logical = Vec::new();
        for &(start, len) in runs {
            let at = |row: u64| usize::try_from(row).unwrap_or(usize::MAX) * row_bytes;
            changed.extend_from_slice(&rows[at(start)..at(start + len)]);
            logical.extend(start..start + len);
        }
        let targets = physical(&array, RowSet::List(logical));
        self.replace_rows(&array, &targets, &changed)
    }

    fn delete_rows(&mut self, name: &ArrayName, selection: &Selection) -> Result<()> {
        let array = self.get_rows(name)?;
        let selected = selection.resolve(array.live_rows(), name.as_str())?;
        let runs = selected.sorted_runs();
        let count: u64 = runs.iter().map(|(_, len)| len).sum();
        if count == 0 {
            return Ok(());
        }
        if count == array.live_rows() {
            self.replaced.push(array);
            return self.record(Record::Drop { name: name.clone() });
        }
        let runs = match &array.deletions {
            None => runs,
            Some(deletions) => deletions.physical_runs(&runs),
        };
        let delete = DeleteRows {
            name: name.clone(),
            generation: array.generation,
            runs,
        };
        check_deletable(&array, array.physical_rows()).map_err(Error::InvalidArgument)?;
        let few = delete.runs.len() <= IN_PLACE;
        let records = delete.split().map(Record::DeleteRows);
        if self.alone && few {
            // The commit then applies them to the array itself, whose tree is changed in place unless somebody
            // else has the array: copies of its leaves cost more than all the rest.
            self.records.extend(records);
            self.scratch.arrays.clear();
            return Ok(());
        }
        for record in records {
            self.record(record)?;
        }
        Ok(())
    }

    fn drop_all(&mut self) -> Result<()> {
        let names: Vec<ArrayName> = self
            .guard
            .shared
            .state
            .read()
            .arrays
            .keys()
            .cloned()
            .collect();
        for name in names {
            self.find(&name);
        }
        let present: Vec<Arc<ArrayState>> = self.scratch.arrays.values().cloned().collect();
        for array in present {
            let name = array.name.clone();
            self.replaced.push(array);
            self.record(Record::Drop { name })?;
        }
        Ok(())
    }

    pub(crate) fn refuse_existing(&mut self, name: &ArrayName) -> Result<()> {
        match self.find(name) {
            Some(_) => Err(Error::AlreadyExists {
                name: name.to_string(),
            }),
            None => Ok(()),
        }
    }

    /// Takes a new generation over. Its lock is given back, so that later changes of the transaction
    /// can read it: nobody removes orphans while this transaction holds the writer lock.
    pub(crate) fn stage(&mut self, mut staged: Staged) -> Result<u64> {
        staged.release()?;
        let generation = staged.generation;
        if let Some(sums) = staged.sums.take() {
            self.guard.writer.sums.made(generation, sums);
        }
        self.staged.push(staged);
        Ok(generation)
    }
}

/// The physical rows of live rows.
fn physical(array: &ArrayState, rows: RowSet) -> RowSet {
    match &array.deletions {
        Some(deletions) => RowSet::List(rows.rows().map(|row| deletions.physical(row)).collect()),
        None => rows,
    }
}

fn unequal(name: &ArrayName, which: &str, expected: u64) -> Error {
    Error::InvalidArgument(format!(
        "array \"{name}\": {which} than the expected {expected} bytes of rows"
    ))
}

fn too_large(name: &ArrayName) -> Error {
    Error::InvalidArgument(format!("array \"{name}\" would become too large"))
}

fn check_dtype(array: &ArrayState, given: &ArrayMeta) -> Result<()> {
    if array.meta.dtype == given.dtype {
        return Ok(());
    }
    Err(Error::DTypeMismatch {
        name: array.name.to_string(),
        expected: array.meta.dtype.name(),
        given: given.dtype.name(),
    })
}

/// Checks that `given` describes rows of `array`: the same dtype and row shape.
fn check_rows(array: &ArrayState, given: &ArrayMeta) -> Result<()> {
    check_dtype(array, given)?;
    let same = given.shape.ndim() == array.meta.shape.ndim()
        && given.shape.row_dims() == array.meta.shape.row_dims();
    if same {
        return Ok(());
    }
    Err(Error::ShapeMismatch {
        name: array.name.to_string(),
        expected: row_shape(&array.meta.shape),
        given: row_shape(&given.shape),
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use numpack_format::DType;

    use super::*;
    use crate::fs::MemoryFs;
    use crate::store::Store;

    /// Where the tree is that tells which rows of the array live.
    fn tree(store: &Store) -> usize {
        let shared = store.shared().unwrap();
        let state = shared.state.read();
        let deletions = state.get("a").unwrap().deletions.as_ref();
        deletions.map_or(0, |tree| Arc::as_ptr(tree).addr())
    }

    fn delete(store: &Store, row: i64) {
        let mut transaction = store.begin().unwrap();
        transaction.delete_rows("a", Selection::Row(row)).unwrap();
        transaction.commit().unwrap();
    }

    #[test]
    fn rows_are_deleted_in_place_unless_somebody_has_the_array() {
        let fs = Arc::new(MemoryFs::default());
        let store = Store::open_on(fs, Path::new("s.npk"), &Options::default()).unwrap();
        let meta = ArrayMeta::new(DType::UInt8, &[10_000]).unwrap();
        let mut save = store.begin().unwrap();
        save.put("a", &meta, &mut &vec![0; 10_000][..]).unwrap();
        save.commit().unwrap();
        delete(&store, 0);
        let place = tree(&store);
        delete(&store, 1);
        assert_eq!(tree(&store), place);
        let snapshot = store.array("a").unwrap();
        delete(&store, 2);
        assert_ne!(tree(&store), place);
        assert_eq!(snapshot.rows(), 9_998);
        assert_eq!(store.array("a").unwrap().rows(), 9_997);
    }
}
