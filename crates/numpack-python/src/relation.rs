//! Arrays of one snapshot as one relation: streams, schemas and pyarrow tables.
#![allow(
    unsafe_code,
    reason = "the requested schema arrives as a capsule's pointer"
)]

use std::ffi::CStr;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchIterator, RecordBatchOptions};
use arrow::compute::{can_cast_types, cast};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ffi::FFI_ArrowSchema;
use arrow::ffi_stream::FFI_ArrowArrayStream;
use arrow_pyarrow::{IntoPyArrow, Table};
use numpack::ArraySnapshot;
use numpack::arrow::{self as view, ArrowOptions};
use pyo3::prelude::*;
use pyo3::types::PyCapsule;

use crate::array_view::ArrayView;
use crate::errors;

const SCHEMA: &CStr = c"arrow_schema";
const EXTENSION: &str = "ARROW:extension:name";

fn snapshots(views: &[PyRef<'_, ArrayView>]) -> Vec<ArraySnapshot> {
    views.iter().map(|view| view.snapshot.clone()).collect()
}

fn batches(
    py: Python<'_>,
    arrays: &[ArraySnapshot],
    options: ArrowOptions,
) -> PyResult<(SchemaRef, Vec<RecordBatch>)> {
    let columns: Vec<&ArraySnapshot> = arrays.iter().collect();
    py.detach(|| {
        let batches = view::batches_of(&columns, &options)?;
        Ok((view::schema_of(&columns, &options)?, batches))
    })
    .map_err(|error| errors::arrow(py, error))
}

/// A capsule for `__arrow_c_stream__`: one batch for each run of live rows. Columns for which the
/// requested schema wants another type are cast where Arrow knows how, and stay as they are where
/// it does not, as the protocol has it.
#[pyfunction]
#[pyo3(signature = (views, requested_schema=None))]
pub(crate) fn arrow_stream<'py>(
    py: Python<'py>,
    views: Vec<PyRef<'py, ArrayView>>,
    requested_schema: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyCapsule>> {
    let requested = requested_schema.map(requested).transpose()?;
    let bool8 = requested.as_ref().is_some_and(wants_bool8);
    let options = ArrowOptions {
        zero_copy_only: false,
        bool8,
    };
    let (schema, batches) = batches(py, &snapshots(&views), options)?;
    let (schema, batches) = match &requested {
        Some(requested) => py
            .detach(|| conform(&schema, &batches, requested))
            .map_err(|error| errors::arrow_rs(py, error))?,
        None => (schema, batches),
    };
    let reader = RecordBatchIterator::new(batches.into_iter().map(Ok), schema);
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
    let options = ArrowOptions {
        zero_copy_only: false,
        bool8,
    };
    let arrays = snapshots(&views);
    let columns: Vec<&ArraySnapshot> = arrays.iter().collect();
    let schema = view::schema_of(&columns, &options).map_err(|error| errors::arrow(py, error))?;
    let schema =
        FFI_ArrowSchema::try_from(schema.as_ref()).map_err(|error| errors::arrow_rs(py, error))?;
    PyCapsule::new_with_value(py, schema, SCHEMA)
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
    let (schema, batches) = batches(py, &snapshots(&views), options)?;
    Table::try_new(batches, schema)
        .map_err(|error| errors::arrow_rs(py, error))?
        .into_pyarrow(py)
}

/// The schema in a capsule that a consumer hands to `__arrow_c_stream__`.
fn requested(capsule: &Bound<'_, PyAny>) -> PyResult<Schema> {
    let py = capsule.py();
    let pointer = capsule
        .cast::<PyCapsule>()?
        .pointer_checked(Some(SCHEMA))?
        .cast::<FFI_ArrowSchema>();
    // SAFETY: a capsule of this name holds an ArrowSchema by the PyCapsule interface; it is only
    // read, while the capsule is borrowed, and released by its owner.
    let schema = unsafe { pointer.as_ref() };
    Schema::try_from(schema).map_err(|error| errors::arrow_rs(py, error))
}

fn wants_bool8(schema: &Schema) -> bool {
    fn is_bool8(field: &Field) -> bool {
        field
            .metadata()
            .get(EXTENSION)
            .is_some_and(|name| name == "arrow.bool8")
            || matches!(field.data_type(), DataType::FixedSizeList(child, _) if is_bool8(child))
    }
    schema.fields().iter().any(|field| is_bool8(field))
}

/// The batches in the requested types, column by column by name.
fn conform(
    schema: &SchemaRef,
    batches: &[RecordBatch],
    requested: &Schema,
) -> Result<(SchemaRef, Vec<RecordBatch>), ArrowError> {
    let fields: Vec<Arc<Field>> = schema
        .fields()
        .iter()
        .map(|own| match requested.field_with_name(own.name()) {
            Ok(wanted) if can_cast_types(own.data_type(), wanted.data_type()) => {
                Arc::new(wanted.clone())
            }
            _ => Arc::clone(own),
        })
        .collect();
    let schema = Arc::new(Schema::new(fields));
    let conform = |batch: &RecordBatch| {
        let columns: Result<Vec<ArrayRef>, ArrowError> = batch
            .columns()
            .iter()
            .zip(schema.fields())
            .map(|(column, field)| cast(column, field.data_type()))
            .collect();
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(Arc::clone(&schema), columns?, &options)
    };
    let batches = batches.iter().map(conform).collect::<Result<_, _>>()?;
    Ok((schema, batches))
}
