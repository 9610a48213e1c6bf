//! The instant that a statement reads.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use datafusion::common::Result as DataFusionResult;
use datafusion::common::tree_node::{Transformed, TreeNodeRecursion};
use datafusion::datasource::{provider_as_source, source_as_provider};
use datafusion::logical_expr::{LogicalPlan, TableScan};
use numpack_engine::Snapshot;

use crate::dml::node::ChangeNode;
use crate::error::SqlError;
use crate::instants::Instants;
use crate::relation::Relation;
use crate::table::{Live, NumPackTable};

/// The plan with one snapshot of each store for all scans of it, if that makes a difference: where a
/// store is scanned more than once, or rows are to be changed by their position.
pub(crate) fn pinned(plan: &LogicalPlan) -> DataFusionResult<Option<LogicalPlan>> {
    let mut changes = false;
    let mut scans: Vec<Live> = Vec::new();
    plan.apply_with_subqueries(|plan| {
        changes |= ChangeNode::of(plan).is_some();
        if let LogicalPlan::TableScan(scan) = plan {
            scans.extend(table_of(scan, |table| table.moving().cloned()));
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    if scans.len() < 2 && !changes {
        return Ok(None);
    }
    let snapshots = snapshots(&scans)?;
    let fixed = plan
        .clone()
        .transform_up_with_subqueries(|plan| match plan {
            LogicalPlan::TableScan(scan) => {
                let fixed = table_of(&scan, |table| {
                    let snapshot = snapshots.get(table.moving()?.store().path())?;
                    table.at_snapshot(snapshot).transpose()
                });
                let fixed = fixed.transpose()?;
                Ok(replaced(scan, fixed))
            }
            plan => Ok(with_base(plan)),
        })?;
    Ok(Some(fixed.data))
}

/// The plan with tables that show what the store holds now, for another try after a conflict.
pub(crate) fn moving(node: &ChangeNode) -> DataFusionResult<LogicalPlan> {
    let again = ChangeNode {
        base: None,
        conflicts: node.conflicts + 1,
        ..node.clone()
    };
    unpinned(again.plan())
}

/// The plan with tables that show what the stores hold whenever it runs.
pub(crate) fn unpinned(plan: LogicalPlan) -> DataFusionResult<LogicalPlan> {
    with_tables(plan, |table| Ok(table.moved_on()))
}

/// The plan with tables that show what the stores hold at the instants of a query.
pub(crate) fn at_instants(plan: LogicalPlan, instants: &Instants) -> DataFusionResult<LogicalPlan> {
    with_tables(plan, |table| table.instant_of(instants))
}

fn with_tables(
    plan: LogicalPlan,
    other: impl Fn(&NumPackTable) -> Result<Option<NumPackTable>, SqlError>,
) -> DataFusionResult<LogicalPlan> {
    let plan = plan.transform_up_with_subqueries(|plan| match plan {
        LogicalPlan::TableScan(scan) => {
            let other = table_of(&scan, |table| other(table).transpose());
            Ok(replaced(scan, other.transpose()?))
        }
        plan => Ok(Transformed::no(plan)),
    })?;
    Ok(plan.data)
}

fn snapshots(scans: &[Live]) -> Result<HashMap<PathBuf, Snapshot>, SqlError> {
    let mut names: HashMap<PathBuf, (&Live, Vec<&str>)> = HashMap::new();
    for live in scans {
        let path = live.store().path().to_path_buf();
        let (_, wanted) = names.entry(path).or_insert_with(|| (live, Vec::new()));
        for name in live.names() {
            if !wanted.contains(&name.as_str()) {
                wanted.push(name);
            }
        }
    }
    let taken = names.into_iter().map(|(path, (live, names))| {
        let snapshot = live.store().snapshot(&names)?;
        Ok((path, snapshot))
    });
    taken.collect()
}

fn table_of<T>(scan: &TableScan, f: impl FnOnce(&NumPackTable) -> Option<T>) -> Option<T> {
    let provider = source_as_provider(&scan.source).ok()?;
    f(provider.downcast_ref::<NumPackTable>()?)
}

fn replaced(mut scan: TableScan, table: Option<NumPackTable>) -> Transformed<LogicalPlan> {
    match table {
        Some(table) => {
            scan.source = provider_as_source(Arc::new(table));
            Transformed::yes(LogicalPlan::TableScan(scan))
        }
        None => Transformed::no(LogicalPlan::TableScan(scan)),
    }
}

/// A change learns the instant that the positions of its input are of.
fn with_base(plan: LogicalPlan) -> Transformed<LogicalPlan> {
    let Some(node) = ChangeNode::of(&plan) else {
        return Transformed::no(plan);
    };
    let base = base_of(&node.input);
    let node = ChangeNode {
        base,
        ..node.clone()
    };
    Transformed::yes(node.plan())
}

fn base_of(plan: &LogicalPlan) -> Option<Arc<Relation>> {
    if let LogicalPlan::TableScan(scan) = plan {
        return table_of(scan, |table| table.instant_with_position().cloned());
    }
    plan.inputs().into_iter().find_map(base_of)
}
