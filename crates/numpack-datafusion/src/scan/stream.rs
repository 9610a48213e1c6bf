use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::common::Result as DataFusionResult;
use datafusion::execution::memory_pool::{
    MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation,
};
use datafusion::physical_plan::metrics::RecordOutput;
use futures::future::{self, BoxFuture, FutureExt};
use futures::stream::{self, BoxStream, StreamExt};
use tokio::runtime::{Handle, RuntimeFlavor};

use super::Scan;
use super::chunks::Chunks;
use super::filtering::filtered;
use super::rows::Rows;
use super::task::task;
use crate::source::{Filter, RowRanges};

/// Copying fewer bytes than this takes less time than handing them to another thread.
const FEW_BYTES: usize = 256 << 10;

/// Bytes of batches that are made ahead, unless memory is limited: then a part of that.
const AHEAD_BYTES: usize = 256 << 20;
const AHEAD_PART: usize = 16;

/// The batches of `scan` over the rows in `ranges`, at most `fetch` rows, in order.
///
/// Several of `threads` threads may filter rows and copy values of other batches meanwhile, as far as
/// `pool` has memory for these.
pub(crate) fn stream(
    scan: Scan,
    ranges: &RowRanges,
    fetch: Option<usize>,
    threads: usize,
    pool: &Arc<dyn MemoryPool>,
) -> BoxStream<'static, DataFusionResult<RecordBatch>> {
    let scan = Arc::new(scan);
    let threads = if scan.is_alone() { 1 } else { threads };
    let (batches_ahead, memory) = scan.batches_ahead(threads, pool);
    let rows = if scan.filters.is_empty() {
        let chunks = Chunks::of_rows(ranges, scan.batch_rows, scan.reversed);
        let scan = Arc::clone(&scan);
        stream::iter(chunks.map(move |rows| Ok(scan.in_order(rows)))).boxed()
    } else {
        filtered(&scan, ranges, fetch, threads)
    };
    let batches = if batches_ahead == 0 {
        rows.map(move |rows| scan.emit(&rows?)).boxed()
    } else {
        rows.map(move |rows| Arc::clone(&scan).emit_ahead(rows))
            .buffered(batches_ahead + 1)
            .boxed()
    };
    // Behind an error comes nothing.
    let until_error = batches.scan(false, move |failed, batch| {
        let _as_long_as_the_batches = &memory;
        let before = std::mem::replace(failed, batch.is_err());
        future::ready((!before).then_some(batch))
    });
    until_error.boxed()
}

impl Scan {
    /// Whether one thread has to do it all: a filter sharpens by the rows that were given out, so these
    /// come first; and there may be no thread to take a task on.
    fn is_alone(&self) -> bool {
        let others = Handle::try_current()
            .is_ok_and(|runtime| runtime.runtime_flavor() != RuntimeFlavor::CurrentThread);
        !others || self.filters.iter().any(Filter::is_dynamic)
    }

    /// How many batches are made beside the one that is read next, and the memory for these.
    fn batches_ahead(
        &self,
        threads: usize,
        pool: &Arc<dyn MemoryPool>,
    ) -> (usize, Option<MemoryReservation>) {
        let row_bytes = if self.filters.is_empty() {
            self.copied_bytes
        } else {
            self.output_bytes
        };
        if threads == 1 || row_bytes == 0 {
            return (0, None);
        }
        let batch_bytes = row_bytes.saturating_mul(self.batch_rows);
        let most_bytes = match pool.memory_limit() {
            MemoryLimit::Finite(limit) => AHEAD_BYTES.min(limit / AHEAD_PART),
            MemoryLimit::Infinite | MemoryLimit::Unknown => AHEAD_BYTES,
        };
        let ahead = threads.min((most_bytes / batch_bytes).saturating_sub(1));
        let memory = MemoryConsumer::new("batches made ahead").register(pool);
        match memory.try_grow(ahead * batch_bytes) {
            Ok(()) => (ahead, Some(memory)),
            Err(_) => (0, None),
        }
    }

    /// The batch of these rows, which is counted.
    fn emit(&self, rows: &Rows) -> DataFusionResult<RecordBatch> {
        let time = self.metrics.baseline.elapsed_compute().clone();
        let _timer = time.timer();
        self.batch(rows).record_output(&self.metrics.baseline)
    }

    /// As [`emit`](Self::emit), by another thread where that pays.
    fn emit_ahead(
        self: Arc<Self>,
        rows: DataFusionResult<Rows>,
    ) -> BoxFuture<'static, DataFusionResult<RecordBatch>> {
        let rows = match rows {
            Ok(rows) => rows,
            Err(error) => return future::ready(Err(error)).boxed(),
        };
        let row_bytes = match rows {
            Rows::Range(_) => self.copied_bytes,
            Rows::List(_) => self.output_bytes,
        };
        if rows.len().saturating_mul(row_bytes) < FEW_BYTES {
            return async move { self.emit(&rows) }.boxed();
        }
        self.metrics.task();
        task(move || self.emit(&rows))
    }

    /// Rows of a chunk, which ascend, in the order of the scan.
    pub(super) fn in_order(&self, rows: Rows) -> Rows {
        if self.reversed { rows.reversed() } else { rows }
    }
}
