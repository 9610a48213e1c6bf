//! `numpack info DIR [ARRAY]`: a store, or one array, described.
use std::io::{ErrorKind, Write};
use std::path::Path;

use numpack::ArrayInfo;
use serde::Serialize;

use super::ls::{Array, shape};
use crate::failure::Failure;
use crate::output;

#[derive(Serialize)]
struct StoreFacts {
    path: String,
    arrays: usize,
    /// The number of rows that all arrays share, which makes the store one SQL table.
    rows: Option<u64>,
    deleted: u64,
    size_bytes: u64,
    /// Records that the journal holds beyond the last checkpoint.
    journal_records: usize,
}

/// The store as a whole.
pub(super) fn store(dir: &Path, json: bool, out: &mut dyn Write) -> Result<(), Failure> {
    let infos = super::open(dir)?.infos()?;
    let facts = StoreFacts {
        path: dir.display().to_string(),
        arrays: infos.len(),
        rows: common_rows(&infos),
        deleted: infos.iter().map(|info| info.deleted).sum(),
        size_bytes: infos.iter().map(|info| info.size_bytes).sum(),
        journal_records: journal_records(dir)?,
    };
    if json {
        return output::json(out, &facts);
    }
    output::facts(
        out,
        &[
            ("path", facts.path),
            ("arrays", facts.arrays.to_string()),
            (
                "rows",
                match facts.rows {
                    Some(rows) => rows.to_string(),
                    // Only arrays of rank 0, if any.
                    None if infos.iter().all(|info| info.shape.is_empty()) => "none".to_owned(),
                    None => "differ".to_owned(),
                },
            ),
            ("deleted rows", facts.deleted.to_string()),
            ("size", output::bytes(facts.size_bytes)),
            ("journal records", facts.journal_records.to_string()),
        ],
    )
}

/// The records of the journal; a store that only NumPack 0.4 has written has none.
fn journal_records(dir: &Path) -> Result<usize, Failure> {
    match numpack::dump_journal(dir) {
        Ok(dump) => Ok(dump.frames.len()),
        Err(numpack::Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error.into()),
    }
}

/// The rows of each array if all have as many; arrays of rank 0 are not part of a table.
fn common_rows(infos: &[ArrayInfo]) -> Option<u64> {
    let mut rows = infos.iter().filter_map(|info| info.shape.first().copied());
    let first = rows.next()?;
    rows.all(|other| other == first).then_some(first)
}

/// The array of this name.
pub(super) fn found<'a>(infos: &'a [ArrayInfo], name: &str) -> Result<&'a ArrayInfo, Failure> {
    let found = infos.iter().find(|info| info.name.as_str() == name);
    found.ok_or_else(|| {
        let names: Vec<&str> = infos.iter().map(|info| info.name.as_str()).collect();
        Failure::Request(format!(
            "array \"{name}\" not found (hint: {})",
            if names.is_empty() {
                "the store is empty".to_owned()
            } else {
                format!("the store holds {}", names.join(", "))
            }
        ))
    })
}

/// One array.
pub(super) fn array(
    dir: &Path,
    name: &str,
    json: bool,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let infos = super::open(dir)?.infos()?;
    let info = found(&infos, name)?;
    if json {
        return output::json(out, &Array::from(info));
    }
    output::facts(
        out,
        &[
            ("name", info.name.to_string()),
            ("dtype", info.dtype.name().to_owned()),
            ("shape", shape(&info.shape)),
            ("physical rows", info.physical_rows.to_string()),
            ("deleted rows", info.deleted.to_string()),
            ("size", format!("{} bytes", info.size_bytes)),
            ("modified (UTC)", output::utc(info.modified_us)),
            ("data file", info.data_file.clone()),
        ],
    )
}
