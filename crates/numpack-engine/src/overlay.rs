//! Rows that were replaced and that the data file does not have yet.
//!
//! Each REPLACE record is one link of a chain, newest first. Adding one costs the same however many
//! there are, and a snapshot that holds a link never sees what is added after it. Who wants to know
//! what a row is now asks an index over the chain, made and brought up to date when it is asked.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use parking_lot::RwLock;

/// Pages of memory that a map is patched by.
const PAGE: u64 = 4096;

/// The rows of one record.
#[derive(Debug)]
struct Patch {
    runs: Arc<[(u64, u64)]>,
    rows: Arc<[u8]>,
}

/// The pending rows of a generation. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Overlay(Option<Arc<Link>>);

#[derive(Debug)]
struct Link {
    patch: Arc<Patch>,
    before: Overlay,
    lsn: u64,
    row_bytes: usize,
    /// Links up to this one.
    depth: usize,
    /// Pages that the links up to this one touch, those touched twice counted twice.
    pages: u64,
    /// Shared by all links of the chain; it may be ahead of this one.
    index: Arc<RwLock<Index>>,
    /// Of this link alone, made when the shared one is ahead.
    own: OnceLock<Index>,
}

impl Drop for Link {
    fn drop(&mut self) {
        // By hand: a chain of many links would be dropped by as many nested calls.
        let mut next = self.before.0.take();
        while let Some(mut link) = next.and_then(Arc::into_inner) {
            next = link.before.0.take();
        }
    }
}

impl Overlay {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The last record that is part of it; 0 if there is none.
    pub(crate) fn lsn(&self) -> u64 {
        self.0.as_ref().map_or(0, |link| link.lsn)
    }

    /// No more pages than this are touched.
    pub(crate) fn pages_at_most(&self) -> u64 {
        self.0.as_ref().map_or(0, |link| link.pages)
    }

    /// Adds the rows of record `lsn`: `runs` of physical rows, ascending and disjoint, and their bytes.
    pub(crate) fn push(
        &mut self,
        lsn: u64,
        runs: &Arc<[(u64, u64)]>,
        rows: &Arc<[u8]>,
        row_bytes: usize,
    ) {
        if runs.is_empty() || row_bytes == 0 {
            return;
        }
        let width = row_bytes as u64;
        let mut pages = self.pages_at_most();
        let mut free_from = 0;
        for &(start, len) in &**runs {
            let first = (start * width / PAGE).max(free_from);
            free_from = ((start + len) * width).div_ceil(PAGE);
            pages += free_from - first.min(free_from);
        }
        let before = self.clone();
        let (depth, index) = match &before.0 {
            Some(link) => (link.depth + 1, Arc::clone(&link.index)),
            None => (1, Arc::default()),
        };
        *self = Self(Some(Arc::new(Link {
            patch: Arc::new(Patch {
                runs: Arc::clone(runs),
                rows: Arc::clone(rows),
            }),
            before,
            lsn,
            row_bytes,
            depth,
            pages,
            index,
            own: OnceLock::new(),
        })));
    }

    /// Forgets the records up to `upto`, which the file has.
    pub(crate) fn settle(&mut self, upto: u64) {
        let mut newer = Vec::new();
        let mut at = self.0.clone();
        while let Some(link) = at.filter(|link| link.lsn > upto) {
            at = link.before.0.clone();
            newer.push(link);
        }
        *self = Self::default();
        for link in newer.into_iter().rev() {
            self.push(link.lsn, &link.patch.runs, &link.patch.rows, link.row_bytes);
        }
    }

    /// Gives what the rows are now to `ask`.
    pub(crate) fn index<T>(&self, ask: impl FnOnce(&Index) -> T) -> T {
        let Some(link) = &self.0 else {
            return ask(&Index::default());
        };
        {
            let shared = link.index.read();
            if shared.is_at(link) {
                return ask(&shared);
            }
        }
        {
            let mut shared = link.index.write();
            if shared.advance(link) {
                return ask(&shared);
            }
        }
        let own = || {
            let mut own = Index::default();
            own.advance(link);
            own
        };
        ask(link.own.get_or_init(own))
    }

    /// Writes the pending rows of physical `rows` into `out`, which holds these rows.
    pub(crate) fn patch(&self, rows: Range<u64>, out: &mut [u8]) {
        let first = rows.start;
        self.index(|index| {
            for (start, bytes) in index.pieces(rows) {
                let at = to_usize(start - first) * index.row_bytes;
                out[at..at + bytes.len()].copy_from_slice(bytes);
            }
        });
    }

    /// Whether any of `rows` is pending.
    pub(crate) fn touches(&self, rows: Range<u64>) -> bool {
        !self.is_empty() && self.index(|index| index.pieces(rows).next().is_some())
    }
}

