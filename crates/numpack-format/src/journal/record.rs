//! What a record says: one change of one array, or how far the files are on disk.

use crate::array_meta::ArrayMeta;
use crate::attrs::Attrs;
use crate::codec::{Reader, Write};
use crate::dtype::DType;
use crate::error::{FormatError, Result};
use crate::name::ArrayName;
use crate::shape::{MAX_NDIM, Shape};

use super::replace::Replace;

const PUT: u8 = 1;
const APPEND: u8 = 2;
const REPLACE: u8 = 3;
const DELETE_ROWS: u8 = 4;
const DROP: u8 = 5;
const SYNCED: u8 = 6;
const APPLIED: u8 = 7;
const RENAME: u8 = 8;
const ATTRS: u8 = 9;

const KEPT_NOTHING: u8 = 0;
const KEPT_DELETIONS: u8 = 1;
const KEPT_ALL: u8 = 2;

const CONTENT_ZEROS: u8 = 0;
const CONTENT_HASHED: u8 = 1;
const RUN_LEN: usize = 2 * size_of::<u64>();

/// One change, in absolute terms: applying it twice is the same as applying it once.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Record {
    /// An array gets a new generation.
    Put(Put),
    /// A generation gets more rows.
    Append(Append),
    /// Rows of a generation get other bytes.
    Replace(Replace),
    /// Rows of a generation are deleted.
    DeleteRows(DeleteRows),
    /// An array is gone.
    Drop {
        /// Which array.
        name: ArrayName,
    },
    /// An array changes its name and keeps its generation.
    Rename {
        /// The name before; no array has it afterwards.
        from: ArrayName,
        /// The name after.
        to: ArrayName,
        /// The generation it has under both names.
        generation: u64,
    },
    /// A store or an array gets other attributes, in the place of all that it had.
    Attrs {
        /// Which array; `None` for the store.
        name: Option<ArrayName>,
        /// All of them.
        attrs: Attrs,
    },
    /// Everything up to a commit is on disk, payloads included.
    Synced {
        /// That commit.
        upto: u64,
    },
    /// The file of a generation has the rows of every [`Replace`](Self::Replace) up to a commit, as far
    /// as running processes see it. After a restart of the machine this record counts for nothing.
    Applied {
        /// Which array.
        name: ArrayName,
        /// The generation whose file it is.
        generation: u64,
        /// That commit.
        upto: u64,
    },
}

/// An array is made, or replaced as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Put {
    /// Which array.
    pub name: ArrayName,
    /// Its dtype and physical shape.
    pub meta: ArrayMeta,
    /// The new generation.
    pub generation: u64,
    /// Last modification, in microseconds since 1970.
    pub modified_us: u64,
    /// What its file holds.
    pub content: Content,
    /// What it has in common with the generation before.
    pub kept: Kept,
}

/// What a new generation of an array has in common with the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// Nothing: the array was saved.
    Nothing,
    /// The rows that are deleted: others of its rows were replaced.
    Deletions,
    /// Everything: the same rows are in another file.
    All,
}

/// What the file of a new generation holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// Bytes with this [content hash](crate::content_hash).
    Hashed(u128),
    /// Zeros; the file may be sparse.
    Zeros,
}

/// Rows are added to the end of a generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Append {
    /// Which array.
    pub name: ArrayName,
    /// The generation whose file has the rows.
    pub generation: u64,
    /// Physical rows before.
    pub start_row: u64,
    /// Rows added.
    pub rows: u64,
    /// Last modification, in microseconds since 1970.
    pub modified_us: u64,
    /// [Content hash](crate::content_hash) of the added rows.
    pub hash: u128,
}

/// Rows are deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteRows {
    /// Which array.
    pub name: ArrayName,
    /// The generation that the row numbers are of.
    pub generation: u64,
    /// Runs of physical rows as start and length, ascending and disjoint, none empty.
    pub runs: Vec<(u64, u64)>,
}

impl DeleteRows {
    /// Most runs in one record; [`split`](Self::split) makes several of one with more.
    pub const MAX_RUNS: usize = 1 << 20;

