//! A snapshot as a pyarrow.Array.

use std::sync::Arc;

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::Schema;
use arrow_pyarrow::ToPyArrow;
use numpack::ArraySnapshot;
use numpack::arrow::{ArrowOptions, array as arrow_array, field};
use pyo3::prelude::*;

use crate::errors;

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
