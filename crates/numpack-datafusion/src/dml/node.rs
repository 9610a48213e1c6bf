use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, LazyLock};

use arrow::array::{RecordBatch, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::{DFSchema, DFSchemaRef, Result as DataFusionResult, internal_err};
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, UserDefinedLogicalNodeCore};

use crate::dml::edits::Change;
use crate::relation::Relation;

/// What every change gives: the number of rows that it changed.
pub(crate) static COUNT: LazyLock<SchemaRef> = LazyLock::new(|| {
    Arc::new(Schema::new(vec![Field::new(
        "count",
        DataType::UInt64,
        false,
    )]))
});

/// A result that says how many rows were changed.
pub(crate) fn count(rows: u64) -> DataFusionResult<RecordBatch> {
    let column = Arc::new(UInt64Array::from(vec![rows]));
    Ok(RecordBatch::try_new(
        SchemaRef::clone(&COUNT),
        vec![column],
    )?)
}

/// A change to a store over the plan of what is to change.
#[derive(Clone, Debug)]
pub(crate) struct ChangeNode {
    pub(crate) change: Arc<Change>,
    pub(crate) input: LogicalPlan,
    pub(crate) schema: DFSchemaRef,
    /// The instant that the positions in `input` are of. None before the planner fixes it, and
    /// where the plan turned out not to look at the table at all.
    pub(crate) base: Option<Arc<Relation>>,
    /// How often the statement has met another writer.
    pub(crate) conflicts: usize,
}

impl ChangeNode {
    pub(crate) fn new(change: Change, input: LogicalPlan) -> DataFusionResult<Self> {
        Ok(Self {
            change: Arc::new(change),
            input,
            schema: Arc::new(DFSchema::try_from(SchemaRef::clone(&COUNT))?),
            base: None,
            conflicts: 0,
        })
    }

    pub(crate) fn plan(self) -> LogicalPlan {
        LogicalPlan::Extension(Extension {
            node: Arc::new(self),
        })
    }

    pub(crate) fn of(plan: &LogicalPlan) -> Option<&Self> {
        match plan {
            LogicalPlan::Extension(extension) => extension.node.as_any().downcast_ref(),
            _ => None,
        }
    }
}

impl UserDefinedLogicalNodeCore for ChangeNode {
    fn name(&self) -> &'static str {
        "NumPackChange"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        Vec::new()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NumPackChange: {}", self.change)
    }

    fn with_exprs_and_inputs(
        &self,
        _exprs: Vec<Expr>,
        mut inputs: Vec<LogicalPlan>,
    ) -> DataFusionResult<Self> {
        let (Some(input), true) = (inputs.pop(), inputs.is_empty()) else {
            return internal_err!("a change has one input");
        };
        Ok(Self {
            input,
            ..self.clone()
        })
    }

    /// All of them, whoever reads the count.
    fn necessary_children_exprs(&self, _output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        Some(vec![(0..self.input.schema().fields().len()).collect()])
    }
}

impl PartialEq for ChangeNode {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.change, &other.change) && self.input == other.input
    }
}

impl Eq for ChangeNode {}

impl PartialOrd for ChangeNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.input
            .partial_cmp(&other.input)
            .filter(|order| *order != Ordering::Equal || self == other)
    }
}

impl Hash for ChangeNode {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.input.hash(state);
    }
}
