//! From text to a plan, where NumPack reads a statement otherwise than DataFusion.
//!
//! INSERT without a list of columns means the arrays, not `row_id`; COPY ... FROM reads a file.

use std::collections::HashSet;

use datafusion::common::Result as DataFusionResult;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::{DataFrame, SessionContext};
use datafusion::sql::parser::Statement;
use datafusion::sql::planner::object_name_to_table_reference;
use datafusion::sql::sqlparser::ast::{
    self, AssignmentTarget, Ident, ObjectName, SetExpr, TableObject,
};

use crate::counted::counted;
use crate::dml::blame::{blame, columns_text};
use crate::dml::copy_from::{self, CopyFrom};
use crate::error::{Result, SqlError};
use crate::table::NumPackTable;

/// Runs a statement in a session that [`session`](crate::session) or
/// [`register`](crate::register) has set up.
///
/// It is `ctx.sql(text)`, and also knows that an INSERT without a list of columns into a NumPack
/// table means its arrays without `row_id`, and `COPY table FROM 'file'`.
///
/// # Errors
/// What DataFusion and the engine report.
pub async fn sql(ctx: &SessionContext, text: &str) -> Result<DataFrame> {
    let state = ctx.state();
    let plan = parse(&state, text)?.plan(&state).await?;
    Ok(ctx.execute_logical_plan(plan).await?)
}

/// A statement that is parsed, to be planned any number of times.
#[derive(Clone, Debug)]
pub(crate) enum Parsed {
    CopyFrom(CopyFrom),
    Other(Box<Statement>),
}

pub(crate) fn parse(state: &SessionState, text: &str) -> DataFusionResult<Parsed> {
    if let Some(copy) = copy_from::parse(text)? {
        return Ok(Parsed::CopyFrom(copy));
    }
    let dialect = &state.config_options().sql_parser.dialect;
    let statement = state.sql_to_statement(text, dialect)?;
    Ok(Parsed::Other(Box::new(statement)))
}

impl Parsed {
    /// The plan over what the stores hold now.
    pub(crate) async fn plan(&self, state: &SessionState) -> DataFusionResult<LogicalPlan> {
        match self {
            Self::CopyFrom(copy) => copy.plan(state).await,
            Self::Other(statement) => {
                let statement = completed(state, statement.clone()).await?;
                let planned = state.statement_to_plan((*statement).clone()).await;
                match planned {
                    Ok(plan) => Ok(plan),
                    Err(error) => Err(Box::pin(blame(state, *statement, error)).await),
                }
            }
        }
    }
}

/// The statement, in which every INSERT into a table of ours lists its columns.
///
/// # Errors
/// An INSERT of rows that are longer or shorter, an UPDATE that names a column twice.
async fn completed(
    state: &SessionState,
    mut statement: Box<Statement>,
) -> DataFusionResult<Box<Statement>> {
    match changing(&mut statement) {
        Some(ast::Statement::Insert(insert)) => {
            if let TableObject::TableName(name) = &insert.table
                && let Some(columns) = columns_of(state, name).await?
            {
                if columns.is_empty() {
                    return Err(SqlError::Usage(format!(
                        "INSERT INTO {name}: it has no arrays yet; CREATE TABLE name AS SELECT makes one"
                    ))
                    .into());
                }
                if insert.columns.is_empty() {
                    insert.columns = columns;
                }
                expect_rows(insert)?;
            }
        }
        Some(ast::Statement::Update(update)) => {
            let mut seen = HashSet::new();
            let mut names = update.assignments.iter().filter_map(assigned);
            if let Some(twice) = names.find(|name| !seen.insert(*name)) {
                return Err(SqlError::SetTwice {
                    table: update.table.to_string(),
                    column: twice.to_owned(),
                }
                .into());
            }
        }
        _ => {}
    }
    Ok(statement)
}

/// The column that an assignment is to, without the table that may stand in front of it.
fn assigned(assignment: &ast::Assignment) -> Option<&str> {
    match &assignment.target {
        AssignmentTarget::ColumnName(name) => Some(&name.0.last()?.as_ident()?.value),
        AssignmentTarget::Tuple(_) => None,
    }
}

/// Fails where a row of the VALUES of an INSERT has not one value a column.
fn expect_rows(insert: &ast::Insert) -> Result<()> {
    let Some(SetExpr::Values(values)) = insert.source.as_ref().map(|source| &*source.body) else {
        return Ok(());
    };
    let mut lengths = (1..).zip(values.rows.iter().map(|row| row.content.len()));
    match lengths.find(|(_, length)| *length != insert.columns.len()) {
        Some((row, length)) => Err(SqlError::WrongCount {
            table: insert.table.to_string(),
            given: format!("row {row} of VALUES has {}", counted(length, "value")),
            columns: columns_text(insert),
        }),
        None => Ok(()),
    }
}

/// The statement that changes something, also behind EXPLAIN and PREPARE.
pub(super) fn changing(statement: &mut Statement) -> Option<&mut ast::Statement> {
    match statement {
        Statement::Explain(explain) => changing(&mut explain.statement),
        Statement::Statement(statement) => match &mut **statement {
            ast::Statement::Prepare { statement, .. } => Some(&mut **statement),
            other => Some(other),
        },
        _ => None,
    }
}

/// The arrays of a table of ours; None for others and for tables that are not there, which the
/// planner will report.
async fn columns_of(
    state: &SessionState,
    name: &ObjectName,
) -> DataFusionResult<Option<Vec<ObjectName>>> {
    let normalize = state.config_options().sql_parser.enable_ident_normalization;
    let reference = object_name_to_table_reference(name.clone(), normalize)?;
    let Ok(schema) = state.schema_for_ref(reference.clone()) else {
        return Ok(None);
    };
    let Some(provider) = schema.table(reference.table()).await? else {
        return Ok(None);
    };
    let Some(table) = provider.downcast_ref::<NumPackTable>() else {
        return Ok(None);
    };
    let names = table.array_columns().map(|name| {
        let quoted = Ident::with_quote('"', name);
        ObjectName::from(vec![quoted])
    });
    Ok(Some(names.collect()))
}
