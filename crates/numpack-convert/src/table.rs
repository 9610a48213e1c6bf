//! Files of rows with columns: csv, Parquet and Arrow IPC. A first pass counts rows and nulls, then
//! each column is read by a pass of its own, so that no more than a batch is ever in memory.
use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::sync::Arc;

use arrow_array::{Array, RecordBatch};
use arrow_ipc::reader::{FileReader, StreamReader};
use arrow_schema::{ArrowError, DataType, Field, SchemaRef};
use numpack::arrow::ArrowRows;
use numpack::{ArrayMeta, RowSource};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::csv;
use crate::error::{At, Error, Result};
use crate::format::Format;
use crate::import::Target;
use crate::progress::Meter;

type Batches = Box<dyn Iterator<Item = std::result::Result<RecordBatch, ArrowError>>>;

/// A file of rows.
struct Table<'a> {
    path: &'a Path,
    format: Format,
    schema: SchemaRef,
}

/// Takes over the columns of a file, or those that are named.
pub(crate) fn import(path: &Path, format: Format, target: &mut Target<'_, '_>) -> Result<()> {
    let table = Table::open(path, format)?;
    let names: Vec<String> = table
        .schema
        .fields()
        .iter()
        .map(|f| f.name().clone())
        .collect();
    let columns = target.chosen(path, &names)?;
    let rows = table.survey(&columns)?;
    for column in columns {
        let field = table.schema.field(column);
        let meta = table.meta(column, rows)?;
        let name = target.claim(field.name())?;
        target.meter.expect(meta.byte_len());
        let mut values = Values {
            path,
            field,
            batches: table.batches(&[column])?,
            meter: &mut target.meter,
        };
        target.change.put(&name, &meta, &mut values)?;
        target.took(name, &meta);
    }
    Ok(())
}

impl<'a> Table<'a> {
    fn open(path: &'a Path, format: Format) -> Result<Self> {
        let file = || File::open(path).at(path);
        let schema = match format {
            Format::Csv => csv::schema(path)?,
            Format::Parquet => {
                let builder = ParquetRecordBatchReaderBuilder::try_new(file()?).at(path)?;
                Arc::clone(builder.schema())
            }
            Format::Ipc => FileReader::try_new(BufReader::new(file()?), None)
                .at(path)?
                .schema(),
            Format::IpcStream | Format::Npy | Format::Npz => {
                StreamReader::try_new(BufReader::new(file()?), None)
                    .at(path)?
                    .schema()
            }
        };
        Ok(Self {
            path,
            format,
            schema,
        })
    }

    /// The rows of some columns, a batch at a time.
    fn batches(&self, columns: &[usize]) -> Result<Batches> {
        let path = self.path;
        let file = || File::open(path).at(path);
        Ok(match self.format {
            Format::Csv => Box::new(csv::batches(path, &self.schema, columns)?),
            Format::Parquet => {
                let builder = ParquetRecordBatchReaderBuilder::try_new(file()?).at(path)?;
                let roots =
                    ProjectionMask::roots(builder.parquet_schema(), columns.iter().copied());
                Box::new(builder.with_projection(roots).build().at(path)?)
            }
            Format::Ipc => {
                let file = BufReader::new(file()?);
                Box::new(FileReader::try_new(file, Some(columns.to_vec())).at(path)?)
            }
            Format::IpcStream | Format::Npy | Format::Npz => {
                let file = BufReader::new(file()?);
                Box::new(StreamReader::try_new(file, Some(columns.to_vec())).at(path)?)
            }
        })
    }

    /// Counts the rows, and refuses types and nulls that no array can hold before anything is read
    /// twice.
    fn survey(&self, columns: &[usize]) -> Result<u64> {
        let mut sorted = columns.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        let text =
            |field: &Field| !field.data_type().is_numeric() && !field.data_type().is_nested();
        if self.format == Format::Csv {
            for &column in &sorted {
                let field = self.schema.field(column);
                if text(field) && *field.data_type() != DataType::Boolean {
                    return Err(csv::text(self.path, &self.schema, column));
                }
            }
        }
        let mut rows = 0;
        let mut nulls = vec![0; sorted.len()];
        for batch in self.batches(&sorted)? {
            let batch = batch.at(self.path)?;
            rows += batch.num_rows() as u64;
            for (count, column) in nulls.iter_mut().zip(batch.columns()) {
                *count += column.logical_null_count() as u64;
            }
        }
        for (&column, nulls) in sorted.iter().zip(nulls) {
            self.meta(column, rows)?;
            let field = self.schema.field(column);
            if nulls > 0 {
                return Err(Error::Nulls {
                    path: self.path.to_path_buf(),
                    column: field.name().clone(),
                    dtype: field.data_type().to_string(),
                    count: nulls,
                });
            }
        }
        Ok(rows)
    }

    /// What so many rows of a column are in a store.
    fn meta(&self, column: usize, rows: u64) -> Result<ArrayMeta> {
        let field = self.schema.field(column);
        let empty = ArrowRows::new(field, &[]).map_err(|_| Error::Unsupported {
            path: self.path.to_path_buf(),
            column: field.name().clone(),
            dtype: field.data_type().to_string(),
            count: rows,
        })?;
        let mut dims = empty.meta().shape.dims().to_vec();
        if let Some(first) = dims.first_mut() {
            *first = rows;
        }
        Ok(ArrayMeta::new(empty.meta().dtype, &dims).map_err(numpack::Error::from)?)
    }
}

/// The values of one column.
struct Values<'a, 'm> {
    path: &'a Path,
    field: &'a Field,
    batches: Batches,
    meter: &'a mut Meter<'m>,
}

impl RowSource for Values<'_, '_> {
    fn write_to(
        &mut self,
        sink: &mut dyn FnMut(&[u8]) -> numpack::Result<()>,
    ) -> numpack::Result<()> {
        let path = self.path.display();
        let failed = |error: &dyn std::fmt::Display| {
            numpack::Error::InvalidArgument(format!("\"{path}\": {error}"))
        };
        for batch in &mut self.batches {
            let batch = batch.map_err(|error| failed(&error))?;
            let chunk = Arc::clone(batch.column(0));
            let rows = ArrowRows::new(self.field, &[chunk]).map_err(|error| failed(&error))?;
            let bytes = rows.to_bytes()?;
            sink(&bytes)?;
            self.meter.add(bytes.len());
        }
        Ok(())
    }
}
