use datafusion::common::Result as DataFusionResult;
use datafusion::common::runtime::SpawnedTask;
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::error::died;

/// Starts `work` as a task of its own, and gives what it gives. Dropping this stops it where it has
/// not begun.
pub(super) fn task<T: Send + 'static>(
    work: impl FnOnce() -> DataFusionResult<T> + Send + 'static,
) -> BoxFuture<'static, DataFusionResult<T>> {
    let started = SpawnedTask::spawn(async move { work() });
    async move { started.join_unwind().await.map_err(died)? }.boxed()
}