    /// The same deletion as records of at most [`MAX_RUNS`](Self::MAX_RUNS) runs each; none at all
    /// if there is no run.
    pub fn split(self) -> impl Iterator<Item = Self> {
        let Self {
            name,
            generation,
            mut runs,
        } = self;
        std::iter::from_fn(move || {
            if runs.is_empty() {
                return None;
            }
            let rest = runs.split_off(runs.len().min(Self::MAX_RUNS));
            let runs = std::mem::replace(&mut runs, rest);
            Some(Self {
                name: name.clone(),
                generation,
                runs,
            })
        })
    }
}

impl Record {
    /// The type code in the header of a frame.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::Put(_) => PUT,
            Self::Append(_) => APPEND,
            Self::Replace(_) => REPLACE,
            Self::DeleteRows(_) => DELETE_ROWS,
            Self::Drop { .. } => DROP,
            Self::Synced { .. } => SYNCED,
            Self::Applied { .. } => APPLIED,
            Self::Rename { .. } => RENAME,
            Self::Attrs { .. } => ATTRS,
        }
    }

    pub(crate) fn encode_into(&self, out: &mut Vec<u8>) {
        match self {
            Self::Put(put) => put.encode_into(out),
            Self::Append(append) => append.encode_into(out),
            Self::Replace(replace) => replace.encode_into(out),
            Self::DeleteRows(delete) => delete.encode_into(out),
            Self::Drop { name } => out.put_str_u16(name.as_str()),
            Self::Rename {
                from,
                to,
                generation,
            } => {
                out.put_str_u16(from.as_str());
                out.put_str_u16(to.as_str());
                out.put_u64(*generation);
            }
            Self::Attrs { name, attrs } => {
                out.put_u8(name.is_some().into());
                if let Some(name) = name {
                    out.put_str_u16(name.as_str());
                }
                attrs.encode_into(out);
            }
            Self::Synced { upto } => out.put_u64(*upto),
            Self::Applied {
                name,
                generation,
                upto,
            } => {
                out.put_str_u16(name.as_str());
                out.put_u64(*generation);
                out.put_u64(*upto);
            }
        }
    }

    /// Reads the body of a record; `None` for a type that this release does not know.
    pub(crate) fn decode(code: u8, reader: &mut Reader<'_>) -> Result<Option<Self>> {
        Ok(Some(match code {
            PUT => Self::Put(Put::decode(reader)?),
            APPEND => Self::Append(Append::decode(reader)?),
            REPLACE => Self::Replace(Replace::decode(reader)?),
            DELETE_ROWS => Self::DeleteRows(DeleteRows::decode(reader)?),
            DROP => Self::Drop {
                name: decode_name(reader)?,
            },
            SYNCED => Self::Synced {
                upto: reader.u64()?,
            },
            APPLIED => Self::Applied {
                name: decode_name(reader)?,
                generation: reader.u64()?,
                upto: reader.u64()?,
            },
            RENAME => Self::Rename {
                from: decode_name(reader)?,
                to: decode_name(reader)?,
                generation: reader.u64()?,
            },
            ATTRS => Self::Attrs {
                name: if reader.bool("of_array")? {
                    Some(decode_name(reader)?)
                } else {
                    None
                },
                attrs: Attrs::decode(reader)?,
            },
            _ => return Ok(None),
        }))
    }
}

pub(super) fn decode_name(reader: &mut Reader<'_>) -> Result<ArrayName> {
    ArrayName::new(reader.str_u16("an array name")?)
}

