//! CREATE EXTERNAL TABLE: a table of files, or of another store, for as long as the connection lives
//! or until DROP TABLE, which leaves the files alone.

use datafusion::common::TableReference;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::CreateExternalTable;

use crate::connection::Connection;
use crate::error::{Result, SqlError};
use crate::place::schema_and_name;
use crate::reach::Reach;

/// Makes the table that the statement asks for.
pub(crate) async fn create(
    connection: &Connection,
    state: &SessionState,
    reach: &Reach,
    command: &CreateExternalTable,
) -> Result<()> {
    reach.allow(|| format!("LOCATION '{}'", command.locations.join("', '")))?;
    let name = plain(&command.name)?;
    if connection.session.get(name).is_some() {
        if command.if_not_exists {
            return Ok(());
        }
        if !command.or_replace {
            return Err(SqlError::Usage(format!(
                "a table \"{name}\" exists; CREATE OR REPLACE replaces it"
            )));
        }
    }
    let kind = command.file_type.to_uppercase();
    let Some(factory) = state.table_factories().get(&kind) else {
        let mut known: Vec<&str> = state.table_factories().keys().map(String::as_str).collect();
        known.sort_unstable();
        return Err(SqlError::Usage(format!(
            "tables are not STORED AS {kind}; there are {}",
            known.join(", ")
        )));
    };
    let table = factory.create(state, command).await?;
    connection.session.set(name, table);
    Ok(())
}

/// The name of a table of the connection, which lie in the default schema.
fn plain(name: &TableReference) -> Result<&str> {
    match schema_and_name(name)? {
        (None, table) => Ok(table),
        (Some(_), _) => Err(SqlError::Usage(format!(
            "table \"{name}\": external tables have a plain name"
        ))),
    }
}
