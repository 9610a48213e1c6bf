//! Python values as rows: what is accepted, what is converted, what is refused.
//!
//! An ndarray must have a dtype that a store holds (`save`) or the array's own (`append`,
//! `replace`); byte order and memory layout do not matter. Lists and scalars have no dtype of
//! their own and are converted, but never from a wider kind to a narrower one.

use numpack::{ArrayMeta, DType, Error, Shape};
use numpy::{PyArrayDescr, PyArrayDescrMethods, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::PyTypeInfo;
use pyo3::exceptions::{PyOverflowError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyComplex, PyDict, PyFloat, PyInt, PyList, PyRange, PyString, PyTuple};

use crate::dtypes;
use crate::errors::{self, raise};
use crate::incoming;
use crate::ndarray;

/// A C-contiguous ndarray in native byte order, and what it is.
pub(crate) struct Input<'py> {
    array: Bound<'py, PyUntypedArray>,
    pub(crate) meta: ArrayMeta,
}

impl<'py> Input<'py> {
    /// The rows as bytes.
    pub(crate) fn bytes(&self) -> PyResult<&[u8]> {
        ndarray::bytes(&self.array)
    }

    fn shape(&self) -> &[usize] {
        self.array.shape()
    }

    /// An ndarray of a supported dtype as it is, or made C-contiguous and native.
    fn new(name: &str, array: &Bound<'py, PyUntypedArray>) -> PyResult<Self> {
        let py = array.py();
        let array = plain(name, array)?;
        let descr = array.dtype();
        let dtype = dtypes::supported(name, &descr)?;
        let native = descr.is_native_byteorder().unwrap_or(true);
        let array = if native && array.is_c_contiguous() {
            array
        } else {
            converted(array.as_any(), Some(&dtypes::descr(py, dtype)))?
        };
        let dims: Vec<u64> = array.shape().iter().map(|&length| length as u64).collect();
        let shape = Shape::new(&dims, dtype).map_err(|error| errors::engine(py, error.into()))?;
        Ok(Self {
            array,
            meta: ArrayMeta { dtype, shape },
        })
    }

    /// Any value that NumPy makes an array of.
    pub(crate) fn any(name: &str, value: &Bound<'py, PyAny>) -> PyResult<Self> {
        match value.cast::<PyUntypedArray>() {
            Ok(array) => Self::new(name, array),
            Err(_) => Self::new(name, &read(name, value)?),
        }
    }

    /// Rows for an array of `expected`, which is only asked for where something is converted.
    pub(crate) fn rows(
        name: &str,
        value: &Bound<'py, PyAny>,
        expected: impl FnOnce() -> PyResult<DType>,
    ) -> PyResult<Self> {
        if let Ok(array) = value.cast::<PyUntypedArray>() {
            return Self::new(name, array);
        }
        if !has_no_dtype(value)? {
            return Self::new(name, &read(name, value)?);
        }
        let py = value.py();
        let expected = expected()?;
        let probe = converted(value, None)?;
        let given = dtypes::supported(name, &probe.dtype())?;
        if given == expected {
            return Self::new(name, &probe);
        }
        if probe.len() > 0 && kind(given) > kind(expected) {
            return Err(mismatch(py, name, expected, given));
        }
        match converted(value, Some(&dtypes::descr(py, expected))) {
            Ok(array) => {
                // NumPy lets its own integers wrap.
                if kind(given) == 1 && kind(expected) == 1 && !equal(&array, &probe)? {
                    let (least, most) = (probe.call_method0("min")?, probe.call_method0("max")?);
                    let expected = expected.name();
                    let what = format!(
                        "array \"{name}\": values from {least} to {most} do not fit {expected}"
                    );
                    return Err(raise(py, "ArgumentError", &what));
                }
                Self::new(name, &array)
            }
            Err(error) if error.is_instance_of::<PyOverflowError>(py) => Err(raise(
                py,
                "ArgumentError",
                &format!("array \"{name}\": {}", error.value(py)),
            )),
            Err(error) => Err(error),
        }
    }
}

