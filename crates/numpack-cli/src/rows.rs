//! The rows of a query as a table, csv, JSON or Parquet.
use std::cell::Cell;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, RecordBatch, StringArray};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_json::WriterBuilder;
use arrow_json::writer::JsonArray;
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};
use clap::ValueEnum;
use numpack::datafusion::{Rows, SqlError};
use numpack_convert::Output;

use crate::failure::Failure;
use crate::output::{self, Lean, Style};

/// Rows that a table shows. Its widths are known when all are there.
const TABLE_ROWS: usize = 1000;
/// A vector of more values shows this many, and how many there are.
const WHOLE: usize = 4;
const SHOWN: usize = 2;

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Columns for people, vectors and long results shortened
    Table,
    /// A header and a line a row; an empty line between statements
    Csv,
    /// One array of objects a statement, each on a line of its own
    Json,
    /// Apache Parquet, with -o only
    Parquet,
}

/// Writes rows to `out`, and returns how many.
pub(crate) fn write(
    rows: Rows,
    format: Format,
    out: &mut dyn Write,
    style: Style,
) -> Result<usize, Failure> {
    match format {
        Format::Table => table(rows, out, style),
        Format::Csv => csv(rows, out),
        Format::Json => json(rows, out),
        Format::Parquet => Err(Failure::Usage(
            "parquet is no text (hint: -o FILE names the file to write)".to_owned(),
        )),
    }
}

/// Writes rows into a file, which appears when all are there.
pub(crate) fn write_file(rows: Rows, format: Format, path: &Path) -> Result<usize, Failure> {
    if format == Format::Parquet {
        return parquet(rows, path);
    }
    let mut output = Output::create(path)?;
    let mut file = BufWriter::new(output.file());
    let count = write(rows, format, &mut file, Style::default())?;
    file.flush()?;
    drop(file);
    output.finish()?;
    Ok(count)
}

fn table(rows: Rows, out: &mut dyn Write, style: Style) -> Result<usize, Failure> {
    let schema = rows.schema();
    let plans = explains(&schema);
    let (mut lines, mut count) = (Vec::new(), 0);
    let mut more = false;
    for batch in rows {
        let batch = batch?;
        let room = TABLE_ROWS - count;
        more = batch.num_rows() > room;
        for row in 0..batch.num_rows().min(room) {
            let cells = batch.columns().iter().map(|column| cell(column, row));
            let cells = cells.collect::<Result<Vec<_>, _>>()?;
            if plans {
                lines.extend(steps(cells));
            } else {
                lines.push(cells);
            }
            count += 1;
        }
        if more {
            break;
        }
    }
    if schema.fields().is_empty() {
        return Ok(0);
    }
    let columns: Vec<(&str, Lean)> = schema
        .fields()
        .iter()
        .map(|field| (field.name().as_str(), lean(field.data_type())))
        .collect();
    output::table(out, style, &columns, lines)?;
    if more {
        writeln!(
            out,
            "(the first {TABLE_ROWS} rows; --format csv writes all of them)"
        )?;
    }
    Ok(count)
}

/// Whether these are the columns of EXPLAIN, whose texts have many lines.
fn explains(schema: &Schema) -> bool {
    let names = schema.fields().iter().map(|field| field.name().as_str());
    names.eq(["plan_type", "plan"])
}

/// A row with a plan as a row for each line of it.
fn steps(cells: Vec<String>) -> Vec<Vec<String>> {
    let [kind, plan] = cells.as_slice() else {
        return vec![cells];
    };
    let kinds = std::iter::once(kind.clone()).chain(std::iter::repeat(String::new()));
    let steps = kinds.zip(plan.lines());
    steps
        .map(|(kind, step)| vec![kind, step.to_owned()])
        .collect()
}

fn lean(data_type: &DataType) -> Lean {
    if data_type.is_numeric() {
        Lean::Right
    } else {
        Lean::Left
    }
}

