//! A relation as a source of DataFusion's: what is read, which rows, in which order.

mod comparison;
mod filter;
mod leaf;
mod parts;
mod ranges;
mod row_id;
mod show;
mod statistics;
mod uncast;

use std::fmt;
use std::sync::Arc;

use arrow::compute::SortOptions;
use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::Result as DataFusionResult;
use datafusion::common::Statistics;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::datasource::source::DataSource;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::projection::ProjectionExprs;
use datafusion::physical_expr::utils::split_conjunction;
use datafusion::physical_expr::{
    EquivalenceProperties, LexOrdering, Partitioning, PhysicalExpr, PhysicalSortExpr,
};
use datafusion::physical_plan::DisplayFormatType;
use datafusion::physical_plan::coop::cooperative;
use datafusion::physical_plan::execution_plan::SchedulingType;
use datafusion::physical_plan::filter_pushdown::{FilterPushdownPropagation, PushedDown};
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use datafusion::physical_plan::sort_pushdown::SortOrderPushdownResult;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;

use numpack_engine::ArraySnapshot;

pub(crate) use self::filter::Filter;
use self::leaf::{Leaf, Leaves};
pub(crate) use self::ranges::RowRanges;
use self::row_id::rows_of;
use crate::item::item_of;
use crate::nearest::DistanceSource;
use crate::relation::Relation;
use crate::scan::{Scan, ScanMetrics, stream};

/// Some columns of those rows of a relation that pass its filters, front to back or back to front.
///
/// In row order, so that LIMIT means the first rows and a plain SELECT keeps the arrays' order; in
/// parts that are read at once, each in row order, only where nobody sees the order. Predicates are evaluated here, one after another on the survivors; columns that no
/// predicate names are read for the survivors only. Predicates on `row_id` alone choose the rows
/// that are read at all.
#[derive(Clone, Debug)]
pub struct NumPackSource {
    relation: Arc<Relation>,
    leaves: Leaves,
    /// Places of the leaves in output order.
    output: Vec<usize>,
    /// The schema of the output.
    schema: SchemaRef,
    /// The rows that are looked at.
    rows: RowRanges,
    /// In the order that they are evaluated in.
    filters: Vec<Filter>,
    /// Whether the last row comes first.
    reversed: bool,
    /// Give only this many rows, the first ones in order.
    fetch: Option<usize>,
    /// Whether the order reaches no result, so that there may be several parts.
    unordered: bool,
    /// The parts, one after the other in row order, that are read each on its own.
    parts: usize,
    metrics: ExecutionPlanMetricsSet,
}

impl NumPackSource {
    pub(crate) fn new(
        relation: Arc<Relation>,
        projection: Option<&Vec<usize>>,
        fetch: Option<usize>,
    ) -> Self {
        let all = || (0..relation.schema().fields().len()).collect();
        let columns = projection.cloned().unwrap_or_else(all);
        // Not the leaves' fields: a position that comes in for a change is the leaf of `row_id` too.
        let fields = columns
            .iter()
            .map(|&column| relation.schema().field(column));
        let schema = Schema::new(fields.cloned().collect::<Vec<_>>());
        let mut leaves = Leaves::default();
        let leaf = |column| match relation.array(column) {
            Some(_) => Leaf::Column(column),
            None => Leaf::RowId,
        };
        let places = columns.into_iter();
        let output: Vec<usize> = places
            .map(|column| leaves.place(&relation, leaf(column)))
            .collect();
        Self {
            schema: Arc::new(schema),
            rows: RowRanges::one(0..relation.rows()),
            relation,
            leaves,
            output,
            filters: Vec::new(),
            reversed: false,
            fetch,
            unordered: false,
            parts: 1,
            metrics: ExecutionPlanMetricsSet::new(),
        }
    }

    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The array that is a column of the output; None for `row_id` and for values of lists.
    pub(crate) fn array(&self, column: usize) -> Option<&ArraySnapshot> {
        match self.leaves.get(*self.output.get(column)?) {
            Leaf::Column(column) => self.relation.array(column),
            Leaf::RowId | Leaf::Item { .. } => None,
        }
    }

    /// The same scan without a limit.
    pub(crate) fn without_fetch(&self) -> Self {
        Self {
            fetch: None,
            ..self.clone()
        }
    }

    /// The same scan where the order of its rows reaches no result.
    pub(crate) fn unordered(&self) -> Self {
        Self {
            unordered: true,
            ..self.clone()
        }
    }

