use std::collections::VecDeque;
use std::sync::Arc;

use datafusion::common::{DataFusionError, Result as DataFusionResult};
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, FuturesOrdered, StreamExt};

use super::Scan;
use super::chunks::{BLOCK, Chunks};
use super::looks::Looks;
use super::pending::Pending;
use super::rows::Rows;
use super::task::task;
use crate::source::{Filter, RowRanges};

/// Chunks that are filtered without a pause: a query can be stopped, and others go on, in between.
const CHUNKS_AT_ONCE: usize = 16;

/// What filters read of the chunks of one task: some 0.3 ms, where starting it may take 0.1.
const TASK_BYTES: u64 = 4 << 20;

/// Chunks of one task: the positions of a million rows take 8 MB.
const MOST_CHUNKS: u64 = 128;

/// The rows that pass all filters of `scan`, at most `fetch`, as rows of full batches, in order.
pub(super) fn filtered(
    scan: &Arc<Scan>,
    ranges: &RowRanges,
    fetch: Option<usize>,
    threads: usize,
) -> BoxStream<'static, DataFusionResult<Rows>> {
    let cost: u64 = scan.filters.iter().map(Filter::cost).sum();
    let chunks = TASK_BYTES / cost.saturating_mul(BLOCK).max(1);
    let state = Filtering {
        chunks: Chunks::of_blocks(ranges, scan.reversed),
        looks: None,
        pending: Pending::new(scan.batch_rows, fetch, scan.counts()),
        ready: VecDeque::new(),
        tasks: FuturesOrdered::new(),
        chunks_of_task: usize::try_from(chunks.clamp(1, MOST_CHUNKS)).unwrap_or(1),
        threads,
        done: false,
        failed: None,
        scan: Arc::clone(scan),
    };
    stream::unfold(state, |mut state| async move {
        let rows = state.next().await?;
        Some((rows, state))
    })
    .boxed()
}

/// A scan with filters under way.
struct Filtering {
    scan: Arc<Scan>,
    chunks: Chunks,
    looks: Option<Looks>,
    pending: Pending,
    ready: VecDeque<Rows>,
    /// What passes of the chunks that other threads have, in order, each up to the first error.
    tasks: FuturesOrdered<BoxFuture<'static, DataFusionResult<Vec<DataFusionResult<Rows>>>>>,
    chunks_of_task: usize,
    threads: usize,
    done: bool,
    /// What comes behind the last rows.
    failed: Option<DataFusionError>,
}

impl Filtering {
    async fn next(&mut self) -> Option<DataFusionResult<Rows>> {
        loop {
            if let Some(rows) = self.ready.pop_front() {
                return Some(Ok(rows));
            }
            if self.done {
                return self.failed.take().map(Err);
            }
            if let Err(error) = self.fill().await {
                self.finish();
                self.failed = Some(error);
            }
            if self.ready.is_empty() {
                tokio::task::yield_now().await;
            }
        }
    }

    /// Filters some chunks: the first ones here, for a limit may be reached soon, and what is left of
    /// many by tasks.
    async fn fill(&mut self) -> DataFusionResult<()> {
        if self.pending.is_done() {
            self.finish();
            return Ok(());
        }
        let first = self.looks.is_none();
        let task_rows = (self.chunks_of_task as u64).saturating_mul(BLOCK);
        if self.tasks.is_empty()
            && (first || self.threads == 1 || self.chunks.rows_left() <= task_rows)
        {
            return self.fill_here();
        }
        while self.tasks.len() <= self.threads {
            self.look();
            let chunks: Vec<Rows> = self.chunks.by_ref().take(self.chunks_of_task).collect();
            if chunks.is_empty() {
                break;
            }
            self.scan.metrics.task();
            let scan = Arc::clone(&self.scan);
            self.tasks
                .push_back(task(move || Ok(scan.survivors_of_all(chunks))));
        }
        for survivors in self.tasks.next().await.transpose()?.unwrap_or_default() {
            // Nobody asks for an error behind the limit.
            if self.pending.is_done() {
                break;
            }
            self.ready.extend(self.pending.push(survivors?));
        }
        if self.tasks.is_empty() && self.chunks.rows_left() == 0 {
            self.finish();
        }
        Ok(())
    }

    fn fill_here(&mut self) -> DataFusionResult<()> {
        self.look();
        for _ in 0..CHUNKS_AT_ONCE {
            let Some(chunk) = self.chunks.next() else {
                self.finish();
                break;
            };
            let survivors = self.scan.survivors_of(chunk)?;
            self.ready.extend(self.pending.push(survivors));
            if !self.ready.is_empty() {
                break;
            }
        }
        Ok(())
    }

    /// Leaves out what filters are known to exclude by now.
    fn look(&mut self) {
        match &mut self.looks {
            Some(looks) => looks.again(&self.scan, &mut self.chunks),
            None => self.looks = Some(Looks::new(&self.scan, &mut self.chunks)),
        }
    }

    fn finish(&mut self) {
        self.ready.extend(self.pending.flush());
        self.tasks.clear();
        self.done = true;
    }
}

impl Scan {
    /// As [`survivors_of`](Self::survivors_of) of each chunk, up to the first error.
    fn survivors_of_all(&self, chunks: Vec<Rows>) -> Vec<DataFusionResult<Rows>> {
        let mut survivors = Vec::with_capacity(chunks.len());
        for chunk in chunks {
            survivors.push(self.survivors_of(chunk));
            if survivors.last().is_some_and(Result::is_err) {
                break;
            }
        }
        survivors
    }

    /// The rows of a chunk that pass, in the order of the scan.
    fn survivors_of(&self, chunk: Rows) -> DataFusionResult<Rows> {
        let time = self.metrics.baseline.elapsed_compute().clone();
        let _timer = time.timer();
        Ok(self.in_order(self.survivors(chunk)?))
    }
}
