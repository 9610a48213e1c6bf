use std::sync::{Arc, Mutex};

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::SchemaRef;
use datafusion::common::Statistics;
use datafusion::common::stats::Precision;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::unnest::UnnestExec;
use datafusion::physical_plan::{ExecutionPlan, collect, execute_stream};
use futures::stream;
use numpack_engine::Store;

use crate::connection::{Connection, ConnectionOptions};
use crate::error::{Result, SqlError};
use crate::held::held;
use crate::params::Params;
use crate::rows::Rows;

/// What a plan reads at most that runs on the thread that waits for it.
const SMALL_ROWS: usize = 1024;
const SMALL_BYTES: usize = 1 << 20;

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

/// A query that is planned, over the instant at which that happened.
///
/// It may be run any number of times and gives the same rows each time, whatever is done to the
/// stores meanwhile.
#[derive(Clone, Debug)]
pub struct Query {
    connection: Connection,
    schema: SchemaRef,
    work: Work,
}

#[derive(Clone, Debug)]
enum Work {
    /// Rows are computed each time that somebody asks.
    Plan(Arc<Planned>),
    /// The statement has done what it says; this is what it reported.
    Done(Vec<RecordBatch>),
}

#[derive(Debug)]
struct Planned {
    logical: LogicalPlan,
    state: SessionState,
    /// What planning has made, for the first run. Physical plans keep state of the run that they
    /// were part of, so each run takes one of its own.
    physical: Mutex<Option<Arc<dyn ExecutionPlan>>>,
    known_rows: Option<usize>,
    /// Whether it runs in less time than it takes to wake a thread.
    small: bool,
}

impl Query {
    /// A statement that has run, and what it gave.
    pub(crate) fn of_batches(
        connection: &Connection,
        schema: SchemaRef,
        batches: Vec<RecordBatch>,
    ) -> Self {
        Self {
            connection: connection.clone(),
            schema,
            work: Work::Done(batches),
        }
    }

    pub(crate) async fn read(
        connection: &Connection,
        state: SessionState,
        logical: &LogicalPlan,
    ) -> Result<Self> {
        let logical = state.optimize(logical)?;
        let physical = planned(&state, &logical).await?;
        let statistics = StatisticsContext::new();
        Ok(Self {
            connection: connection.clone(),
            schema: physical.schema(),
            work: Work::Plan(Arc::new(Planned {
                logical,
                state,
                known_rows: known_rows(&*physical, &statistics),
                small: is_small(&*physical, &statistics),
                physical: Mutex::new(Some(physical)),
            })),
        })
    }

    /// The columns.
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// Runs the query. Dropping the stream stops it.
    ///
    /// # Errors
    /// What DataFusion reports; also from the stream.
    pub async fn stream(&self) -> Result<SendableRecordBatchStream> {
        match &self.work {
            Work::Plan(planned) => planned.stream().await,
            Work::Done(batches) => {
                let batches = stream::iter(batches.clone().into_iter().map(Ok));
                Ok(Box::pin(RecordBatchStreamAdapter::new(
                    self.schema(),
                    batches,
                )))
            }
        }
    }

    /// Runs the query on the connection's threads, for a caller that may block.
    ///
    /// # Errors
    /// As for [`stream`](Self::stream); also [`SqlError::Interrupted`] and
    /// [`SqlError::InsideRuntime`].
    pub fn rows(&self) -> Result<Rows> {
        let this = self.clone();
        let stream = async move { this.stream().await };
        Rows::start(self.schema(), stream, &self.connection)
    }

    /// Runs the query to its end.
    ///
    /// # Errors
    /// As for [`rows`](Self::rows).
    pub fn collect(&self) -> Result<QueryResult> {
        let batches = match &self.work {
            Work::Plan(planned) if !planned.small => {
                let planned = Arc::clone(planned);
                self.connection
                    .block_on(async move { planned.collect().await })
            }
            _ => self.connection.run_here(self.gather()),
        }?;
        Ok(QueryResult {
            schema: self.schema(),
            batches,
        })
    }

    async fn gather(&self) -> Result<Vec<RecordBatch>> {
        match &self.work {
            Work::Plan(planned) => planned.collect().await,
            Work::Done(batches) => Ok(batches.clone()),
        }
    }

    /// The query as one that has run and holds its rows, also when the stores are gone.
    ///
    /// # Errors
    /// As for [`rows`](Self::rows).
    pub fn kept(&self) -> Result<Self> {
        let this = self.clone();
        self.connection.block_on(async move { this.done().await })
    }

    /// The query as one that has run.
    pub(crate) async fn done(&self) -> Result<Self> {
        let batches = self.gather().await?;
        Ok(Self::of_batches(&self.connection, self.schema(), batches))
    }

    /// The number of rows, where it is known without running the query.
    pub fn known_rows(&self) -> Option<usize> {
        match &self.work {
            Work::Plan(planned) => planned.known_rows,
            Work::Done(batches) => Some(batches.iter().map(RecordBatch::num_rows).sum()),
        }
    }

