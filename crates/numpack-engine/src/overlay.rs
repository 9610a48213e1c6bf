//! Rows that were replaced and that the data file does not have yet.
//!
//! Each REPLACE record is one link of a chain, newest first. Adding one costs the same however many
//! there are, and a snapshot that holds a link never sees what is added after it. Who wants to know
//! what a row is now asks an index over the chain (index.rs), brought up to date when it is asked. A chain
//! that has become long is squashed into one link with each row once.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use parking_lot::RwLock;

use crate::index::{Index, Patch, Piece, flatten, pages_of};

/// From so many stretches of rows on, each record's own, a chain is worth folding into its file: a view
/// is patched stretch by stretch.
const CROWDED: usize = 256 << 10;
/// From so many on it is squashed, if that makes it much shorter. Folding, which a writer tries before,
/// looks through the chain as well, and may make this needless.
const SQUASHED: usize = CROWDED + CROWDED / 8;

/// The pending rows of a generation. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Overlay(Option<Arc<Link>>);

#[derive(Debug)]
struct Link {
    patch: Arc<Patch>,
    before: Overlay,
    lsn: u64,
    /// The record of the oldest link.
    first: u64,
    /// Links up to this one.
    depth: usize,
    /// Stretches of the links up to this one, those replaced since counted as well.
    stretches: usize,
    /// Stretches at which the chain is looked through for what was replaced since.
    squash_at: usize,
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

    /// Whether every record after `lsn` that replaced rows is part of it. If not, rows have been folded
    /// since, all those up to then at once, and what is pending came later.
    pub(crate) fn reaches_back_to(&self, lsn: u64) -> bool {
        self.0.as_ref().is_some_and(|link| link.first <= lsn)
    }

    /// No more pages than this are touched.
    pub(crate) fn pages_at_most(&self) -> u64 {
        self.0.as_ref().map_or(0, |link| link.pages)
    }

    /// No more rows than this are pending.
    pub(crate) fn rows_at_most(&self) -> u64 {
        let patches = self.patches_since(0).into_iter();
        patches
            .map(|patch| (patch.rows.len() / patch.row_bytes.max(1)) as u64)
            .sum()
    }

    /// The oldest record of which rows are pending; 0 if there is none.
    pub(crate) fn first(&self) -> u64 {
        self.0.as_ref().map_or(0, |link| link.first)
    }

    /// Whether it has so many stretches of an array's `rows` that views take long to be patched. Of few rows
    /// most are replaced again, so that squashing will do.
    pub(crate) fn is_crowded(&self, rows: u64) -> bool {
        let crowded = self
            .0
            .as_ref()
            .is_some_and(|link| link.stretches >= CROWDED);
        crowded && rows > CROWDED as u64 / 2
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
        let patch = Patch {
            runs: Arc::clone(runs),
            rows: Arc::clone(rows),
            row_bytes,
        };
        self.link(lsn, patch);
        if let Some(link) = &self.0
            && link.stretches >= link.squash_at
        {
            *self = self.squashed();
        }
    }