    /// The number of rows, if it is all of them that this gives, in order.
    pub(crate) fn whole(&self) -> Option<u64> {
        let rows = self.relation.rows();
        let whole = self.filters.is_empty()
            && self.fetch.is_none()
            && self.parts == 1
            && self.rows.len() == rows;
        whole.then_some(rows)
    }

    /// What reads the rows, counting in `metrics`.
    pub(crate) fn scan(
        &self,
        batch_rows: usize,
        metrics: &ExecutionPlanMetricsSet,
        partition: usize,
    ) -> DataFusionResult<Scan> {
        let mut zones = vec![None; self.leaves.len()];
        for &leaf in self.filters.iter().flat_map(Filter::reads) {
            zones[leaf] = self.leaves.zones(&self.relation, leaf);
        }
        let filtered = !self.filters.is_empty();
        Ok(Scan {
            readers: self.leaves.readers(&self.relation)?,
            rows: self.relation.rows(),
            filters: self.filters.clone(),
            zones,
            output: self.output.clone(),
            schema: Arc::clone(&self.schema),
            copied_bytes: self.output_bytes(Leaves::is_copied),
            output_bytes: self.output_bytes(|_, _| true),
            batch_rows,
            reversed: self.reversed,
            metrics: ScanMetrics::new(metrics, partition, self.leaves.names(), filtered),
        })
    }

    /// Bytes that are read of each output row, of the leaves that `which` is true of.
    fn output_bytes(&self, which: impl Fn(&Leaves, usize) -> bool) -> usize {
        let leaves = self.output.iter().copied();
        let leaves = leaves.filter(|&leaf| which(&self.leaves, leaf));
        leaves
            .map(|leaf| self.leaves.row_bytes(&self.relation, leaf))
            .sum()
    }

    /// The rows that are looked at, as far as the limit is not counted in survivors.
    fn wanted(&self) -> RowRanges {
        match self.fetch {
            Some(fetch) if self.filters.is_empty() => self.rows.end(fetch as u64, self.reversed),
            _ => self.rows.clone(),
        }
    }

    fn ordering(&self) -> Option<LexOrdering> {
        let place = self.leaves.row_id()?;
        let column = self.output.iter().position(|&leaf| leaf == place)?;
        let name = self.schema.field(column).name();
        let options = SortOptions {
            descending: self.reversed,
            nulls_first: self.reversed,
        };
        LexOrdering::new([PhysicalSortExpr::new(
            Arc::new(Column::new(name, column)),
            options,
        )])
    }

    /// The leaf that `expr` over the output is, if it is just one.
    fn leaf(&mut self, expr: &Arc<dyn PhysicalExpr>) -> Option<usize> {
        if let Some(column) = expr.downcast_ref::<Column>() {
            return Some(self.output[column.index()]);
        }
        let (lists, index) = item_of(expr)?;
        let place = self.output[lists.index()];
        self.leaves.item(&self.relation, place, index)
    }

    /// An expression over the output as one over the leaves.
    fn over_leaves(
        &mut self,
        expr: Arc<dyn PhysicalExpr>,
    ) -> DataFusionResult<Arc<dyn PhysicalExpr>> {
        expr.transform_down(|expr| {
            let Some(place) = self.leaf(&expr) else {
                return Ok(Transformed::no(expr));
            };
            let name = self.leaves.field(place).name();
            let column: Arc<dyn PhysicalExpr> = Arc::new(Column::new(name, place));
            Ok(Transformed::new(column, true, TreeNodeRecursion::Jump))
        })
        .data()
    }

    /// Takes a predicate over the leaves on.
    fn add_filter(&mut self, predicate: Arc<dyn PhysicalExpr>) -> DataFusionResult<()> {
        let rows = self
            .leaves
            .row_id()
            .and_then(|row_id| rows_of(&predicate, row_id, self.relation.rows()));
        if let Some(rows) = rows {
            self.rows = self.rows.and(&rows);
            return Ok(());
        }
        let mut filter = Filter::new(predicate, &self.leaves, &self.relation)?;
        let mut others = self.filters.iter().enumerate();
        if let Some((at, both)) = others.find_map(|(at, other)| Some((at, other.with(&filter)?))) {
            self.filters.remove(at);
            filter = Filter::new(both, &self.leaves, &self.relation)?;
        }
        self.filters.push(filter);
        Ok(())
    }
}

impl DataSource for NumPackSource {
    fn open(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> DataFusionResult<SendableRecordBatchStream> {
        let batch_rows = context.session_config().batch_size().max(1);
        let scan = self.scan(batch_rows, &self.metrics, partition)?;
        let rows = self.wanted().part(partition, self.parts);
        let threads = context.session_config().target_partitions() / self.parts;
        let pool = context.memory_pool();
        let batches = stream(scan, &rows, self.fetch, threads.max(1), pool);
        let schema = Arc::clone(&self.schema);
        let stream = RecordBatchStreamAdapter::new(schema, batches);
        Ok(Box::pin(cooperative(stream)))
    }

    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.show(format, f)
    }

