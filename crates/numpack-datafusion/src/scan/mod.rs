//! One scan of a relation: which rows survive the filters, and their columns as batches.

mod chunks;
mod filtering;
mod looks;
mod metrics;
mod pending;
mod rows;
mod stream;
mod task;

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use datafusion::common::Result as DataFusionResult;
use numpack_arrow::ColumnReader;

pub(crate) use self::chunks::BLOCK;
pub(crate) use self::metrics::ScanMetrics;
pub(crate) use self::rows::Rows;
pub(crate) use self::stream::stream;
use crate::error::SqlError;
use crate::source::{Filter, RowRanges};
use crate::zones::{Zones, kept_blocks};

/// What all batches of a scan have in common.
#[derive(Debug)]
pub(crate) struct Scan {
    /// One a leaf; None reads the rows' positions.
    pub(crate) readers: Vec<Option<ColumnReader>>,
    /// Rows of the relation.
    pub(crate) rows: u64,
    /// In the order that they are evaluated in.
    pub(crate) filters: Vec<Filter>,
    /// One a leaf; what is known of the blocks of those that filters read.
    pub(crate) zones: Vec<Option<Arc<Zones>>>,
    /// The leaves that are given out.
    pub(crate) output: Vec<usize>,
    pub(crate) schema: SchemaRef,
    /// Bytes of an output row that are copied where rows are neighbours, and where they are not.
    pub(crate) copied_bytes: usize,
    pub(crate) output_bytes: usize,
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
            if let Some(block) = self.block(&rows) {
                for (&leaf, values) in filter.reads().iter().zip(&columns) {
                    if let Some(zones) = &self.zones[leaf] {
                        zones.see(block, values);
                    }
                }
            }
            let mask = filter.evaluate(columns, rows.len())?;
            let last = index + 1 == self.filters.len();
            rows = if last && self.counts() {
                Rows::Range(0..mask.values().count_set_bits() as u64)
            } else {
                rows.select(&mask)
            };
        }
        Ok(rows)
    }

    /// The block that `rows` are all of.
    fn block(&self, rows: &Rows) -> Option<u64> {
        let Rows::Range(range) = rows else {
            return None;
        };
        let block = range.start / BLOCK;
        let whole = block * BLOCK..(block + 1).saturating_mul(BLOCK).min(self.rows);
        (*range == whole).then_some(block)
    }

    /// The blocks with rows that may pass filter `filter`, as rows; None if these are all.
    fn kept(&self, filter: usize) -> Option<RowRanges> {
        let filter = &self.filters[filter];
        let (predicate, schema) = filter.named();
        let zones = filter.reads().iter().map(|&leaf| self.zones[leaf].clone());
        let zones: Vec<_> = zones.collect();
        let kept = kept_blocks(predicate, schema, &zones, self.rows)?;
        let blocks = (0_u64..).zip(kept).filter(|(_, kept)| *kept);
        let rows = blocks.map(|(block, _)| block * BLOCK..(block + 1).saturating_mul(BLOCK));
        Some(RowRanges::of(rows))
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
pub(crate) fn batch(
    schema: &SchemaRef,
    columns: Vec<ArrayRef>,
    rows: usize,
) -> DataFusionResult<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(
        Arc::clone(schema),
        columns,
        &options,
    )?)
}
