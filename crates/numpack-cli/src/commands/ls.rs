//! `numpack ls DIR`: the arrays of a store, one a line, in the order of their first save.
use std::io::Write;
use std::path::Path;

use numpack::ArrayInfo;
use serde::Serialize;

use crate::failure::Failure;
use crate::output::{self, Lean, Style};

/// One array, as JSON shows it.
#[derive(Debug, Serialize)]
pub(super) struct Array<'a> {
    name: &'a str,
    dtype: &'static str,
    /// Without deleted rows.
    shape: &'a [u64],
    /// Rows in the data file, deleted ones included.
    physical_rows: u64,
    deleted: u64,
    /// Of the data file, deleted rows included.
    size_bytes: u64,
    modified_us: u64,
    data_file: &'a str,
}

impl<'a> From<&'a ArrayInfo> for Array<'a> {
    fn from(info: &'a ArrayInfo) -> Self {
        Self {
            name: info.name.as_str(),
            dtype: info.dtype.name(),
            shape: &info.shape,
            physical_rows: info.physical_rows,
            deleted: info.deleted,
            size_bytes: info.size_bytes,
            modified_us: info.modified_us,
            data_file: &info.data_file,
        }
    }
}

#[derive(Serialize)]
struct Listing<'a> {
    path: String,
    arrays: Vec<Array<'a>>,
}

pub(super) fn run(
    dir: &Path,
    json: bool,
    out: &mut dyn Write,
    style: Style,
) -> Result<(), Failure> {
    let infos = super::open(dir)?.infos()?;
    if json {
        let arrays = infos.iter().map(Array::from).collect();
        return output::json(
            out,
            &Listing {
                path: dir.display().to_string(),
                arrays,
            },
        );
    }
    let columns = [
        ("NAME", Lean::Left),
        ("DTYPE", Lean::Left),
        ("SHAPE", Lean::Left),
        ("DELETED", Lean::Right),
        ("SIZE", Lean::Right),
        ("MODIFIED (UTC)", Lean::Left),
    ];
    let rows = infos.iter().map(|info| {
        vec![
            info.name.to_string(),
            info.dtype.name().to_owned(),
            shape(&info.shape),
            info.deleted.to_string(),
            output::bytes(info.size_bytes),
            output::utc(info.modified_us),
        ]
    });
    output::table(out, style, &columns, rows)
}

/// A shape as it is written in messages: `[3, 4]`.
pub(super) fn shape(dims: &[u64]) -> String {
    let dims: Vec<String> = dims.iter().map(u64::to_string).collect();
    format!("[{}]", dims.join(", "))
}
