//! Predicates on `row_id` alone as the rows that they name.

use std::ops::Range;
use std::sync::Arc;

use datafusion::common::ScalarValue;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, Column, InListExpr, Literal, NotExpr};

use super::ranges::RowRanges;

/// The rows below `rows` for which `expr` is true; None for an expression that is not made of
/// comparisons of column `row_id` with numbers.
pub(crate) fn rows_of(expr: &Arc<dyn PhysicalExpr>, row_id: usize, rows: u64) -> Option<RowRanges> {
    let all = 0..rows;
    if let Some(not) = expr.downcast_ref::<NotExpr>() {
        // Neither side is ever NULL, so that what is not true is false.
        return Some(rows_of(not.arg(), row_id, rows)?.not(rows));
    }
    if let Some(list) = expr.downcast_ref::<InListExpr>() {
        is_row_id(list.expr(), row_id).then_some(())?;
        let values: Option<Vec<i64>> = list.list().iter().map(number).collect();
        let single = values?.into_iter().map(|value| at(value)..after(value));
        let named = RowRanges::of(single).and(&RowRanges::one(all));
        return Some(if list.negated() {
            named.not(rows)
        } else {
            named
        });
    }
    let binary = expr.downcast_ref::<BinaryExpr>()?;
    let (left, right) = (binary.left(), binary.right());
    match binary.op() {
        Operator::And => Some(rows_of(left, row_id, rows)?.and(&rows_of(right, row_id, rows)?)),
        Operator::Or => Some(rows_of(left, row_id, rows)?.or(rows_of(right, row_id, rows)?)),
        op if is_row_id(left, row_id) => compared(*op, number(right)?, rows),
        op if is_row_id(right, row_id) => compared(op.swap()?, number(left)?, rows),
        _ => None,
    }
}

fn compared(op: Operator, value: i64, rows: u64) -> Option<RowRanges> {
    let range: Range<u64> = match op {
        Operator::Eq => at(value)..after(value),
        Operator::NotEq => {
            return Some(RowRanges::one(at(value)..after(value)).not(rows));
        }
        Operator::Lt => 0..at(value),
        Operator::LtEq => 0..after(value),
        Operator::Gt => after(value)..rows,
        Operator::GtEq => at(value)..rows,
        _ => return None,
    };
    Some(RowRanges::one(range).and(&RowRanges::one(0..rows)))
}

/// The first row at `value` or behind it.
fn at(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

/// The first row behind `value`.
fn after(value: i64) -> u64 {
    u64::try_from(i128::from(value) + 1).unwrap_or(0)
}

fn is_row_id(expr: &Arc<dyn PhysicalExpr>, row_id: usize) -> bool {
    expr.downcast_ref::<Column>()
        .is_some_and(|column| column.index() == row_id)
}

fn number(expr: &Arc<dyn PhysicalExpr>) -> Option<i64> {
    match expr.downcast_ref::<Literal>()?.value() {
        ScalarValue::Int64(value) => *value,
        _ => None,
    }
}
