use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Result as DataFusionResult, not_impl_err, plan_err};
use datafusion::datasource::{ViewTable, source_as_provider};
use datafusion::logical_expr::dml::InsertOp;
use datafusion::logical_expr::{
    DmlStatement, Expr, LogicalPlan, Projection, TableScanBuilder, WriteOp,
};
use datafusion::optimizer::AnalyzerRule;

use crate::dml::edits::{Change, Kind};
use crate::dml::fit::fit;
use crate::dml::insert;
use crate::dml::merge;
use crate::dml::node::ChangeNode;
use crate::dml::position::{position_column, position_name, scanned, with_position};
use crate::dml::target::Target;
use crate::error::SqlError;

/// Turns INSERT, UPDATE, DELETE, TRUNCATE and MERGE on a store into changes that NumPack carries
/// out itself.
///
/// It only rewrites plans; nothing is read and nothing changes before the plan runs. It belongs
/// together with [`NumPackPlanner`](crate::NumPackPlanner).
#[derive(Debug, Default)]
pub struct ChangeRule;

impl AnalyzerRule for ChangeRule {
    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> DataFusionResult<LogicalPlan> {
        let plan = plan.transform_up(|plan| match plan {
            LogicalPlan::Dml(statement) => change(statement),
            other => Ok(Transformed::no(other)),
        })?;
        Ok(plan.data)
    }

    fn name(&self) -> &'static str {
        "numpack_changes"
    }
}

/// What SQL calls a change.
pub(crate) fn verb(op: &WriteOp) -> String {
    match op {
        WriteOp::MergeInto(_) => "MERGE".to_owned(),
        other => other.name().to_uppercase(),
    }
}

/// Statements on tables of others stay what they are; views have no rows of their own.
fn change(statement: DmlStatement) -> DataFusionResult<Transformed<LogicalPlan>> {
    let provider = source_as_provider(&statement.target);
    if provider.is_ok_and(|table| table.downcast_ref::<ViewTable>().is_some()) {
        return plan_err!(
            "{} on the view {}: change the table that it stands on",
            verb(&statement.op),
            statement.table_name
        );
    }
    let Some(target) = Target::of(&statement.table_name, &statement.target) else {
        return Ok(Transformed::no(LogicalPlan::Dml(statement)));
    };
    let position = position_name(&statement.target.schema());
    let node = match &statement.op {
        WriteOp::Insert(InsertOp::Replace) => {
            return not_impl_err!("REPLACE INTO {}: a store has no keys", target.name);
        }
        WriteOp::Insert(op) => {
            let input = insert::columns(Arc::unwrap_or_clone(statement.input), &target)?;
            let overwrite = *op == InsertOp::Overwrite;
            ChangeNode::new(Change::new(target, Kind::Insert { overwrite }), input)
        }
        WriteOp::Delete => {
            let input = Arc::unwrap_or_clone(statement.input);
            let input = with_position(input, &target, &position)?;
            delete(target, input, &position)
        }
        WriteOp::Truncate => {
            let scan = TableScanBuilder::new(target.name.clone(), statement.target).build()?;
            let input = scanned(scan, &position)?;
            delete(target, input, &position)
        }
        WriteOp::Update => update(target, Arc::unwrap_or_clone(statement.input), &position),
        WriteOp::MergeInto(_) => merge::change(&statement, target, &position),
        other => return not_impl_err!("{other} on {}", target.name),
    };
    Ok(Transformed::yes(node?.plan()))
}

fn delete(target: Target, input: LogicalPlan, position: &str) -> DataFusionResult<ChangeNode> {
    let columns = vec![position_column(&input, position)?];
    let input = Projection::try_new(columns, Arc::new(input))?;
    ChangeNode::new(
        Change::new(target, Kind::Delete),
        LogicalPlan::Projection(input),
    )
}

/// An UPDATE's plan gives every column of the table; those that are not assigned to give themselves.
fn update(target: Target, plan: LogicalPlan, position: &str) -> DataFusionResult<ChangeNode> {
    let (exprs, input) = match plan {
        LogicalPlan::Projection(projection) => {
            (projection.expr, Arc::unwrap_or_clone(projection.input))
        }
        // Every column gives itself, and an optimizer left the step out.
        other => (Vec::new(), other),
    };
    let input = with_position(input, &target, position)?;
    let mut values = vec![position_column(&input, position)?];
    let mut columns = Vec::new();
    for expr in exprs {
        let name = expr.schema_name().to_string();
        if gives_itself(&expr, &name) {
            continue;
        }
        let Some(column) = target.column(&name) else {
            return Err(SqlError::RowIdGiven { verb: "UPDATE" }.into());
        };
        columns.push(column);
        values.push(fit(expr.unalias(), input.schema(), &target, column)?.alias(name));
    }
    let input = Projection::try_new(values, Arc::new(input))?;
    ChangeNode::new(
        Change::new(target, Kind::Update { columns }),
        LogicalPlan::Projection(input),
    )
}

fn gives_itself(expr: &Expr, name: &str) -> bool {
    match expr {
        Expr::Alias(alias) => gives_itself(&alias.expr, name),
        Expr::Column(column) => column.name == name,
        _ => false,
    }
}
