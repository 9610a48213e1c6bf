use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::prelude::{SessionConfig, SessionContext};

use crate::functions;

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
    let mut state = SessionStateBuilder::new_with_default_features()
        .with_config(config)
        .build();
    functions::register(&mut state).expect("DataFusion's own functions are there");
    state
}
