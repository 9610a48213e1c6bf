use std::sync::Arc;

use datafusion::common::Result as DataFusionResult;
use datafusion::common::config::ConfigOptions;
use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::joins::{
    CrossJoinExec, HashJoinExec, NestedLoopJoinExec, SortMergeJoinExec,
};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::union::UnionExec;

use crate::source::NumPackSource;

/// The rule of DataFusion's that deals rows out to threads, and asks sources to do so.
const DEALER: &str = "EnsureRequirements";

/// Aggregates whose value does not depend on the order of rows, floats' last bits aside. DataFusion's
/// functions do not say it of themselves.
const ORDER_FREE: [&str; 30] = [
    "approx_distinct",
    "approx_median",
    "approx_percentile_cont",
    "avg",
    "bit_and",
    "bit_or",
    "bit_xor",
    "bool_and",
    "bool_or",
    "corr",
    "count",
    "covar_pop",
    "covar_samp",
    "max",
    "median",
    "min",
    "regr_avgx",
    "regr_avgy",
    "regr_count",
    "regr_intercept",
    "regr_r2",
    "regr_slope",
    "regr_sxx",
    "regr_sxy",
    "regr_syy",
    "stddev",
    "stddev_pop",
    "sum",
    "var",
    "var_pop",
];

/// Lets scans be read in parts, at once, where the order of their rows reaches no result.
///
/// That is so below aggregates. Everywhere else rows come in order: a plain SELECT keeps the arrays'
/// order, and LIMIT means the first rows.
#[derive(Debug)]
pub(crate) struct Spread;

/// DataFusion's rules and [`Spread`], in time for the rule that makes use of it.
pub(crate) fn rules() -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    let mut rules = PhysicalOptimizer::new().rules;
    let dealer = rules.iter().position(|rule| rule.name() == DEALER);
    rules.insert(dealer.unwrap_or(0), Arc::new(Spread));
    rules
}

impl PhysicalOptimizerRule for Spread {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        config: &ConfigOptions,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        if config.execution.target_partitions < 2 {
            return Ok(plan);
        }
        Ok(spread(&plan, false)?.unwrap_or(plan))
    }

    fn name(&self) -> &'static str {
        "numpack_spread"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// `plan` with its scans set free, where `free` says that its own order reaches no result; None if
/// nothing changes.
fn spread(
    plan: &Arc<dyn ExecutionPlan>,
    free: bool,
) -> DataFusionResult<Option<Arc<dyn ExecutionPlan>>> {
    if let Some(scan) = plan.downcast_ref::<DataSourceExec>() {
        let source = scan.data_source().downcast_ref::<NumPackSource>();
        return Ok(source.filter(|_| free).map(|source| {
            let source = Arc::new(source.unordered());
            Arc::new(scan.clone().with_data_source(source)) as _
        }));
    }
    let free = match plan.downcast_ref::<AggregateExec>() {
        Some(aggregate) => {
            aggregate.limit_options().is_none() && aggregate.aggr_expr().iter().all(order_free)
        }
        None => free && passes_all_rows(plan),
    };
    let mut changed = false;
    let mut children = Vec::new();
    for child in plan.children() {
        let new = spread(child, free)?;
        changed |= new.is_some();
        children.push(new.unwrap_or_else(|| Arc::clone(child)));
    }
    if !changed {
        return Ok(None);
    }
    replace_children_if_necessary(Arc::clone(plan), children).map(Some)
}

fn order_free(function: &Arc<AggregateFunctionExpr>) -> bool {
    ORDER_FREE.contains(&function.fun().name()) && function.order_bys().is_empty()
}

/// Whether `plan` gives the same rows, in some order, whatever the order of those below.
fn passes_all_rows(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let known = plan.is::<ProjectionExec>()
        || plan.is::<FilterExec>()
        || plan.is::<CoalescePartitionsExec>()
        || plan.is::<RepartitionExec>()
        || plan.is::<UnionExec>()
        || plan.is::<HashJoinExec>()
        || plan.is::<CrossJoinExec>()
        || plan.is::<NestedLoopJoinExec>()
        || plan.is::<SortMergeJoinExec>();
    known && plan.fetch().is_none()
}
