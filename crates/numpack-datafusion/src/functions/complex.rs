use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, FixedSizeListArray, PrimitiveArray};
use arrow::datatypes::{ArrowPrimitiveType, DataType, Field, FieldRef, Float32Type, Float64Type};
use datafusion::common::utils::take_function_args;
use datafusion::common::{Result as DataFusionResult, ScalarValue, internal_err, plan_err};
use datafusion::execution::FunctionRegistry;
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::type_coercion::functions::fields_with_udf;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};
use numpack_arrow::{ArrowType, row_of};
use numpack_format::DType;

use crate::error::SqlError;
use crate::relation::COLUMNS;

/// Registers `real`, `imag`, `angle` and `abs`, which is the registry's own for all other types.
pub(super) fn register(registry: &mut dyn FunctionRegistry) -> DataFusionResult<()> {
    let abs = registry.udf("abs")?;
    for (part, name, other) in [
        (Part::Real, "real", None),
        (Part::Imag, "imag", None),
        (Part::Angle, "angle", None),
        (Part::Abs, "abs", Some(abs)),
    ] {
        let function = ComplexPart {
            part,
            name,
            signature: Signature::user_defined(Volatility::Immutable),
            other,
        };
        registry.register_udf(Arc::new(ScalarUDF::new_from_impl(function)))?;
    }
    Ok(())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Part {
    Real,
    Imag,
    Abs,
    Angle,
}

/// One real number of each complex one. Tensors of complex numbers become tensors of real ones.
#[derive(Debug, PartialEq, Eq, Hash)]
struct ComplexPart {
    part: Part,
    name: &'static str,
    signature: Signature,
    /// What the name means for other types.
    other: Option<Arc<ScalarUDF>>,
}

impl ComplexPart {
    /// The type of the parts of complex numbers; None for other types.
    fn part_type(field: &Field) -> DataFusionResult<Option<ArrowType>> {
        let Some((dtype, row)) = row_of(field) else {
            return Ok(None);
        };
        let dtype = match dtype {
            DType::Complex64 => DType::Float32,
            DType::Complex128 => DType::Float64,
            _ => return Ok(None),
        };
        let dims: Vec<u64> = std::iter::once(0).chain(row).collect();
        let part = ArrowType::new(field.name(), dtype, &dims, &COLUMNS);
        Ok(Some(part.map_err(SqlError::from)?))
    }

    fn parts<T: ArrowPrimitiveType>(&self, numbers: &FixedSizeListArray) -> PrimitiveArray<T>
    where
        T::Native: Parts,
    {
        let (pairs, _) = numbers
            .values()
            .as_primitive::<T>()
            .values()
            .as_chunks::<2>();
        let pairs = pairs.iter().copied();
        PrimitiveArray::from_iter_values(match self.part {
            Part::Real => pairs.map(|[real, _]| real).collect::<Vec<_>>(),
            Part::Imag => pairs.map(|[_, imag]| imag).collect(),
            Part::Abs => pairs.map(|[real, imag]| real.abs_with(imag)).collect(),
            Part::Angle => pairs.map(|[real, imag]| real.angle_with(imag)).collect(),
        })
    }
}

/// The arithmetic of a complex number's two parts.
trait Parts: Copy {
    fn abs_with(self, imag: Self) -> Self;
    fn angle_with(self, imag: Self) -> Self;
}

impl Parts for f32 {
    fn abs_with(self, imag: Self) -> Self {
        self.hypot(imag)
    }

    fn angle_with(self, imag: Self) -> Self {
        imag.atan2(self)
    }
}

impl Parts for f64 {
    fn abs_with(self, imag: Self) -> Self {
        self.hypot(imag)
    }

    fn angle_with(self, imag: Self) -> Self {
        imag.atan2(self)
    }
}

impl ScalarUDFImpl for ComplexPart {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> DataFusionResult<DataType> {
        internal_err!("{} has its type from return_field_from_args", self.name)
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> DataFusionResult<Vec<DataType>> {
        let [given] = take_function_args(self.name, arg_types)?;
        match &self.other {
            // Whether a list is of complex numbers stands in metadata that is not here.
            Some(other) if !matches!(given, DataType::FixedSizeList(..)) => {
                let field = Arc::new(Field::new(self.name, given.clone(), true));
                let fields = fields_with_udf(&[field], other.as_ref())?;
                Ok(fields
                    .iter()
                    .map(|field| field.data_type().clone())
                    .collect())
            }
            _ => Ok(vec![given.clone()]),
        }
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> DataFusionResult<FieldRef> {
        let [field] = take_function_args(self.name, args.arg_fields)?;
        match (Self::part_type(field)?, &self.other) {
            (Some(part), _) => Ok(Arc::new(part.field(self.name))),
            (None, Some(other)) if !matches!(field.data_type(), DataType::FixedSizeList(..)) => {
                other.return_field_from_args(args)
            }
            _ => plan_err!(
                "{} takes complex numbers, not {}",
                self.name,
                field.data_type()
            ),
        }
    }

    fn output_ordering(&self, inputs: &[ExprProperties]) -> DataFusionResult<SortProperties> {
        match &self.other {
            Some(other) => other.output_ordering(inputs),
            None => Ok(SortProperties::Unordered),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DataFusionResult<ColumnarValue> {
        let [field] = take_function_args(self.name, &args.arg_fields)?;
        let Some(part) = Self::part_type(field)? else {
            if let Some(other) = &self.other {
                return other.invoke_with_args(args);
            }
            return internal_err!("{} of {}", self.name, field.data_type());
        };
        let [argument] = take_function_args(self.name, &args.args)?;
        let is_scalar = matches!(argument, ColumnarValue::Scalar(_));
        let numbers = argument.to_array(if is_scalar { 1 } else { args.number_rows })?;
        let Some(numbers) = numbers.as_fixed_size_list_opt() else {
            return internal_err!("{} of {}", self.name, numbers.data_type());
        };
        let values: ArrayRef = match numbers.value_type() {
            DataType::Float32 => Arc::new(self.parts::<Float32Type>(numbers)),
            _ => Arc::new(self.parts::<Float64Type>(numbers)),
        };
        let nulls = numbers.nulls().cloned();
        let parts: ArrayRef = match part.data_type() {
            DataType::FixedSizeList(child, width) => {
                let child = Arc::clone(child);
                Arc::new(FixedSizeListArray::try_new(child, *width, values, nulls)?)
            }
            _ => match nulls {
                Some(nulls) => arrow::compute::nullif(
                    &values,
                    &arrow::array::BooleanArray::new(!nulls.inner(), None),
                )?,
                None => values,
            },
        };
        if is_scalar {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(
                &parts, 0,
            )?));
        }
        Ok(ColumnarValue::Array(parts))
    }
}
