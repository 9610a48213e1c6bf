//! What a connection does with one statement: a query is planned, anything else is done at once.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use datafusion::common::metadata::ScalarAndMetadata;
use datafusion::common::runtime::SpawnedTask;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, ParamValues, TableReference};
use datafusion::execution::context::SQLOptions;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{
    CreateMemoryTable, DdlStatement, DropTable, Execute, Expr, LogicalPlan, Prepare, Statement,
};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;

use crate::connection::Connection;
use crate::counted::counted;
use crate::dml::copy_to::Beside;
use crate::dml::create::create;
use crate::dml::node::count;
use crate::dml::rule::verb;
use crate::dml::statement::parse;
use crate::errands;
use crate::error::{Result, SqlError, died};
use crate::external;
use crate::params::{Params, numbered};
use crate::place::{Place, schema_and_name};
use crate::query::Query;
use crate::reach::Reach;
use crate::views;

/// Plans a query, or does what the statement says.
pub(crate) async fn run(
    connection: &Connection,
    state: SessionState,
    reach: &Reach,
    text: &str,
    params: &Params,
) -> Result<Query> {
    let parsed = parse(&state, &numbered(text)?)?;
    let logical = parsed.plan(&state).await?;
    if let LogicalPlan::Statement(Statement::Prepare(prepare)) = &logical {
        params.none()?;
        parameters(prepare)?;
        connection.session.prepare(&prepare.name, parsed)?;
        return Ok(done(connection, Vec::new()));
    }
    match params.bind(logical)? {
        LogicalPlan::Statement(Statement::Execute(execute)) => {
            let logical = executed(connection, &state, execute).await?;
            perform(connection, state, reach, logical).await
        }
        LogicalPlan::Statement(Statement::Deallocate(deallocate)) => {
            connection.session.deallocate(&deallocate.name)?;
            Ok(done(connection, Vec::new()))
        }
        LogicalPlan::Ddl(DdlStatement::CreateExternalTable(command)) => {
            external::create(connection, &state, reach, &command).await?;
            Ok(done(connection, Vec::new()))
        }
        LogicalPlan::Ddl(DdlStatement::CreateMemoryTable(command)) => {
            may_change(connection, "CREATE TABLE")?;
            let rows = create_table(connection, &state, &command).await?;
            Ok(done(connection, vec![count(rows)?]))
        }
        LogicalPlan::Ddl(DdlStatement::DropTable(command)) => {
            drop_table(connection, &state, &command).await?;
            Ok(done(connection, Vec::new()))
        }
        LogicalPlan::Ddl(DdlStatement::CreateView(command)) => {
            views::create(connection, &state, &command)?;
            Ok(done(connection, Vec::new()))
        }
        LogicalPlan::Ddl(DdlStatement::DropView(command)) => {
            views::drop(connection, &command)?;
            Ok(done(connection, Vec::new()))
        }
        logical => perform(connection, state, reach, logical).await,
    }
}

/// A query stays a plan; a plan with a change in it has run, once, when this returns.
async fn perform(
    connection: &Connection,
    state: SessionState,
    reach: &Reach,
    logical: LogicalPlan,
) -> Result<Query> {
    refuse(&logical)?;
    if !changes(connection, &logical, reach)? {
        return Query::read(connection, state, &logical).await;
    }
    let connection = connection.clone();
    let changed = apart(async move {
        if let Some((logical, beside)) = Beside::of(&logical)? {
            return copy(&connection, state, &logical, beside).await;
        }
        let query = Query::read(&connection, state, &logical).await?;
        query.done().await
    });
    Box::pin(changed).await
}

/// Does what may take long as a task of its own: who waits for it can be asked meanwhile whether to
/// stop, and leave it behind.
async fn apart<T: Send + 'static>(
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    SpawnedTask::spawn(work).join().await.map_err(died)?
}

/// Runs a COPY TO, and puts its files in place when all went well.
async fn copy(
    connection: &Connection,
    state: SessionState,
    logical: &LogicalPlan,
    beside: Beside,
) -> Result<Query> {
    let config = state.config().clone();
    let query = Query::read(connection, state, logical).await?;
    let query = query.done().await?;
    errands::blocking(&config, move || Ok(beside.settle()?)).await?;
    Ok(query)
}

