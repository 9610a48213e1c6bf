//! Scans that compute distances, and the nearest rows in one pass.

mod join;
mod kept;
mod ranking;
mod rule;
mod search;
mod sorted;

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result as DataFusionResult, Statistics};
use datafusion::datasource::source::DataSource;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::projection::ProjectionExprs;
use datafusion::physical_expr::{
    EquivalenceProperties, LexOrdering, Partitioning, PhysicalExpr, PhysicalSortExpr,
};
use datafusion::physical_plan::execution_plan::SchedulingType;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayFormatType, SortOrderPushdownResult};
use futures::StreamExt;

use crate::source::NumPackSource;
use ranking::Ranking;
pub(crate) use rule::NearestJoinRule;
use search::Search;
pub(crate) use sorted::SortAllRule;

/// A scan with distances among its columns, that may come in the order of one of them.
///
/// In that order, it is one pass over the vectors that keeps the first rows, and the other columns are
/// read for those alone.
#[derive(Clone, Debug)]
pub(crate) struct DistanceSource {
    /// What is read.
    source: NumPackSource,
    /// What is computed of it; None for the columns as they are.
    exprs: Option<ProjectionExprs>,
    schema: SchemaRef,
    ranking: Option<Arc<Ranking>>,
    fetch: Option<usize>,
    metrics: ExecutionPlanMetricsSet,
}

impl DistanceSource {
    /// `source` in the order of a distance; None for another order, and where not all rows are asked
    /// for.
    pub(crate) fn ordered(source: &NumPackSource, order: &[PhysicalSortExpr]) -> Option<Self> {
        let [sort] = order else { return None };
        let ranking = Ranking::new(source, &sort.expr, sort)?;
        Some(Self {
            schema: Arc::clone(source.schema()),
            source: source.clone(),
            exprs: None,
            ranking: Some(Arc::new(ranking)),
            fetch: None,
            metrics: ExecutionPlanMetricsSet::new(),
        })
    }

    /// `source` with columns computed, if at least one is a distance and all others are columns.
    pub(crate) fn projected(
        source: &NumPackSource,
        exprs: &ProjectionExprs,
    ) -> DataFusionResult<Option<Self>> {
        let is_column = |expr: &Arc<dyn PhysicalExpr>| expr.downcast_ref::<Column>().is_some();
        let mut distances = exprs.iter().filter(|projected| !is_column(&projected.expr));
        let all = exprs.iter().all(|projected| {
            is_column(&projected.expr) || ranking::distance_of(source, &projected.expr).is_some()
        });
        if distances.next().is_none() || !all {
            return Ok(None);
        }
        Ok(Some(Self {
            schema: Arc::new(exprs.project_schema(source.schema())?),
            fetch: source.fetch(),
            source: source.clone(),
            exprs: Some(exprs.clone()),
            ranking: None,
            metrics: ExecutionPlanMetricsSet::new(),
        }))
    }

    fn ordering(&self) -> Option<LexOrdering> {
        LexOrdering::new([self.ranking.as_ref()?.sort().clone()])
    }
}

/// The columns of `schema`, computed from a batch.
fn compute(
    exprs: Option<&ProjectionExprs>,
    schema: &SchemaRef,
    batch: RecordBatch,
) -> DataFusionResult<RecordBatch> {
    let Some(exprs) = exprs else {
        return Ok(batch);
    };
    let rows = batch.num_rows();
    let columns = exprs
        .iter()
        .map(|projected| projected.expr.evaluate(&batch)?.into_array(rows));
    let columns = columns.collect::<DataFusionResult<Vec<_>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(
        Arc::clone(schema),
        columns,
        &options,
    )?)
}

