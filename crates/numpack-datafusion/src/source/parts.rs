//! A source's rows as parts that are read at once.

use super::{NumPackSource, RowRanges};
use crate::scan::BLOCK;

/// Fewer rows than this are one part, unless they are wide.
const FEW_ROWS: u64 = 100_000;

/// What this many bytes are read of is worth parts, however few the rows.
const WIDE_BYTES: u64 = 16 << 20;

/// Fewer bytes than this are one part: starting threads would take longer than reading them.
const FEW_BYTES: u64 = 1 << 20;

impl NumPackSource {
    /// The number of parts that pay, up to `most`.
    pub(super) fn parts_worth(&self, most: usize) -> usize {
        let rows = self.wanted().len();
        let row_bytes: usize = self.read_bytes();
        let bytes = rows.saturating_mul(row_bytes as u64);
        let large = bytes >= FEW_BYTES && (rows >= FEW_ROWS || bytes >= WIDE_BYTES);
        let blocks = usize::try_from(rows.div_ceil(BLOCK)).unwrap_or(usize::MAX);
        if large {
            most.clamp(1, blocks.max(1))
        } else {
            1
        }
    }

    /// Bytes that are read of each row.
    fn read_bytes(&self) -> usize {
        let mut read = self.output.clone();
        read.extend(self.filters.iter().flat_map(super::Filter::reads));
        read.sort_unstable();
        read.dedup();
        read.iter()
            .filter(|&&leaf| Some(leaf) != self.leaves.row_id())
            .map(|&leaf| self.leaves.row_bytes(&self.relation, leaf))
            .sum()
    }
}

impl RowRanges {
    /// Part `part` of `parts` of about as many rows each, which ends where a block does.
    pub(crate) fn part(&self, part: usize, parts: usize) -> Self {
        let border = |part: usize| {
            let rows = u128::from(self.len()) * part as u128 / parts as u128;
            let rows = u64::try_from(rows).unwrap_or(u64::MAX);
            match self.at(rows) {
                Some(row) if part > 0 => row / BLOCK * BLOCK,
                Some(_) => 0,
                None => u64::MAX,
            }
        };
        self.and(&Self::one(border(part)..border(part + 1)))
    }

    /// The row that has `rows` of these before it.
    fn at(&self, rows: u64) -> Option<u64> {
        let mut left = rows;
        self.ranges().iter().find_map(|range| {
            let here = range.end - range.start;
            if left < here {
                return Some(range.start + left);
            }
            left -= here;
            None
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_all_rows_once_and_end_with_blocks() {
        let sets = [
            RowRanges::one(0..1_000_000),
            RowRanges::of([5..100_000, 200_000..200_001, 300_000..420_000]),
            RowRanges::of((0..500).map(|i| i * 1000..i * 1000 + 1)),
            RowRanges::one(0..3),
            RowRanges::of([]),
        ];
        for rows in sets {
            for parts in 1..9 {
                let mut all = Vec::new();
                let mut end = 0;
                for part in 0..parts {
                    let part = rows.part(part, parts);
                    if let (Some(first), Some(last)) = (part.ranges().first(), part.ranges().last())
                    {
                        assert!(first.start >= end, "ascending");
                        assert!(
                            end == 0 || first.start / BLOCK > (end - 1) / BLOCK,
                            "blocks"
                        );
                        end = last.end;
                    }
                    assert!(part.len() <= rows.len() / parts as u64 + 2 * BLOCK);
                    all.extend(part.ranges().to_vec());
                }
                assert_eq!(RowRanges::of(all), rows, "{parts} parts");
            }
        }
    }
}
