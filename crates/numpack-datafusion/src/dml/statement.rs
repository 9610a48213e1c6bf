//! From text to a plan, where NumPack reads a statement otherwise than DataFusion.
//!
//! INSERT without a list of columns means the arrays, not `row_id`; COPY ... FROM reads a file.

use datafusion::common::Result as DataFusionResult;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::{DataFrame, SessionContext};
use datafusion::sql::parser::Statement;
use datafusion::sql::planner::object_name_to_table_reference;
use datafusion::sql::sqlparser::ast::{self, Ident, ObjectName, TableObject};

use crate::dml::copy_from::{self, CopyFrom};
use crate::error::Result;
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
                let statement = with_columns(state, (**statement).clone()).await?;
                state.statement_to_plan(statement).await
            }
        }
    }
}

/// The statement, in which every INSERT into a table of ours lists its columns.
async fn with_columns(
    state: &SessionState,
    mut statement: Statement,
) -> DataFusionResult<Statement> {
    if let Some(insert) = insert_of(&mut statement)
        && insert.columns.is_empty()
        && let TableObject::TableName(name) = &insert.table
    {
        insert.columns = columns_of(state, name).await?.unwrap_or_default();
    }
    Ok(statement)
}

/// The INSERT in a statement, also behind EXPLAIN and PREPARE.
fn insert_of(statement: &mut Statement) -> Option<&mut ast::Insert> {
    match statement {
        Statement::Explain(explain) => insert_of(&mut explain.statement),
        Statement::Statement(statement) => match &mut **statement {
            ast::Statement::Insert(insert) => Some(insert),
            ast::Statement::Prepare { statement, .. } => match &mut **statement {
                ast::Statement::Insert(insert) => Some(insert),
                _ => None,
            },
            _ => None,
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
