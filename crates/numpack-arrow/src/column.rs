use std::ops::Range;

use arrow_array::ArrayRef;
use arrow_buffer::Buffer;
use arrow_schema::DataType;
use numpack_engine::{ArraySnapshot, OwnedBuffer};

use crate::array::{arrow_type, assemble, values};
use crate::buffer;
use crate::datatype::{ArrowOptions, ArrowType};
use crate::error::{Error, Result};

/// Reads rows of an array wherever they lie: ranges and lists of live rows, whole or one value of
/// each row.
///
/// A range that lies in one run of live rows is zero-copy, over a buffer of just its own bytes;
/// everything else is copied once.
#[derive(Clone, Debug)]
pub struct ColumnReader {
    array: ArraySnapshot,
    arrow: ArrowType,
    /// The value taken of each row; None for whole rows.
    item: Option<usize>,
}

/// Rows that were read, and what that took.
#[derive(Debug)]
pub struct Piece {
    /// The rows.
    pub values: ArrayRef,
    /// Bytes handed out without a copy.
    pub bytes_mapped: usize,
    /// Bytes copied.
    pub bytes_copied: usize,
}

/// The rows to read, all of them live rows of the array, counted from 0.
#[derive(Clone, Copy, Debug)]
pub enum LiveRows<'a> {
    /// Neighbours.
    Range(u64, u64),
    /// These, in this order.
    List(&'a [u64]),
}

impl LiveRows<'_> {
    fn len(self) -> Option<usize> {
        match self {
            Self::Range(start, end) => usize::try_from(end.checked_sub(start)?).ok(),
            Self::List(rows) => Some(rows.len()),
        }
    }
}

impl ColumnReader {
    /// A reader of whole rows.
    ///
    /// # Errors
    /// [`Error::TooWide`].
    pub fn new(array: &ArraySnapshot, options: &ArrowOptions) -> Result<Self> {
        Ok(Self {
            array: array.clone(),
            arrow: arrow_type(array, *options)?,
            item: None,
        })
    }

    /// A reader of value `position` (counted from 0) of each row, for arrays whose rows are lists
    /// of more values than that.
    ///
    /// # Errors
    /// [`Error::TooWide`]; [`Error::NoSuchItem`] for a position that rows do not have.
    pub fn item(array: &ArraySnapshot, position: usize, options: &ArrowOptions) -> Result<Self> {
        let arrow = arrow_type(array, *options)?;
        let width = arrow.list().map_or(0, |(_, width)| width);
        if !usize::try_from(width).is_ok_and(|width| position < width) {
            return Err(Error::NoSuchItem {
                name: array.name().to_string(),
                position,
                width,
            });
        }
        Ok(Self {
            array: array.clone(),
            arrow,
            item: Some(position),
        })
    }

    /// The type of what is read.
    pub fn data_type(&self) -> &DataType {
        match (self.item, self.arrow.list()) {
            (Some(_), Some((child, _))) => child.data_type(),
            _ => self.arrow.data_type(),
        }
    }

    /// Bytes that a row costs to read.
    pub fn row_bytes(&self) -> usize {
        match self.item {
            Some(_) => self.item_bytes(),
            None => self.array.row_bytes(),
        }
    }

    /// Reads these rows.
    ///
    /// # Errors
    /// What the engine reports, and [`Error::TooLong`].
    pub fn read(&self, rows: LiveRows<'_>) -> Result<Piece> {
        let len = rows.len().ok_or_else(|| self.too_long(rows))?;
        match self.item {
            Some(position) => self.read_items(rows, len, position),
            None => self.read_rows(rows, len),
        }
    }

    fn read_rows(&self, rows: LiveRows<'_>, len: usize) -> Result<Piece> {
        let (bytes, mapped) = match rows {
            LiveRows::Range(start, _) => {
                if let Some(physical) = self.one_run(start, len)? {
                    (buffer::from_view(self.array.view(physical)?), true)
                } else {
                    let mut out = self.room(len, self.array.row_bytes())?;
                    self.copy_runs(start, len, out.as_mut())?;
                    (buffer::from_owned(out), false)
                }
            }
            LiveRows::List(list) => {
                let mut out = self.room(len, self.array.row_bytes())?;
                self.array.gather_rows(list, out.as_mut())?;
                (buffer::from_owned(out), false)
            }
        };
        let size = bytes.len();
        Ok(Piece {
            values: assemble(&self.array, &self.arrow, bytes, len as u64, false)?,
            bytes_mapped: if mapped { size } else { 0 },
            bytes_copied: if mapped { 0 } else { size },
        })
    }

