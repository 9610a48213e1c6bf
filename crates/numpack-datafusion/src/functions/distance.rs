use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, FixedSizeListArray, Float64Array};
use arrow::buffer::NullBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type};
use datafusion::common::utils::take_function_args;
use datafusion::common::{Result as DataFusionResult, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use numpack_kernels::{Metric, Query, UNDEFINED, Vectors, distances_between};

use super::literal;
use super::vector::{is_element, vectors, whole};

/// A distance between two vectors, as a function of SQL.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Distance {
    metric: Metric,
    name: String,
    signature: Signature,
    /// The bits of a long constant vector, which stands here rather than among the arguments so that
    /// no plan shows its numbers.
    constant: Option<Vec<u64>>,
}

impl Distance {
    pub(super) const L2: (&str, Metric) = ("l2_distance", Metric::L2);
    pub(super) const L2_SQUARED: (&str, Metric) = ("l2_squared", Metric::L2Squared);
    pub(super) const COSINE: (&str, Metric) = ("cosine_distance", Metric::Cosine);
    pub(super) const INNER_PRODUCT: (&str, Metric) = ("inner_product", Metric::InnerProduct);

    pub(super) fn new((name, metric): (&str, Metric)) -> Self {
        Self {
            metric,
            name: name.to_owned(),
            signature: Signature::user_defined(Volatility::Immutable),
            constant: None,
        }
    }

    /// This function with its second vector settled.
    fn to(&self, constant: &[f64]) -> Self {
        Self {
            metric: self.metric,
            name: format!("{} to {}", self.name, literal::name(constant)),
            signature: self.signature.clone(),
            constant: Some(constant.iter().map(|value| value.to_bits()).collect()),
        }
    }

    /// The constant vector, where it stands in the function.
    fn constant(&self) -> Option<Vec<f64>> {
        let bits = self.constant.as_ref()?;
        Some(bits.iter().copied().map(f64::from_bits).collect())
    }

    /// The constant vector made ready: its own or the one given as its argument.
    pub(crate) fn query(&self, argument: Option<&ScalarValue>) -> Option<Query> {
        let numbers = match (self.constant(), argument) {
            (Some(constant), None) => constant,
            (None, Some(argument)) => literal::numbers(argument).ok()??,
            _ => return None,
        };
        Some(Query::new(self.metric, Vectors::F64(&numbers)))
    }

    /// What kind of distance between two columns an expression is.
    pub(crate) fn metric_of(expr: &Arc<dyn PhysicalExpr>) -> Option<Metric> {
        let call = expr.downcast_ref::<ScalarFunctionExpr>()?;
        let distance = call.fun().inner().downcast_ref::<Self>()?;
        distance.constant.is_none().then_some(distance.metric)
    }

    /// Whether columns of this type are compared with vectors of `width` values in place.
    pub(crate) fn reads(column: &DataType, width: usize) -> bool {
        match column {
            DataType::FixedSizeList(item, values) => {
                is_element(item.data_type()) && usize::try_from(*values) == Ok(width)
            }
            _ => false,
        }
    }

    fn argument_type(&self, given: &DataType) -> DataFusionResult<DataType> {
        let double = || Arc::new(Field::new_list_field(DataType::Float64, true));
        let is_number = |item: &DataType| {
            item.is_numeric() || matches!(item, DataType::Boolean | DataType::Null)
        };
        Ok(match given {
            DataType::Null => DataType::Null,
            DataType::FixedSizeList(item, _) if is_element(item.data_type()) => given.clone(),
            DataType::FixedSizeList(item, width) if is_number(item.data_type()) => {
                DataType::FixedSizeList(double(), *width)
            }
            DataType::List(item) | DataType::LargeList(item) if is_number(item.data_type()) => {
                DataType::List(double())
            }
            other => return plan_err!("{} takes vectors of numbers, not {other}", self.name),
        })
    }

    fn expect_same_length(&self, a: usize, b: usize) -> DataFusionResult<()> {
        if a == b {
            return Ok(());
        }
        plan_err!(
            "{} of vectors of {a} and of {b} values: lengths differ",
            self.name
        )
    }

