//! What the store holds at one moment: a pure function of metadata, bitmaps and journal records.

use std::sync::Arc;

use indexmap::IndexMap;
use numpack_format::journal::{Append, Content, Frame, Kept, Record, Replace};
use numpack_format::{ArrayMeta, ArrayName, Attrs, SegmentManifest, Shape};

use crate::deletions::{Deletions, Run};
use crate::overlay::Overlay;
use crate::sums::AtRest;

/// Where the rows of an array lie.
#[derive(Clone, Debug)]
pub(crate) enum Location {
    /// In the array's own file, as of the metadata.
    Own,
    /// In the file of its generation, or since a checkpoint of another process in its own file.
    Generation,
    /// In the segment files that NumPack 0.7.0 wrote.
    Segments(Arc<SegmentManifest>),
}

/// One array at one moment.
#[derive(Clone, Debug)]
pub(crate) struct ArrayState {
    pub(crate) name: ArrayName,
    /// dtype and PHYSICAL shape.
    pub(crate) meta: ArrayMeta,
    pub(crate) generation: u64,
    pub(crate) location: Location,
    pub(crate) deletions: Option<Arc<Deletions>>,
    /// Whether the bitmap file differs from `deletions`.
    pub(crate) bitmap_due: bool,
    pub(crate) modified_us: u64,
    pub(crate) attrs: Attrs,
    /// Rows that were replaced and that the file does not have yet.
    pub(crate) overlay: Overlay,
    /// The generation that the rows were saved as: a checkpoint that finds the file mapped moves them. Of rows
    /// that another program saved, a number made of what is known of their file.
    pub(crate) saved_as: u64,
    /// LSN of the last REPLACE since then; 0 if there was none.
    pub(crate) replaced_lsn: u64,
    /// LSN of the PUT that made this generation; 0 when it comes from the metadata.
    pub(crate) put_lsn: u64,
    /// LSN of the record that told last of rows folded into the file; 0 if none did since the checkpoint.
    pub(crate) folded_lsn: u64,
    /// Whether the rows were made as zeros, of which no hash is kept.
    pub(crate) zeros: bool,
    /// What the checkpoint left of the file; none if the file is younger, or rows were folded into it.
    pub(crate) at_rest: Option<AtRest>,
}

impl ArrayState {
    pub(crate) fn physical_rows(&self) -> u64 {
        self.meta.shape.rows()
    }

    pub(crate) fn deleted(&self) -> u64 {
        self.deletions
            .as_ref()
            .map_or(0, |deletions| deletions.deleted())
    }

    pub(crate) fn live_rows(&self) -> u64 {
        self.physical_rows() - self.deleted()
    }

    /// Whether `other` holds the same rows: nothing was committed to the array between the two.
    pub(crate) fn same_content(&self, other: &Self) -> bool {
        self.version() == other.version()
    }

    /// A number that every commit to the rows of the array changes.
    pub(crate) fn version(&self) -> u64 {
        let parts = [
            self.saved_as,
            self.physical_rows(),
            self.deleted(),
            self.replaced_lsn,
        ];
        let bytes: Vec<u8> = parts.iter().flat_map(|part| part.to_le_bytes()).collect();
        xxhash_rust::xxh3::xxh3_64(&bytes)
    }

    fn with_rows(&self, rows: u64) -> Option<ArrayMeta> {
        let shape = self.meta.shape.with_rows(rows, self.meta.dtype).ok()?;
        Some(ArrayMeta {
            dtype: self.meta.dtype,
            shape,
        })
    }
}

/// All arrays at one moment, in member order.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    pub(crate) arrays: IndexMap<ArrayName, Arc<ArrayState>>,
    /// The attributes of the store.
    pub(crate) attrs: Attrs,
    /// The last record that is part of this state.
    pub(crate) lsn: u64,
}

impl State {
    pub(crate) fn get(&self, name: &str) -> Option<&Arc<ArrayState>> {
        self.arrays.get(name)
    }

