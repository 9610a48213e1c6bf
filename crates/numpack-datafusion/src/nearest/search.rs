use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, AsArray};
use datafusion::common::runtime::SpawnedTask;
use datafusion::common::{DataFusionError, Result as DataFusionResult, exec_datafusion_err};
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::metrics::{
    BaselineMetrics, Count, ExecutionPlanMetricsSet, MetricBuilder, RecordOutput,
};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::{StreamExt, TryStreamExt, stream};
use numpack_arrow::ArrayReader;
use numpack_kernels::{Top, Vectors};

use super::ranking::Ranking;
use crate::error::SqlError;
use crate::functions::vectors;
use crate::relation::COLUMNS;
use crate::scan::Rows;
use crate::source::NumPackSource;

/// Rows whose distances are computed at once: their numbers stay in the first cache.
const BLOCK: u64 = 2048;

/// Rows between two looks at whether the query still runs.
const TURN: u64 = 64 * BLOCK;

/// Rows for each thread below which another one costs more than it gives.
const SHARE: u64 = 16 * BLOCK;

/// One search for the nearest rows.
pub(super) struct Search {
    source: NumPackSource,
    ranking: Arc<Ranking>,
    limit: usize,
    baseline: BaselineMetrics,
    compared: Count,
    metrics: ExecutionPlanMetricsSet,
}

impl Search {
    pub(super) fn new(
        source: NumPackSource,
        ranking: Arc<Ranking>,
        fetch: Option<usize>,
        metrics: &ExecutionPlanMetricsSet,
    ) -> Self {
        let rows = usize::try_from(source.whole().unwrap_or(0)).unwrap_or(usize::MAX);
        Self {
            source,
            ranking,
            limit: fetch.map_or(rows, |fetch| fetch.min(rows)),
            baseline: BaselineMetrics::new(metrics, 0),
            compared: MetricBuilder::new(metrics).counter("rows_compared", 0),
            metrics: metrics.clone(),
        }
    }

    /// The rows, in order, in batches of the source's columns.
    pub(super) fn run(self, context: &TaskContext) -> SendableRecordBatchStream {
        let config = context.session_config();
        let (threads, batch_rows) = (
            config.target_partitions().max(1),
            config.batch_size().max(1),
        );
        let schema = Arc::clone(self.source.schema());
        let memory = MemoryConsumer::new("nearest rows").register(context.memory_pool());
        let batches = stream::once(async move {
            // Each thread has its rows, and all of them are put together.
            memory.try_grow((threads + 1).saturating_mul(Top::memory(self.limit)))?;
            let scan = self.source.scan(batch_rows, &self.metrics, 0)?;
            let rows = self.nearest(threads).await?;
            memory.try_resize(size_of_val(rows.as_slice()))?;
            let starts = (0..rows.len()).step_by(batch_rows);
            let batches = starts.map(move |start| {
                let _as_long_as_the_rows = &memory;
                let end = rows.len().min(start + batch_rows);
                let time = self.baseline.elapsed_compute().clone();
                let _timer = time.timer();
                let batch = scan.batch(&Rows::List(rows[start..end].to_vec()));
                batch.record_output(&self.baseline)
            });
            Ok::<_, DataFusionError>(stream::iter(batches))
        });
        Box::pin(RecordBatchStreamAdapter::new(
            schema,
            batches.try_flatten().boxed(),
        ))
    }

    /// The positions of the first rows in the order.
    async fn nearest(&self, threads: usize) -> DataFusionResult<Vec<u64>> {
        let rows = self.source.whole().unwrap_or(0);
        let threads = (rows / SHARE).clamp(1, threads as u64);
        let share = rows.div_ceil(threads);
        let tasks: Vec<_> = (0..threads)
            .map(|i| {
                let part = (i * share).min(rows)..((i + 1) * share).min(rows);
                let (source, ranking) = (self.source.clone(), Arc::clone(&self.ranking));
                SpawnedTask::spawn(compare(source, ranking, part, self.limit))
            })
            .collect();
        let mut top = Top::new(self.limit, self.ranking.order());
        for task in tasks {
            let part = task
                .await
                .map_err(|error| DataFusionError::External(Box::new(error)))?;
            top.merge(part?);
        }
        self.compared
            .add(usize::try_from(rows).unwrap_or(usize::MAX));
        Ok(top.into_rows().into_iter().map(|(row, _)| row).collect())
    }
}

/// The first of some rows.
async fn compare(
    source: NumPackSource,
    ranking: Arc<Ranking>,
    part: Range<u64>,
    limit: usize,
) -> DataFusionResult<Top> {
    let mut top = Top::new(limit, ranking.order());
    let Some(array) = source.array(ranking.column()) else {
        return Err(exec_datafusion_err!("the column of vectors has no array"));
    };
    let mut reader = ArrayReader::new(array, &COLUMNS).map_err(SqlError::from)?;
    reader.skip(part.start);
    let mut distances = Vec::new();
    let mut row = part.start;
    while row < part.end {
        let rows = BLOCK.min(part.end - row);
        let block = reader.read(rows).map_err(SqlError::from)?;
        let list = block.as_fixed_size_list();
        distances.resize(list.len(), 0.0);
        let values: Vectors<'_> = vectors(list.values())?;
        ranking.query().distances(values, &mut distances);
        top.offer(row, &distances);
        row += rows;
        if (row - part.start).is_multiple_of(TURN) {
            tokio::task::yield_now().await;
        }
    }
    Ok(top)
}
