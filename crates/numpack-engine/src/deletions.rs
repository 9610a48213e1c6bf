//! Which rows of an array are live, as a bitmap in the leaves of a tree that copies share: a copy that
//! differs in few rows has all other leaves from its original, and each node knows how many of its rows
//! live. Deleting a row copies 256 bytes and a node of 16 children for each level, which are five for a
//! quarter of a billion rows.

use std::ops::Range;
use std::sync::Arc;

use numpack_format::{BitmapFile, MAX_METADATA_LEN};

use crate::bits::{nth_one, set};
use crate::selection::add_run;

/// Words in a leaf.
const WORDS: usize = 32;
const LEAF_ROWS: u64 = WORDS as u64 * 64;
/// Children of a node: 2 to the power of this.
const FAN_BITS: u32 = 4;
const FAN: usize = 1 << FAN_BITS;

/// Rows below a node, of which `live` live.
#[derive(Clone, Debug)]
struct Node {
    live: u64,
    below: Below,
}

#[derive(Clone, Debug)]
enum Below {
    /// A bit a row, set where it lives.
    Words(Arc<[u64; WORDS]>),
    /// Nodes one level down. Of those that are missing at the end no row lives.
    Nodes(Arc<Vec<Node>>),
}

/// A set of live rows among `rows` physical rows, with at least one row deleted at some time.
#[derive(Clone, Debug)]
pub(crate) struct Deletions {
    rows: u64,
    root: Node,
    /// Levels below the root.
    height: u32,
}

/// Rows below a node with `height` levels.
fn span(height: u32) -> u64 {
    let leaves = 1_u64.checked_shl(FAN_BITS * height);
    leaves
        .and_then(|leaves| leaves.checked_mul(LEAF_ROWS))
        .unwrap_or(u64::MAX)
}

impl Node {
    /// No row lives.
    fn dead(height: u32) -> Self {
        let below = match height {
            0 => Below::Words(Arc::new([0; WORDS])),
            _ => Below::Nodes(Arc::default()),
        };
        Self { live: 0, below }
    }

    /// Every row lives.
    fn full(height: u32) -> Self {
        let below = match height.checked_sub(1) {
            None => Below::Words(Arc::new([u64::MAX; WORDS])),
            Some(height) => Below::Nodes(Arc::new(vec![Self::full(height); FAN])),
        };
        let live = span(height);
        Self { live, below }
    }

    fn leaf(words: &[u64]) -> Self {
        let mut all = [0; WORDS];
        all[..words.len()].copy_from_slice(words);
        Self {
            live: words.iter().map(|word| u64::from(word.count_ones())).sum(),
            below: Below::Words(Arc::new(all)),
        }
    }

    /// A node one level above these.
    fn above(nodes: &[Self]) -> Self {
        Self {
            live: nodes.iter().map(|node| node.live).sum(),
            below: Below::Nodes(Arc::new(nodes.to_vec())),
        }
    }

    /// Makes `rows`, which are counted from the node's first, live or not.
    fn change(&mut self, height: u32, rows: Range<u64>, alive: bool) {
        if rows == (0..span(height)) {
            *self = if alive {
                Self::full(height)
            } else {
                Self::dead(height)
            };
            return;
        }
        match &mut self.below {
            Below::Words(words) => {
                let changed = set(&mut Arc::make_mut(words)[..], rows, alive);
                self.live = if alive {
                    self.live + changed
                } else {
                    self.live - changed
                };
            }
            Below::Nodes(nodes) => {
                let nodes = Arc::make_mut(nodes);
                let (height, span) = (height - 1, span(height - 1));
                let (first, end) = (rows.start / span, rows.end.div_ceil(span));
                if alive && nodes.len() < to_usize(end) {
                    nodes.resize_with(to_usize(end), || Self::dead(height));
                }
                // Missing ones at the end are dead already.
                let end = to_usize(end).min(nodes.len());
                let mut start = first * span;
                for node in nodes.get_mut(to_usize(first)..end).unwrap_or_default() {
                    let part = rows.start.max(start) - start..rows.end.min(start + span) - start;
                    self.live -= node.live;
                    node.change(height, part, alive);
                    self.live += node.live;
                    start += span;
                }
            }
        }
    }

