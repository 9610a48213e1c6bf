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
        } else if bytes.len() < HEAD_LEN
            || words_len(rows_in_metadata) != bytes.len() as u64
            || is_cut_header(bytes, rows_in_metadata)
        {
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

/// Whether a file without header begins as one with a header would. What was cut off in the middle
/// must not be taken for words: it would delete rows that nobody deleted.
fn is_cut_header(bytes: &[u8], rows: u64) -> bool {
    Reader::new(bytes, FILE).u64() == Ok(rows)
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(rows: u64, deleted: u64, words: &[u64]) -> Vec<u8> {
        [rows, deleted]
            .iter()
            .chain(words)
            .flat_map(|word| word.to_le_bytes())
            .collect()
    }

    #[test]
    fn row_1_of_4_deleted_is_the_24_bytes_of_older_releases() {
        let bytes = file(4, 1, &[0b1101]);
        assert_eq!(
            bytes[..17],
            [4, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0x0d]
        );
        let bitmap = BitmapFile {
            rows: 4,
            words: vec![0b1101],
        };
        assert_eq!(bitmap.encode(), bytes);
        assert_eq!(bitmap.deleted(), 1);
        assert_eq!(BitmapFile::decode(&bytes, 4), Ok(bitmap));
    }

    #[test]
    fn the_words_are_trusted_and_the_count_is_not() {
        // 0.4 forgets deletions in the words and keeps the count.
        let bitmap = BitmapFile::decode(&file(11, 2, &[0x7ff]), 11).unwrap();
        assert_eq!(bitmap.deleted(), 0);
    }

    #[test]
    fn words_alone_are_read_by_the_rows_of_the_metadata() {
        let words = [0b101, u64::MAX >> 1].map(u64::to_le_bytes).concat();
        let bitmap = BitmapFile::decode(&words, 127).unwrap();
        assert_eq!(
            bitmap,
            BitmapFile {
                rows: 127,
                words: vec![0b101, u64::MAX >> 1]
            }
        );
        // 0.4 refuses less than the length of a header, and so do we.
        assert!(BitmapFile::decode(&0b101_u64.to_le_bytes(), 3).is_err());
        let words = [u64::MAX, u64::MAX, 1].map(u64::to_le_bytes).concat();
        assert_eq!(BitmapFile::decode(&words, 129).unwrap().deleted(), 0);
    }

    #[test]
    fn other_lengths_are_refused() {
        let bytes = file(70, 0, &[u64::MAX, 0x3f]);
        for len in 0..bytes.len() {
            let decoded = BitmapFile::decode(&bytes[..len], 70);
            assert!(decoded.is_err(), "{len} bytes: {decoded:?}");
        }
        assert!(BitmapFile::decode(&[], 0).is_err());
        assert!(BitmapFile::decode(&[0xff; 24], 3).is_err());
        let error = BitmapFile::decode(&[0; 9], 3).unwrap_err().to_string();
        assert!(
            error.contains("9 bytes, expected 24 with a header or 8 without for 3 rows"),
            "{error}"
        );
    }

    #[test]
    fn rows_that_only_the_bitmap_knows_are_cut_off() {
        let bytes = file(130, 0, &[0xf0, 0xf0, 0b11]);
        let bitmap = BitmapFile::decode(&bytes, 6).unwrap();
        assert_eq!(
            bitmap,
            BitmapFile {
                rows: 6,
                words: vec![0x30]
            }
        );
        assert!(BitmapFile::decode(&bytes, 0).unwrap().words.is_empty());
        assert_eq!(BitmapFile::decode(&bytes, 64).unwrap().words, [0xf0]);
    }

    #[test]
    fn rows_that_only_the_metadata_knows_are_live() {
        let bitmap = BitmapFile::decode(&file(4, 1, &[0b1101]), 130).unwrap();
        assert_eq!(bitmap.words, [!0b10, u64::MAX, 0b11]);
        assert_eq!(bitmap.deleted(), 1);
        let bitmap = BitmapFile::decode(&file(4, 1, &[0b1101]), 6).unwrap();
        assert_eq!(bitmap.words, [0b11_1101]);
        let bitmap = BitmapFile::decode(&file(64, 64, &[0]), 65).unwrap();
        assert_eq!(bitmap.words, [0, 1]);
    }

    #[test]
    fn bits_past_the_last_row_are_cleared() {
        let bitmap = BitmapFile::decode(&file(4, 0, &[u64::MAX]), 4).unwrap();
        assert_eq!(bitmap.words, [0xf]);
        assert_eq!(bitmap.deleted(), 0);
    }

    #[test]
    fn a_crafted_row_count_takes_no_memory() {
        assert!(BitmapFile::decode(&file(u64::MAX, 0, &[1]), 4).is_err());
        let error = BitmapFile::decode(&file(4, 1, &[0b1101]), u64::MAX)
            .unwrap_err()
            .to_string();
        assert!(error.contains("4 rows of 18446744073709551615"), "{error}");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(rows in 0..300_u64, seed in prop::collection::vec(any::<u64>(), 5)) {
            let mut words = seed;
            set_live_from(&mut words, rows, rows);
            let bitmap = BitmapFile { rows, words };
            prop_assert_eq!(BitmapFile::decode(&bitmap.encode(), rows), Ok(bitmap));
        }

        #[test]
        fn no_bytes_panic_and_all_results_agree_with_a_bit_by_bit_model(
            rows in 0..200_u64,
            in_file in 0..200_u64,
            words in prop::collection::vec(any::<u64>(), 4),
        ) {
            let in_words = usize::try_from(in_file.div_ceil(64)).unwrap();
            let bytes = file(in_file, 0, &words[..in_words]);
            let bitmap = BitmapFile::decode(&bytes, rows).unwrap();
            prop_assert_eq!(bitmap.words.len() as u64, rows.div_ceil(64));
            for row in 0..rows.next_multiple_of(64) {
                let bit = |words: &[u64]| words[usize::try_from(row / 64).unwrap()] >> (row % 64) & 1;
                let live = if row >= rows { 0 } else if row >= in_file { 1 } else { bit(&words) };
                prop_assert_eq!(bit(&bitmap.words), live, "row {}", row);
            }
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..64), rows: u64) {
            let _ = BitmapFile::decode(&bytes, rows % 1000);
            let _ = BitmapFile::decode(&bytes, rows);
        }
    }
}
