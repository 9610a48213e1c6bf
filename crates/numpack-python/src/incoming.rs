//! Arrow data from other libraries as ndarrays, by the PyCapsule interface.
#![allow(unsafe_code, reason = "the C data interface hands pointers over")]

use std::ffi::CStr;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, make_array, new_empty_array};
use arrow::compute::concat;
use arrow::datatypes::{DataType, Field};
use arrow::ffi::{FFI_ArrowArray, FFI_ArrowSchema, from_ffi_and_data_type};
use arrow::ffi_stream::FFI_ArrowArrayStream;
use numpack::DType;
use numpack::arrow::{AXIS_PREFIX, DTYPE_KEY};
use numpy::PyArrayDescr;
use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyDict, PyTuple};

use crate::columns;
use crate::dtypes;
use crate::errors::raise;

const EXTENSION: &str = "ARROW:extension:name";
const EXTENSION_DATA: &str = "ARROW:extension:metadata";

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
    if value.hasattr(intern!(py, "__arrow_c_array__"))?
        || value.hasattr(intern!(py, "__arrow_c_stream__"))?
    {
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
    let rows_without: usize = data.chunks.iter().map(|chunk| chunk.null_count()).sum();
    if rows_without > 0 {
        return Err(raise(
            py,
            "ArgumentError",
            &format!("{rows_without} rows of the table are null, and a store has no nulls"),
        ));
    }
    let wanted: Vec<usize> = match &columns {
        None => (0..fields.len()).collect(),
        Some(names) => names
            .iter()
            .map(|name| {
                fields
                    .iter()
                    .position(|field| field.name() == name)
                    .ok_or_else(|| {
                        let there: Vec<&str> =
                            fields.iter().map(|field| field.name().as_str()).collect();
                        raise(
                            py,
                            "ArrayNotFoundError",
                            &format!(
                                "column \"{name}\" not found, the data has: {}",
                                there.join(", ")
                            ),
                        )
                    })
            })
            .collect::<PyResult<_>>()?,
    };
    let arrays = PyDict::new(py);
    for index in wanted {
        let field = &fields[index];
        if arrays.contains(field.name())? {
            return Err(raise(
                py,
                "ArgumentError",
                &format!("two columns are named \"{}\"", field.name()),
            ));
        }
        let chunks: Vec<ArrayRef> = data
            .chunks
            .iter()
            .map(|chunk| Arc::clone(chunk.as_struct().column(index)))
            .collect();
        let column = Data {
            field: field.as_ref().clone(),
            chunks,
        };
        arrays.set_item(field.name(), column.ndarray(py, field.name())?)?;
    }
    Ok(arrays)
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
    data.ndarray(py, name)
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

    /// The column as an ndarray of its own, or an error that names the column and what is in the
    /// way.
    fn ndarray<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
        let parts: Vec<&dyn Array> = self.chunks.iter().map(AsRef::as_ref).collect();
        let column = match parts.as_slice() {
            [] => new_empty_array(self.field.data_type()),
            [one] => make_array(one.to_data()),
            parts => concat(parts).map_err(|error| unreadable(py, &error.to_string()))?,
        };
        let unsupported = || {
            raise(
                py,
                "UnsupportedDTypeError",
                &format!(
                    "column \"{name}\" is {}: a store holds bool, integers, floats of 16 to 64 \
                     and complex numbers of 64 and 128 bits",
                    self.field.data_type()
                ),
            )
        };
        let given = Shape::of(&self.field).ok_or_else(unsupported)?;
        let column = equal_lists(py, name, column)?;
        if !is_number(below_lists(&column).data_type()) {
            return Err(unsupported());
        }
        let nulls = nulls(&column);
        if nulls > 0 {
            return Err(raise(
                py,
                "ArgumentError",
                &format!(
                    "column \"{name}\" has {nulls} nulls, and a store has none: fill them first"
                ),
            ));
        }
        let field = Field::new(name, column.data_type().clone(), true);
        let array = columns::ndarray(py, &field, &[&column])?;
        given.shaped(py, &array, column.len())
    }
}

/// What an Arrow type says of dtype and row shape beyond its storage.
struct Shape {
    /// The dtype to see the values as, where it is not the storage's.
    dtype: Option<DType>,
    /// The row's shape, where the storage is a flat list.
    row: Option<Vec<usize>>,
}

impl Shape {
    /// None for types that no dtype stands for.
    fn of(field: &Field) -> Option<Self> {
        let metadata = field.metadata();
        let extension = metadata.get(EXTENSION).map(String::as_str);
        let named = |name: &str| DType::ALL.into_iter().find(|dtype| dtype.name() == name);
        let innermost = innermost(field);
        if !is_number(innermost.data_type()) {
            return None;
        }
        let bool8 = |field: &Field| {
            field
                .metadata()
                .get(EXTENSION)
                .is_some_and(|name| name == "arrow.bool8")
        };
        let mut dtype = (bool8(field) || bool8(innermost)).then_some(DType::Bool);
        let mut row = None;
        match extension {
            Some("numpack.complex64") => (dtype, row) = (Some(DType::Complex64), Some(Vec::new())),
            Some("numpack.complex128") => {
                (dtype, row) = (Some(DType::Complex128), Some(Vec::new()))
            }
            Some("arrow.fixed_shape_tensor") => {
                let tensor = metadata.get(EXTENSION_DATA)?;
                row = Some(tensor_shape(tensor)?);
                let told = metadata.get(DTYPE_KEY).map(String::as_str);
                if let Some(name) = told.or_else(|| last_axis(tensor)) {
                    dtype = Some(named(name)?);
                    if matches!(dtype, Some(DType::Complex64 | DType::Complex128)) {
                        row = row.map(|mut row| {
                            row.pop();
                            row
                        });
                    }
                }
            }
            _ => {}
        }
        Some(Self { dtype, row })
    }