    fn link(&mut self, lsn: u64, patch: Patch) {
        let before = self.clone();
        let pages = before.pages_at_most() + patch.pages();
        let (first, depth, stretches, squash_at, index) = match &before.0 {
            Some(link) => (
                link.first,
                link.depth + 1,
                link.stretches,
                link.squash_at,
                Arc::clone(&link.index),
            ),
            None => (lsn, 1, 0, SQUASHED, Arc::default()),
        };
        *self = Self(Some(Arc::new(Link {
            stretches: stretches + patch.runs.len(),
            patch: Arc::new(patch),
            before,
            lsn,
            first,
            depth,
            squash_at,
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
            at = link.before.clone().0;
            newer.push(link);
        }
        *self = Self::default();
        for link in newer.into_iter().rev() {
            let patch = &link.patch;
            self.push(link.lsn, &patch.runs, &patch.rows, patch.row_bytes);
        }
    }

    /// Gives what the rows are now to `ask`.
    pub(crate) fn index<T>(&self, ask: impl FnOnce(&Index) -> T) -> T {
        let Some(link) = &self.0 else {
            return ask(&Index::default());
        };
        {
            let shared = link.index.read();
            if shared.ends_at(link.depth, &link.patch) {
                return ask(&shared);
            }
        }
        {
            let mut shared = link.index.write();
            if link.bring_up(&mut shared) {
                return ask(&shared);
            }
        }
        let own = || {
            let mut own = Index::default();
            link.bring_up(&mut own);
            own
        };
        ask(link.own.get_or_init(own))
    }

    /// Writes the pending rows of physical `rows` into `out`, which holds these rows.
    pub(crate) fn patch(&self, rows: Range<u64>, out: &mut [u8]) {
        if !self.is_empty() {
            self.index(|index| index.patch(rows, out));
        }
    }

    /// The rows of all records after `lsn` as bytes of the array, each with its offset, oldest first.
    pub(crate) fn pieces_since(&self, lsn: u64) -> Vec<(usize, &[u8])> {
        let patches = self.patches_since(lsn).into_iter().rev();
        patches.flat_map(|patch| patch.placed()).collect()
    }

    /// The rows of all records after `lsn`, newest first.
    fn patches_since(&self, lsn: u64) -> Vec<&Arc<Patch>> {
        let mut patches = Vec::new();
        let mut at = self.0.as_deref();
        while let Some(link) = at.filter(|link| link.lsn > lsn) {
            patches.push(&link.patch);
            at = link.before.0.as_deref();
        }
        patches
    }

    /// Whether any of `rows` is pending.
    pub(crate) fn touches(&self, rows: Range<u64>) -> bool {
        !self.is_empty() && self.index(|index| index.touches(rows))
    }

    /// The number of different pages that pending rows lie in.
    pub(crate) fn pages(&self) -> u64 {
        let (patches, pieces) = self.flat();
        let row_bytes = patches.first().map_or(0, |patch| patch.row_bytes);
        pages_of(
            pieces.iter().map(|piece| (piece.start, piece.len)),
            row_bytes,
        )
    }

    /// All records, oldest first, and which of them has the newest bytes of which rows.
    pub(crate) fn flat(&self) -> (Vec<&Arc<Patch>>, Vec<Piece>) {
        let mut patches = self.patches_since(0);
        patches.reverse();
        let mut pieces = Vec::with_capacity(self.0.as_ref().map_or(0, |link| link.stretches));
        for (i, patch) in patches.iter().enumerate() {
            pieces.extend(patch.pieces(i));
        }
        (patches, flatten(pieces))
    }

    /// The same rows as one link, or, where few of them were replaced since, this chain with a later time
    /// to look again.
    fn squashed(&self) -> Self {
        let Some(link) = &self.0 else {
            return Self::default();
        };
        let (patches, pieces) = self.flat();
        if pieces.len() > link.stretches / 2 {
            return Self(Some(Arc::new(Link {
                patch: Arc::clone(&link.patch),
                before: link.before.clone(),
                index: Arc::clone(&link.index),
                own: OnceLock::new(),
                squash_at: 2 * link.stretches,
                ..**link
            })));
        }
        let row_bytes = link.patch.row_bytes;
        let mut runs = Vec::with_capacity(pieces.len());
        let mut rows = Vec::new();
        for piece in &pieces {
            runs.push((piece.start, piece.len));
            rows.extend_from_slice(patches[piece.patch()].bytes(piece));
        }
        let mut squashed = Self::default();
        squashed.link(
            link.lsn,
            Patch {
                runs: runs.into(),
                rows: rows.into(),
                row_bytes,
            },
        );
        squashed
    }
}

impl Link {
    /// Takes all links up to this one into `index`; false if it is ahead of this, or of another branch.
    fn bring_up(&self, index: &mut Index) -> bool {
        let mut missing = vec![];
        let mut at = Some(self);
        while let Some(link) = at.filter(|link| link.depth > index.depth()) {
            missing.push(&link.patch);
            at = link.before.0.as_deref();
        }
        let joins = match at {
            Some(link) => index.ends_at(link.depth, &link.patch),
            None => index.depth() == 0,
        };
        if joins {
            index.add(missing.into_iter().rev());
        }
        joins
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WIDTH: usize = 3;

    fn to_usize(n: u64) -> usize {
        usize::try_from(n).unwrap()
    }

    fn byte(n: u64) -> u8 {
        u8::try_from(n % 256).unwrap()
    }

    fn push(overlay: &mut Overlay, lsn: u64, runs: &[(u64, u64)], value: u8) {
        let count: u64 = runs.iter().map(|run| run.1).sum();
        let rows: Vec<u8> = (0..count * WIDTH as u64)
            .map(|i| value.wrapping_add(byte(i)))
            .collect();
        overlay.push(lsn, &runs.into(), &rows.into(), WIDTH);
    }

    /// What [`push`] adds, in a model of the rows.
    fn write(model: &mut [u8], runs: &[(u64, u64)], mut value: u8) {
        for &(start, len) in runs {
            for byte in &mut model[to_usize(start) * WIDTH..to_usize(start + len) * WIDTH] {
                *byte = value;
                value = value.wrapping_add(1);
            }
        }
    }

    fn patched(overlay: &Overlay, rows: u64) -> Vec<u8> {
        let mut out = vec![0; to_usize(rows) * WIDTH];
        overlay.patch(0..rows, &mut out);
        let mut again = vec![0; to_usize(rows) * WIDTH];
        for (at, bytes) in overlay.pieces_since(0) {
            again[at..at + bytes.len()].copy_from_slice(bytes);
        }
        assert_eq!(out, again);
        again.fill(0);
        let (patches, pieces) = overlay.flat();
        assert!(
            pieces
                .windows(2)
                .all(|pair| pair[0].start + pair[0].len <= pair[1].start)
        );
        for piece in &pieces {
            let bytes = patches[piece.patch()].bytes(piece);
            again[to_usize(piece.start) * WIDTH..][..bytes.len()].copy_from_slice(bytes);
        }
        assert_eq!(out, again);
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
        assert_eq!(overlay.pieces_since(3), [(3, &[5, 6, 7][..])]);
        overlay.settle(3);
        assert_eq!(patched(&overlay, 2), [0, 0, 0, 5, 6, 7]);
        all.settle(7);
        assert!(all.is_empty());
    }

    #[test]
    fn pages_are_counted() {
        let mut overlay = Overlay::default();
        let far = 4096;
        push(&mut overlay, 1, &[(0, 2), (5, 1), (far, 1)], 1);
        push(&mut overlay, 2, &[(0, 2)], 1);
        assert_eq!(overlay.pages_at_most(), 3);
        assert_eq!(overlay.pages(), 2);
    }

    #[test]
    fn a_long_chain_of_few_rows_is_squashed_and_one_of_many_is_crowded() {
        let mut few = Overlay::default();
        let mut half = Overlay::default();
        for lsn in 1..=SQUASHED as u64 + 10 {
            push(&mut few, lsn, &[(lsn % 5, 1)], byte(lsn));
            if lsn == CROWDED as u64 / 2 {
                half = few.clone();
            }
        }
        let stretches = few.0.as_ref().unwrap().stretches;
        assert_eq!(stretches, 5 + 10);
        assert!(!few.is_crowded(u64::MAX) && !half.is_crowded(u64::MAX));
        let last = |n: u64| byte((n - 4..=n).find(|lsn| lsn % 5 == 0).unwrap());
        assert_eq!(patched(&few, 5)[0], last(SQUASHED as u64 + 10));
        assert_eq!(patched(&half, 5)[0], last(CROWDED as u64 / 2));

        let mut many = Overlay::default();
        let runs: Vec<(u64, u64)> = (0..CROWDED as u64 / 2).map(|i| (2 * i, 1)).collect();
        push(&mut many, 1, &runs, 1);
        assert!(!many.is_crowded(u64::MAX));
        let odd: Vec<(u64, u64)> = runs.iter().map(|(i, _)| (i + 1, 1)).collect();
        push(&mut many, 2, &odd, 1);
        assert!(many.is_crowded(CROWDED as u64) && !many.is_crowded(CROWDED as u64 / 2));
        // Looked through only when nobody has folded it until then.
        assert_eq!(many.0.as_ref().unwrap().squash_at, SQUASHED);
        let others: Vec<(u64, u64)> = runs.iter().map(|(i, _)| (i + CROWDED as u64, 1)).collect();
        push(&mut many, 3, &others[..SQUASHED - CROWDED], 1);
        assert_eq!(many.0.as_ref().unwrap().squash_at, 2 * SQUASHED);
    }

    /// Enough pieces, and in enough disorder, to be sorted by their digits.
    #[test]
    fn many_rows_equal_writing_in_order() {
        let rows = 5000;
        let mut model = vec![0_u8; rows * WIDTH];
        let mut overlay = Overlay::default();
        let mut random = 9_u64;
        for lsn in 1..=400_u64 {
            let mut from = 0;
            let mut runs = Vec::new();
            for _ in 0..8 {
                random = random
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                let (gap, len) = (1 + (random >> 40) % 600, 1 + (random >> 60));
                runs.push((from + gap, len));
                from += gap + len;
            }
            push(&mut overlay, lsn, &runs, byte(lsn));
            write(&mut model, &runs, byte(lsn));
        }
        assert_eq!(patched(&overlay, rows as u64), model);
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
                push(&mut overlay, lsn, &runs, byte(lsn * 17));
                write(&mut model, &runs, byte(lsn * 17));
                if lsn % 3 == 0 {
                    prop_assert_eq!(&patched(&overlay, rows as u64), &model);
                }
                states.push((overlay.clone(), model.clone()));
            }
            let squashed = overlay.squashed();
            prop_assert_eq!(&patched(&squashed, rows as u64), &model);
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
                        assert_eq!(index.touches(row..row + 1), index.row(row).is_some());
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
