use datafusion::common::runtime::SpawnedTask;
use datafusion::common::{DataFusionError, Result as DataFusionResult};
use futures::FutureExt;
use futures::future::BoxFuture;

/// Starts `work` as a task of its own, and gives what it gives. Dropping this stops it where it has
/// not begun.
pub(super) fn task<T: Send + 'static>(
    work: impl FnOnce() -> DataFusionResult<T> + Send + 'static,
) -> BoxFuture<'static, DataFusionResult<T>> {
    let started = SpawnedTask::spawn(async move { work() });
    let done = started.join_unwind().map(|done| match done {
        Ok(done) => done,
        Err(died) => Err(DataFusionError::ExecutionJoin(Box::new(died))),
    });
    done.boxed()
}
