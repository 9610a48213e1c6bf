//! One scan of a relation: which rows survive the filters, and their columns as batches.

mod chunks;
mod metrics;
mod pending;
mod rows;
mod stream;

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use datafusion::common::Result as DataFusionResult;
use numpack_arrow::ColumnReader;

pub(crate) use self::metrics::ScanMetrics;
pub(crate) use self::rows::Rows;
pub(crate) use self::stream::stream;
use crate::error::SqlError;
use crate::source::Filter;

/// What all batches of a scan have in common.
#[derive(Debug)]
pub(crate) struct Scan {
    /// One a leaf; None reads the rows' positions.
    pub(crate) readers: Vec<Option<ColumnReader>>,
    /// In the order that they are evaluated in.
    pub(crate) filters: Vec<Filter>,
    /// The leaves that are given out.
    pub(crate) output: Vec<usize>,
    pub(crate) schema: SchemaRef,
    /// Rows of a batch.
    pub(crate) batch_rows: usize,
    /// Whether the last row comes first.
    pub(crate) reversed: bool,
    pub(crate) metrics: ScanMetrics,
}

impl Scan {
    /// Whether only the number of rows is asked for.
    fn counts(&self) -> bool {
        self.output.is_empty()
    }

    /// Those of `rows` that pass all filters; as many rows where these only count.
    fn survivors(&self, mut rows: Rows) -> DataFusionResult<Rows> {
        for (index, filter) in self.filters.iter().enumerate() {
            if rows.is_empty() {
                break;
            }
            let columns = self.columns(filter.reads(), &rows)?;
            let mask = filter.evaluate(&batch(filter.schema(), columns, rows.len())?)?;
            let last = index + 1 == self.filters.len();
            rows = if last && self.counts() {
                Rows::Range(0..mask.values().count_set_bits() as u64)
            } else {
                rows.select(&mask)
            };
        }
        Ok(rows)
    }

    /// The output of `rows`.
    pub(crate) fn batch(&self, rows: &Rows) -> DataFusionResult<RecordBatch> {
        let columns = self.columns(&self.output, rows)?;
        batch(&self.schema, columns, rows.len())
    }

    fn columns(&self, leaves: &[usize], rows: &Rows) -> DataFusionResult<Vec<ArrayRef>> {
        leaves.iter().map(|&leaf| self.column(leaf, rows)).collect()
    }

    fn column(&self, leaf: usize, rows: &Rows) -> DataFusionResult<ArrayRef> {
        let Some(reader) = &self.readers[leaf] else {
            return rows.ids();
        };
        let piece = reader.read(rows.live()).map_err(SqlError::from)?;
        self.metrics.read(leaf, &piece);
        Ok(piece.values)
    }
}

/// A batch that knows its number of rows, whatever its columns.
fn batch(schema: &SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> DataFusionResult<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(
        Arc::clone(schema),
        columns,
        &options,
    )?)
}
