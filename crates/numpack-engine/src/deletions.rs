//! Which rows of an array are live, as a bitmap in shared pieces of two sizes: a copy that differs in
//! few rows shares all other pieces with its original, and each knows how many of its rows live.
//! Deleting a row costs a copy of 256 bytes and of one list of pieces, whatever the array's length.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use numpack_format::{BitmapFile, MAX_METADATA_LEN};

/// Words in a piece.
const WORDS: usize = 32;
const PIECE_ROWS: u64 = WORDS as u64 * 64;
/// Pieces in a group.
const PIECES: usize = 64;
const GROUP_ROWS: u64 = PIECES as u64 * PIECE_ROWS;

#[derive(Clone, Debug)]
struct Piece {
    words: [u64; WORDS],
    live: u64,
}

#[derive(Clone, Debug, Default)]
struct Group {
    /// All groups but the last have [`PIECES`].
    pieces: Vec<Arc<Piece>>,
    live: u64,
}

/// A set of live rows among `rows` physical rows, with at least one row deleted at some time.
#[derive(Clone, Debug)]
pub(crate) struct Deletions {
    rows: u64,
    live: u64,
    groups: Vec<Arc<Group>>,
    /// Live rows before each group, filled when first asked for.
    before: OnceLock<Vec<u64>>,
}

/// `len` neighbouring physical rows from `start` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// First physical row.
    pub start: u64,
    /// Number of rows.
    pub len: u64,
}

impl Run {
    /// The rows as a range.
    pub fn range(self) -> Range<u64> {
        self.start..self.start + self.len
    }
}

impl Deletions {
    /// Most rows of which some can be deleted: a longer bitmap is not read again. Rows without a byte may
    /// be more than any memory has bits for.
    pub(crate) const MAX_ROWS: u64 = (MAX_METADATA_LEN as u64 - 16) * 8;

    /// All of `rows` rows live.
    pub(crate) fn none(rows: u64) -> Self {
        let mut all = Self {
            rows: 0,
            live: 0,
            groups: Vec::new(),
            before: OnceLock::new(),
        };
        all.extend(rows);
        all
    }

    /// What a bitmap file says.
    pub(crate) fn from_file(file: &BitmapFile) -> Self {
        let piece = |chunk: &[u64]| {
            let mut words = [0; WORDS];
            words[..chunk.len()].copy_from_slice(chunk);
            Arc::new(Piece {
                words,
                live: ones(chunk),
            })
        };
        let group = |chunk: &[u64]| {
            let pieces = chunk.chunks(WORDS).map(piece).collect();
            Arc::new(Group {
                pieces,
                live: ones(chunk),
            })
        };
        let groups = file.words.chunks(WORDS * PIECES).map(group).collect();
        Self {
            rows: file.rows,
            live: ones(&file.words),
            groups,
            before: OnceLock::new(),
        }
    }

    /// The same for a bitmap file.
    pub(crate) fn to_file(&self) -> BitmapFile {
        let pieces = self.groups.iter().flat_map(|group| &group.pieces);
        let mut words: Vec<u64> = pieces.flat_map(|piece| piece.words).collect();
        words.truncate(to_usize(self.rows.div_ceil(64)));
        BitmapFile {
            rows: self.rows,
            words,
        }
    }

    /// Physical rows.
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// Deleted rows.
    pub(crate) fn deleted(&self) -> u64 {
        self.rows - self.live
    }

    /// Adds `rows` live rows at the end.
    pub(crate) fn extend(&mut self, rows: u64) {
        let end = self.rows + rows;
        let empty = Arc::new(Piece {
            words: [0; WORDS],
            live: 0,
        });
        self.groups
            .resize_with(to_usize(end.div_ceil(GROUP_ROWS)), Arc::default);
        let first = to_usize(self.rows / GROUP_ROWS);
        for (index, group) in self.groups.iter_mut().enumerate().skip(first) {
            let left = end - index as u64 * GROUP_ROWS;
            let pieces = to_usize(left.div_ceil(PIECE_ROWS)).min(PIECES);
            Arc::make_mut(group)
                .pieces
                .resize_with(pieces, || Arc::clone(&empty));
        }
        self.change(self.rows..end, true);
        self.rows = end;
    }

    /// Deletes the rows of `run`; deleted ones stay deleted. Rows past the end are ignored.
    pub(crate) fn delete(&mut self, run: Run) {
        let end = (run.start + run.len).min(self.rows);
        self.change(run.start.min(end)..end, false);
    }

    fn change(&mut self, rows: Range<u64>, alive: bool) {
        let mut row = rows.start;
        while row < rows.end {
            let in_piece = row % PIECE_ROWS;
            let end = rows.end.min(row - in_piece + PIECE_ROWS);
            let group = Arc::make_mut(&mut self.groups[to_usize(row / GROUP_ROWS)]);
            let piece = &mut group.pieces[to_usize(row % GROUP_ROWS / PIECE_ROWS)];
            let piece = Arc::make_mut(piece);
            let changed = set(&mut piece.words, in_piece..in_piece + (end - row), alive);
            for live in [&mut piece.live, &mut group.live, &mut self.live] {
                *live = if alive {
                    *live + changed
                } else {
                    *live - changed
                };
            }
            row = end;
        }
        self.before.take();
    }

