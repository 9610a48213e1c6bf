//! `requested_schema`: the types in which a consumer of the PyCapsule interface would like to have
//! what it asks for.
#![allow(
    unsafe_code,
    reason = "the requested schema arrives as a capsule's pointer"
)]

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, RecordBatchReader};
use arrow::compute::{CastOptions, can_cast_types, cast_with_options};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ffi::FFI_ArrowSchema;
use pyo3::prelude::*;
use pyo3::types::PyCapsule;

use crate::errors;

const EXTENSION: &str = "ARROW:extension:name";

/// The type in a capsule that a consumer hands to `__arrow_c_array__` or `__arrow_c_stream__`; a
/// schema is a struct.
pub(crate) fn requested(capsule: &Bound<'_, PyAny>) -> PyResult<Field> {
    let py = capsule.py();
    let pointer = capsule
        .cast::<PyCapsule>()?
        .pointer_checked(Some(c"arrow_schema"))?
        .cast::<FFI_ArrowSchema>();
    // SAFETY: a capsule of this name holds an ArrowSchema by the PyCapsule interface; it is only
    // read, while the capsule is borrowed, and released by its owner.
    let schema = unsafe { pointer.as_ref() };
    Field::try_from(schema).map_err(|error| errors::arrow_rs(py, error))
}

/// Whether bool is wanted a byte a value, in a column or in lists.
pub(crate) fn wants_bool8(field: &Field) -> bool {
    let here = field
        .metadata()
        .get(EXTENSION)
        .is_some_and(|name| name == "arrow.bool8");
    here || match field.data_type() {
        DataType::Struct(fields) => fields.iter().any(|field| wants_bool8(field)),
        DataType::FixedSizeList(child, _) => wants_bool8(child),
        _ => false,
    }
}

/// The field that a column gets: the wanted type where Arrow can cast to it, else `usual`, as the
/// protocol has it. Arrow also casts values to lists of one and back, which are no other form of the
/// same rows.
pub(crate) fn answer(usual: &FieldRef, wanted: Option<&Field>) -> FieldRef {
    match wanted {
        Some(wanted)
            if can_cast_types(usual.data_type(), wanted.data_type())
                && innermost(usual.data_type()).0 == innermost(wanted.data_type()).0 =>
        {
            Arc::new(wanted.clone().with_name(usual.name()))
        }
        _ => Arc::clone(usual),
    }
}

/// A column in the type of `field`. A value that the type cannot hold is an error, never another
/// value: only the width of floats may shrink, which asking for it means.
pub(crate) fn converted(column: &ArrayRef, field: &Field) -> Result<ArrayRef, ArrowError> {
    let (from, to) = (column.data_type(), field.data_type());
    if from == to {
        return Ok(Arc::clone(column));
    }
    let strict = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    let refused = |reason: &dyn std::fmt::Display| {
        let name = field.name();
        ArrowError::CastError(format!(
            "array \"{name}\", which is {from}, as {to}: {reason}"
        ))
    };
    let cast = cast_with_options(column, to, &strict).map_err(|error| refused(&error))?;
    let (inner, wanted) = (innermost(from).1, innermost(to).1);
    let keeps = inner == wanted
        || *wanted == DataType::Boolean
        || (inner.is_floating() && wanted.is_floating())
        || !can_cast_types(to, from);
    if keeps || cast_with_options(&cast, from, &strict)?.as_ref() == column.as_ref() {
        return Ok(cast);
    }
    Err(refused(&"not every value of it can be held"))
}

/// How many lists there are around the values, and the type of these.
fn innermost(of: &DataType) -> (usize, &DataType) {
    match of {
        DataType::FixedSizeList(child, _)
        | DataType::List(child)
        | DataType::LargeList(child)
        | DataType::ListView(child)
        | DataType::LargeListView(child) => {
            let (depth, values) = innermost(child.data_type());
            (depth + 1, values)
        }
        _ => (0, of),
    }
}

/// A stream in the types that were asked for, column by column by name.
pub(crate) struct Conformed<R> {
    reader: R,
    schema: SchemaRef,
}

impl<R: RecordBatchReader> Conformed<R> {
    /// `usual` is what the stream has where nothing was asked for.
    pub(crate) fn new(reader: R, usual: &Schema, wanted: Option<&Field>) -> Self {
        let fields = match wanted.map(Field::data_type) {
            Some(DataType::Struct(fields)) => fields.as_ref(),
            _ => &[],
        };
        let answer = |usual: &FieldRef| {
            let wanted = fields.iter().find(|field| field.name() == usual.name());
            answer(usual, wanted.map(AsRef::as_ref))
        };
        let fields: Vec<FieldRef> = usual.fields().iter().map(answer).collect();
        Self {
            reader,
            schema: Arc::new(Schema::new(fields)),
        }
    }

    fn conform(&self, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let columns = batch.columns().iter().zip(self.schema.fields());
        let columns = columns
            .map(|(column, field)| converted(column, field))
            .collect::<Result<_, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
    }
}

impl<R: RecordBatchReader> Iterator for Conformed<R> {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.reader.next()?;
        Some(batch.and_then(|batch| self.conform(&batch)))
    }
}

impl<R: RecordBatchReader> RecordBatchReader for Conformed<R> {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}
