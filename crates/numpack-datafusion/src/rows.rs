use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::{DataFusionError, Result as DataFusionResult};
use datafusion::execution::SendableRecordBatchStream;
use futures::StreamExt;
use numpack_engine::Interrupt;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::mpsc::{self, Receiver};
use tokio::task::JoinHandle;

use crate::error::{Result, SqlError};
use crate::runtime::Threads;

/// How many batches are computed ahead of who reads them.
const AHEAD: usize = 4;

/// The rows of a query, batch by batch, for a thread that may block.
///
/// Threads of the connection compute a few batches ahead. Dropping this stops them.
#[derive(Debug)]
pub struct Rows {
    schema: SchemaRef,
    running: Option<Running>,
    threads: Arc<Threads>,
    waiting: Waiting,
}

#[derive(Debug)]
struct Running {
    process: u32,
    batches: Receiver<DataFusionResult<RecordBatch>>,
    task: JoinHandle<()>,
}

/// What a thread asks while it waits.
#[derive(Clone, Default)]
pub(crate) struct Waiting(pub(crate) Option<Interrupt>);

impl std::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "asks" } else { "waits" })
    }
}

impl Rows {
    /// Starts a stream on the threads of a connection.
    pub(crate) fn start(
        mut stream: SendableRecordBatchStream,
        threads: Arc<Threads>,
        waiting: Waiting,
    ) -> Result<Self> {
        let schema = stream.schema();
        let (sender, batches) = mpsc::channel(AHEAD);
        let task = threads.runtime()?.spawn(async move {
            while let Some(batch) = stream.next().await {
                // Nobody reads any more.
                if sender.send(batch).await.is_err() {
                    break;
                }
            }
        });
        Ok(Self {
            schema,
            running: Some(Running {
                process: std::process::id(),
                batches,
                task,
            }),
            threads,
            waiting,
        })
    }

    /// The columns.
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn stop(&mut self) {
        // In a forked child the task and its channel belong to threads that do not exist, and may be
        // locked for ever.
        if let Some(running) = self.running.take()
            && running.process != std::process::id()
        {
            std::mem::forget(running);
        }
    }

    fn receive(&mut self) -> Result<Option<RecordBatch>> {
        let Some(running) = &mut self.running else {
            return Ok(None);
        };
        if running.process != std::process::id() {
            return Err(SqlError::OtherProcess);
        }
        let received = match running.batches.try_recv() {
            Ok(batch) => Some(batch),
            Err(TryRecvError::Disconnected) => None,
            Err(TryRecvError::Empty) => {
                let next = running.batches.recv();
                self.threads.wait(next, self.waiting.0.as_ref())?
            }
        };
        if let Some(batch) = received {
            return Ok(Some(batch?));
        }
        // The end, unless the task died before it came there.
        match self.threads.wait(&mut running.task, None)? {
            Ok(()) => Ok(None),
            Err(died) => Err(DataFusionError::ExecutionJoin(Box::new(died)).into()),
        }
    }
}

impl Iterator for Rows {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        let received = self.receive();
        if !matches!(received, Ok(Some(_))) {
            self.stop();
        }
        received.transpose()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Drop for Rows {
    fn drop(&mut self) {
        self.stop();
    }
}
