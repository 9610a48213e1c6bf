use datafusion::common::runtime::SpawnedTask;
use datafusion::common::{DataFusionError, Result as DataFusionResult};

/// What `work` gives, done as a task of its own, from the first time that this is polled. Dropping
/// this stops it before it starts.
pub(super) async fn task<T: Send + 'static>(
    work: impl FnOnce() -> DataFusionResult<T> + Send + 'static,
) -> DataFusionResult<T> {
    let done = SpawnedTask::spawn(async move { work() })
        .join_unwind()
        .await;
    done.map_err(|died| DataFusionError::ExecutionJoin(Box::new(died)))?
}
