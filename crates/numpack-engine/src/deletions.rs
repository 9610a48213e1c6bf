//! Which rows of an array are live: a tree (tree.rs) whose copies share what they have in common. Deleting a
//! row copies 256 bytes and a node of 16 children for each level, which are five for a quarter of a billion
//! rows.

use std::ops::Range;

use numpack_format::{BitmapFile, MAX_METADATA_LEN};

use crate::bits::nth_one;
use crate::tree::{Below, FAN, Living, Node, WORDS, count_ones, span, to_usize};

/// A set of live rows among `rows` physical rows, with at least one row deleted at some time.
#[derive(Clone, Debug)]
pub(crate) struct Deletions {
    rows: u64,
    root: Node,
    /// Levels below the root.
    height: u32,
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
            root: Node::dead(0),
            height: 0,
        };
        all.extend(rows);
        all
    }

    /// What a bitmap file says.
    pub(crate) fn from_file(file: &BitmapFile) -> Self {
        let mut nodes: Vec<Node> = file.words.chunks(WORDS).map(Node::leaf).collect();
        let mut height = 0;
        while nodes.len() > 1 {
            nodes = nodes.chunks(FAN).map(Node::above).collect();
            height += 1;
        }
        Self {
            rows: file.rows,
            root: nodes.pop().unwrap_or_else(|| Node::dead(0)),
            height,
        }
    }

    /// The same for a bitmap file.
    pub(crate) fn to_file(&self) -> BitmapFile {
        let mut words = vec![0; to_usize(self.rows.div_ceil(64))];
        self.root.visit(self.height, 0, &mut |first, living| {
            let to = &mut words[to_usize(first / 64)..];
            match living {
                Living::All(rows) => to[..to_usize(rows / 64)].fill(u64::MAX),
                Living::Some(leaf) => {
                    let len = to.len().min(WORDS);
                    to[..len].copy_from_slice(&leaf[..len]);
                }
            }
        });
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
        self.rows - self.root.live
    }

    /// Adds `rows` live rows at the end.
    pub(crate) fn extend(&mut self, rows: u64) {
        let end = self.rows + rows;
        while span(self.height) < end {
            self.root = Node::above(std::slice::from_ref(&self.root));
            self.height += 1;
        }
        if rows > 0 {
            self.root.change(self.height, self.rows..end, true);
        }
        self.rows = end;
    }

    /// Deletes the rows of `run`; deleted ones stay deleted. Rows past the end are ignored.
    pub(crate) fn delete(&mut self, run: Run) {
        let end = (run.start + run.len).min(self.rows);
        if run.start < end {
            self.root.change(self.height, run.start..end, false);
        }
    }

    /// The physical row of live row number `logical`, which is below the number of live rows.
    pub(crate) fn physical(&self, logical: u64) -> u64 {
        let (mut node, mut height) = (&self.root, self.height);
        let (mut left, mut first) = (logical, 0);
        'down: loop {
            match &node.below {
                Below::Words(words) => {
                    for (start, &word) in (first..).step_by(64).zip(words.iter()) {
                        let ones = count_ones(word);
                        if left < ones {
                            return start + nth_one(word, left);
                        }
                        left -= ones;
                    }
                    return self.rows;
                }
                Below::Nodes(nodes) => {
                    height -= 1;
                    for below in nodes.iter() {
                        if left < below.live {
                            node = below;
                            continue 'down;
                        }
                        left -= below.live;
                        first += span(height);
                    }
                    return self.rows;
                }
            }
        }
    }

    /// The physical rows of `live` rows, which are runs of live rows as the result is of physical ones:
    /// ascending and apart.
    pub(crate) fn physical_runs(&self, live: &[(u64, u64)]) -> Vec<(u64, u64)> {
        self.root.physical_runs(self.height, live)
    }

    /// The live rows as runs, ascending.
    pub(crate) fn runs(&self) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        let mut push = |start: u64, len: u64| match runs.last_mut() {
            Some(last) if last.start + last.len == start => last.len += len,
            _ => runs.push(Run { start, len }),
        };
        self.root.visit(self.height, 0, &mut |first, living| {
            let words = match living {
                Living::All(rows) => return push(first, rows),
                Living::Some(words) => words,
            };
            for (start, &word) in (first..).step_by(64).zip(words) {
                let mut rest = word;
                while rest != 0 {
                    let low = rest.trailing_zeros();
                    let ones = (rest >> low).trailing_ones();
                    push(start + u64::from(low), u64::from(ones));
                    rest &= u64::MAX.checked_shl(low + ones).unwrap_or(0);
                }
            }
        });
        runs
    }
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation, reason = "tests run on 64 bits")]
mod tests {
    use super::*;
    use crate::selection::runs_of;
    use proptest::prelude::*;
    use std::sync::Arc;

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
                let some = &live[logical..live.len().min(logical + logical % 3_000)];
                let runs = deletions.physical_runs(&[(logical as u64, some.len() as u64)]);
                prop_assert_eq!(runs, runs_of(some.iter().copied()));
            }
            for (step, len) in [(1, 1), (2, 1), (7, 3), (5_000, 1), (5_000, 4_990), (90_000, 70_000)] {
                let wanted: Vec<(u64, u64)> = (0..live.len()).step_by(step)
                    .map(|start| (start as u64, (live.len() - start).min(len) as u64))
                    .collect();
                let physical = wanted.iter().flat_map(|&(start, len)| {
                    live[start as usize..(start + len) as usize].iter().copied()
                });
                prop_assert_eq!(deletions.physical_runs(&wanted), runs_of(physical));
            }
            prop_assert_eq!(deletions.physical_runs(&[]), []);
            let mut again = Deletions::from_file(&deletions.to_file());
            prop_assert_eq!(again.runs(), deletions.runs());
            prop_assert_eq!(again.deleted(), deletions.deleted());
            // What was read has no full nodes, and goes on as what was made.
            for all in [&mut again, &mut deletions] {
                all.extend(40_000);
                all.delete(Run { start: model.len() as u64 / 2, len: 30_000 });
            }
            prop_assert_eq!(again.runs(), deletions.runs());
            prop_assert_eq!(again.to_file().words, deletions.to_file().words);
        }
    }

    /// Nodes of `one` that `other` does not share.
    fn own(one: &Node, other: Option<&Node>) -> usize {
        match (&one.below, other.map(|other| &other.below)) {
            (Below::Words(one), Some(Below::Words(other))) if Arc::ptr_eq(one, other) => 0,
            (Below::Nodes(one), Some(Below::Nodes(other))) if Arc::ptr_eq(one, other) => 0,
            (Below::Nodes(nodes), Some(Below::Nodes(others))) => {
                let below = nodes.iter().enumerate();
                1 + below
                    .map(|(i, node)| own(node, others.get(i)))
                    .sum::<usize>()
            }
            (Below::Nodes(nodes), _) => 1 + nodes.iter().map(|node| own(node, None)).sum::<usize>(),
            (Below::Words(_), _) => 1,
        }
    }

    #[test]
    fn a_row_of_a_quarter_of_a_billion_copies_a_path() {
        let rows = 250_000_000;
        let all = Deletions::none(rows);
        // Full nodes are made once a level and shared by their neighbours.
        assert!(own(&all.root, None) > 100_000);
        let mut some = all.clone();
        assert_eq!(own(&some.root, Some(&all.root)), 0);
        for i in 0..100 {
            some.delete(Run {
                start: i * 2_400_007,
                len: 1,
            });
        }
        let copied = own(&some.root, Some(&all.root));
        assert!((100..=600).contains(&copied), "{copied} nodes");
        assert_eq!((some.deleted(), some.runs().len()), (100, 100));
        assert_eq!(some.physical(0), 1);
        assert_eq!(some.physical(rows - 101), rows - 1);
        assert_eq!(some.physical(2_400_006), 2_400_008);
        some.delete(Run {
            start: 0,
            len: rows,
        });
        assert_eq!((some.deleted(), some.runs().len()), (rows, 0));
        some.extend(1);
        assert_eq!(
            some.runs(),
            [Run {
                start: rows,
                len: 1
            }]
        );
    }
}