fn equal(one: &Bound<'_, PyUntypedArray>, other: &Bound<'_, PyUntypedArray>) -> PyResult<bool> {
    let numpy = one.py().import("numpy")?;
    numpy.call_method1("array_equal", (one, other))?.extract()
}

/// The DTypeError that names both dtypes.
fn mismatch(py: Python<'_>, name: &str, expected: DType, given: DType) -> PyErr {
    errors::engine(
        py,
        Error::DTypeMismatch {
            name: name.to_owned(),
            expected: expected.name(),
            given: given.name(),
        },
    )
}

/// bool, integer, float, complex: a value may move up this ladder, never down.
fn kind(dtype: DType) -> u8 {
    match dtype {
        DType::Bool => 0,
        DType::UInt8
        | DType::UInt16
        | DType::UInt32
        | DType::UInt64
        | DType::Int8
        | DType::Int16
        | DType::Int32
        | DType::Int64 => 1,
        DType::Float16 | DType::Float32 | DType::Float64 => 2,
        DType::Complex64 | DType::Complex128 => 3,
    }
}

/// Whether a value is a plain Python (or NumPy) scalar or sequence.
fn has_no_dtype(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    if value.is_instance_of::<PyList>()
        || value.is_instance_of::<PyTuple>()
        || value.is_instance_of::<PyRange>()
        || value.is_instance_of::<PyBool>()
        || value.is_instance_of::<PyInt>()
        || value.is_instance_of::<PyFloat>()
        || value.is_instance_of::<PyComplex>()
    {
        return Ok(true);
    }
    value.is_instance(&value.py().import("numpy")?.getattr("generic")?)
}

/// What another library's array, or anything that NumPy reads, holds.
fn read<'py>(name: &str, value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyUntypedArray>> {
    match incoming::foreign(name, value)? {
        Some(array) => Ok(array.cast_into::<PyUntypedArray>()?),
        None => converted(value, None),
    }
}

/// `numpy.array(value, dtype, order="C")`, copying only where NumPy must.
fn converted<'py>(
    value: &Bound<'py, PyAny>,
    dtype: Option<&Bound<'py, PyArrayDescr>>,
) -> PyResult<Bound<'py, PyUntypedArray>> {
    let py = value.py();
    let options = PyDict::new(py);
    options.set_item("order", "C")?;
    if let Some(dtype) = dtype {
        options.set_item("dtype", dtype)?;
    }
    let array = py
        .import("numpy")?
        .call_method("asarray", (value,), Some(&options))?;
    Ok(array.cast_into::<PyUntypedArray>()?)
}

/// The array without its subclass; a masked array with masked values is refused, for a store has
/// no place for the mask.
fn plain<'py>(
    name: &str,
    array: &Bound<'py, PyUntypedArray>,
) -> PyResult<Bound<'py, PyUntypedArray>> {
    let py = array.py();
    if array.get_type().is(PyUntypedArray::type_object(py)) {
        return Ok(array.clone());
    }
    let numpy = py.import("numpy")?;
    if array.hasattr("mask")?
        && numpy
            .getattr("ma")?
            .call_method1("is_masked", (array,))?
            .is_truthy()?
    {
        return Err(raise(
            py,
            "ArgumentError",
            &format!(
                "array \"{name}\" has masked values, which a store cannot hold: fill them first \
                 (numpy.ma.filled)"
            ),
        ));
    }
    Ok(numpy
        .call_method1("asarray", (array,))?
        .cast_into::<PyUntypedArray>()?)
}

/// The name of an array, as a dict's key gives it.
pub(crate) fn name<'a>(key: &'a Bound<'_, PyAny>) -> PyResult<&'a str> {
    match key.cast::<PyString>() {
        Ok(name) => name.to_str(),
        Err(_) => Err(PyTypeError::new_err(format!(
            "an array name is a str, not {}",
            key.get_type().name()?
        ))),
    }
}

