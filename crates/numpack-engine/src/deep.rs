//! Comparing rows with their checksums: block sums for what the last checkpoint left, the hashes of the
//! journal's records for what was written since.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use numpack_format::journal::{Content, Record};
use numpack_format::{ArrayName, BLOCK_LEN, BlockHasher, SumsFile, TrailerEntry, block_sum};

use crate::acquire::Acquired;
use crate::error::{Error, Result};
use crate::fs::{Dir, File, Open, read_exact_at};
use crate::options::Options;
use crate::paths;
use crate::pin::Pin;
use crate::report::{Damage, Problem, Report};
use crate::shared::Shared;
use crate::state::{ArrayState, Location};
use crate::verify::{NO_TRAILER, Picture};

const BLOCK: u64 = BLOCK_LEN as u64;

/// What is known of the bytes of one data file.
#[derive(Clone, Default)]
struct Knowledge<'a> {
    generation: u64,
    /// What the metadata says of this file.
    at_rest: Option<&'a TrailerEntry>,
    /// Rows that records brought, by first row and number, and their hash; `None` for zeros.
    written: Vec<(u64, u64, Option<u128>)>,
    /// Rows that may have been written over since.
    replaced: Vec<(u64, u64)>,
}

/// What is known of all data files, by the names that the arrays have now.
fn knowledge(picture: &Picture) -> HashMap<&ArrayName, Knowledge<'_>> {
    let mut all: HashMap<&ArrayName, Knowledge<'_>> = HashMap::new();
    for (name, entry) in picture.entries() {
        let known = Knowledge {
            generation: entry.generation,
            at_rest: Some(entry),
            ..Knowledge::default()
        };
        all.insert(name, known);
    }
    for frame in &picture.frames {
        match &frame.record {
            Record::Put(put) => {
                let hash = match put.content {
                    Content::Hashed(hash) => Some(hash),
                    Content::Zeros => None,
                };
                let known = Knowledge {
                    generation: put.generation,
                    at_rest: None,
                    written: vec![(0, put.meta.shape.rows(), hash)],
                    replaced: Vec::new(),
                };
                all.insert(&put.name, known);
            }
            Record::Append(append) => {
                if let Some(known) = all.get_mut(&append.name) {
                    let rows = (append.start_row, append.rows, Some(append.hash));
                    known.written.push(rows);
                }
            }
            Record::Replace(replace) => {
                if let Some(known) = all.get_mut(&replace.name) {
                    known.replaced.extend(replace.runs.iter());
                }
            }
            Record::Rename {
                from,
                to,
                generation,
            } => {
                if let Some(mut known) = all.remove(from) {
                    known.generation = *generation;
                    all.insert(to, known);
                }
            }
            Record::Drop { name } => {
                all.remove(name);
            }
            _ => {}
        }
    }
    all
}

/// The sums of a data file at rest; `None` where there are none.
pub(crate) fn read_sums(
    dir: &dyn Dir,
    hash: u64,
    generation: u64,
    data_len: u64,
) -> Result<Option<SumsFile>> {
    if hash == 0 || data_len == 0 {
        return Ok(None);
    }
    if data_len <= BLOCK {
        let sums = vec![hash];
        return Ok(Some(SumsFile {
            generation,
            data_len,
            sums,
        }));
    }
    let path = paths::sums(hash);
    let read = || {
        let file = dir.open(&path, Open::Read)?;
        let len = file.stat()?.len;
        // A head, and eight bytes a block.
        let most = SumsFile::blocks(data_len).saturating_mul(8) + BLOCK;
        if len > most {
            return Err(std::io::ErrorKind::InvalidData.into());
        }
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(usize::MAX)];
        read_exact_at(&*file, &mut bytes, 0)?;
        Ok(bytes)
    };
    let bytes = read().map_err(|source| Error::io("read", &path, source))?;
    let sums = SumsFile::decode(&bytes, hash)?;
    // A renamed file keeps its sums.
    Ok((sums.data_len == data_len).then_some(sums))
}

/// One data file that is being compared.
struct Look<'a> {
    array: &'a ArrayState,
    file: Option<Arc<dyn File>>,
    pin: &'a Pin,
    row_bytes: u64,
    options: &'a Options,
    buf: Vec<u8>,
}

