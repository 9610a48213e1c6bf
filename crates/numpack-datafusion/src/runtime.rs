//! The threads that blocking queries run on: one runtime a process, made at its first query.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use datafusion::common::DataFusionError;
use numpack_engine::Interrupt;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::time::timeout;

use crate::error::{Result, SqlError};

/// How often a waiting thread asks whether it should stop.
const INTERRUPT_EVERY: Duration = Duration::from_millis(50);

struct Threads {
    process: u32,
    runtime: Arc<Runtime>,
}

static THREADS: Mutex<Option<Threads>> = Mutex::new(None);

/// Runs `future` to its end on this process's runtime.
///
/// With an interrupt it runs on a thread of the runtime while this one waits and asks: a join may
/// compute for seconds between two points where it could be stopped. After an interrupt it is
/// stopped at the next of these.
pub(crate) fn block_on<T: Send + 'static>(
    future: impl Future<Output = Result<T>> + Send + 'static,
    interrupt: Option<&Interrupt>,
) -> Result<T> {
    if Handle::try_current().is_ok() {
        return Err(SqlError::InsideRuntime);
    }
    let runtime = runtime()?;
    let Some(interrupt) = interrupt else {
        return runtime.block_on(future);
    };
    let mut task = runtime.spawn(future);
    runtime.block_on(async {
        loop {
            match timeout(INTERRUPT_EVERY, &mut task).await {
                Ok(Ok(result)) => return result,
                Ok(Err(died)) => {
                    return Err(DataFusionError::ExecutionJoin(Box::new(died)).into());
                }
                Err(_) if interrupt() => {
                    task.abort();
                    return Err(SqlError::Interrupted);
                }
                Err(_) => {}
            }
        }
    })
}

fn runtime() -> Result<Arc<Runtime>> {
    let process = std::process::id();
    let mut threads = THREADS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(threads) = threads
        .as_ref()
        .filter(|threads| threads.process == process)
    {
        return Ok(Arc::clone(&threads.runtime));
    }
    let built = Builder::new_multi_thread()
        .thread_name("numpack-sql")
        .enable_time()
        .build()
        .map_err(SqlError::Threads)?;
    let runtime = Arc::new(built);
    let parents = threads.replace(Threads {
        process,
        runtime: Arc::clone(&runtime),
    });
    // After a fork the parent's threads do not exist here, and dropping the runtime would wait for
    // them.
    std::mem::forget(parents);
    Ok(runtime)
}
