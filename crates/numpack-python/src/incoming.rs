//! Arrow data from other libraries as ndarrays, by the PyCapsule interface.
#![allow(unsafe_code, reason = "the C data interface hands pointers over")]

use std::ffi::CStr;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, make_array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::ffi::{FFI_ArrowArray, FFI_ArrowSchema, from_ffi_and_data_type};
use arrow::ffi_stream::FFI_ArrowArrayStream;
use numpack::arrow::ArrowRows;
use numpy::PyArrayDescr;
use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyDict, PyTuple};

use crate::errors::{self, raise};
use crate::ndarray;

/// The pieces of one Arrow column or table, and their type.
struct Data {
    field: Field,
    chunks: Vec<ArrayRef>,
}

/// The ndarray that a value of another library stands for by Arrow's or DLPack's protocol; None
/// for what NumPy itself knows how to read.
pub(crate) fn foreign<'py>(
    name: &str,
    value: &Bound<'py, PyAny>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = value.py();
    // What has a dtype of NumPy's is NumPy's: a pandas column of floats would lose its NaN to
    // Arrow's nulls, where a column of Polars or pyarrow would lose its nulls to NaN.
    if let Ok(dtype) = value.getattr(intern!(py, "dtype"))
        && dtype.is_instance_of::<PyArrayDescr>()
    {
        return Ok(None);
    }
    if is_arrow(value)? {
        return arrow_values(value, name).map(Some);
    }
    if value.hasattr(intern!(py, "__dlpack__"))? && !value.hasattr(intern!(py, "__array__"))? {
        let numpy = py.import("numpy")?;
        return numpy.call_method1("from_dlpack", (value,)).map(Some);
    }
    Ok(None)
}

/// The columns of a table, batch or stream as ndarrays by name.
#[pyfunction]
#[pyo3(signature = (data, columns=None))]
pub(crate) fn arrow_columns<'py>(
    py: Python<'py>,
    data: &Bound<'py, PyAny>,
    columns: Option<Vec<String>>,
) -> PyResult<Bound<'py, PyDict>> {
    let data = Data::read(data)?;
    let DataType::Struct(fields) = data.field.data_type() else {
        return Err(raise(
            py,
            "ArgumentError",
            &format!(
                "the data is one array of {}, not a table: give it a name, from_arrow(data, name)",
                data.field.data_type()
            ),
        ));
    };
    let nulls: usize = data.chunks.iter().map(Array::null_count).sum();
    if nulls > 0 {
        return Err(raise(
            py,
            "ArgumentError",
            &format!("{nulls} rows of the table are null, and a store has no nulls"),
        ));
    }
    let schema = Schema::new(fields.clone());
    let names: Option<Vec<&str>> = columns
        .as_ref()
        .map(|names| names.iter().map(String::as_str).collect());
    let rows = py
        .detach(|| {
            let batches = data.chunks.iter().map(|chunk| batch(&schema, chunk));
            let batches = batches.collect::<Result<Vec<_>, _>>()?;
            ArrowRows::columns(&schema, &batches, names.as_deref())
        })
        .map_err(|error| errors::arrow(py, error))?;
    let arrays = PyDict::new(py);
    for column in rows {
        arrays.set_item(column.name().to_owned(), ndarray::over_rows(py, column)?)?;
    }
    Ok(arrays)
}

/// Whether a value speaks Arrow's PyCapsule interface.
pub(crate) fn is_arrow(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = value.py();
    Ok(value.hasattr(intern!(py, "__arrow_c_stream__"))?
        || value.hasattr(intern!(py, "__arrow_c_array__"))?)
}

/// A table, batch or stream as batches, which lie over the memory of whoever made them.
pub(crate) fn table(value: &Bound<'_, PyAny>) -> PyResult<(SchemaRef, Vec<RecordBatch>)> {
    match given(value)? {
        Given::Table(schema, batches) => Ok((schema, batches)),
        Given::Array(_) => Err(unreadable(value.py(), "it is one array and not a table")),
    }
}

/// What another library gives.
pub(crate) enum Given {
    /// Rows of columns.
    Table(SchemaRef, Vec<RecordBatch>),
    /// The pieces of one array.
    Array(Vec<ArrayRef>),
}

/// A table or an array, which lies over the memory of whoever made it.
pub(crate) fn given(value: &Bound<'_, PyAny>) -> PyResult<Given> {
    let py = value.py();
    let data = Data::read(value)?;
    let DataType::Struct(fields) = data.field.data_type() else {
        return Ok(Given::Array(data.chunks));
    };
    if data.chunks.iter().any(|chunk| chunk.null_count() > 0) {
        return Err(unreadable(py, "rows of it are null as a whole"));
    }
    let schema = Schema::new(fields.clone());
    let batches = data.chunks.iter().map(|chunk| batch(&schema, chunk));
    let batches = batches.collect::<Result<Vec<_>, _>>();
    Ok(Given::Table(
        schema.into(),
        batches.map_err(|error| errors::arrow(py, error))?,
    ))
}

/// A chunk of a table, which has no null rows.
fn batch(schema: &Schema, chunk: &ArrayRef) -> numpack::arrow::Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(chunk.len()));
    let columns = chunk.as_struct().columns().to_vec();
    Ok(RecordBatch::try_new_with_options(
        schema.clone().into(),
        columns,
        &options,
    )?)
}