    /// Makes every array another one than it was shown as before records were taken back: as many rows may
    /// have been appended or deleted again since. `mark` is the number of no record.
    pub(crate) fn set_apart(&mut self, mark: u64) {
        for array in self.arrays.values_mut() {
            Arc::make_mut(array).replaced_lsn = mark;
        }
    }

    /// Applies one record; the reason when it does not fit this state, which means corruption.
    pub(crate) fn apply(&mut self, frame: &Frame) -> Result<(), String> {
        match &frame.record {
            Record::Put(put) => {
                let old = self.arrays.get(&put.name);
                let same = old.filter(|_| put.kept == Kept::All);
                let (saved_as, replaced_lsn) =
                    same.map_or((put.generation, 0), |old| (old.saved_as, old.replaced_lsn));
                let deletions = old
                    .filter(|_| put.kept != Kept::Nothing)
                    .and_then(|old| old.deletions.clone())
                    .filter(|deletions| deletions.rows() == put.meta.shape.rows());
                let array = ArrayState {
                    attrs: old.map(|old| old.attrs.clone()).unwrap_or_default(),
                    name: put.name.clone(),
                    meta: put.meta.clone(),
                    generation: put.generation,
                    location: Location::Generation,
                    bitmap_due: true,
                    deletions,
                    modified_us: put.modified_us,
                    overlay: Overlay::default(),
                    saved_as,
                    replaced_lsn,
                    put_lsn: frame.lsn,
                    folded_lsn: 0,
                    zeros: put.content == Content::Zeros,
                    at_rest: None,
                };
                self.arrays.insert(put.name.clone(), Arc::new(array));
            }
            Record::Append(append) => self.append(append)?,
            Record::Replace(replace) => {
                let array = self.edit(&replace.name, replace.generation)?;
                check_replaced(array, replace)?;
                let row_bytes = usize::try_from(array.meta.row_bytes()).unwrap_or(usize::MAX);
                array
                    .overlay
                    .push(frame.lsn, &replace.runs, &replace.rows, row_bytes);
                array.replaced_lsn = frame.lsn;
                array.modified_us = replace.modified_us;
            }
            Record::Applied {
                name,
                generation,
                upto,
            } => {
                let array = self.edit(name, *generation)?;
                array.overlay.settle(*upto);
                array.folded_lsn = frame.lsn;
                array.at_rest = None;
            }
            Record::DeleteRows(delete) => {
                let array = self.edit(&delete.name, delete.generation)?;
                let rows = array.physical_rows();
                check_deletable(array, rows)?;
                let deletions = array
                    .deletions
                    .get_or_insert_with(|| Arc::new(Deletions::none(rows)));
                let deletions = Arc::make_mut(deletions);
                for &(start, len) in &delete.runs {
                    deletions.delete(Run { start, len });
                }
                array.bitmap_due = true;
            }
            Record::Drop { name } => {
                self.arrays.shift_remove(name);
            }
            Record::Rename {
                from,
                to,
                generation,
            } => {
                let (index, _, old) = self
                    .arrays
                    .shift_remove_full(from)
                    .ok_or_else(|| missing(from))?;
                let mut array = (*old).clone();
                array.name = to.clone();
                array.generation = *generation;
                array.saved_as = *generation;
                array.location = Location::Generation;
                array.bitmap_due = true;
                array.put_lsn = frame.lsn;
                self.arrays.shift_insert(index, to.clone(), Arc::new(array));
            }
            Record::Attrs { name, attrs } => match name {
                Some(name) => {
                    let array = self.arrays.get_mut(name).ok_or_else(|| missing(name))?;
                    Arc::make_mut(array).attrs = attrs.clone();
                }
                None => self.attrs = attrs.clone(),
            },
            Record::Synced { .. } => {}
            _ => {
                return Err(
                    "a record of a newer version of NumPack: upgrade to open this store".to_owned(),
                );
            }
        }
        self.lsn = frame.lsn;
        Ok(())
    }