/// A value for people: nulls are named, vectors shortened.
fn cell(column: &ArrayRef, row: usize) -> Result<String, ArrowError> {
    if column.is_null(row) || *column.data_type() == DataType::Null {
        return Ok("NULL".to_owned());
    }
    let values = match column.data_type() {
        DataType::FixedSizeList(..) => column.as_fixed_size_list().value(row),
        DataType::List(_) => column.as_list::<i32>().value(row),
        DataType::LargeList(_) => column.as_list::<i64>().value(row),
        _ => return text(column, row),
    };
    let whole = values.len() <= WHOLE;
    let shown = if whole { values.len() } else { SHOWN };
    let cells = (0..shown).map(|at| cell(&values, at));
    let mut cells = cells.collect::<Result<Vec<_>, _>>()?;
    if !whole {
        cells.push(format!("... {} values", values.len()));
    }
    Ok(format!("[{}]", cells.join(", ")))
}

fn text(column: &ArrayRef, row: usize) -> Result<String, ArrowError> {
    let options = FormatOptions::default().with_display_error(false);
    let formatter = ArrayFormatter::try_new(column, &options)?;
    formatter.value(row).try_to_string()
}

/// Remembers why a write failed: the csv writer keeps no more than the text.
struct Noting<'a> {
    out: &'a mut dyn Write,
    failed: Option<io::ErrorKind>,
}

impl Noting<'_> {
    fn note<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &result {
            self.failed = Some(error.kind());
        }
        result
    }
}

impl Write for Noting<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes);
        self.note(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.out.flush();
        self.note(flushed)
    }
}

fn csv(rows: Rows, out: &mut dyn Write) -> Result<usize, Failure> {
    let mut out = Noting { out, failed: None };
    let written = csv_into(rows, &mut out);
    match out.failed {
        Some(kind) if written.is_err() && kind == io::ErrorKind::BrokenPipe => {
            Err(Failure::Output(kind.into()))
        }
        _ => written,
    }
}

fn csv_into(rows: Rows, out: &mut Noting<'_>) -> Result<usize, Failure> {
    let given = rows.schema();
    let fields = given.fields().iter().map(|field| {
        if field.data_type().is_nested() {
            Arc::new(Field::new(field.name(), DataType::Utf8, true))
        } else {
            Arc::clone(field)
        }
    });
    let schema = SchemaRef::new(Schema::new(fields.collect::<Vec<_>>()));
    let mut writer = arrow_csv::Writer::new(out);
    // The header is there without rows, too.
    writer.write(&RecordBatch::new_empty(Arc::clone(&schema)))?;
    let mut count = 0;
    for batch in rows {
        let batch = batch?;
        let columns = batch.columns().iter().map(flat);
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        count += batch.num_rows();
        if !columns.is_empty() {
            writer.write(&RecordBatch::try_new(Arc::clone(&schema), columns)?)?;
        }
    }
    Ok(count)
}

/// A column that csv can hold: vectors become text, `[1, 2]`.
fn flat(column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    if !column.data_type().is_nested() {
        return Ok(Arc::clone(column));
    }
    let texts = (0..column.len()).map(|row| {
        let given = column.is_valid(row).then(|| text(column, row));
        given.transpose()
    });
    let texts = texts.collect::<Result<StringArray, _>>()?;
    Ok(Arc::new(texts))
}

fn json(rows: Rows, out: &mut dyn Write) -> Result<usize, Failure> {
    let builder = WriterBuilder::new().with_explicit_nulls(true);
    let mut writer = builder.build::<_, JsonArray>(&mut *out);
    let mut count = 0;
    for batch in rows {
        let batch = batch?;
        count += batch.num_rows();
        writer.write(&batch)?;
    }
    writer.finish()?;
    drop(writer);
    writeln!(out)?;
    Ok(count)
}

fn parquet(rows: Rows, path: &Path) -> Result<usize, Failure> {
    let schema = rows.schema();
    let failed: Cell<Option<SqlError>> = Cell::new(None);
    let count = Cell::new(0);
    let batches = rows.map(|batch| match batch {
        Ok(batch) => {
            count.set(count.get() + batch.num_rows());
            Ok(batch)
        }
        Err(error) => {
            let text = error.to_string();
            failed.set(Some(error));
            Err(numpack_convert::Error::Request(text))
        }
    });
    let format = numpack_convert::Format::Parquet;
    let written = numpack_convert::write_batches(&schema, batches, format, path);
    if let Some(error) = failed.take() {
        return Err(error.into());
    }
    written?;
    Ok(count.get())
}
