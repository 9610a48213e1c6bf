//! A bitmap in the leaves of a tree that copies share: a copy that differs in few bits has all other leaves
//! from its original, and each node knows how many of its rows live.

use std::ops::Range;
use std::sync::Arc;

use crate::bits::{nth_one, set};
use crate::selection::add_run;

/// Words in a leaf.
pub(crate) const WORDS: usize = 32;
const LEAF_ROWS: u64 = WORDS as u64 * 64;
/// Children of a node: 2 to the power of this.
const FAN_BITS: u32 = 4;
pub(crate) const FAN: usize = 1 << FAN_BITS;

/// Rows below a node, of which `live` live.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) live: u64,
    pub(crate) below: Below,
}

#[derive(Clone, Debug)]
pub(crate) enum Below {
    /// A bit a row, set where it lives.
    Words(Arc<[u64; WORDS]>),
    /// Nodes one level down. Of those that are missing at the end no row lives.
    Nodes(Arc<Vec<Node>>),
}

/// Rows below a node with `height` levels.
pub(crate) fn span(height: u32) -> u64 {
    let leaves = 1_u64.checked_shl(FAN_BITS * height);
    leaves
        .and_then(|leaves| leaves.checked_mul(LEAF_ROWS))
        .unwrap_or(u64::MAX)
}

impl Node {
    /// No row lives.
    pub(crate) fn dead(height: u32) -> Self {
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

    pub(crate) fn leaf(words: &[u64]) -> Self {
        let mut all = [0; WORDS];
        all[..words.len()].copy_from_slice(words);
        Self {
            live: words.iter().map(|word| u64::from(word.count_ones())).sum(),
            below: Below::Words(Arc::new(all)),
        }
    }

    /// A node one level above these.
    pub(crate) fn above(nodes: &[Self]) -> Self {
        Self {
            live: nodes.iter().map(|node| node.live).sum(),
            below: Below::Nodes(Arc::new(nodes.to_vec())),
        }
    }

    /// Makes `rows`, which are counted from the node's first, live or not.
    pub(crate) fn change(&mut self, height: u32, rows: Range<u64>, alive: bool) {
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

    /// The physical rows of `live` rows as runs, both ascending and apart.
    pub(crate) fn physical_runs(&self, height: u32, live: &[(u64, u64)]) -> Vec<(u64, u64)> {
        let mut found = Found {
            wanted: live.iter().copied(),
            next: 0..0,
            runs: Vec::with_capacity(live.len()),
        };
        if found.is_below(u64::MAX) {
            self.find(height, 0, 0, &mut found);
        }
        found.runs
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
    pub(crate) fn visit<'a>(
        &'a self,
        height: u32,
        first: u64,
        each: &mut impl FnMut(u64, Living<'a>),
    ) {
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
pub(crate) enum Living<'a> {
    /// All of so many.
    All(u64),
    /// Some of a leaf.
    Some(&'a [u64; WORDS]),
}

/// The ones of a word. Most are full where few rows are deleted, and counting takes longer.
pub(crate) fn count_ones(word: u64) -> u64 {
    match word {
        u64::MAX => 64,
        word => u64::from(word.count_ones()),
    }
}

pub(crate) fn to_usize(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}
