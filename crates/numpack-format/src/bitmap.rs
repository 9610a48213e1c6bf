//! `deleted_<stem>.npkb`: which physical rows of an array are live.

use crate::codec::{Reader, Write, words};
use crate::error::Result;

const FILE: &str = "a deletion bitmap";
const WORD_LEN: usize = size_of::<u64>();
/// Physical rows and deleted rows.
const HEAD_LEN: usize = 2 * WORD_LEN;
const WORD_ROWS: u64 = u64::BITS as u64;
/// Most words that rows beyond the end of the file may add: a crafted row count must not decide
/// how much memory is taken.
const MAX_ADDED_WORDS: u64 = 1 << 25;

/// Which physical rows of an array are live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BitmapFile {
    /// Physical rows.
    pub rows: u64,
    /// One bit a row, lowest first, 64 rows a word: 1 is live, 0 is deleted. Bits past the last
    /// row are zero.
    pub words: Vec<u64>,
}

impl BitmapFile {
    /// Reads a whole file for an array of `rows_in_metadata` physical rows.
    ///
    /// The words are trusted and the count of deleted rows is not, since NumPack 0.4 writes wrong
    /// counts. A file that covers more rows than the metadata comes from an append that 0.4 never
    /// recorded in its metadata: the additional rows do not exist. A file that covers fewer was
    /// left behind when 0.4 saved a longer array over a shorter one: the rows it does not cover
    /// were never deleted.
    ///
    /// # Errors
    /// [`FormatError::Corrupt`](crate::FormatError::Corrupt) if the length of the file fits
    /// neither form.
    pub fn decode(bytes: &[u8], rows_in_metadata: u64) -> Result<Self> {
        let mut reader = Reader::new(bytes, FILE);
        let rows_in_file = rows_in_header(bytes)?;
        if rows_in_file.is_some() {
            reader.bytes(HEAD_LEN)?;
        } else if bytes.is_empty() || words_len(rows_in_metadata) != bytes.len() as u64 {
            return Err(reader.corrupt(format!(
                "{} bytes, expected {} with a header or {} without for {rows_in_metadata} rows",
                bytes.len(),
                words_len(rows_in_metadata) + HEAD_LEN as u64,
                words_len(rows_in_metadata)
            )));
        }
        let covered = rows_in_file
            .unwrap_or(rows_in_metadata)
            .min(rows_in_metadata);
        let added = rows_in_metadata.div_ceil(WORD_ROWS) - covered.div_ceil(WORD_ROWS);
        if added > MAX_ADDED_WORDS {
            return Err(reader.corrupt(format!("it covers {covered} rows of {rows_in_metadata}")));
        }
        let mut words: Vec<u64> = words(reader.bytes(reader.remaining())?).collect();
        set_live_from(&mut words, covered, rows_in_metadata);
        Ok(Self {
            rows: rows_in_metadata,
            words,
        })
    }

    /// The bytes of the file, in the form that NumPack 0.4 reads.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEAD_LEN + self.words.len() * WORD_LEN);
        out.put_u64(self.rows);
        out.put_u64(self.deleted());
        for &word in &self.words {
            out.put_u64(word);
        }
        out
    }

    /// Rows that are not live.
    pub fn deleted(&self) -> u64 {
        let live: u64 = self
            .words
            .iter()
            .map(|word| u64::from(word.count_ones()))
            .sum();
        self.rows.saturating_sub(live)
    }
}

/// Bytes of the words for so many rows.
fn words_len(rows: u64) -> u64 {
    rows.div_ceil(WORD_ROWS) * WORD_LEN as u64
}

/// The row count of the header, if the length of the file agrees with it.
fn rows_in_header(bytes: &[u8]) -> Result<Option<u64>> {
    if bytes.len() < HEAD_LEN {
        return Ok(None);
    }
    let rows = Reader::new(bytes, FILE).u64()?;
    let fits = words_len(rows).checked_add(HEAD_LEN as u64) == Some(bytes.len() as u64);
    Ok(fits.then_some(rows))
}

/// Makes `words` cover exactly `rows` rows, with those from `from` on live.
fn set_live_from(words: &mut Vec<u64>, from: u64, rows: u64) {
    let word_count = |rows: u64| usize::try_from(rows.div_ceil(WORD_ROWS)).unwrap_or(usize::MAX);
    words.truncate(word_count(from));
    if !from.is_multiple_of(WORD_ROWS)
        && let Some(last) = words.last_mut()
    {
        let covered = (1 << (from % WORD_ROWS)) - 1;
        *last &= covered;
        if rows > from {
            *last |= !covered;
        }
    }
    words.resize(word_count(rows), u64::MAX);
    if !rows.is_multiple_of(WORD_ROWS)
        && let Some(last) = words.last_mut()
    {
        *last &= (1 << (rows % WORD_ROWS)) - 1;
    }
}
