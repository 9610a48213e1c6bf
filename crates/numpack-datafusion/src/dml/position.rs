//! A plan over a table, once more with the position of each row of the table.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, Result as DataFusionResult, plan_err};
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::{
    EmptyRelation, Expr, JoinType, LogicalPlan, Projection, TableScan, TableScanBuilder,
};

use crate::dml::target::Target;

/// A column name that no array has: nobody can name it in a statement, for it comes in after the
/// names have been looked up.
pub(crate) fn position_name(schema: &Schema) -> String {
    let mut name = "__numpack_position".to_owned();
    while schema.field_with_name(&name).is_ok() {
        name.push('_');
    }
    name
}

/// `plan` with the column `position` at the end of each step from the scan of `target` upwards.
///
/// A statement's own plan is one line down to the scan. An optimizer that has gone over it before,
/// as PREPARE has it do, makes joins of subqueries; the target is always on their left.
pub(crate) fn with_position(
    plan: LogicalPlan,
    target: &Target,
    position: &str,
) -> DataFusionResult<LogicalPlan> {
    match plan {
        LogicalPlan::TableScan(scan) if scan.table_name == target.name => scanned(scan, position),
        LogicalPlan::Projection(projection) => {
            let input = with_position(Arc::unwrap_or_clone(projection.input), target, position)?;
            let mut exprs = projection.expr;
            exprs.push(position_column(&input, position)?);
            Ok(LogicalPlan::Projection(Projection::try_new(
                exprs,
                Arc::new(input),
            )?))
        }
        LogicalPlan::EmptyRelation(empty) if !empty.produce_one_row => {
            let field = Field::new(position, DataType::Int64, false);
            let more = DFSchema::from_unqualified_fields(
                vec![field].into(),
                empty.schema.metadata().clone(),
            )?;
            Ok(LogicalPlan::EmptyRelation(EmptyRelation {
                produce_one_row: false,
                schema: Arc::new(empty.schema.join(&more)?),
            }))
        }
        LogicalPlan::Join(join)
            if !matches!(
                join.join_type,
                JoinType::Inner
                    | JoinType::Left
                    | JoinType::LeftSemi
                    | JoinType::LeftAnti
                    | JoinType::LeftMark
            ) =>
        {
            lost(&LogicalPlan::Join(join), target)
        }
        LogicalPlan::Filter(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Limit(_)
        | LogicalPlan::Sort(_)
        | LogicalPlan::Join(_) => first_child(plan, target, position),
        other => lost(&other, target),
    }
}

/// The column `position` of `plan`.
pub(crate) fn position_column(plan: &LogicalPlan, position: &str) -> DataFusionResult<Expr> {
    let (qualifier, field) = plan
        .schema()
        .qualified_field_with_unqualified_name(position)?;
    Ok(Expr::Column(Column::from((qualifier, field))))
}

/// The scan of a table of ours with the column `position` behind the others.
pub(crate) fn scanned(scan: TableScan, position: &str) -> DataFusionResult<LogicalPlan> {
    let Some(table) = Target::with_position(&scan.source, position)? else {
        return plan_err!("table {} has no store to change", scan.table_name);
    };
    let column = scan.source.schema().fields().len();
    let projection = scan.projection.map(|mut columns| {
        columns.push(column);
        columns
    });
    let source = provider_as_source(Arc::new(table));
    let scan = TableScanBuilder::new(scan.table_name, source)
        .with_projection(projection)
        .with_filters(scan.filters)
        .with_fetch(scan.fetch)
        .build()?;
    Ok(LogicalPlan::TableScan(scan))
}

fn first_child(
    plan: LogicalPlan,
    target: &Target,
    position: &str,
) -> DataFusionResult<LogicalPlan> {
    let mut first = true;
    plan.map_children(|child| {
        if std::mem::take(&mut first) {
            with_position(child, target, position).map(Transformed::yes)
        } else {
            Ok(Transformed::no(child))
        }
    })?
    .data
    .recompute_schema()
}

fn lost(plan: &LogicalPlan, target: &Target) -> DataFusionResult<LogicalPlan> {
    plan_err!(
        "cannot tell which rows of {} the statement means: its plan has a step ({}) that rows do not \
         pass one by one",
        target.name,
        plan.display()
    )
}
