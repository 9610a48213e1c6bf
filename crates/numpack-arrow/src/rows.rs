use std::borrow::Cow;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_buffer::{BooleanBuffer, Buffer};
use arrow_schema::{ArrowError, Field, Schema};
use numpack_engine::RowSource;
use numpack_format::{ArrayMeta, DType};

use crate::error::{Error, Result};
use crate::lists;
use crate::origin::Origin;

/// Values turned into bytes at once where they are not stored as a store has them.
const PIECE: usize = 64 * 1024;

/// Arrow data as the rows of one array, for [`put`](numpack_engine::Transaction::put) and, as
/// [`to_bytes`](Self::to_bytes), for [`append`](numpack_engine::Transaction::append) and
/// [`replace`](numpack_engine::Transaction::replace).
///
/// Everything that [`array()`](crate::array()) makes of an array comes back with its dtype and
/// shape, a 0-d array as one row. Of what others make, numbers of 8 to 64 bits are taken, bits and
/// `arrow.bool8` as bool, lists of one length as an axis each, and `arrow.fixed_shape_tensor` as
/// the axes that it names.
///
/// Numbers are not copied: a store is written straight from the Arrow buffers.
///
/// ```
/// use std::sync::Arc;
/// use arrow_array::{ArrayRef, FixedSizeListArray, types::Float32Type};
/// use arrow_schema::Field;
/// use numpack_arrow::ArrowRows;
/// # use numpack_engine::{Options, Store};
/// # let dir = std::env::temp_dir().join(format!("numpack-rows-doc-{}", std::process::id()));
/// # let store = Store::open(&dir, &Options::default())?;
///
/// let points = [Some([Some(1.0), Some(2.0)]), Some([Some(3.0), Some(4.0)])];
/// let points = FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>(points, 2);
/// let points: ArrayRef = Arc::new(points);
/// let field = Field::new("points", points.data_type().clone(), true);
///
/// let mut rows = ArrowRows::new(&field, &[points])?;
/// assert_eq!(rows.meta().shape.dims(), [2, 2]);
/// let (name, meta) = (rows.name().to_owned(), rows.meta().clone());
/// let mut change = store.begin()?;
/// change.put(&name, &meta, &mut rows)?;
/// change.commit()?;
/// assert_eq!(store.array("points")?.shape(), [2, 2]);
/// # store.close()?;
/// # std::fs::remove_dir_all(&dir)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct ArrowRows {
    name: String,
    meta: ArrayMeta,
    pieces: Vec<Piece>,
}

/// Values of one chunk.
#[derive(Clone, Debug)]
enum Piece {
    /// As a store has them.
    Bytes(Buffer),
    /// A byte a value, where every byte but 0 means true.
    Truths(Buffer),
    /// A bit a value.
    Bits(BooleanBuffer),
}

impl ArrowRows {
    /// The rows that a field's chunks hold, in their order; no chunks are no rows.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for what no dtype stands for (strings, dates, decimals,
    /// dictionaries), [`Error::Nulls`], [`Error::UnequalLists`], and what Arrow reports of chunks
    /// that do not have the field's type.
    pub fn new(field: &Field, chunks: &[ArrayRef]) -> Result<Self> {
        let name = field.name();
        let rows: usize = chunks.iter().map(Array::len).sum();
        let unsupported = || Error::Unsupported {
            name: name.clone(),
            data_type: field.data_type().to_string(),
            rows,
        };
        if let Some(other) = chunks.iter().find(|c| c.data_type() != field.data_type()) {
            let text = format!(
                "column \"{name}\" is {}, and a chunk of it {}",
                field.data_type(),
                other.data_type()
            );
            return Err(ArrowError::InvalidArgumentError(text).into());
        }
        let origin = Origin::of(field).ok_or_else(unsupported)?;
        let (widths, values) = lists::flatten(field, chunks)?;
        let dims = origin.dims(rows as u64, &widths).ok_or_else(unsupported)?;
        let meta = ArrayMeta::new(origin.dtype, &dims).map_err(numpack_engine::Error::from)?;
        let pieces = values.iter().map(|values| piece(values, origin.dtype));
        Ok(Self {
            name: name.clone(),
            meta,
            pieces: pieces.collect(),
        })
    }

