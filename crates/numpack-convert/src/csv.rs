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
    if schema.fields().is_empty() {
        return Err(Error::content(
            path,
            "the file is empty: a csv file has a header line",
        ));
    }
    let schema = Arc::new(schema);
    let wide = wide(path, &schema)?;
    let fields = schema.fields().iter().zip(wide).map(|(field, wide)| {
        let of = match field.data_type() {
            // No value says what it is: as for NumPy, it is a float then.
            DataType::Null => DataType::Float64,
            _ => wide.unwrap_or_else(|| field.data_type().clone()),
        };
        Field::new(field.name(), of, true)
    });
    Ok(Arc::new(Schema::new(fields.collect::<Vec<_>>())))
}

/// The types of columns that integers beyond int64 let be taken for text: uint64 where it holds all
/// values, float64 where some have a fraction.
fn wide(path: &Path, schema: &SchemaRef) -> Result<Vec<Option<DataType>>> {
    let types = schema.fields().iter().enumerate().map(|(column, field)| {
        if *field.data_type() != DataType::Utf8 {
            return Ok(None);
        }
        let (mut whole, mut fits) = (true, true);
        for batch in batches(path, schema, &[column])? {
            let batch = batch.at(path)?;
            let values = batch.column(0).as_string::<i32>().iter().flatten();
            for value in values.filter(|value| !value.is_empty()) {
                if value.parse::<f64>().is_err() {
                    return Ok(None);
                }
                whole &= is_integer(value);
                fits &= value.parse::<u64>().is_ok();
            }
        }
        Ok(match (whole, fits) {
            (true, true) => Some(DataType::UInt64),
            (true, false) => None,
            (false, _) => Some(DataType::Float64),
        })
    });
    types.collect()
}

/// Whether a text is an integer, however long.
fn is_integer(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
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

/// Says where a column that is taken for text first holds something else than a number, or else an
/// integer beyond int64.
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
        let (mut first, mut long) = (None, None);
        for batch in batches(path, &Arc::new(Schema::new(plain)), &[column])? {
            let batch = batch.at(path)?;
            for value in batch.column(0).as_string::<i32>() {
                let value = value.unwrap_or_default();
                if first.is_none() && !value.is_empty() && value.parse::<f64>().is_err() {
                    first = Some((line, value.to_owned()));
                }
                if long.is_none() && is_integer(value) && value.parse::<i64>().is_err() {
                    long = Some((line, value.to_owned()));
                }
                line += 1;
            }
        }
        let rows = line - 2;
        let (name, of) = (field.name(), field.data_type());
        let reason = match (first, long) {
            (Some((line, value)), _) => format!(
                "line {line}, column \"{name}\": \"{value}\" is not a number ({of} column of {rows} rows)"
            ),
            (None, Some((line, value))) => format!(
                "line {line}, column \"{name}\": {value} does not fit int64, nor do all integers of the \
                 column fit uint64 ({rows} rows)"
            ),
            (None, None) => {
                format!("column \"{name}\": {of} is no dtype of a store ({rows} rows)")
            }
        };
        Ok(Error::content(path, reason))
    };
    find().unwrap_or_else(|error| error)
}
