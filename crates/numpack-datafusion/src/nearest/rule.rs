use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result as DataFusionResult, ScalarValue};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{BinaryExpr, Column, Literal};
use datafusion::physical_expr::projection::update_expr;
use datafusion::physical_expr::utils::split_conjunction;
use datafusion::physical_expr::window::{StandardWindowExpr, WindowExpr};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::joins::CrossJoinExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowAggExec, WindowUDFExpr};
use numpack_kernels::Order;

use super::join::{Comparison, NearestJoinExec};
use crate::functions::Distance;

/// Finds the nearest rows of many vectors without making every pair:
/// `row_number() OVER (PARTITION BY q.id ORDER BY l2_distance(t.emb, q.vector)) <= k` over a cross
/// join of `q` and `t`.
///
/// Only rows that the filter would take away are left out, so the steps above stay what they are.
#[derive(Debug, Default)]
pub(crate) struct NearestJoinRule;

impl PhysicalOptimizerRule for NearestJoinRule {
    fn name(&self) -> &'static str {
        "numpack_nearest_join"
    }

    fn schema_check(&self) -> bool {
        true
    }

    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        config: &ConfigOptions,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let partitions = config.execution.target_partitions.max(1);
        let plan = plan.transform_up(|plan| {
            let Some(filter) = plan.downcast_ref::<FilterExec>() else {
                return Ok(Transformed::no(plan));
            };
            for (column, limit) in bounds(filter.predicate()) {
                if let Some(input) = below_filter(filter.input(), column, limit, partitions)? {
                    return Ok(Transformed::yes(replace_children_if_necessary(
                        plan,
                        vec![input],
                    )?));
                }
            }
            Ok(Transformed::no(plan))
        })?;
        Ok(plan.data)
    }
}

/// Columns that a condition bounds from above, and by which whole number.
fn bounds(predicate: &Arc<dyn PhysicalExpr>) -> Vec<(usize, u64)> {
    let bound = |condition: &Arc<dyn PhysicalExpr>| {
        let binary = condition.downcast_ref::<BinaryExpr>()?;
        let column = |expr: &Arc<dyn PhysicalExpr>| Some(expr.downcast_ref::<Column>()?.index());
        let number =
            |expr: &Arc<dyn PhysicalExpr>| whole_number(expr.downcast_ref::<Literal>()?.value());
        let (column, op, number) = match (column(binary.left()), number(binary.right())) {
            (Some(left), Some(right)) => (left, *binary.op(), right),
            _ => (
                column(binary.right())?,
                binary.op().swap()?,
                number(binary.left())?,
            ),
        };
        match op {
            Operator::LtEq | Operator::Eq => Some((column, number)),
            Operator::Lt => Some((column, number.checked_sub(1)?)),
            _ => None,
        }
    };
    split_conjunction(predicate)
        .into_iter()
        .filter_map(bound)
        .collect()
}

fn whole_number(value: &ScalarValue) -> Option<u64> {
    match value.cast_to(&DataType::UInt64).ok()? {
        ScalarValue::UInt64(number) => number,
        _ => None,
    }
}

/// The plan below a filter that keeps rows whose `column` is at most `limit`, if it numbers rows by
/// their distance.
fn below_filter(
    plan: &Arc<dyn ExecutionPlan>,
    column: usize,
    limit: u64,
    partitions: usize,
) -> DataFusionResult<Option<Arc<dyn ExecutionPlan>>> {
    if let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
        let source = projection.expr().get(column);
        let Some(source) = source.and_then(|source| source.expr.downcast_ref::<Column>()) else {
            return Ok(None);
        };
        let input = below_filter(projection.input(), source.index(), limit, partitions)?;
        return rebuilt(plan, input);
    }
    let windows = if let Some(window) = plan.downcast_ref::<BoundedWindowAggExec>() {
        window.window_expr()
    } else if let Some(window) = plan.downcast_ref::<WindowAggExec>() {
        window.window_expr()
    } else {
        return Ok(None);
    };
    let (Some(input), [window]) = (plan.children().first().copied(), windows) else {
        return Ok(None);
    };
    let ([sort], true) = (window.order_by(), column == input.schema().fields().len()) else {
        return Ok(None);
    };
    if !numbers_rows(window) {
        return Ok(None);
    }
    let wanted = Wanted {
        groups: window.partition_by().to_vec(),
        distance: Arc::clone(&sort.expr),
        order: Order {
            descending: sort.options.descending,
            nulls_first: sort.options.nulls_first,
        },
        limit: usize::try_from(limit).unwrap_or(usize::MAX),
        partitions,
    };
    rebuilt(plan, wanted.below(input)?)
}

fn numbers_rows(window: &Arc<dyn WindowExpr>) -> bool {
    let window = window.as_any().downcast_ref::<StandardWindowExpr>();
    let function = window.and_then(|window| {
        let function = window.get_standard_func_expr();
        function.as_any().downcast_ref::<WindowUDFExpr>()
    });
    function.is_some_and(|function| function.fun().name() == "row_number")
}