    fn before(&self) -> &[u64] {
        self.before.get_or_init(|| {
            let counts = self.groups.iter().map(|group| group.live);
            counts
                .scan(0, |total, live| {
                    let before = *total;
                    *total += live;
                    Some(before)
                })
                .collect()
        })
    }

    /// The physical row of live row number `logical`, which is below the number of live rows.
    pub(crate) fn physical(&self, logical: u64) -> u64 {
        let before = self.before();
        let index = before.partition_point(|&b| b <= logical).saturating_sub(1);
        let Some(group) = self.groups.get(index) else {
            return self.rows;
        };
        let mut left = logical - before[index];
        for (first, piece) in (index as u64 * GROUP_ROWS..)
            .step_by(WORDS * 64)
            .zip(&group.pieces)
        {
            if left >= piece.live {
                left -= piece.live;
                continue;
            }
            for (start, &word) in (first..).step_by(64).zip(&piece.words) {
                let ones = u64::from(word.count_ones());
                if left < ones {
                    return start + nth_one(word, left);
                }
                left -= ones;
            }
        }
        self.rows
    }

    /// The live rows as runs, ascending.
    pub(crate) fn runs(&self) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        let mut push = |start: u64, len: u64| match runs.last_mut() {
            Some(last) if last.start + last.len == start => last.len += len,
            _ => runs.push(Run { start, len }),
        };
        let pieces = self.groups.iter().flat_map(|group| &group.pieces);
        for (first, piece) in (0..).step_by(WORDS * 64).zip(pieces) {
            if piece.live == PIECE_ROWS {
                push(first, PIECE_ROWS);
                continue;
            }
            for (start, &word) in (first..).step_by(64).zip(&piece.words) {
                let mut rest = word;
                while rest != 0 {
                    let low = rest.trailing_zeros();
                    let ones = (rest >> low).trailing_ones();
                    push(start + u64::from(low), u64::from(ones));
                    rest &= u64::MAX.checked_shl(low + ones).unwrap_or(0);
                }
            }
        }
        runs
    }
}

fn to_usize(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

fn ones(words: &[u64]) -> u64 {
    words.iter().map(|word| u64::from(word.count_ones())).sum()
}

/// Sets or clears the bits `rows` and tells how many that changed.
fn set(words: &mut [u64; WORDS], rows: Range<u64>, alive: bool) -> u64 {
    let mut changed = 0;
    let mut row = rows.start;
    while row < rows.end {
        let bit = row % 64;
        let n = (64 - bit).min(rows.end - row);
        let mask = (u64::MAX >> (64 - n)) << bit;
        let word = &mut words[to_usize(row / 64)];
        let new = if alive { *word | mask } else { *word & !mask };
        changed += u64::from((*word ^ new).count_ones());
        *word = new;
        row += n;
    }
    changed
}

/// The position of the one bit of `word` that has `n` one bits below it.
fn nth_one(word: u64, n: u64) -> u64 {
    let mut rest = word;
    for _ in 0..n {
        rest &= rest - 1;
    }
    u64::from(rest.trailing_zeros())
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation, reason = "tests run on 64 bits")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Step {
        Extend(u64),
        Delete(u64, u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let extend = prop_oneof![0_u64..200, 2_000_u64..2_100, 131_000_u64..131_200];
        let step = prop_oneof![
            extend.prop_map(Step::Extend),
            (0_u64..270_000, 0_u64..140_000).prop_map(|(s, n)| Step::Delete(s, n)),
            (0_u64..200, 0_u64..3).prop_map(|(s, n)| Step::Delete(s, n)),
        ];
        proptest::collection::vec(step, 1..12)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn equals_a_vec_of_bools(first in 0_u64..70_000, steps in steps()) {
            let mut model = vec![true; first as usize];
            let mut deletions = Deletions::none(first);
            for step in steps {
                let before = deletions.clone();
                let kept = before.to_file();
                match step {
                    Step::Extend(n) => {
                        model.resize(model.len() + n as usize, true);
                        deletions.extend(n);
                    }
                    Step::Delete(start, len) => {
                        for row in model.iter_mut().skip(start as usize).take(len as usize) {
                            *row = false;
                        }
                        deletions.delete(Run { start, len });
                    }
                }
                prop_assert_eq!(before.to_file().words, kept.words, "a clone changed");
            }
            let live: Vec<u64> = (0..).zip(&model).filter(|(_, on)| **on).map(|(i, _)| i).collect();
            prop_assert_eq!(deletions.rows(), model.len() as u64);
                prop_assert_eq!(deletions.deleted(), (model.len() - live.len()) as u64);
            let from_runs: Vec<u64> = deletions.runs().iter().flat_map(|run| run.range()).collect();
            prop_assert_eq!(&from_runs, &live);
            let runs = deletions.runs();
            prop_assert!(runs.windows(2).all(|w| w[0].start + w[0].len < w[1].start), "runs touch");
            for (logical, &physical) in live.iter().enumerate().step_by(97) {
                prop_assert_eq!(deletions.physical(logical as u64), physical);
            }
            let again = Deletions::from_file(&deletions.to_file());
            prop_assert_eq!(again.runs(), deletions.runs());
            prop_assert_eq!(again.deleted(), deletions.deleted());
        }
    }
}
