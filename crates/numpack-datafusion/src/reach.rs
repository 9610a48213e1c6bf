use std::sync::Arc;

use datafusion::catalog::Session;

use crate::error::{Result, SqlError};
use crate::instants::Instants;
use crate::table::NumPackTable;

/// What one query of ours may reach and when it reads. It travels in the session's configuration to
/// table functions and factories, which also serve sessions that are not ours and have none.
#[derive(Debug)]
pub(crate) struct Reach {
    pub(crate) external_access: bool,
    pub(crate) instants: Arc<Instants>,
}

impl Reach {
    fn of(session: &dyn Session) -> Option<Arc<Self>> {
        session.config().get_extension()
    }

    /// Fails where the session may not read what lies outside of its stores.
    pub(crate) fn outside(session: &dyn Session, what: impl FnOnce() -> String) -> Result<()> {
        match Self::of(session) {
            Some(reach) => reach.allow(what),
            None => Ok(()),
        }
    }

    pub(crate) fn allow(&self, what: impl FnOnce() -> String) -> Result<()> {
        if self.external_access {
            return Ok(());
        }
        Err(SqlError::NoAccess { what: what() })
    }

    /// The table as this query sees it: of the same instant as every other table over its store.
    pub(crate) fn at_instant(
        session: &dyn Session,
        table: Arc<NumPackTable>,
    ) -> Result<Arc<NumPackTable>> {
        let instant = match Self::of(session) {
            Some(reach) => table.instant_of(&reach.instants)?,
            None => None,
        };
        Ok(instant.map_or(table, Arc::new))
    }
}
