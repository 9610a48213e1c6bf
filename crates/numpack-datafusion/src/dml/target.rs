use std::sync::Arc;

use arrow::datatypes::FieldRef;
use datafusion::catalog::TableProvider;
use datafusion::common::Result as DataFusionResult;
use datafusion::common::TableReference;
use datafusion::datasource::source_as_provider;
use datafusion::logical_expr::TableSource;
use numpack_engine::Store;

use crate::error::{Result, SqlError};
use crate::relation::ROW_ID;
use crate::table::{Live, NumPackTable};

/// The table that a statement changes, apart from any instant.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// As the statement calls it.
    pub(crate) name: TableReference,
    live: Live,
    /// The columns that are arrays, in order.
    pub(crate) fields: Vec<FieldRef>,
}

impl Target {
    /// The table behind `source`, if it is one of ours that knows its store.
    pub(crate) fn of(name: &TableReference, source: &Arc<dyn TableSource>) -> Option<Self> {
        let provider = source_as_provider(source).ok()?;
        let table = provider.downcast_ref::<NumPackTable>()?;
        let live = table.live()?.clone();
        let schema = table.schema();
        let fields = schema.fields().iter().take(live.names().len());
        Some(Self {
            name: name.clone(),
            fields: fields.cloned().collect(),
            live,
        })
    }

    pub(crate) fn store(&self) -> &Store {
        self.live.store()
    }

    /// Name of the array behind a column.
    pub(crate) fn array(&self, column: usize) -> &str {
        &self.live.names()[column]
    }

    pub(crate) fn arrays(&self) -> &[String] {
        self.live.names()
    }

    /// The position of a column among the arrays.
    pub(crate) fn column(&self, name: &str) -> Option<usize> {
        self.fields.iter().position(|field| field.name() == name)
    }

    /// Whether `name` is the position of a row and no array.
    pub(crate) fn is_row_id(&self, name: &str) -> bool {
        name == ROW_ID && self.column(name).is_none()
    }

    /// Fails where new rows come without a value for some columns.
    pub(crate) fn refuse_missing(&self, missing: &[&str]) -> Result<()> {
        if missing.is_empty() {
            return Ok(());
        }
        Err(SqlError::MissingColumns {
            table: self.name.to_string(),
            missing: missing.join(", "),
            count: missing.len(),
        })
    }

    /// What the table's columns are called, for an error.
    pub(crate) fn columns_text(&self) -> String {
        let names = self
            .fields
            .iter()
            .map(|field| format!("\"{}\"", field.name()));
        names.collect::<Vec<_>>().join(", ")
    }

    /// A scan's provider with one more column that holds the position of each row.
    pub(crate) fn with_position(
        source: &Arc<dyn TableSource>,
        position: &str,
    ) -> DataFusionResult<Option<NumPackTable>> {
        let provider = source_as_provider(source)?;
        let table = provider.downcast_ref::<NumPackTable>();
        Ok(table.and_then(|table| table.with_position(position)))
    }
}