fn done(connection: &Connection, batches: Vec<RecordBatch>) -> Query {
    let schema = batches
        .first()
        .map_or_else(|| Arc::new(Schema::empty()), RecordBatch::schema);
    Query::of_batches(connection, schema, batches)
}

/// Whether running the plan changes something. EXPLAIN, which does not run what it explains, is no
/// change; EXPLAIN ANALYZE is.
fn changes(connection: &Connection, plan: &LogicalPlan, reach: &Reach) -> Result<bool> {
    let mut changes = false;
    plan.apply_with_subqueries(|plan| {
        match plan {
            LogicalPlan::Explain(_) => return Ok(TreeNodeRecursion::Jump),
            LogicalPlan::Dml(statement) => {
                may_change(connection, &verb(&statement.op))?;
                changes = true;
            }
            LogicalPlan::Copy(copy) => {
                reach.allow(|| format!("COPY TO '{}'", copy.output_url))?;
                changes = true;
            }
            _ => {}
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(changes)
}

fn may_change(connection: &Connection, statement: &str) -> Result<()> {
    if connection.read_only {
        let statement = statement.to_owned();
        return Err(SqlError::ReadOnly { statement });
    }
    Ok(())
}

/// Fails for statements that a connection knows nothing to do with.
fn refuse(plan: &LogicalPlan) -> Result<()> {
    let known = SQLOptions::new()
        .with_allow_ddl(false)
        .with_allow_statements(false);
    known.verify_plan(plan).map_err(|error| match error {
        // "DDL not supported: CreateIndex" and the like: what follows the colon is the statement.
        DataFusionError::Plan(text) => SqlError::NotPossible {
            statement: in_sql(text.rsplit(": ").next().unwrap_or(&text)),
        },
        other => other.into(),
    })
}

/// What SQL calls a statement that DataFusion calls `CreateIndex`.
fn in_sql(statement: &str) -> String {
    match statement {
        "SetVariable" => "SET".to_owned(),
        "ResetVariable" => "RESET".to_owned(),
        "TransactionStart" => "BEGIN".to_owned(),
        "TransactionEnd" => "COMMIT or ROLLBACK".to_owned(),
        "CreateCatalogSchema" => "CREATE SCHEMA".to_owned(),
        "DropCatalogSchema" => "DROP SCHEMA".to_owned(),
        "CreateCatalog" => "CREATE DATABASE".to_owned(),
        other => {
            let words = other.char_indices().map(|(at, letter)| match letter {
                'A'..='Z' if at > 0 => format!(" {letter}"),
                _ => letter.to_uppercase().to_string(),
            });
            words.collect::<String>().to_uppercase()
        }
    }
}

/// The plan of a prepared statement over what the stores hold now, with its values.
async fn executed(
    connection: &Connection,
    state: &SessionState,
    execute: Execute,
) -> Result<LogicalPlan> {
    let parsed = connection.session.prepared(&execute.name)?;
    let LogicalPlan::Statement(Statement::Prepare(prepare)) = parsed.plan(state).await? else {
        return Err(SqlError::Usage(format!(
            "\"{}\" is not a prepared statement",
            execute.name
        )));
    };
    let values = values(state, &prepare, execute.parameters)?;
    let logical = Arc::unwrap_or_clone(prepare.input);
    Ok(logical.with_param_values(ParamValues::List(values))?)
}

/// Values of the parameters of a prepared statement, in the types that it declares or that are known
/// from where they stand.
fn values(
    state: &SessionState,
    prepare: &Prepare,
    given: Vec<Expr>,
) -> Result<Vec<ScalarAndMetadata>> {
    let expected = prepare.fields.len().max(parameters(prepare)?);
    if given.len() != expected {
        return Err(SqlError::Usage(format!(
            "prepared statement \"{}\" takes {}, not {}",
            prepare.name,
            counted(expected, "value"),
            given.len()
        )));
    }
    let types = prepare.input.get_parameter_fields()?;
    let context = SimplifyContext::builder()
        .with_schema(Arc::clone(prepare.input.schema()))
        .with_config_options(Arc::clone(state.config_options()))
        .with_query_execution_start_time(state.execution_props().query_execution_start_time)
        .build();
    let simplifier = ExprSimplifier::new(context);
    let value = |(number, expr): (usize, Expr)| match simplifier.simplify(expr)? {
        Expr::Literal(value, metadata) => {
            let value = ScalarAndMetadata::new(value, metadata);
            match types.get(&format!("${number}")) {
                Some(Some(field)) => value.cast_storage_to(field.data_type()).map_err(|error| {
                    let name = &prepare.name;
                    let text =
                        format!("prepared statement \"{name}\", value of ${number}: {error}");
                    SqlError::Usage(text)
                }),
                _ => Ok(value),
            }
        }
        other => Err(SqlError::Usage(format!(
            "prepared statement \"{}\" takes values, not {other}",
            prepare.name
        ))),
    };
    (1..).zip(given).map(value).collect()
}

/// How many values the placeholders of a prepared statement ask for.
fn parameters(prepare: &Prepare) -> Result<usize> {
    let mut most = 0;
    for name in prepare.input.get_parameter_names()? {
        let Ok(number) = name[1..].parse::<usize>() else {
            return Err(SqlError::Usage(format!(
                "prepared statement \"{}\": EXECUTE gives values in order, so parameters have numbers: ? or \
                 $1, not {name}",
                prepare.name
            )));
        };
        most = most.max(number);
    }
    Ok(most)
}

/// CREATE TABLE [AS]; gives the number of rows.
async fn create_table(
    connection: &Connection,
    state: &SessionState,
    command: &CreateMemoryTable,
) -> Result<u64> {
    let name = &command.name;
    if !command.constraints.is_empty() || !command.column_defaults.is_empty() || command.temporary {
        return Err(SqlError::Usage(format!(
            "CREATE TABLE {name}: a store has no keys, no default values and no temporary tables"
        )));
    }
    let (schema, table) = schema_and_name(name)?;
    let hidden = schema.is_none() && connection.session.get(table).is_some();
    let place = connection.sources.place(schema, table)?;
    if hidden || place.exists()? {
        if command.if_not_exists {
            return Ok(0);
        }
        if hidden || !command.or_replace {
            return Err(exists(name));
        }
    }
    let (state, input, replace) = (
        state.clone(),
        Arc::clone(&command.input),
        command.or_replace,
    );
    let created = apart(async move { Ok(create(&state, &input, place, replace).await?) });
    Box::pin(created).await
}

fn exists(name: &TableReference) -> SqlError {
    SqlError::Usage(format!(
        "a table \"{name}\" exists; CREATE OR REPLACE TABLE replaces an array or a store"
    ))
}

async fn drop_table(
    connection: &Connection,
    state: &SessionState,
    command: &DropTable,
) -> Result<()> {
    let name = &command.name;
    let (schema, table) = schema_and_name(name)?;
    let known = connection.session.get(table).filter(|_| schema.is_none());
    if known.as_ref().is_some_and(views::is_view) {
        return Err(SqlError::Usage(format!(
            "table \"{name}\" is a view; DROP VIEW takes it away"
        )));
    }
    if known.is_some() {
        connection.session.remove(table);
        return Ok(());
    }
    may_change(connection, "DROP TABLE")?;
    let place = connection.sources.place(schema, table)?;
    if !place.exists()? {
        if command.if_exists {
            return Ok(());
        }
        return Err(SqlError::Usage(format!("table \"{name}\" does not exist")));
    }
    let sources = Arc::clone(&connection.sources);
    let work = move || {
        match place {
            Place::Array { store, name } => {
                let mut change = store.begin().map_err(SqlError::from)?;
                change.drop_array(&name).map_err(SqlError::from)?;
                change.commit().map_err(SqlError::from)?;
            }
            Place::Store { table, .. } => sources.remove(&table)?,
        }
        Ok(())
    };
    Ok(errands::blocking(state.config(), work).await?)
}