    /// [`apply`](Self::apply) for all records of a commit, where `settled` has already gone through them: its
    /// arrays are taken instead of being worked out again, unless names change hands on the way.
    pub(crate) fn adopt(&mut self, frames: &[Frame], settled: &Self) -> Result<(), String> {
        let moved = frames
            .iter()
            .any(|frame| matches!(frame.record, Record::Rename { .. } | Record::Drop { .. }));
        for frame in frames {
            let name = match &frame.record {
                Record::Put(put) => &put.name,
                Record::Append(append) => &append.name,
                Record::Replace(replace) => &replace.name,
                Record::DeleteRows(delete) => &delete.name,
                _ => {
                    self.apply(frame)?;
                    continue;
                }
            };
            match settled.get(name.as_str()) {
                Some(array) if !moved => {
                    self.arrays.insert(name.clone(), Arc::clone(array));
                    self.lsn = frame.lsn;
                }
                _ => self.apply(frame)?,
            }
        }
        Ok(())
    }

    fn append(&mut self, append: &Append) -> Result<(), String> {
        let array = self.edit(&append.name, append.generation)?;
        // Absolute, so that replaying over a state that already has it changes nothing.
        let end = append
            .start_row
            .checked_add(append.rows)
            .ok_or("row count overflows")?;
        if append.start_row > array.physical_rows() {
            return Err(format!(
                "rows appended to \"{}\" at {} leave a gap after {}",
                append.name,
                append.start_row,
                array.physical_rows()
            ));
        }
        let added = end.saturating_sub(array.physical_rows());
        if added > 0 {
            if array.deletions.is_some() {
                check_deletable(array, end)?;
            }
            array.meta = array.with_rows(end).ok_or("array too large")?;
            if let Some(deletions) = &mut array.deletions {
                Arc::make_mut(deletions).extend(added);
                array.bitmap_due = true;
            }
        }
        array.modified_us = append.modified_us;
        Ok(())
    }

    fn edit(&mut self, name: &ArrayName, generation: u64) -> Result<&mut ArrayState, String> {
        let array = self.arrays.get_mut(name).ok_or_else(|| missing(name))?;
        if array.generation != generation {
            return Err(format!(
                "a record names generation {generation:016x} of \"{name}\", which has generation {:016x}",
                array.generation
            ));
        }
        Ok(Arc::make_mut(array))
    }
}

pub(crate) fn check_deletable(array: &ArrayState, rows: u64) -> Result<(), String> {
    if rows > Deletions::MAX_ROWS {
        return Err(format!(
            "array \"{}\": rows can be deleted of at most {} rows, it has {rows}",
            array.name,
            Deletions::MAX_ROWS
        ));
    }
    Ok(())
}

fn check_replaced(array: &ArrayState, replace: &Replace) -> Result<(), String> {
    let bytes = replace.count().checked_mul(array.meta.row_bytes());
    if bytes != Some(replace.rows.len() as u64) {
        return Err(format!(
            "{} bytes are not {} rows of \"{}\", which have {} bytes each",
            replace.rows.len(),
            replace.count(),
            array.name,
            array.meta.row_bytes()
        ));
    }
    match replace.runs.last() {
        Some(&(start, len)) if start + len > array.physical_rows() => Err(format!(
            "row {} of \"{}\" is replaced, which has {} rows",
            start + len - 1,
            array.name,
            array.physical_rows()
        )),
        _ => Ok(()),
    }
}

fn missing(name: &ArrayName) -> String {
    format!("a record changes array \"{name}\", which does not exist")
}

/// Row shape as text, for errors: `[2, 3]`.
pub(crate) fn row_shape(shape: &Shape) -> String {
    let dims: Vec<String> = shape.row_dims().iter().map(u64::to_string).collect();
    if shape.ndim() == 0 {
        "() (0-d)".to_owned()
    } else {
        format!("[{}]", dims.join(", "))
    }
}
