//! Python values as the parameters of a query.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayData, ArrayRef, BooleanArray, FixedSizeListArray, RecordBatch, make_array,
};
use arrow::buffer::Buffer;
use arrow::compute::concat;
use arrow::datatypes::{DataType, Field, SchemaRef};
use numpack::DType;
use numpack::datafusion::{Params, ScalarValue, SqlError};
use numpy::PyArrayDescr;
use pyo3::exceptions::{PyOverflowError, PyTypeError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};

use crate::errors::{self, raise};
use crate::incoming::{self, Given};
use crate::values::Input;

/// What stands behind `sql(query, *args, **named)`: values, and tables among the named ones.
pub(crate) fn params(args: &Bound<'_, PyTuple>, named: &Bound<'_, PyDict>) -> PyResult<Params> {
    let mut values = Vec::with_capacity(args.len());
    for (at, value) in (1..).zip(args) {
        let name = at.to_string();
        match Value::of(&name, &value)? {
            Value::Scalar(scalar) => values.push(scalar),
            Value::Table(..) => {
                return Err(PyTypeError::new_err(format!(
                    "parameter ${name} is a table, which needs a name: sql(query, name=table)"
                )));
            }
        }
    }
    let mut params = Params::from(values);
    for (name, value) in named {
        let name: String = name.extract()?;
        params = match Value::of(&name, &value)? {
            Value::Scalar(scalar) => params.with_value(name, scalar),
            Value::Table(schema, batches) => params
                .with_batches(name, schema, batches)
                .map_err(|error| errors::sql(value.py(), error))?,
        };
    }
    Ok(params)
}

/// The error of a query, which says so where a parameter is a value and stands in the place of a table.
pub(crate) fn not_found(error: SqlError, named: &Bound<'_, PyDict>) -> SqlError {
    let SqlError::DataFusion(planning) = &error else {
        return error;
    };
    let text = planning.to_string();
    let names = named.keys().into_iter();
    let mut names = names.filter_map(|name| name.extract::<String>().ok());
    let wanted = names.find(|name| text.ends_with(&format!(".public.{name}' not found")));
    wanted.map_or(error, |name| {
        SqlError::Usage(format!(
            "table '{name}' not found: the parameter {name} is a value or a vector, ${name} in the \
             query, and no table; a column of another library becomes one with a name, \
             pyarrow.table({{\"value\": column}})"
        ))
    })
}

enum Value {
    Scalar(ScalarValue),
    Table(SchemaRef, Vec<RecordBatch>),
}

impl Value {
    fn of(name: &str, value: &Bound<'_, PyAny>) -> PyResult<Self> {
        let py = value.py();
        if let Some(scalar) = plain(name, value)? {
            return Ok(Self::Scalar(scalar));
        }
        if let Ok(list) = value.cast::<PyList>() {
            return list_of(name, list.iter()).map(Self::Scalar);
        }
        if let Ok(list) = value.cast::<PyTuple>() {
            return list_of(name, list.iter()).map(Self::Scalar);
        }
        let dtype = value.getattr(intern!(py, "dtype"));
        let numpys = dtype.is_ok_and(|dtype| dtype.is_instance_of::<PyArrayDescr>());
        if !numpys && incoming::is_arrow(value)? {
            // Once: a stream gives its rows to the first who asks.
            return match incoming::given(value)? {
                Given::Table(schema, batches) => Ok(Self::Table(schema, batches)),
                Given::Array(chunks) => column(name, py, &chunks).map(Self::Scalar),
            };
        }
        let known = numpys
            || value.hasattr(intern!(py, "__array__"))?
            || value.hasattr(intern!(py, "__dlpack__"))?;
        if !known {
            return Err(PyTypeError::new_err(format!(
                "parameter ${name}: a {} is no value for SQL, which takes None, bool, int, float, \
                 str, bytes, lists of these, NumPy scalars and vectors, and Arrow tables by name",
                value.get_type().name()?
            )));
        }
        ndarray(name, value).map(Self::Scalar)
    }
}

/// A value that Python has a type of its own for.
fn plain(name: &str, value: &Bound<'_, PyAny>) -> PyResult<Option<ScalarValue>> {
    // np.float64 is a float too, with the same meaning.
    Ok(Some(if value.is_none() {
        ScalarValue::Null
    } else if let Ok(value) = value.cast::<PyBool>() {
        ScalarValue::Boolean(Some(value.is_true()))
    } else if let Ok(value) = value.cast::<PyInt>() {
        match value.extract::<i64>() {
            Ok(value) => ScalarValue::Int64(Some(value)),
            Err(_) => match value.extract::<u64>() {
                Ok(value) => ScalarValue::UInt64(Some(value)),
                Err(_) => {
                    return Err(PyOverflowError::new_err(format!(
                        "parameter ${name}: {value} does not fit 64 bits"
                    )));
                }
            },
        }
    } else if let Ok(value) = value.cast::<PyFloat>() {
        ScalarValue::Float64(Some(value.value()))
    } else if let Ok(value) = value.cast::<PyString>() {
        ScalarValue::Utf8(Some(value.to_str()?.to_owned()))
    } else if let Ok(value) = value.cast::<PyBytes>() {
        ScalarValue::Binary(Some(value.as_bytes().to_vec()))
    } else {
        return Ok(None);
    }))
}

