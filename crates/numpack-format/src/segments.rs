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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::DType;

    fn decode(json: &str) -> Result<SegmentManifest> {
        let meta = ArrayMeta::new(DType::Int32, &[5, 2])?;
        SegmentManifest::decode(json.as_bytes(), &ArrayName::new("a")?, &meta)
    }

    fn refusal(json: &str) -> String {
        decode(json).unwrap_err().to_string()
    }

    const GOOD: &str = r#"{
  "version": 1,
  "segments": [
    {"file": "data_a_segments/seg_000000.npkd", "rows": 3, "bytes": 24},
    {"file": "data_a_segments/seg_000001.npkd", "rows": 2, "bytes": 16}
  ]
}"#;

    #[test]
    fn the_list_of_0_7_is_read() {
        let manifest = decode(GOOD).unwrap();
        let second = Segment {
            file: "data_a_segments/seg_000001.npkd".to_owned(),
            rows: 2,
            bytes: 16,
        };
        assert_eq!(manifest.segments.len(), 2);
        assert_eq!(manifest.segments[1], second);
    }

    #[test]
    fn files_outside_the_segment_directory_are_refused() {
        for file in [
            "../victim.npkd",
            "data_a_segments/../../victim.npkd",
            "data_a_segments/x/y.npkd",
            "data_a_segments/x\\\\y.npkd",
            "data_a_segments/x\\u0000y.npkd",
            "data_a_segments/.npkd",
            "data_a_segments/seg_000000",
            "data_a_segmentsseg_000000.npkd",
            "data_b_segments/seg_000000.npkd",
            "/data_a_segments/seg_000000.npkd",
            "data_a.npkd",
            "",
        ] {
            let text = refusal(&GOOD.replace("data_a_segments/seg_000000.npkd", file));
            assert!(
                text.contains("is not a file of \"data_a_segments\""),
                "{file}: {text}"
            );
        }
    }

    #[test]
    fn rows_and_bytes_must_add_up() {
        assert!(refusal(&GOOD.replace("24", "25")).contains("has 25 bytes for 3 rows of 8"));
        let short = GOOD.replace(": 2, \"bytes\": 16", ": 1, \"bytes\": 8");
        assert!(refusal(&short).contains("have 4 rows, the metadata says shape [5, 2]"));
        let huge = GOOD.replace(": 3,", ": 18446744073709551615,");
        assert!(refusal(&huge).contains("for 18446744073709551615 rows"));
        assert!(refusal(&GOOD.replace("000001", "000000")).contains("listed twice"));
        assert!(refusal(r#"{"version": 1, "segments": []}"#).contains("0 rows"));
    }

    #[test]
    fn other_json_is_refused() {
        for end in 0..GOOD.len() {
            assert!(decode(&GOOD[..end]).is_err(), "{end} bytes");
        }
        assert!(decode(&"[".repeat(100_000)).is_err());
        assert!(decode(&GOOD.replace(": 3,", ": -3,")).is_err());
        assert!(
            refusal(&GOOD.replace("\"version\": 1", "\"version\": 0")).contains("version is 0")
        );
        let later = decode(&GOOD.replace("\"version\": 1", "\"version\": 2")).unwrap_err();
        assert!(matches!(
            later,
            FormatError::NewerVersion {
                found: 2,
                supported: 1,
                ..
            }
        ));
    }

    #[test]
    fn an_array_without_dimensions_has_no_segments() {
        let meta = ArrayMeta::new(DType::Int32, &[]).unwrap();
        let json = r#"{"version": 1, "segments": [{"file": "data_a_segments/s.npkd", "rows": 1, "bytes": 4}]}"#;
        let name = ArrayName::new("a").unwrap();
        assert!(SegmentManifest::decode(json.as_bytes(), &name, &meta).is_err());
        let flat = ArrayMeta::new(DType::Int32, &[1]).unwrap();
        assert!(SegmentManifest::decode(json.as_bytes(), &name, &flat).is_ok());
    }
}