impl DataSource for DistanceSource {
    fn open(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> DataFusionResult<SendableRecordBatchStream> {
        let (exprs, schema) = (self.exprs.clone(), Arc::clone(&self.schema));
        let batches = match &self.ranking {
            None => {
                let source = self.source.with_fetch(self.fetch);
                let source = source.unwrap_or_else(|| Arc::new(self.source.clone()));
                source.open(partition, context)?
            }
            Some(ranking) => {
                let ranking = Arc::clone(ranking);
                Search::new(self.source.clone(), ranking, self.fetch, &self.metrics).run(&context)
            }
        };
        let batches = batches.map(move |batch| compute(exprs.as_ref(), &schema, batch?));
        let schema = Arc::clone(&self.schema);
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, batches)))
    }

    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let separator = match format {
            DisplayFormatType::Default | DisplayFormatType::Verbose => ", ",
            DisplayFormatType::TreeRender => "\n",
        };
        // The source has no limit of its own: it stands behind the order.
        self.source.without_fetch().fmt_as(format, f)?;
        if let Some(exprs) = &self.exprs {
            let exprs = exprs.iter().map(ToString::to_string);
            write!(
                f,
                "{separator}exprs=[{}]",
                exprs.collect::<Vec<_>>().join(", ")
            )?;
        }
        if let Some(ranking) = &self.ranking {
            write!(f, "{separator}nearest=[{}]", ranking.sort())?;
        }
        if let Some(fetch) = self.fetch {
            write!(f, "{separator}fetch={fetch}")?;
        }
        Ok(())
    }

    fn output_partitioning(&self) -> Partitioning {
        // What is ranked is one part: a scan of several gives no order.
        self.source.output_partitioning()
    }

    fn eq_properties(&self) -> EquivalenceProperties {
        EquivalenceProperties::new_with_orderings(Arc::clone(&self.schema), self.ordering())
    }

    fn scheduling_type(&self) -> SchedulingType {
        SchedulingType::Cooperative
    }

    fn partition_statistics(&self, partition: Option<usize>) -> DataFusionResult<Arc<Statistics>> {
        let rows = self.source.partition_statistics(partition)?.num_rows;
        let mut statistics = Statistics::new_unknown(&self.schema);
        statistics.num_rows = match self.fetch {
            Some(fetch) => rows.map(|rows| rows.min(fetch)),
            None => rows,
        };
        Ok(Arc::new(statistics))
    }

    fn with_fetch(&self, fetch: Option<usize>) -> Option<Arc<dyn DataSource>> {
        Some(Arc::new(Self {
            fetch,
            ..self.clone()
        }))
    }

    fn fetch(&self) -> Option<usize> {
        self.fetch
    }

    fn metrics(&self) -> ExecutionPlanMetricsSet {
        self.metrics.clone()
    }

    fn try_swapping_with_projection(
        &self,
        _projection: &ProjectionExprs,
    ) -> DataFusionResult<Option<Arc<dyn DataSource>>> {
        Ok(None)
    }

    fn try_pushdown_sort(
        &self,
        order: &[PhysicalSortExpr],
    ) -> DataFusionResult<SortOrderPushdownResult<Arc<dyn DataSource>>> {
        let unsupported = Ok(SortOrderPushdownResult::Unsupported);
        let (Some(exprs), [sort], None, None) = (&self.exprs, order, &self.ranking, self.fetch)
        else {
            return unsupported;
        };
        let Some(column) = sort.expr.downcast_ref::<Column>() else {
            return unsupported;
        };
        let projected = exprs.iter().nth(column.index());
        let ranking = projected.and_then(|p| Ranking::new(&self.source, &p.expr, sort));
        Ok(match ranking {
            None => SortOrderPushdownResult::Unsupported,
            Some(ranking) => SortOrderPushdownResult::Exact {
                inner: Arc::new(Self {
                    ranking: Some(Arc::new(ranking)),
                    ..self.clone()
                }),
            },
        })
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DataFusionResult<TreeNodeRecursion>,
    ) -> DataFusionResult<TreeNodeRecursion> {
        for projected in self.exprs.iter().flat_map(ProjectionExprs::iter) {
            if f(&projected.expr)? == TreeNodeRecursion::Stop {
                return Ok(TreeNodeRecursion::Stop);
            }
        }
        self.source.apply_expressions(f)
    }
}
