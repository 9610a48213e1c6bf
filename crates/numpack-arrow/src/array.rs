use std::ops::Range;
use std::sync::Arc;

use arrow_array::types::{
    ArrowPrimitiveType, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{ArrayRef, BooleanArray, FixedSizeListArray, PrimitiveArray};
use arrow_buffer::{BooleanBuffer, Buffer, MutableBuffer, ScalarBuffer};
use arrow_schema::{ArrowError, DataType};
use numpack_engine::{ArraySnapshot, OwnedBuffer, Run};

use crate::buffer;
use crate::datatype::{ArrowOptions, ArrowType};
use crate::error::{Error, Result};

/// All live rows of an array as one Arrow array.
///
/// Without deleted rows (or with one run of live rows left) nothing is copied: the Arrow buffer is
/// the mapping, and keeps it alive. Otherwise the rows are gathered once. A 0-d array becomes an
/// array of length 1. The extension of the type stands in the field ([`field`](crate::field)),
/// not in the array.
///
/// # Errors
/// [`Error::Scattered`] and [`Error::NeedsCopy`] under
/// [`zero_copy_only`](ArrowOptions::zero_copy_only), and what the engine reports.
pub fn array(array: &ArraySnapshot, options: &ArrowOptions) -> Result<ArrayRef> {
    let bytes = if array.is_contiguous() {
        buffer::from_view(array.contiguous()?)
    } else if options.zero_copy_only {
        return Err(Error::Scattered {
            name: array.name().to_string(),
            runs: array.runs().len(),
            deleted: array.physical_rows() - array.rows(),
        });
    } else {
        let mut owned = OwnedBuffer::new(array.byte_len())?;
        array.read_all(owned.as_mut())?;
        buffer::from_owned(owned)
    };
    let arrow = arrow_type(array, *options)?;
    assemble(array, &arrow, bytes, array.rows(), options.zero_copy_only)
}

/// Physical rows of an array, all from one run of live rows, as an Arrow array without a copy.
///
/// # Errors
/// [`Error::NotOneRun`] for rows that are not all live or lie apart, and what the engine
/// reports.
pub fn chunk(
    array: &ArraySnapshot,
    physical: Range<u64>,
    options: &ArrowOptions,
) -> Result<ArrayRef> {
    let runs = array.runs();
    let after = runs.partition_point(|run| run.start <= physical.start);
    let run = runs[..after].last();
    let inside = run.is_some_and(|run| physical.end <= run.start + run.len);
    if physical.start > physical.end || !(inside || physical.is_empty()) {
        return Err(Error::NotOneRun {
            name: array.name().to_string(),
            start: physical.start,
            end: physical.end,
        });
    }
    let arrow = arrow_type(array, *options)?;
    live_chunk(array, &arrow, physical, options.zero_copy_only)
}

/// The live rows of an array as one zero-copy [`chunk`] for every run of them.
///
/// # Errors
/// What [`chunk`] reports.
pub fn chunks(array: &ArraySnapshot, options: &ArrowOptions) -> Result<Vec<ArrayRef>> {
    let arrow = arrow_type(array, *options)?;
    let chunk = |run: &Run| {
        let physical = run.start..run.start + run.len;
        live_chunk(array, &arrow, physical, options.zero_copy_only)
    };
    array.runs().iter().map(chunk).collect()
}

/// A chunk of rows that are known to lie in one run.
fn live_chunk(
    array: &ArraySnapshot,
    arrow: &ArrowType,
    physical: Range<u64>,
    zero_copy_only: bool,
) -> Result<ArrayRef> {
    let rows = physical.end - physical.start;
    let bytes = buffer::from_view(array.view(physical)?);
    assemble(array, arrow, bytes, rows, zero_copy_only)
}

/// The Arrow type of a snapshot's array.
pub(crate) fn arrow_type(array: &ArraySnapshot, options: ArrowOptions) -> Result<ArrowType> {
    ArrowType::new(
        array.name().as_str(),
        array.dtype(),
        &array.shape(),
        &options,
    )
}

/// Puts an array together from the bytes of `rows` rows.
pub(crate) fn assemble(
    array: &ArraySnapshot,
    arrow: &ArrowType,
    bytes: Buffer,
    rows: u64,
    zero_copy_only: bool,
) -> Result<ArrayRef> {
    let needs_copy = |reason| Error::NeedsCopy {
        name: array.name().to_string(),
        reason,
    };
    let bytes = if buffer::is_aligned(&bytes, array.dtype().align()) {
        bytes
    } else if zero_copy_only {
        return Err(needs_copy(
            "its bytes do not lie at a multiple of the value's size",
        ));
    } else {
        buffer::realigned(&bytes)
    };
    let item = arrow
        .list()
        .map_or(arrow.data_type(), |(child, _)| child.data_type());
    if zero_copy_only && item == &DataType::Boolean {
        return Err(needs_copy(
            "its values are bytes and packed Booleans are bits",
        ));
    }
    let values = values(item, bytes)?;
    let Some((child, width)) = arrow.list() else {
        return Ok(values);
    };
    let len = usize::try_from(rows).map_err(|_| Error::TooLong {
        name: array.name().to_string(),
        rows,
    })?;
    // With the length given, lists of width zero keep their number of rows.
    let list = FixedSizeListArray::try_new_with_length(Arc::clone(child), width, values, None, len);
    Ok(Arc::new(list?))
}

/// The flat values of a buffer.
pub(crate) fn values(item: &DataType, bytes: Buffer) -> Result<ArrayRef> {
    match item {
        DataType::Boolean => {
            let mut bits = MutableBuffer::from_len_zeroed(bytes.len().div_ceil(8));
            numpack_kernels::pack_bools(&bytes, &mut bits);
            let packed = BooleanBuffer::new(bits.into(), 0, bytes.len());
            Ok(Arc::new(BooleanArray::new(packed, None)))
        }
        DataType::Int8 => primitive::<Int8Type>(bytes),
        DataType::Int16 => primitive::<Int16Type>(bytes),
        DataType::Int32 => primitive::<Int32Type>(bytes),
        DataType::Int64 => primitive::<Int64Type>(bytes),
        DataType::UInt8 => primitive::<UInt8Type>(bytes),
        DataType::UInt16 => primitive::<UInt16Type>(bytes),
        DataType::UInt32 => primitive::<UInt32Type>(bytes),
        DataType::UInt64 => primitive::<UInt64Type>(bytes),
        DataType::Float16 => primitive::<Float16Type>(bytes),
        DataType::Float32 => primitive::<Float32Type>(bytes),
        DataType::Float64 => primitive::<Float64Type>(bytes),
        other => {
            let text = format!("no array has values of the Arrow type {other}");
            Err(ArrowError::InvalidArgumentError(text).into())
        }
    }
}

fn primitive<T: ArrowPrimitiveType>(bytes: Buffer) -> Result<ArrayRef> {
    let values = ScalarBuffer::<T::Native>::from(bytes);
    Ok(Arc::new(PrimitiveArray::<T>::try_new(values, None)?))
}
