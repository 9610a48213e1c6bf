//! Python's ways to name rows, as the engine's [`Selection`].

use numpack::{RowSet, Selection};
use numpy::{
    PyArray1, PyArrayDescrMethods, PyReadonlyArray1, PyUntypedArray, PyUntypedArrayMethods,
};
use pyo3::exceptions::{PyOverflowError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyList, PyRange, PySlice, PyTuple};

use crate::errors::{self, raise};

/// What the rows of `indexes` are.
pub(crate) fn selection(indexes: &Bound<'_, PyAny>) -> PyResult<Selection> {
    if let Ok(slice) = indexes.cast::<PySlice>() {
        return self::slice(slice);
    }
    if let Ok(list) = indexes.cast::<PyList>() {
        return sequence(indexes, list.iter());
    }
    if let Ok(tuple) = indexes.cast::<PyTuple>() {
        return sequence(indexes, tuple.iter());
    }
    if let Ok(array) = indexes.cast::<PyUntypedArray>()
        && array.ndim() > 0
    {
        return ndarray(array);
    }
    if indexes.is_instance_of::<PyRange>() {
        return Ok(Selection::Rows(indexes.extract()?));
    }
    match row(indexes)? {
        Some(row) => Ok(Selection::Row(row)),
        None => Err(refused(indexes)),
    }
}

/// The rows in the order named, as int64: what batch_mode works on.
#[pyfunction]
pub(crate) fn resolve_rows<'py>(
    py: Python<'py>,
    name: &str,
    indexes: &Bound<'py, PyAny>,
    rows: u64,
) -> PyResult<Bound<'py, PyArray1<i64>>> {
    let resolved = selection(indexes)?
        .resolve(rows, name)
        .map_err(|error| errors::engine(py, error))?;
    Ok(PyArray1::from_iter(py, signed(&resolved)))
}

fn signed(rows: &RowSet) -> impl Iterator<Item = i64> + '_ {
    // Row numbers come from i64 indexes or from a range below the number of rows.
    rows.rows().map(u64::cast_signed)
}

fn refused(indexes: &Bound<'_, PyAny>) -> PyErr {
    let given = indexes
        .get_type()
        .name()
        .map_or_else(|_| "something else".to_owned(), |name| name.to_string());
    raise(
        indexes.py(),
        "SelectionError",
        &format!(
            "The indexes must be int or list or numpy.ndarray or slice (tuples, ranges and \
             boolean masks are fine too), not {given}"
        ),
    )
}

/// One integer; `None` for anything that is not one, bools included.
fn row(value: &Bound<'_, PyAny>) -> PyResult<Option<i64>> {
    if value.is_instance_of::<PyBool>() {
        return Ok(None);
    }
    match value.extract::<i64>() {
        Ok(row) => Ok(Some(row)),
        Err(error) if error.is_instance_of::<PyTypeError>(value.py()) => Ok(None),
        Err(error) if error.is_instance_of::<PyOverflowError>(value.py()) => Err(raise(
            value.py(),
            "RowIndexError",
            &format!("row index {value} is out of bounds"),
        )),
        Err(error) => Err(error),
    }
}

fn slice(slice: &Bound<'_, PySlice>) -> PyResult<Selection> {
    let py = slice.py();
    let part = |name: &str| -> PyResult<Option<i64>> {
        let value = slice.getattr(name)?;
        if value.is_none() {
            return Ok(None);
        }
        match value.extract::<i64>() {
            Ok(value) => Ok(Some(value)),
            // Far beyond any array on one side or the other, where slices are clamped anyway.
            Err(error) if error.is_instance_of::<PyOverflowError>(py) => {
                Ok(Some(if value.lt(0)? { i64::MIN } else { i64::MAX }))
            }
            Err(_) => Err(refused(&value)),
        }
    };
    let step = part("step")?.unwrap_or(1);
    if step == 0 {
        return Err(raise(py, "SelectionError", "slice step cannot be zero"));
    }
    Ok(Selection::Slice {
        start: part("start")?,
        stop: part("stop")?,
        step,
    })
}

fn sequence<'py>(
    whole: &Bound<'py, PyAny>,
    items: impl ExactSizeIterator<Item = Bound<'py, PyAny>>,
) -> PyResult<Selection> {
    let mut rows = Vec::with_capacity(items.len());
    for item in items {
        match row(&item)? {
            Some(row) => rows.push(row),
            None => return mask_or_refuse(whole),
        }
    }
    Ok(Selection::Rows(rows))
}

/// A sequence that holds something else than integers: all bools are a mask, by NumPy's own rules.
fn mask_or_refuse(whole: &Bound<'_, PyAny>) -> PyResult<Selection> {
    let array = whole
        .py()
        .import("numpy")?
        .call_method1("asarray", (whole,));
    match array.as_ref().map(|array| array.cast::<PyUntypedArray>()) {
        Ok(Ok(array)) if array.dtype().kind() == b'b' && array.ndim() == 1 => ndarray(array),
        _ => Err(refused(whole)),
    }
}

/// An int64 array of one dimension, for Rust. The items of others need not be whole items apart: a field of
/// packed records would be read at other places.
pub(crate) fn int64_rows<'py>(
    array: &Bound<'py, PyUntypedArray>,
) -> Option<PyReadonlyArray1<'py, i64>> {
    if array.is_aligned() && !array.is_empty() {
        array.extract().ok()
    } else {
        None
    }
}

fn ndarray(array: &Bound<'_, PyUntypedArray>) -> PyResult<Selection> {
    let py = array.py();
    let kind = array.dtype().kind();
    if array.ndim() != 1 {
        return Err(raise(
            py,
            "SelectionError",
            &format!(
                "The indexes must be int or list or numpy.ndarray or slice, and an array of them \
                 1-dimensional, not {}-dimensional",
                array.ndim()
            ),
        ));
    }
    if array.is_empty() && kind != b'b' {
        return Ok(Selection::Rows(Vec::new()));
    }
    match kind {
        b'b' => {
            // NumPy takes any byte but 0 for true, Rust knows only 0 and 1.
            let bytes = array.call_method1("view", ("uint8",))?;
            let bytes: PyReadonlyArray1<'_, u8> = bytes.extract()?;
            let mask = bytes.as_array().iter().map(|&byte| byte != 0).collect();
            Ok(Selection::Mask(mask))
        }
        b'i' | b'u' => {
            if let Some(rows) = int64_rows(array) {
                return Ok(Selection::Rows(rows.as_array().to_vec()));
            }
            if kind == b'u' && array.dtype().itemsize() == 8 {
                // Cast blindly, a row beyond i64 would count from the end.
                let largest = array.call_method0("max")?;
                if largest.gt(i64::MAX)? {
                    return Err(raise(
                        py,
                        "RowIndexError",
                        &format!("row index {largest} is out of bounds"),
                    ));
                }
            }
            let rows = array.call_method1("astype", ("int64",))?;
            Ok(Selection::Rows(
                rows.extract::<PyReadonlyArray1<'_, i64>>()?
                    .as_array()
                    .to_vec(),
            ))
        }
        _ => Err(raise(
            py,
            "SelectionError",
            &format!(
                "The indexes must be int or list or numpy.ndarray or slice, and an array of them \
                 of integers or bools, not {}",
                array.dtype()
            ),
        )),
    }
}
