//! Blocks that cannot have a row which passes a predicate.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, UInt64Array};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, ScalarValue};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{CastExpr, NegativeExpr, TryCastExpr};
use datafusion::physical_expr_common::physical_expr::snapshot_physical_expr;
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;

use super::Zones;
use crate::scan::BLOCK;

/// For each block of `rows` rows whether some row may pass `predicate`, over a batch of `schema` whose
/// columns have these zones; None where that excludes nothing.
///
/// Columns of `schema` are known by their names, so these have to differ.
pub(crate) fn kept_blocks(
    predicate: &Arc<dyn PhysicalExpr>,
    schema: &SchemaRef,
    zones: &[Option<Arc<Zones>>],
    rows: u64,
) -> Option<Vec<bool>> {
    if zones.iter().flatten().all(|zones| zones.is_blank()) {
        return None;
    }
    // What a dynamic filter says now.
    let predicate = snapshot_physical_expr(Arc::clone(predicate)).ok()?;
    if !keeps_order(&predicate, schema) {
        return None;
    }
    let pruning = PruningPredicateBuilder::new()
        .with_file_schema(Arc::clone(schema))
        .build(predicate)?;
    let columns = zones.iter().map(|zones| Some(zones.as_ref()?.columns()));
    let statistics = Blocks {
        schema,
        columns: columns.collect(),
        rows,
    };
    let kept = pruning.prune(&statistics).ok()?;
    kept.contains(&false).then_some(kept)
}

/// Whether what `expr` makes of the bounds of a column are bounds of what it makes of the column, as
/// DataFusion takes for granted: negation overflows, and not all casts keep the order.
fn keeps_order(expr: &Arc<dyn PhysicalExpr>, schema: &Schema) -> bool {
    let mut keeps = true;
    let visited = expr.apply(|expr| {
        let cast = expr.downcast_ref::<CastExpr>();
        let cast = cast.map(|cast| (cast.expr(), cast.cast_type()));
        let attempt = expr.downcast_ref::<TryCastExpr>();
        let attempt = attempt.map(|cast| (cast.expr(), cast.cast_type()));
        if let Some((from, to)) = cast.or(attempt) {
            let number = |of: &DataType| of.is_integer() || of.is_floating();
            keeps &= number(to) && from.data_type(schema).is_ok_and(|from| number(&from));
        }
        keeps &= !expr.is::<NegativeExpr>();
        Ok(if keeps {
            TreeNodeRecursion::Continue
        } else {
            TreeNodeRecursion::Stop
        })
    });
    keeps && visited.is_ok()
}

/// Bounds of blocks, as DataFusion asks for them.
struct Blocks<'a> {
    schema: &'a Schema,
    columns: Vec<Option<(ArrayRef, ArrayRef)>>,
    rows: u64,
}

impl Blocks<'_> {
    fn bounds(&self, column: &Column) -> Option<&(ArrayRef, ArrayRef)> {
        let place = self.schema.index_of(column.name()).ok()?;
        self.columns.get(place)?.as_ref()
    }
}

impl PruningStatistics for Blocks<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bounds(column).map(|(low, _)| Arc::clone(low))
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bounds(column).map(|(_, high)| Arc::clone(high))
    }

    fn num_containers(&self) -> usize {
        usize::try_from(self.rows.div_ceil(BLOCK)).unwrap_or(0)
    }

    fn null_counts(&self, _column: &Column) -> Option<ArrayRef> {
        Some(Arc::new(UInt64Array::from_value(0, self.num_containers())))
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        let starts = (0..self.num_containers() as u64).map(|block| block * BLOCK);
        let rows = starts.map(|start| BLOCK.min(self.rows - start));
        Some(Arc::new(UInt64Array::from_iter_values(rows)))
    }

    fn contained(&self, _: &Column, _: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}