    fn repartitioned(
        &self,
        target_partitions: usize,
        _repartition_file_min_size: usize,
        _output_ordering: Option<LexOrdering>,
    ) -> DataFusionResult<Option<Arc<dyn DataSource>>> {
        if !self.unordered || self.fetch.is_some() {
            return Ok(None);
        }
        let parts = self.parts_worth(target_partitions);
        let changed = parts != self.parts;
        Ok(changed.then(|| {
            Arc::new(Self {
                parts,
                ..self.clone()
            }) as _
        }))
    }

    fn output_partitioning(&self) -> Partitioning {
        Partitioning::UnknownPartitioning(self.parts)
    }

    fn eq_properties(&self) -> EquivalenceProperties {
        EquivalenceProperties::new_with_orderings(Arc::clone(&self.schema), self.ordering())
    }

    fn scheduling_type(&self) -> SchedulingType {
        SchedulingType::Cooperative
    }

    fn partition_statistics(&self, partition: Option<usize>) -> DataFusionResult<Arc<Statistics>> {
        let rows = self.wanted();
        Ok(Arc::new(self.statistics(&match partition {
            Some(partition) => rows.part(partition, self.parts),
            None => rows,
        })))
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
        let mut source = self.clone();
        let mut fields: Vec<Field> = Vec::new();
        let mut output = Vec::new();
        for projected in projection.iter() {
            let Some(leaf) = source.leaf(&projected.expr) else {
                let source = DistanceSource::projected(self, projection)?;
                return Ok(source.map(|source| Arc::new(source) as _));
            };
            let field = projected.expr.return_field(&self.schema)?;
            fields.push(field.as_ref().clone().with_name(&projected.alias));
            output.push(leaf);
        }
        source.output = output;
        source.schema = Arc::new(Schema::new(fields));
        Ok(Some(Arc::new(source)))
    }

    fn try_pushdown_filters(
        &self,
        filters: Vec<Arc<dyn PhysicalExpr>>,
        _config: &ConfigOptions,
    ) -> DataFusionResult<FilterPushdownPropagation<Arc<dyn DataSource>>> {
        if filters.is_empty() || self.fetch.is_some() {
            // The limit counts rows before these filters.
            let refused = vec![PushedDown::No; filters.len()];
            return Ok(FilterPushdownPropagation::with_parent_pushdown_result(
                refused,
            ));
        }
        let mut source = self.clone();
        let taken = vec![PushedDown::Yes; filters.len()];
        for filter in filters {
            let filter = source.over_leaves(filter)?;
            for predicate in split_conjunction(&filter) {
                source.add_filter(Arc::clone(predicate))?;
            }
        }
        source.filters.sort_by_key(Filter::rank);
        let source: Arc<dyn DataSource> = Arc::new(source);
        Ok(FilterPushdownPropagation::with_parent_pushdown_result(taken).with_updated_node(source))
    }

    fn try_pushdown_sort(
        &self,
        order: &[PhysicalSortExpr],
    ) -> DataFusionResult<SortOrderPushdownResult<Arc<dyn DataSource>>> {
        if let Some(source) = DistanceSource::ordered(self, order) {
            return Ok(SortOrderPushdownResult::Exact {
                inner: Arc::new(source),
            });
        }
        // Positions are all different: what is sorted by behind them does not matter.
        let first = order.first();
        let column = first.and_then(|first| first.expr.downcast_ref::<Column>());
        let (Some(first), Some(column)) = (first, column) else {
            return Ok(SortOrderPushdownResult::Unsupported);
        };
        let reversed = first.options.descending;
        let turned = reversed != self.reversed;
        let by_row_id = self.leaves.get(self.output[column.index()]) == Leaf::RowId;
        if !by_row_id || (turned && self.fetch.is_some()) {
            return Ok(SortOrderPushdownResult::Unsupported);
        }
        let source = Self {
            reversed,
            ..self.clone()
        };
        Ok(SortOrderPushdownResult::Exact {
            inner: Arc::new(source),
        })
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DataFusionResult<TreeNodeRecursion>,
    ) -> DataFusionResult<TreeNodeRecursion> {
        for filter in &self.filters {
            if f(filter.expr())? == TreeNodeRecursion::Stop {
                return Ok(TreeNodeRecursion::Stop);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    }
}
