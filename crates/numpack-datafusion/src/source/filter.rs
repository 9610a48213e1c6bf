use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray};
use arrow::compute::prep_null_mask_filter;
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::cast::as_boolean_array;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{DataFusionError, Result as DataFusionResult};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, Column, DynamicFilterTracking};
use datafusion::physical_expr::utils::collect_columns;

use super::comparison::Comparison;
use super::leaf::Leaves;
use super::uncast::uncast;
use crate::relation::Relation;
use crate::scan::batch;

/// A predicate that the scan evaluates itself.
#[derive(Clone, Debug)]
pub(crate) struct Filter {
    /// Over the leaves, as it is shown and visited.
    expr: Arc<dyn PhysicalExpr>,
    /// The places of the leaves that it reads.
    reads: Vec<usize>,
    /// Over a batch of just these leaves.
    local: Arc<dyn PhysicalExpr>,
    schema: SchemaRef,
    /// As `local`, over columns whose names are sure to differ.
    named: Arc<dyn PhysicalExpr>,
    named_schema: SchemaRef,
    /// The same, where that is how it is evaluated.
    comparison: Option<Comparison>,
    dynamic: bool,
    row_bytes: usize,
}

impl Filter {
    /// A filter from a predicate whose columns are places of leaves.
    pub(crate) fn new(
        expr: Arc<dyn PhysicalExpr>,
        leaves: &Leaves,
        relation: &Relation,
    ) -> DataFusionResult<Self> {
        let expr = uncast(expr, leaves)?;
        let mut reads: Vec<usize> = collect_columns(&expr).iter().map(Column::index).collect();
        reads.sort_unstable();
        reads.dedup();
        let place = |column: &Column| {
            let place = reads.binary_search(&column.index());
            place.map_err(|_| DataFusionError::Internal(format!("{column} is lost")))
        };
        let local = map_columns(Arc::clone(&expr), |column| {
            Ok(Arc::new(Column::new(column.name(), place(column)?)))
        })?;
        let named = map_columns(Arc::clone(&expr), |column| {
            let place = place(column)?;
            Ok(Arc::new(Column::new(&name(place), place)))
        })?;
        let schema = leaves.schema(&reads);
        let fields = schema.fields().iter().enumerate();
        let fields = fields.map(|(place, field)| field.as_ref().clone().with_name(name(place)));
        Ok(Self {
            comparison: Comparison::of(&*local, &schema),
            named_schema: Arc::new(Schema::new(fields.collect::<Vec<_>>())),
            named,
            schema,
            dynamic: DynamicFilterTracking::classify(&expr).contains_dynamic_filter(),
            row_bytes: reads.iter().map(|&p| leaves.row_bytes(relation, p)).sum(),
            expr,
            reads,
            local,
        })
    }

    pub(crate) fn expr(&self) -> &Arc<dyn PhysicalExpr> {
        &self.expr
    }

    pub(crate) fn reads(&self) -> &[usize] {
        &self.reads
    }

    /// The predicate and its columns, in the order of [`reads`](Self::reads), by names that differ.
    pub(crate) fn named(&self) -> (&Arc<dyn PhysicalExpr>, &SchemaRef) {
        (&self.named, &self.named_schema)
    }

    /// Whether it may leave out more rows while it is evaluated.
    pub(crate) fn is_dynamic(&self) -> bool {
        self.dynamic
    }

    /// What it costs to evaluate for a row, in bytes read.
    pub(crate) fn cost(&self) -> u64 {
        let computed = if self.comparison.is_some() { 0 } else { 16 };
        self.row_bytes as u64 + computed
    }

    /// What is evaluated first: predicates that stay before ones that sharpen, then what reads the
    /// fewest bytes.
    pub(crate) fn rank(&self) -> (bool, usize) {
        (self.dynamic, self.row_bytes)
    }

    /// A predicate that says this and what `other` says, if it is evaluated in one pass.
    pub(crate) fn with(&self, other: &Self) -> Option<Arc<dyn PhysicalExpr>> {
        let both = self.comparison.as_ref()?.and(other.comparison.as_ref()?);
        let (left, right) = (Arc::clone(&self.expr), Arc::clone(&other.expr));
        (self.reads == other.reads && both.is_some())
            .then(|| Arc::new(BinaryExpr::new(left, Operator::And, right)) as _)
    }

    /// Which of `rows` rows pass, by their columns [`reads`](Self::reads); NULL does not.
    pub(crate) fn evaluate(
        &self,
        columns: Vec<ArrayRef>,
        rows: usize,
    ) -> DataFusionResult<BooleanArray> {
        if let (Some(comparison), [column]) = (&self.comparison, &*columns)
            && let Some(passing) = comparison.evaluate(column)
        {
            return Ok(passing);
        }
        let batch = batch(&self.schema, columns, rows)?;
        let value = self.local.evaluate(&batch)?.into_array(rows)?;
        let mask = as_boolean_array(&value)?;
        Ok(if mask.null_count() == 0 {
            mask.clone()
        } else {
            prep_null_mask_filter(mask)
        })
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.expr.fmt(f)
    }
}

/// What a column is called where names have to differ.
fn name(place: usize) -> String {
    format!("c{place}")
}

/// `expr` with each column replaced.
fn map_columns(
    expr: Arc<dyn PhysicalExpr>,
    mut replace: impl FnMut(&Column) -> DataFusionResult<Arc<dyn PhysicalExpr>>,
) -> DataFusionResult<Arc<dyn PhysicalExpr>> {
    expr.transform_up(|expr| match expr.downcast_ref::<Column>() {
        Some(column) => Ok(Transformed::yes(replace(column)?)),
        None => Ok(Transformed::no(expr)),
    })
    .data()
}