fn rebuilt(
    plan: &Arc<dyn ExecutionPlan>,
    input: Option<Arc<dyn ExecutionPlan>>,
) -> DataFusionResult<Option<Arc<dyn ExecutionPlan>>> {
    let Some(input) = input else { return Ok(None) };
    replace_children_if_necessary(Arc::clone(plan), vec![input]).map(Some)
}

/// What a window asks of the rows below it, in terms of their columns.
struct Wanted {
    groups: Vec<Arc<dyn PhysicalExpr>>,
    distance: Arc<dyn PhysicalExpr>,
    order: Order,
    limit: usize,
    partitions: usize,
}

impl Wanted {
    /// The plan with its cross join replaced.
    fn below(
        self,
        plan: &Arc<dyn ExecutionPlan>,
    ) -> DataFusionResult<Option<Arc<dyn ExecutionPlan>>> {
        if let Some(join) = plan.downcast_ref::<CrossJoinExec>() {
            return Ok(self.join(join));
        }
        if let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
            let through = |expr: &Arc<dyn PhysicalExpr>| update_expr(expr, projection.expr(), true);
            let groups = self.groups.iter().map(through);
            let groups = groups.collect::<DataFusionResult<Option<Vec<_>>>>()?;
            let (Some(groups), Some(distance)) = (groups, through(&self.distance)?) else {
                return Ok(None);
            };
            let wanted = Self {
                groups,
                distance,
                ..self
            };
            return rebuilt(plan, wanted.below(projection.input())?);
        }
        // A sort with a limit of its own would have chosen among all rows.
        let passes = plan.downcast_ref::<RepartitionExec>().is_some()
            || plan.downcast_ref::<CoalescePartitionsExec>().is_some()
            || plan.downcast_ref::<SortExec>().is_some();
        match (passes && plan.fetch().is_none(), plan.children().first()) {
            (true, Some(input)) => rebuilt(plan, self.below(input)?),
            _ => Ok(None),
        }
    }

    fn join(self, join: &CrossJoinExec) -> Option<Arc<dyn ExecutionPlan>> {
        let (left, right) = (join.left(), join.right());
        let width = left.schema().fields().len();
        let call = self.distance.downcast_ref::<ScalarFunctionExpr>()?;
        Distance::metric_of(&self.distance)?;
        let [a, b] = call.args() else { return None };
        let (a, b) = (a.downcast_ref::<Column>()?, b.downcast_ref::<Column>()?);
        let (of_left, of_right) = match (a.index() < width, b.index() < width) {
            (true, false) => (a.index(), b.index() - width),
            (false, true) => (b.index(), a.index() - width),
            _ => return None,
        };
        let (left_schema, right_schema) = (left.schema(), right.schema());
        let (left_type, right_type) = (
            left_schema.field(of_left).data_type(),
            right_schema.field(of_right).data_type(),
        );
        let DataType::FixedSizeList(_, values) = left_type else {
            return None;
        };
        let values = usize::try_from(*values).ok()?;
        if !Distance::reads(left_type, values) || !Distance::reads(right_type, values) {
            return None;
        }
        // The vectors are the side whose rows are told apart; each of them gets its own rows.
        let queries_first = self.groups.iter().all(|group| is_of(group, 0..width));
        let all = width..width + right_schema.fields().len();
        if !queries_first && !self.groups.iter().all(|group| is_of(group, all.clone())) {
            return None;
        }
        let (queries, rows, query, row) = if queries_first {
            (left, right, of_left, of_right)
        } else {
            (right, left, of_right, of_left)
        };
        let comparison = Comparison {
            distance: self.distance,
            query,
            row,
            order: self.order,
            limit: self.limit,
        };
        // The steps above count on as many partitions as there were.
        let promised = join.properties().output_partitioning().partition_count();
        let partitions = if promised == 1 {
            self.partitions
        } else {
            promised
        };
        let nearest: Arc<dyn ExecutionPlan> = Arc::new(NearestJoinExec::new(
            Arc::clone(queries),
            Arc::clone(rows),
            comparison,
            queries_first,
            partitions,
        ));
        if partitions == promised {
            return Some(nearest);
        }
        Some(Arc::new(CoalescePartitionsExec::new(nearest)))
    }
}

/// Whether an expression is made of these columns, and of one at least.
fn is_of(expr: &Arc<dyn PhysicalExpr>, columns: std::ops::Range<usize>) -> bool {
    let (mut some, mut all) = (false, true);
    let visited = expr.apply(|expr| {
        if let Some(column) = expr.downcast_ref::<Column>() {
            some = true;
            all &= columns.contains(&column.index());
        }
        Ok(TreeNodeRecursion::Continue)
    });
    visited.is_ok() && some && all
}
