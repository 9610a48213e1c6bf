use std::ops::Range;

use super::rows::Rows;
use crate::source::RowRanges;

/// Rows that a filter looks at together. Chunks end at multiples of this.
pub(crate) const BLOCK: u64 = 8192;

/// The rows of a scan, piece by piece, in the order that they are given in.
#[derive(Debug)]
pub(crate) struct Chunks {
    ranges: Vec<Range<u64>>,
    /// The index of the range that comes next; the one before it when reversed.
    next: usize,
    /// Whether the last row comes first.
    reversed: bool,
    size: Size,
}

#[derive(Clone, Copy, Debug)]
enum Size {
    /// This many rows.
    Rows(u64),
    /// The rows of one block.
    Block,
}

impl Chunks {
    /// Pieces of `rows` rows.
    pub(crate) fn of_rows(ranges: &RowRanges, rows: usize, reversed: bool) -> Self {
        Self::new(ranges, Size::Rows(rows.max(1) as u64), reversed)
    }

    /// The rows of one block after another.
    pub(crate) fn of_blocks(ranges: &RowRanges, reversed: bool) -> Self {
        Self::new(ranges, Size::Block, reversed)
    }

    fn new(ranges: &RowRanges, size: Size, reversed: bool) -> Self {
        let mut ranges = ranges.ranges().to_vec();
        if !reversed {
            // What comes next is taken off the end.
            ranges.reverse();
        }
        Self {
            next: ranges.len(),
            ranges,
            reversed,
            size,
        }
    }

    /// Leaves out what is not among `kept`; gives the number of blocks that have no rows left.
    pub(crate) fn keep(&mut self, kept: &RowRanges) -> u64 {
        let left = RowRanges::of(self.ranges[..self.next].iter().cloned());
        let rest = left.and(kept);
        let pruned = blocks(&left) - blocks(&rest);
        *self = Self::new(&rest, self.size, self.reversed);
        pruned
    }

    /// Rows that have not come yet.
    pub(crate) fn rows_left(&self) -> u64 {
        let left = self.ranges[..self.next].iter();
        left.map(|range| range.end - range.start).sum()
    }

    /// Takes rows of the next range, as many as there is `room` for, and none of another block than
    /// `block`.
    fn piece(&mut self, room: u64, block: Option<u64>) -> Option<Range<u64>> {
        let reversed = self.reversed;
        let range = self.ranges[..self.next].last_mut()?;
        let (first, last) = (range.start / BLOCK, (range.end - 1) / BLOCK);
        let here = if reversed { last } else { first };
        if block.is_some_and(|block| block != here) {
            return None;
        }
        let bounded = matches!(self.size, Size::Block);
        let piece = if reversed {
            let low = if bounded { here * BLOCK } else { 0 };
            range.start.max(low).max(range.end.saturating_sub(room))..range.end
        } else {
            let high = if bounded {
                (here + 1) * BLOCK
            } else {
                u64::MAX
            };
            range.start..range.end.min(high).min(range.start.saturating_add(room))
        };
        if reversed {
            range.end = piece.start;
        } else {
            range.start = piece.end;
        }
        if range.start == range.end {
            self.next -= 1;
        }
        Some(piece)
    }
}

/// The number of blocks that have some of `rows`.
fn blocks(rows: &RowRanges) -> u64 {
    let mut counted = 0;
    let mut blocks = 0;
    for range in rows.ranges() {
        let (first, end) = (range.start / BLOCK, (range.end - 1) / BLOCK + 1);
        blocks += end.saturating_sub(first.max(counted));
        counted = end;
    }
    blocks
}

impl Iterator for Chunks {
    type Item = Rows;

    /// In ascending order within a block, whatever the order of the blocks; pieces of rows are in the
    /// order of the scan.
    fn next(&mut self) -> Option<Rows> {
        let most = match self.size {
            Size::Rows(rows) => rows,
            Size::Block => BLOCK,
        };
        let first = self.piece(most, None)?;
        let block = matches!(self.size, Size::Block).then_some(first.start / BLOCK);
        let mut left = most - (first.end - first.start);
        let mut pieces = vec![first];
        while left > 0
            && let Some(piece) = self.piece(left, block)
        {
            left -= piece.end - piece.start;
            pieces.push(piece);
        }
        if self.reversed {
            pieces.reverse();
        }
        let mut rows = Rows::none();
        for piece in pieces {
            rows.extend(Rows::Range(piece));
        }
        Some(rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(ranges: &[Range<u64>]) -> RowRanges {
        RowRanges::of(ranges.iter().cloned())
    }

    #[test]
    fn blocks_end_where_blocks_end() {
        let rows = ranges(&[5..7, 9..10, 8000..20_000, 30_000..30_001]);
        let mut first: Vec<u64> = vec![5, 6, 9];
        first.extend(8000..8192);
        let expected = [
            Rows::List(first),
            Rows::Range(8192..16_384),
            Rows::Range(16_384..20_000),
            Rows::Range(30_000..30_001),
        ];
        let forth: Vec<Rows> = Chunks::of_blocks(&rows, false).collect();
        assert_eq!(forth, expected);
        let mut back: Vec<Rows> = Chunks::of_blocks(&rows, true).collect();
        back.reverse();
        assert_eq!(back, expected);
    }

    #[test]
    fn blocks_are_left_out_at_any_time() {
        let rows = ranges(&[5..7, 9..10, 8000..20_000, 30_000..30_001]);
        let kept = ranges(&[0..8192, 16_384..24_576]);
        for reversed in [false, true] {
            let mut chunks = Chunks::of_blocks(&rows, reversed);
            let first = chunks.next();
            // The block of the first rows is none any more.
            assert_eq!(chunks.keep(&kept), if reversed { 1 } else { 2 });
            let rest: Vec<Rows> = chunks.collect();
            if reversed {
                assert_eq!(first, Some(Rows::Range(30_000..30_001)));
                assert_eq!(rest.len(), 2);
            } else {
                assert_eq!(rest, [Rows::Range(16_384..20_000)]);
            }
        }
    }

    #[test]
    fn pieces_are_full_in_either_direction() {
        let rows = ranges(&[0..10, 20..25]);
        let forth: Vec<Rows> = Chunks::of_rows(&rows, 8, false).collect();
        let second = vec![8, 9, 20, 21, 22, 23, 24];
        assert_eq!(forth, [Rows::Range(0..8), Rows::List(second)]);
        let back: Vec<Rows> = Chunks::of_rows(&rows, 8, true).collect();
        let first = vec![7, 8, 9, 20, 21, 22, 23, 24];
        assert_eq!(back, [Rows::List(first), Rows::Range(0..7)]);
        assert_eq!(Chunks::of_rows(&ranges(&[]), 8, false).next(), None);
    }
}