    fn read_items(&self, rows: LiveRows<'_>, len: usize, position: usize) -> Result<Piece> {
        let width = self.item_bytes();
        let offset = position * width;
        let stride = self.array.row_bytes();
        let mut out = self.room(len, width)?;
        match rows {
            LiveRows::Range(start, _) => {
                let mut rest = out.as_mut();
                for physical in self.runs(start, len)? {
                    let view = self.array.view(physical)?;
                    let values = view.len() / stride * width;
                    let (piece, after) = std::mem::take(&mut rest).split_at_mut(values);
                    numpack_kernels::gather_strided(&view, offset, stride, width, piece);
                    rest = after;
                }
            }
            LiveRows::List(list) => {
                let pieces = out.as_mut().chunks_exact_mut(width);
                if self.array.is_contiguous() {
                    let first = self.array.runs().first().map_or(0, |run| run.start);
                    let whole = self.array.contiguous()?;
                    for (physical, to) in self.array.physical_rows_of(list)?.iter().zip(pieces) {
                        let at = usize::try_from(physical - first).unwrap_or(usize::MAX) * stride;
                        to.copy_from_slice(&whole[at + offset..][..width]);
                    }
                } else {
                    for (&physical, to) in self.array.physical_rows_of(list)?.iter().zip(pieces) {
                        let row = self.array.view(physical..physical + 1)?;
                        to.copy_from_slice(&row[offset..][..width]);
                    }
                }
            }
        }
        let bytes: Buffer = buffer::from_owned(out);
        let size = bytes.len();
        Ok(Piece {
            values: values(self.data_type(), bytes)?,
            bytes_mapped: 0,
            bytes_copied: size,
        })
    }

    /// The bytes of one of a row's values.
    fn item_bytes(&self) -> usize {
        let width = self.arrow.list().map_or(1, |(_, width)| width);
        let width = usize::try_from(width).unwrap_or(0);
        self.array.row_bytes().checked_div(width).unwrap_or(0)
    }

    fn room(&self, rows: usize, row_bytes: usize) -> Result<OwnedBuffer> {
        let bytes = rows.checked_mul(row_bytes);
        let bytes = bytes.ok_or_else(|| self.too_long(LiveRows::Range(0, rows as u64)))?;
        Ok(OwnedBuffer::new(bytes)?)
    }

    /// The physical rows of the `len` live rows from `start` on, if they lie in one piece.
    fn one_run(&self, start: u64, len: usize) -> Result<Option<Range<u64>>> {
        if len == 0 {
            return Ok(Some(0..0));
        }
        let mut runs = self.runs(start, len)?;
        let first = runs.next();
        Ok(first.filter(|_| runs.next().is_none()))
    }

    /// The runs of physical rows that the `len` live rows from `start` on lie in.
    fn runs(&self, start: u64, len: usize) -> Result<impl Iterator<Item = Range<u64>>> {
        let mut left = len as u64;
        let first = match left {
            0 => 0,
            _ => self.array.physical_rows_of(&[start])?[0],
        };
        let runs = self.array.runs();
        let index = runs.partition_point(|run| run.start + run.len <= first);
        let mut next = first;
        Ok(runs[index..].iter().map_while(move |run| {
            let begin = next.max(run.start);
            let take = left.min(run.start + run.len - begin);
            left -= take;
            next = run.start + run.len;
            (take > 0).then_some(begin..begin + take)
        }))
    }

    fn copy_runs(&self, start: u64, len: usize, out: &mut [u8]) -> Result<()> {
        let mut rest = out;
        for physical in self.runs(start, len)? {
            let view = self.array.view(physical)?;
            let (piece, after) = std::mem::take(&mut rest).split_at_mut(view.len());
            piece.copy_from_slice(&view);
            rest = after;
        }
        Ok(())
    }

    fn too_long(&self, rows: LiveRows<'_>) -> Error {
        Error::TooLong {
            name: self.array.name().to_string(),
            rows: match rows {
                LiveRows::Range(start, end) => end.saturating_sub(start),
                LiveRows::List(rows) => rows.len() as u64,
            },
        }
    }
}
