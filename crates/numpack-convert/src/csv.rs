//! Csv files with a header line; types are those that all values of a column agree on.
use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::sync::Arc;

use arrow_array::RecordBatchReader;
use arrow_array::cast::AsArray;
use arrow_csv::ReaderBuilder;
use arrow_csv::reader::Format;
use arrow_schema::{DataType, Field, Schema, SchemaRef};

use crate::error::{At, Error, Result};

/// Rows that are read at a time.
const ROWS: usize = 8192;

/// The columns of a file, after a look at every line.
pub(crate) fn schema(path: &Path) -> Result<SchemaRef> {
    let file = BufReader::new(File::open(path).at(path)?);
    let format = Format::default().with_header(true);
    let (schema, _) = format.infer_schema(file, None).at(path)?;
    Ok(Arc::new(schema))
}

/// The rows of a file, of one column or of some.
pub(crate) fn batches(
    path: &Path,
    schema: &SchemaRef,
    columns: &[usize],
) -> Result<impl RecordBatchReader + use<>> {
    let file = File::open(path).at(path)?;
    ReaderBuilder::new(Arc::clone(schema))
        .with_header(true)
        .with_batch_size(ROWS)
        .with_projection(columns.to_vec())
        .build(file)
        .at(path)
}

/// Says where a column that is taken for text first holds something else than a number.
///
/// A line is counted as a row; values with line ends in quotes move those that follow.
pub(crate) fn text(path: &Path, schema: &Schema, column: usize) -> Error {
    let field = schema.field(column);
    let find = || -> Result<Error> {
        let plain: Vec<Field> = schema
            .fields()
            .iter()
            .map(|field| Field::new(field.name(), DataType::Utf8, true))
            .collect();
        let mut line = 2;
        let mut first = None;
        for batch in batches(path, &Arc::new(Schema::new(plain)), &[column])? {
            let batch = batch.at(path)?;
            for value in batch.column(0).as_string::<i32>() {
                let value = value.unwrap_or_default();
                if first.is_none() && !value.is_empty() && value.parse::<f64>().is_err() {
                    first = Some((line, value.to_owned()));
                }
                line += 1;
            }
        }
        let rows = line - 2;
        let name = field.name();
        Ok(match first {
            Some((line, value)) => Error::content(
                path,
                format!(
                    "line {line}, column \"{name}\": \"{value}\" is not a number ({} column of {rows} rows)",
                    field.data_type()
                ),
            ),
            None => Error::content(
                path,
                format!(
                    "column \"{name}\": {} is no dtype of a store ({rows} rows)",
                    field.data_type()
                ),
            ),
        })
    };
    find().unwrap_or_else(|error| error)
}
