use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::thread::{self, Thread};

use datafusion::common::Result as DataFusionResult;
use datafusion::common::runtime::SpawnedTask;
use datafusion::prelude::SessionConfig;
use tokio::sync::oneshot;

use crate::error::{SqlError, died};
use crate::held::held;

/// Work that the thread waiting for a statement does itself: commits, for it may hold the writer
/// lock of a store, which belongs to a thread.
pub(crate) struct Errands {
    waiting: Thread,
    /// None once nobody waits any more.
    queue: Mutex<Option<VecDeque<Errand>>>,
}

type Errand = Box<dyn FnOnce() + Send>;

impl Errands {
    /// Of the current thread, which is going to wait.
    pub(crate) fn of_this_thread() -> Arc<Self> {
        Arc::new(Self {
            waiting: thread::current(),
            queue: Mutex::new(Some(VecDeque::new())),
        })
    }

    /// Does what has been asked so far.
    pub(crate) fn run(&self) {
        while let Some(errand) = self.next() {
            errand();
        }
    }

    /// No more is done; what was asked for fails.
    pub(crate) fn end(&self) {
        let left = held(&self.queue).take();
        drop(left);
    }

    fn next(&self) -> Option<Errand> {
        let mut queue = held(&self.queue);
        queue.as_mut()?.pop_front()
    }

    fn ask(&self, errand: Errand) {
        let mut queue = held(&self.queue);
        if let Some(queue) = queue.as_mut() {
            queue.push_back(errand);
            self.waiting.unpark();
        }
    }
}

impl fmt::Debug for Errands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Errands").field(&self.waiting.id()).finish()
    }
}

/// Runs `work`, which may block, on the thread that waits for the statement, or on one for such work
/// where no thread does.
pub(crate) async fn blocking<T: Send + 'static>(
    config: &SessionConfig,
    work: impl FnOnce() -> DataFusionResult<T> + Send + 'static,
) -> DataFusionResult<T> {
    let Some(errands) = config.get_extension::<Errands>() else {
        return SpawnedTask::spawn_blocking(work)
            .join()
            .await
            .map_err(died)?;
    };
    let (done, result) = oneshot::channel();
    errands.ask(Box::new(move || {
        let _nobody_waits = done.send(work());
    }));
    match result.await {
        Ok(result) => result,
        Err(_) => Err(SqlError::Interrupted.into()),
    }
}