impl Look<'_> {
    /// Gives the bytes of a range in pieces of whole blocks.
    fn read(
        &mut self,
        range: Range<u64>,
        each: &mut dyn FnMut(u64, &[u8]) -> Result<()>,
    ) -> Result<()> {
        const PIECE: u64 = 16 * BLOCK;
        let mut at = range.start;
        while at < range.end {
            if self.options.interrupt.as_ref().is_some_and(|ask| ask()) {
                return Err(Error::Interrupted);
            }
            let end = range.end.min((at / BLOCK * BLOCK) + PIECE);
            let len = usize::try_from(end - at).unwrap_or(usize::MAX);
            if let Some(file) = &self.file {
                // Not through the map: what the disk cannot read is an error here and a signal there.
                self.buf.resize(len, 0);
                read_exact_at(&**file, &mut self.buf, at)
                    .map_err(|source| Error::io("read", self.array.name.data_file(), source))?;
                each(at, &self.buf)?;
            } else {
                let start = usize::try_from(at).unwrap_or(usize::MAX);
                each(at, &self.pin.bytes()[start..start + len])?;
            }
            at = end;
        }
        Ok(())
    }

    /// Whether the file is another one, or younger, than the metadata says.
    fn is_changed(&self, entry: &TrailerEntry) -> bool {
        let stat = self.file.as_ref().and_then(|file| file.stat().ok());
        stat.is_none_or(|stat| {
            (stat.ino, stat.mtime_ns, stat.len)
                != (entry.data_ino, entry.data_mtime_ns, entry.data_len)
        })
    }

    fn rows_of(&self, bytes: &Range<u64>) -> Range<u64> {
        let width = self.row_bytes.max(1);
        bytes.start / width..bytes.end.div_ceil(width)
    }
}

impl Shared {
    /// Compares the rows of all arrays with what is known of them.
    pub(crate) fn verify_rows(
        &self,
        arrays: &[Acquired],
        picture: &Picture,
        options: &Options,
        report: &mut Report,
    ) -> Result<()> {
        let known = knowledge(picture);
        for (array, pins) in arrays {
            let len = array.meta.byte_len();
            let name = array.name.as_str();
            let Some((_, pin)) = pins.first() else {
                continue;
            };
            if matches!(array.location, Location::Segments(_)) {
                report.unchecked(
                    name,
                    len,
                    "rows in segments of NumPack 0.7 have no checksums",
                );
                continue;
            }
            let known = known.get(&array.name);
            let Some(known) = known.filter(|known| known.generation == array.generation) else {
                let no_trailer = array.generation == 0 && picture.metadata.trailer.is_none();
                let replaced = "it was replaced while it was looked at";
                report.unchecked(name, len, if no_trailer { NO_TRAILER } else { replaced });
                continue;
            };
            let look = Look {
                array,
                file: self.open_pinned(array, pin),
                pin,
                row_bytes: array.meta.row_bytes(),
                options,
                buf: Vec::new(),
            };
            match self.compare(look, known, report) {
                Err(Error::Interrupted) => return Err(Error::Interrupted),
                Err(error) => {
                    report.problem(Some(name), array.name.data_file(), error.to_string());
                }
                Ok(()) => {}
            }
        }
        Ok(())
    }

    fn compare(
        &self,
        mut look: Look<'_>,
        known: &Knowledge<'_>,
        report: &mut Report,
    ) -> Result<()> {
        let mut open: u64 = 0;
        let mut sums_lost = None;
        if let Some(entry) = known.at_rest.filter(|entry| entry.data_len > 0) {
            let len = entry.data_len.min(look.array.meta.byte_len());
            match read_sums(
                &*self.dir,
                entry.sums_hash,
                entry.generation,
                entry.data_len,
            ) {
                Ok(Some(sums)) => {
                    open += compare_blocks(&mut look, entry, &sums, known, report)?;
                }
                Ok(None) => open += len,
                Err(error) => {
                    open += len;
                    sums_lost = Some(error);
                }
            }
        }
        for &(first, rows, hash) in &known.written {
            open += compare_rows(&mut look, first, rows, hash, &known.replaced, report)?;
        }
        if open > 0 {
            let reason = match sums_lost {
                Some(error) => format!("their checksums cannot be used: {error}"),
                None => "no checksum is known, as after an unfinished session or a change by another program".to_owned(),
            };
            report.unchecked(look.array.name.as_str(), open, reason);
        }
        Ok(())
    }
}

