use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_schema::{Field, Schema, SchemaRef};
use numpack_engine::{ArraySnapshot, Snapshot};

use crate::array::array;
use crate::datatype::{ArrowOptions, field};
use crate::error::{Error, Result};
use crate::snapshot_reader::SnapshotReader;

/// The schema of a snapshot's arrays as columns, in the snapshot's order.
///
/// 0-d arrays have no rows and are left out, here and in [`batch`] and [`batches`].
///
/// # Errors
/// [`Error::TooWide`].
pub fn schema(snapshot: &Snapshot, options: &ArrowOptions) -> Result<SchemaRef> {
    schema_of(&columns(snapshot), options)
}

/// The schema of arrays as columns, in their order.
///
/// # Errors
/// [`Error::TooWide`].
pub fn schema_of(columns: &[&ArraySnapshot], options: &ArrowOptions) -> Result<SchemaRef> {
    let fields: Result<Vec<Field>> = columns.iter().map(|array| field(array, options)).collect();
    Ok(Arc::new(Schema::new(fields?)))
}

/// A snapshot's arrays as one batch, each column as [`array()`] gives it.
///
/// # Errors
/// [`Error::UnequalRows`], and what [`array()`] reports.
pub fn batch(snapshot: &Snapshot, options: &ArrowOptions) -> Result<RecordBatch> {
    batch_of(&columns(snapshot), *options)
}

/// Columns as one batch, gathered where rows are deleted.
pub(crate) fn batch_of(columns: &[&ArraySnapshot], options: ArrowOptions) -> Result<RecordBatch> {
    let rows = common_rows(columns)?;
    let arrays: Result<Vec<ArrayRef>> = columns.iter().map(|c| array(c, &options)).collect();
    record_batch(&schema_of(columns, &options)?, arrays?, rows)
}

/// A snapshot's arrays as batches, as a [`SnapshotReader`] gives them.
///
/// # Errors
/// [`Error::UnequalRows`], and what [`array()`] reports.
pub fn batches(snapshot: &Snapshot, options: &ArrowOptions) -> Result<Vec<RecordBatch>> {
    let batches = SnapshotReader::new(snapshot, options)?;
    batches.map(|batch| batch.map_err(Error::from)).collect()
}

/// The arrays that have rows.
pub(crate) fn columns(snapshot: &Snapshot) -> Vec<&ArraySnapshot> {
    snapshot
        .arrays()
        .iter()
        .filter(|array| array.ndim() > 0)
        .collect()
}

/// The number of rows that all columns have.
pub(crate) fn common_rows(columns: &[&ArraySnapshot]) -> Result<u64> {
    let rows = columns.first().map_or(0, |array| array.rows());
    if columns.iter().all(|array| array.rows() == rows) {
        return Ok(rows);
    }
    let lengths = columns
        .iter()
        .map(|array| format!("\"{}\" {}", array.name(), array.rows()));
    Err(Error::UnequalRows {
        lengths: lengths.collect::<Vec<_>>().join(", "),
    })
}

/// A batch that knows its number of rows, whatever its columns.
pub(crate) fn record_batch(
    schema: &SchemaRef,
    columns: Vec<ArrayRef>,
    rows: u64,
) -> Result<RecordBatch> {
    let rows = usize::try_from(rows).map_err(|_| Error::TooLong {
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
