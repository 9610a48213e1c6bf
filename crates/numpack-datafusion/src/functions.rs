//! Functions of vectors and complex numbers, and how a session gets them.

mod complex;
mod distance;
mod literal;
mod rewrite;
mod vector;

use std::sync::Arc;

use datafusion::common::Result as DataFusionResult;
use datafusion::execution::FunctionRegistry;
use datafusion::logical_expr::ScalarUDF;
use datafusion::prelude::SessionContext;

pub(crate) use distance::Distance;
pub(crate) use vector::{vectors, whole};

/// Gives a DataFusion session the functions of vectors and complex numbers that
/// [`session`](crate::session) has.
///
/// | function | of two vectors `a` and `b` |
/// |---|---|
/// | `l2_distance` | `sqrt(sum((a - b)^2))` |
/// | `l2_squared` | `sum((a - b)^2)` |
/// | `cosine_distance` | `1 - sum(a * b) / (|a| * |b|)`; NULL where one is all zeros |
/// | `inner_product` | `sum(a * b)` |
///
/// A vector is a row of a 2-D array or of a tensor, or a list such as `[0.5, 1, 2]`. Results are
/// Float64; a NULL gives NULL; vectors of different lengths are an error, before the query runs where
/// the lengths are known. Rows of float16, float32, float64, int8 and uint8 are read in place. A
/// constant vector is taken in the type of the rows; [`numpack_kernels::Query`] says how, and how
/// exact the results are. DataFusion's own names, `array_distance`, `list_distance`, `cosine_distance`,
/// `inner_product` and `dot_product`, mean these functions for such rows, and stay what they are for
/// other types.
///
/// `real`, `imag`, `abs` and `angle` (in radians) take complex numbers; `abs` is DataFusion's for
/// other types.
///
/// ```
/// use datafusion::prelude::SessionContext;
/// use numpack_datafusion::register_functions;
///
/// # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
/// # runtime.block_on(async {
/// let ctx = SessionContext::new();
/// register_functions(&ctx)?;
/// let far = ctx.sql("SELECT l2_distance([0, 3], [4, 0]) > 4.5 AS far").await?;
/// assert_eq!(far.filter(datafusion::prelude::col("far"))?.count().await?, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// None with a session as DataFusion makes it.
pub fn register_functions(ctx: &SessionContext) -> DataFusionResult<()> {
    register(&mut *ctx.state_ref().write())
}

/// As [`register_functions`], for a state that is still being made.
pub(crate) fn register(registry: &mut dyn FunctionRegistry) -> DataFusionResult<()> {
    for function in [Distance::L2, Distance::L2_SQUARED] {
        registry.register_udf(Arc::new(ScalarUDF::new_from_impl(Distance::new(function))))?;
    }
    registry.register_function_rewrite(Arc::new(rewrite::DistanceNames::new()))?;
    complex::register(registry)
}
