use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::common::Result as DataFusionResult;
use datafusion::physical_plan::metrics::RecordOutput;
use futures::stream::{self, BoxStream, StreamExt};

use super::Scan;
use super::chunks::Chunks;
use super::looks::Looks;
use super::pending::Pending;
use super::rows::Rows;
use crate::source::RowRanges;

/// Chunks that are filtered without a pause: a query can be stopped, and others go on, in between.
const CHUNKS_AT_ONCE: usize = 16;

/// The batches of `scan` over the rows in `ranges`, at most `fetch` rows.
pub(crate) fn stream(
    scan: Scan,
    ranges: &RowRanges,
    fetch: Option<usize>,
) -> BoxStream<'static, DataFusionResult<RecordBatch>> {
    let scan = Arc::new(scan);
    if scan.filters.is_empty() {
        let chunks = Chunks::of_rows(ranges, scan.batch_rows, scan.reversed);
        let batches = chunks.map(move |rows| scan.emit(&scan.in_order(rows)));
        return stream::iter(batches).boxed();
    }
    let state = Filtering {
        chunks: Chunks::of_blocks(ranges, scan.reversed),
        looks: None,
        pending: Pending::new(scan.batch_rows, fetch, scan.counts()),
        ready: VecDeque::new(),
        done: false,
        scan,
    };
    stream::unfold(state, |mut state| async move {
        let batch = state.next().await?;
        Some((batch, state))
    })
    .boxed()
}

impl Scan {
    /// The batch of these rows, which is counted.
    fn emit(&self, rows: &Rows) -> DataFusionResult<RecordBatch> {
        let time = self.metrics.baseline.elapsed_compute().clone();
        let _timer = time.timer();
        self.batch(rows).record_output(&self.metrics.baseline)
    }

    /// Rows of a chunk, which ascend, in the order of the scan.
    fn in_order(&self, rows: Rows) -> Rows {
        if self.reversed { rows.reversed() } else { rows }
    }
}

/// A scan with filters under way.
struct Filtering {
    scan: Arc<Scan>,
    chunks: Chunks,
    looks: Option<Looks>,
    pending: Pending,
    ready: VecDeque<Rows>,
    done: bool,
}

impl Filtering {
    async fn next(&mut self) -> Option<DataFusionResult<RecordBatch>> {
        loop {
            if let Some(rows) = self.ready.pop_front() {
                let batch = self.scan.emit(&rows);
                if batch.is_err() {
                    self.ready.clear();
                    self.done = true;
                }
                return Some(batch);
            }
            if self.done {
                return None;
            }
            if let Err(error) = self.fill() {
                self.done = true;
                return Some(Err(error));
            }
            if self.ready.is_empty() {
                tokio::task::yield_now().await;
            }
        }
    }

    /// Filters some chunks.
    fn fill(&mut self) -> DataFusionResult<()> {
        let time = self.scan.metrics.baseline.elapsed_compute().clone();
        let _timer = time.timer();
        match &mut self.looks {
            Some(looks) => looks.again(&self.scan, &mut self.chunks),
            None => self.looks = Some(Looks::new(&self.scan, &mut self.chunks)),
        }
        for _ in 0..CHUNKS_AT_ONCE {
            let chunk = self.chunks.next().filter(|_| !self.pending.is_done());
            let Some(chunk) = chunk else {
                self.ready.extend(self.pending.flush());
                self.done = true;
                break;
            };
            let survivors = self.scan.survivors(chunk)?;
            let survivors = self.scan.in_order(survivors);
            self.ready.extend(self.pending.push(survivors));
            if !self.ready.is_empty() {
                break;
            }
        }
        Ok(())
    }
}
