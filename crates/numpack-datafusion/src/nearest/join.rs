use std::fmt;
use std::sync::{Arc, Mutex};

use arrow::array::{Array, AsArray, UInt64Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result as DataFusionResult, internal_err};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{
    BaselineMetrics, Count, ExecutionPlanMetricsSet, MetricBuilder, MetricsSet, RecordOutput,
};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties,
    PlanProperties, ReplaceChildrenOptions, collect,
};
use futures::future::{BoxFuture, FutureExt, Shared};
use futures::{StreamExt, TryStreamExt, stream};
use numpack_kernels::{Order, Query, Top, UNDEFINED};

use super::kept::Kept;
use crate::functions::{Distance, vectors, whole};
use crate::held::held;

/// Rows that are compared with every vector while they lie in a cache of their thread.
const BLOCK: usize = 256;

/// What two tables are compared by.
#[derive(Clone, Debug)]
pub(super) struct Comparison {
    /// How a distance of two columns is computed.
    pub(super) distance: Arc<dyn PhysicalExpr>,
    /// Column of the vectors whose neighbours are wanted, in their own table.
    pub(super) query: usize,
    /// Column of the vectors among which these are looked for, in their own table.
    pub(super) row: usize,
    /// Which rows come first.
    pub(super) order: Order,
    /// How many of them each vector gets.
    pub(super) limit: usize,
}

/// The rows nearest to each of many vectors: what stays of a cross join where a filter asks for the
/// first rows of each vector only.
///
/// One pass over the rows; the vectors are shared out among the partitions.
pub(super) struct NearestJoinExec {
    queries: Arc<dyn ExecutionPlan>,
    rows: Arc<dyn ExecutionPlan>,
    comparison: Comparison,
    /// Whether the columns of `queries` stand before those of `rows`.
    queries_first: bool,
    collected: Mutex<Option<Collected>>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

/// The vectors, which all partitions share.
#[derive(Debug)]
struct Vectors {
    rows: RecordBatch,
    _memory: MemoryReservation,
}

type Collected = Shared<BoxFuture<'static, Result<Arc<Vectors>, Arc<DataFusionError>>>>;

impl NearestJoinExec {
    /// In place of a cross join with the schema `schema`, in `partitions` parts.
    pub(super) fn new(
        queries: Arc<dyn ExecutionPlan>,
        rows: Arc<dyn ExecutionPlan>,
        comparison: Comparison,
        queries_first: bool,
        partitions: usize,
    ) -> Self {
        let (left, right) = if queries_first {
            (&queries, &rows)
        } else {
            (&rows, &queries)
        };
        let (left, right) = (left.schema(), right.schema());
        let fields = left.fields().iter().chain(right.fields()).cloned();
        let schema = Schema::new(fields.collect::<Vec<_>>());
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::new(schema)),
            Partitioning::UnknownPartitioning(partitions),
            EmissionType::Final,
            Boundedness::Bounded,
        );
        Self {
            queries,
            rows,
            comparison,
            queries_first,
            collected: Mutex::default(),
            properties: Arc::new(properties),
            metrics: ExecutionPlanMetricsSet::new(),
        }
    }

    fn collected(&self, context: &Arc<TaskContext>) -> Collected {
        let mut shared = held(&self.collected);
        if let Some(collected) = &*shared {
            return collected.clone();
        }
        let (queries, context) = (Arc::clone(&self.queries), Arc::clone(context));
        let collected = async move {
            let schema = queries.schema();
            let memory = reserve("vectors", &context);
            let batches = collect(queries, context).await?;
            memory.try_grow(batches.iter().map(RecordBatch::get_array_memory_size).sum())?;
            let rows = concat_batches(&schema, &batches)?;
            Ok(Arc::new(Vectors {
                rows,
                _memory: memory,
            }))
        };
        let collected = collected.map(|result: DataFusionResult<_>| result.map_err(Arc::new));
        shared.insert(collected.boxed().shared()).clone()
    }
}

fn reserve(what: &str, context: &TaskContext) -> MemoryReservation {
    MemoryConsumer::new(format!("NearestJoinExec: {what}")).register(context.memory_pool())
}

/// The search of one partition.
struct Search {
    rows: Arc<dyn ExecutionPlan>,
    comparison: Comparison,
    queries_first: bool,
    /// This partition, of how many.
    part: (usize, usize),
    schema: SchemaRef,
    compared: Count,
    baseline: BaselineMetrics,
}

impl Search {
    async fn run(
        self,
        queries: &RecordBatch,
        context: Arc<TaskContext>,
    ) -> DataFusionResult<RecordBatch> {
        let (part, parts) = self.part;
        let mine: Vec<usize> = (part..queries.num_rows()).step_by(parts).collect();
        let mut tops = self.tops(queries, &mine)?;
        let mut kept = Kept::new(self.rows.schema(), reserve("rows", &context));
        for partition in 0..self.rows.output_partitioning().partition_count() {
            let mut batches = self.rows.execute(partition, Arc::clone(&context))?;
            while let Some(batch) = batches.next().await {
                let batch = batch?;
                let timer = self.baseline.elapsed_compute().timer();
                self.compare(&batch, kept.next(), &mut tops)?;
                self.compared.add(batch.num_rows() * mine.len());
                kept.push(batch, || {
                    tops.iter().flat_map(|(_, top)| top.rows()).collect()
                })?;
                timer.done();
                // The comparison may be all that there is to do for long.
                tokio::task::yield_now().await;
            }
        }
        let _timer = self.baseline.elapsed_compute().timer();
        self.gather(queries, &mine, tops, &kept)
    }

