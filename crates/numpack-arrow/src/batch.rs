use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_schema::{Field, Schema, SchemaRef};
use numpack_engine::{ArraySnapshot, Snapshot};

use crate::array::array;
use crate::datatype::{ArrowOptions, field};
use crate::error::{ArrowViewError, Result};
use crate::reader::ArrayReader;

/// Batches shorter than this on average cost readers more than one gather costs us.
const SHORT_BATCH: u64 = 4096;

/// The schema of a snapshot's arrays as columns, in the snapshot's order.
///
/// 0-d arrays have no rows and are left out, here and in [`batch`] and [`batches`].
///
/// # Errors
/// [`ArrowViewError::TooWide`].
pub fn schema(snapshot: &Snapshot, options: &ArrowOptions) -> Result<SchemaRef> {
    schema_of(&columns(snapshot), options)
}

/// The schema of arrays as columns, in their order.
///
/// # Errors
/// [`ArrowViewError::TooWide`].
pub fn schema_of(columns: &[&ArraySnapshot], options: &ArrowOptions) -> Result<SchemaRef> {
    let fields: Result<Vec<Field>> = columns.iter().map(|array| field(array, options)).collect();
    Ok(Arc::new(Schema::new(fields?)))
}

/// A snapshot's arrays as one batch, each column as [`array()`] gives it.
///
/// # Errors
/// [`ArrowViewError::UnequalRows`], and what [`array()`] reports.
pub fn batch(snapshot: &Snapshot, options: &ArrowOptions) -> Result<RecordBatch> {
    batch_of(&columns(snapshot), options)
}

fn batch_of(columns: &[&ArraySnapshot], options: &ArrowOptions) -> Result<RecordBatch> {
    let rows = common_rows(columns)?;
    let arrays: Result<Vec<ArrayRef>> = columns.iter().map(|c| array(c, options)).collect();
    record_batch(&schema_of(columns, options)?, arrays?, rows)
}

/// A snapshot's arrays as zero-copy batches, one for every stretch of rows without a deleted row
/// in any of them.
///
/// Where such stretches are shorter than 4,096 rows on average, the rows are gathered into one
/// batch instead, unless [`zero_copy_only`](ArrowOptions::zero_copy_only) rules that out.
///
/// # Errors
/// [`ArrowViewError::UnequalRows`], and what [`array()`] reports.
pub fn batches(snapshot: &Snapshot, options: &ArrowOptions) -> Result<Vec<RecordBatch>> {
    batches_of(&columns(snapshot), options)
}

/// As [`batches`], of arrays that the caller has taken from one snapshot. All of them must have
/// rows.
///
/// # Errors
/// As [`batches`].
pub fn batches_of(columns: &[&ArraySnapshot], options: &ArrowOptions) -> Result<Vec<RecordBatch>> {
    let rows = common_rows(columns)?;
    let schema = schema_of(columns, options)?;
    let readers = || -> Result<Vec<ArrayReader>> {
        columns
            .iter()
            .map(|array| ArrayReader::new(array, options))
            .collect()
    };

    let stretches = stretches(&mut readers()?);
    if stretches.is_empty() {
        return Ok(Vec::new());
    }
    if !options.zero_copy_only && stretches.len() > 1 {
        let average = rows / stretches.len() as u64;
        if average < SHORT_BATCH {
            return Ok(vec![batch_of(columns, options)?]);
        }
    }
    let mut readers = readers()?;
    let read = |rows: u64| {
        let arrays: Result<Vec<ArrayRef>> = readers.iter_mut().map(|r| r.read(rows)).collect();
        record_batch(&schema, arrays?, rows)
    };
    stretches.into_iter().map(read).collect()
}

fn columns(snapshot: &Snapshot) -> Vec<&ArraySnapshot> {
    snapshot
        .arrays()
        .iter()
        .filter(|array| array.ndim() > 0)
        .collect()
}

/// The number of rows that all columns have.
fn common_rows(columns: &[&ArraySnapshot]) -> Result<u64> {
    let rows = columns.first().map_or(0, |array| array.rows());
    if columns.iter().all(|array| array.rows() == rows) {
        return Ok(rows);
    }
    let lengths = columns
        .iter()
        .map(|array| format!("\"{}\" {}", array.name(), array.rows()));
    Err(ArrowViewError::UnequalRows {
        lengths: lengths.collect::<Vec<_>>().join(", "),
    })
}

/// Lengths of the stretches that all readers can give without a copy.
fn stretches(readers: &mut [ArrayReader]) -> Vec<u64> {
    let mut lengths = Vec::new();
    while let Some(rows) = readers
        .iter()
        .map(ArrayReader::run_left)
        .min()
        .filter(|&r| r > 0)
    {
        lengths.push(rows);
        for reader in &mut *readers {
            reader.skip(rows);
        }
    }
    lengths
}

fn record_batch(schema: &SchemaRef, columns: Vec<ArrayRef>, rows: u64) -> Result<RecordBatch> {
    let rows = usize::try_from(rows).map_err(|_| ArrowViewError::TooLong {
        name: schema
            .fields()
            .first()
            .map_or_else(String::new, |field| field.name().clone()),
        rows,
    })?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(
        Arc::clone(schema),
        columns,
        &options,
    )?)
}