/// One Arrow array (or stream of pieces of one) as an ndarray; `name` is for errors.
#[pyfunction]
pub(crate) fn arrow_values<'py>(
    data: &Bound<'py, PyAny>,
    name: &str,
) -> PyResult<Bound<'py, PyAny>> {
    let py = data.py();
    let data = Data::read(data)?;
    if let DataType::Struct(fields) = data.field.data_type() {
        return Err(raise(
            py,
            "ArgumentError",
            &format!(
                "array \"{name}\": the data is a table of {} columns, not one array: \
                 from_arrow(data) saves each of them",
                fields.len()
            ),
        ));
    }
    let rows = py
        .detach(|| ArrowRows::new(&data.field.with_name(name), &data.chunks))
        .map_err(|error| errors::arrow(py, error))?;
    ndarray::over_rows(py, rows)
}

impl Data {
    fn read(value: &Bound<'_, PyAny>) -> PyResult<Self> {
        let py = value.py();
        // The array first: a stream of one array costs more to import.
        if value.hasattr(intern!(py, "__arrow_c_array__"))? {
            return Self::read_array(value);
        }
        if value.hasattr(intern!(py, "__arrow_c_stream__"))? {
            return Self::read_stream(value);
        }
        Err(PyTypeError::new_err(format!(
            "{} has neither __arrow_c_stream__ nor __arrow_c_array__",
            value.get_type().name()?
        )))
    }

    fn read_array(value: &Bound<'_, PyAny>) -> PyResult<Self> {
        let py = value.py();
        let pair = value.call_method0(intern!(py, "__arrow_c_array__"))?;
        let (schema, array): (Bound<'_, PyAny>, Bound<'_, PyAny>) =
            pair.cast::<PyTuple>()?.extract()?;
        let schema = schema
            .cast::<PyCapsule>()?
            .pointer_checked(Some(c"arrow_schema"))?
            .cast::<FFI_ArrowSchema>();
        let array = array
            .cast::<PyCapsule>()?
            .pointer_checked(Some(c"arrow_array"))?
            .cast::<FFI_ArrowArray>();
        // SAFETY: capsules of these names hold these structs by the PyCapsule interface. The schema
        // is only read; the array is moved out, which leaves a released one for the capsule.
        let (field, array) = unsafe {
            let field = Field::try_from(schema.as_ref());
            (field, FFI_ArrowArray::from_raw(array.as_ptr()))
        };
        let field = field.map_err(|error| unreadable(py, &error.to_string()))?;
        let chunk = imported(py, array, field.data_type())?;
        Ok(Self {
            field,
            chunks: vec![chunk],
        })
    }

    fn read_stream(value: &Bound<'_, PyAny>) -> PyResult<Self> {
        let py = value.py();
        let capsule = value.call_method0(intern!(py, "__arrow_c_stream__"))?;
        let pointer = capsule
            .cast::<PyCapsule>()?
            .pointer_checked(Some(c"arrow_array_stream"))?
            .cast::<FFI_ArrowArrayStream>();
        // SAFETY: a capsule of this name holds an ArrowArrayStream by the PyCapsule interface; it
        // is moved out, which leaves a released one for the capsule.
        let mut stream = unsafe { FFI_ArrowArrayStream::from_raw(pointer.as_ptr()) };
        let (Some(get_schema), Some(get_next)) = (stream.get_schema, stream.get_next) else {
            return Err(unreadable(py, "the stream has been read already"));
        };
        let mut schema = FFI_ArrowSchema::empty();
        // SAFETY: the stream is live (it has its callbacks) and ours, and `schema` is an empty
        // struct for it to fill.
        if unsafe { get_schema(&raw mut stream, &raw mut schema) } != 0 {
            return Err(failed(py, &mut stream));
        }
        let field = Field::try_from(&schema).map_err(|error| unreadable(py, &error.to_string()))?;
        let mut chunks = Vec::new();
        loop {
            let mut array = FFI_ArrowArray::empty();
            // SAFETY: as for the schema. The interpreter is held: many streams are Python's own.
            if unsafe { get_next(&raw mut stream, &raw mut array) } != 0 {
                return Err(failed(py, &mut stream));
            }
            if array.is_released() {
                return Ok(Self { field, chunks });
            }
            chunks.push(imported(py, array, field.data_type())?);
        }
    }
}

fn imported(py: Python<'_>, array: FFI_ArrowArray, of: &DataType) -> PyResult<ArrayRef> {
    // SAFETY: the array came with the schema that `of` was read from, over the C data interface,
    // whose producer answers for lengths and buffers.
    let data = unsafe { from_ffi_and_data_type(array, of.clone()) };
    Ok(make_array(
        data.map_err(|error| unreadable(py, &error.to_string()))?,
    ))
}

/// The error that a stream's last call left.
fn failed(py: Python<'_>, stream: &mut FFI_ArrowArrayStream) -> PyErr {
    let text = stream.get_last_error.and_then(|get_last_error| {
        // SAFETY: the stream is live and ours; the text belongs to it and is copied at once.
        unsafe {
            let text = get_last_error(stream);
            (!text.is_null()).then(|| CStr::from_ptr(text).to_string_lossy().into_owned())
        }
    });
    unreadable(
        py,
        text.as_deref()
            .unwrap_or("the stream failed without a reason"),
    )
}

fn unreadable(py: Python<'_>, reason: &str) -> PyErr {
    raise(
        py,
        "ArgumentError",
        &format!("the Arrow data cannot be read: {reason}"),
    )
}
