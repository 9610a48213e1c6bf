//! Constant vectors: their values, and a short name for those that are long.

use std::fmt::Write;

use arrow::array::AsArray;
use arrow::array::{Array, ArrayRef};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use datafusion::common::{Result as DataFusionResult, ScalarValue};
use datafusion::logical_expr::Expr;

/// Vectors up to this long are shown whole.
const SHORT: usize = 8;

/// Numbers that are shown of a long one.
const SHOWN: usize = 3;

/// The values of a constant list as they are; None if it is no list, NULL or holds NULLs.
pub(super) fn values(scalar: &ScalarValue) -> Option<ArrayRef> {
    let list = match scalar {
        ScalarValue::FixedSizeList(list) if list.is_valid(0) => list.value(0),
        ScalarValue::List(list) if list.is_valid(0) => list.value(0),
        ScalarValue::LargeList(list) if list.is_valid(0) => list.value(0),
        _ => return None,
    };
    (list.null_count() == 0).then_some(list)
}

/// The number of values of a constant list, also of one that holds NULLs.
pub(super) fn len(scalar: &ScalarValue) -> Option<usize> {
    match scalar {
        ScalarValue::FixedSizeList(list) if list.is_valid(0) => Some(list.value(0).len()),
        ScalarValue::List(list) if list.is_valid(0) => Some(list.value(0).len()),
        ScalarValue::LargeList(list) if list.is_valid(0) => Some(list.value(0).len()),
        _ => None,
    }
}

/// The same as numbers.
pub(super) fn numbers(scalar: &ScalarValue) -> DataFusionResult<Option<Vec<f64>>> {
    let Some(values) = values(scalar) else {
        return Ok(None);
    };
    let doubles = cast(&values, &DataType::Float64)?;
    Ok(Some(
        doubles.as_primitive::<Float64Type>().values().to_vec(),
    ))
}

/// Whether a vector is too long to be shown whole.
pub(super) fn is_long(values: &[f64]) -> bool {
    values.len() > SHORT
}

/// `[0.5, 1, 2, ... 125 more #0123456789ab]`: vectors of other numbers have other names, as good as
/// certainly.
pub(super) fn name(values: &[f64]) -> String {
    let shown = values
        .iter()
        .take(if is_long(values) { SHOWN } else { SHORT });
    let shown: Vec<String> = shown.map(f64::to_string).collect();
    let mut name = format!("[{}", shown.join(", "));
    if is_long(values) {
        let (more, hash) = (values.len() - SHOWN, hash(values) >> 16);
        // Writing into a String cannot fail.
        let _ = write!(name, ", ... {more} more #{hash:012x}");
    }
    name + "]"
}

/// FNV-1a (Fowler, Noll and Vo, 1991), which is the same in every build.
fn hash(values: &[f64]) -> u64 {
    let bytes = values.iter().flat_map(|value| value.to_le_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// An argument as it stands in names of columns and in plans.
pub(super) fn argument(expr: &Expr) -> DataFusionResult<String> {
    if let Expr::Literal(scalar, _) = expr
        && let Some(values) = numbers(scalar)?
    {
        return Ok(name(&values));
    }
    // `[1, 2, 3]` in a query's text is a call of make_array until the optimizer computes it.
    if let Expr::ScalarFunction(call) = expr
        && call.name() == "make_array"
    {
        let numbers = call.args.iter().map(|arg| match arg {
            Expr::Literal(scalar, _) => match scalar.cast_to(&DataType::Float64) {
                Ok(ScalarValue::Float64(number)) => number,
                _ => None,
            },
            _ => None,
        });
        if let Some(numbers) = numbers.collect::<Option<Vec<f64>>>() {
            return Ok(name(&numbers));
        }
    }
    Ok(expr.schema_name().to_string())
}
