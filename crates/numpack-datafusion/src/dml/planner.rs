use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::Result as DataFusionResult;
use datafusion::execution::context::QueryPlanner;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{LogicalPlan, UserDefinedLogicalNode};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::{DefaultPhysicalPlanner, ExtensionPlanner, PhysicalPlanner};

use crate::dml::exec::{Again, ChangeExec};
use crate::dml::node::ChangeNode;
use crate::dml::pin;

/// DataFusion's planner, for sessions in which stores are queried and changed.
///
/// A query sees one instant of every store, however many of its tables it names, and changes that
/// [`ChangeRule`](crate::ChangeRule) has found are carried out.
#[derive(Default)]
pub struct NumPackPlanner {
    /// Planners of nodes of others.
    others: Vec<Arc<dyn ExtensionPlanner + Send + Sync>>,
}

impl NumPackPlanner {
    /// A planner that also plans what `others` plan.
    pub fn with_extension_planners(others: Vec<Arc<dyn ExtensionPlanner + Send + Sync>>) -> Self {
        Self { others }
    }
}

impl fmt::Debug for NumPackPlanner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NumPackPlanner and {} others", self.others.len())
    }
}

#[async_trait]
impl QueryPlanner for NumPackPlanner {
    async fn create_physical_plan(
        &self,
        logical_plan: &LogicalPlan,
        session: &dyn Session,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let pinned = pin::pinned(logical_plan)?;
        let mut planners: Vec<Arc<dyn ExtensionPlanner + Send + Sync>> = vec![Arc::new(Changes)];
        planners.extend(self.others.iter().cloned());
        DefaultPhysicalPlanner::with_extension_planners(planners)
            .create_physical_plan(pinned.as_ref().unwrap_or(logical_plan), session)
            .await
    }
}

/// The planner of [`ChangeNode`].
struct Changes;

#[async_trait]
impl ExtensionPlanner for Changes {
    async fn plan_extension(
        &self,
        _planner: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        _logical_inputs: &[&LogicalPlan],
        physical_inputs: &[Arc<dyn ExecutionPlan>],
        session: &dyn Session,
        _planning_ctx: &PhysicalPlanningContext,
    ) -> DataFusionResult<Option<Arc<dyn ExecutionPlan>>> {
        let (Some(node), [input]) = (node.as_any().downcast_ref::<ChangeNode>(), physical_inputs)
        else {
            return Ok(None);
        };
        let again = session.as_any().downcast_ref::<SessionState>();
        let again = again.map(|state| Again::new(node, state));
        let exec = ChangeExec::new(&node.change, node.base.as_ref(), input, again);
        Ok(Some(Arc::new(exec)))
    }
}