    /// One constant against the rows of `list`.
    fn to_constant(
        &self,
        list: &FixedSizeListArray,
        constant: Vectors<'_>,
    ) -> DataFusionResult<ArrayRef> {
        let width = usize::try_from(list.value_length()).unwrap_or_default();
        self.expect_same_length(width, constant.len())?;
        let mut out = vec![0.0; list.len()];
        Query::new(self.metric, constant).distances(vectors(list.values())?, &mut out);
        Ok(self.finish(out, whole(list)))
    }

    /// Row by row.
    fn between(
        &self,
        a: &FixedSizeListArray,
        b: &FixedSizeListArray,
    ) -> DataFusionResult<ArrayRef> {
        let width = |list: &FixedSizeListArray| usize::try_from(list.value_length()).unwrap_or(0);
        self.expect_same_length(width(a), width(b))?;
        let mut out = vec![0.0; a.len()];
        let (a_values, b_values) = (vectors(a.values())?, vectors(b.values())?);
        distances_between(self.metric, a_values, b_values, width(a), &mut out);
        Ok(self.finish(out, NullBuffer::union(whole(a).as_ref(), whole(b).as_ref())))
    }

    /// Row by row, where rows may differ in length.
    fn between_lists(&self, a: &ArrayRef, b: &ArrayRef) -> DataFusionResult<ArrayRef> {
        let lists = DataType::List(Arc::new(Field::new_list_field(DataType::Float64, true)));
        let (a, b) = (cast(a, &lists)?, cast(b, &lists)?);
        let (a, b) = (a.as_list::<i32>(), b.as_list::<i32>());
        let mut out = vec![UNDEFINED; a.len()];
        for (row, out) in out.iter_mut().enumerate() {
            if a.is_null(row) || b.is_null(row) {
                continue;
            }
            let (a, b) = (a.value(row), b.value(row));
            if a.len() != b.len() {
                return exec_err!(
                    "{} of vectors of {} and of {} values: lengths differ",
                    self.name,
                    a.len(),
                    b.len()
                );
            }
            if a.null_count() == 0 && b.null_count() == 0 {
                let of = |list: &ArrayRef| list.as_primitive::<Float64Type>().values().clone();
                let pair = (Vectors::F64(&of(&a)), Vectors::F64(&of(&b)));
                distances_between(
                    self.metric,
                    pair.0,
                    pair.1,
                    a.len(),
                    std::slice::from_mut(out),
                );
            }
        }
        Ok(finish(out, None))
    }

    fn finish(&self, out: Vec<f64>, valid: Option<NullBuffer>) -> ArrayRef {
        if self.metric == Metric::Cosine {
            return finish(out, valid);
        }
        Arc::new(Float64Array::new(out.into(), valid))
    }
}

/// Distances as a column, NULL where there is none.
fn finish(out: Vec<f64>, valid: Option<NullBuffer>) -> ArrayRef {
    let defined = |value: &f64| value.to_bits() != UNDEFINED.to_bits();
    let valid = if out.iter().all(defined) {
        valid
    } else {
        let defined: NullBuffer = out.iter().map(defined).collect();
        NullBuffer::union(valid.as_ref(), Some(&defined))
    };
    Arc::new(Float64Array::new(out.into(), valid))
}

/// The length of a vector, where its type or the constant says it.
fn known_length(field: &Field, scalar: Option<&ScalarValue>) -> Option<usize> {
    match field.data_type() {
        DataType::FixedSizeList(_, width) => usize::try_from(*width).ok(),
        _ => literal::len(scalar?),
    }
}

