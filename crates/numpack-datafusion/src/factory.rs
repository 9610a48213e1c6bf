use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider, TableProviderFactory};
use datafusion::common::Result as DataFusionResult;
use datafusion::logical_expr::CreateExternalTable;

use crate::error::{Result, SqlError};
use crate::reach::Reach;
use crate::table::NumPackTable;

/// Name of our tables in `CREATE EXTERNAL TABLE t STORED AS NUMPACK LOCATION 'train.npk'`.
pub const NUMPACK: &str = "NUMPACK";

/// Makes tables of stores for `CREATE EXTERNAL TABLE`.
///
/// [`register`](crate::register) makes it known to a session under the name [`NUMPACK`].
#[derive(Debug)]
pub struct NumPackTableFactory;

#[async_trait]
impl TableProviderFactory for NumPackTableFactory {
    async fn create(
        &self,
        session: &dyn Session,
        command: &CreateExternalTable,
    ) -> DataFusionResult<Arc<dyn TableProvider>> {
        let location = location(command)?;
        Reach::outside(session, || format!("LOCATION '{location}'"))?;
        let path = location.strip_prefix("file://").unwrap_or(location);
        Ok(NumPackTable::open(Path::new(path))?)
    }
}

/// The one place that a table of ours can lie at.
fn location(command: &CreateExternalTable) -> Result<&str> {
    let name = &command.name;
    if !command.schema.fields().is_empty() {
        return Err(SqlError::Usage(format!(
            "table \"{name}\": the columns of a store are its arrays, so none are declared"
        )));
    }
    if let Some(option) = command.options.keys().next() {
        return Err(SqlError::Usage(format!(
            "table \"{name}\": a store has no option \"{option}\""
        )));
    }
    match command.locations.as_slice() {
        [location] => Ok(location),
        more => Err(SqlError::Usage(format!(
            "table \"{name}\": a store lies at one LOCATION, not at {}",
            more.len()
        ))),
    }
}
