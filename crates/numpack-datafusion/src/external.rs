//! CREATE EXTERNAL TABLE: a table of files, or of another store, for as long as the connection lives
//! or until DROP TABLE, which leaves the files alone.

use datafusion::common::TableReference;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::CreateExternalTable;

use crate::connection::Connection;
use crate::error::{Result, SqlError};
use crate::place::{expect_local, schema_and_name};
use crate::reach::Reach;

/// Makes the table that the statement asks for.
pub(crate) async fn create(
    connection: &Connection,
    state: &SessionState,
    reach: &Reach,
    command: &CreateExternalTable,
) -> Result<()> {
    reach.allow(|| format!("LOCATION '{}'", command.locations.join("', '")))?;
    for location in &command.locations {
        expect_local(location, || format!("LOCATION '{location}'"))?;
    }
    let name = plain(&command.name, "external tables")?;
    if !free(connection, state, &command.name, command.or_replace)? {
        if command.if_not_exists {
            return Ok(());
        }
        return Err(exists(connection, name));
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

/// Whether a table of the connection can have this name. One that has it may be replaced, a store or
/// an array may not, and is not hidden either.
pub(crate) fn free(
    connection: &Connection,
    state: &SessionState,
    name: &TableReference,
    or_replace: bool,
) -> Result<bool> {
    if connection.session.get(name.table()).is_some() {
        return Ok(or_replace);
    }
    Ok(!state
        .schema_for_ref(name.clone())?
        .table_exist(name.table()))
}

fn exists(connection: &Connection, name: &str) -> SqlError {
    SqlError::Usage(if connection.session.get(name).is_some() {
        format!("a table \"{name}\" exists; CREATE OR REPLACE replaces it")
    } else {
        format!("a table \"{name}\" exists, in a store; the new one needs another name")
    })
}

/// The name of a table of the connection, which lie in the default schema.
pub(crate) fn plain<'a>(name: &'a TableReference, kind: &str) -> Result<&'a str> {
    match schema_and_name(name)? {
        (None, table) => Ok(table),
        (Some(_), _) => Err(SqlError::Usage(format!(
            "table \"{name}\": {kind} have a plain name"
        ))),
    }
}
