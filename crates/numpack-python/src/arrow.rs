//! A snapshot as a pyarrow.Array.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use arrow_pyarrow::ToPyArrow;
use numpack::ArraySnapshot;
use numpack::arrow::{ArrowOptions, array as arrow_array, field};
use pyo3::prelude::*;

use crate::errors;

/// The array as pyarrow sees it, extension type included: a field carries that, a bare array does
/// not, so the array travels as the only column of a batch.
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
    let batch = RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![column])
        .map_err(|error| errors::arrow_rs(py, error))?;
    batch.to_pyarrow(py)?.call_method1("column", (0,))
}
