//! Copying rows out of a snapshot.

use std::ops::Range;

use crate::error::{Error, Result};
use crate::index::PAGE;
use crate::memory::OwnedBuffer;
use crate::selection::{RowSet, Selection};
use crate::snapshot::ArraySnapshot;
use crate::state::Location;
use crate::view::{Private, PrivateMap};

impl ArraySnapshot {
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
        Ok(match &self.state().deletions {
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
        let physical = if self.state().deletions.is_some() || self.pins().len() > 1 {
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
        if let [(run, pin)] = self.pins() {
            // A pin may map rows that were appended after this snapshot.
            let len = usize::try_from(run.len).unwrap_or(usize::MAX) * row_bytes;
            numpack_kernels::gather_rows(&pin.bytes()[..len], row_bytes, physical, out).map_err(
                |error| {
                    let index = i64::try_from(error.row).unwrap_or(i64::MAX);
                    Error::OutOfBounds {
                        name: self.name().to_string(),
                        index,
                        rows: self.rows(),
                    }
                },
            )?;
            self.patch_rows(physical, row_bytes, out);
            return Ok(());
        }
        for (&row, out) in physical.iter().zip(out.chunks_exact_mut(row_bytes)) {
            out.copy_from_slice(&self.view(row..row + 1)?);
        }
        Ok(())
    }

    /// Writes those of the `physical` rows that wait in the journal to their places in `out`.
    fn patch_rows(&self, physical: &[u64], row_bytes: usize, out: &mut [u8]) {
        let overlay = &self.state().overlay;
        if overlay.is_empty() {
            return;
        }
        overlay.index(|index| {
            for (&row, out) in physical.iter().zip(out.chunks_exact_mut(row_bytes)) {
                if let Some(bytes) = index.row(row) {
                    out.copy_from_slice(bytes);
                }
            }
        });
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
        let mut left = logical.end - logical.start;
        if left == 0 {
            return Ok(());
        }
        let first = match &self.state().deletions {
            Some(deletions) => deletions.physical(logical.start),
            None => logical.start,
        };
        let runs = self.runs();
        let at = runs.partition_point(|run| run.start + run.len <= first);
        let mut out = out;
        for run in runs.get(at..).unwrap_or_default() {
            if left == 0 {
                break;
            }
            let skip = first.saturating_sub(run.start);
            let take = (run.len - skip).min(left);
            let rows = run.start + skip..run.start + skip + take;
            let view = self.view_unpatched(rows.clone())?;
            let (piece, rest) = out.split_at_mut(view.len());
            copy(&view, piece);
            self.state().overlay.patch(rows, piece);
            out = rest;
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
        let view = match self.runs() {
            [run] => self.view_unpatched(run.range())?,
            _ => self.contiguous()?,
        };
        if view.is_empty() {
            return Ok(PrivateMap {
                memory: Private::Owned(OwnedBuffer::new(0)?),
                start: 0,
                len: 0,
            });
        }
        if let ([(_, base)], Location::Own | Location::Generation) =
            (self.pins(), &self.state().location)
            && !self.is_mostly_pending()
            && let Some(pin) = self.shared().pin_private(self.state(), base)?
        {
            return Ok(PrivateMap {
                memory: Private::Mapped(pin),
                start: view.start,
                len: view.len,
            });
        }
        // Or another generation has taken the file's names; the pinned bytes are still here.
        let mut owned = OwnedBuffer::new(view.len())?;
        self.read_all(owned.as_mut())?;
        Ok(PrivateMap {
            memory: Private::Owned(owned),
            start: 0,
            len: view.len,
        })
    }

    /// Whether so many pages have rows that wait in the journal that copying all of them costs less than
    /// writing to those pages of a private map, which are copied by the kernel one by one.
    fn is_mostly_pending(&self) -> bool {
        let state = self.state();
        let many = (state.meta.byte_len() / PAGE / 4).max(256);
        // Rows replaced again and again count each time in the cheaper one.
        state.overlay.pages_at_most() > many
            && state.overlay.index(crate::index::Index::pages_at_most) > many
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
