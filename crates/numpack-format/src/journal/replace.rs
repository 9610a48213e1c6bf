//! The record of rows that took the place of others.

use std::sync::Arc;

use crate::codec::{Reader, Write};
use crate::error::Result;
use crate::name::ArrayName;

use super::frame::MAX_BODY_LEN;
use super::record::decode_name;

/// Widths in bytes of the row numbers of a record.
const NARROW: u8 = 4;
const WIDE: u8 = 8;

/// Rows of a generation get other bytes. Its file does not have them yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replace {
    /// Which array.
    pub name: ArrayName,
    /// The generation whose rows these are.
    pub generation: u64,
    /// Last modification, in microseconds since 1970.
    pub modified_us: u64,
    /// Runs of physical rows as start and length, ascending and disjoint, none empty.
    pub runs: Arc<[(u64, u64)]>,
    /// The bytes of these rows, one after the other.
    pub rows: Arc<[u8]>,
}

impl Replace {
    /// Most runs in one record; [`split`](Self::split) makes several of one with more.
    pub const MAX_RUNS: usize = 1 << 20;
    /// Most bytes of rows in one record, but for a single row that is longer.
    pub const MAX_ROWS: usize = 16 << 20;
    /// Most bytes of a row: a longer one does not fit into a record.
    pub const MAX_ROW: usize = MAX_BODY_LEN - (1 << 20);

    /// The number of rows.
    pub fn count(&self) -> u64 {
        self.runs.iter().map(|&(_, len)| len).sum()
    }

    /// The same change as records of at most [`MAX_RUNS`](Self::MAX_RUNS) runs and
    /// [`MAX_ROWS`](Self::MAX_ROWS) bytes each.
    pub fn split(self) -> Vec<Self> {
        if self.runs.len() <= Self::MAX_RUNS && self.rows.len() <= Self::MAX_ROWS {
            return vec![self];
        }
        let count = usize::try_from(self.count()).unwrap_or(usize::MAX);
        let row_bytes = self.rows.len().checked_div(count).unwrap_or(0).max(1);
        let most = (Self::MAX_ROWS / row_bytes).max(1);
        let mut parts = Vec::new();
        let (mut runs, mut held, mut at) = (Vec::new(), 0, 0);
        let mut close = |runs: &mut Vec<(u64, u64)>, held: &mut usize| {
            let bytes = *held * row_bytes;
            parts.push(Self {
                name: self.name.clone(),
                generation: self.generation,
                modified_us: self.modified_us,
                runs: std::mem::take(runs).into(),
                rows: self.rows[at..at + bytes].into(),
            });
            at += bytes;
            *held = 0;
        };
        for &(start, len) in &*self.runs {
            let (mut start, mut left) = (start, len);
            while left > 0 {
                if runs.len() == Self::MAX_RUNS || held == most {
                    close(&mut runs, &mut held);
                }
                let taken = left.min((most - held) as u64);
                runs.push((start, taken));
                held += usize::try_from(taken).unwrap_or(most);
                start += taken;
                left -= taken;
            }
        }
        if !runs.is_empty() {
            close(&mut runs, &mut held);
        }
        parts
    }

