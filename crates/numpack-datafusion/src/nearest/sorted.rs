use std::sync::Arc;

use datafusion::common::Result as DataFusionResult;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::datasource::source::{DataSource, DataSourceExec};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::projection::{ProjectionExpr, ProjectionExprs};
use datafusion::physical_expr::{LexOrdering, PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::sorts::sort::SortExec;

use super::DistanceSource;

/// Leaves the order of all rows to DataFusion's sort, which keeps to a memory limit and spills.
///
/// A source is asked whether it can give an order before it is told how many rows of it are wanted. The
/// search for the nearest of them is made for a few, and holds them all.
#[derive(Debug, Default)]
pub(crate) struct SortAllRule;

impl PhysicalOptimizerRule for SortAllRule {
    fn name(&self) -> &'static str {
        "numpack_sort_all"
    }

    fn schema_check(&self) -> bool {
        true
    }

    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _config: &ConfigOptions,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        plan.transform_down(|plan| {
            let sorted = match plan.downcast_ref::<ProjectionExec>() {
                Some(projection) => below_projection(projection)?,
                None => ranked(&plan).and_then(sorted),
            };
            Ok(sorted.map_or_else(
                || Transformed::no(Arc::clone(&plan)),
                |sorted| Transformed::new(sorted, true, TreeNodeRecursion::Jump),
            ))
        })
        .data()
    }
}

/// The scan that `plan` is, if it ranks all its rows.
fn ranked(plan: &Arc<dyn ExecutionPlan>) -> Option<&DistanceSource> {
    let scan = plan.downcast_ref::<DataSourceExec>()?;
    let source = scan.data_source().downcast_ref::<DistanceSource>()?;
    (source.ranking.is_some() && source.fetch.is_none()).then_some(source)
}

/// A projection of columns of rows that are ranked, with the sort below it: the vectors go through the
/// sort only where they are wanted.
fn below_projection(
    projection: &ProjectionExec,
) -> DataFusionResult<Option<Arc<dyn ExecutionPlan>>> {
    let Some(source) = ranked(projection.input()) else {
        return Ok(None);
    };
    let (None, Some(ranking)) = (&source.exprs, &source.ranking) else {
        return Ok(None);
    };
    let columns = projection.expr().iter();
    if !columns.clone().all(|column| column.expr.is::<Column>()) {
        return Ok(None);
    }
    let sort = ranking.sort();
    let mut exprs = projection.expr().to_vec();
    exprs.push(ProjectionExpr::new(
        Arc::clone(&sort.expr),
        sort.expr.to_string(),
    ));
    let Some(source) = DistanceSource::projected(&source.source, &ProjectionExprs::new(exprs))?
    else {
        return Ok(None);
    };
    let distance = source.schema.fields().len() - 1;
    let name = source.schema.field(distance).name();
    let by = PhysicalSortExpr::new(Arc::new(Column::new(name, distance)), sort.options);
    let kept = columns.enumerate().map(|(index, column)| {
        let expr: Arc<dyn PhysicalExpr> = Arc::new(Column::new(&column.alias, index));
        ProjectionExpr::new(expr, column.alias.clone())
    });
    let kept: Vec<_> = kept.collect();
    let sorted = sort_by(by, Arc::new(source));
    Ok(Some(Arc::new(ProjectionExec::try_new(kept, sorted)?)))
}

/// All rows in the order that `source` ranks them in.
fn sorted(source: &DistanceSource) -> Option<Arc<dyn ExecutionPlan>> {
    let by = source.ranking.as_ref()?.sort().clone();
    let rows: Arc<dyn DataSource> = match &source.exprs {
        None => Arc::new(source.source.clone()),
        Some(_) => Arc::new(DistanceSource {
            ranking: None,
            ..source.clone()
        }),
    };
    Some(sort_by(by, rows))
}

fn sort_by(by: PhysicalSortExpr, rows: Arc<dyn DataSource>) -> Arc<dyn ExecutionPlan> {
    let scan = Arc::new(DataSourceExec::new(rows));
    Arc::new(SortExec::new(LexOrdering::from([by]), scan))
}