/// A list of values of one type; integers beside floats become floats.
fn list_of<'py>(
    name: &str,
    values: impl Iterator<Item = Bound<'py, PyAny>>,
) -> PyResult<ScalarValue> {
    let mut scalars = Vec::new();
    for value in values {
        let scalar = match plain(name, &value)? {
            Some(scalar) => Some(scalar),
            None if value.hasattr(intern!(value.py(), "dtype"))? => {
                Some(ndarray(name, &value)?).filter(|scalar| !scalar.data_type().is_nested())
            }
            None => None,
        };
        scalars.push(scalar.ok_or_else(|| {
            PyTypeError::new_err(format!(
                "parameter ${name}: a list holds single values; a list of lists or of arrays is \
                 none, and a matrix is best given as a table or row by row"
            ))
        })?);
    }
    let types = scalars.iter().map(ScalarValue::data_type);
    let of = types.reduce(|one, other| match (one, other) {
        (DataType::Null, other) => other,
        (DataType::Int64, DataType::Float64) => DataType::Float64,
        (one, _) => one,
    });
    let of = of.unwrap_or(DataType::Null);
    let cast = |scalar: ScalarValue| match (&of, &scalar) {
        (DataType::Float64, ScalarValue::Int64(_)) | (_, ScalarValue::Null) => {
            scalar.cast_to(&of).ok()
        }
        _ => Some(scalar).filter(|scalar| scalar.data_type() == of),
    };
    let scalars: Option<Vec<ScalarValue>> = scalars.into_iter().map(cast).collect();
    let scalars = scalars.ok_or_else(|| {
        PyTypeError::new_err(format!(
            "parameter ${name}: the values of a list have one type"
        ))
    })?;
    let list = ScalarValue::new_list_nullable(&scalars, &of);
    Ok(ScalarValue::List(list))
}

/// A NumPy scalar, or a vector of one.
fn ndarray(name: &str, value: &Bound<'_, PyAny>) -> PyResult<ScalarValue> {
    let py = value.py();
    let input = Input::any(&format!("${name}"), value)?;
    let values = values(name, py, input.meta.dtype, input.bytes()?)?;
    match input.meta.shape.dims() {
        [] => ScalarValue::try_from_array(&values, 0)
            .map_err(|error| raise(py, "SQLError", &error.to_string())),
        [_] => vector(name, py, values),
        dims => Err(raise(
            py,
            "ArgumentError",
            &format!(
                "parameter ${name} has {} axes: a value for SQL is a single number or a vector",
                dims.len()
            ),
        )),
    }
}

/// Bytes in the order of memory as an Arrow array.
fn values(name: &str, py: Python<'_>, dtype: DType, bytes: &[u8]) -> PyResult<ArrayRef> {
    let of = match dtype {
        DType::Bool => {
            let bits: Vec<bool> = bytes.iter().map(|&byte| byte != 0).collect();
            return Ok(Arc::new(BooleanArray::from(bits)));
        }
        DType::UInt8 => DataType::UInt8,
        DType::UInt16 => DataType::UInt16,
        DType::UInt32 => DataType::UInt32,
        DType::UInt64 => DataType::UInt64,
        DType::Int8 => DataType::Int8,
        DType::Int16 => DataType::Int16,
        DType::Int32 => DataType::Int32,
        DType::Int64 => DataType::Int64,
        DType::Float16 => DataType::Float16,
        DType::Float32 => DataType::Float32,
        DType::Float64 => DataType::Float64,
        DType::Complex64 | DType::Complex128 => {
            return Err(raise(
                py,
                "ArgumentError",
                &format!("parameter ${name} is complex: give its real and imaginary part"),
            ));
        }
    };
    let data = ArrayData::builder(of)
        .len(bytes.len() / dtype.itemsize())
        .add_buffer(Buffer::from(bytes))
        .build()
        .map_err(|error| errors::arrow_rs(py, error))?;
    Ok(make_array(data))
}

/// A column of another library as a vector.
fn column(name: &str, py: Python<'_>, chunks: &[ArrayRef]) -> PyResult<ScalarValue> {
    let chunks: Vec<&dyn Array> = chunks.iter().map(AsRef::as_ref).collect();
    let column = concat(&chunks).map_err(|error| errors::arrow_rs(py, error))?;
    vector(name, py, column)
}

/// Values as one FixedSizeList of their own type.
fn vector(name: &str, py: Python<'_>, values: ArrayRef) -> PyResult<ScalarValue> {
    let length = i32::try_from(values.len()).map_err(|_| {
        let length = values.len();
        raise(
            py,
            "ArgumentError",
            &format!("parameter ${name}: a vector of {length} values is too long for SQL"),
        )
    })?;
    let field = Arc::new(Field::new_list_field(values.data_type().clone(), true));
    let lists = FixedSizeListArray::try_new_with_length(field, length, values, None, 1)
        .map_err(|error| errors::arrow_rs(py, error))?;
    Ok(ScalarValue::FixedSizeList(Arc::new(lists)))
}