    pub(super) fn encode_into(&self, out: &mut Vec<u8>) {
        out.put_str_u16(self.name.as_str());
        out.put_u64(self.generation);
        out.put_u64(self.modified_us);
        let narrow = |(start, len): &(u64, u64)| {
            u32::try_from(*start).is_ok() && u32::try_from(*len).is_ok()
        };
        let width = if self.runs.iter().all(narrow) {
            NARROW
        } else {
            WIDE
        };
        out.put_u8(width);
        out.put_len_u32(self.runs.len());
        let width = usize::from(width);
        out.reserve(self.runs.len() * 2 * width + self.rows.len() + 2 * super::FRAME_ALIGN);
        for (start, len) in &*self.runs {
            out.put(&start.to_le_bytes()[..width]);
            out.put(&len.to_le_bytes()[..width]);
        }
        out.put_len_u32(self.rows.len());
        out.put(&self.rows);
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        let name = decode_name(reader)?;
        let generation = reader.u64()?;
        let modified_us = reader.u64()?;
        let width = reader.u8()?;
        if width != NARROW && width != WIDE {
            return Err(reader.corrupt(format!(
                "row numbers of {width} bytes, expected {NARROW} or {WIDE}"
            )));
        }
        let count = reader.count(2 * usize::from(width), "runs of rows")?;
        let mut runs = Vec::with_capacity(count);
        let (mut free_from, mut rows) = (0_u64, 0_u64);
        for _ in 0..count {
            let (start, len) = if width == NARROW {
                (reader.u32()?.into(), reader.u32()?.into())
            } else {
                (reader.u64()?, reader.u64()?)
            };
            free_from = super::record::run_end(reader, free_from, start, len)?;
            rows += len;
            runs.push((start, len));
        }
        let len = reader.count(1, "bytes of rows")?;
        let bytes = reader.bytes(len)?;
        let whole = usize::try_from(rows).is_ok_and(|rows| match len.checked_rem(rows) {
            None => len == 0,
            Some(rest) => rest == 0,
        });
        if !whole {
            return Err(reader.corrupt(format!("{len} bytes are not {rows} rows of one size")));
        }
        Ok(Self {
            name,
            generation,
            modified_us,
            runs: runs.into(),
            rows: bytes.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replace(runs: &[(u64, u64)], rows: Vec<u8>) -> Replace {
        Replace {
            name: ArrayName::new("a").unwrap(),
            generation: 1,
            modified_us: 2,
            runs: runs.into(),
            rows: rows.into(),
        }
    }

    fn round(replace: &Replace) -> Result<Replace> {
        let mut body = Vec::new();
        replace.encode_into(&mut body);
        Replace::decode(&mut Reader::new(&body, "a record"))
    }

    #[test]
    fn narrow_and_wide_row_numbers() {
        for runs in [
            &[(0, 1), (7, 2)][..],
            &[(0, 1), (u64::from(u32::MAX) + 1, 2)],
            &[],
        ] {
            let count: u64 = runs.iter().map(|run| run.1).sum();
            let replace = replace(runs, vec![9; 5 * usize::try_from(count).unwrap()]);
            assert_eq!(round(&replace), Ok(replace.clone()));
        }
    }

    #[test]
    fn rows_must_fit_their_bytes() {
        let error = round(&replace(&[(0, 2)], vec![1; 5])).unwrap_err();
        assert!(
            error.to_string().contains("5 bytes are not 2 rows"),
            "{error}"
        );
        let error = round(&replace(&[(4, 2), (5, 1)], vec![1; 3])).unwrap_err();
        assert!(error.to_string().contains("1 rows from row 5"), "{error}");
        assert!(round(&replace(&[], vec![1])).is_err());
    }

    #[test]
    fn a_large_change_is_split_and_stays_the_same() {
        let wide = 3 << 20;
        let rows: Vec<u8> = (0..13).flat_map(|row| vec![row; wide]).collect();
        let parts = replace(&[(5, 7), (100, 6)], rows.clone()).split();
        assert_eq!(parts.len(), 3);
        assert_eq!(*parts[1].runs, [(10, 2), (100, 3)]);
        assert_eq!(parts.iter().map(Replace::count).sum::<u64>(), 13);
        assert_eq!(
            parts
                .iter()
                .flat_map(|part| part.rows.to_vec())
                .collect::<Vec<_>>(),
            rows
        );

        let runs: Vec<(u64, u64)> = (0..Replace::MAX_RUNS as u64 + 3)
            .map(|i| (2 * i, 1))
            .collect();
        let parts = replace(&runs, vec![1; runs.len()]).split();
        let lens: Vec<usize> = parts.iter().map(|part| part.runs.len()).collect();
        assert_eq!(lens, [Replace::MAX_RUNS, 3]);
    }
}