    /// Finds what is looked for next, as far as it lives here: `first` is the first row, before which
    /// `before` rows live.
    fn find<W: Iterator<Item = (u64, u64)>>(
        &self,
        height: u32,
        mut first: u64,
        mut before: u64,
        found: &mut Found<W>,
    ) {
        if self.live == span(height) {
            while found.is_below(before + self.live) {
                found.add(before + self.live, first + (found.next.start - before));
            }
            return;
        }
        match &self.below {
            Below::Words(words) => {
                let live = before + self.live;
                let mut words = words.iter();
                let (mut word, mut ones) = (0, 0);
                first = first.wrapping_sub(64);
                while found.is_below(live) {
                    while before + ones <= found.next.start {
                        before += ones;
                        first = first.wrapping_add(64);
                        word = words.next().copied().unwrap_or(u64::MAX);
                        ones = count_ones(word);
                    }
                    let at = nth_one(word, found.next.start - before);
                    let together = u64::from((word >> at).trailing_ones());
                    found.add(found.next.start + together, first + at);
                }
            }
            Below::Nodes(nodes) => {
                for node in nodes.iter() {
                    if found.is_below(before + node.live) {
                        node.find(height - 1, first, before, found);
                    }
                    first += span(height - 1);
                    before += node.live;
                }
            }
        }
    }

    /// Calls `each` with what lives, and its first row, front to back.
    fn visit<'a>(&'a self, height: u32, first: u64, each: &mut impl FnMut(u64, Living<'a>)) {
        match &self.below {
            _ if self.live == 0 => {}
            _ if self.live == span(height) => each(first, Living::All(self.live)),
            Below::Words(words) => each(first, Living::Some(words)),
            Below::Nodes(nodes) => {
                let firsts = (first..).step_by(to_usize(span(height - 1)));
                for (node, first) in nodes.iter().zip(firsts) {
                    node.visit(height - 1, first, each);
                }
            }
        }
    }
}

/// Live rows that are looked for, and the physical ones that were found.
struct Found<W> {
    wanted: W,
    /// Those of the run that is looked for now.
    next: Range<u64>,
    runs: Vec<(u64, u64)>,
}

impl<W: Iterator<Item = (u64, u64)>> Found<W> {
    /// Whether the next row that is looked for is below `live`.
    fn is_below(&mut self, live: u64) -> bool {
        while self.next.is_empty() {
            match self.wanted.next() {
                Some((start, len)) => self.next = start..start + len,
                None => return false,
            }
        }
        self.next.start < live
    }

    /// The next row, and those behind it as far as they are below `live`, are `physical` and those behind.
    fn add(&mut self, live: u64, physical: u64) {
        let len = self.next.end.min(live) - self.next.start;
        add_run(&mut self.runs, physical, len);
        self.next.start += len;
    }
}

/// What lives of neighbouring rows.
enum Living<'a> {
    /// All of so many.
    All(u64),
    /// Some of a leaf.
    Some(&'a [u64; WORDS]),
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
        let mut found = Found {
            wanted: live.iter().copied(),
            next: 0..0,
            runs: Vec::with_capacity(live.len()),
        };
        if found.is_below(u64::MAX) {
            self.root.find(self.height, 0, 0, &mut found);
        }
        found.runs
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

/// The ones of a word. Most are full where few rows are deleted, and counting takes longer.
fn count_ones(word: u64) -> u64 {
    match word {
        u64::MAX => 64,
        word => u64::from(word.count_ones()),
    }
}

fn to_usize(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation, reason = "tests run on 64 bits")]
mod tests {
    use super::*;
    use crate::selection::runs_of;
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