/// Which record has the newest bytes of which rows.
#[derive(Debug, Default)]
pub(crate) struct Index {
    patches: Vec<Arc<Patch>>,
    /// By first row.
    pieces: BTreeMap<u64, Piece>,
    row_bytes: usize,
}

#[derive(Clone, Copy, Debug)]
struct Piece {
    len: u64,
    /// Which of the patches.
    patch: usize,
    /// Which of its rows is the first.
    at: u64,
}

impl Index {
    fn is_at(&self, link: &Link) -> bool {
        self.patches.len() == link.depth && self.follows(link)
    }

    /// Whether `link` is the last one that is part of this.
    fn follows(&self, link: &Link) -> bool {
        let last = link.depth.checked_sub(1).and_then(|i| self.patches.get(i));
        last.is_some_and(|patch| Arc::ptr_eq(patch, &link.patch))
    }

    /// Takes in all links up to `link`; false if this is ahead of it, or of another branch of the chain.
    fn advance(&mut self, link: &Link) -> bool {
        let mut missing = vec![];
        let mut at = Some(link);
        while let Some(link) = at.filter(|link| link.depth > self.patches.len()) {
            missing.push(link);
            at = link.before.0.as_deref();
        }
        let joins = match at {
            Some(link) => link.depth == self.patches.len() && self.follows(link),
            None => self.patches.is_empty(),
        };
        if !joins {
            return false;
        }
        self.row_bytes = link.row_bytes;
        for link in missing.into_iter().rev() {
            let patch = self.patches.len();
            self.patches.push(Arc::clone(&link.patch));
            let mut at = 0;
            for &(start, len) in &*link.patch.runs {
                self.insert(start, Piece { len, patch, at });
                at += len;
            }
        }
        true
    }

    fn insert(&mut self, start: u64, piece: Piece) {
        // The same rows again, which is the commonest case.
        if let Some(old) = self.pieces.get_mut(&start)
            && old.len == piece.len
        {
            *old = piece;
            return;
        }
        let end = start + piece.len;
        while let Some((&other, &old)) = self.pieces.range(..end).next_back() {
            let old_end = other + old.len;
            if old_end <= start {
                break;
            }
            self.pieces.remove(&other);
            if other < start {
                let len = start - other;
                self.pieces.insert(other, Piece { len, ..old });
            }
            if old_end > end {
                let (len, at) = (old_end - end, old.at + (end - other));
                self.pieces.insert(end, Piece { len, at, ..old });
            }
        }
        self.pieces.insert(start, piece);
    }

    /// The pending rows among `rows`, ascending: first row and bytes of each stretch.
    pub(crate) fn pieces(&self, rows: Range<u64>) -> impl Iterator<Item = (u64, &[u8])> {
        let before = self.pieces.range(..rows.start).next_back();
        let overlaps = before.filter(|(start, piece)| *start + piece.len > rows.start);
        let first = overlaps.map_or(rows.start, |(start, _)| *start);
        self.pieces
            .range(first..rows.end.max(first))
            .map(move |(&start, piece)| {
                let from = start.max(rows.start);
                let to = (start + piece.len).min(rows.end);
                (from, self.bytes(piece, from - start, to - from))
            })
    }

    /// The bytes of a row, if it is pending.
    pub(crate) fn row(&self, row: u64) -> Option<&[u8]> {
        let (&start, piece) = self.pieces.range(..=row).next_back()?;
        (row < start + piece.len).then(|| self.bytes(piece, row - start, 1))
    }

    /// The number of different pages that pending rows lie in.
    pub(crate) fn pages(&self) -> u64 {
        let width = self.row_bytes as u64;
        let (mut pages, mut free_from) = (0, 0);
        for (&start, piece) in &self.pieces {
            let first = (start * width / PAGE).max(free_from);
            free_from = ((start + piece.len) * width).div_ceil(PAGE).max(free_from);
            pages += free_from - first.min(free_from);
        }
        pages
    }

    fn bytes(&self, piece: &Piece, skip: u64, len: u64) -> &[u8] {
        let from = to_usize(piece.at + skip) * self.row_bytes;
        &self.patches[piece.patch].rows[from..from + to_usize(len) * self.row_bytes]
    }
}

