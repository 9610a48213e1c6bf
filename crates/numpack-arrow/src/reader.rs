use std::ops::Range;

use arrow_array::ArrayRef;
use arrow_buffer::{Buffer, MutableBuffer};
use numpack_engine::ArraySnapshot;

use crate::array::{arrow_type, assemble};
use crate::buffer;
use crate::datatype::{ArrowOptions, ArrowType};
use crate::error::{Error, Result};

/// Reads an array front to back in pieces of the caller's size.
///
/// A piece that lies in one run of live rows is zero-copy, over a buffer of just its own bytes (so
/// that who counts memory by buffers counts right); a piece that crosses deleted rows is gathered.
/// Several readers advanced by the same numbers of rows stay in step whatever rows each array has
/// deleted.
#[derive(Debug)]
pub struct ArrayReader {
    array: ArraySnapshot,
    arrow: ArrowType,
    options: ArrowOptions,
    /// Index of the run that the next row is in.
    run: usize,
    /// Rows of that run already read.
    offset: u64,
    bytes_mapped: u64,
    bytes_copied: u64,
}

impl ArrayReader {
    /// A reader at the first live row of `array`.
    ///
    /// # Errors
    /// [`Error::TooWide`].
    pub fn new(array: &ArraySnapshot, options: &ArrowOptions) -> Result<Self> {
        Ok(Self {
            array: array.clone(),
            arrow: arrow_type(array, *options)?,
            options: *options,
            run: 0,
            offset: 0,
            bytes_mapped: 0,
            bytes_copied: 0,
        })
    }

    /// Rows that the next piece can have without a copy; 0 at the end.
    pub fn run_left(&self) -> u64 {
        self.array
            .runs()
            .get(self.run)
            .map_or(0, |run| run.len - self.offset)
    }

    /// Bytes handed out so far without a copy.
    pub fn bytes_mapped(&self) -> u64 {
        self.bytes_mapped
    }

    /// Bytes gathered so far.
    pub fn bytes_copied(&self) -> u64 {
        self.bytes_copied
    }

    /// Passes over `rows` rows, or what is left of them.
    pub fn skip(&mut self, rows: u64) {
        let mut wanted = rows;
        while let Some(piece) = self.advance(wanted) {
            wanted -= piece.end - piece.start;
        }
    }

    /// The next `rows` rows, or what is left of them.
    ///
    /// # Errors
    /// [`Error::NeedsCopy`] for a piece across deleted rows under
    /// [`zero_copy_only`](ArrowOptions::zero_copy_only), and what the engine reports.
    pub fn read(&mut self, rows: u64) -> Result<ArrayRef> {
        let (bytes, rows) = if rows <= self.run_left() {
            let physical = self.advance(rows).unwrap_or(0..0);
            let rows = physical.end - physical.start;
            let view = self.array.view(physical)?;
            self.bytes_mapped += view.as_ref().len() as u64;
            (buffer::from_view(view), rows)
        } else {
            self.gather(rows)?
        };
        assemble(
            &self.array,
            &self.arrow,
            bytes,
            rows,
            self.options.zero_copy_only,
        )
    }

    fn gather(&mut self, rows: u64) -> Result<(Buffer, u64)> {
        let name = || self.array.name().to_string();
        if self.options.zero_copy_only {
            return Err(Error::NeedsCopy {
                name: name(),
                reason: "rows between these are deleted",
            });
        }
        let rows_here = usize::try_from(rows.min(self.array.rows()));
        let capacity = rows_here.map_err(|_| Error::TooLong { name: name(), rows })?;
        let mut bytes = MutableBuffer::new(capacity * self.array.row_bytes());
        let mut read = 0;
        while let Some(piece) = self.advance(rows - read) {
            read += piece.end - piece.start;
            bytes.extend_from_slice(self.array.view(piece)?.as_ref());
        }
        self.bytes_copied += bytes.len() as u64;
        Ok((bytes.into(), read))
    }

    /// Takes up to `rows` physical rows out of the current run; None when there are none to take.
    fn advance(&mut self, rows: u64) -> Option<Range<u64>> {
        let run = *self.array.runs().get(self.run)?;
        let taken = rows.min(run.len - self.offset);
        if taken == 0 {
            return None;
        }
        let start = run.start + self.offset;
        self.offset += taken;
        if self.offset == run.len {
            self.run += 1;
            self.offset = 0;
        }
        Some(start..start + taken)
    }
}
