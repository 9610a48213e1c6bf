use std::sync::LazyLock;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::DataFusionError;
use datafusion::execution::context::SQLOptions;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::collect;
use numpack_engine::Store;

use crate::error::{Result, SqlError};
use crate::runtime;
use crate::session;
use crate::store_schema::StoreSchema;

/// Functions, rules and configuration, which take milliseconds to put together and are the same
/// for every query; each query brings its own catalogs.
static TEMPLATE: LazyLock<SessionState> = LazyLock::new(|| session::state(false));

/// The rows that a query gave.
#[derive(Clone, Debug)]
pub struct QueryResult {
    /// The columns; also known when there are no rows.
    pub schema: SchemaRef,
    /// The rows, in the engine's batches. They keep the pages alive that they lie over.
    pub batches: Vec<RecordBatch>,
}

impl QueryResult {
    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }
}

/// Runs one query over a store, which the query calls `self`.
///
/// Each array is a table too, `name(value, row_id)`. All tables that the query names are of one
/// instant. Statements that would change something are refused before anything runs.
///
/// # Errors
/// [`SqlError::NotAQuery`], [`SqlError::UnequalRows`] where `self` is named, and what DataFusion
/// and the engine report.
pub async fn query(store: &Store, sql: &str) -> Result<QueryResult> {
    query_of(store, None, sql).await
}

/// As [`query`], over the arrays `only` of the store, in that order.
async fn query_of(store: &Store, only: Option<Vec<String>>, sql: &str) -> Result<QueryResult> {
    let mut state = TEMPLATE.clone();
    state.register_catalog_list(StoreSchema::catalogs(store, only)?);
    let plan = state.create_logical_plan(sql).await?;
    refuse_changes(&plan)?;
    let plan = state.create_physical_plan(&plan).await?;
    let schema = plan.schema();
    let batches = collect(plan, state.task_ctx()).await?;
    Ok(QueryResult { schema, batches })
}

/// As [`query`], on threads of our own, waiting until the rows are there.
///
/// While it waits it asks the store's [interrupt](numpack_engine::Options) now and then whether to
/// stop.
///
/// # Errors
/// As for [`query`]; also [`SqlError::Interrupted`] and [`SqlError::InsideRuntime`].
pub fn sql_collect(store: &Store, sql: &str) -> Result<QueryResult> {
    collected(store, None, sql)
}

/// As [`sql_collect`], over the arrays `only` of the store, in that order: `self` is them, and
/// there are no others.
///
/// # Errors
/// As for [`sql_collect`]; also the engine's for a name that the store does not have.
pub fn sql_collect_of(store: &Store, only: &[String], sql: &str) -> Result<QueryResult> {
    collected(store, Some(only.to_vec()), sql)
}

fn collected(store: &Store, only: Option<Vec<String>>, sql: &str) -> Result<QueryResult> {
    let interrupt = store.options().interrupt.clone();
    let (store, sql) = (store.clone(), sql.to_owned());
    let run = async move { query_of(&store, only, &sql).await };
    runtime::block_on(run, interrupt.as_ref())
}

fn refuse_changes(plan: &LogicalPlan) -> Result<()> {
    let read_only = SQLOptions::new()
        .with_allow_ddl(false)
        .with_allow_dml(false)
        .with_allow_statements(false);
    read_only.verify_plan(plan).map_err(|error| match error {
        // "DML not supported: Delete" and the like: what follows the colon is the statement.
        DataFusionError::Plan(text) => SqlError::NotAQuery {
            statement: text.rsplit(": ").next().unwrap_or(&text).to_owned(),
        },
        other => other.into(),
    })
}
