use std::path::PathBuf;

use datafusion::common::TableReference;
use numpack_engine::{Options, Store};

use crate::error::{Result, SqlError};
use crate::session::{CATALOG, SCHEMA};

/// Where a table that a statement makes or takes away lies.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// An array of a store, which is a table of one column.
    Array { store: Store, name: String },
    /// A store in a directory of stores: what the table is called, and the path of the store.
    Store {
        table: String,
        path: PathBuf,
        options: Options,
    },
}

impl Place {
    /// Whether there is something.
    pub(crate) fn exists(&self) -> Result<bool> {
        match self {
            Self::Array { store, name } => match store.array(name) {
                Ok(_) => Ok(true),
                Err(numpack_engine::Error::NotFound { .. }) => Ok(false),
                Err(error) => Err(error.into()),
            },
            Self::Store { path, .. } => Ok(Store::exists(path)),
        }
    }
}

/// The schema and the name of a table; no schema where it is the one of plain names.
pub(crate) fn schema_and_name(table: &TableReference) -> Result<(Option<&str>, &str)> {
    if let Some(catalog) = table.catalog().filter(|catalog| *catalog != CATALOG) {
        return Err(SqlError::Usage(format!(
            "table \"{table}\": there is no catalog \"{catalog}\""
        )));
    }
    let schema = table.schema().filter(|schema| *schema != SCHEMA);
    Ok((schema, table.table()))
}

/// Fails for a URL of something that is no file.
pub(crate) fn expect_local(text: &str, what: impl FnOnce() -> String) -> Result<()> {
    match text.split_once("://") {
        None | Some(("file", _)) => Ok(()),
        Some(_) => Err(SqlError::Usage(format!(
            "{}: only files of this machine can be read and written",
            what()
        ))),
    }
}
