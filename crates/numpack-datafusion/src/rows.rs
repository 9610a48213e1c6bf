use std::future::Future;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::execution::SendableRecordBatchStream;
use futures::StreamExt;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::mpsc::{self, Receiver};
use tokio::task::JoinHandle;

use crate::connection::Connection;
use crate::error::{Result, SqlError, died};
use crate::runtime::{Asking, Pool, Threads, may_block};

/// How many batches are computed ahead of who reads them.
const AHEAD: usize = 4;

/// The rows of a query, batch by batch, for a thread that may block.
///
/// Threads of the connection compute a few batches ahead. Dropping this stops them.
#[derive(Debug)]
pub struct Rows {
    schema: SchemaRef,
    running: Option<Running>,
    asking: Asking,
}

#[derive(Debug)]
struct Running {
    batches: Receiver<Result<RecordBatch>>,
    task: JoinHandle<()>,
    pool: Arc<Pool>,
    threads: Arc<Threads>,
}

impl Rows {
    /// Starts a stream on the threads of a connection.
    pub(crate) fn start(
        schema: SchemaRef,
        stream: impl Future<Output = Result<SendableRecordBatchStream>> + Send + 'static,
        connection: &Connection,
    ) -> Result<Self> {
        may_block()?;
        let threads = Arc::clone(connection.threads());
        let pool = threads.pool()?;
        let (sender, batches) = mpsc::channel(AHEAD);
        let task = pool.spawn(async move {
            let mut stream = match stream.await {
                Ok(stream) => stream,
                Err(error) => {
                    let _nobody_reads = sender.send(Err(error)).await;
                    return;
                }
            };
            while let Some(batch) = stream.next().await {
                // Nobody reads any more.
                if sender.send(batch.map_err(SqlError::from)).await.is_err() {
                    break;
                }
            }
        });
        Ok(Self {
            schema,
            running: Some(Running {
                batches,
                task,
                pool,
                threads,
            }),
            asking: connection.asking(),
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
            && !running.pool.is_ours()
        {
            std::mem::forget(running);
        }
    }

    fn receive(&mut self) -> Result<Option<RecordBatch>> {
        let Some(running) = &mut self.running else {
            return Ok(None);
        };
        if !running.pool.is_ours() {
            return Err(SqlError::OtherProcess);
        }
        // Batches may come faster than anybody has to wait for them.
        self.asking.ask()?;
        let received = match running.batches.try_recv() {
            Ok(batch) => Some(batch),
            Err(TryRecvError::Disconnected) => None,
            Err(TryRecvError::Empty) => self.asking.wait(running.batches.recv())?,
        };
        if let Some(batch) = received {
            return batch.map(Some);
        }
        // The end, unless the task died before it came there.
        match self.asking.wait(&mut running.task)? {
            Ok(()) => Ok(None),
            Err(error) => Err(died(error).into()),
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
        if !self.task.is_finished() {
            self.task.abort();
            self.threads.retire(&self.pool);
        }
    }
}

impl Drop for Rows {
    fn drop(&mut self) {
        self.stop();
    }
}
