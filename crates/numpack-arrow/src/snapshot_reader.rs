use arrow_array::{ArrayRef, RecordBatch, RecordBatchReader};
use arrow_schema::{ArrowError, SchemaRef};
use numpack_engine::{ArraySnapshot, Snapshot};

use crate::batch::{batch_of, columns, common_rows, record_batch, schema_of};
use crate::datatype::ArrowOptions;
use crate::error::Result;
use crate::reader::ArrayReader;

/// Batches shorter than this on average cost readers more than one gather costs us.
const SHORT_BATCH: u64 = 4096;

/// The arrays of one snapshot as a stream of record batches, for everything that takes a
/// [`RecordBatchReader`].
///
/// There is one zero-copy batch for every stretch of rows without a deleted row in any of the
/// arrays, made when it is asked for. Where such stretches are shorter than 4,096 rows on average,
/// the rows are gathered into one batch instead, unless
/// [`zero_copy_only`](ArrowOptions::zero_copy_only) rules that out. No rows are no batches.
///
/// ```
/// use arrow_array::RecordBatchReader;
/// use numpack_arrow::{ArrowOptions, SnapshotReader};
/// # use numpack_engine::{Options, Store};
/// # use numpack_format::{ArrayMeta, DType};
/// # let dir = std::env::temp_dir().join(format!("numpack-reader-doc-{}", std::process::id()));
/// # let store = Store::open(&dir, &Options::default())?;
/// # let mut change = store.begin()?;
/// # let meta = ArrayMeta::new(DType::UInt8, &[3])?;
/// # change.put("label", &meta, &mut [1u8, 2, 3].as_slice())?;
/// # change.commit()?;
///
/// let reader = SnapshotReader::new(&store.snapshot_all()?, &ArrowOptions::default())?;
/// assert_eq!(reader.schema().field(0).name(), "label");
/// for batch in reader {
///     assert_eq!(batch?.num_rows(), 3);
/// }
/// # store.close()?;
/// # std::fs::remove_dir_all(&dir)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct SnapshotReader {
    schema: SchemaRef,
    rest: Rest,
}

/// What has not been read.
#[derive(Debug)]
enum Rest {
    /// Rows to be gathered into one batch.
    Whole(Vec<ArraySnapshot>, ArrowOptions),
    /// One batch for each stretch.
    Stretches(Vec<ArrayReader>),
}

impl SnapshotReader {
    /// A reader of all arrays that have rows, in the snapshot's order; 0-d arrays are left out.
    ///
    /// # Errors
    /// As [`of`](Self::of).
    pub fn new(snapshot: &Snapshot, options: &ArrowOptions) -> Result<Self> {
        Self::of(&columns(snapshot), options)
    }

    /// A reader of arrays that the caller has taken from one snapshot. All of them must have rows.
    ///
    /// # Errors
    /// [`Error::UnequalRows`](crate::Error::UnequalRows) and
    /// [`Error::TooWide`](crate::Error::TooWide). Reading reports what
    /// [`array()`](crate::array()) does.
    pub fn of(columns: &[&ArraySnapshot], options: &ArrowOptions) -> Result<Self> {
        let rows = common_rows(columns)?;
        let schema = schema_of(columns, options)?;
        let readers = || -> Result<Vec<ArrayReader>> {
            let reader = |array: &&ArraySnapshot| ArrayReader::new(array, options);
            columns.iter().map(reader).collect()
        };
        let short = !options.zero_copy_only && {
            let stretches = count_stretches(&mut readers()?);
            stretches > 1 && rows / stretches < SHORT_BATCH
        };
        let rest = if short {
            Rest::Whole(
                columns.iter().map(|&array| array.clone()).collect(),
                *options,
            )
        } else {
            Rest::Stretches(readers()?)
        };
        Ok(Self { schema, rest })
    }

    fn read(&mut self) -> Result<Option<RecordBatch>> {
        match &mut self.rest {
            Rest::Whole(arrays, options) => {
                let arrays = std::mem::take(arrays);
                if arrays.is_empty() {
                    return Ok(None);
                }
                let columns: Vec<&ArraySnapshot> = arrays.iter().collect();
                batch_of(&columns, *options).map(Some)
            }
            Rest::Stretches(readers) => {
                let Some(rows) = stretch(readers) else {
                    return Ok(None);
                };
                let arrays: Result<Vec<ArrayRef>> =
                    readers.iter_mut().map(|reader| reader.read(rows)).collect();
                record_batch(&self.schema, arrays?, rows).map(Some)
            }
        }
    }
}

impl Iterator for SnapshotReader {
    type Item = std::result::Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.read() {
            Ok(batch) => batch.map(Ok),
            Err(error) => {
                // The columns may be out of step: nothing comes after an error.
                self.rest = Rest::Stretches(Vec::new());
                Some(Err(error.into()))
            }
        }
    }
}

impl RecordBatchReader for SnapshotReader {
    fn schema(&self) -> SchemaRef {
        SchemaRef::clone(&self.schema)
    }
}

/// Rows that all readers can give next without a copy; None at the end.
fn stretch(readers: &[ArrayReader]) -> Option<u64> {
    let rows = readers.iter().map(ArrayReader::run_left).min();
    rows.filter(|&rows| rows > 0)
}

fn count_stretches(readers: &mut [ArrayReader]) -> u64 {
    let mut count = 0;
    while let Some(rows) = stretch(readers) {
        count += 1;
        for reader in &mut *readers {
            reader.skip(rows);
        }
    }
    count
}
