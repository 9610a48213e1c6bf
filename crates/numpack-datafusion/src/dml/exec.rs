use std::fmt;
use std::sync::{Arc, Mutex};

use arrow::array::AsArray;
use arrow::datatypes::{SchemaRef, UInt64Type};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result as DataFusionResult, internal_err};
use datafusion::execution::session_state::SessionState;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{Distribution, EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{EvaluationType, SchedulingType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties,
    InputDistributionRequirements, PlanProperties, ReplaceChildrenOptions, collect,
};
use futures::future::{BoxFuture, FutureExt, Shared};
use futures::{StreamExt, stream};

use crate::dml::edits::{Change, Edits};
use crate::dml::node::{COUNT, ChangeNode, count};
use crate::dml::pin;
use crate::errands;
use crate::error::SqlError;
use crate::held::held;
use crate::relation::Relation;

/// How often a statement is tried again after another writer was faster.
const TRIES: usize = 20;

/// Runs a plan to its end and commits what is to change.
///
/// However often it is executed, and however often its stream is read, that happens once.
pub(crate) struct ChangeExec {
    change: Arc<Change>,
    base: Option<Arc<Relation>>,
    input: Arc<dyn ExecutionPlan>,
    again: Option<Arc<Again>>,
    run: Mutex<Option<Run>>,
    properties: Arc<PlanProperties>,
}

type Run = Shared<BoxFuture<'static, Result<u64, Arc<Failure>>>>;

/// An error that goes to the first who asks as itself, and to the others as its text.
struct Failure {
    text: String,
    error: Mutex<Option<DataFusionError>>,
}

impl Failure {
    fn take(&self) -> DataFusionError {
        let error = held(&self.error).take();
        error.unwrap_or_else(|| DataFusionError::Execution(self.text.clone()))
    }
}

impl From<DataFusionError> for Failure {
    fn from(error: DataFusionError) -> Self {
        Self {
            text: error.to_string(),
            error: Mutex::new(Some(error)),
        }
    }
}

/// What it takes to plan a statement once more.
pub(crate) struct Again {
    node: ChangeNode,
    state: SessionState,
}

impl Again {
    pub(crate) fn new(node: &ChangeNode, state: &SessionState) -> Arc<Self> {
        Arc::new(Self {
            node: node.clone(),
            state: state.clone(),
        })
    }

    /// Runs the statement over what the store holds now.
    async fn run(&self, context: Arc<TaskContext>) -> DataFusionResult<u64> {
        let plan = pin::moving(&self.node)?;
        let planner = Arc::clone(self.state.query_planner());
        let plan = planner.create_physical_plan(&plan, &self.state).await?;
        let batches = collect(plan, context).await?;
        match batches.first() {
            Some(batch) if batch.num_rows() == 1 => {
                Ok(batch.column(0).as_primitive::<UInt64Type>().value(0))
            }
            _ => internal_err!("a change gave no count"),
        }
    }
}

impl ChangeExec {
    pub(crate) fn new(
        change: &Arc<Change>,
        base: Option<&Arc<Relation>>,
        input: &Arc<dyn ExecutionPlan>,
        again: Option<Arc<Again>>,
    ) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(SchemaRef::clone(&COUNT)),
            Partitioning::UnknownPartitioning(1),
            input.pipeline_behavior(),
            input.boundedness(),
        );
        let properties = properties
            .with_scheduling_type(SchedulingType::Cooperative)
            .with_evaluation_type(EvaluationType::Eager);
        Self {
            change: Arc::clone(change),
            base: base.cloned(),
            input: Arc::clone(input),
            again,
            run: Mutex::new(None),
            properties: Arc::new(properties),
        }
    }

    /// The one run of the statement, begun when it is first polled.
    fn run(&self, context: Arc<TaskContext>) -> Run {
        let mut run = held(&self.run);
        if let Some(run) = &*run {
            return run.clone();
        }
        let work = Work {
            change: Arc::clone(&self.change),
            base: self.base.clone(),
            input: Arc::clone(&self.input),
            again: self.again.clone(),
        };
        let work = work
            .run(context)
            .map(|done| done.map_err(|error| Arc::new(error.into())));
        run.insert(work.boxed().shared()).clone()
    }
}

struct Work {
    change: Arc<Change>,
    base: Option<Arc<Relation>>,
    input: Arc<dyn ExecutionPlan>,
    again: Option<Arc<Again>>,
}

impl Work {
    async fn run(self, context: Arc<TaskContext>) -> DataFusionResult<u64> {
        // A store that cannot be written to is found out before anything is computed.
        drop(self.change.target.store().begin().map_err(SqlError::from)?);
        let mut edits = Edits::new(&self.change, &context);
        let mut batches = self.input.execute(0, Arc::clone(&context))?;
        while let Some(batch) = batches.next().await {
            edits.push(&batch?, &context)?;
        }
        drop(batches);
        let base = self.base;
        let commit = move || edits.commit(base.as_deref());
        let done = errands::blocking(context.session_config(), commit).await;
        match (done, self.again) {
            (Err(error), Some(again)) if again.node.conflicts < TRIES && is_conflict(&error) => {
                again.run(context).await
            }
            (done, _) => done,
        }
    }
}

fn is_conflict(error: &DataFusionError) -> bool {
    let DataFusionError::External(error) = error.find_root() else {
        return false;
    };
    matches!(
        error.downcast_ref::<SqlError>(),
        Some(SqlError::Engine(numpack_engine::Error::Conflict { .. }))
    )
}

impl fmt::Debug for ChangeExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChangeExec: {}", self.change)
    }
}

impl DisplayAs for ChangeExec {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match format {
            DisplayFormatType::Default | DisplayFormatType::Verbose => {
                write!(f, "NumPackChange: {}", self.change)
            }
            DisplayFormatType::TreeRender => write!(f, "{}", self.change),
        }
    }
}

impl ExecutionPlan for ChangeExec {
    fn name(&self) -> &'static str {
        "NumPackChange"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        InputDistributionRequirements::new(vec![Distribution::SinglePartition])
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        // Rows are appended in the order of the input: an ORDER BY below must stay.
        vec![true]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let [input] = children.as_slice() else {
            return internal_err!("a change has one input");
        };
        let exec = Self::new(&self.change, self.base.as_ref(), input, self.again.clone());
        Ok(Arc::new(exec))
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        self.replace_children(
            children,
            ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute),
        )
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DataFusionResult<TreeNodeRecursion>,
    ) -> DataFusionResult<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> DataFusionResult<SendableRecordBatchStream> {
        if partition != 0 {
            return internal_err!("a change has one partition, {partition} was asked for");
        }
        let run = self.run(context);
        let batch = async move { count(run.await.map_err(|failure| failure.take())?) };
        let schema = SchemaRef::clone(&COUNT);
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            schema,
            stream::once(batch),
        )))
    }
}
