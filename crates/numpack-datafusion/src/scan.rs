use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use datafusion::common::{DataFusionError, Result as DataFusionResult};
use datafusion::physical_plan::metrics::{
    BaselineMetrics, Count, ExecutionPlanMetricsSet, MetricBuilder, RecordOutput,
};
use numpack_arrow::ArrayReader;
use numpack_engine::ArraySnapshot;

use crate::error::{Result, SqlError};
use crate::relation::COLUMNS;

/// The batches of one scan, made as they are asked for.
#[derive(Debug)]
pub(crate) struct Scan {
    columns: Vec<Column>,
    schema: SchemaRef,
    /// The next row to give, which is also its `row_id`.
    next: u64,
    end: u64,
    batch_rows: u64,
    baseline: BaselineMetrics,
    bytes_mapped: Count,
    bytes_copied: Count,
}

#[derive(Debug)]
enum Column {
    Array(ArrayReader),
    RowId,
}

impl Scan {
    /// A scan of the first `rows` rows; a column without an array is `row_id`.
    pub(crate) fn new<'a>(
        columns: impl Iterator<Item = Option<&'a ArraySnapshot>>,
        schema: SchemaRef,
        rows: u64,
        batch_rows: usize,
        metrics: &ExecutionPlanMetricsSet,
        partition: usize,
    ) -> Result<Self> {
        let columns: Result<Vec<Column>> = columns
            .map(|array| match array {
                Some(array) => Ok(Column::Array(ArrayReader::new(array, &COLUMNS)?)),
                None => Ok(Column::RowId),
            })
            .collect();
        Ok(Self {
            columns: columns?,
            schema,
            next: 0,
            end: rows,
            batch_rows: batch_rows.max(1) as u64,
            baseline: BaselineMetrics::new(metrics, partition),
            bytes_mapped: MetricBuilder::new(metrics).counter("bytes_mapped", partition),
            bytes_copied: MetricBuilder::new(metrics).counter("bytes_copied", partition),
        })
    }

    fn read(&mut self, rows: u64) -> DataFusionResult<RecordBatch> {
        let start = self.next;
        let mut arrays: Vec<ArrayRef> = Vec::with_capacity(self.columns.len());
        for column in &mut self.columns {
            arrays.push(match column {
                Column::Array(reader) => {
                    let (mapped, copied) = (reader.bytes_mapped(), reader.bytes_copied());
                    let array = reader.read(rows).map_err(SqlError::from)?;
                    self.bytes_mapped.add(count(reader.bytes_mapped() - mapped));
                    self.bytes_copied.add(count(reader.bytes_copied() - copied));
                    array
                }
                Column::RowId => row_ids(start, rows)?,
            });
        }
        self.next += rows;
        let options = RecordBatchOptions::new().with_row_count(Some(count(rows)));
        let schema = Arc::clone(&self.schema);
        Ok(RecordBatch::try_new_with_options(schema, arrays, &options)?)
    }
}

impl Iterator for Scan {
    type Item = DataFusionResult<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        let rows = self.batch_rows.min(self.end - self.next);
        if rows == 0 {
            self.baseline.done();
            return None;
        }
        let time = self.baseline.elapsed_compute().clone();
        let _timer = time.timer();
        let batch = self.read(rows);
        if batch.is_err() {
            self.next = self.end;
        }
        Some(batch.record_output(&self.baseline))
    }
}

/// The positions from `start` on; NumPy's index type is signed, so these are too.
fn row_ids(start: u64, rows: u64) -> DataFusionResult<ArrayRef> {
    let too_many = |_| DataFusionError::Execution(format!("row {start} does not fit an Int64"));
    let first = i64::try_from(start).map_err(too_many)?;
    let last = i64::try_from(start + rows).map_err(too_many)?;
    Ok(Arc::new(Int64Array::from_iter_values(first..last)))
}

/// A number of rows or bytes of one batch, which is in memory and so fits.
fn count(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}
