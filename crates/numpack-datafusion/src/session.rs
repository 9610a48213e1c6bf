use std::sync::Arc;

use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::prelude::{SessionConfig, SessionContext};

use crate::dml::{ChangeRule, NumPackPlanner};

/// Names of the catalog and the schema that unqualified tables are looked up in.
pub(crate) const CATALOG: &str = "numpack";
pub(crate) const SCHEMA: &str = "public";

/// A DataFusion session set up for arrays.
///
/// Identifiers are taken as written (`X` is not `x`), `information_schema` is there, and rows keep
/// the arrays' order through filters and expressions.
pub fn session() -> SessionContext {
    SessionContext::new_with_state(state(true))
}

/// The state behind [`session`], with or without a catalog of its own.
pub(crate) fn state(with_catalog: bool) -> SessionState {
    let mut config = SessionConfig::new()
        .with_default_catalog_and_schema(CATALOG, SCHEMA)
        .with_create_default_catalog_and_schema(with_catalog)
        .with_information_schema(true)
        // Dealing batches out to threads would lose the order of a plain `SELECT a * 2`. Joins and
        // group-bys are still spread, by hash.
        .with_round_robin_repartition(false);
    config.options_mut().sql_parser.enable_ident_normalization = false;
    taught(SessionStateBuilder::new_with_default_features().with_config(config)).build()
}

/// Teaches a session of your own to change stores by SQL.
///
/// It gets [`ChangeRule`] and [`NumPackPlanner`], which takes the place of another query planner;
/// without them UPDATE, DELETE, TRUNCATE and MERGE on a NumPack table are refused.
///
/// ```
/// use datafusion::prelude::SessionContext;
/// let ctx = SessionContext::new();
/// numpack_datafusion::register(&ctx);
/// ```
pub fn register(session: &SessionContext) {
    let state = session.state_ref();
    let mut state = state.write();
    *state = taught(SessionStateBuilder::new_from_existing(state.clone())).build();
}

fn taught(builder: SessionStateBuilder) -> SessionStateBuilder {
    builder
        .with_analyzer_rule(Arc::new(ChangeRule))
        .with_query_planner(Arc::new(NumPackPlanner::default()))
}