    /// The first rows of the query, as a query of its own.
    ///
    /// # Errors
    /// As for [`rows`](Self::rows).
    pub fn first(&self, rows: usize) -> Result<Self> {
        let Work::Plan(planned) = &self.work else {
            return Ok(self.clone());
        };
        // These stand at the top of a plan or nowhere, and are short.
        if matches!(
            planned.logical,
            LogicalPlan::Explain(_) | LogicalPlan::Analyze(_) | LogicalPlan::DescribeTable(_)
        ) {
            return Ok(self.clone());
        }
        let logical = LogicalPlanBuilder::from(planned.logical.clone());
        let logical = logical.limit(0, Some(rows))?.build()?;
        let (connection, state) = (self.connection.clone(), planned.state.clone());
        self.connection
            .block_on(async move { Self::read(&connection, state, &logical).await })
    }

    /// The plan as text. With `analyze` the query is run for it, and each step says how many rows it
    /// gave and how long it took.
    ///
    /// # Errors
    /// As for [`rows`](Self::rows).
    pub fn explain(&self, analyze: bool) -> Result<String> {
        let Work::Plan(planned) = &self.work else {
            return Err(SqlError::Usage(
                "the statement has run and has no plan any more; EXPLAIN in front of it shows one"
                    .to_owned(),
            ));
        };
        let logical = LogicalPlanBuilder::from(planned.logical.clone());
        let logical = logical.explain(false, analyze)?.build()?;
        let state = planned.state.clone();
        let batches = self.connection.block_on(async move {
            let physical = state.create_physical_plan(&logical).await?;
            Ok(collect(physical, state.task_ctx()).await?)
        })?;
        Ok(batches.iter().map(plan_text).collect())
    }
}

impl Planned {
    async fn physical(&self) -> Result<Arc<dyn ExecutionPlan>> {
        let made = held(&self.physical).take();
        match made {
            Some(physical) => Ok(physical),
            None => planned(&self.state, &self.logical).await,
        }
    }

    async fn stream(&self) -> Result<SendableRecordBatchStream> {
        let physical = self.physical().await?;
        Ok(execute_stream(physical, self.state.task_ctx())?)
    }

    async fn collect(&self) -> Result<Vec<RecordBatch>> {
        let physical = self.physical().await?;
        Ok(collect(physical, self.state.task_ctx()).await?)
    }
}

/// The number of rows of a plan, where its statistics are exact.
fn known_rows(plan: &dyn ExecutionPlan, statistics: &StatisticsContext) -> Option<usize> {
    let all = statistics.compute(plan, &StatisticsArgs::new()).ok()?;
    exact(all.num_rows)
}

fn exact(number: Precision<usize>) -> Option<usize> {
    match number {
        Precision::Exact(number) => Some(number),
        Precision::Inexact(_) | Precision::Absent => None,
    }
}

/// Whether a plan has one source, of a few rows in one part, and makes no more of them.
fn is_small(plan: &dyn ExecutionPlan, statistics: &StatisticsContext) -> bool {
    match plan.children().as_slice() {
        [] => {
            let few = |all: Arc<Statistics>| {
                let rows = exact(all.num_rows).is_some_and(|rows| rows <= SMALL_ROWS);
                let bytes = exact(all.total_byte_size);
                rows && bytes.is_some_and(|bytes| bytes <= SMALL_BYTES)
            };
            let all = statistics.compute(plan, &StatisticsArgs::new());
            all.is_ok_and(few)
        }
        [child] => !plan.is::<UnnestExec>() && is_small(&***child, statistics),
        _ => false,
    }
}

/// The physical plan of a logical one that has been optimized.
async fn planned(state: &SessionState, logical: &LogicalPlan) -> Result<Arc<dyn ExecutionPlan>> {
    let planner = state.query_planner();
    Ok(planner.create_physical_plan(logical, state).await?)
}

/// The plans that a batch of EXPLAIN holds, each below its name.
fn plan_text(batch: &RecordBatch) -> String {
    let columns = (0..2).map(|column| batch.column(column).as_string_opt::<i32>());
    let columns: Option<Vec<_>> = columns.collect();
    let Some([names, plans]) = columns.as_deref() else {
        return String::new();
    };
    let lines = names.iter().zip(plans.iter());
    let texts = lines.map(|(name, plan)| {
        let (name, plan) = (name.unwrap_or_default(), plan.unwrap_or_default());
        format!("{name}:\n{}\n", plan.trim_end())
    });
    texts.collect::<Vec<_>>().concat()
}

/// Runs one query over a store, which the query calls `self`.
///
/// Each array is a table too, `name(value, row_id)`. All tables that the query names are of one
/// instant. Statements that would change something are refused before anything runs.
///
/// # Errors
/// As for [`Connection::query`].
pub async fn query(store: &Store, sql: &str) -> Result<QueryResult> {
    let connection = Connection::over(store, ConnectionOptions::default())?;
    let query = connection.query(sql, Params::default()).await?;
    Ok(QueryResult {
        schema: query.schema(),
        batches: query.gather().await?,
    })
}

/// As [`query`], on threads of our own, waiting until the rows are there.
///
/// While it waits it asks the store's [interrupt](numpack_engine::Options) now and then whether to
/// stop.
///
/// # Errors
/// As for [`query`]; also [`SqlError::Interrupted`] and [`SqlError::InsideRuntime`].
pub fn sql_collect(store: &Store, sql: &str) -> Result<QueryResult> {
    let mut options = ConnectionOptions::default();
    if let Some(interrupt) = &store.options().interrupt {
        options = options.with_interrupt(Arc::clone(interrupt));
    }
    let connection = Connection::over(store, options)?;
    connection.sql(sql, Params::default())?.collect()
}
