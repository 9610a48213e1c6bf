use arrow::compute::interleave_record_batch;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::common::{Result as DataFusionResult, internal_err};
use datafusion::execution::memory_pool::MemoryReservation;

/// Batches after which those are let go that hold no row that is wanted.
const TIDY: usize = 64;

/// Batches of rows, as long as some of their rows may be wanted.
#[derive(Debug)]
pub(super) struct Kept {
    schema: SchemaRef,
    batches: Vec<Numbered>,
    /// The number of the row that comes next.
    next: u64,
    memory: MemoryReservation,
}

/// A batch and the numbers of its rows, which ascend.
#[derive(Debug)]
struct Numbered {
    numbers: Numbers,
    batch: RecordBatch,
}

#[derive(Debug)]
enum Numbers {
    /// From this one on.
    From(u64),
    Each(Vec<u64>),
}

impl Numbered {
    fn first(&self) -> u64 {
        match &self.numbers {
            Numbers::From(first) => *first,
            Numbers::Each(rows) => rows.first().copied().unwrap_or(u64::MAX),
        }
    }

    fn place(&self, row: u64) -> Option<usize> {
        match &self.numbers {
            Numbers::From(first) => usize::try_from(row.checked_sub(*first)?).ok(),
            Numbers::Each(rows) => rows.binary_search(&row).ok(),
        }
    }

    fn memory(&self) -> usize {
        let numbers = match &self.numbers {
            Numbers::From(_) => 0,
            Numbers::Each(rows) => size_of_val(rows.as_slice()),
        };
        self.batch.get_array_memory_size() + numbers
    }
}

impl Kept {
    pub(super) fn new(schema: SchemaRef, memory: MemoryReservation) -> Self {
        Self {
            schema,
            batches: Vec::new(),
            next: 0,
            memory,
        }
    }

    /// The number of the first row of the next batch.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Adds a batch. Where memory runs out, rows that are `wanted` by then are copied out of their
    /// batches.
    ///
    /// # Errors
    /// More memory than is allowed.
    pub(super) fn push(
        &mut self,
        batch: RecordBatch,
        wanted: impl FnOnce() -> Vec<u64>,
    ) -> DataFusionResult<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let first = self.next;
        self.next += batch.num_rows() as u64;
        let added = Numbered {
            numbers: Numbers::From(first),
            batch,
        };
        let refused = self.memory.try_grow(added.memory()).is_err();
        self.batches.push(added);
        if refused {
            self.copy(sorted(wanted()))
        } else if self.batches.len().is_multiple_of(TIDY) {
            self.tidy(&sorted(wanted()))
        } else {
            Ok(())
        }
    }

    /// Lets go of batches without a row that is wanted.
    fn tidy(&mut self, wanted: &[u64]) -> DataFusionResult<()> {
        self.batches.retain(|kept| {
            let next = wanted.partition_point(|row| *row < kept.first());
            let rows = wanted[next..].iter();
            match &kept.numbers {
                Numbers::From(first) => {
                    let end = first + kept.batch.num_rows() as u64;
                    rows.clone().next().is_some_and(|row| *row < end)
                }
                Numbers::Each(_) => rows
                    .take(kept.batch.num_rows())
                    .any(|row| kept.place(*row).is_some()),
            }
        });
        self.memory
            .try_resize(self.batches.iter().map(Numbered::memory).sum())
    }

    /// Keeps the rows that are wanted, and nothing else.
    fn copy(&mut self, wanted: Vec<u64>) -> DataFusionResult<()> {
        let batch = self.rows(&wanted)?;
        self.batches.clear();
        if !wanted.is_empty() {
            self.batches.push(Numbered {
                numbers: Numbers::Each(wanted),
                batch,
            });
        }
        self.memory
            .try_resize(self.batches.iter().map(Numbered::memory).sum())
    }

    /// These rows, which have been wanted ever since they came.
    pub(super) fn rows(&self, rows: &[u64]) -> DataFusionResult<RecordBatch> {
        if rows.is_empty() {
            return Ok(RecordBatch::new_empty(SchemaRef::clone(&self.schema)));
        }
        let mut places = Vec::with_capacity(rows.len());
        for &row in rows {
            let at = self.batches.partition_point(|kept| kept.first() <= row);
            let place = at
                .checked_sub(1)
                .and_then(|at| Some((at, self.batches[at].place(row)?)));
            let Some(place) = place else {
                return internal_err!("row {row} is wanted and was let go");
            };
            places.push(place);
        }
        let batches: Vec<&RecordBatch> = self.batches.iter().map(|kept| &kept.batch).collect();
        Ok(interleave_record_batch(&batches, &places)?)
    }
}

fn sorted(mut rows: Vec<u64>) -> Vec<u64> {
    rows.sort_unstable();
    rows.dedup();
    rows
}
