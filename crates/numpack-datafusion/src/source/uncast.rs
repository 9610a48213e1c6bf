//! Float32 columns compared with Float64 numbers, without a cast of every row.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Result as DataFusionResult, ScalarValue};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, CastExpr, Column, Literal};

use super::leaf::Leaves;

/// `expr` with `CAST(x AS Float64) op number` as an equal comparison of the Float32 column `x`.
pub(crate) fn uncast(
    expr: Arc<dyn PhysicalExpr>,
    leaves: &Leaves,
) -> DataFusionResult<Arc<dyn PhysicalExpr>> {
    expr.transform_up(|expr| {
        let plain = expr
            .downcast_ref::<BinaryExpr>()
            .and_then(|binary| plain(binary, leaves));
        Ok(plain.map_or_else(|| Transformed::no(expr), Transformed::yes))
    })
    .data()
}

fn plain(binary: &BinaryExpr, leaves: &Leaves) -> Option<Arc<dyn PhysicalExpr>> {
    let (column, op, number) = match (
        float32(binary.left(), leaves),
        float32(binary.right(), leaves),
    ) {
        (Some(column), None) => (column, *binary.op(), float64(binary.right())?),
        (None, Some(column)) => (column, binary.op().swap()?, float64(binary.left())?),
        _ => return None,
    };
    let (op, number) = narrow(op, number)?;
    let number = Literal::new(ScalarValue::Float32(Some(number)));
    Some(Arc::new(BinaryExpr::new(column, op, Arc::new(number))))
}

/// The Float32 column that `expr` widens.
fn float32(expr: &Arc<dyn PhysicalExpr>, leaves: &Leaves) -> Option<Arc<dyn PhysicalExpr>> {
    let cast = expr.downcast_ref::<CastExpr>()?;
    let column = cast.expr().downcast_ref::<Column>()?;
    let narrow = leaves.field(column.index()).data_type() == &DataType::Float32;
    (narrow && cast.cast_type() == &DataType::Float64).then(|| Arc::clone(cast.expr()))
}

fn float64(expr: &Arc<dyn PhysicalExpr>) -> Option<f64> {
    match expr.downcast_ref::<Literal>()?.value() {
        ScalarValue::Float64(number) => *number,
        _ => None,
    }
}

/// A comparison of Float32 that holds for exactly the `x` for which `x op number` holds in Float64.
///
/// Widening is exact and keeps the order, that of NaN and of the zeros included. Between two
/// neighbours in Float32 a number is compared with one of them: with the lower one by `>` and with
/// the upper one by `<`, which also is right where these are zeros.
#[allow(
    clippy::cast_possible_truncation,
    clippy::float_cmp,
    reason = "whether the nearest Float32 is the number itself is what is asked"
)]
fn narrow(op: Operator, number: f64) -> Option<(Operator, f32)> {
    if number.is_nan() {
        return None;
    }
    let nearest = number as f32;
    let widened = f64::from(nearest);
    if widened == number {
        use Operator::{Eq, Gt, GtEq, Lt, LtEq, NotEq};
        return matches!(op, Eq | NotEq | Lt | LtEq | Gt | GtEq).then_some((op, nearest));
    }
    match op {
        Operator::Gt | Operator::GtEq if widened < number => Some((Operator::Gt, nearest)),
        Operator::Gt | Operator::GtEq => Some((Operator::Gt, nearest.next_down())),
        Operator::Lt | Operator::LtEq if widened > number => Some((Operator::Lt, nearest)),
        Operator::Lt | Operator::LtEq => Some((Operator::Lt, nearest.next_up())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Float32Array, Float64Array, Scalar};
    use arrow::compute::kernels::cmp;

    use super::*;
    use crate::source::comparison::OPERATORS;

    /// Compares by arrow's own kernels, whose order the rewrite has to keep.
    #[test]
    fn narrow_comparisons_are_the_wide_ones() {
        let near = |x: f32| [x.next_down(), x, x.next_up()];
        let points = [
            0.0,
            -0.0,
            1.0,
            -1.0,
            0.999,
            0.1,
            f32::MIN_POSITIVE,
            f32::from_bits(1),
            -f32::from_bits(1),
            f32::MAX,
            f32::MIN,
            f32::INFINITY,
            f32::NEG_INFINITY,
        ];
        let mut values: Vec<f32> = points.iter().flat_map(|&x| near(x)).collect();
        values.extend([f32::NAN, -f32::NAN]);
        let mut numbers: Vec<f64> = values.iter().map(|&x| f64::from(x)).collect();
        numbers.extend(
            numbers
                .clone()
                .iter()
                .flat_map(|x| [x.next_down(), x.next_up()]),
        );
        numbers.extend([
            0.999,
            0.1,
            1e300,
            -1e300,
            1e-300,
            -1e-300,
            f64::MAX,
            f64::MIN,
        ]);
        let narrow_column = Float32Array::from(values.clone());
        let wide_column: Float64Array = values.iter().map(|&x| Some(f64::from(x))).collect();
        let mut rewritten = 0;
        for number in numbers {
            for op in OPERATORS {
                let Some((narrow_op, narrow_number)) = narrow(op, number) else {
                    continue;
                };
                rewritten += 1;
                let compare =
                    |op, column: &dyn arrow::array::Datum, number: &dyn arrow::array::Datum| {
                        match op {
                            Operator::Eq => cmp::eq(column, number),
                            Operator::NotEq => cmp::neq(column, number),
                            Operator::Lt => cmp::lt(column, number),
                            Operator::LtEq => cmp::lt_eq(column, number),
                            Operator::Gt => cmp::gt(column, number),
                            _ => cmp::gt_eq(column, number),
                        }
                        .expect("floats")
                    };
                let wide = compare(
                    op,
                    &wide_column,
                    &Scalar::new(Float64Array::from(vec![number])),
                );
                let number32 = Scalar::new(Float32Array::from(vec![narrow_number]));
                let narrowed = compare(narrow_op, &narrow_column, &number32);
                assert_eq!(narrowed, wide, "{op} {number:e}");
            }
        }
        assert!(rewritten > 300, "only {rewritten}");
    }
}
