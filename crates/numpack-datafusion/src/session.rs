use std::sync::Arc;

use datafusion::execution::FunctionRegistry;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::prelude::{SessionConfig, SessionContext};

use crate::dml::{ChangeRule, NumPackPlanner};
use crate::factory::{NUMPACK, NumPackTableFactory};
use crate::functions;
use crate::item::ItemRewrite;
use crate::nearest::{NearestJoinRule, SortAllRule};
use crate::read_numpack::{READ_NUMPACK, ReadNumPack};
use crate::spread;

/// Names of the catalog and the schema that unqualified tables are looked up in.
pub(crate) const CATALOG: &str = "numpack";
pub(crate) const SCHEMA: &str = "public";

/// A DataFusion session set up for arrays.
///
/// Identifiers are taken as written (`X` is not `x`), `information_schema` is there, rows keep the
/// arrays' order through filters and expressions, and what [`register`] adds is known.
pub fn session() -> SessionContext {
    SessionContext::new_with_state(state(true))
}

/// Teaches a session of your own to change stores by SQL, and adds what SQL names: the table function
/// [`ReadNumPack`], [`NumPackTableFactory`], and what
/// [`register_functions`](crate::register_functions) adds.
///
/// For changes it gets [`ChangeRule`] and [`NumPackPlanner`], which takes the place of another query
/// planner; without them INSERT, UPDATE, DELETE, TRUNCATE and MERGE on a NumPack table are refused.
/// Scans are read in parts by several threads only in a [`session`], whose rules know where order
/// matters.
///
/// ```
/// use datafusion::prelude::SessionContext;
/// # use numpack_engine::{Options, Store};
/// # use numpack_format::{ArrayMeta, DType};
/// # let dir = std::env::temp_dir().join(format!("numpack-register-doc-{}", std::process::id()));
/// # let store = Store::open(&dir, &Options::default())?;
/// # let mut change = store.begin()?;
/// # change.put("id", &ArrayMeta::new(DType::UInt8, &[2])?, &mut [3u8, 1].as_slice())?;
/// # change.commit()?;
/// # store.close()?;
/// # let path = dir.display();
/// # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
/// # runtime.block_on(async {
/// let ctx = SessionContext::new();
/// numpack_datafusion::register(&ctx);
/// ctx.sql(&format!("CREATE EXTERNAL TABLE train STORED AS NUMPACK LOCATION '{path}'")).await?;
/// let joined = format!("SELECT id FROM train JOIN read_numpack('{path}', 'id') USING (id)");
/// assert_eq!(ctx.sql(&joined).await?.count().await?, 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # std::fs::remove_dir_all(&dir)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn register(session: &SessionContext) {
    let state = session.state_ref();
    let mut state = state.write();
    *state = extended(SessionStateBuilder::new_from_existing(state.clone()));
}

fn extended(builder: SessionStateBuilder) -> SessionState {
    let mut state = builder
        .with_analyzer_rule(Arc::new(ChangeRule))
        .with_query_planner(Arc::new(NumPackPlanner::default()))
        .with_physical_optimizer_rule(Arc::new(NearestJoinRule))
        .with_physical_optimizer_rule(Arc::new(SortAllRule))
        .build();
    state.register_udtf(READ_NUMPACK, Arc::new(ReadNumPack));
    let factories = state.table_factories_mut();
    factories.insert(NUMPACK.to_owned(), Arc::new(NumPackTableFactory));
    let known = state.register_function_rewrite(Arc::new(ItemRewrite::new()));
    known
        .and_then(|()| functions::register(&mut state))
        .expect("sessions take functions and rewrites");
    state
}

/// The state behind [`session`], with or without a catalog of its own.
pub(crate) fn state(with_catalog: bool) -> SessionState {
    let mut config = SessionConfig::new()
        .with_default_catalog_and_schema(CATALOG, SCHEMA)
        .with_create_default_catalog_and_schema(with_catalog)
        // Without a catalog here, the one that is put in its place describes itself.
        .with_information_schema(with_catalog)
        // Dealing batches out to threads would lose the order of a plain `SELECT a * 2`. Joins and
        // group-bys are still spread, by hash.
        .with_round_robin_repartition(false);
    config.options_mut().sql_parser.enable_ident_normalization = false;
    extended(
        SessionStateBuilder::new_with_default_features()
            .with_config(config)
            .with_physical_optimizer_rules(spread::rules()),
    )
}
