use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result as DataFusionResult};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::expr_rewriter::FunctionRewrite;
use datafusion::logical_expr::{Expr, ExprSchemable, ScalarUDF};

use super::distance::Distance;
use super::vector::is_element;

/// Makes DataFusion's distances ours where one of the vectors is a fixed-size list that we read in
/// place. DataFusion's would first copy each into a list of Float64.
///
/// Both give Float64, so that no schema changes.
#[derive(Debug)]
pub(super) struct DistanceNames {
    /// DataFusion's name, aliases resolved, and our function.
    functions: [(&'static str, Arc<ScalarUDF>); 3],
}

impl DistanceNames {
    pub(super) fn new() -> Self {
        let functions = [
            ("array_distance", Distance::L2),
            ("cosine_distance", Distance::COSINE),
            ("inner_product", Distance::INNER_PRODUCT),
        ];
        Self {
            functions: functions.map(|(name, ours)| {
                (
                    name,
                    Arc::new(ScalarUDF::new_from_impl(Distance::new(ours))),
                )
            }),
        }
    }
}

impl FunctionRewrite for DistanceNames {
    fn name(&self) -> &'static str {
        "numpack_distances"
    }

    fn rewrite(
        &self,
        expr: Expr,
        schema: &DFSchema,
        _config: &ConfigOptions,
    ) -> DataFusionResult<Transformed<Expr>> {
        let Expr::ScalarFunction(call) = &expr else {
            return Ok(Transformed::no(expr));
        };
        let Some((_, ours)) = self.functions.iter().find(|(name, _)| call.name() == *name) else {
            return Ok(Transformed::no(expr));
        };
        if call.func.inner().downcast_ref::<Distance>().is_some() {
            return Ok(Transformed::no(expr));
        }
        let mut in_place = false;
        for arg in &call.args {
            if let DataType::FixedSizeList(item, _) = arg.get_type(schema)? {
                in_place |= is_element(item.data_type());
            }
        }
        if !in_place {
            return Ok(Transformed::no(expr));
        }
        let call = ScalarFunction::new_udf(Arc::clone(ours), call.args.clone());
        Ok(Transformed::yes(Expr::ScalarFunction(call)))
    }
}