impl Put {
    fn encode_into(&self, out: &mut Vec<u8>) {
        out.put_str_u16(self.name.as_str());
        out.put_u64(self.generation);
        out.put_u64(self.modified_us);
        let (kind, hash) = match self.content {
            Content::Zeros => (CONTENT_ZEROS, 0),
            Content::Hashed(hash) => (CONTENT_HASHED, hash),
        };
        out.put_u8(kind);
        out.put_u128(hash);
        out.put_u8(match self.kept {
            Kept::Nothing => KEPT_NOTHING,
            Kept::Deletions => KEPT_DELETIONS,
            Kept::All => KEPT_ALL,
        });
        out.put_u8(self.meta.dtype.code());
        out.put_u8(u8::try_from(self.meta.shape.ndim()).unwrap_or(u8::MAX));
        for &dim in self.meta.shape.dims() {
            out.put_u64(dim);
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        let name = decode_name(reader)?;
        let generation = reader.u64()?;
        let modified_us = reader.u64()?;
        let content = match (reader.u8()?, reader.u128()?) {
            (CONTENT_ZEROS, 0) => Content::Zeros,
            (CONTENT_HASHED, hash) => Content::Hashed(hash),
            (kind, _) => return Err(reader.corrupt(format!("content kind {kind} is unknown"))),
        };
        let kept = match reader.u8()? {
            KEPT_NOTHING => Kept::Nothing,
            KEPT_DELETIONS => Kept::Deletions,
            KEPT_ALL => Kept::All,
            kept => {
                return Err(reader.corrupt(format!("what is kept is {kept}, at most {KEPT_ALL}")));
            }
        };
        let dtype = DType::from_code(reader.u8()?)?;
        let ndim = usize::from(reader.u8()?);
        if ndim > MAX_NDIM {
            return Err(reader.corrupt(format!(
                "array \"{name}\" has {ndim} dimensions, at most {MAX_NDIM} are possible"
            )));
        }
        let dims = (0..ndim)
            .map(|_| reader.u64())
            .collect::<Result<Vec<_>>>()?;
        let meta = ArrayMeta {
            dtype,
            shape: Shape::from_vec(dims, dtype)?,
        };
        Ok(Self {
            name,
            meta,
            generation,
            modified_us,
            content,
            kept,
        })
    }
}

impl Append {
    fn encode_into(&self, out: &mut Vec<u8>) {
        out.put_str_u16(self.name.as_str());
        out.put_u64(self.generation);
        out.put_u64(self.start_row);
        out.put_u64(self.rows);
        out.put_u64(self.modified_us);
        out.put_u128(self.hash);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        let append = Self {
            name: decode_name(reader)?,
            generation: reader.u64()?,
            start_row: reader.u64()?,
            rows: reader.u64()?,
            modified_us: reader.u64()?,
            hash: reader.u128()?,
        };
        if append.start_row.checked_add(append.rows).is_none() {
            return Err(reader.corrupt(format!(
                "{} rows are appended after row {}",
                append.rows, append.start_row
            )));
        }
        Ok(append)
    }
}

impl DeleteRows {
    fn encode_into(&self, out: &mut Vec<u8>) {
        debug_assert!(
            self.runs.len() <= Self::MAX_RUNS,
            "{} runs: split first",
            self.runs.len()
        );
        out.put_str_u16(self.name.as_str());
        out.put_u64(self.generation);
        out.put_len_u32(self.runs.len());
        for &(start, len) in &self.runs {
            out.put_u64(start);
            out.put_u64(len);
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        let name = decode_name(reader)?;
        let generation = reader.u64()?;
        let count = reader.count(RUN_LEN, "runs of rows")?;
        let mut runs = Vec::with_capacity(count);
        let mut free_from = 0;
        for _ in 0..count {
            let (start, len) = (reader.u64()?, reader.u64()?);
            free_from = run_end(reader, free_from, start, len)?;
            runs.push((start, len));
        }
        Ok(Self {
            name,
            generation,
            runs,
        })
    }
}

/// The end of a run that must lie behind `free_from`.
pub(super) fn run_end(reader: &Reader<'_>, free_from: u64, start: u64, len: u64) -> Result<u64> {
    match start.checked_add(len) {
        Some(end) if len > 0 && start >= free_from => Ok(end),
        _ => Err(reader.corrupt(format!(
            "the run of {len} rows from row {start} is empty, endless or out of order"
        ))),
    }
}

/// What a body breaks, in the words of the crate's error.
pub(crate) fn reason(error: FormatError) -> String {
    match error {
        FormatError::Corrupt { reason, .. } => reason,
        other => other.to_string(),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::attrs::tests::any_attrs;

    fn name() -> impl Strategy<Value = ArrayName> {
        "[^\0]{0,12}".prop_map(|name| ArrayName::new(&name).unwrap())
    }

    fn runs() -> impl Strategy<Value = Vec<(u64, u64)>> {
        prop::collection::vec((0..9_u64, 1..9_u64), 0..20).prop_map(|gaps| {
            let mut from = 0;
            gaps.into_iter()
                .map(|(gap, len)| {
                    let start = from + gap;
                    from = start + len;
                    (start, len)
                })
                .collect()
        })
    }

    fn put() -> impl Strategy<Value = Record> {
        let dims = prop::collection::vec(0..1000_u64, 0..5);
        let content = prop_oneof![
            Just(Content::Zeros),
            any::<u128>().prop_map(Content::Hashed)
        ];
        let kept = prop_oneof![Just(Kept::Nothing), Just(Kept::Deletions), Just(Kept::All)];
        let numbers = (any::<u64>(), any::<u64>(), kept);
        (name(), 0..14_u8, dims, numbers, content).prop_map(
            |(name, code, dims, (generation, modified_us, kept), content)| {
                let meta = ArrayMeta::new(DType::from_code(code).unwrap(), &dims).unwrap();
                Record::Put(Put {
                    name,
                    meta,
                    generation,
                    modified_us,
                    content,
                    kept,
                })
            },
        )
    }

    fn append() -> impl Strategy<Value = Record> {
        (name(), any::<(u64, u32, u64, u64, u128)>()).prop_map(
            |(name, (generation, start_row, rows, modified_us, hash))| {
                let start_row = u64::from(start_row);
                let rows = rows >> 1;
                Record::Append(Append {
                    name,
                    generation,
                    start_row,
                    rows,
                    modified_us,
                    hash,
                })
            },
        )
    }

    /// Records of every kind.
    pub(crate) fn any_record() -> impl Strategy<Value = Record> {
        prop_oneof![
            put(),
            append(),
            (name(), any::<u64>(), runs()).prop_map(|(name, generation, runs)| {
                Record::DeleteRows(DeleteRows {
                    name,
                    generation,
                    runs,
                })
            }),
            (name(), any::<(u64, u64)>(), runs(), 0..9_usize).prop_map(
                |(name, (generation, modified_us), runs, row_bytes)| {
                    let count: u64 = runs.iter().map(|run| run.1).sum();
                    let rows = vec![7; usize::try_from(count).unwrap() * row_bytes];
                    Record::Replace(Replace {
                        name,
                        generation,
                        modified_us,
                        runs: runs.into(),
                        rows: rows.into(),
                    })
                }
            ),
            (name(), any::<(u64, u64)>()).prop_map(|(name, (generation, upto))| {
                Record::Applied {
                    name,
                    generation,
                    upto,
                }
            }),
            name().prop_map(|name| Record::Drop { name }),
            (name(), name(), any::<u64>()).prop_map(|(from, to, generation)| Record::Rename {
                from,
                to,
                generation
            }),
            any::<u64>().prop_map(|upto| Record::Synced { upto }),
            (prop::option::of(name()), any_attrs())
                .prop_map(|(name, attrs)| Record::Attrs { name, attrs }),
        ]
    }

    fn decode(code: u8, body: &[u8]) -> Result<Option<Record>> {
        Record::decode(code, &mut Reader::new(body, "a record"))
    }

    #[test]
    fn codes_of_later_releases_are_unknown() {
        for code in [0, 10, 255] {
            assert_eq!(decode(code, &[0; 64]), Ok(None));
        }
    }

    fn body(record: &Record) -> Vec<u8> {
        let mut body = Vec::new();
        record.encode_into(&mut body);
        body
    }

    fn deletion(runs: Vec<(u64, u64)>) -> DeleteRows {
        DeleteRows {
            name: ArrayName::new("a").unwrap(),
            generation: 1,
            runs,
        }
    }

    #[test]
    fn runs_must_ascend_without_touching_twice() {
        for runs in [
            vec![(4, 0)],
            vec![(4, 2), (5, 1)],
            vec![(4, 1), (0, 1)],
            vec![(u64::MAX, 1)],
        ] {
            let body = body(&Record::DeleteRows(deletion(runs.clone())));
            let error = decode(DELETE_ROWS, &body).unwrap_err().to_string();
            let (start, len) = runs[runs.len() - 1];
            assert!(
                error.contains(&format!("{len} rows from row {start}")),
                "{error}"
            );
        }
        let good = Record::DeleteRows(deletion(vec![(0, 4), (4, 2), (u64::MAX - 1, 1)]));
        assert_eq!(decode(DELETE_ROWS, &body(&good)), Ok(Some(good)));
    }

    #[test]
    fn hostile_counts_are_refused_before_memory_is_taken() {
        let mut runs = body(&Record::DeleteRows(deletion(vec![(0, 1)])));
        runs[11..15].copy_from_slice(&[0xff; 4]);
        let error = decode(DELETE_ROWS, &runs).unwrap_err().to_string();
        assert!(
            error.contains("4294967295 runs of rows announced"),
            "{error}"
        );
        assert!(decode(DROP, &[0xff, 0xff, b'a']).is_err());
    }

    #[test]
    fn every_field_of_a_put_is_checked() {
        let put = Put {
            name: ArrayName::new("a").unwrap(),
            meta: ArrayMeta::new(DType::Int8, &[3]).unwrap(),
            generation: 1,
            modified_us: 2,
            content: Content::Zeros,
            kept: Kept::Nothing,
        };
        let body = body(&Record::Put(put));
        let refusal = |at: usize, byte: u8| {
            let mut body = body.clone();
            body[at] = byte;
            decode(PUT, &body).unwrap_err().to_string()
        };
        assert!(refusal(2, 0).contains("NUL"));
        assert!(refusal(19, 2).contains("content kind 2"));
        assert!(refusal(20, 1).contains("content kind 0"));
        assert!(refusal(36, 3).contains("what is kept is 3"));
        assert!(refusal(37, 14).contains("code 14"));
        assert!(refusal(38, 65).contains("65 dimensions"));
        assert!(refusal(46, 0xff).contains("takes more than"));
    }

    #[test]
    fn an_append_must_end_somewhere() {
        let append = Append {
            name: ArrayName::new("a").unwrap(),
            generation: 1,
            start_row: u64::MAX,
            rows: 1,
            modified_us: 2,
            hash: 3,
        };
        assert!(decode(APPEND, &body(&Record::Append(append))).is_err());
    }

    #[test]
    fn a_long_deletion_is_split() {
        let most = DeleteRows::MAX_RUNS as u64;
        let all: Vec<_> = (0..2 * most + 3).map(|i| (2 * i, 1)).collect();
        let parts: Vec<_> = deletion(all.clone())
            .split()
            .map(|part| part.runs)
            .collect();
        let lens: Vec<_> = parts.iter().map(Vec::len).collect();
        assert_eq!(lens, [DeleteRows::MAX_RUNS, DeleteRows::MAX_RUNS, 3]);
        assert_eq!(parts.concat(), all);
        assert_eq!(deletion(vec![]).split().count(), 0);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_and_truncation_is_found(record in any_record()) {
            let body = body(&record);
            for len in 0..body.len() {
                prop_assert!(decode(record.code(), &body[..len]).is_err(), "{} bytes", len);
            }
            let mut reader = Reader::new(&body, "a record");
            prop_assert_eq!(Record::decode(record.code(), &mut reader), Ok(Some(record)));
            prop_assert_eq!(reader.remaining(), 0);
        }

        #[test]
        fn no_bytes_panic(code in 0..11_u8, body in prop::collection::vec(any::<u8>(), 0..128)) {
            let _ = decode(code, &body);
        }
    }
}
