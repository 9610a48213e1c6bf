use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use datafusion::catalog::TableProvider;

use crate::dml::statement::Parsed;
use crate::error::{Result, SqlError};
use crate::held::held;

/// Tables and prepared statements by name that live as long as their connection.
#[derive(Debug, Default)]
pub(crate) struct SessionTables {
    tables: Mutex<BTreeMap<String, Arc<dyn TableProvider>>>,
    prepared: Mutex<HashMap<String, Parsed>>,
}

impl SessionTables {
    pub(crate) fn get(&self, name: &str) -> Option<Arc<dyn TableProvider>> {
        held(&self.tables).get(name).map(Arc::clone)
    }

    /// Adds or replaces a table.
    pub(crate) fn set(&self, name: &str, table: Arc<dyn TableProvider>) {
        held(&self.tables).insert(name.to_owned(), table);
    }

    /// Takes a table away.
    pub(crate) fn remove(&self, name: &str) -> Option<Arc<dyn TableProvider>> {
        held(&self.tables).remove(name)
    }

    pub(crate) fn names(&self) -> Vec<String> {
        held(&self.tables).keys().cloned().collect()
    }

    /// Keeps a PREPARE under its name.
    pub(crate) fn prepare(&self, name: &str, statement: Parsed) -> Result<()> {
        let mut prepared = held(&self.prepared);
        if prepared.contains_key(name) {
            return Err(SqlError::Usage(format!(
                "a prepared statement \"{name}\" exists; DEALLOCATE {name} forgets it"
            )));
        }
        prepared.insert(name.to_owned(), statement);
        Ok(())
    }

    pub(crate) fn prepared(&self, name: &str) -> Result<Parsed> {
        let prepared = held(&self.prepared);
        let statement = prepared.get(name).cloned();
        statement.ok_or_else(|| not_prepared(name))
    }

    pub(crate) fn deallocate(&self, name: &str) -> Result<()> {
        let known = held(&self.prepared).remove(name);
        known.map(|_| ()).ok_or_else(|| not_prepared(name))
    }
}

fn not_prepared(name: &str) -> SqlError {
    SqlError::Usage(format!("there is no prepared statement \"{name}\""))
}