/// For batch_mode's save: the value as an ndarray that may be kept, the same object if it can be.
#[pyfunction]
pub(crate) fn checked_array<'py>(
    name: &Bound<'py, PyAny>,
    value: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let name = self::name(name)?;
    numpack::ArrayName::new(name).map_err(|error| errors::engine(value.py(), error.into()))?;
    if let Ok(array) = value.cast::<PyUntypedArray>() {
        let kept = plain(name, array)?;
        dtypes::supported(name, &kept.dtype())?;
        if kept.dtype().is_native_byteorder().unwrap_or(true) && is_writable(&kept)? {
            return Ok(kept.into_any());
        }
    }
    let array = Input::any(name, value)?.array;
    if is_writable(&array)? {
        return Ok(array.into_any());
    }
    // load() inside the block hands the kept array out, and what load() hands out can be written.
    array.call_method0(pyo3::intern!(value.py(), "copy"))
}

fn is_writable(array: &Bound<'_, PyUntypedArray>) -> PyResult<bool> {
    let py = array.py();
    array
        .getattr(pyo3::intern!(py, "flags"))?
        .getattr(pyo3::intern!(py, "writeable"))?
        .extract()
}

/// For batch_mode's append: rows of the array's dtype and row shape.
#[pyfunction]
pub(crate) fn checked_rows<'py>(
    name: &str,
    value: &Bound<'py, PyAny>,
    dtype: &Bound<'py, PyArrayDescr>,
    shape: Vec<usize>,
) -> PyResult<Bound<'py, PyAny>> {
    let input = of_dtype(name, value, dtype)?;
    if shape.is_empty() || input.shape().is_empty() || input.shape()[1..] != shape[1..] {
        return Err(misshaped(
            value.py(),
            name,
            shape.get(1..).unwrap_or(&[]),
            &input,
        ));
    }
    Ok(input.array.into_any())
}

/// For batch_mode's replace: `count` rows (or, for one row, the row itself); with `count` None the
/// whole array.
#[pyfunction]
pub(crate) fn checked_values<'py>(
    name: &str,
    value: &Bound<'py, PyAny>,
    dtype: &Bound<'py, PyArrayDescr>,
    shape: Vec<usize>,
    count: Option<usize>,
    single: bool,
) -> PyResult<Bound<'py, PyAny>> {
    let py = value.py();
    let input = of_dtype(name, value, dtype)?;
    let Some(count) = count else {
        if input.shape() != shape {
            return Err(raise(
                py,
                "ShapeError",
                &format!(
                    "array \"{name}\": values of shape {:?} do not fit shape {shape:?}",
                    input.shape()
                ),
            ));
        }
        return Ok(input.array.into_any());
    };
    let row = shape.get(1..).unwrap_or(&[]);
    if single && input.shape() == row {
        return Ok(input.array.into_any());
    }
    if input.shape().get(1..) != Some(row) {
        return Err(misshaped(py, name, row, &input));
    }
    if input.shape()[0] != count {
        return Err(errors::engine(
            py,
            Error::RowCount {
                name: name.to_owned(),
                expected: count as u64,
                given: input.shape()[0] as u64,
            },
        ));
    }
    Ok(input.array.into_any())
}

fn of_dtype<'py>(
    name: &str,
    value: &Bound<'py, PyAny>,
    dtype: &Bound<'py, PyArrayDescr>,
) -> PyResult<Input<'py>> {
    let expected = dtypes::supported(name, dtype)?;
    let input = Input::rows(name, value, || Ok(expected))?;
    if input.meta.dtype != expected {
        return Err(mismatch(value.py(), name, expected, input.meta.dtype));
    }
    Ok(input)
}

fn misshaped(py: Python<'_>, name: &str, row: &[usize], input: &Input<'_>) -> PyErr {
    errors::engine(
        py,
        Error::ShapeMismatch {
            name: name.to_owned(),
            expected: format!("{row:?}"),
            given: format!("{:?}", input.shape().get(1..).unwrap_or(&[])),
        },
    )
}
