use std::fmt;
use std::sync::Arc;

use arrow::compute::SortOptions;
use arrow::datatypes::SchemaRef;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{
    ColumnStatistics, Result as DataFusionResult, ScalarValue, Statistics, project_schema,
};
use datafusion::datasource::source::DataSource;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::projection::ProjectionExprs;
use datafusion::physical_expr::{
    EquivalenceProperties, LexOrdering, Partitioning, PhysicalExpr, PhysicalSortExpr,
};
use datafusion::physical_plan::coop::cooperative;
use datafusion::physical_plan::execution_plan::SchedulingType;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use datafusion::physical_plan::projection::{all_alias_free_columns, new_projections_for_columns};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayFormatType, SortOrderPushdownResult};
use futures::stream;

use numpack_engine::ArraySnapshot;

use crate::nearest::DistanceSource;
use crate::relation::Relation;
use crate::scan::Scan;

/// Some columns of a relation, read front to back.
///
/// One partition, in row order, so that LIMIT means the first rows and a plain SELECT keeps the
/// arrays' order. Batches lie over the mapping where no deleted row interrupts them.
#[derive(Clone, Debug)]
pub struct NumPackSource {
    relation: Arc<Relation>,
    /// Columns of the relation, in output order.
    projection: Vec<usize>,
    /// The schema after projection.
    schema: SchemaRef,
    /// Read only this many rows, from the front.
    fetch: Option<usize>,
    metrics: ExecutionPlanMetricsSet,
}

impl NumPackSource {
    pub(crate) fn new(
        relation: Arc<Relation>,
        projection: Option<&Vec<usize>>,
        fetch: Option<usize>,
    ) -> DataFusionResult<Self> {
        let all = || (0..relation.schema().fields().len()).collect();
        Ok(Self {
            projection: projection.cloned().unwrap_or_else(all),
            schema: project_schema(relation.schema(), projection)?,
            relation,
            fetch,
            metrics: ExecutionPlanMetricsSet::new(),
        })
    }

    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The array behind a column of the output; None for `row_id`.
    pub(crate) fn array(&self, column: usize) -> Option<&ArraySnapshot> {
        self.relation.array(*self.projection.get(column)?)
    }

    /// The same scan of all its rows.
    pub(crate) fn without_fetch(&self) -> Self {
        Self {
            fetch: None,
            ..self.clone()
        }
    }

    /// Rows that a scan gives.
    pub(crate) fn rows(&self) -> u64 {
        let rows = self.relation.rows();
        self.fetch.map_or(rows, |fetch| rows.min(fetch as u64))
    }

    /// Where `row_id` stands in the output.
    fn row_id(&self) -> Option<usize> {
        self.projection
            .iter()
            .position(|&column| self.relation.array(column).is_none())
    }

    fn ordering(&self) -> Option<LexOrdering> {
        let column = self.row_id()?;
        let name = self.schema.field(column).name();
        let ascending = SortOptions {
            descending: false,
            nulls_first: false,
        };
        LexOrdering::new([PhysicalSortExpr::new(
            Arc::new(Column::new(name, column)),
            ascending,
        )])
    }

    fn column_statistics(&self, column: usize, rows: usize) -> ColumnStatistics {
        let statistics = ColumnStatistics::new_unknown().with_null_count(Precision::Exact(0));
        let Some(array) = self.relation.array(column) else {
            let bound = |row: usize| {
                let row = i64::try_from(row).map_or(Precision::Absent, Precision::Exact);
                row.map(ScalarValue::from)
            };
            return match rows.checked_sub(1) {
                None => statistics,
                Some(last) => statistics
                    .with_min_value(bound(0))
                    .with_max_value(bound(last))
                    .with_distinct_count(Precision::Exact(rows))
                    .with_byte_size(Precision::Exact(rows.saturating_mul(size_of::<i64>()))),
            };
        };
        // Bools are packed on the way, so theirs is an upper bound.
        let size = rows.saturating_mul(array.row_bytes());
        let size = if array.dtype() == numpack_format::DType::Bool {
            Precision::Inexact(size)
        } else {
            Precision::Exact(size)
        };
        statistics.with_byte_size(size)
    }
}

