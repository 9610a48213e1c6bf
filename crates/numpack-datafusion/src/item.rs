//! `emb[6]`: one value of each row of an array whose rows are lists.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, FixedSizeListArray, UInt64Array, new_null_array};
use arrow::compute::take;
use arrow::datatypes::DataType;
use datafusion::common::cast::as_fixed_size_list_array;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result as DataFusionResult, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::expr_rewriter::FunctionRewrite;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, ExpressionPlacement, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility,
};
use datafusion::physical_expr::expressions::{Column, Literal};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};

/// What `array_element` gives of a fixed-size list, without making a list of varying size of it.
///
/// A source reads only these values where the function stands next to it.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Item {
    signature: Signature,
}

impl ScalarUDFImpl for Item {
    fn name(&self) -> &'static str {
        "item"
    }

    fn display_name(&self, args: &[Expr]) -> DataFusionResult<String> {
        let [lists, position] = two(args)?;
        Ok(format!("{lists}[{position}]"))
    }

    fn schema_name(&self, args: &[Expr]) -> DataFusionResult<String> {
        let [lists, position] = two(args)?;
        Ok(format!(
            "{}[{}]",
            lists.schema_name(),
            position.schema_name()
        ))
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> DataFusionResult<DataType> {
        if let [DataType::FixedSizeList(child, _), DataType::Int64] = types {
            Ok(child.data_type().clone())
        } else {
            plan_err!("item takes a fixed-size list and an Int64, not {types:?}")
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DataFusionResult<ColumnarValue> {
        let [lists, ColumnarValue::Scalar(ScalarValue::Int64(index))] = args.args.as_slice() else {
            return exec_err!("item takes a fixed-size list and a literal position");
        };
        let lists = lists.to_array(args.number_rows)?;
        let lists = as_fixed_size_list_array(&lists)?;
        let position = index.and_then(|index| position(index, lists.value_length()));
        let values = match position {
            Some(position) => items(lists, position)?,
            None => new_null_array(&lists.value_type(), lists.len()),
        };
        Ok(ColumnarValue::Array(values))
    }

    fn placement(&self, args: &[ExpressionPlacement]) -> ExpressionPlacement {
        match args {
            [ExpressionPlacement::Column, ExpressionPlacement::Literal] => {
                ExpressionPlacement::MoveTowardsLeafNodes
            }
            _ => ExpressionPlacement::KeepInPlace,
        }
    }
}

fn two(args: &[Expr]) -> DataFusionResult<&[Expr; 2]> {
    if let Ok(both) = args.try_into() {
        return Ok(both);
    }
    let count = args.len();
    exec_err!("item takes a list and a position, not {count} arguments")
}

fn items(lists: &FixedSizeListArray, position: usize) -> DataFusionResult<ArrayRef> {
    let places = (0..lists.len()).map(|row| {
        let first = usize::try_from(lists.value_offset(row)).ok();
        let place = first.filter(|_| lists.is_valid(row))? + position;
        Some(place as u64)
    });
    Ok(take(
        lists.values(),
        &places.collect::<UInt64Array>(),
        None,
    )?)
}

/// Where `index` points, counted from 0: it counts from 1, or from the end when negative.
fn position(index: i64, width: i32) -> Option<usize> {
    let width = i64::from(width);
    let position = if index < 0 {
        width.checked_add(index)?
    } else {
        index - 1
    };
    usize::try_from(position).ok().filter(|_| position < width)
}

/// Puts [`Item`] in the place of `array_element` with a literal index of a fixed-size list.
#[derive(Debug)]
pub(crate) struct ItemRewrite {
    item: Arc<ScalarUDF>,
}

impl ItemRewrite {
    pub(crate) fn new() -> Self {
        let signature = Signature::any(2, Volatility::Immutable);
        Self {
            item: Arc::new(Item { signature }.into()),
        }
    }
}

impl FunctionRewrite for ItemRewrite {
    fn name(&self) -> &'static str {
        "items of fixed-size lists"
    }

    fn rewrite(
        &self,
        expr: Expr,
        schema: &DFSchema,
        _config: &ConfigOptions,
    ) -> DataFusionResult<Transformed<Expr>> {
        match &expr {
            Expr::ScalarFunction(call) if call.func.name() == "array_element" => {
                let fits = match call.args.as_slice() {
                    [lists, Expr::Literal(ScalarValue::Int64(Some(_)), _)] => {
                        matches!(lists.get_type(schema)?, DataType::FixedSizeList(..))
                    }
                    _ => false,
                };
                if !fits {
                    return Ok(Transformed::no(expr));
                }
                let args = call.args.clone();
                let item = ScalarFunction::new_udf(Arc::clone(&self.item), args);
                Ok(Transformed::yes(Expr::ScalarFunction(item)))
            }
            _ => Ok(Transformed::no(expr)),
        }
    }
}

/// The column of fixed-size lists and the index that `expr` takes of it, if that is all that it does.
pub(crate) fn item_of(expr: &Arc<dyn PhysicalExpr>) -> Option<(&Column, i64)> {
    let call = expr.downcast_ref::<ScalarFunctionExpr>()?;
    call.fun().inner().downcast_ref::<Item>()?;
    let [lists, index] = call.args() else {
        return None;
    };
    match index.downcast_ref::<Literal>()?.value() {
        ScalarValue::Int64(Some(index)) => Some((lists.downcast_ref::<Column>()?, *index)),
        _ => None,
    }
}

/// Where `index` points in lists of this type, counted from 0.
pub(crate) fn position_in(lists: &DataType, index: i64) -> Option<usize> {
    match lists {
        DataType::FixedSizeList(_, width) => position(index, *width),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::position;

    #[test]
    fn indices_count_from_one_or_from_the_end() {
        let at = |index| position(index, 3);
        assert_eq!([at(1), at(3), at(-1), at(-3)], [0, 2, 2, 0].map(Some));
        for outside in [0, 4, -4, i64::MAX, i64::MIN] {
            assert_eq!(at(outside), None, "{outside}");
        }
    }
}
