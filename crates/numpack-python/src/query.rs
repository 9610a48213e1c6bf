//! SQL: a planned query, and the forms in which Python takes its rows.

use std::sync::OnceLock;

use arrow::array::{RecordBatch, RecordBatchReader};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::ffi::FFI_ArrowSchema;
use arrow::ffi_stream::FFI_ArrowArrayStream;
use arrow::util::pretty::pretty_format_batches;
use arrow_pyarrow::{IntoPyArrow, Table};
use numpack::datafusion::{Connection, Query as Planned, QueryResult, Rows, SqlError};
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyDict, PyTuple};

use crate::requested::{Conformed, requested};
use crate::{columns, errors, params, signals};

/// A query over an instant of its stores; each asking for its rows runs it.
#[pyclass(frozen, module = "numpack._internal")]
pub(crate) struct Query {
    planned: Planned,
    rows: OnceLock<usize>,
}

/// Plans a query. A statement that changes something has done so when this returns.
pub(crate) fn plan(
    py: Python<'_>,
    connection: &Connection,
    text: &str,
    args: &Bound<'_, PyTuple>,
    named: &Bound<'_, PyDict>,
) -> PyResult<Query> {
    let given = params::params(args, named)?;
    let planned = py
        .detach(|| connection.sql(text, given))
        .map_err(|error| errors::sql(py, params::not_found(error, named)))?;
    Ok(Query::of(planned))
}

impl Query {
    fn of(planned: Planned) -> Self {
        let rows = planned
            .known_rows()
            .map_or_else(OnceLock::new, OnceLock::from);
        Self { planned, rows }
    }

    fn collect(&self, py: Python<'_>) -> PyResult<QueryResult> {
        let result = py
            .detach(|| self.planned.collect())
            .map_err(|error| errors::sql(py, error))?;
        // The same rows each time, so whoever counts first counts for all.
        let _counted = self.rows.set(result.rows());
        Ok(result)
    }
}

#[pymethods]
impl Query {
    #[getter]
    fn column_names(&self) -> Vec<String> {
        let schema = self.planned.schema();
        let names = schema.fields().iter().map(|field| field.name().clone());
        names.collect()
    }

    /// Counted by running the query where the plan does not know it.
    #[getter]
    fn num_rows(&self, py: Python<'_>) -> PyResult<usize> {
        if let Some(rows) = self.rows.get() {
            return Ok(*rows);
        }
        let count = || {
            let mut rows = 0;
            for batch in self.planned.rows()? {
                rows += batch?.num_rows();
            }
            Ok(rows)
        };
        let rows = py.detach(count).map_err(|error| errors::sql(py, error))?;
        Ok(*self.rows.get_or_init(|| rows))
    }

    /// A capsule for `__arrow_c_stream__`, in the requested types where Arrow can cast to them.
    #[pyo3(signature = (requested_schema=None))]
    fn stream<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        let wanted = requested_schema.map(requested).transpose()?;
        let usual = self.planned.schema();
        let reader = Reader::Planned(Box::new(self.planned.clone()));
        let reader = Conformed::new(reader, &usual, wanted.as_ref());
        let stream = FFI_ArrowArrayStream::new(Box::new(reader));
        PyCapsule::new_with_value(py, stream, c"arrow_array_stream")
    }

    /// A capsule for `__arrow_c_schema__`.
    fn schema<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        let schema = FFI_ArrowSchema::try_from(self.planned.schema().as_ref())
            .map_err(|error| errors::arrow_rs(py, error))?;
        PyCapsule::new_with_value(py, schema, c"arrow_schema")
    }

    fn to_arrow<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let result = self.collect(py)?;
        Table::try_new(result.batches, result.schema)
            .map_err(|error| errors::arrow_rs(py, error))?
            .into_pyarrow(py)
    }

    fn to_numpy<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let result = self.collect(py)?;
        let arrays = PyDict::new(py);
        for (index, field) in result.schema.fields().iter().enumerate() {
            let columns = result.batches.iter().map(|batch| batch.column(index));
            let chunks: Vec<_> = columns.collect();
            arrays.set_item(field.name(), columns::ndarray(py, field, &chunks)?)?;
        }
        Ok(arrays)
    }

    /// The first `limit` rows as a table of text.
    fn format(&self, py: Python<'_>, limit: usize) -> PyResult<String> {
        let first = || self.planned.first(limit.saturating_add(1))?.collect();
        let result = py.detach(first).map_err(|error| errors::sql(py, error))?;
        let mut left = limit;
        let mut shown = Vec::new();
        for batch in &result.batches {
            let take = left.min(batch.num_rows());
            shown.push(batch.slice(0, take));
            left -= take;
        }
        if shown.is_empty() {
            shown.push(RecordBatch::new_empty(SchemaRef::clone(&result.schema)));
        }
        let text = pretty_format_batches(&shown).map_err(|error| errors::arrow_rs(py, error))?;
        Ok(match (result.rows() > limit, self.rows.get()) {
            (false, _) => text.to_string(),
            (true, Some(rows)) => format!("{text}\n{limit} of {rows} rows"),
            (true, None) => format!("{text}\nthe first {limit} rows"),
        })
    }

    fn explain(&self, py: Python<'_>, analyze: bool) -> PyResult<String> {
        py.detach(|| self.planned.explain(analyze))
            .map_err(|error| errors::sql(py, error))
    }

    /// The query with its rows computed and held, for stores that are about to go.
    fn kept(&self, py: Python<'_>) -> PyResult<Self> {
        let kept = py.detach(|| self.planned.kept());
        Ok(Self::of(kept.map_err(|error| errors::sql(py, error))?))
    }
}

/// The rows of a query as Arrow's stream interface asks for them; nothing runs before the first.
enum Reader {
    Planned(Box<Planned>),
    Running(Rows),
    Ended(SchemaRef),
}

impl Reader {
    fn advance(&mut self) -> Result<Option<RecordBatch>, SqlError> {
        if let Self::Planned(planned) = self {
            let rows = planned.rows()?;
            *self = Self::Running(rows);
        }
        match self {
            Self::Running(rows) => rows.next().transpose(),
            Self::Planned(_) | Self::Ended(_) => Ok(None),
        }
    }
}

impl Iterator for Reader {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.advance();
        if !matches!(batch, Ok(Some(_))) {
            *self = Self::Ended(self.schema());
        }
        if matches!(batch, Err(SqlError::Interrupted)) {
            signals::again();
        }
        let batch = batch.map_err(|error| ArrowError::ExternalError(Box::new(error)));
        batch.transpose()
    }
}

impl RecordBatchReader for Reader {
    fn schema(&self) -> SchemaRef {
        match self {
            Self::Planned(planned) => planned.schema(),
            Self::Running(rows) => rows.schema(),
            Self::Ended(schema) => SchemaRef::clone(schema),
        }
    }
}
