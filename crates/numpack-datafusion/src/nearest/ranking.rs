use std::sync::Arc;

use datafusion::physical_expr::expressions::{Column, Literal};
use datafusion::physical_expr::{PhysicalExpr, PhysicalSortExpr, ScalarFunctionExpr};
use numpack_kernels::{Order, Query};

use crate::functions::Distance;
use crate::source::NumPackSource;

/// An order of rows by their distance from one vector.
#[derive(Clone, Debug)]
pub(crate) struct Ranking {
    /// Column of the source's output that the vectors stand in.
    column: usize,
    query: Query,
    /// The order as DataFusion asked for it.
    sort: PhysicalSortExpr,
}

impl Ranking {
    /// The order of `sort`, whose distance is `expr` over the columns of `source`; None where that
    /// is none, and where `source` leaves rows out: those are fewer, and filtered first.
    pub(super) fn new(
        source: &NumPackSource,
        expr: &Arc<dyn PhysicalExpr>,
        sort: &PhysicalSortExpr,
    ) -> Option<Self> {
        source.whole()?;
        let (column, query) = distance_of(source, expr)?;
        let sort = sort.clone();
        Some(Self {
            column,
            query,
            sort,
        })
    }

    pub(super) fn column(&self) -> usize {
        self.column
    }

    pub(super) fn query(&self) -> &Query {
        &self.query
    }

    pub(super) fn sort(&self) -> &PhysicalSortExpr {
        &self.sort
    }

    pub(super) fn order(&self) -> Order {
        Order {
            descending: self.sort.options.descending,
            nulls_first: self.sort.options.nulls_first,
        }
    }
}

/// The column and the vector of a distance between an array and a constant; None for other
/// expressions.
pub(super) fn distance_of(
    source: &NumPackSource,
    expr: &Arc<dyn PhysicalExpr>,
) -> Option<(usize, Query)> {
    let call = expr.downcast_ref::<ScalarFunctionExpr>()?;
    let distance = call.fun().inner().downcast_ref::<Distance>()?;
    let column = call
        .args()
        .iter()
        .find_map(|arg| arg.downcast_ref::<Column>())?;
    let mut literals = call
        .args()
        .iter()
        .filter_map(|arg| arg.downcast_ref::<Literal>());
    let column = column.index();
    let query = distance.query(literals.next().map(Literal::value))?;
    let field = source.schema().fields().get(column)?;
    let in_place = Distance::reads(field.data_type(), query.values().len());
    (in_place && source.array(column).is_some()).then_some((column, query))
}
