//! The threads that blocking queries run on: made at the first query, and made anew after a fork.

use std::future::Future;
use std::num::NonZeroUsize;
use std::pin::pin;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use datafusion::common::DataFusionError;
use numpack_engine::Interrupt;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::time::timeout;

use crate::error::{Result, SqlError};

/// How often a waiting thread asks whether it should stop.
const INTERRUPT_EVERY: Duration = Duration::from_millis(50);

static SHARED: LazyLock<Arc<Threads>> = LazyLock::new(|| Arc::new(Threads::new(None)));

/// A pool of threads.
#[derive(Debug)]
pub(crate) struct Threads {
    /// One for each processor where it is None.
    workers: Option<NonZeroUsize>,
    running: Mutex<Option<Running>>,
}

#[derive(Debug)]
struct Running {
    process: u32,
    runtime: Arc<Runtime>,
}

impl Threads {
    pub(crate) fn new(workers: Option<NonZeroUsize>) -> Self {
        Self {
            workers,
            running: Mutex::new(None),
        }
    }

    /// The pool of all connections that ask for no number of threads.
    pub(crate) fn shared() -> Arc<Self> {
        Arc::clone(&SHARED)
    }

    /// Runs `future` to its end on a thread of the pool, while this one waits and asks `interrupt`:
    /// a join may compute for seconds between two points where it could be stopped. After an
    /// interrupt it is stopped at the next of these.
    pub(crate) fn block_on<T: Send + 'static>(
        &self,
        future: impl Future<Output = Result<T>> + Send + 'static,
        interrupt: Option<&Interrupt>,
    ) -> Result<T> {
        let mut task = self.runtime()?.spawn(future);
        let result = self.wait(&mut task, interrupt);
        match result {
            Ok(Ok(result)) => result,
            Ok(Err(died)) => Err(DataFusionError::ExecutionJoin(Box::new(died)).into()),
            Err(error) => {
                task.abort();
                Err(error)
            }
        }
    }

    /// Waits for what other threads compute, and asks `interrupt` meanwhile.
    pub(crate) fn wait<F: Future>(
        &self,
        future: F,
        interrupt: Option<&Interrupt>,
    ) -> Result<F::Output> {
        if Handle::try_current().is_ok() {
            return Err(SqlError::InsideRuntime);
        }
        self.runtime()?.block_on(async {
            let mut future = pin!(future);
            let Some(interrupt) = interrupt else {
                return Ok(future.await);
            };
            loop {
                match timeout(INTERRUPT_EVERY, &mut future).await {
                    Ok(output) => return Ok(output),
                    Err(_) if interrupt() => return Err(SqlError::Interrupted),
                    Err(_) => {}
                }
            }
        })
    }

    pub(crate) fn runtime(&self) -> Result<Arc<Runtime>> {
        let process = std::process::id();
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = running
            .as_ref()
            .filter(|running| running.process == process)
        {
            return Ok(Arc::clone(&running.runtime));
        }
        let mut builder = Builder::new_multi_thread();
        if let Some(workers) = self.workers {
            builder.worker_threads(workers.get());
        }
        let built = builder
            .thread_name("numpack-sql")
            .enable_time()
            .build()
            .map_err(SqlError::Threads)?;
        let runtime = Arc::new(built);
        let parents = running.replace(Running {
            process,
            runtime: Arc::clone(&runtime),
        });
        // After a fork the parent's threads do not exist here, and dropping the runtime would wait
        // for them.
        std::mem::forget(parents);
        Ok(runtime)
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        let running = self.running.get_mut();
        let Some(running) = running.unwrap_or_else(PoisonError::into_inner).take() else {
            return;
        };
        if running.process == std::process::id() {
            // The last owner may be a task of the pool itself, which cannot wait for itself.
            if let Some(runtime) = Arc::into_inner(running.runtime) {
                runtime.shutdown_background();
            }
        } else {
            std::mem::forget(running);
        }
    }
}