    fn shaped<'py>(
        &self,
        py: Python<'py>,
        array: &Bound<'py, PyAny>,
        rows: usize,
    ) -> PyResult<Bound<'py, PyAny>> {
        let mut array = array.clone();
        if let Some(dtype) = self.dtype {
            let descr = dtypes::descr(py, dtype);
            array = if dtype == DType::Bool {
                // bool8 is true for every byte but 0, NumPy's bool only has 0 and 1.
                array.call_method1("__ne__", (0,))?
            } else {
                array.call_method1("view", (descr,))?
            };
        }
        match &self.row {
            Some(row) => {
                let shape: Vec<usize> = std::iter::once(rows).chain(row.iter().copied()).collect();
                array.call_method1("reshape", (PyTuple::new(py, shape)?,))
            }
            None => Ok(array),
        }
    }
}

/// The field below all lists.
fn innermost(field: &Field) -> &Field {
    match field.data_type() {
        DataType::FixedSizeList(child, _)
        | DataType::List(child)
        | DataType::LargeList(child)
        | DataType::ListView(child)
        | DataType::LargeListView(child) => innermost(child),
        _ => field,
    }
}

/// The values below all fixed-size lists.
fn below_lists(column: &ArrayRef) -> &ArrayRef {
    match column.as_fixed_size_list_opt() {
        Some(lists) => below_lists(lists.values()),
        None => column,
    }
}

fn is_number(of: &DataType) -> bool {
    of.is_integer() || of.is_floating() || *of == DataType::Boolean
}

/// The numbers of `{"shape":[2,3]}`; None where axes are permuted, which a buffer does not show.
fn tensor_shape(metadata: &str) -> Option<Vec<usize>> {
    let permutation = metadata.split_once("\"permutation\"");
    if permutation.is_some_and(|(_, rest)| {
        let order = numbers(rest).unwrap_or_default();
        order.iter().enumerate().any(|(axis, &at)| axis != at)
    }) {
        return None;
    }
    numbers(metadata.split_once("\"shape\"")?.1)
}

/// The dtype that a tensor's last axis is named after.
fn last_axis(metadata: &str) -> Option<&str> {
    let names = metadata.split_once("\"dim_names\"")?.1.split_once(']')?.0;
    let name = names.rsplit(',').next()?.trim_matches(['[', ':', ' ', '"']);
    name.strip_prefix(AXIS_PREFIX)
}

/// The first list of numbers in a text.
fn numbers(text: &str) -> Option<Vec<usize>> {
    let list = text.split_once('[')?.1.split_once(']')?.0;
    list.split(',')
        .map(str::trim)
        .filter(|number| !number.is_empty())
        .map(|number| number.parse().ok())
        .collect()
}

/// Lists of varying length as lists of the one length that all of them have.
fn equal_lists(py: Python<'_>, name: &str, column: ArrayRef) -> PyResult<ArrayRef> {
    let lengths: Vec<usize> = match column.data_type() {
        DataType::List(_) => column
            .as_list::<i32>()
            .iter()
            .flatten()
            .map(|l| l.len())
            .collect(),
        DataType::LargeList(_) => column
            .as_list::<i64>()
            .iter()
            .flatten()
            .map(|l| l.len())
            .collect(),
        DataType::ListView(child) | DataType::LargeListView(child) => {
            let lists = DataType::LargeList(Arc::clone(child));
            let column = arrow::compute::cast(&column, &lists)
                .map_err(|error| unreadable(py, &error.to_string()))?;
            return equal_lists(py, name, column);
        }
        _ => return Ok(column),
    };
    let width = lengths.first().copied().unwrap_or(0);
    if let Some(row) = lengths.iter().position(|&length| length != width) {
        return Err(raise(
            py,
            "ShapeError",
            &format!(
                "column \"{name}\": row {row} has a list of {}, the first row one of {width}; a \
                 store holds lists of one length",
                lengths[row]
            ),
        ));
    }
    let child = match column.data_type() {
        DataType::List(child) | DataType::LargeList(child) => Arc::clone(child),
        _ => return Ok(column),
    };
    let lists = DataType::FixedSizeList(child, i32::try_from(width)?);
    arrow::compute::cast(&column, &lists).map_err(|error| unreadable(py, &error.to_string()))
}

/// Nulls at every level of a column.
fn nulls(column: &ArrayRef) -> usize {
    let here = column.logical_null_count();
    match column.as_fixed_size_list_opt() {
        Some(lists) => here + nulls(lists.values()),
        None => here,
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
