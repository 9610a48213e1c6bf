//! Values in the type of the column that they are for: a cast that names the column where one does not
//! fit, for DataFusion's names neither it nor the table.

use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use datafusion::common::utils::take_function_args;
use datafusion::common::{DFSchema, DataFusionError, Result as DataFusionResult};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, LogicalPlan, Projection, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Values, Volatility,
};

use crate::dml::target::Target;
use crate::error::SqlError;

/// The cast to a column's type.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Fit {
    /// As EXPLAIN shows it.
    name: String,
    table: String,
    column: String,
    data_type: DataType,
    signature: Signature,
}

/// `value` in the type of a column of `target`; a cast that the planner made becomes one of ours.
pub(crate) fn fit(
    value: Expr,
    schema: &DFSchema,
    target: &Target,
    column: usize,
) -> DataFusionResult<Expr> {
    let field = &target.fields[column];
    let data_type = field.data_type();
    let value = match value {
        Expr::Cast(cast) if cast.field.data_type() == data_type => *cast.expr,
        value => value,
    };
    let cast = match value.cast_to(data_type, schema) {
        Ok(Expr::Cast(cast)) if cast.field.data_type() == data_type => cast,
        Err(DataFusionError::Plan(problem)) => {
            return Err(SqlError::DoesNotFit {
                table: target.name.to_string(),
                column: field.name().clone(),
                problem,
            }
            .into());
        }
        other => return other,
    };
    let fit = Fit {
        name: format!("to_{}", field.name()),
        table: target.name.to_string(),
        column: field.name().clone(),
        data_type: data_type.clone(),
        signature: Signature::any(1, Volatility::Immutable),
    };
    let function = Arc::new(ScalarUDF::new_from_impl(fit));
    let call = ScalarFunction::new_udf(function, vec![*cast.expr]);
    Ok(Expr::ScalarFunction(call))
}

/// The plan of an INSERT, in which the casts that the planner made are ours: those of columns, and
/// those of the VALUES below them.
pub(crate) fn fitted(plan: LogicalPlan, target: &Target) -> DataFusionResult<LogicalPlan> {
    let LogicalPlan::Projection(Projection { expr, input, .. }) = plan else {
        return Ok(plan);
    };
    let input = match Arc::unwrap_or_clone(input) {
        LogicalPlan::Values(values) => LogicalPlan::Values(fitted_values(values, &expr, target)?),
        other => other,
    };
    let value = |value: Expr| {
        let name = value.schema_name().to_string();
        let column = target.column(&name);
        match (column, value) {
            (Some(column), Expr::Alias(alias)) => {
                Ok(fit(*alias.expr, input.schema(), target, column)?.alias(name))
            }
            (_, value) => Ok(value),
        }
    };
    let expr = expr
        .into_iter()
        .map(value)
        .collect::<DataFusionResult<_>>()?;
    let projection = Projection::try_new(expr, Arc::new(input))?;
    Ok(LogicalPlan::Projection(projection))
}

/// VALUES in which column i is what `columns`, the step above, make of it.
fn fitted_values(values: Values, columns: &[Expr], target: &Target) -> DataFusionResult<Values> {
    let schema = Arc::clone(&values.schema);
    let mut targets = vec![None; schema.fields().len()];
    for column in columns {
        if let Expr::Alias(alias) = column
            && let Expr::Column(given) = &*alias.expr
            && let Some(index) = schema.maybe_index_of_column(given)
        {
            targets[index] = target.column(&alias.name);
        }
    }
    let value = |(value, column): (Expr, &Option<usize>)| match column {
        Some(column) if matches!(value, Expr::Cast(_)) => fit(value, &schema, target, *column),
        _ => Ok(value),
    };
    let row = |row: Vec<Expr>| row.into_iter().zip(&targets).map(value).collect();
    let rows = values.values.into_iter().map(row);
    Ok(Values {
        values: rows.collect::<DataFusionResult<_>>()?,
        schema: values.schema,
    })
}

impl Fit {
    /// What is wrong with a value that could not be cast.
    fn problem(&self, value: &ColumnarValue, error: DataFusionError) -> DataFusionError {
        let problem = match self.unequal(value) {
            Some((given, expected)) => {
                format!("a list of {given} values, and a row has {expected}")
            }
            None => match error {
                DataFusionError::ArrowError(error, _) => match *error {
                    ArrowError::CastError(text) => text,
                    other => other.to_string(),
                },
                other => return other,
            },
        };
        let (table, column) = (self.table.clone(), self.column.clone());
        let error = SqlError::DoesNotFit {
            table,
            column,
            problem,
        };
        error.into()
    }

    /// The lengths of the first list that is longer or shorter than a row, and of a row.
    fn unequal(&self, value: &ColumnarValue) -> Option<(i32, i32)> {
        let DataType::FixedSizeList(_, expected) = self.data_type else {
            return None;
        };
        let values = value.to_array(1).ok()?;
        let lists = values.as_list_opt::<i32>()?;
        let mut lengths = (0..lists.len()).filter(|&row| lists.is_valid(row));
        let row = lengths.find(|&row| lists.value_length(row) != expected)?;
        Some((lists.value_length(row), expected))
    }
}

impl ScalarUDFImpl for Fit {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> DataFusionResult<DataType> {
        Ok(self.data_type.clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DataFusionResult<ColumnarValue> {
        let [value] = take_function_args(&self.name, args.args)?;
        value
            .cast_to(&self.data_type, None)
            .map_err(|error| self.problem(&value, error))
    }
}