impl ScalarUDFImpl for Distance {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> DataFusionResult<DataType> {
        Ok(DataType::Float64)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> DataFusionResult<FieldRef> {
        let lengths = args.arg_fields.iter().zip(args.scalar_arguments);
        let lengths = lengths.map(|(field, scalar)| known_length(field, *scalar));
        let lengths: Vec<usize> = lengths
            .chain(self.constant.as_ref().map(|constant| Some(constant.len())))
            .flatten()
            .collect();
        if let [a, b] = lengths[..] {
            self.expect_same_length(a, b)?;
        }
        Ok(Arc::new(Field::new(self.name(), DataType::Float64, true)))
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> DataFusionResult<Vec<DataType>> {
        let expected = if self.constant.is_some() { 1 } else { 2 };
        if arg_types.len() != expected {
            return plan_err!(
                "{} takes {expected} vectors, not {} arguments",
                self.name,
                arg_types.len()
            );
        }
        arg_types
            .iter()
            .map(|given| self.argument_type(given))
            .collect()
    }

    fn simplify(
        &self,
        args: Vec<Expr>,
        _info: &SimplifyContext,
    ) -> DataFusionResult<ExprSimplifyResult> {
        let (constant, other) = match &args[..] {
            [Expr::Literal(..), Expr::Literal(..)] => {
                return Ok(ExprSimplifyResult::Original(args));
            }
            [other, Expr::Literal(constant, _)] | [Expr::Literal(constant, _), other] => {
                (constant, other)
            }
            _ => return Ok(ExprSimplifyResult::Original(args)),
        };
        match literal::numbers(constant)? {
            Some(numbers) if literal::is_long(&numbers) => {
                let function = Arc::new(ScalarUDF::new_from_impl(self.to(&numbers)));
                let call = ScalarFunction::new_udf(function, vec![other.clone()]);
                Ok(ExprSimplifyResult::Simplified(Expr::ScalarFunction(call)))
            }
            _ => Ok(ExprSimplifyResult::Original(args)),
        }
    }

    fn schema_name(&self, args: &[Expr]) -> DataFusionResult<String> {
        let args: DataFusionResult<Vec<String>> = args.iter().map(literal::argument).collect();
        Ok(format!("{}({})", self.name, args?.join(",")))
    }

    fn display_name(&self, args: &[Expr]) -> DataFusionResult<String> {
        self.schema_name(args)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DataFusionResult<ColumnarValue> {
        if args.args.iter().any(|arg| arg.data_type().is_null()) {
            return Ok(ColumnarValue::Scalar(ScalarValue::Float64(None)));
        }
        if let Some(constant) = self.constant() {
            let [rows] = take_function_args(&self.name, &args.args)?;
            let rows = rows.to_array(args.number_rows)?;
            let distances = if let Some(list) = rows.as_fixed_size_list_opt() {
                self.to_constant(list, Vectors::F64(&constant))?
            } else {
                let values: Vec<ScalarValue> =
                    constant.into_iter().map(ScalarValue::from).collect();
                let list = ScalarValue::new_list(&values, &DataType::Float64, true);
                let list = ScalarValue::List(list).to_array_of_size(rows.len())?;
                self.between_lists(&rows, &list)?
            };
            return Ok(ColumnarValue::Array(distances));
        }
        let [a, b] = take_function_args(&self.name, &args.args)?;
        if let (ColumnarValue::Array(rows), ColumnarValue::Scalar(scalar))
        | (ColumnarValue::Scalar(scalar), ColumnarValue::Array(rows)) = (a, b)
            && let Some(list) = rows.as_fixed_size_list_opt()
        {
            let Some(values) = literal::values(scalar) else {
                return Ok(ColumnarValue::Scalar(ScalarValue::Float64(None)));
            };
            return Ok(ColumnarValue::Array(
                self.to_constant(list, vectors(&values)?)?,
            ));
        }
        let is_scalar = [a, b]
            .iter()
            .all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let rows = if is_scalar { 1 } else { args.number_rows };
        let (a, b) = (a.to_array(rows)?, b.to_array(rows)?);
        let distances = match (a.as_fixed_size_list_opt(), b.as_fixed_size_list_opt()) {
            (Some(a), Some(b)) => self.between(a, b)?,
            _ => self.between_lists(&a, &b)?,
        };
        if is_scalar {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(
                &distances, 0,
            )?));
        }
        Ok(ColumnarValue::Array(distances))
    }
}