impl DataSource for NumPackSource {
    fn open(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> DataFusionResult<SendableRecordBatchStream> {
        let columns = self
            .projection
            .iter()
            .map(|&column| self.relation.array(column));
        let scan = Scan::new(
            columns,
            Arc::clone(&self.schema),
            self.rows(),
            context.session_config().batch_size(),
            &self.metrics,
            partition,
        )?;
        let schema = Arc::clone(&self.schema);
        let stream = RecordBatchStreamAdapter::new(schema, stream::iter(scan));
        Ok(Box::pin(cooperative(stream)))
    }

    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self
            .schema
            .fields()
            .iter()
            .map(|field| field.name().as_str());
        let columns = names.collect::<Vec<_>>().join(", ");
        let rows = self.relation.rows();
        match format {
            DisplayFormatType::Default | DisplayFormatType::Verbose => {
                write!(f, "NumPackSource: columns=[{columns}], rows={rows}")?;
                if let Some(fetch) = self.fetch {
                    write!(f, ", fetch={fetch}")?;
                }
                if let Some(ordering) = self.ordering() {
                    write!(f, ", output_ordering=[{ordering}]")?;
                }
                Ok(())
            }
            DisplayFormatType::TreeRender => {
                writeln!(f, "format=numpack")?;
                writeln!(f, "columns={columns}")?;
                writeln!(f, "rows={rows}")?;
                if let Some(fetch) = self.fetch {
                    writeln!(f, "fetch={fetch}")?;
                }
                Ok(())
            }
        }
    }

    fn output_partitioning(&self) -> Partitioning {
        Partitioning::UnknownPartitioning(1)
    }

    fn eq_properties(&self) -> EquivalenceProperties {
        EquivalenceProperties::new_with_orderings(Arc::clone(&self.schema), self.ordering())
    }

    fn scheduling_type(&self) -> SchedulingType {
        SchedulingType::Cooperative
    }

    fn partition_statistics(&self, _partition: Option<usize>) -> DataFusionResult<Arc<Statistics>> {
        let Ok(rows) = usize::try_from(self.rows()) else {
            return Ok(Arc::new(Statistics::new_unknown(&self.schema)));
        };
        let columns: Vec<ColumnStatistics> = self
            .projection
            .iter()
            .map(|&column| self.column_statistics(column, rows))
            .collect();
        let size = columns.iter().fold(Precision::Exact(0), |sum, column| {
            sum.add(&column.byte_size)
        });
        Ok(Arc::new(Statistics {
            num_rows: Precision::Exact(rows),
            total_byte_size: size,
            column_statistics: columns,
        }))
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
        projection: &ProjectionExprs,
    ) -> DataFusionResult<Option<Arc<dyn DataSource>>> {
        let exprs: Vec<_> = projection.iter().cloned().collect();
        if !all_alias_free_columns(&exprs) {
            let source = DistanceSource::projected(self, projection)?;
            return Ok(source.map(|source| Arc::new(source) as _));
        }
        let columns = new_projections_for_columns(&exprs, &self.projection);
        let narrower = Self::new(Arc::clone(&self.relation), Some(&columns), self.fetch)?;
        Ok(Some(Arc::new(narrower)))
    }

    fn try_pushdown_sort(
        &self,
        order: &[PhysicalSortExpr],
    ) -> DataFusionResult<SortOrderPushdownResult<Arc<dyn DataSource>>> {
        Ok(match DistanceSource::ordered(self, order) {
            Some(source) => SortOrderPushdownResult::Exact {
                inner: Arc::new(source),
            },
            None => SortOrderPushdownResult::Unsupported,
        })
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DataFusionResult<TreeNodeRecursion>,
    ) -> DataFusionResult<TreeNodeRecursion> {
        // No expression is evaluated here: filters stay with DataFusion.
        Ok(TreeNodeRecursion::Continue)
    }
}
