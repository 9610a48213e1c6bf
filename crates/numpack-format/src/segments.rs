//! `data_<stem>.npkseg`: the list of segments that NumPack 0.7 makes of a large array.

use std::collections::HashSet;

use serde::Deserialize;

use crate::array_meta::ArrayMeta;
use crate::error::{FormatError, Result};
use crate::name::ArrayName;

const FILE: &str = "a segment list";
const VERSION: u32 = 1;
/// Largest list that is read: half a million segments.
const MAX_LEN: usize = 64 * 1024 * 1024;

/// The files that hold the rows of one array, one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentManifest {
    /// The segments, in row order.
    pub segments: Vec<Segment>,
}

/// One file of raw rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Its path in the store: `data_<stem>_segments/<file>.npkd`, never anything else.
    pub file: String,
    /// How many rows it holds.
    pub rows: u64,
    /// Its length in bytes.
    pub bytes: u64,
}

/// The JSON as it stands, before anything in it is believed.
#[derive(Deserialize)]
struct UncheckedManifest {
    version: u32,
    segments: Vec<UncheckedSegment>,
}

#[derive(Deserialize)]
struct UncheckedSegment {
    file: String,
    rows: u64,
    bytes: u64,
}

impl SegmentManifest {
    /// Reads a whole file for the array `name` that `meta` describes.
    ///
    /// # Errors
    /// [`FormatError::Corrupt`] for other JSON than such a list, for a file outside the segment
    /// directory of the array, and for rows or bytes that do not add up to `meta`;
    /// [`FormatError::NewerVersion`] for a list of a later version.
    pub fn decode(bytes: &[u8], name: &ArrayName, meta: &ArrayMeta) -> Result<Self> {
        let corrupt = |reason: String| FormatError::Corrupt {
            file: FILE,
            reason: format!("array \"{name}\": {reason}"),
        };
        if bytes.len() > MAX_LEN {
            return Err(corrupt(format!(
                "{} bytes, at most {MAX_LEN} are read",
                bytes.len()
            )));
        }
        let unchecked: UncheckedManifest =
            serde_json::from_slice(bytes).map_err(|error| corrupt(error.to_string()))?;
        if unchecked.version > VERSION {
            return Err(FormatError::NewerVersion {
                file: FILE,
                found: unchecked.version,
                supported: VERSION,
            });
        }
        if unchecked.version != VERSION {
            return Err(corrupt(format!(
                "version is {}, expected {VERSION}",
                unchecked.version
            )));
        }
        let directory = name.segments_dir();
        let mut files = HashSet::new();
        let mut rows = 0_u64;
        for UncheckedSegment {
            file,
            rows: here,
            bytes,
        } in &unchecked.segments
        {
            if !is_inside(file, &directory) {
                return Err(corrupt(format!(
                    "segment \"{file}\" is not a file of \"{directory}\""
                )));
            }
            if !files.insert(file) {
                return Err(corrupt(format!("segment \"{file}\" is listed twice")));
            }
            let expected = here.checked_mul(meta.row_bytes());
            if expected != Some(*bytes) {
                return Err(corrupt(format!(
                    "segment \"{file}\" has {bytes} bytes for {here} rows of {}",
                    meta.row_bytes()
                )));
            }
            rows = rows.saturating_add(*here);
        }
        if meta.shape.ndim() == 0 || rows != meta.shape.rows() {
            return Err(corrupt(format!(
                "its segments have {rows} rows, the metadata says shape {}",
                meta.shape
            )));
        }
        let segments = unchecked.segments.into_iter();
        Ok(Self {
            segments: segments
                .map(|UncheckedSegment { file, rows, bytes }| Segment { file, rows, bytes })
                .collect(),
        })
    }
}

/// Whether `file` is `<directory>/<one plain component>.npkd`.
fn is_inside(file: &str, directory: &str) -> bool {
    file.strip_prefix(directory)
        .and_then(|rest| rest.strip_prefix('/'))
        .and_then(|rest| rest.strip_suffix(".npkd"))
        .is_some_and(|plain| !plain.is_empty() && !plain.contains(['/', '\\', ':', '\0']))
}