    /// The columns of batches, or those that are named, in the order of their names.
    ///
    /// # Errors
    /// [`Error::NoColumn`], [`Error::TwoColumns`], and what [`new`](Self::new) reports.
    pub fn columns(
        schema: &Schema,
        batches: &[RecordBatch],
        names: Option<&[&str]>,
    ) -> Result<Vec<Self>> {
        let position = |name: &&str| {
            schema.index_of(name).map_err(|_| Error::NoColumn {
                name: (*name).to_owned(),
                there: list(schema.fields().iter().map(|field| field.name().as_str())),
            })
        };
        let wanted: Vec<usize> = match names {
            Some(names) => names.iter().map(position).collect::<Result<_>>()?,
            None => (0..schema.fields().len()).collect(),
        };
        let mut columns: Vec<Self> = Vec::with_capacity(wanted.len());
        for index in wanted {
            let field = schema.field(index);
            if columns.iter().any(|column| column.name == *field.name()) {
                return Err(Error::TwoColumns {
                    name: field.name().clone(),
                });
            }
            let chunk = |batch: &RecordBatch| ArrayRef::clone(batch.column(index));
            let chunks: Vec<ArrayRef> = batches.iter().map(chunk).collect();
            columns.push(Self::new(field, &chunks)?);
        }
        Ok(columns)
    }

    /// The field's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Dtype and shape of the rows.
    pub fn meta(&self) -> &ArrayMeta {
        &self.meta
    }

    /// The rows as they lie in the Arrow data, where they lie in one piece and as a store has them.
    pub fn buffer(&self) -> Option<&Buffer> {
        match self.pieces.as_slice() {
            [Piece::Bytes(bytes)] => Some(bytes),
            _ => None,
        }
    }

    /// The rows' bytes, copied only where they are not one [`buffer`](Self::buffer).
    ///
    /// # Errors
    /// None that these rows can have: what a [`RowSource`] may report.
    pub fn to_bytes(&self) -> numpack_engine::Result<Cow<'_, [u8]>> {
        if let Some(bytes) = self.buffer() {
            return Ok(Cow::Borrowed(bytes));
        }
        let mut bytes = Vec::with_capacity(self.byte_len());
        self.give(&mut |piece| {
            bytes.extend_from_slice(piece);
            Ok(())
        })?;
        Ok(Cow::Owned(bytes))
    }

    /// Copies the rows' bytes to `out`.
    ///
    /// # Errors
    /// [`InvalidArgument`](numpack_engine::Error::InvalidArgument) where `out` is not as long as
    /// the rows.
    pub fn read_all(&self, out: &mut [u8]) -> numpack_engine::Result<()> {
        let mut left = &mut *out;
        let given = left.len();
        let unequal = || {
            numpack_engine::Error::InvalidArgument(format!(
                "column \"{}\": {} bytes of rows for {given} bytes of memory",
                self.name,
                self.byte_len()
            ))
        };
        self.give(&mut |piece| {
            let (head, tail) = std::mem::take(&mut left)
                .split_at_mut_checked(piece.len())
                .ok_or_else(unequal)?;
            head.copy_from_slice(piece);
            left = tail;
            Ok(())
        })?;
        if left.is_empty() {
            Ok(())
        } else {
            Err(unequal())
        }
    }

    fn byte_len(&self) -> usize {
        // A shape's bytes fit isize.
        usize::try_from(self.meta.byte_len()).unwrap_or(usize::MAX)
    }

    fn give(
        &self,
        sink: &mut dyn FnMut(&[u8]) -> numpack_engine::Result<()>,
    ) -> numpack_engine::Result<()> {
        let mut scratch = Vec::new();
        for piece in &self.pieces {
            match piece {
                Piece::Bytes(bytes) => sink(bytes)?,
                Piece::Truths(bytes) => {
                    for part in bytes.chunks(PIECE) {
                        scratch.clear();
                        scratch.extend(part.iter().map(|&byte| u8::from(byte != 0)));
                        sink(&scratch)?;
                    }
                }
                Piece::Bits(bits) => {
                    for start in (0..bits.len()).step_by(PIECE) {
                        let part = bits.slice(start, PIECE.min(bits.len() - start));
                        scratch.clear();
                        scratch.extend(part.iter().map(u8::from));
                        sink(&scratch)?;
                    }
                }
            }
        }
        Ok(())
    }
}

impl RowSource for ArrowRows {
    fn write_to(
        &mut self,
        sink: &mut dyn FnMut(&[u8]) -> numpack_engine::Result<()>,
    ) -> numpack_engine::Result<()> {
        self.give(sink)
    }
}

/// Flat values as bytes or bits, without a copy.
fn piece(values: &ArrayRef, dtype: DType) -> Piece {
    if let Some(bits) = values.as_boolean_opt() {
        return Piece::Bits(bits.values().clone());
    }
    let data = values.to_data();
    let width = values.data_type().primitive_width().unwrap_or(1);
    let Some(buffer) = data.buffers().first().filter(|_| !data.is_empty()) else {
        return Piece::Bytes(Buffer::default());
    };
    let bytes = buffer.slice_with_length(data.offset() * width, data.len() * width);
    if dtype == DType::Bool && bytes.iter().fold(0, |all, byte| all | byte) > 1 {
        return Piece::Truths(bytes);
    }
    Piece::Bytes(bytes)
}

fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.collect::<Vec<_>>().join(", ")
}
