//! From a store into one file, which appears as a whole.
use std::io::{BufWriter, Write};
use std::path::Path;

use arrow_array::RecordBatch;
use arrow_ipc::writer::{FileWriter, StreamWriter};
use arrow_schema::SchemaRef;
use numpack::arrow::{ArrayReader, ArrowOptions, schema_of};
use numpack::{ArraySnapshot, Store};
use parquet::arrow::ArrowWriter;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::error::{At, Error, Result};
use crate::format::Format;
use crate::npy::{Head, PIECE};
use crate::output::Output;
use crate::progress::{Meter, Progress};

/// What to write, and how.
#[derive(Debug, Clone, Default)]
pub struct ExportOptions {
    /// The file's format; without it, its extension tells.
    pub format: Option<Format>,
    /// The arrays to write, in this order; without it, all.
    pub arrays: Option<Vec<String>>,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    /// The arrays, in their order in the file.
    pub arrays: Vec<String>,
    /// Bytes of rows.
    pub bytes: u64,
}

/// Writes arrays of one instant into a file, all of them or none, and tells `tell` how far it is.
///
/// Arrays that become columns of one table (csv, Parquet, Arrow) must have equally many rows.
///
/// # Errors
/// Names that the store does not have, several arrays for an npy file, arrays of unequal length for
/// a table, rows of several values for csv, and failed writes; the target is as it was then.
pub fn export(
    store: &Store,
    file: &Path,
    options: &ExportOptions,
    tell: &mut dyn FnMut(Progress),
) -> Result<Exported> {
    let format = options.format.map_or_else(|| Format::of(file), Ok)?;
    let snapshot = match &options.arrays {
        Some(names) => store.snapshot(&names.iter().map(String::as_str).collect::<Vec<_>>())?,
        None => store.snapshot_all()?,
    };
    let arrays: Vec<&ArraySnapshot> = snapshot.arrays().iter().collect();
    let bytes = arrays.iter().map(|array| array.byte_len() as u64).sum();
    let mut meter = Meter::new(tell);
    meter.expect(bytes);
    match (format, arrays.as_slice()) {
        (_, []) => return Err(Error::Request("there are no arrays to export".to_owned())),
        (Format::Npy, [array]) => npy(array, file, &mut meter)?,
        (Format::Npy, several) => {
            return Err(Error::Request(format!(
                "an npy file holds one array, and {} were asked for; npz holds several",
                several.len()
            )));
        }
        (Format::Npz, arrays) => npz(arrays, file, &mut meter)?,
        (format, arrays) => table(arrays, format, file, &mut meter)?,
    }
    Ok(Exported {
        arrays: arrays
            .iter()
            .map(|array| array.name().to_string())
            .collect(),
        bytes,
    })
}

fn npy(array: &ArraySnapshot, path: &Path, meter: &mut Meter<'_>) -> Result<()> {
    let mut output = Output::create(path)?;
    write_npy(array, output.file(), path, meter)?;
    output.finish()
}

fn npz(arrays: &[&ArraySnapshot], path: &Path, meter: &mut Meter<'_>) -> Result<()> {
    let mut output = Output::create(path)?;
    let mut archive = ZipWriter::new(BufWriter::new(output.file()));
    for array in arrays {
        // Sizes are written before the values are known to be short, so every entry may be large.
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Deflated)
            .large_file(true);
        archive
            .start_file(format!("{}.npy", array.name()), options)
            .at(path)?;
        write_npy(array, &mut archive, path, meter)?;
    }
    archive.finish().at(path)?.flush().at(path)?;
    output.finish()
}

fn write_npy(
    array: &ArraySnapshot,
    out: &mut dyn Write,
    path: &Path,
    meter: &mut Meter<'_>,
) -> Result<()> {
    out.write_all(&Head::bytes(array.dtype(), &array.shape()))
        .at(path)?;
    let (rows, row_bytes) = (array.rows(), array.row_bytes());
    if array.ndim() == 0 {
        let mut value = vec![0; array.byte_len()];
        array.read_all(&mut value)?;
        meter.add(value.len());
        return out.write_all(&value).at(path);
    }
    if row_bytes == 0 {
        return Ok(());
    }
    let step = (PIECE / row_bytes).max(1) as u64;
    let mut piece = Vec::new();
    let mut first = 0;
    while first < rows {
        let end = rows.min(first + step);
        piece.resize(usize::try_from(end - first).unwrap_or(0) * row_bytes, 0);
        array.read_range(first..end, &mut piece)?;
        out.write_all(&piece).at(path)?;
        meter.add(piece.len());
        first = end;
    }
    Ok(())
}