/// Compares what the last checkpoint left; gives the bytes that could not be compared.
fn compare_blocks(
    look: &mut Look<'_>,
    entry: &TrailerEntry,
    sums: &SumsFile,
    known: &Knowledge<'_>,
    report: &mut Report,
) -> Result<u64> {
    let touched = touched_blocks(&known.replaced, look.row_bytes);
    let len = sums.data_len.min(look.array.meta.byte_len());
    // Rows that were appended since the array was pinned share its last block, and the sum is of all of it.
    let whole = if len < sums.data_len {
        len / BLOCK * BLOCK
    } else {
        len
    };
    let (mut bad, mut good, mut open): (Vec<u64>, u64, u64) = (Vec::new(), 0, len - whole);
    look.read(0..whole, &mut |at, piece| {
        for (block, bytes) in (at / BLOCK..).zip(piece.chunks(BLOCK_LEN)) {
            let sum = usize::try_from(block).ok().and_then(|i| sums.sums.get(i));
            let sum = sum.copied().unwrap_or_default();
            if sum == 0 || touched.binary_search(&block).is_ok() {
                open += bytes.len() as u64;
            } else if block_sum(bytes) == sum {
                good += bytes.len() as u64;
            } else {
                bad.push(block);
            }
        }
        Ok(())
    })?;
    report.checked_bytes += good;
    // Records that are not in the metadata yet write to the file as well.
    let written = !known.written.is_empty() || !known.replaced.is_empty();
    let changed = entry.data_mtime_ns == 0 || (!written && look.is_changed(entry));
    for run in bad.chunk_by(|a, b| a + 1 == *b) {
        let (Some(first), Some(last)) = (run.first(), run.last()) else {
            continue;
        };
        let blocks = *first..last + 1;
        let bytes = first * BLOCK..((last + 1) * BLOCK).min(len);
        let rows = look.rows_of(&bytes);
        let why = if changed {
            "changed since written: something else has written to the file, replaced or copied it"
        } else {
            "damaged: nothing has written to the file since its checksums were made"
        };
        let text = format!(
            "bytes {}..{} of {} (blocks {}..{}, rows {}..{}) are {why}",
            bytes.start,
            bytes.end,
            look.array.name.data_file(),
            blocks.start,
            blocks.end,
            rows.start,
            rows.end,
        );
        report.problems.push(Problem {
            array: Some(look.array.name.to_string()),
            file: look.array.name.data_file(),
            text,
            damage: Some(Damage {
                blocks,
                bytes,
                rows,
            }),
        });
    }
    Ok(open)
}

/// The blocks in which rows may have been written over, ascending.
pub(crate) fn touched_blocks(runs: &[(u64, u64)], row_bytes: u64) -> Vec<u64> {
    let mut blocks = Vec::new();
    for &(first, rows) in runs.iter().filter(|_| row_bytes > 0) {
        let last = (first + rows) * row_bytes - 1;
        blocks.extend(first * row_bytes / BLOCK..=last / BLOCK);
    }
    blocks.sort_unstable();
    blocks.dedup();
    blocks
}

/// Compares rows with the hash that their record has; gives the bytes that could not be compared.
fn compare_rows(
    look: &mut Look<'_>,
    first: u64,
    rows: u64,
    hash: Option<u128>,
    replaced: &[(u64, u64)],
    report: &mut Report,
) -> Result<u64> {
    let bytes = first * look.row_bytes..(first + rows) * look.row_bytes;
    let len = bytes.end - bytes.start;
    let over = |&(start, count): &(u64, u64)| start < first + rows && first < start + count;
    // Nothing, or appended after the snapshot was taken.
    if len == 0 || bytes.start >= look.array.meta.byte_len() {
        return Ok(0);
    }
    if bytes.end > look.array.meta.byte_len() || replaced.iter().any(over) {
        return Ok(len);
    }
    let mut hasher = BlockHasher::at(bytes.start);
    let mut zeros = true;
    look.read(bytes.clone(), &mut |_, piece| {
        match hash {
            Some(_) => hasher.update(piece),
            None => zeros &= piece.iter().all(|&byte| byte == 0),
        }
        Ok(())
    })?;
    let same = match hash {
        Some(hash) => hasher.finish() == hash,
        None => zeros,
    };
    if same {
        report.checked_bytes += len;
        return Ok(0);
    }
    let file = look.array.name.data_file();
    let text = format!(
        "rows {first}..{} (bytes {}..{}) are not those that their record in the journal speaks of",
        first + rows,
        bytes.start,
        bytes.end,
    );
    report.problems.push(Problem {
        array: Some(look.array.name.to_string()),
        file,
        text,
        damage: Some(Damage {
            blocks: bytes.start / BLOCK..bytes.end.div_ceil(BLOCK),
            bytes,
            rows: first..first + rows,
        }),
    });
    Ok(0)
}
