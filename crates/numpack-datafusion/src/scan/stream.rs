use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::common::Result as DataFusionResult;
use datafusion::physical_plan::metrics::RecordOutput;
use futures::stream::{self, BoxStream, StreamExt};
use tokio::runtime::Handle;

use super::Scan;
use super::chunks::Chunks;
use super::filtering::filtered;
use super::rows::Rows;
use super::task::task;
use crate::source::{Filter, RowRanges};

/// Copying fewer bytes than this takes less time than handing them to another thread.
const FEW_BYTES: usize = 256 << 10;

/// The batches of `scan` over the rows in `ranges`, at most `fetch` rows, in order.
///
/// Several of `threads` threads may filter rows and copy values of other batches meanwhile.
pub(crate) fn stream(
    scan: Scan,
    ranges: &RowRanges,
    fetch: Option<usize>,
    threads: usize,
) -> BoxStream<'static, DataFusionResult<RecordBatch>> {
    let scan = Arc::new(scan);
    // A filter sharpens by the rows that were given out, so these come first. Where nobody can take a
    // task on there is just this thread.
    let alone = scan.filters.iter().any(Filter::is_dynamic) || Handle::try_current().is_err();
    let threads = if alone { 1 } else { threads };
    let rows = if scan.filters.is_empty() {
        let chunks = Chunks::of_rows(ranges, scan.batch_rows, scan.reversed);
        let scan = Arc::clone(&scan);
        stream::iter(chunks.map(move |rows| Ok(scan.in_order(rows)))).boxed()
    } else {
        filtered(&scan, ranges, fetch, threads)
    };
    if threads == 1 {
        return rows.map(move |rows| scan.emit(&rows?)).boxed();
    }
    rows.map(move |rows| Arc::clone(&scan).emit_ahead(rows))
        .buffered(threads + 1)
        .boxed()
}

impl Scan {
    /// The batch of these rows, which is counted.
    fn emit(&self, rows: &Rows) -> DataFusionResult<RecordBatch> {
        let time = self.metrics.baseline.elapsed_compute().clone();
        let _timer = time.timer();
        self.batch(rows).record_output(&self.metrics.baseline)
    }

    /// As [`emit`](Self::emit), by another thread where that pays.
    async fn emit_ahead(
        self: Arc<Self>,
        rows: DataFusionResult<Rows>,
    ) -> DataFusionResult<RecordBatch> {
        let rows = rows?;
        let row_bytes = match rows {
            Rows::Range(_) => self.copied_bytes,
            Rows::List(_) => self.output_bytes,
        };
        if rows.len().saturating_mul(row_bytes) < FEW_BYTES {
            return self.emit(&rows);
        }
        self.metrics.task();
        task(move || self.emit(&rows)).await
    }

    /// Rows of a chunk, which ascend, in the order of the scan.
    pub(super) fn in_order(&self, rows: Rows) -> Rows {
        if self.reversed { rows.reversed() } else { rows }
    }
}
