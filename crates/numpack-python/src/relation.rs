//! Arrays of one snapshot as one relation: streams, schemas and pyarrow tables.

use arrow::ffi::FFI_ArrowSchema;
use arrow::ffi_stream::FFI_ArrowArrayStream;
use arrow_pyarrow::{IntoPyArrow, Table};
use numpack::ArraySnapshot;
use numpack::arrow::{ArrowOptions, SnapshotReader, schema_of};
use pyo3::prelude::*;
use pyo3::types::PyCapsule;

use crate::array_view::ArrayView;
use crate::errors;
use crate::requested::{Conformed, requested, wants_bool8};

/// As streams show bool: every reader of Arrow knows bits, few know bool8.
const PACKED: ArrowOptions = ArrowOptions {
    zero_copy_only: false,
    bool8: false,
};

fn snapshots(views: &[PyRef<'_, ArrayView>]) -> Vec<ArraySnapshot> {
    views.iter().map(|view| view.snapshot.clone()).collect()
}

/// A capsule for `__arrow_c_stream__`: one batch for each run of live rows, each made when it is
/// asked for. Columns for which the requested schema wants another type are cast where Arrow knows
/// how, and stay as they are where it does not, as the protocol has it.
#[pyfunction]
#[pyo3(signature = (views, requested_schema=None))]
pub(crate) fn arrow_stream<'py>(
    py: Python<'py>,
    views: Vec<PyRef<'py, ArrayView>>,
    requested_schema: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyCapsule>> {
    let wanted = requested_schema.map(requested).transpose()?;
    let options = ArrowOptions {
        bool8: wanted.as_ref().is_some_and(wants_bool8),
        ..PACKED
    };
    let arrays = snapshots(&views);
    let columns: Vec<&ArraySnapshot> = arrays.iter().collect();
    let (reader, usual) = py
        .detach(|| {
            Ok((
                SnapshotReader::of(&columns, &options)?,
                schema_of(&columns, &PACKED)?,
            ))
        })
        .map_err(|error| errors::arrow(py, error))?;
    let reader = Conformed::new(reader, &usual, wanted.as_ref());
    let stream = FFI_ArrowArrayStream::new(Box::new(reader));
    PyCapsule::new_with_value(py, stream, c"arrow_array_stream")
}

/// A capsule for `__arrow_c_schema__`.
#[pyfunction]
pub(crate) fn arrow_schema<'py>(
    py: Python<'py>,
    views: Vec<PyRef<'py, ArrayView>>,
    bool8: bool,
) -> PyResult<Bound<'py, PyCapsule>> {
    let arrays = snapshots(&views);
    let columns: Vec<&ArraySnapshot> = arrays.iter().collect();
    let schema = schema_of(&columns, &ArrowOptions { bool8, ..PACKED })
        .map_err(|error| errors::arrow(py, error))?;
    let schema =
        FFI_ArrowSchema::try_from(schema.as_ref()).map_err(|error| errors::arrow_rs(py, error))?;
    PyCapsule::new_with_value(py, schema, c"arrow_schema")
}

/// The arrays as a pyarrow.Table, one chunk for each run of live rows.
#[pyfunction]
pub(crate) fn arrow_table<'py>(
    py: Python<'py>,
    views: Vec<PyRef<'py, ArrayView>>,
    zero_copy_only: bool,
    bool8: bool,
) -> PyResult<Bound<'py, PyAny>> {
    let options = ArrowOptions {
        zero_copy_only,
        bool8,
    };
    let arrays = snapshots(&views);
    let columns: Vec<&ArraySnapshot> = arrays.iter().collect();
    let (schema, batches) = py
        .detach(|| {
            let reader = SnapshotReader::of(&columns, &options)?;
            let batches = reader.collect::<Result<Vec<_>, _>>()?;
            Ok((schema_of(&columns, &options)?, batches))
        })
        .map_err(|error| errors::arrow(py, error))?;
    Table::try_new(batches, schema)
        .map_err(|error| errors::arrow_rs(py, error))?
        .into_pyarrow(py)
}