fn to_usize(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WIDTH: usize = 3;

    fn push(overlay: &mut Overlay, lsn: u64, runs: &[(u64, u64)], value: u8) {
        let count: u64 = runs.iter().map(|run| run.1).sum();
        let rows: Vec<u8> = (0..to_usize(count) * WIDTH)
            .map(|i| value.wrapping_add(i as u8))
            .collect();
        overlay.push(lsn, &runs.into(), &rows.into(), WIDTH);
    }

    fn patched(overlay: &Overlay, rows: u64) -> Vec<u8> {
        let mut out = vec![0; to_usize(rows) * WIDTH];
        overlay.patch(0..rows, &mut out);
        out
    }

    #[test]
    fn the_last_record_wins_and_older_snapshots_do_not_see_it() {
        let mut overlay = Overlay::default();
        push(&mut overlay, 1, &[(2, 3)], 10);
        let old = overlay.clone();
        push(&mut overlay, 2, &[(3, 1)], 50);
        assert_eq!(
            patched(&overlay, 6)[6..15],
            [10, 11, 12, 50, 51, 52, 16, 17, 18]
        );
        assert_eq!(
            patched(&old, 6)[6..15],
            [10, 11, 12, 13, 14, 15, 16, 17, 18]
        );
        assert_eq!((overlay.lsn(), old.lsn()), (2, 1));
        assert!(overlay.touches(4..9) && !overlay.touches(0..2) && !overlay.touches(5..9));
    }

    #[test]
    fn branches_of_a_chain_do_not_mix() {
        let mut common = Overlay::default();
        push(&mut common, 1, &[(0, 1)], 1);
        let (mut one, mut other) = (common.clone(), common);
        push(&mut one, 2, &[(1, 1)], 20);
        assert_eq!(patched(&one, 2), [1, 2, 3, 20, 21, 22]);
        push(&mut other, 2, &[(1, 1)], 40);
        assert_eq!(patched(&other, 2), [1, 2, 3, 40, 41, 42]);
        assert_eq!(patched(&one, 2), [1, 2, 3, 20, 21, 22]);
    }

    #[test]
    fn what_the_file_has_is_forgotten() {
        let mut overlay = Overlay::default();
        push(&mut overlay, 3, &[(0, 1)], 1);
        push(&mut overlay, 7, &[(1, 1)], 5);
        let mut all = overlay.clone();
        overlay.settle(3);
        assert_eq!(patched(&overlay, 2), [0, 0, 0, 5, 6, 7]);
        all.settle(7);
        assert!(all.is_empty());
    }

    #[test]
    fn pages_are_counted() {
        let mut overlay = Overlay::default();
        let far = PAGE;
        push(&mut overlay, 1, &[(0, 2), (5, 1), (far, 1)], 1);
        push(&mut overlay, 2, &[(0, 2)], 1);
        assert_eq!(overlay.pages_at_most(), 3);
        assert_eq!(overlay.index(Index::pages), 2);
    }

    #[test]
    fn a_long_chain_is_dropped_without_a_deep_stack() {
        let mut overlay = Overlay::default();
        for lsn in 1..200_000 {
            push(&mut overlay, lsn, &[(lsn % 5, 1)], 1);
        }
        drop(overlay);
    }

    proptest! {
        #[test]
        fn equals_writing_in_order(records in prop::collection::vec(
            prop::collection::vec((0..9_u64, 1..9_u64), 1..6), 1..12)) {
            let rows = 120;
            let mut model = vec![0_u8; rows * WIDTH];
            let mut overlay = Overlay::default();
            let mut states = vec![];
            for (lsn, gaps) in (1..).zip(records) {
                let mut from = 0;
                let runs: Vec<(u64, u64)> = gaps.iter().map(|&(gap, len)| {
                    let start = from + gap;
                    from = start + len;
                    (start, len)
                }).collect();
                push(&mut overlay, lsn, &runs, lsn as u8 * 17);
                let mut value = lsn as u8 * 17;
                for &(start, len) in &runs {
                    for byte in &mut model[to_usize(start) * WIDTH..to_usize(start + len) * WIDTH] {
                        *byte = value;
                        value = value.wrapping_add(1);
                    }
                }
                if lsn % 3 == 0 {
                    prop_assert_eq!(&patched(&overlay, rows as u64), &model);
                }
                states.push((overlay.clone(), model.clone()));
            }
            for (overlay, model) in states.iter().rev() {
                prop_assert_eq!(&patched(overlay, rows as u64), model);
                overlay.index(|index| {
                    for row in 0..rows as u64 {
                        let at = to_usize(row) * WIDTH;
                        if let Some(bytes) = index.row(row) {
                            assert_eq!(bytes, &model[at..at + WIDTH]);
                        } else {
                            assert_eq!(model[at..at + WIDTH], [0; WIDTH]);
                        }
                    }
                });
                let part = 31..77;
                let mut out = vec![0; (77 - 31) * WIDTH];
                overlay.patch(part, &mut out);
                prop_assert_eq!(&out, &model[31 * WIDTH..77 * WIDTH]);
            }
        }
    }
}
