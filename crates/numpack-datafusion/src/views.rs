//! CREATE VIEW and DROP VIEW: queries by name, for as long as the connection lives. Nothing of them is
//! stored, and each query sees them over what the stores hold then.

use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::datasource::ViewTable;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{CreateView, DropView};

use crate::connection::Connection;
use crate::dml::pin;
use crate::error::{Result, SqlError};
use crate::external::{free, plain};
use crate::instants::Instants;
use crate::place::schema_and_name;

/// Makes the view that the statement asks for.
pub(crate) fn create(
    connection: &Connection,
    state: &SessionState,
    command: &CreateView,
) -> Result<()> {
    let name = plain(&command.name, "views")?;
    let known = connection.session.get(name);
    let or_replace = command.or_replace && known.is_some_and(|known| is_view(&known));
    if !free(connection, state, &command.name, or_replace)? {
        return Err(SqlError::Usage(format!(
            "a table \"{name}\" exists; CREATE OR REPLACE VIEW replaces a view"
        )));
    }
    let plan = pin::unpinned(command.input.as_ref().clone())?;
    let view = ViewTable::new(plan, command.definition.clone());
    connection.session.set(name, Arc::new(view));
    Ok(())
}

/// Takes a view away.
pub(crate) fn drop(connection: &Connection, command: &DropView) -> Result<()> {
    let (schema, name) = schema_and_name(&command.name)?;
    let known = connection.session.get(name);
    if schema.is_none() && known.is_some_and(|known| is_view(&known)) {
        connection.session.remove(name);
        return Ok(());
    }
    if command.if_exists {
        return Ok(());
    }
    Err(SqlError::Usage(format!(
        "there is no view \"{}\"",
        command.name
    )))
}

pub(crate) fn is_view(table: &Arc<dyn TableProvider>) -> bool {
    table.downcast_ref::<ViewTable>().is_some()
}

/// A view over what the stores hold at the instant of a query.
pub(crate) fn at_instant(view: &ViewTable, instants: &Instants) -> Result<ViewTable> {
    let plan = pin::at_instants(view.logical_plan().clone(), instants)?;
    Ok(ViewTable::new(plan, view.definition().cloned()))
}
