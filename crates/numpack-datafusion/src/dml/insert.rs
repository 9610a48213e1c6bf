use std::sync::Arc;

use datafusion::common::{Column, Result as DataFusionResult, plan_err};
use datafusion::logical_expr::{Expr, LogicalPlan, Projection};

use crate::dml::fit::{fit, fitted};
use crate::dml::target::Target;
use crate::error::SqlError;

/// The plan of an INSERT as the arrays of the target and nothing else, in member order.
///
/// The SQL planner gives every column of the table, and NULL for one that the statement does not
/// name; a store has no place for a NULL, so each array must be there.
pub(crate) fn columns(plan: LogicalPlan, target: &Target) -> DataFusionResult<LogicalPlan> {
    let exprs = match &plan {
        LogicalPlan::Projection(projection) => projection.expr.as_slice(),
        _ => &[],
    };
    let given: Vec<(String, bool)> = plan
        .schema()
        .iter()
        .enumerate()
        .map(|(index, (_, field))| (field.name().clone(), exprs.get(index).is_none_or(is_given)))
        .collect();
    let plan = fitted(plan, target)?;
    let mut missing: Vec<&str> = Vec::new();
    let mut values = Vec::with_capacity(target.fields.len());
    for (number, field) in target.fields.iter().enumerate() {
        let index = given
            .iter()
            .position(|(name, given)| *given && name == field.name());
        let Some(index) = index else {
            missing.push(field.name());
            continue;
        };
        let column = Column::from(plan.schema().qualified_field(index));
        let value = fit(Expr::Column(column), plan.schema(), target, number)?;
        values.push(value.alias(field.name()));
    }
    for (name, given) in &given {
        if *given && target.is_row_id(name) {
            return Err(SqlError::RowIdGiven { verb: "INSERT" }.into());
        }
        if target.column(name).is_none() && !target.is_row_id(name) {
            return plan_err!(
                "table {} has no column \"{name}\", it has {}",
                target.name,
                target.columns_text()
            );
        }
    }
    target.refuse_missing(&missing)?;
    Ok(LogicalPlan::Projection(Projection::try_new(
        values,
        Arc::new(plan),
    )?))
}

/// Whether a column is more than the NULL that the SQL planner puts in for one not named.
fn is_given(expr: &Expr) -> bool {
    match expr {
        Expr::Alias(alias) => is_given(&alias.expr),
        Expr::Cast(cast) => is_given(&cast.expr),
        Expr::Literal(value, _) => !value.is_null(),
        _ => true,
    }
}