    /// Each vector made ready; None for one that is NULL.
    fn tops(
        &self,
        queries: &RecordBatch,
        mine: &[usize],
    ) -> DataFusionResult<Vec<(Option<Query>, Top)>> {
        let Some(metric) = Distance::metric_of(&self.comparison.distance) else {
            return internal_err!("a join by something else than a distance");
        };
        let list = queries.column(self.comparison.query).as_fixed_size_list();
        let width = usize::try_from(list.value_length()).unwrap_or_default();
        let (valid, values) = (whole(list), vectors(list.values())?);
        let ready = |&row: &usize| {
            let is_valid = valid.as_ref().is_none_or(|valid| valid.is_valid(row));
            let query = is_valid.then(|| Query::new(metric, values.rows(width, row..row + 1)));
            (
                query,
                Top::new(self.comparison.limit, self.comparison.order),
            )
        };
        Ok(mine.iter().map(ready).collect())
    }

    fn compare(
        &self,
        batch: &RecordBatch,
        first: u64,
        tops: &mut [(Option<Query>, Top)],
    ) -> DataFusionResult<()> {
        let list = batch.column(self.comparison.row).as_fixed_size_list();
        let width = usize::try_from(list.value_length()).unwrap_or_default();
        let (valid, values) = (whole(list), vectors(list.values())?);
        let mut distances = [0.0; BLOCK];
        for start in (0..list.len()).step_by(BLOCK) {
            let end = list.len().min(start + BLOCK);
            let block = values.rows(width, start..end);
            let out = &mut distances[..end - start];
            for (query, top) in &mut *tops {
                match query {
                    Some(query) => query.distances(block, out),
                    None => out.fill(UNDEFINED),
                }
                if let Some(valid) = &valid {
                    for (row, out) in (start..end).zip(&mut *out) {
                        if valid.is_null(row) {
                            *out = UNDEFINED;
                        }
                    }
                }
                top.offer(first + start as u64, out);
            }
        }
        Ok(())
    }

    /// The rows found, beside the vectors that they are near to.
    fn gather(
        &self,
        queries: &RecordBatch,
        mine: &[usize],
        tops: Vec<(Option<Query>, Top)>,
        kept: &Kept,
    ) -> DataFusionResult<RecordBatch> {
        let (mut of_queries, mut of_rows) = (Vec::new(), Vec::new());
        for (&query, (_, top)) in mine.iter().zip(tops) {
            for (row, _) in top.into_rows() {
                of_queries.push(query as u64);
                of_rows.push(row);
            }
        }
        let queries = take_record_batch(queries, &UInt64Array::from(of_queries))?;
        let rows = kept.rows(&of_rows)?;
        let (left, right) = if self.queries_first {
            (queries, rows)
        } else {
            (rows, queries)
        };
        let columns = left.columns().iter().chain(right.columns()).cloned();
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), columns.collect())?;
        Ok(batch.record_output(&self.baseline))
    }
}

impl fmt::Debug for NearestJoinExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NearestJoinExec: {:?}", self.comparison)
    }
}

impl DisplayAs for NearestJoinExec {
    fn fmt_as(&self, _format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Comparison {
            distance,
            order,
            limit,
            ..
        } = &self.comparison;
        let order = if order.descending { "DESC" } else { "ASC" };
        write!(
            f,
            "NearestJoinExec: nearest=[{distance} {order}], fetch={limit} each"
        )
    }
}

impl ExecutionPlan for NearestJoinExec {
    fn name(&self) -> &'static str {
        "NearestJoinExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.queries, &self.rows]
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let [queries, rows] = children.as_slice() else {
            return internal_err!("a join has two inputs");
        };
        Ok(Arc::new(Self::new(
            Arc::clone(queries),
            Arc::clone(rows),
            self.comparison.clone(),
            self.queries_first,
            self.properties.output_partitioning().partition_count(),
        )))
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
        self.replace_children(children, options)
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DataFusionResult<TreeNodeRecursion>,
    ) -> DataFusionResult<TreeNodeRecursion> {
        f(&self.comparison.distance)
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> DataFusionResult<SendableRecordBatchStream> {
        let schema = self.schema();
        let search = Search {
            rows: Arc::clone(&self.rows),
            comparison: self.comparison.clone(),
            queries_first: self.queries_first,
            part: (
                partition,
                self.properties.output_partitioning().partition_count(),
            ),
            schema: Arc::clone(&schema),
            compared: MetricBuilder::new(&self.metrics).counter("distances", partition),
            baseline: BaselineMetrics::new(&self.metrics, partition),
        };
        let collected = self.collected(&context);
        let batch_rows = context.session_config().batch_size().max(1);
        let batches = stream::once(async move {
            let queries = collected.await.map_err(DataFusionError::Shared)?;
            let batch = search.run(&queries.rows, context).await?;
            let starts = (0..batch.num_rows()).step_by(batch_rows);
            let slices = starts.map(move |start| {
                let rows = batch_rows.min(batch.num_rows() - start);
                Ok::<_, DataFusionError>(batch.slice(start, rows))
            });
            Ok::<_, DataFusionError>(stream::iter(slices))
        });
        let batches = batches.try_flatten().boxed();
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, batches)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}
