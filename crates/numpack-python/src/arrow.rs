//! A snapshot as a pyarrow.Array.

use std::sync::Arc;

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::Schema;
use arrow::ffi::{FFI_ArrowArray, FFI_ArrowSchema};
use arrow_pyarrow::ToPyArrow;
use numpack::ArraySnapshot;
use numpack::arrow::{ArrowOptions, array as arrow_array, field};
use pyo3::prelude::*;
use pyo3::types::PyCapsule;

use crate::errors;
use crate::requested::{answer, converted, requested};

/// The array as pyarrow sees it. An extension type is carried by a field and not by a bare array,
/// so an array that has one travels as the only column of a batch, which costs some microseconds.
pub(crate) fn array<'py>(
    py: Python<'py>,
    snapshot: &ArraySnapshot,
    zero_copy_only: bool,
    bool8: bool,
) -> PyResult<Bound<'py, PyAny>> {
    let options = ArrowOptions {
        zero_copy_only,
        bool8,
    };
    let (field, column) = py
        .detach(|| Ok((field(snapshot, &options)?, arrow_array(snapshot, &options)?)))
        .map_err(|error| errors::arrow(py, error))?;
    if field.metadata().is_empty() {
        return column.to_data().to_pyarrow(py);
    }
    let batch = RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![column])
        .map_err(|error| errors::arrow_rs(py, error))?;
    batch.to_pyarrow(py)?.call_method1("column", (0,))
}

/// The capsules of `__arrow_c_array__`: the field with its extension, and the array; in the
/// requested type where Arrow can cast to it.
pub(crate) fn capsules<'py>(
    py: Python<'py>,
    snapshot: &ArraySnapshot,
    requested_schema: Option<&Bound<'py, PyAny>>,
) -> PyResult<(Bound<'py, PyCapsule>, Bound<'py, PyCapsule>)> {
    let wanted = requested_schema.map(requested).transpose()?;
    let options = ArrowOptions::default();
    let (field, column) = py
        .detach(|| {
            let usual = Arc::new(field(snapshot, &options)?);
            let field = answer(&usual, wanted.as_ref());
            let column = converted(&arrow_array(snapshot, &options)?, &field)?;
            Ok((field, column))
        })
        .map_err(|error| errors::arrow(py, error))?;
    let schema =
        FFI_ArrowSchema::try_from(field.as_ref()).map_err(|error| errors::arrow_rs(py, error))?;
    let array = FFI_ArrowArray::new(&column.to_data());
    Ok((
        PyCapsule::new_with_value(py, schema, c"arrow_schema")?,
        PyCapsule::new_with_value(py, array, c"arrow_array")?,
    ))
}