fn table(
    arrays: &[&ArraySnapshot],
    format: Format,
    path: &Path,
    meter: &mut Meter<'_>,
) -> Result<()> {
    // Booleans are booleans for every reader, and `true` and `false` in csv.
    let options = ArrowOptions {
        bool8: false,
        ..ArrowOptions::default()
    };
    if let Some(scalar) = arrays.iter().find(|array| array.ndim() == 0) {
        return Err(Error::Request(format!(
            "array \"{}\" is 0-d: it is no column of a table",
            scalar.name()
        )));
    }
    let rows = arrays[0].rows();
    if let Some(other) = arrays.iter().find(|array| array.rows() != rows) {
        return Err(Error::Request(format!(
            "arrays of unequal length are not one table: \"{}\" has {rows} rows, \"{}\" {}",
            arrays[0].name(),
            other.name(),
            other.rows()
        )));
    }
    let schema = schema_of(arrays, &options)?;
    let readers = arrays.iter().map(|array| ArrayReader::new(array, &options));
    let mut readers = readers.collect::<numpack::arrow::Result<Vec<_>>>()?;
    let widest = arrays
        .iter()
        .map(|array| array.row_bytes())
        .max()
        .unwrap_or(1);
    let step = (PIECE / widest.max(1)).clamp(1, 65_536) as u64;
    let mut left = rows;
    let columns = SchemaRef::clone(&schema);
    let batches = std::iter::from_fn(|| {
        if left == 0 {
            return None;
        }
        let count = step.min(left);
        left -= count;
        let columns_of = |readers: &mut Vec<ArrayReader>| -> Result<RecordBatch> {
            let arrays = readers.iter_mut().map(|reader| reader.read(count));
            let arrays = arrays.collect::<numpack::arrow::Result<Vec<_>>>()?;
            RecordBatch::try_new(SchemaRef::clone(&columns), arrays).at(path)
        };
        let batch = columns_of(&mut readers);
        let bytes: usize = arrays.iter().map(|array| array.row_bytes()).sum();
        meter.add(bytes * usize::try_from(count).unwrap_or(0));
        Some(batch)
    });
    write_batches(&schema, batches, format, path)
}

/// Writes rows into a file, which appears when all are there.
///
/// # Errors
/// The first error of `batches`, a format that holds no tables, types that the format cannot hold,
/// and failed writes.
pub fn write_batches(
    schema: &SchemaRef,
    batches: impl Iterator<Item = Result<RecordBatch>>,
    format: Format,
    path: &Path,
) -> Result<()> {
    let mut output = Output::create(path)?;
    let file = BufWriter::new(output.file());
    match format {
        Format::Csv => {
            if let Some(field) = schema.fields().iter().find(|f| f.data_type().is_nested()) {
                return Err(Error::Request(format!(
                    "column \"{}\" is {}: csv holds one value a cell; parquet and arrow hold lists",
                    field.name(),
                    field.data_type()
                )));
            }
            let mut writer = arrow_csv::Writer::new(file);
            // The header is there without rows, too.
            writer
                .write(&RecordBatch::new_empty(SchemaRef::clone(schema)))
                .at(path)?;
            for batch in batches {
                writer.write(&batch?).at(path)?;
            }
            writer.into_inner().flush().at(path)?;
        }
        Format::Parquet => {
            let mut writer = ArrowWriter::try_new(file, SchemaRef::clone(schema), None).at(path)?;
            for batch in batches {
                writer.write(&batch?).at(path)?;
                // A row group is held in memory until it is full.
                if writer.in_progress_size() > 16 * PIECE {
                    writer.flush().at(path)?;
                }
            }
            writer.into_inner().at(path)?.flush().at(path)?;
        }
        Format::Ipc => {
            let mut writer = FileWriter::try_new(file, schema).at(path)?;
            for batch in batches {
                writer.write(&batch?).at(path)?;
            }
            writer.into_inner().at(path)?.flush().at(path)?;
        }
        Format::IpcStream => {
            let mut writer = StreamWriter::try_new(file, schema).at(path)?;
            for batch in batches {
                writer.write(&batch?).at(path)?;
            }
            writer.into_inner().at(path)?.flush().at(path)?;
        }
        Format::Npy | Format::Npz => {
            return Err(Error::Request(format!(
                "{} holds arrays, not the rows of a table",
                format.name()
            )));
        }
    }
    output.finish()
}
