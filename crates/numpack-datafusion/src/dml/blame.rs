//! What is wrong with an INSERT or an UPDATE that DataFusion's planner does not take: its errors name
//! neither column nor table.

use datafusion::common::{DataFusionError, Result as DataFusionResult};
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{self, SetExpr};

use crate::counted::counted;
use crate::dml::statement::changing;
use crate::error::SqlError;
use crate::relation::ROW_ID;

/// The planner's `error` of a statement, or a clearer one.
pub(super) async fn blame(
    state: &SessionState,
    mut statement: Statement,
    error: DataFusionError,
) -> DataFusionError {
    let clearer = match changing(&mut statement) {
        Some(ast::Statement::Insert(insert)) => of_insert(state, insert).await,
        Some(ast::Statement::Update(update)) => of_update(state, update).await,
        _ => None,
    };
    clearer.map_or(error, DataFusionError::from)
}

/// How many columns an INSERT is for, and which.
pub(super) fn columns_text(insert: &ast::Insert) -> String {
    let names = insert.columns.iter().map(ToString::to_string);
    let names = names.collect::<Vec<_>>().join(", ");
    format!("{} ({names})", counted(insert.columns.len(), "column"))
}

async fn of_insert(state: &SessionState, insert: &ast::Insert) -> Option<SqlError> {
    let source = insert.source.as_ref()?;
    if matches!(&*source.body, SetExpr::Values(_)) {
        return of_values(state, insert).await;
    }
    let query = ast::Statement::Query(source.clone());
    let given = plan(state, query).await.ok()?;
    let given = given.schema().fields();
    let expected = insert.columns.len();
    if given.len() == expected {
        return None;
    }
    let mut text = format!("the query gives {}", counted(given.len(), "column"));
    if given.len() > expected && given.iter().any(|field| field.name() == ROW_ID) {
        text.push_str(" with row_id, which follows by itself (name the others in place of *)");
    }
    Some(SqlError::WrongCount {
        table: insert.table.to_string(),
        given: text,
        columns: columns_text(insert),
    })
}

/// The first column of VALUES that cannot be planned alone either.
async fn of_values(state: &SessionState, insert: &ast::Insert) -> Option<SqlError> {
    for (index, column) in insert.columns.iter().enumerate() {
        let mut alone = insert.clone();
        alone.columns = vec![column.clone()];
        if let Some(SetExpr::Values(values)) = alone.source.as_mut().map(|source| &mut *source.body)
        {
            for row in &mut values.rows {
                row.content = vec![row.content.get(index)?.clone()];
            }
        }
        if let Some(problem) = misfit(state, ast::Statement::Insert(alone)).await {
            return Some(does_not_fit(&insert.table, column, problem));
        }
    }
    None
}

/// The first assignment that cannot be planned alone either.
async fn of_update(state: &SessionState, update: &ast::Update) -> Option<SqlError> {
    for assignment in &update.assignments {
        let mut alone = update.clone();
        alone.assignments = vec![assignment.clone()];
        if let Some(problem) = misfit(state, ast::Statement::Update(alone)).await {
            return Some(does_not_fit(&update.table, &assignment.target, problem));
        }
    }
    None
}

/// Why a statement cannot be planned, if it is a value of a type that does not become a column's.
async fn misfit(state: &SessionState, statement: ast::Statement) -> Option<String> {
    let error = plan(state, statement).await.err()?;
    let (DataFusionError::Plan(problem) | DataFusionError::Execution(problem)) = error.find_root()
    else {
        return None;
    };
    let of_types = ["Cannot automatically convert", "Types don't match"];
    let known = of_types.iter().any(|start| problem.starts_with(start));
    known.then(|| problem.clone())
}

async fn plan(state: &SessionState, statement: ast::Statement) -> DataFusionResult<LogicalPlan> {
    let statement = Statement::Statement(Box::new(statement));
    state.statement_to_plan(statement).await
}

fn does_not_fit(table: &impl ToString, column: &impl ToString, problem: String) -> SqlError {
    SqlError::DoesNotFit {
        table: table.to_string(),
        column: column.to_string().trim_matches('"').to_owned(),
        problem,
    }
}
