//! SQL: a query's rows, and the forms in which Python takes them.

use arrow::array::{RecordBatch, RecordBatchIterator};
use arrow::datatypes::SchemaRef;
use arrow::ffi_stream::FFI_ArrowArrayStream;
use arrow::util::pretty::pretty_format_batches;
use arrow_pyarrow::{IntoPyArrow, Table};
use numpack::Store;
use numpack::datafusion::{sql_collect, sql_collect_of};
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyDict};

use crate::columns;
use crate::errors;
use crate::requested::{Conformed, requested};

/// The rows that a query gave, in the engine's batches.
#[pyclass(frozen, module = "numpack._internal")]
pub(crate) struct QueryResult {
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
}

/// Runs one query to its end.
pub(crate) fn run(
    py: Python<'_>,
    store: &Store,
    text: &str,
    names: Option<&[String]>,
) -> PyResult<QueryResult> {
    let result = py
        .detach(|| match names {
            None => sql_collect(store, text),
            Some(names) => sql_collect_of(store, names, text),
        })
        .map_err(|error| errors::sql(py, error))?;
    Ok(QueryResult {
        schema: result.schema,
        batches: result.batches,
    })
}

#[pymethods]
impl QueryResult {
    #[getter]
    fn column_names(&self) -> Vec<String> {
        self.schema
            .fields()
            .iter()
            .map(|field| field.name().clone())
            .collect()
    }

    #[getter]
    fn num_rows(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }

    /// A capsule for `__arrow_c_stream__`, in the requested types where Arrow can cast to them.
    #[pyo3(signature = (requested_schema=None))]
    fn stream<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        let wanted = requested_schema.map(requested).transpose()?;
        let batches = self.batches.clone().into_iter().map(Ok);
        let reader = RecordBatchIterator::new(batches, SchemaRef::clone(&self.schema));
        let reader = Conformed::new(reader, &self.schema, wanted.as_ref());
        let stream = FFI_ArrowArrayStream::new(Box::new(reader));
        PyCapsule::new_with_value(py, stream, c"arrow_array_stream")
    }

    fn to_arrow<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        Table::try_new(self.batches.clone(), SchemaRef::clone(&self.schema))
            .map_err(|error| errors::arrow_rs(py, error))?
            .into_pyarrow(py)
    }

    fn to_numpy<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let arrays = PyDict::new(py);
        for (index, field) in self.schema.fields().iter().enumerate() {
            let chunks: Vec<_> = self
                .batches
                .iter()
                .map(|batch| batch.column(index))
                .collect();
            arrays.set_item(field.name(), columns::ndarray(py, field, &chunks)?)?;
        }
        Ok(arrays)
    }

    /// The first `limit` rows as a table of text.
    fn format(&self, py: Python<'_>, limit: usize) -> PyResult<String> {
        let rows = self.num_rows();
        let mut left = limit;
        let mut shown = Vec::new();
        for batch in &self.batches {
            let take = left.min(batch.num_rows());
            shown.push(batch.slice(0, take));
            left -= take;
        }
        if shown.is_empty() {
            shown.push(RecordBatch::new_empty(SchemaRef::clone(&self.schema)));
        }
        let mut text = pretty_format_batches(&shown)
            .map_err(|error| errors::arrow_rs(py, error))?
            .to_string();
        if rows > limit {
            text = format!("{text}\n{limit} of {rows} rows");
        }
        Ok(text)
    }
}
