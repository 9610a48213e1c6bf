//! MERGE as one plan: target and source joined, and for each pair the clause that applies first.

use std::sync::Arc;

use datafusion::common::{Column, Result as DataFusionResult, internal_err};
use datafusion::logical_expr::dml::{MergeIntoAction, MergeIntoClause, MergeIntoClauseKind};
use datafusion::logical_expr::expr::Case;
use datafusion::logical_expr::{
    DmlStatement, Expr, JoinType, LogicalPlan, LogicalPlanBuilder, TableScanBuilder, WriteOp, lit,
};

use crate::dml::edits::{Action, Change, Kind};
use crate::dml::fit::fit;
use crate::dml::node::ChangeNode;
use crate::dml::position::{position_column, scanned};
use crate::dml::target::Target;
use crate::error::SqlError;

/// True in every row of the source, null where a row of the target found none.
const SOURCE: &str = "__numpack_source";
/// Which clause applies, counted from 0.
const CLAUSE: &str = "__numpack_clause";

pub(crate) fn change(
    statement: &DmlStatement,
    target: Target,
    position: &str,
) -> DataFusionResult<ChangeNode> {
    let WriteOp::MergeInto(merge) = &statement.op else {
        return internal_err!("no MERGE");
    };
    let clauses = &merge.clauses;
    let scan = TableScanBuilder::new(target.name.clone(), Arc::clone(&statement.target)).build()?;
    let scan = scanned(scan, position)?;
    let position = position_column(&scan, position)?;
    let source = Arc::unwrap_or_clone(Arc::clone(&statement.input));
    let mut columns: Vec<Expr> = source
        .schema()
        .columns()
        .into_iter()
        .map(Expr::Column)
        .collect();
    columns.push(lit(true).alias(SOURCE));
    let source = LogicalPlanBuilder::from(source).project(columns)?.build()?;

    let joined = LogicalPlanBuilder::from(scan)
        .join_on(source, join_type(clauses), [merge.on.clone()])?
        .build()?;
    let mut columns: Vec<Expr> = joined
        .schema()
        .columns()
        .into_iter()
        .map(Expr::Column)
        .collect();
    columns.push(which(clauses, &position).alias(CLAUSE));
    let clause = Expr::Column(Column::new_unqualified(CLAUSE));
    let joined = LogicalPlanBuilder::from(joined)
        .project(columns)?
        .filter(clause.clone().is_not_null())?
        .build()?;

    let updated = updated(clauses, &target)?;
    let mut values = vec![clause.clone(), position];
    for (index, field) in target.fields.iter().enumerate() {
        let own = Expr::Column(Column::new(Some(target.name.clone()), field.name()));
        let mut cases = Vec::new();
        for (number, action) in (0_i32..).zip(clauses.iter().map(|clause| &clause.action)) {
            if let Some(value) = assigned(action, &target, index) {
                let value = fit(value, joined.schema(), &target, index)?;
                cases.push((Box::new(lit(number)), Box::new(value)));
            }
        }
        let value = if cases.is_empty() {
            own
        } else {
            let clause = Some(Box::new(clause.clone()));
            Expr::Case(Case::new(clause, cases, Some(Box::new(own))))
        };
        values.push(value.alias(field.name()));
    }
    let input: LogicalPlan = LogicalPlanBuilder::from(joined).project(values)?.build()?;
    let actions = clauses.iter().map(|clause| Action::of(&clause.action));
    let kind = Kind::Merge {
        actions: actions.collect(),
        columns: updated,
    };
    ChangeNode::new(Change::new(target, kind), input)
}

/// Rows without a partner are only needed where a clause is about them.
fn join_type(clauses: &[MergeIntoClause]) -> JoinType {
    let by_source =
        |clause: &MergeIntoClause| clause.kind == MergeIntoClauseKind::NotMatchedBySource;
    let targets = clauses.iter().any(by_source);
    let sources = clauses
        .iter()
        .any(|clause| clause.kind.is_not_matched_by_target());
    match (targets, sources) {
        (true, true) => JoinType::Full,
        (true, false) => JoinType::Left,
        (false, true) => JoinType::Right,
        (false, false) => JoinType::Inner,
    }
}

fn which(clauses: &[MergeIntoClause], position: &Expr) -> Expr {
    let source = Expr::Column(Column::new_unqualified(SOURCE));
    let mut cases = Vec::new();
    for (number, clause) in (0_i32..).zip(clauses) {
        let applies = match clause.kind.canonical() {
            MergeIntoClauseKind::Matched => position
                .clone()
                .is_not_null()
                .and(source.clone().is_not_null()),
            MergeIntoClauseKind::NotMatchedBySource => source.clone().is_null(),
            MergeIntoClauseKind::NotMatched | MergeIntoClauseKind::NotMatchedByTarget => {
                position.clone().is_null()
            }
        };
        let applies = match &clause.predicate {
            Some(predicate) => applies.and(predicate.clone()),
            None => applies,
        };
        cases.push((Box::new(applies), Box::new(lit(number))));
    }
    Expr::Case(Case::new(None, cases, None))
}

/// The arrays that an UPDATE of any clause assigns to.
fn updated(clauses: &[MergeIntoClause], target: &Target) -> DataFusionResult<Vec<usize>> {
    let mut columns = Vec::new();
    for clause in clauses {
        match &clause.action {
            MergeIntoAction::Update(assignments) => {
                for (name, _) in assignments {
                    match target.column(name) {
                        Some(column) => columns.push(column),
                        None => return Err(SqlError::RowIdGiven { verb: "UPDATE" }.into()),
                    }
                }
            }
            MergeIntoAction::Insert { columns, .. } => {
                if columns.iter().any(|name| target.is_row_id(name)) {
                    return Err(SqlError::RowIdGiven { verb: "INSERT" }.into());
                }
                let missing = target.fields.iter().map(|field| field.name().as_str());
                let missing: Vec<&str> = missing
                    .filter(|name| {
                        !columns.is_empty() && !columns.iter().any(|column| column == name)
                    })
                    .collect();
                target.refuse_missing(&missing)?;
            }
            MergeIntoAction::Delete => {}
        }
    }
    columns.sort_unstable();
    columns.dedup();
    Ok(columns)
}

/// What a clause gives to an array; None where the row keeps what it has.
fn assigned(action: &MergeIntoAction, target: &Target, column: usize) -> Option<Expr> {
    let name = target.fields[column].name();
    match action {
        MergeIntoAction::Update(assignments) => assignments
            .iter()
            .find(|(assigned, _)| assigned == name)
            .map(|(_, value)| value.clone()),
        MergeIntoAction::Insert { columns, values } => {
            let index = if columns.is_empty() {
                Some(column)
            } else {
                columns.iter().position(|given| given == name)
            };
            index.and_then(|index| values.get(index)).cloned()
        }
        MergeIntoAction::Delete => None,
    }
}
