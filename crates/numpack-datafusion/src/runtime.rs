//! The threads that blocking queries run on: made at the first query, and made anew after a fork.

use std::any::Any;
use std::fmt;
use std::future::{self, Future};
use std::num::NonZeroUsize;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::{Arc, LazyLock, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use datafusion::common::DataFusionError;
use futures::FutureExt;
use numpack_engine::Interrupt;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinHandle;

use crate::errands::Errands;
use crate::error::{Result, SqlError, died};
use crate::held::held;

/// How often a waiting thread asks whether it should stop.
const INTERRUPT_EVERY: Duration = Duration::from_millis(50);

static SHARED: LazyLock<Arc<Threads>> = LazyLock::new(|| Arc::new(Threads::new(None)));

/// Where connections find the pool of threads for their next query.
#[derive(Debug)]
pub(crate) struct Threads {
    /// One for each processor where it is None.
    workers: Option<NonZeroUsize>,
    pool: Mutex<Option<Arc<Pool>>>,
}

/// Threads that run queries. Whoever runs one holds the pool; after the last its threads end, as soon
/// as what they compute lets them.
#[derive(Debug)]
pub(crate) struct Pool {
    process: u32,
    /// None once it was dropped.
    runtime: Option<Runtime>,
}

/// Asks now and then whether a thread that waits for others, or takes what they compute, should stop.
#[derive(Clone)]
pub(crate) struct Asking {
    interrupt: Option<Interrupt>,
    last: Instant,
}

impl Threads {
    pub(crate) fn new(workers: Option<NonZeroUsize>) -> Self {
        Self {
            workers,
            pool: Mutex::new(None),
        }
    }

    /// The pool of all connections that ask for no number of threads.
    pub(crate) fn shared() -> Arc<Self> {
        Arc::clone(&SHARED)
    }

    /// Runs `future` to its end on a thread of the pool, while this one waits and asks.
    pub(crate) fn block_on<T: Send + 'static>(
        &self,
        future: impl Future<Output = Result<T>> + Send + 'static,
        mut asking: Asking,
    ) -> Result<T> {
        may_block()?;
        let pool = self.pool()?;
        let mut task = pool.spawn(future);
        match asking.wait(&mut task) {
            Ok(Ok(result)) => result,
            Ok(Err(error)) => Err(died(error).into()),
            Err(error) => {
                task.abort();
                self.retire(&pool);
                Err(error)
            }
        }
    }

    /// Runs `future` to its end on this thread, which asks and runs errands while it has to wait for
    /// others: waking one takes 50 to 150 us. The tasks that it starts go to the pool.
    pub(crate) fn run_here<T>(
        &self,
        future: impl Future<Output = Result<T>>,
        mut asking: Asking,
        errands: Option<&Errands>,
    ) -> Result<T> {
        may_block()?;
        let pool = self.pool()?;
        // Only while it is polled: errands, and what answers whether to stop, may run queries too.
        let mut future = pin!(AssertUnwindSafe(future).catch_unwind());
        let entered = future::poll_fn(|context| {
            let _tasks_go_there = pool.handle().enter();
            future.as_mut().poll(context)
        });
        match asking.run(entered, errands) {
            Ok(Ok(result)) => result,
            Ok(Err(panic)) => Err(panicked(&*panic)),
            Err(error) => {
                self.retire(&pool);
                Err(error)
            }
        }
    }

    /// The pool for a query that starts now.
    pub(crate) fn pool(&self) -> Result<Arc<Pool>> {
        let mut current = held(&self.pool);
        if let Some(pool) = current.as_ref().filter(|pool| pool.is_ours()) {
            return Ok(Arc::clone(pool));
        }
        let mut builder = Builder::new_multi_thread();
        if let Some(workers) = self.workers {
            builder.worker_threads(workers.get());
        }
        let runtime = builder
            .thread_name("numpack-sql")
            .enable_time()
            .build()
            .map_err(SqlError::Threads)?;
        let pool = Arc::new(Pool {
            process: std::process::id(),
            runtime: Some(runtime),
        });
        *current = Some(Arc::clone(&pool));
        Ok(pool)
    }

    /// Gives later queries threads of their own, because work was stopped on `pool`: a join may
    /// compute for minutes between two points where it can be stopped, and would keep them waiting.
    pub(crate) fn retire(&self, pool: &Arc<Pool>) {
        let mut current = held(&self.pool);
        if current.as_ref().is_some_and(|held| Arc::ptr_eq(held, pool)) {
            *current = None;
        }
    }
}

impl Pool {
    /// False in a forked child, where the threads do not exist.
    pub(crate) fn is_ours(&self) -> bool {
        self.process == std::process::id()
    }

    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        self.handle().spawn(future)
    }

    pub(crate) fn handle(&self) -> &Handle {
        let runtime = self.runtime.as_ref();
        runtime.expect("only drop takes it").handle()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let runtime = self.runtime.take();
        if self.process == std::process::id() {
            // Not waiting: a task of the pool itself may drop it, or compute for long.
            if let Some(runtime) = runtime {
                runtime.shutdown_background();
            }
        } else {
            // Dropping it would wait for threads that do not exist here.
            std::mem::forget(runtime);
        }
    }
}

impl fmt::Debug for Asking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.interrupt.is_some() {
            "asks"
        } else {
            "waits"
        })
    }
}

impl Asking {
    pub(crate) fn new(interrupt: Option<Interrupt>) -> Self {
        Self {
            interrupt,
            last: Instant::now(),
        }
    }

    /// [`SqlError::Interrupted`] when it is time to ask and the answer is to stop.
    pub(crate) fn ask(&mut self) -> Result<()> {
        if let Some(interrupt) = &self.interrupt
            && self.last.elapsed() >= INTERRUPT_EVERY
        {
            self.last = Instant::now();
            if interrupt() {
                return Err(SqlError::Interrupted);
            }
        }
        Ok(())
    }

    /// Waits for what other threads compute, and asks meanwhile.
    pub(crate) fn wait<F: Future>(&mut self, future: F) -> Result<F::Output> {
        may_block()?;
        self.run(future, None)
    }

    /// Runs a future, and asks while it has to wait.
    ///
    /// By the clock of this thread: the runtime's is driven by its workers, which may all compute.
    fn run<F: Future>(&mut self, future: F, errands: Option<&Errands>) -> Result<F::Output> {
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let mut context = Context::from_waker(&waker);
        let mut future = pin!(future);
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
                return Ok(output);
            }
            if self.interrupt.is_some() {
                thread::park_timeout(INTERRUPT_EVERY);
            } else {
                thread::park();
            }
            if let Some(errands) = errands {
                errands.run();
            }
            self.ask()?;
        }
    }
}

/// # Errors
/// [`SqlError::InsideRuntime`] on a thread that runs tasks: one that waits there keeps others from
/// running, which may be what it waits for.
pub(crate) fn may_block() -> Result<()> {
    match Handle::try_current() {
        Ok(_) => Err(SqlError::InsideRuntime),
        Err(_) => Ok(()),
    }
}

/// What a panic said, as an error.
fn panicked(panic: &(dyn Any + Send)) -> SqlError {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    let text = text.unwrap_or("no text");
    DataFusionError::Internal(format!("a panic: {text}")).into()
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
