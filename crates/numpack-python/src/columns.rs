//! A column of a result as an ndarray, without pyarrow.

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, new_empty_array};
use arrow::compute::concat;
use arrow::datatypes::{
    DataType, Field, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use numpack::DType;
use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::errors::{self, raise};
use crate::ndarray;

/// All chunks of a column as one ndarray of the values' own dtype.
pub(crate) fn ndarray<'py>(
    py: Python<'py>,
    field: &Field,
    chunks: &[&ArrayRef],
) -> PyResult<Bound<'py, PyAny>> {
    let parts: Vec<&dyn Array> = chunks.iter().map(AsRef::as_ref).collect();
    let column = match parts.as_slice() {
        [] => new_empty_array(field.data_type()),
        parts => concat(parts).map_err(|error| errors::arrow_rs(py, error))?,
    };
    let (values, shape) = flattened(&column);
    let nulls = column.null_count()
        + if shape.len() > 1 {
            values.null_count()
        } else {
            0
        };
    if nulls > 0 && !column.data_type().is_floating() {
        return Err(raise(
            py,
            "SQLError",
            &format!(
                "column \"{}\" has {nulls} nulls, which {} has no NumPy form for: use to_arrow()",
                field.name(),
                field.data_type()
            ),
        ));
    }
    match values.data_type() {
        DataType::Int8 => primitive::<Int8Type>(py, &values, &shape, DType::Int8),
        DataType::Int16 => primitive::<Int16Type>(py, &values, &shape, DType::Int16),
        DataType::Int32 => primitive::<Int32Type>(py, &values, &shape, DType::Int32),
        DataType::Int64 => primitive::<Int64Type>(py, &values, &shape, DType::Int64),
        DataType::UInt8 => primitive::<UInt8Type>(py, &values, &shape, DType::UInt8),
        DataType::UInt16 => primitive::<UInt16Type>(py, &values, &shape, DType::UInt16),
        DataType::UInt32 => primitive::<UInt32Type>(py, &values, &shape, DType::UInt32),
        DataType::UInt64 => primitive::<UInt64Type>(py, &values, &shape, DType::UInt64),
        DataType::Float16 => primitive::<Float16Type>(py, &values, &shape, DType::Float16),
        DataType::Float32 => primitive::<Float32Type>(py, &values, &shape, DType::Float32),
        DataType::Float64 => primitive::<Float64Type>(py, &values, &shape, DType::Float64),
        DataType::Boolean => {
            let bits = values.as_boolean().values().clone();
            ndarray::filled(py, DType::Bool, &shape, move |out| {
                for (byte, bit) in out.iter_mut().zip(&bits) {
                    *byte = u8::from(bit);
                }
                Ok(())
            })
        }
        DataType::Utf8 => objects(py, values.as_string::<i32>().iter()),
        DataType::LargeUtf8 => objects(py, values.as_string::<i64>().iter()),
        DataType::Utf8View => objects(py, values.as_string_view().iter()),
        other => Err(raise(
            py,
            "SQLError",
            &format!(
                "column \"{}\" is {other}, which has no NumPy form: use to_arrow()",
                field.name()
            ),
        )),
    }
}

/// The values below all fixed-size lists, and the shape that the lists give them.
fn flattened(column: &ArrayRef) -> (ArrayRef, Vec<usize>) {
    let mut shape = vec![column.len()];
    let mut values = ArrayRef::clone(column);
    while let Some(lists) = values.as_fixed_size_list_opt() {
        shape.push(usize::try_from(lists.value_length()).unwrap_or(0));
        values = ArrayRef::clone(lists.values());
    }
    (values, shape)
}

fn primitive<'py, T: ArrowPrimitiveType>(
    py: Python<'py>,
    values: &ArrayRef,
    shape: &[usize],
    dtype: DType,
) -> PyResult<Bound<'py, PyAny>> {
    let typed = values.as_primitive::<T>();
    let bytes = typed.values().inner().as_slice();
    let array = ndarray::filled(py, dtype, shape, |out| {
        out.copy_from_slice(bytes);
        Ok(())
    })?;
    if let Some(nulls) = typed.nulls()
        && nulls.null_count() > 0
    {
        for (row, valid) in nulls.iter().enumerate() {
            if !valid {
                array.set_item(row, f64::NAN)?;
            }
        }
    }
    Ok(array)
}

fn objects<'py, 'a>(
    py: Python<'py>,
    texts: impl Iterator<Item = Option<&'a str>>,
) -> PyResult<Bound<'py, PyAny>> {
    let list = PyList::new(py, texts.collect::<Vec<_>>())?;
    py.import("numpy")?.call_method1("array", (list, "object"))
}
